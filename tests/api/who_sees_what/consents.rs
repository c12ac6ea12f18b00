//! The naive model of what patients consent to, from `docs/consent.md`: it looks at each Consent and at each resource in turn, and shares no
//! code with the server.

use super::model::{World, patients_of, references, text};
use serde_json::Value;
use std::collections::BTreeSet;

/// The day on which all tests take place.
const TODAY: &str = "2026-01-02";
const CONFIDENTIALITY: &str = "http://terminology.hl7.org/CodeSystem/v3-Confidentiality";
const STRICTNESS: [&str; 6] = ["U", "L", "M", "N", "R", "V"];

/// Whose request it is.
#[derive(Debug, Clone)]
pub struct Recipient {
    pub reference: Option<String>,
    pub roles: Vec<String>,
    pub purposes: Vec<String>,
    pub is_person: bool,
}

/// Whether a condition is met, as far as that can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Met {
    No,
    Maybe,
    Yes,
}

fn sure(is_met: bool) -> Met {
    if is_met { Met::Yes } else { Met::No }
}

/// The Consents that are active.
pub fn active(world: &World) -> impl Iterator<Item = &Value> {
    world.live_of("Consent").map(|(_, consent)| consent).filter(|consent| text(consent, "status") == "active")
}

/// Whether all patients whom a resource is about permit an action: `access`, `collect` or `correct`.
pub fn permit(world: &World, who: &Recipient, action: &str, content: &Value) -> bool {
    patients(content).iter().all(|patient| permits(world, who, action, content, patient))
}

/// Whom a resource is about.
pub fn patients(content: &Value) -> Vec<String> {
    match text(content, "resourceType") {
        "Patient" => vec![text(content, "id").to_owned()],
        _ => patients_of(content),
    }
}

/// Whether one patient permits an action.
pub fn permits(world: &World, who: &Recipient, action: &str, content: &Value, patient: &str) -> bool {
    let reference = format!("Patient/{patient}");
    let is_own = who.is_person && who.reference.as_deref() == Some(&*reference);
    let ask = Ask { world, who, action, content, identity: Identity::of(world, who) };
    is_own || active(world).filter(|it| it["patient"]["reference"] == *reference).all(|it| ask.is_permitted(it))
}

/// What is known of a recipient.
struct Identity {
    references: BTreeSet<String>,
    codes: Vec<Value>,
    has_place: bool,
}

impl Identity {
    fn of(world: &World, who: &Recipient) -> Self {
        let Some(own) = &who.reference else {
            return Self { references: BTreeSet::new(), codes: Vec::new(), has_place: false };
        };
        let mut references = BTreeSet::from([own.clone()]);
        let mut codes = Vec::new();
        for (id, role) in world.live_of("PractitionerRole") {
            if own.starts_with("Practitioner/") && role["active"] != false && role["practitioner"]["reference"] == *own
            {
                references.insert(format!("PractitionerRole/{id}"));
                references.extend(role["organization"]["reference"].as_str().map(str::to_owned));
                codes.extend(role["code"][0]["coding"].as_array().into_iter().flatten().cloned());
            }
        }
        loop {
            let above = |reference: &String| {
                let id = reference.strip_prefix("Organization/")?;
                world.live("Organization", id)?["partOf"]["reference"].as_str().map(str::to_owned)
            };
            let more: Vec<_> = references.iter().filter_map(above).filter(|it| !references.contains(it)).collect();
            if more.is_empty() {
                break;
            }
            references.extend(more);
        }
        let has_place = ["Patient/", "RelatedPerson/"].iter().any(|kind| own.starts_with(kind))
            || references.iter().any(|reference| reference.starts_with("Organization/"));
        Self { references, codes, has_place }
    }
}

struct Ask<'a> {
    world: &'a World,
    who: &'a Recipient,
    action: &'a str,
    content: &'a Value,
    identity: Identity,
}

impl Ask<'_> {
    fn is_permitted(&self, consent: &Value) -> bool {
        let root = &consent["provision"];
        if !root["period"].is_null() && !is_within(&root["period"], TODAY) {
            return true;
        }
        match text(&consent["scope"]["coding"][0], "code") {
            "adr" | "treatment" => return true,
            "research" => {
                let is_research = |purpose: &String| is_a(purpose, "HRESCH");
                if !self.who.purposes.is_empty() && !self.who.purposes.iter().any(is_research) {
                    return true;
                }
            }
            _ => {}
        }
        let rule = text(&consent["policyRule"]["coding"][0], "code");
        let conditions = ["actor", "action", "purpose", "securityLabel", "class", "code", "dataPeriod", "data"];
        let is_bounded = conditions.iter().any(|name| !root[*name].is_null());
        let is_typed = !root["type"].is_null();
        let is_faulty = consent.to_string().contains("modifierExtension")
            || (is_bounded && !is_typed && !["OPTOUT", "OPTOUTE"].contains(&rule))
            || (!is_bounded && text(root, "type") == "permit" && ["OPTOUT", "OPTOUTE"].contains(&rule))
            || children(root).iter().any(lacks_a_type);
        if is_faulty {
            return false;
        }
        let all_for_emergency =
            !self.who.purposes.is_empty() && self.who.purposes.iter().all(|own| is_a(own, "ETREAT"));
        let base = match rule {
            "OPTIN" | "OPTINR" => true,
            "EMRGONLY" => all_for_emergency,
            _ => false,
        };
        if is_typed {
            return self.decide(base, std::slice::from_ref(root));
        }
        (!is_bounded || self.met(root) == Met::Yes) && self.decide(base, children(root))
    }

    /// Of exceptions that are met, one that denies wins.
    fn decide(&self, base: bool, exceptions: &[Value]) -> bool {
        let inside = |one: &Value| self.decide(text(one, "type") == "permit", children(one));
        let denied = exceptions.iter().any(|one| self.met(one) >= Met::Maybe && !inside(one));
        let permitted = base || exceptions.iter().any(|one| self.met(one) == Met::Yes && inside(one));
        permitted && !denied
    }

    /// All conditions of a provision; of the values of one, any.
    fn met(&self, provision: &Value) -> Met {
        let any = |name: &str, of: &dyn Fn(&Value) -> Met| match &provision[name] {
            Value::Null => Met::Yes,
            values => values.as_array().unwrap().iter().map(of).max().unwrap(),
        };
        let is_permit = text(provision, "type") != "deny";
        let period = match &provision["period"] {
            Value::Null => Met::Yes,
            period => sure(is_within(period, TODAY)),
        };
        let data_period = match &provision["dataPeriod"] {
            Value::Null => Met::Yes,
            period => self.took_place_in(period),
        };
        [
            period,
            data_period,
            any("actor", &|actor| self.actor(actor)),
            any("action", &|action| self.action(action)),
            self.purpose(&provision["purpose"]),
            any("securityLabel", &|label| self.label(label, is_permit)),
            any("class", &|class| self.class(class)),
            any("code", &|code| self.code(code)),
            any("data", &|data| self.data(data)),
        ]
        .into_iter()
        .min()
        .unwrap()
    }

    fn action(&self, action: &Value) -> Met {
        match text(&action["coding"][0], "code") {
            "access" | "use" | "disclose" => sure(self.action == "access"),
            code @ ("collect" | "correct") => sure(self.action == code),
            _ => Met::Maybe,
        }
    }

    fn purpose(&self, purposes: &Value) -> Met {
        let Some(named) = purposes.as_array() else { return Met::Yes };
        let own = &self.who.purposes;
        let is_named = |own: &&String| named.iter().any(|one| is_a(own, text(one, "code")));
        match own.iter().filter(is_named).count() {
            _ if own.is_empty() => Met::Maybe,
            0 => Met::No,
            count => {
                if count == own.len() {
                    Met::Yes
                } else {
                    Met::Maybe
                }
            }
        }
    }

    fn actor(&self, actor: &Value) -> Met {
        let (role, receives) = self.role(&actor["role"]["coding"][0]);
        let Some(reference) = actor["reference"]["reference"].as_str() else {
            return if receives || !actor["reference"]["identifier"].is_null() { Met::Maybe } else { role };
        };
        match self.is(reference) {
            Met::Yes if role == Met::Yes => Met::Yes,
            Met::No => Met::No,
            _ => Met::Maybe,
        }
    }

    /// Whether the recipient has a role; and whether that only says that the actor receives.
    fn role(&self, coding: &Value) -> (Met, bool) {
        let code = text(coding, "code");
        let met = match text(coding, "system") {
            "http://terminology.hl7.org/CodeSystem/v3-ParticipationType" => match code {
                "PRCP" | "IRCP" => return (Met::Yes, true),
                _ => Met::Maybe,
            },
            "urn:pharos:role" => sure(self.who.roles.iter().any(|role| role == code)),
            _ if self.identity.codes.is_empty() => Met::Maybe,
            _ => sure(self.identity.codes.contains(coding)),
        };
        (met, false)
    }

    fn is(&self, reference: &str) -> Met {
        if self.identity.references.contains(reference) {
            return Met::Yes;
        }
        if self.identity.references.is_empty() || reference.starts_with("http") {
            return Met::Maybe;
        }
        let (type_name, id) = reference.split_once('/').unwrap();
        let path: &[&str] = match type_name {
            "Organization" => return if self.identity.has_place { Met::No } else { Met::Maybe },
            "CareTeam" => &["participant", "member"],
            "Group" => &["member", "entity"],
            _ => return Met::No,
        };
        let Some(group) = self.world.live(type_name, id) else { return Met::Maybe };
        let has_ended = ["inactive", "proposed", "entered-in-error"].contains(&text(group, "status"));
        let members = references(group, path);
        sure(!has_ended && members.iter().any(|member| self.identity.references.contains(member)))
    }

    fn label(&self, label: &Value, is_permit: bool) -> Met {
        let place = |code: &str| STRICTNESS.iter().position(|own| *own == code);
        let own = self.content.pointer("/meta/security").and_then(Value::as_array);
        let is_meant = |own: &Value| {
            if own["system"] != label["system"] || text(own, "system") != CONFIDENTIALITY {
                return own == label;
            }
            let (own, mark) = (place(text(own, "code")), place(text(label, "code")));
            if is_permit { own <= mark } else { own >= mark }
        };
        sure(own.is_some_and(|labels| labels.iter().any(is_meant)))
    }

    fn class(&self, class: &Value) -> Met {
        let type_name = text(self.content, "resourceType");
        match (text(class, "system"), text(class, "code")) {
            ("http://hl7.org/fhir/resource-types", "Nothing") => Met::Maybe,
            ("http://hl7.org/fhir/resource-types", code) => sure(code == type_name),
            _ => sure(type_name == "DocumentReference" && self.codes().contains(&class)),
        }
    }

    fn code(&self, concept: &Value) -> Met {
        let coding = &concept["coding"][0];
        if coding.is_null() {
            return Met::Maybe;
        }
        if coding["system"].is_null() {
            let has = self.codes().iter().any(|own| own["code"] == coding["code"]);
            return if has { Met::Maybe } else { Met::No };
        }
        sure(self.codes().contains(&coding))
    }

    /// The codes of what a resource is about.
    fn codes(&self) -> Vec<&Value> {
        let mut found = Vec::new();
        if ["Observation", "Condition", "DocumentReference"].contains(&text(self.content, "resourceType")) {
            found.extend(self.content["code"]["coding"].as_array().into_iter().flatten());
            for category in self.content["category"].as_array().into_iter().flatten() {
                found.extend(category["coding"].as_array().into_iter().flatten());
            }
        }
        found
    }

    fn data(&self, data: &Value) -> Met {
        let reference = data["reference"]["reference"].as_str().unwrap();
        if reference.starts_with("http") {
            return Met::Maybe;
        }
        let type_name = text(self.content, "resourceType");
        let own = format!("{type_name}/{}", text(self.content, "id"));
        let points = |content: &Value, to: &str| all_references(content).iter().any(|one| one == to);
        let (named_type, named_id) = reference.split_once('/').unwrap();
        sure(match text(data, "meaning") {
            "instance" => own == reference,
            "dependents" => own == reference || points(self.content, reference),
            "related" => {
                own == reference || self.world.live(named_type, named_id).is_some_and(|named| points(named, &own))
            }
            _ => {
                let element = match type_name {
                    "Observation" => "performer",
                    "Condition" => "asserter",
                    "DocumentReference" => "author",
                    _ => return Met::No,
                };
                references(self.content, &[element]).iter().any(|one| one == reference)
            }
        })
    }

    /// Whether what a resource tells of took place in a period: a Consent may take longer.
    fn took_place_in(&self, period: &Value) -> Met {
        let span = &self.content["provision"]["period"];
        if text(self.content, "resourceType") != "Consent" || span.is_null() {
            return sure(is_within(period, &self.day()));
        }
        let bound = |of: &Value, name: &str, open: &str| of[name].as_str().unwrap_or(open).to_owned();
        let [from, own_from] = [period, span].map(|of| bound(of, "start", "0000"));
        let [to, own_to] = [period, span].map(|of| bound(of, "end", "9999"));
        match () {
            () if from <= own_from && own_to <= to => Met::Yes,
            () if own_from <= to && from <= own_to => Met::Maybe,
            () => Met::No,
        }
    }

    /// When what a resource tells of took place, or when it was stored.
    fn day(&self) -> String {
        let own = match text(self.content, "resourceType") {
            "Observation" => text(self.content, "effectiveDateTime"),
            "Provenance" | "AuditEvent" => text(self.content, "recorded"),
            _ => "",
        };
        let stored = self.content.pointer("/meta/lastUpdated").and_then(Value::as_str).unwrap_or(TODAY);
        let day = if own.is_empty() { stored } else { own };
        day.chars().take(10).collect()
    }
}

fn children(provision: &Value) -> &[Value] {
    provision["provision"].as_array().map_or(&[], Vec::as_slice)
}

fn lacks_a_type(provision: &Value) -> bool {
    provision["type"].is_null() || children(provision).iter().any(lacks_a_type)
}

/// Whether a day lies within a period, whose bounds are days.
fn is_within(period: &Value, day: &str) -> bool {
    (period["start"].is_null() || text(period, "start") <= day)
        && (period["end"].is_null() || day <= text(period, "end"))
}

/// Whether a purpose is another, or stands below it: those that these tests have.
fn is_a(purpose: &str, above: &str) -> bool {
    let parent = match purpose {
        "ETREAT" => "TREAT",
        "CLINTRCH" => "HRESCH",
        _ => purpose,
    };
    purpose == above || parent == above
}

/// All that a resource of the population points to by a search parameter.
fn all_references(content: &Value) -> Vec<String> {
    if text(content, "resourceType") == "Consent" {
        let elements: [&[&str]; 3] =
            [&["patient"], &["provision", "actor", "reference"], &["provision", "data", "reference"]];
        return elements.iter().flat_map(|path| references(content, path)).collect();
    }
    let mut found = Vec::new();
    gather(content, &mut found);
    found
}

fn gather(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| gather(item, found)),
        Value::Object(members) => {
            found.extend(members.get("reference").and_then(Value::as_str).map(str::to_owned));
            members.values().for_each(|member| gather(member, found));
        }
        _ => {}
    }
}

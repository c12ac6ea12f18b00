//! The naive model: who may see and change what, from SMART's text
//! (<https://hl7.org/fhir/smart-app-launch/scopes-and-launch-context.html>) and `docs/security.md`. It looks at each resource in turn
//! and shares no code with the server.

use super::consents::{self, Recipient};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Type and id.
pub type Name = (String, String);

/// Every version of every resource, from the first on; a deletion is `None`.
#[derive(Default, Clone)]
pub struct World(pub BTreeMap<Name, Vec<Option<Value>>>);

impl World {
    /// The content of the last version; of a deleted resource, of the one before.
    pub fn last(&self, name: &Name) -> Option<&Value> {
        let versions = self.0.get(name)?;
        own(versions, versions.len())
    }

    /// The content of the current version, where it is no deletion.
    pub fn live(&self, type_name: &str, id: &str) -> Option<&Value> {
        self.0.get(&(type_name.to_owned(), id.to_owned()))?.last()?.as_ref()
    }

    pub fn live_of<'w>(&'w self, type_name: &'w str) -> impl Iterator<Item = (&'w str, &'w Value)> {
        let of_type = self.0.iter().filter(move |(name, _)| name.0 == type_name);
        of_type.filter_map(|(name, versions)| Some((name.1.as_str(), versions.last()?.as_ref()?)))
    }
}

/// What decides over a version: its content, or for a deletion that of the version before.
fn own(versions: &[Option<Value>], number: usize) -> Option<&Value> {
    versions.get(number.checked_sub(1)?)?.as_ref().or_else(|| versions.get(number.checked_sub(2)?)?.as_ref())
}

/// Whose data counts.
#[derive(Debug, Clone)]
enum Whose {
    Everybodys,
    Of(String),
    /// The own patients of a user, who is this resource.
    OwnOf(Option<String>),
}

/// One scope, read.
#[derive(Debug, Clone)]
struct Right {
    type_name: Option<String>,
    letters: String,
    whose: Whose,
    criteria: Vec<(String, String)>,
}

/// What a token gives: each side has to allow.
#[derive(Debug, Clone)]
pub struct Rights {
    sides: Vec<Vec<Right>>,
    /// For whom patients' consents count: not in an emergency.
    pub recipient: Option<Recipient>,
}

/// A role as the model knows it.
#[derive(Debug, Clone)]
pub struct Role {
    pub name: String,
    pub scopes: String,
    pub own_patients: bool,
    pub break_glass: bool,
    pub purposes: Vec<String>,
}

impl Rights {
    pub fn new(
        scopes: &str,
        patient: Option<&str>,
        user: Option<(&[Role], Option<&str>, bool)>,
        (registered, purposes): (Option<&str>, &[String]),
    ) -> Self {
        let read = |scopes: &str, whose: &dyn Fn(&str) -> Option<Whose>| -> Vec<Right> {
            scopes.split(' ').filter(|scope| !scope.is_empty()).filter_map(|scope| right(scope, whose)).collect()
        };
        let client = read(scopes, &|level| match level {
            "patient" => patient.map(|id| Whose::Of(id.to_owned())),
            _ => Some(Whose::Everybodys),
        });
        let mut sides = vec![client];
        let mut recipient = Some(Recipient {
            reference: registered.map(str::to_owned),
            roles: Vec::new(),
            purposes: purposes.to_vec(),
            is_person: false,
        });
        if let Some((roles, fhir_user, is_emergency)) = user {
            let is_free = is_emergency && roles.iter().any(|role| role.break_glass);
            let of_role = |role: &Role| match role.name.as_str() {
                "Provider" => vec!["TREAT".to_owned()],
                _ => role.purposes.clone(),
            };
            recipient = (!is_free).then(|| Recipient {
                reference: fhir_user.map(str::to_owned),
                roles: roles.iter().map(|role| role.name.clone()).collect(),
                purposes: roles.iter().flat_map(of_role).collect::<BTreeSet<_>>().into_iter().collect(),
                is_person: true,
            });
        }
        if let Some((roles, fhir_user, is_emergency)) = user {
            let of_role = |role: &Role| {
                let is_limited = role.own_patients && !(role.break_glass && is_emergency);
                let whose = if is_limited { Whose::OwnOf(fhir_user.map(str::to_owned)) } else { Whose::Everybodys };
                read(&role.scopes, &|_| Some(whose.clone()))
            };
            sides.push(roles.iter().flat_map(of_role).collect());
        }
        Self { sides, recipient }
    }

    /// Whether some scope covers the letter for the type at all: else 403.
    pub fn covers(&self, letter: char, type_name: &str) -> bool {
        self.sides.iter().all(|side| side.iter().any(|right| right.is_for(letter, type_name)))
    }

    /// Whether patients' consents count at all.
    pub fn is_narrowed(&self, world: &World) -> bool {
        self.recipient.is_some() && consents::active(world).next().is_some()
    }

    /// Whether it reaches all of a type, whatever patients consent to.
    pub fn all(&self, world: &World, letter: char, type_name: &str) -> bool {
        let is_open = is_nobodys(type_name) || (["AuditEvent", "Consent"].contains(&type_name) && self.keeps_privacy());
        self.all_by_scopes(letter, type_name) && (is_open || !self.is_narrowed(world))
    }

    /// Who may write Consents, and a person who may read the ledger.
    fn keeps_privacy(&self) -> bool {
        ['c', 'u', 'd'].iter().any(|letter| self.covers(*letter, "Consent"))
            || (self.recipient.as_ref().is_some_and(|who| who.is_person)
                && ['r', 's'].iter().any(|letter| self.covers(*letter, "AuditEvent")))
    }

    /// Whether scopes and roles reach all of a type.
    pub fn all_by_scopes(&self, letter: char, type_name: &str) -> bool {
        let is_all = |right: &Right| {
            let whose = matches!(right.whose, Whose::Everybodys) || is_nobodys(type_name);
            right.is_for(letter, type_name) && right.criteria.is_empty() && whose
        };
        if type_name == "Binary" { self.is_whole() } else { self.sides.iter().all(|side| side.iter().any(is_all)) }
    }

    fn is_whole(&self) -> bool {
        let is_whole = |right: &Right| {
            let whose = matches!(right.whose, Whose::Everybodys);
            right.type_name.is_none() && right.letters == "cruds" && right.criteria.is_empty() && whose
        };
        self.sides.iter().all(|side| side.iter().any(is_whole))
    }

    /// Whether a resource with this content is within what the letter gives.
    pub fn may(&self, world: &World, letter: char, content: &Value) -> bool {
        let type_name = text(content, "resourceType");
        if type_name != "Binary" {
            return self.may_by_scopes(world, letter, content) && self.is_consented(world, letter, content);
        }
        let is_narrowed = self.is_narrowed(world);
        if is_narrowed || !self.is_whole() {
            return self.may_binary(world, letter, content, is_narrowed);
        }
        self.may_by_scopes(world, letter, content)
    }

    /// What must not be seen can't be changed either.
    fn is_consented(&self, world: &World, letter: char, content: &Value) -> bool {
        let Some(who) = &self.recipient else { return true };
        if ["AuditEvent", "Consent"].contains(&text(content, "resourceType")) && self.keeps_privacy() {
            return true;
        }
        let actions: &[&str] = match letter {
            'c' => &["collect"],
            'u' | 'd' => &["access", "correct"],
            _ => &["access"],
        };
        actions.iter().all(|action| consents::permit(world, who, action, content))
    }

    fn may_by_scopes(&self, world: &World, letter: char, content: &Value) -> bool {
        let type_name = text(content, "resourceType");
        let gives =
            |right: &Right| right.is_for(letter, type_name) && right.meets(content) && right.is_theirs(world, content);
        self.sides.iter().all(|side| side.iter().any(gives))
    }

    /// A Binary is seen with its security context, or without one by who sees everybody's, or a document that it is attached to.
    /// Where consents count, the first of these holds for what is attached nowhere only.
    fn may_binary(&self, world: &World, letter: char, content: &Value, is_narrowed: bool) -> bool {
        let gives = |right: &Right| right.is_for(letter, "Binary") && right.meets(content);
        if !self.sides.iter().all(|side| side.iter().any(gives)) {
            return false;
        }
        if let Some(context) = content.pointer("/securityContext/reference").and_then(Value::as_str) {
            let Some((type_name, id)) = context.split_once('/') else { return false };
            let context = world.live(type_name, id).filter(|_| type_name != "Binary");
            return context.is_some_and(|context| self.may(world, 'r', context));
        }
        let everybodys = |right: &Right| gives(right) && matches!(right.whose, Whose::Everybodys);
        let url = format!("Binary/{}", text(content, "id"));
        let has_it = |document: &Value| document.to_string().contains(&format!("\"url\":\"{url}\""));
        let is_loose = !is_narrowed || !world.live_of("DocumentReference").any(|(_, it)| has_it(it));
        (is_loose && self.sides.iter().all(|side| side.iter().any(everybodys)))
            || world.live_of("DocumentReference").any(|(_, it)| has_it(it) && self.may(world, 'r', it))
    }

    /// Whether a resource, by its last content, is reached.
    pub fn reaches(&self, world: &World, letter: char, name: &Name) -> bool {
        world.last(name).is_some_and(|content| self.may(world, letter, content))
    }

    /// Whether a version is seen: by its own content and by the resource's last one.
    pub fn sees(&self, world: &World, letter: char, name: &Name, number: usize) -> bool {
        let own = world.0.get(name).and_then(|versions| own(versions, number));
        self.reaches(world, letter, name) && own.is_some_and(|content| self.may(world, letter, content))
    }

    /// Whether the rights themselves rest on a resource: own patients, and what makes them so.
    pub fn rests_on(&self, world: &World, name: &Name) -> bool {
        let Some(content) = world.live(&name.0, &name.1) else { return false };
        if self.recipient.is_some() {
            let own = format!("\"{}/{}\"", name.0, name.1);
            let is_named = || consents::active(world).any(|consent| consent.to_string().contains(&own));
            if ["Consent", "PractitionerRole", "Organization"].contains(&&*name.0)
                || (name.0 != "Patient" && is_named())
            {
                return true;
            }
        }
        self.sides.iter().flatten().any(|right| {
            let Whose::OwnOf(Some(user)) = &right.whose else { return false };
            let names = |reference: &str| content.to_string().contains(&format!("\"reference\":\"{reference}\""));
            match name.0.as_str() {
                "Patient" => right.whose.has(world, &name.1),
                "RelatedPerson" => *user == format!("RelatedPerson/{}", name.1),
                "PractitionerRole" => names(user),
                "CareTeam" => names(user) || names("PractitionerRole/role1") || names("PractitionerRole/role2"),
                _ => false,
            }
        })
    }
}

fn right(scope: &str, whose: &dyn Fn(&str) -> Option<Whose>) -> Option<Right> {
    let (scope, criteria) = scope.split_once('?').unwrap_or((scope, ""));
    let (level, rest) = scope.split_once('/')?;
    let (type_name, letters) = rest.rsplit_once('.')?;
    let letters = match letters {
        "read" => "rs",
        "write" => "cud",
        "*" => "cruds",
        letters => letters,
    };
    let pair = |pair: &str| pair.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
    Some(Right {
        type_name: (type_name != "*").then(|| type_name.to_owned()),
        letters: letters.to_owned(),
        whose: whose(level)?,
        criteria: criteria.split('&').filter_map(pair).collect(),
    })
}

impl Right {
    fn is_for(&self, letter: char, type_name: &str) -> bool {
        self.letters.contains(letter)
            && self.type_name.as_deref().is_none_or(|own| own == type_name)
            && self.criteria.iter().all(|(name, _)| is_parameter(type_name, name))
    }

    fn meets(&self, content: &Value) -> bool {
        self.criteria.iter().all(|(name, value)| matches(content, name, value))
    }

    /// Whether a resource is of the patients that count, or of nobody.
    fn is_theirs(&self, world: &World, content: &Value) -> bool {
        let type_name = text(content, "resourceType");
        let of_them = || patients_of(content).iter().any(|id| self.whose.has(world, id));
        match (&self.whose, type_name) {
            (Whose::Everybodys, _) => true,
            (_, name) if is_nobodys(name) => true,
            (_, "Device") if content.get("patient").is_none() => true,
            (Whose::Of(own), "Patient") => text(content, "id") == own,
            (Whose::OwnOf(user), "Patient") => is_own(world, user.as_deref(), content),
            _ => of_them(),
        }
    }
}

impl Whose {
    /// Whether a patient is one of them. Own patients have to be there.
    fn has(&self, world: &World, id: &str) -> bool {
        match self {
            Self::Everybodys => true,
            Self::Of(own) => own == id,
            Self::OwnOf(Some(user)) if *user == format!("Patient/{id}") => true,
            Self::OwnOf(user) => world.live("Patient", id).is_some_and(|it| is_own(world, user.as_deref(), it)),
        }
    }
}

/// Whether a patient with this content is a user's own.
fn is_own(world: &World, user: Option<&str>, patient: &Value) -> bool {
    let Some((kind, user_id)) = user.and_then(|user| user.split_once('/')) else { return false };
    let this = format!("Patient/{}", text(patient, "id"));
    match kind {
        "Patient" => Some(&*this) == user,
        "RelatedPerson" => world.live("RelatedPerson", user_id).is_some_and(|related| {
            related["active"] != false && related.pointer("/patient/reference") == Some(&Value::from(this.clone()))
        }),
        "Practitioner" => {
            let is_user = |reference: &str| Some(reference) == user || is_role_of(world, reference, user);
            let general = references(patient, &["generalPractitioner"]);
            let is_in_charge = |team: &Value| {
                !["inactive", "proposed", "entered-in-error"].contains(&text(team, "status"))
                    && references(team, &["subject"]).contains(&this)
                    && references(team, &["participant", "member"]).iter().any(|member| is_user(member))
            };
            general.iter().any(|reference| is_user(reference))
                || world.live_of("CareTeam").any(|(_, team)| is_in_charge(team))
        }
        _ => false,
    }
}

fn is_role_of(world: &World, reference: &str, user: Option<&str>) -> bool {
    let role = reference.strip_prefix("PractitionerRole/").and_then(|id| world.live("PractitionerRole", id));
    role.is_some_and(|role| {
        role["active"] != false && role.pointer("/practitioner/reference").and_then(Value::as_str) == user
    })
}

/// Types of which no resource is a patient's: the directory and definitions.
fn is_nobodys(type_name: &str) -> bool {
    ["Organization", "Practitioner", "PractitionerRole", "ValueSet"].contains(&type_name)
}

/// The ids of the patients in whose compartment a resource is: <https://hl7.org/fhir/R4/compartmentdefinition-patient.html>.
pub fn patients_of(content: &Value) -> Vec<String> {
    let elements: &[&[&str]] = match text(content, "resourceType") {
        "Observation" => &[&["subject"], &["performer"]],
        "Condition" => &[&["subject"], &["asserter"]],
        "Encounter" => &[&["subject"]],
        "DocumentReference" => &[&["subject"], &["author"]],
        "CareTeam" => &[&["subject"], &["participant", "member"]],
        "Consent" | "RelatedPerson" | "Device" => &[&["patient"]],
        "Provenance" => &[&["target"]],
        "Group" => &[&["member", "entity"]],
        "List" => &[&["subject"], &["source"]],
        "Task" => &[&["for"]],
        _ => &[],
    };
    let found = elements.iter().flat_map(|path| references(content, path));
    found.filter_map(|reference| reference.strip_prefix("Patient/").map(str::to_owned)).collect()
}

/// The texts of the references at the end of a path of elements.
pub fn references(value: &Value, path: &[&str]) -> Vec<String> {
    match (value, path) {
        (Value::Array(items), _) => items.iter().flat_map(|item| references(item, path)).collect(),
        (_, []) => value["reference"].as_str().map(str::to_owned).into_iter().collect(),
        (_, [first, rest @ ..]) => value.get(first).map(|inner| references(inner, rest)).unwrap_or_default(),
    }
}

fn is_parameter(type_name: &str, name: &str) -> bool {
    match name.trim_end_matches(":not") {
        "_id" | "_tag" | "_security" => true,
        "status" => [
            "CareTeam",
            "Consent",
            "Device",
            "DocumentReference",
            "Encounter",
            "List",
            "Observation",
            "Task",
            "ValueSet",
        ]
        .contains(&type_name),
        "category" => ["Condition", "DocumentReference", "Observation"].contains(&type_name),
        "gender" => type_name == "Patient",
        "patient" => element_of_patient(type_name).is_some(),
        _ => false,
    }
}

pub fn element_of_patient(type_name: &str) -> Option<&'static str> {
    match type_name {
        "CareTeam" | "Condition" | "DocumentReference" | "Encounter" | "List" | "Observation" => Some("subject"),
        "Consent" | "Device" | "RelatedPerson" => Some("patient"),
        "Task" => Some("for"),
        _ => None,
    }
}

/// Whether a resource meets a criterion, of the few that the tokens and requests of these tests have.
pub fn matches(content: &Value, name: &str, value: &str) -> bool {
    if let Some(plain) = name.strip_suffix(":not") {
        return !matches(content, plain, value);
    }
    let has_code = |codings: Option<&Value>| {
        codings
            .and_then(Value::as_array)
            .is_some_and(|codings| codings.iter().any(|coding| text(coding, "code") == value))
    };
    match name {
        "_id" => text(content, "id") == value,
        "_tag" => has_code(content.pointer("/meta/tag")),
        "_security" => has_code(content.pointer("/meta/security")),
        "status" | "gender" => text(content, name) == value,
        "category" => {
            let categories = content["category"].as_array();
            categories.is_some_and(|categories| categories.iter().any(|one| has_code(one.get("coding"))))
        }
        "patient" => {
            let element = element_of_patient(text(content, "resourceType"));
            element.is_some_and(|element| references(content, &[element]).iter().any(|found| found == value))
        }
        _ => panic!("the model does not know {name}"),
    }
}

pub fn text<'v>(value: &'v Value, member: &str) -> &'v str {
    value.get(member).and_then(Value::as_str).unwrap_or_default()
}

//! Who asks, and what for, held against a provision.

use super::read::{Actor, Code, Codes, Provision};
use crate::auth::recipient::Recipient;
use crate::clock::Micros;
use crate::error::Result;
use crate::fhir::definitions;
use crate::fhir::tree::Value;
use crate::key::reference::{Target, matching_resource, target_in};
use crate::key::{Stored, prefix_of};
use std::collections::BTreeSet;

/// The system of purposes of use.
pub const ACT_REASON: &str = "http://terminology.hl7.org/CodeSystem/v3-ActReason";
/// The system of actions.
pub const ACTIONS: &str = "http://terminology.hl7.org/CodeSystem/consentaction";
/// The system under which the roles of this server can be named in a Consent.
pub const ROLES: &str = "urn:pharos:role";

const PARTICIPATION: &str = "http://terminology.hl7.org/CodeSystem/v3-ParticipationType";
/// Participations that say of the actor only that it is one who receives.
const RECEIVES: [&str; 5] = ["PRCP", "IRCP", "NOT", "REFT", "TRC"];
/// Organisations stand above each other so deep.
const DEPTH: usize = 8;

/// Whether a condition is met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Met {
    /// It is not.
    No,
    /// That can't be told: what permits does not hold, and what denies does.
    Unclear,
    /// It is.
    Yes,
}

impl Met {
    const fn of(is_met: bool) -> Self {
        if is_met { Self::Yes } else { Self::No }
    }
}

/// What is done with data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Read and search.
    Access,
    /// Create.
    Collect,
    /// Update and delete.
    Correct,
}

impl Action {
    /// The codes that stand for it.
    const fn codes(self) -> &'static [&'static str] {
        match self {
            Self::Access => &["access", "use", "disclose"],
            Self::Collect => &["collect"],
            Self::Correct => &["correct"],
        }
    }

    /// The action of a code.
    #[must_use]
    pub fn of_code(code: &str) -> Option<Self> {
        [Self::Access, Self::Collect, Self::Correct].into_iter().find(|action| action.codes().contains(&code))
    }
}

/// A request, as provisions see it.
pub struct Asked<'a> {
    /// Who asks.
    pub who: &'a Identity,
    /// What for; none where that is not known.
    pub purposes: &'a [Box<str>],
    /// What is to be done.
    pub action: Action,
    /// When.
    pub now: Micros,
}

/// What is known of who asks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Identity {
    /// `Practitioner/1`, and the roles and organisations that go with it.
    references: BTreeSet<String>,
    /// The codes of their roles, each with its system.
    codes: Vec<(String, String)>,
    /// The names of their roles on this server.
    roles: Vec<Box<str>>,
    /// Whether their organisation is known, or they have none.
    is_placed: bool,
}

impl Identity {
    /// Adds a role by its code.
    pub fn add_role(&mut self, system: &str, code: &str) {
        if system == ROLES {
            self.roles.push(code.into());
        } else {
            self.codes.push((system.to_owned(), code.to_owned()));
        }
    }

    /// Looks up what is stored of a recipient: the roles of a practitioner that are in force, their organisations, and those above
    /// them.
    ///
    /// # Errors
    /// When that can't be read.
    pub fn of(recipient: &Recipient, stored: &dyn Stored) -> Result<Self> {
        let mut identity = Self { roles: recipient.roles.clone(), ..Self::default() };
        let Some((kind, id)) = recipient.reference.as_deref().and_then(|own| own.split_once('/')) else {
            return Ok(identity);
        };
        identity.references.insert(format!("{kind}/{id}"));
        match kind {
            "Practitioner" => {
                let key = matching_resource(kind, id).under(&prefix_of("practitioner")).from;
                identity.add_roles(stored, &key)?;
            }
            "PractitionerRole" => identity.add_roles(stored, &crate::key::id_key(id))?,
            "Patient" | "RelatedPerson" => identity.is_placed = true,
            _ => {}
        }
        identity.add_organizations(stored)?;
        Ok(identity)
    }

    fn add_roles(&mut self, stored: &dyn Stored, key: &[u8]) -> Result<()> {
        stored.each("PractitionerRole", key, &mut |id, role| {
            if matches!(role.get("active"), Some(Value::Bool(false))) {
                return;
            }
            self.references.insert(format!("PractitionerRole/{id}"));
            for element in ["practitioner", "organization"] {
                let reference = role.get(element).and_then(|named| named.get("reference")).and_then(Value::as_str);
                self.references.extend(reference.map(str::to_owned));
            }
            for code in role.get("code").map(Value::items).unwrap_or_default() {
                for coding in code.get("coding").map(Value::items).unwrap_or_default() {
                    let text = |name| coding.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
                    self.codes.push((text("system"), text("code")));
                }
            }
        })
    }

    fn add_organizations(&mut self, stored: &dyn Stored) -> Result<()> {
        let of = |references: &BTreeSet<String>| -> BTreeSet<String> {
            references.iter().filter(|reference| reference.starts_with("Organization/")).cloned().collect()
        };
        let mut latest = of(&self.references);
        for _ in 0..DEPTH {
            let mut above = BTreeSet::new();
            for id in latest.iter().filter_map(|reference| reference.strip_prefix("Organization/")) {
                let keys = stored.keys("Organization", id)?.unwrap_or_default();
                let named = keys.starting_with(b"partof\0r").filter_map(|key| target_in(key, "partof".len()));
                above.extend(named.map(|(kind, id)| format!("{kind}/{id}")));
            }
            self.references.extend(latest);
            latest = above.into_iter().filter(|reference| !self.references.contains(reference)).collect();
            if latest.is_empty() {
                break;
            }
        }
        self.is_placed |= self.references.iter().any(|reference| reference.starts_with("Organization/"));
        Ok(())
    }

    fn is_known(&self) -> bool {
        !self.references.is_empty()
    }
}

/// What provisions are held against, beside the request: what is stored.
pub struct Reading<'a> {
    /// The snapshot.
    pub stored: &'a dyn Stored,
    /// The address of this server, without a slash at the end.
    pub base: &'a str,
}

impl Reading<'_> {
    /// Each condition of a provision that is about the request, by the name of its element.
    ///
    /// # Errors
    /// When what it rests on can't be read.
    pub fn of_request(&self, provision: &Provision, asked: &Asked<'_>) -> Result<Vec<(&'static str, Met)>> {
        let mut conditions = Vec::new();
        if let Some(period) = provision.period {
            conditions.push(("period", Met::of((period.low..=period.high).contains(&asked.now.0))));
        }
        if let Some(actions) = &provision.actions {
            conditions.push(("action", action(actions, asked.action)));
        }
        if let Some(purposes) = &provision.purposes {
            conditions.push(("purpose", purpose(purposes, asked.purposes)));
        }
        if let Some(actors) = &provision.actors {
            let mut met = Met::No;
            for actor in actors {
                met = met.max(self.actor(actor, asked.who)?);
            }
            conditions.push(("actor", met));
        }
        Ok(conditions)
    }

    fn actor(&self, actor: &Actor, who: &Identity) -> Result<Met> {
        let role = role(&actor.role, who);
        let Some(reference) = &actor.reference else {
            // Without a resource, the role is all there is; a role that only says who receives names nobody.
            let names_nobody = actor.is_named_otherwise || actor.role.known.iter().all(receives);
            return Ok(if names_nobody { Met::Unclear } else { role });
        };
        let Target::Local { type_name, id, .. } = Target::read(reference, Some(self.base)) else {
            return Ok(Met::Unclear);
        };
        Ok(match self.is(type_name, id, who)? {
            // Who is named is meant, even where the role is another than what is known of them; only what permits asks for both.
            Met::Yes if role == Met::Yes => Met::Yes,
            Met::Yes | Met::Unclear => Met::Unclear,
            Met::No => Met::No,
        })
    }

    /// Whether who asks is a resource, or belongs to it.
    fn is(&self, type_name: &str, id: &str, who: &Identity) -> Result<Met> {
        if who.references.contains(&format!("{type_name}/{id}")) {
            return Ok(Met::Yes);
        }
        if !who.is_known() {
            return Ok(Met::Unclear);
        }
        let (code, ended): (_, &[&str]) = match type_name {
            "Organization" => return Ok(if who.is_placed { Met::No } else { Met::Unclear }),
            "CareTeam" => ("participant", &["inactive", "proposed", "entered-in-error"]),
            "Group" => ("member", &[]),
            _ => return Ok(Met::No),
        };
        let Some(keys) = self.stored.keys(type_name, id)? else { return Ok(Met::Unclear) };
        let status =
            |code: &&str| keys.any_in(&crate::key::token::matching_code(None, code).under(&prefix_of("status")));
        if ended.iter().any(status) {
            return Ok(Met::No);
        }
        let members = [&prefix_of(code)[..], b"r"].concat();
        let mut members = keys.starting_with(&members).filter_map(|key| target_in(key, code.len()));
        Ok(Met::of(members.any(|(kind, id)| who.references.contains(&format!("{kind}/{id}")))))
    }
}

fn receives(code: &Code) -> bool {
    code.system.as_deref() == Some(PARTICIPATION) && RECEIVES.contains(&&*code.code)
}

/// Whether who asks has one of these roles. Participations that are not of who receives (author, custodian) are about where data
/// comes from, which is not known here.
fn role(codes: &Codes, who: &Identity) -> Met {
    let of = |code: &Code| match code.system.as_deref() {
        Some(PARTICIPATION) if receives(code) => Met::Yes,
        Some(PARTICIPATION) => Met::Unclear,
        Some(ROLES) => Met::of(who.roles.iter().any(|role| **role == *code.code)),
        system => {
            let is_own =
                |(own, name): &(String, String)| *name == *code.code && system.is_none_or(|system| *system == **own);
            match who.codes.iter().any(is_own) {
                true if system.is_some() => Met::Yes,
                true => Met::Unclear,
                false if who.codes.is_empty() => Met::Unclear,
                false => Met::No,
            }
        }
    };
    let known = codes.known.iter().map(of).max().unwrap_or(Met::Unclear);
    if codes.unclear { known.max(Met::Unclear) } else { known }
}

fn action(codes: &Codes, asked: Action) -> Met {
    let of = |code: &Code| {
        let is_of_actions = code.system.as_deref() == Some(ACTIONS);
        match Action::of_code(&code.code) {
            Some(action) if is_of_actions => Met::of(action == asked),
            _ => Met::Unclear,
        }
    };
    let known = codes.known.iter().map(of).max().unwrap_or(Met::Unclear);
    if codes.unclear { known.max(Met::Unclear) } else { known }
}

/// Whether a purpose is one, or stands below it.
#[must_use]
pub fn is_purpose(purpose: &str, above: &str) -> bool {
    purpose == above || definitions::r4().code_system(ACT_REASON).is_some_and(|system| system.is_a(purpose, above))
}

/// Of several purposes it is not known which counts: a provision that names not all of them may or may not be met.
fn purpose(codes: &Codes, asked: &[Box<str>]) -> Met {
    let is_clear = |code: &Code| code.system.as_deref() == Some(ACT_REASON);
    let is_met = |purpose: &str| codes.known.iter().any(|code| is_clear(code) && is_purpose(purpose, &code.code));
    let met = asked.iter().filter(|purpose| is_met(purpose)).count();
    match met {
        _ if asked.is_empty() => Met::Unclear,
        all if all == asked.len() => Met::Yes,
        0 if !codes.unclear && codes.known.iter().all(is_clear) => Met::No,
        _ => Met::Unclear,
    }
}

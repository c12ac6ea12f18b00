//! What a user can grant of what an app asks, scope by scope.
//!
//! What is granted is asked, ticked, within the client's registration, and something that the user's roles can give at all.
//! A scope for a whole type can be replaced by those for the categories of US Core
//! (<https://hl7.org/fhir/us/core/scopes.html>).

use super::keeper::KeeperError;
use super::records::{LaunchContext, Pending, Role, User};
use super::scope::{ADMIN, INTROSPECT, Letters, Level, ResourceScope, Scope, Scopes};
use super::server::Server;
use crate::tenant::TenantId;

/// What a type's resources are divided into: the type, a title for people, system and code of `category`.
const KINDS: [(&str, &str, &str, &str); 10] = [
    (
        "Condition",
        "Diagnoses of an encounter",
        "http://terminology.hl7.org/CodeSystem/condition-category",
        "encounter-diagnosis",
    ),
    (
        "Condition",
        "Problems on the problem list",
        "http://terminology.hl7.org/CodeSystem/condition-category",
        "problem-list-item",
    ),
    ("Condition", "Health concerns", "http://hl7.org/fhir/us/core/CodeSystem/condition-category", "health-concern"),
    (
        "DocumentReference",
        "Clinical notes",
        "http://hl7.org/fhir/us/core/CodeSystem/us-core-documentreference-category",
        "clinical-note",
    ),
    ("Observation", "Laboratory results", "http://terminology.hl7.org/CodeSystem/observation-category", "laboratory"),
    ("Observation", "Vital signs", "http://terminology.hl7.org/CodeSystem/observation-category", "vital-signs"),
    ("Observation", "Social history", "http://terminology.hl7.org/CodeSystem/observation-category", "social-history"),
    ("Observation", "Answers to surveys", "http://terminology.hl7.org/CodeSystem/observation-category", "survey"),
    ("Observation", "Clinical tests", "http://hl7.org/fhir/us/core/CodeSystem/us-core-category", "clinical-test"),
    (
        "Observation",
        "Living conditions and social needs",
        "http://hl7.org/fhir/us/core/CodeSystem/us-core-category",
        "sdoh",
    ),
];

/// One thing that the user decides about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// What is asked, narrowed to what the user's roles give.
    pub scope: Scope,
    /// The narrower scopes that can be granted in its place, with their titles.
    pub kinds: Vec<(&'static str, ResourceScope)>,
}

/// What a user can grant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Offer {
    /// What is decided about.
    pub items: Vec<Item>,
    /// What goes along with it: the context that the app is told.
    pub context: Vec<Scope>,
    /// What the app asks and the user can't give.
    pub withheld: Vec<Scope>,
}

impl Offer {
    /// What can be granted of a request by a user with these roles.
    #[must_use]
    pub fn new(pending: &Pending, roles: &[Role]) -> Self {
        let is_admin = roles.iter().any(|role| role.is_admin);
        let mut offer = Self::default();
        for scope in pending.scopes.iter() {
            match scope {
                Scope::Named("launch" | "launch/patient" | "launch/encounter") => offer.context.push(scope.clone()),
                Scope::Named(ADMIN | INTROSPECT) if !is_admin => offer.withheld.push(scope.clone()),
                Scope::Named(_) => offer.items.push(Item { scope: scope.clone(), kinds: Vec::new() }),
                Scope::Resource(asked) => match narrowed(asked, roles) {
                    Some(scope) => {
                        let kinds = kinds(&scope);
                        offer.items.push(Item { scope: Scope::Resource(scope), kinds });
                    }
                    None => offer.withheld.push(scope.clone()),
                },
            }
        }
        offer
    }

    /// What is granted: `choice` tells what the user chose for a scope, `all` or `some` of its kinds.
    #[must_use]
    pub fn granted<'f>(&self, choice: impl Fn(&str) -> Option<&'f str>) -> Scopes {
        let chosen = |scope: &str| choice(scope);
        let mut granted = Vec::new();
        for item in &self.items {
            match chosen(&item.scope.to_string()) {
                Some("all") => granted.push(item.scope.clone()),
                Some("some") => {
                    let ticked = item.kinds.iter().filter(|(_, kind)| chosen(&kind.to_string()) == Some("all"));
                    granted.extend(ticked.map(|(_, kind)| Scope::Resource(kind.clone())));
                }
                _ => {}
            }
        }
        // The context alone is nothing, unless it is all that was asked.
        if granted.is_empty() && !(self.items.is_empty() && self.withheld.is_empty()) {
            return Scopes::default();
        }
        granted.into_iter().chain(self.context.iter().cloned()).collect()
    }
}

impl Server {
    /// What a user can grant of a request.
    ///
    /// # Errors
    /// When the store fails.
    pub fn offer(&self, tenant: TenantId, user: &User, pending: &Pending) -> Result<Offer, KeeperError> {
        Ok(Offer::new(pending, &self.roles_of(tenant, user)?))
    }

    /// Whether a user may ask for emergency access.
    ///
    /// # Errors
    /// When the store fails.
    pub fn may_break_glass(&self, tenant: TenantId, user: &User) -> Result<bool, KeeperError> {
        Ok(self.roles_of(tenant, user)?.iter().any(|role| role.break_glass))
    }
}

/// The context of a request so far: patients are in their own.
#[must_use]
pub fn context_of(pending: &Pending, user: &User) -> LaunchContext {
    let mut context = pending.context.clone();
    let own = user.fhir_user.as_deref().and_then(|reference| reference.strip_prefix("Patient/"));
    if context.patient.is_none() && wants_patient(&pending.scopes) {
        context.patient = own.map(str::to_owned);
    }
    context
}

/// Whether scopes mean nothing without a patient in context.
#[must_use]
pub fn wants_patient(scopes: &Scopes) -> bool {
    scopes.has("launch/patient") || scopes.resources().any(|scope| scope.level == Level::Patient)
}

/// What of a scope roles give: its letters, where any role has them for the type. Restrictions of roles are not written into
/// it; they hold at each request, as the roles then are.
fn narrowed(asked: &ResourceScope, roles: &[Role]) -> Option<ResourceScope> {
    let as_user = ResourceScope { level: Level::User, ..asked.clone() };
    let given = roles.iter().flat_map(|role| role.scopes.resources()).filter_map(|own| as_user.meet(own));
    let letters = given.fold(Letters::NONE, |letters, shared| letters | shared.letters);
    let is_v1 = asked.is_v1 && [Letters::V1_READ, Letters::V1_WRITE, Letters::ALL].contains(&letters);
    (letters != Letters::NONE).then(|| ResourceScope { letters, is_v1, ..asked.clone() })
}

fn kinds(scope: &ResourceScope) -> Vec<(&'static str, ResourceScope)> {
    let own = KINDS.iter().filter(|kind| scope.restriction.is_empty() && scope.type_name.as_deref() == Some(kind.0));
    let narrower = own.map(|(_, title, system, code)| {
        let restriction = format!("category={system}|{code}").into();
        (*title, ResourceScope { restriction, is_v1: false, ..scope.clone() })
    });
    narrower.collect()
}

/// The title of a scope that is one of US Core's categories.
#[must_use]
pub fn kind_of(scope: &ResourceScope) -> Option<&'static str> {
    let restriction = scope.restriction.strip_prefix("category=")?;
    let code = restriction.rsplit_once('|').map_or(restriction, |(_, code)| code);
    let same = |kind: &&(&str, &str, &str, &str)| scope.type_name.as_deref() == Some(kind.0) && kind.3 == code;
    KINDS.iter().find(same).map(|kind| kind.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(asked: &str, role: &str) -> Offer {
        let pending = serde_json::json!({
            "client_id": "app", "redirect_uri": "https://app.example.org/", "scopes": asked, "code_challenge": ""
        });
        let role = serde_json::json!({ "name": "role", "scopes": role });
        Offer::new(&serde_json::from_value(pending).unwrap(), &[serde_json::from_value(role).unwrap()])
    }

    fn granted(offer: &Offer, choices: &[(&str, &str)]) -> String {
        let choice = |scope: &str| choices.iter().find(|(own, _)| *own == scope).map(|(_, choice)| *choice);
        offer.granted(choice).to_string()
    }

    #[test]
    fn only_what_is_ticked_is_granted_and_the_context_with_it() {
        let offer = offer("launch/patient openid patient/Observation.rs patient/Condition.read", "user/*.rs");
        let all = [("openid", "all"), ("patient/Observation.rs", "all"), ("patient/Condition.read", "all")];
        assert_eq!(granted(&offer, &all), "openid patient/Observation.rs patient/Condition.read launch/patient");
        assert_eq!(granted(&offer, &all[..1]), "openid launch/patient");
        assert_eq!(granted(&offer, &[]), "");
        assert_eq!(granted(&offer, &[("patient/*.rs", "all"), ("launch/patient", "all")]), "", "what was not asked");
    }

    #[test]
    fn a_whole_type_can_be_replaced_by_categories() {
        let offer = offer("patient/Observation.read", "user/*.cruds");
        let laboratory =
            "patient/Observation.rs?category=http://terminology.hl7.org/CodeSystem/observation-category|laboratory";
        let choices = [("patient/Observation.read", "some"), (laboratory, "all")];
        assert_eq!(granted(&offer, &choices), laboratory);
        assert_eq!(granted(&offer, &choices[..1]), "");
        assert!(offer.granted(|_| Some("some")).is_empty());
    }

    #[test]
    fn what_no_role_gives_is_withheld() {
        let shown = |scopes: Vec<&Scope>| scopes.iter().map(ToString::to_string).collect::<Vec<_>>();
        let asked = "user/Observation.cruds user/Claim.rs admin patient/*.write";
        let offer = offer(asked, "user/Observation.rs user/Goal.u");
        assert_eq!(shown(offer.items.iter().map(|item| &item.scope).collect()), ["user/Observation.rs", "patient/*.u"]);
        assert_eq!(shown(offer.withheld.iter().collect()), ["user/Claim.rs", "admin"]);
    }
}

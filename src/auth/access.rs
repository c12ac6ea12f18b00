//! What somebody may reach, compiled into the algebra over search keys.
//!
//! The effective right is what the client's scopes give, and the roles of the user (where there is one), in the launch context.
//! Scopes add up, and so do roles; the two sides limit each other. For each resource type and each of SMART's letters that
//! comes to nothing, to everything, or to a set of resources.

use super::compartment::{Patients, in_patients, names_patients};
use super::grant::Consented;
use super::scope::{Letters, Level, ResourceScope, Scopes};
use crate::fhir::definitions;
use crate::key::ties::{ATTACHMENT, SECURITY_CONTEXT, WITH_ATTACHMENTS};
use crate::key::{ByPatient, Expr, KeyRange, prefix_of};
use rustc_hash::FxHashMap;
use std::sync::{Arc, PoisonError, RwLock};

/// Turns the search restriction of a scope into a set. The search engine implements it.
pub trait Restrictions {
    /// The resources of a type that meet `query` (`category=laboratory&status=final`); `None` where it is no criteria of the type.
    fn compile(&self, type_name: &str, query: &str) -> Option<Expr>;
}

/// What is allowed for one type and letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Allowed {
    /// Nothing: no scope covers it.
    Nothing,
    /// Every resource.
    Everything,
    /// The resources in a set.
    Part(Arc<Expr>),
}

impl Allowed {
    fn of(expr: Expr) -> Self {
        if expr == Expr::All { Self::Everything } else { Self::Part(Arc::new(expr)) }
    }

    /// What of it the rules of patients permit. Types of which no resource tells whom it is about stay as they are.
    fn within(self, type_name: &str, rules: &[&ByPatient]) -> Self {
        if !names_patients(type_name) {
            return self;
        }
        let all = match self {
            Self::Nothing => return Self::Nothing,
            Self::Everything => Expr::All,
            Self::Part(expr) => (*expr).clone(),
        };
        let rules = rules.iter().map(|rules| Expr::InPatients((*rules).clone()));
        Self::of(Expr::and(std::iter::once(all).chain(rules)))
    }

    fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Nothing, one) | (one, Self::Nothing) => one,
            (Self::Part(one), Self::Part(two)) if one == two => Self::Part(one),
            (Self::Part(one), Self::Part(two)) => Self::of(Expr::or([(*one).clone(), (*two).clone()])),
            (Self::Everything, _) | (_, Self::Everything) => Self::Everything,
        }
    }
}

/// The roles of a user, as scopes, and whose data they are about.
#[derive(Debug, Clone)]
pub struct RoleRights {
    /// Scopes; their level does not count.
    pub scopes: Scopes,
    /// Whose data.
    pub patients: Patients,
}

/// One thing that is allowed.
#[derive(Debug, Clone)]
struct Term {
    /// All types where absent.
    type_name: Option<Box<str>>,
    letters: Letters,
    patients: Patients,
    restriction: Expr,
}

/// The rights of a token.
#[derive(Debug)]
pub struct Access {
    client: Vec<Term>,
    roles: Option<Vec<Term>>,
    compiled: RwLock<FxHashMap<(Box<str>, Letters), Allowed>>,
}

impl Access {
    /// The rights that scopes give, together with roles where there is a user. `patient` is the one in context: `patient/`
    /// scopes give nothing without.
    #[must_use]
    pub fn new(
        scopes: &Scopes,
        patient: Option<&str>,
        roles: Option<&[RoleRights]>,
        restrictions: &dyn Restrictions,
    ) -> Self {
        let whose = |scope: &ResourceScope| match scope.level {
            Level::Patient => patient.map(|id| Patients::One(id.into())),
            Level::User | Level::System => Some(Patients::All),
        };
        let client = scopes.resources().filter_map(|scope| Some((scope, whose(scope)?)));
        let client = client.flat_map(|(scope, patients)| terms(scope, &patients, restrictions)).collect();
        let of_role = |role: &RoleRights| {
            let scopes = role.scopes.resources();
            scopes.flat_map(|scope| terms(scope, &role.patients, restrictions)).collect::<Vec<_>>()
        };
        let roles = roles.map(|roles| roles.iter().flat_map(of_role).collect());
        Self { client, roles, compiled: RwLock::default() }
    }

    /// What is allowed of a type for any of the letters.
    #[must_use]
    pub fn allowed(&self, type_name: &str, letters: Letters) -> Allowed {
        let key = (Box::from(type_name), letters);
        if let Some(known) = self.compiled.read().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return known.clone();
        }
        let is_plain = type_name != "Binary" || self.is_whole();
        // Each letter for itself: one that the client has and another that the role has give nothing together.
        let of = |letter| if is_plain { self.plain(type_name, letter) } else { self.binary(letter, None) };
        let allowed = letters.each().map(of).fold(Allowed::Nothing, Allowed::or);
        self.compiled.write().unwrap_or_else(PoisonError::into_inner).insert(key, allowed.clone());
        allowed
    }

    /// The same, as far as patients consent to it.
    pub(super) fn consented(&self, type_name: &str, letters: Letters, to: &Consented) -> Allowed {
        let of = |letter| match type_name {
            "Binary" => self.binary(letter, Some(to)),
            _ => self.allowed(type_name, letter).within(type_name, &to.to(letter)),
        };
        letters.each().map(of).fold(Allowed::Nothing, Allowed::or)
    }

    fn plain(&self, type_name: &str, letters: Letters) -> Allowed {
        let sides = std::iter::once(&self.client).chain(&self.roles);
        let mut parts = Vec::new();
        for side in sides {
            let covering = side.iter().filter(|term| term.is_for(type_name, letters));
            let sets: Vec<_> = covering.map(|term| term.set(type_name)).collect();
            if sets.is_empty() {
                return Allowed::Nothing;
            }
            parts.push(Expr::or(sets));
        }
        Allowed::of(Expr::and(parts))
    }

    /// A Binary with a `securityContext` is reached by who may read that resource, whosever data a scope is about
    /// (<https://hl7.org/fhir/R4/binary.html#security-context>). Without one it is reached by who may reach all patients, or who may
    /// read a resource that has it as an attachment. The search restrictions of scopes for Binary hold for each of them.
    ///
    /// What patients do not consent to be seen is not readable; and of the Binary resources without a context, those that are
    /// attached somewhere go with what has them.
    fn binary(&self, letters: Letters, consented: Option<&Consented>) -> Allowed {
        let mut restrictions = Vec::new();
        for side in std::iter::once(&self.client).chain(&self.roles) {
            let covering = side.iter().filter(|term| term.is_for("Binary", letters));
            let sets: Vec<_> = covering.map(|term| term.restriction.clone()).collect();
            if sets.is_empty() {
                return Allowed::Nothing;
            }
            restrictions.push(Expr::or(sets));
        }
        let readable = |type_name: &str| match consented {
            Some(to) => self.plain(type_name, Letters::READ).within(type_name, &[&to.access]),
            None => self.plain(type_name, Letters::READ),
        };
        let readable = |type_name: &str| match readable(type_name) {
            Allowed::Nothing => None,
            Allowed::Everything => Some(Box::new(Expr::All)),
            Allowed::Part(expr) => Some(Box::new((*expr).clone())),
        };
        let secured = Expr::Keys(KeyRange::prefix(&prefix_of(SECURITY_CONTEXT)));
        let by_context =
            definitions::r4().resource_types().iter().filter(|name| **name != "Binary").filter_map(|name| {
                let expr = readable(name)?;
                Some(Expr::Refers { code: SECURITY_CONTEXT.into(), target: (*name).into(), expr })
            });
        let by_attachment = WITH_ATTACHMENTS.iter().filter_map(|(name, _)| {
            let expr = readable(name)?;
            Some(Expr::ReferredBy { source: (*name).into(), code: ATTACHMENT.into(), expr })
        });
        let unattached = || {
            let attached = |(name, _): &(&str, _)| Expr::ReferredBy {
                source: (*name).into(),
                code: ATTACHMENT.into(),
                expr: Box::new(Expr::All),
            };
            Expr::or(WITH_ATTACHMENTS.iter().map(attached)).negate()
        };
        let own = match self.plain("Binary", letters) {
            Allowed::Everything => Expr::All,
            Allowed::Part(expr) => (*expr).clone(),
            Allowed::Nothing => Expr::none(),
        };
        let own = if consented.is_some() { Expr::and([own, unattached()]) } else { own };
        let without_context = Expr::or(std::iter::once(own).chain(by_attachment));
        let context = Expr::and([secured.clone(), Expr::or(by_context)]);
        let free = Expr::and([secured.negate(), without_context]);
        restrictions.push(Expr::or([context, free]));
        Allowed::Part(Arc::new(Expr::and(restrictions)))
    }

    /// Whether all of every type is allowed for every letter: what changes the server itself asks for it.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        std::iter::once(&self.client).chain(&self.roles).all(|side| side.iter().any(Term::is_whole))
    }
}

impl Term {
    fn is_for(&self, type_name: &str, letters: Letters) -> bool {
        self.letters.meet(letters) && self.type_name.as_deref().is_none_or(|own| own == type_name)
    }

    fn is_whole(&self) -> bool {
        self.type_name.is_none()
            && self.letters == Letters::ALL
            && self.patients == Patients::All
            && self.restriction == Expr::All
    }

    fn set(&self, type_name: &str) -> Expr {
        Expr::and([in_patients(type_name, &self.patients), self.restriction.clone()])
    }
}

/// A scope as terms: one, or one for each type where a restriction is for all types. A restriction that is no criteria of the type
/// gives nothing.
fn terms(scope: &ResourceScope, patients: &Patients, restrictions: &dyn Restrictions) -> Vec<Term> {
    let term = |type_name: Option<&str>, restriction| Term {
        type_name: type_name.map(Into::into),
        letters: scope.letters,
        patients: patients.clone(),
        restriction,
    };
    let restricted = |type_name: &str| {
        let restriction = restrictions.compile(type_name, &scope.restriction)?;
        Some(term(Some(type_name), restriction))
    };
    match (scope.type_name.as_deref(), &*scope.restriction) {
        (type_name, "") => vec![term(type_name, Expr::All)],
        (Some(type_name), _) => restricted(type_name).into_iter().collect(),
        (None, _) => definitions::r4().resource_types().iter().filter_map(|name| restricted(name)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::id_key;

    /// `_id=x` is all that it understands.
    struct Ids;

    impl Restrictions for Ids {
        fn compile(&self, _: &str, query: &str) -> Option<Expr> {
            query.strip_prefix("_id=").map(|id| Expr::Keys(KeyRange::exactly(&id_key(id))))
        }
    }

    fn access(scopes: &str, patient: Option<&str>, roles: Option<&str>) -> Access {
        let roles = roles.map(|scopes| [RoleRights { scopes: Scopes::parse(scopes), patients: Patients::All }]);
        Access::new(&Scopes::parse(scopes), patient, roles.as_ref().map(|roles| &roles[..]), &Ids)
    }

    #[test]
    fn what_no_scope_covers_is_nothing() {
        let rights = access("user/Observation.rs", None, Some("user/*.r"));
        assert_eq!(rights.allowed("Observation", Letters::READ), Allowed::Everything);
        assert_eq!(rights.allowed("Observation", Letters::SEARCH), Allowed::Nothing, "the role has no search");
        assert_eq!(rights.allowed("Condition", Letters::READ), Allowed::Nothing);
        assert_eq!(rights.allowed("Observation", Letters::DELETE), Allowed::Nothing);
        assert_eq!(access("", None, None).allowed("Observation", Letters::READ), Allowed::Nothing);
        assert_eq!(access("user/*.rs", None, Some("")).allowed("Observation", Letters::READ), Allowed::Nothing);
    }

    #[test]
    fn letters_do_not_add_up_across_client_and_role() {
        let rights = access("user/Patient.r user/Group.rs", None, Some("user/Patient.s user/Group.r"));
        let any = Letters::READ | Letters::SEARCH;
        assert_eq!(rights.allowed("Patient", any), Allowed::Nothing);
        assert_eq!(rights.allowed("Group", any), Allowed::Everything);
    }

    #[test]
    fn a_patient_scope_without_a_patient_is_nothing() {
        assert_eq!(access("patient/*.rs", None, None).allowed("Observation", Letters::READ), Allowed::Nothing);
        let rights = access("patient/*.rs", Some("p"), None);
        assert!(matches!(rights.allowed("Observation", Letters::READ), Allowed::Part(_)));
        assert_eq!(rights.allowed("ValueSet", Letters::READ), Allowed::Everything);
    }

    #[test]
    fn a_restriction_that_is_none_gives_nothing() {
        let rights = access("user/Observation.rs?code=x user/Patient.r?_id=x", None, None);
        assert_eq!(rights.allowed("Observation", Letters::READ), Allowed::Nothing);
        let expected = Expr::Keys(KeyRange::exactly(&id_key("x")));
        assert_eq!(rights.allowed("Patient", Letters::READ), Allowed::Part(Arc::new(expected)));
    }

    #[test]
    fn only_all_of_everything_is_whole() {
        assert!(access("system/*.cruds", None, None).is_whole());
        assert!(access("system/*.*", None, None).is_whole());
        assert!(!access("system/*.cruds", None, Some("user/*.rs")).is_whole());
        assert!(!access("patient/*.cruds", Some("p"), None).is_whole());
    }
}

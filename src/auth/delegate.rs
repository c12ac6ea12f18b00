//! What a request may do, kept for a job that acts for it later: whole types only, and never more than the request had.

use super::access::{Access, Allowed, Restrictions};
use super::grant::Grant;
use super::recipient::Recipient;
use super::scope::{Letters, Scopes};
use crate::fhir::definitions;
use crate::key::Expr;
use crate::tenant::TenantId;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The rights of who asked for a job. What patients consent to is looked up anew whenever they are used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delegation {
    /// Scopes, without search restrictions.
    scopes: String,
    /// For whom patients' consents have to be asked.
    #[serde(default)]
    recipient: Option<Recipient>,
}

impl Delegation {
    /// What a grant reaches whole, type by type. Nothing for one that is not limited at all.
    #[must_use]
    pub fn of(grant: &Grant) -> Option<Self> {
        if grant.is_unrestricted() {
            return None;
        }
        let is_whole = |name: &str, letter| grant.allowed_by_scopes(name, letter) == Allowed::Everything;
        let of_type = |name: &&str| {
            let whole = Letters::ALL.each().filter(|letter| is_whole(name, *letter));
            let letters = whole.fold(Letters::NONE, |all, letter| all | letter);
            (letters != Letters::NONE).then(|| format!("system/{name}.{letters}"))
        };
        let scopes = if grant.is_whole() {
            "system/*.cruds".to_owned()
        } else {
            let types = definitions::r4().resource_types().iter();
            types.filter_map(of_type).collect::<Vec<_>>().join(" ")
        };
        Some(Self { scopes, recipient: grant.recipient().map(|recipient| (**recipient).clone()) })
    }

    /// Whether what is kept of a grant is all that it gives: each type is reached whole, or not at all.
    #[must_use]
    pub fn is_exact_for(grant: &Grant) -> bool {
        let is_exact = |name: &&str| {
            let mut letters = Letters::ALL.each();
            letters.all(|letter| !matches!(grant.allowed_by_scopes(name, letter), Allowed::Part(_)))
        };
        grant.is_unrestricted() || definitions::r4().resource_types().iter().all(is_exact)
    }

    /// Whether a grant gives all of it.
    #[must_use]
    pub fn is_within(&self, grant: &Grant) -> bool {
        let own = self.grant(grant.tenant());
        let is_whole = |grant: &Grant, name: &str, letter| grant.allowed_by_scopes(name, letter) == Allowed::Everything;
        let is_had = |name: &&str| {
            let mut letters = Letters::ALL.each();
            letters.all(|letter| !is_whole(&own, name, letter) || is_whole(grant, name, letter))
        };
        // Whom no consent bound, or whom others did, was given what these withhold.
        let is_bound_alike = grant.recipient().is_none_or(|recipient| self.recipient.as_ref() == Some(&**recipient));
        is_bound_alike && definitions::r4().resource_types().iter().all(is_had)
    }

    /// The grant that it gives.
    #[must_use]
    pub fn grant(&self, tenant: TenantId) -> Grant {
        let access = Access::new(&Scopes::parse(&self.scopes), None, None, &Unrestricted);
        Grant::limited(tenant, Arc::new(access), self.recipient.clone().map(Arc::new))
    }
}

/// Reads no search restriction: there is none in what is kept.
struct Unrestricted;

impl Restrictions for Unrestricted {
    fn compile(&self, _: &str, _: &str) -> Option<Expr> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(scopes: &str) -> Grant {
        let access = Access::new(&Scopes::parse(scopes), None, None, &Unrestricted);
        Grant::limited(TenantId::DEFAULT, Arc::new(access), None)
    }

    #[test]
    fn it_gives_what_was_had_and_no_more() {
        let delegation = Delegation::of(&grant("system/Patient.cu system/Observation.rs?code=1")).unwrap();
        let kept: Delegation = serde_json::from_value(serde_json::to_value(&delegation).unwrap()).unwrap();
        let given = kept.grant(TenantId::DEFAULT);
        for letter in Letters::ALL.each() {
            let is_had = letter == Letters::CREATE || letter == Letters::UPDATE;
            let expected = if is_had { Allowed::Everything } else { Allowed::Nothing };
            assert_eq!(given.allowed("Patient", letter), expected);
            assert_eq!(given.allowed("Observation", letter), Allowed::Nothing);
        }
        assert!(!given.is_admin());
    }

    #[test]
    fn who_is_bound_by_consents_is_not_given_what_nobody_bound() {
        let of = |role: Option<&str>| {
            let recipient = role.map(|role| Arc::new(Recipient { roles: vec![role.into()], ..Recipient::default() }));
            let access = Access::new(&Scopes::parse("system/*.rs"), None, None, &Unrestricted);
            Grant::limited(TenantId::DEFAULT, Arc::new(access), recipient)
        };
        let gives = |had: Option<&str>, asks: Option<&str>| Delegation::of(&of(had)).unwrap().is_within(&of(asks));
        assert!(!gives(None, Some("nurse")), "it was asked for in an emergency");
        assert!(!gives(Some("doctor"), Some("nurse")), "others are bound otherwise");
        assert!(gives(Some("nurse"), Some("nurse")) && gives(Some("nurse"), None) && gives(None, None));
    }

    #[test]
    fn all_of_everything_stays_so() {
        assert!(Delegation::of(&grant("system/*.cruds")).unwrap().grant(TenantId::DEFAULT).is_whole());
    }
}

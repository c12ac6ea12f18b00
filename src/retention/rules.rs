//! Which rule is for what, and what is due by it.

use crate::clock::Micros;
use crate::config::{RetentionRule, Then, What};
use crate::error::Result;
use crate::fhir::definitions;
use crate::store::{Extent, Outline, View};
use crate::tenant::TenantId;

const DAY: i64 = 86_400_000_000;

/// The rules of the settings.
#[derive(Debug, Clone)]
pub struct Rules(Vec<RetentionRule>);

/// What is due of a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// How much of it.
    pub extent: Extent,
    /// Whether it is archived first.
    pub is_archived: bool,
}

impl Rules {
    /// The rules, if R4 has the types that they name; else the name that is none.
    ///
    /// # Errors
    /// As said.
    pub fn new(rules: Vec<RetentionRule>) -> std::result::Result<Self, String> {
        let unknown = |name: &&String| !definitions::r4().is_resource_type(name);
        let found = rules.iter().flat_map(|rule| &rule.types).find(unknown).cloned();
        found.map_or(Ok(Self(rules)), Err)
    }

    /// Whether there is a rule.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The same after a tenant's own.
    #[must_use]
    pub fn after(&self, own: &[RetentionRule]) -> Self {
        Self(own.iter().chain(&self.0).cloned().collect())
    }

    /// For how long something is kept, in microseconds, and whether it is archived then; `None` for ever.
    fn keeps(&self, tenant: TenantId, type_name: &str, what: What) -> Option<(i64, bool)> {
        let is_for = |rule: &&RetentionRule| {
            rule.what == what
                && rule.tenant.is_none_or(|own| own == tenant.0)
                && (rule.types.is_empty() || rule.types.iter().any(|name| name == type_name))
        };
        let rule = self.0.iter().find(is_for)?;
        let days = rule.keep_days.filter(|_| rule.then != Then::Keep)?;
        Some((i64::from(days) * DAY, rule.then == Then::Archive))
    }

    /// What of a resource has been kept for long enough.
    ///
    /// # Errors
    /// When the store fails.
    pub fn due(&self, tenant: TenantId, view: &dyn View, outline: &Outline, now: Micros) -> Result<Option<Due>> {
        let Outline { rid, type_name, version, oldest, time, is_deleted, .. } = outline;
        let what = if *is_deleted { What::Deleted } else { What::Current };
        if let Some((keep, is_archived)) = self.keeps(tenant, type_name, what)
            && time.0.saturating_add(keep) <= now.0
        {
            return Ok(Some(Due { extent: Extent::Whole { version: *version }, is_archived }));
        }
        let Some((keep, is_archived)) = self.keeps(tenant, type_name, What::OldVersions) else { return Ok(None) };
        let mut before = *oldest;
        while before < *version {
            // A version was superseded when the next one was made.
            let superseded = view.version(*rid, before + 1)?.map_or(*time, |next| next.time);
            if superseded.0.saturating_add(keep) > now.0 {
                break;
            }
            before += 1;
        }
        Ok((before > *oldest).then_some(Due { extent: Extent::Before(before), is_archived }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(types: &[&str], what: What, keep_days: u32, then: Then) -> RetentionRule {
        let types = types.iter().map(|name| (*name).to_owned()).collect();
        RetentionRule { tenant: None, types, what, keep_days: Some(keep_days), then }
    }

    #[test]
    fn the_first_rule_that_fits_decides() {
        let of_one = RetentionRule { tenant: Some(7), ..rule(&["Observation"], What::Deleted, 1, Then::Archive) };
        let rules = Rules::new(vec![
            of_one,
            rule(&["Consent", "Patient"], What::Deleted, 0, Then::Keep),
            rule(&[], What::Deleted, 2, Then::Purge),
        ]);
        let rules = rules.unwrap();
        let keeps = |tenant, name| rules.keeps(TenantId(tenant), name, What::Deleted);
        assert_eq!(keeps(7, "Observation"), Some((DAY, true)));
        assert_eq!(keeps(0, "Observation"), Some((2 * DAY, false)));
        assert_eq!(keeps(0, "Consent"), None);
        assert_eq!(rules.keeps(TenantId(7), "Observation", What::OldVersions), None);
        assert_eq!(
            Rules::new(vec![rule(&["Observations"], What::Deleted, 1, Then::Purge)]).unwrap_err(),
            "Observations"
        );
    }
}

//! The settings of retention.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// What is kept for how long.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retention {
    /// How often the rules are applied, in seconds; only by command where it is 0.
    pub interval_s: u64,
    /// The folder for what is archived.
    pub archive_folder: Option<PathBuf>,
    /// The rules. Of those that are for a tenant, a type and a kind of version, the first one decides; nothing is erased where there
    /// is none.
    pub rules: Vec<RetentionRule>,
}

impl Default for Retention {
    fn default() -> Self {
        Self { interval_s: 86_400, archive_folder: None, rules: Vec::new() }
    }
}

/// What a rule is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// Versions that were superseded, from then on.
    OldVersions,
    /// Deleted resources with all their versions, from their deletion on.
    Deleted,
    /// Resources with all their versions, from their last change on.
    Current,
}

/// What a rule does with what has been kept for long enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Then {
    /// Nothing: an exception to a rule that follows.
    Keep,
    /// It is erased.
    Purge,
    /// It is put into a file, and erased.
    Archive,
}

/// A rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetentionRule {
    /// The number of the tenant; all tenants where it is not set.
    #[serde(default)]
    pub tenant: Option<u32>,
    /// The resource types; all where there is none.
    #[serde(default)]
    pub types: Vec<String>,
    /// What of them.
    pub what: What,
    /// For how many days it is kept.
    #[serde(default)]
    pub keep_days: Option<u32>,
    /// What comes then.
    pub then: Then,
}

impl Retention {
    /// The first setting that can't be used, and what would be right.
    #[must_use]
    pub fn fault(&self) -> Option<(&'static str, &'static str)> {
        let rules = || self.rules.iter();
        if rules().any(|rule| rule.keep_days.is_none() && rule.then != Then::Keep) {
            return Some(("retention.rules", "each must have keep_days, unless it is to keep"));
        }
        if rules().any(|rule| rule.then == Then::Archive) && self.archive_folder.is_none() {
            return Some(("retention.archive_folder", "must be set where a rule is to archive"));
        }
        // A record without its patient would be left behind, and nobody could be asked about it.
        let is_about_patients =
            |rule: &RetentionRule| rule.types.is_empty() || rule.types.iter().any(|name| name == "Patient");
        if rules().any(|rule| rule.what == What::Current && rule.then != Then::Keep && is_about_patients(rule)) {
            return Some((
                "retention.rules",
                "one for current resources must name types, and not Patient: see Patient/[id]/$purge",
            ));
        }
        if rules().any(|rule| rule.types.iter().any(|name| name == "AuditEvent")) {
            return Some(("retention.rules", "the ledger is not erased: AuditEvent can't be named"));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_that_can_not_be_meant_are_refused() {
        let rule = |types: &[&str], what, keep_days, then| RetentionRule {
            tenant: None,
            types: types.iter().map(|name| (*name).to_owned()).collect(),
            what,
            keep_days,
            then,
        };
        let fault =
            |rule: RetentionRule| Retention { rules: vec![rule], ..Retention::default() }.fault().map(|fault| fault.0);
        let (rules, folder) = (Some("retention.rules"), Some("retention.archive_folder"));
        assert_eq!(fault(rule(&[], What::Deleted, None, Then::Purge)), rules);
        assert_eq!(fault(rule(&[], What::Deleted, None, Then::Keep)), None);
        assert_eq!(fault(rule(&["Flag"], What::Deleted, Some(1), Then::Archive)), folder);
        assert_eq!(fault(rule(&[], What::Current, Some(1), Then::Purge)), rules);
        assert_eq!(fault(rule(&["Patient"], What::Current, Some(1), Then::Purge)), rules);
        assert_eq!(fault(rule(&["Patient"], What::OldVersions, Some(1), Then::Purge)), None);
        assert_eq!(fault(rule(&["Flag"], What::Current, Some(0), Then::Purge)), None);
        assert_eq!(fault(rule(&["AuditEvent"], What::Current, Some(1), Then::Purge)), rules);
    }
}

//! The settings of patients' consents.

use serde::{Deserialize, Serialize};

/// What is done where a patient did not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rule {
    /// It is permitted, as far as scopes and roles reach.
    Permit,
    /// It is denied.
    Deny,
}

/// What holds where Consents say nothing.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Consent {
    /// The base rule of a Consent whose `policyRule` is missing or not known.
    pub base: Rule,
    /// The rule of patients who have no Consent in force: `permit` where they have to opt out, `deny` where they have to opt in.
    pub without: Rule,
}

impl Default for Consent {
    fn default() -> Self {
        Self { base: Rule::Deny, without: Rule::Permit }
    }
}

//! The settings of the index.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Whether identifying search keys are hidden from the index.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IndexMode {
    /// All keys are as they are.
    #[default]
    Plain,
    /// Those of the hidden parameters are keyed hashes.
    Blind,
}

/// The index of search keys.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Index {
    /// How the index of a tenant is that does not say it itself.
    pub mode: IndexMode,
    /// The codes of the search parameters that a blind index hides, by resource type; where not set, those that identify persons.
    pub hidden: Option<BTreeMap<Box<str>, BTreeSet<Box<str>>>>,
}

impl Index {
    /// What can't be used, and why.
    #[must_use]
    pub fn fault(&self) -> Option<(&'static str, &'static str)> {
        let mut codes = self.hidden.iter().flat_map(BTreeMap::values).flatten();
        let is_wrong = codes.any(|code| code.is_empty() || code.starts_with('_') || &**code == "url");
        is_wrong.then_some(("index.hidden", "`url` and parameters that begin with `_` are not chosen here"))
    }
}

//! What is kept for how long, and what is erased: the rules of the settings ([`enforce`]), the erasure of a patient's record
//! ([`purge`]) or of a whole tenant ([`tenant`]), and legal holds ([`hold`]), which all respect.
//!
//! All of it runs as jobs. Each part of one erases what it decided on together with its entry in the ledger and the record of the job, on
//! the condition that no hold was set meanwhile. Entries of the ledger are never touched.

pub mod archive;
pub mod compaction;
pub mod enforce;
mod gather;
pub mod hold;
pub mod purge;
pub mod rules;
pub mod spare;
pub mod tenant;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Resources that are named in a report; of more only the number is.
const MOST_NAMED: usize = 100;
/// Resources that one part looks at.
const LOOKED_AT: usize = 2000;

/// How much was erased of a type.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// Resources that are gone.
    pub resources: u64,
    /// Versions, those of these resources included.
    pub versions: u64,
}

/// Why something was left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    /// It is under a hold, or a patient is whom it is about.
    Held,
    /// It is about other patients, too.
    Shared,
}

/// What came of a job, or would come of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Report {
    /// Whether nothing was touched.
    pub is_dry_run: bool,
    /// What was erased, by type, what was archived before included.
    pub erased: BTreeMap<Box<str>, Count>,
    /// What of it was archived.
    pub archived: BTreeMap<Box<str>, Count>,
    /// What was left because of a hold, by type.
    pub held: BTreeMap<Box<str>, u64>,
    /// What of a patient's record was left, and why; the first hundred.
    pub left: Vec<(Box<str>, Why)>,
    /// How much more was left.
    pub more_left: u64,
}

impl Report {
    fn leave(&mut self, reference: Box<str>, why: Why) {
        if self.left.iter().any(|(known, _)| *known == reference) {
            return;
        }
        if self.left.len() < MOST_NAMED {
            self.left.push((reference, why));
        } else {
            self.more_left += 1;
        }
    }
}

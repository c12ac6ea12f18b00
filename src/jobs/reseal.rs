//! The work that follows a new data key of a tenant: what is sealed under older keys is sealed under it, and they are retired.
//!
//! The store is gone through until one pass has found nothing. Writes go on meanwhile, under the new key; a part seals a row anew as the
//! store has it when the part is committed, so none is undone.

use super::{Part, Turn, Work};
use crate::error::{Error, Result};
use crate::store::keys::Keyring;
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde::{Deserialize, Serialize};

/// The kind of work, and the id of the one job of it in a tenant.
pub const KIND: &str = "re-seal";

/// Rows that are sealed anew in one part.
const TOGETHER: usize = 500;
/// Passes after which what is found can't be sealed anew: the first does the work, the second what was written meanwhile.
const MOST_PASSES: u32 = 4;

/// What is asked.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Parameters {
    /// Whether the older keys are dropped at the end, so that files which were sealed under them do not open any more.
    #[serde(default)]
    pub drop_old: bool,
}

/// What came of it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Report {
    /// Rows that were sealed anew.
    pub rows: u64,
    /// Keys that were dropped.
    pub dropped: usize,
}

/// Where the next part begins.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
struct Position {
    pass: u32,
    /// The generation of the newest key when this pass began.
    newest: u32,
    /// Rows that this pass has found.
    found: u64,
    /// The last row that was passed, in base64.
    after: String,
}

/// See [`crate::store::Backend::old_rows`].
#[derive(Debug)]
pub struct Reseal;

impl Work for Reseal {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn step(&self, turn: &Turn<'_>) -> Result<Part> {
        let Some(ring) = turn.store.keyring() else {
            return Err(Error::internal("this store has no keys"));
        };
        let mut position: Position = serde_json::from_value(turn.job.position.clone()).unwrap_or_default();
        if position.after.is_empty() {
            position.newest = ring.newest(turn.tenant());
        }
        let mut report: Report = serde_json::from_value(turn.job.report.clone()).unwrap_or_default();
        let after = STANDARD_NO_PAD.decode(&position.after).map_err(Error::internal)?;
        let found = turn.store.old_rows(&turn.grant, &after, TOGETHER)?;
        let rows = position.found + found.rows.len() as u64;
        report.rows += found.rows.len() as u64;
        let is_over = found.next.is_none() && rows == 0;
        if is_over {
            report.dropped = retire(turn, ring, position.newest)?;
        }
        let next = match found.next {
            Some(row) => Position { found: rows, after: STANDARD_NO_PAD.encode(row), ..position },
            None if position.pass >= MOST_PASSES => {
                return Err(Error::internal(format!("{rows} rows can't be sealed anew: `pharos check` names them")));
            }
            None => Position { pass: position.pass + 1, ..Position::default() },
        };
        let is_first_pass = position.pass == 0;
        let mut part = turn.part();
        part.commit.reseals = found.rows;
        Ok(Part {
            position: serde_json::to_value(next).map_err(Error::internal)?,
            report: serde_json::to_value(report).map_err(Error::internal)?,
            done: if is_first_pass { found.resources } else { 0 },
            is_last: is_over,
            ..part
        })
    }
}

/// Nothing is under the keys before this generation any more. Answers how many were dropped. A key that was newest when the pass began
/// may have been replaced meanwhile, and all be under it.
fn retire(turn: &Turn<'_>, ring: &Keyring, newest: u32) -> Result<usize> {
    ring.retire(turn.tenant(), newest)?;
    let parameters: Parameters = serde_json::from_value(turn.job.parameters.clone()).unwrap_or_default();
    Ok(if parameters.drop_old { ring.drop_retired(turn.tenant())? } else { 0 })
}

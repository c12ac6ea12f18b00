//! The work that follows a new data key of a tenant: what is sealed under older keys is sealed under it, and they are retired.
//!
//! The store is gone through until one pass has found nothing. Writes go on meanwhile, under the new key; a part seals a row anew as the
//! store has it when the part is committed, so none is undone. Then come the files outside of the store that are kept for long. Those that go by
//! themselves (of exports and the like) are not sealed anew: an older key that is to be dropped is dropped when they are gone.

use super::queue::all_of;
use super::{Job, Part, Turn, Work};
use crate::clock::Micros;
use crate::error::{Error, Result};
use crate::store::keys::Keyring;
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The kind of work, and the id of the one job of it in a tenant.
pub const KIND: &str = "re-seal";

/// Rows that are sealed anew in one part.
const TOGETHER: usize = 500;
/// Passes after which what is found can't be sealed anew: the first does the work, the second what was written meanwhile.
const MOST_PASSES: u32 = 4;
/// So long after a new key no process seals a file under the one before, be it slow: an older key is not dropped earlier.
const SETTLED_AFTER: Duration = Duration::from_secs(30);

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
    /// Files outside of the store that were sealed anew.
    pub files: u64,
    /// Keys that were dropped.
    pub dropped: usize,
}

/// What is done next.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Phase {
    #[default]
    Rows,
    Files,
    Keys,
}

/// Where the next part begins.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
struct Position {
    phase: Phase,
    pass: u32,
    /// The generation of the newest key when this pass began.
    newest: u32,
    /// Rows that this pass has found.
    found: u64,
    /// The last row that was passed, in base64; the name of the last file.
    after: String,
    /// What was made after that is not under the older keys; where nothing says so, all may be.
    settled: Option<i64>,
}

impl Position {
    /// Whether the files of what was made then may be under the older keys.
    fn is_older(&self, created: i64) -> bool {
        self.settled.is_none_or(|settled| created <= settled)
    }
}

/// What one part has done of the files outside of the store.
#[derive(Debug, Default)]
pub struct Resealed {
    /// The files that it sealed anew.
    pub files: u64,
    /// The name of the last file that it looked at; `None` where there are no more.
    pub last: Option<String>,
}

/// Seals anew the files that come after a name and are under older keys.
pub type Files = Box<dyn Fn(&Turn<'_>, &str) -> Result<Resealed> + Send + Sync>;

/// Whether a job has files that are still to be read.
pub type HasFiles = Box<dyn Fn(&Job, Micros) -> bool + Send + Sync>;

/// See [`crate::store::Backend::old_rows`].
pub struct Reseal {
    /// The files outside of the store that are kept for long.
    pub files: Files,
    /// Those that go by themselves.
    pub has_files: HasFiles,
}

impl Work for Reseal {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn step(&self, turn: &Turn<'_>) -> Result<Part> {
        let Some(ring) = turn.store.keyring() else {
            return Err(Error::internal("this store has no keys"));
        };
        let position: Position = serde_json::from_value(turn.job.position.clone()).unwrap_or_default();
        match position.phase {
            Phase::Rows => rows(turn, ring, position),
            Phase::Files => self.files(turn, ring, position),
            Phase::Keys => self.keys(turn, ring, &position),
        }
    }
}

/// A part of the passes through the store.
fn rows(turn: &Turn<'_>, ring: &Keyring, mut position: Position) -> Result<Part> {
    if position.after.is_empty() {
        position.newest = ring.newest(turn.tenant());
    }
    let mut report = report_of(turn);
    let after = STANDARD_NO_PAD.decode(&position.after).map_err(Error::internal)?;
    let found = turn.store.old_rows(&turn.grant, &after, TOGETHER)?;
    let rows = position.found + found.rows.len() as u64;
    report.rows += found.rows.len() as u64;
    let is_over = found.next.is_none() && rows == 0;
    if is_over {
        // A key that was newest when the pass began may have been replaced meanwhile, and all be under it.
        ring.retire(turn.tenant(), position.newest)?;
    }
    let next = match found.next {
        None if is_over => Position { phase: Phase::Files, newest: position.newest, ..Position::default() },
        Some(row) => Position { found: rows, after: STANDARD_NO_PAD.encode(row), ..position },
        None if position.pass >= MOST_PASSES => {
            return Err(Error::internal(format!("{rows} rows can't be sealed anew: `pharos check` names them")));
        }
        None => Position { pass: position.pass + 1, ..Position::default() },
    };
    let is_first_pass = position.pass == 0;
    let mut part = part(turn, &next, &report)?;
    part.commit.reseals = found.rows;
    Ok(Part { done: if is_first_pass { found.resources } else { 0 }, ..part })
}

fn report_of(turn: &Turn<'_>) -> Report {
    serde_json::from_value(turn.job.report.clone()).unwrap_or_default()
}

fn part(turn: &Turn<'_>, next: &Position, report: &Report) -> Result<Part> {
    let position = serde_json::to_value(next).map_err(Error::internal)?;
    let report = serde_json::to_value(report).map_err(Error::internal)?;
    Ok(Part { position, report, ..turn.part() })
}

fn drops_old(turn: &Turn<'_>) -> bool {
    serde_json::from_value(turn.job.parameters.clone()).is_ok_and(|Parameters { drop_old }| drop_old)
}

impl Reseal {
    /// A part of the files. Another process may have begun the job, and know of a newer key.
    fn files(&self, turn: &Turn<'_>, ring: &Keyring, position: Position) -> Result<Part> {
        let is_settled = turn.store.is_local() || ring.newest_age(turn.tenant()) >= SETTLED_AFTER;
        if ring.newest(turn.tenant()) < position.newest || (drops_old(turn) && !is_settled) {
            return Ok(Part { is_waiting: true, ..turn.part() });
        }
        let Resealed { files, last } = (self.files)(turn, &position.after)?;
        let mut report = report_of(turn);
        report.files += files;
        let next = if let Some(after) = last {
            Position { after, ..position }
        } else {
            let settled = if turn.store.is_local() { turn.job.created } else { turn.now.0 };
            Position { phase: Phase::Keys, settled: Some(settled), ..position }
        };
        part(turn, &next, &report)
    }

    /// The end: nothing is under the older keys any more, but what goes by itself.
    fn keys(&self, turn: &Turn<'_>, ring: &Keyring, position: &Position) -> Result<Part> {
        let mut report = report_of(turn);
        if drops_old(turn) {
            let jobs = all_of(&*turn.store.keeper(), turn.tenant())?;
            let kept = jobs
                .iter()
                .filter(|(job, _)| position.is_older(job.created) && (self.has_files)(job, turn.now))
                .count();
            if kept > 0 {
                let text = format!(
                    "The files of {kept} exports, imports or deferred requests may be sealed under the older keys, which are dropped when these files are gone: \
                     delete these jobs to have it sooner."
                );
                return Err(Error::unavailable(text, "waits for files to go"));
            }
            report.dropped = ring.drop_retired(turn.tenant(), position.newest)?;
        }
        Ok(Part { is_last: true, ..part(turn, position, &report)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_that_an_earlier_program_has_begun_takes_all_files_for_older() {
        let saved = serde_json::json!({"phase": "keys", "pass": 1, "newest": 7, "found": 0, "after": ""});
        let position: Position = serde_json::from_value(saved).unwrap();
        assert_eq!((position.phase, position.newest, position.settled), (Phase::Keys, 7, None));
        assert!(position.is_older(i64::MAX));
        assert!(!Position { settled: Some(5), ..position }.is_older(6));
    }
}

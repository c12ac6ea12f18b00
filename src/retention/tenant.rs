//! The work that erases a tenant which was deleted: its resources with all versions, and all records that are kept for it.
//!
//! What stays is the ledger, as the proof of what was done and that it was erased, and the tenant's name in the registry. A pass that found
//! something is followed by another, because requests may have been under way.

use super::{Count, Report, compaction, hold};
use crate::audit::record::{Event, Record};
use crate::auth::keeper::{Expect, Keep};
use crate::auth::tenants::Tenants;
use crate::error::{Category, Error, Result};
use crate::jobs::{Part, Turn, Work};
use crate::retention::enforce::report_of;
use crate::store::{Commit, Erasure, Extent, Rid};
use crate::tenant::State;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::sync::Arc;

/// The kind of work, and the id of the one job of it in a tenant.
pub const KIND: &str = "tenant-erasure";

/// Resources that one part erases, and records.
const TOGETHER: usize = 500;

/// The kinds of kept records that a tenant has, jobs last; `tests/tidy.rs` holds that none is missing.
const KINDS: [&str; 27] = [
    "authorization",
    "client",
    "code",
    "enrolling",
    "guard",
    "hold",
    "jti",
    "key",
    "launch",
    "pending",
    "pin",
    "revoked",
    "role",
    "schedule",
    "session",
    "setup",
    "spare-gate",
    "spared",
    "ticket",
    "unvouched",
    "upstream",
    "upstream-attempt",
    "user",
    "username",
    "attempt",
    "index",
    "job",
];

/// What a report calls the records among the types.
const RECORDS: &str = "kept records";

/// Where the next part begins.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(tag = "at", rename_all = "kebab-case")]
enum Position {
    /// At a number among all resources. `has_found`: this pass has erased something.
    Resources { from: u64, has_found: bool },
    /// At the n-th kind of records.
    Records { nth: usize },
}

/// See the module.
pub struct EraseTenant {
    /// Which tenants there are.
    pub tenants: Arc<Tenants>,
}

impl Work for EraseTenant {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn is_for_deleted(&self) -> bool {
        true
    }

    fn step(&self, turn: &Turn<'_>) -> Result<Part> {
        if self.tenants.of(turn.tenant()).tenant.state != State::Deleted {
            return Err(Error::new(Category::Conflict, "conflict", "The tenant is not deleted."));
        }
        check_holds(turn)?;
        match &turn.job.position {
            serde_json::Value::Null => resources(turn, Rid(0), false),
            position => match serde_json::from_value(position.clone()).map_err(Error::internal)? {
                Position::Resources { from, has_found } => resources(turn, Rid(from), has_found),
                Position::Records { nth } => records(turn, nth),
            },
        }
    }
}

/// Nothing that is under a hold is erased, and so nothing of a tenant that has one.
///
/// # Errors
/// 409.
fn check_holds(turn: &Turn<'_>) -> Result<()> {
    let holds = hold::list(&*turn.store.keeper(), turn.tenant(), None, 1)?;
    if holds.is_empty() { Ok(()) } else { Err(held()) }
}

/// 409: there is a hold in the tenant.
#[must_use]
pub fn held() -> Error {
    let text = "There is a legal hold in this tenant: nothing of it is erased before all are lifted.";
    Error::new(Category::Conflict, "business-rule", text)
}

/// Erases some resources whole.
fn resources(turn: &Turn<'_>, from: Rid, has_found: bool) -> Result<Part> {
    let records = turn.store.open(&turn.grant)?;
    let mut report = report_of(turn.job)?;
    let mut commit = Commit::of(turn.tenant());
    let mut next = from.0;
    for outline in records.view().resources(from).take(TOGETHER) {
        let outline = outline?;
        next = outline.rid.0 + 1;
        let count = report.erased.entry(outline.type_name.clone()).or_default();
        count.resources += 1;
        count.versions += outline.version + 1 - outline.oldest;
        let extent = Extent::Whole { version: outline.version };
        commit.erasures.push(Erasure { type_name: outline.type_name, id: outline.id, extent });
    }
    let position = match (commit.erasures.is_empty(), has_found) {
        (false, _) => Position::Resources { from: next, has_found: true },
        (true, true) => Position::Resources { from: 0, has_found: false },
        (true, false) => Position::Records { nth: 0 },
    };
    part(turn, commit, position, &report)
}

/// Removes some of the records of a kind.
fn records(turn: &Turn<'_>, nth: usize) -> Result<Part> {
    let mut report = report_of(turn.job)?;
    let keeper = turn.store.keeper();
    let mut commit = Commit::of(turn.tenant());
    for (nth, kind) in KINDS.into_iter().enumerate().skip(nth) {
        let kept = keeper.list(turn.tenant(), kind, "", None, TOGETHER)?;
        let is_to_go = |id: &str| kind != "job" || ![KIND, compaction::KIND].contains(&id);
        let gone = kept.into_iter().filter(|kept| is_to_go(&kept.id));
        let gone = gone.map(|kept| Keep { kind, id: kept.id, expect: Expect::Any, bytes: None, expires: None });
        commit.keeps.extend(gone);
        if !commit.keeps.is_empty() {
            let erased: &mut Count = report.erased.entry(RECORDS.into()).or_default();
            erased.resources += commit.keeps.len() as u64;
            return part(turn, commit, Position::Records { nth }, &report);
        }
    }
    end(turn, commit, &report)
}

/// The last part: what was erased is told in the ledger,. When the job has ended, the tenant's keys are destroyed, and all that leaves the files.
fn end(turn: &Turn<'_>, mut commit: Commit, report: &Report) -> Result<Part> {
    if !report.erased.is_empty() {
        let counts = report.erased.iter().map(|(name, count)| format!("{name}: {}", count.resources));
        let note = format!("the tenant was deleted, and erased are {}", counts.collect::<Vec<_>>().join(", "));
        let record = Record::of(Event::Erasure, Cow::Borrowed(&turn.job.owner)).saying(note);
        commit.entry = Some(record.entry(turn.now)?);
    }
    let part = part(turn, commit, Position::Records { nth: 0 }, report)?;
    Ok(Part { is_last: true, ..part })
}

fn part(turn: &Turn<'_>, commit: Commit, position: Position, report: &Report) -> Result<Part> {
    let done = (commit.erasures.len() + commit.keeps.len()) as u64;
    let position = serde_json::to_value(position).map_err(Error::internal)?;
    let report = serde_json::to_value(report).map_err(Error::internal)?;
    Ok(Part { commit, position, report, done, ..turn.part() })
}

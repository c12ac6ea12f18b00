//! Long work: jobs that run part by part, survive a crash, and share the machine fairly.
//!
//! A job is a record ([`Job`]) that the store keeps. Its [`Work`] is asked for one [`Part`] at a time: it decides on a snapshot what to
//! change and how far the job is then, and changes nothing itself. The runner commits the part *together with the job's record*,
//! so that a part happens once: whoever goes on after a crash starts where the last commit ended, and a worker that lost its
//! lease, or whose job was cancelled, finds another version of the record and changes nothing.
//!
//! Between two parts the turn goes to the next tenant, and within a tenant to its next job. All of it runs in one thread of low
//! priority, so that requests come first.

mod fair;
pub mod index;
pub mod migration;
#[cfg(test)]
mod migration_tests;
mod queue;
pub mod reseal;
mod run;
mod schedule;
#[cfg(test)]
mod tests;

pub use queue::{Commits, Jobs, New};
pub use schedule::{IsFor, Schedule};

use crate::auth::agent::Agent;
use crate::auth::grant::Grant;
use crate::auth::keeper::{Expect, Keep};
use crate::auth::records::{self, Record};
use crate::clock::Micros;
use crate::error::Result;
use crate::store::{Commit, Store};
use crate::tenant::TenantId;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It waits for its first turn.
    Queued,
    /// Some of it may be done.
    Active,
    /// All of it is done.
    Done,
    /// It was given up; `failure` says why.
    Failed,
    /// Somebody cancelled it. What was done stays done.
    Cancelled,
}

impl State {
    /// Whether nothing more happens.
    #[must_use]
    pub const fn is_ended(self) -> bool {
        !matches!(self, Self::Queued | Self::Active)
    }
}

/// Which process works at a job, and until when it need not say so again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The process, by an id of its own.
    pub process: String,
    /// In microseconds since 1970.
    pub until: i64,
}

impl Lease {
    /// Whether a process may work at the job now. Only one process can have a local store open.
    fn is_free_for(&self, process: &str, now: Micros, is_local: bool) -> bool {
        self.process == process || self.until < now.0 || is_local
    }
}

/// A job as it is kept. Times are in microseconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Its id.
    pub id: String,
    /// Which [`Work`] it is.
    pub kind: String,
    /// Who asked for it.
    #[serde(default)]
    pub owner: Agent,
    /// What was asked; the work's own form.
    #[serde(default)]
    pub parameters: Value,
    /// How it stands.
    pub state: State,
    /// Whether somebody wants it to end.
    #[serde(default)]
    pub is_cancelled: bool,
    /// Where the next part begins; the work's own form, null before the first one.
    #[serde(default)]
    pub position: Value,
    /// What came of it so far; the work's own form.
    #[serde(default)]
    pub report: Value,
    /// How many things are done.
    #[serde(default)]
    pub done: u64,
    /// How many there are, as far as that is known.
    #[serde(default)]
    pub total: Option<u64>,
    /// Why it failed, or why it could not go on the last time: a sentence for the person who asks.
    #[serde(default)]
    pub failure: Option<String>,
    /// When it was asked for.
    pub created: i64,
    /// When it had its first turn.
    #[serde(default)]
    pub started: Option<i64>,
    /// When it had its last turn.
    #[serde(default)]
    pub changed: Option<i64>,
    /// When it ended.
    #[serde(default)]
    pub ended: Option<i64>,
    /// Who works at it.
    #[serde(default)]
    pub lease: Option<Lease>,
}

impl Record for Job {
    const KIND: &'static str = "job";
}

impl Job {
    /// What a job is when it is asked for.
    #[must_use]
    pub fn new(id: String, new: New, now: Micros) -> Self {
        let New { kind, owner, parameters } = new;
        Self {
            id,
            kind: kind.to_owned(),
            owner,
            parameters,
            state: State::Queued,
            is_cancelled: false,
            position: Value::Null,
            report: Value::Null,
            done: 0,
            total: None,
            failure: None,
            created: now.0,
            started: None,
            changed: None,
            ended: None,
            lease: None,
        }
    }

    /// The change that asks for a job of which a tenant has one at most, as a part of another commit. One that is at work begins anew.
    ///
    /// # Errors
    /// When it can't be written as JSON.
    pub fn only_one(kind: &'static str, now: Micros) -> Result<Keep> {
        Self::only(New::of_server(kind), now)
    }

    /// The same with parameters.
    fn only(new: New, now: Micros) -> Result<Keep> {
        let kind = new.kind;
        Ok(records::put(kind, &Self::new(kind.to_owned(), new, now), Expect::Any, None)?)
    }

    /// How many things it does in a second, on average since it began.
    #[must_use]
    #[allow(clippy::cast_precision_loss)]
    pub fn rate_per_s(&self) -> Option<f64> {
        let micros = self.ended.or(self.changed)? - self.started?;
        (micros > 0).then(|| self.done as f64 * 1e6 / micros as f64)
    }

    /// The seconds that it may still take, by its rate so far.
    #[must_use]
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    pub fn left_s(&self) -> Option<u64> {
        let left = self.total?.saturating_sub(self.done);
        self.rate_per_s().filter(|rate| *rate > 0.0).map(|rate| (left as f64 / rate).ceil() as u64)
    }
}

/// A kind of work. It holds no state of a job: another process may do the next part.
pub trait Work: Send + Sync {
    /// What the kind is called.
    fn kind(&self) -> &'static str;

    /// Whether it is done in tenants that were deleted, too.
    fn is_for_deleted(&self) -> bool {
        false
    }

    /// Whether it is done in tenants that are suspended, too.
    fn is_for_suspended(&self) -> bool {
        false
    }

    /// A job of whatever kind is not for this process any more: it was cancelled, has ended or is gone, or another process is at it. What this
    /// one is still at for it may stop.
    fn give_up(&self, _tenant: TenantId, _id: &str) {}

    /// A job of whatever kind has no turn as long as its tenant is suspended: others need not wait for what it has not begun.
    fn rest(&self, _tenant: TenantId, _id: &str) {}

    /// Decides on the next part: some 10 to 100 ms of work. It runs on the job thread and may block. What it rests on is told to the
    /// commit (guards, expected versions, records that have to be absent); a part that is refused is decided on anew.
    ///
    /// # Errors
    /// [`Category::Unavailable`](crate::error::Category::Unavailable) for what may go better later; with any other the job has failed.
    fn step(&self, turn: &Turn<'_>) -> Result<Part>;
}

/// What a work has at hand.
pub struct Turn<'t> {
    /// The job as it is kept.
    pub job: &'t Job,
    /// The store.
    pub store: &'t Store,
    /// All of the job's tenant: what the work may do was decided when the job was asked for.
    pub grant: Grant,
    /// Now.
    pub now: Micros,
}

impl Turn<'_> {
    /// The job's tenant.
    #[must_use]
    pub const fn tenant(&self) -> TenantId {
        self.grant.tenant()
    }

    /// A part that changes nothing, after which the job stands where it does now.
    #[must_use]
    pub fn part(&self) -> Part {
        let (position, report) = (self.job.position.clone(), self.job.report.clone());
        let (commit, total) = (Commit::of(self.tenant()), self.job.total);
        Part { commit, position, report, done: 0, total, is_last: false, is_waiting: false }
    }
}

/// One part of a job: it happens whole, with the job's record, or not at all.
#[derive(Debug)]
pub struct Part {
    /// What it changes.
    pub commit: Commit,
    /// Where the next part begins.
    pub position: Value,
    /// What came of the job then.
    pub report: Value,
    /// How many things this part does.
    pub done: u64,
    /// How many there are in all, as far as that is known.
    pub total: Option<u64>,
    /// Whether the job is done with it.
    pub is_last: bool,
    /// Whether there is nothing in it, since the job waits for something else: its next turn is a moment later.
    pub is_waiting: bool,
}

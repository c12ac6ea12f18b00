//! The committer: takes what waits, writes it as one batch, syncs, and answers all.

use super::Shared;
use super::group::{Group, Lane, Prepared};
use super::queue::{Answer, Outcome, Queue};
use super::tables::failed;
use crate::clock::Clock;
use crate::store::{StoreError, StoreResult};
use crate::tenant::TenantId;
use rustc_hash::FxHashMap;
use std::sync::{Arc, PoisonError};

pub(super) struct Committer {
    shared: Arc<Shared>,
    clock: Arc<dyn Clock>,
    lanes: FxHashMap<TenantId, Lane>,
    /// The number of the last group.
    number: u64,
}

/// If the committer panics, nobody waits for it in vain.
struct ClosesAtPanic<'q>(&'q Queue);

impl Drop for ClosesAtPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.close(&StoreError::Closed("the committer has ended abnormally; restart".into()));
        }
    }
}

impl Committer {
    pub(super) fn new(shared: Arc<Shared>, clock: Arc<dyn Clock>, number: u64) -> Self {
        Self { shared, clock, lanes: FxHashMap::default(), number }
    }

    /// Runs until the queue ends, or a write fails.
    pub(super) fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        let _closes = ClosesAtPanic(&shared.queue);
        while let Some(jobs) = shared.queue.take(shared.options.most_changes_in_group) {
            let (commits, answers): (Vec<Prepared>, Vec<Answer>) = jobs.into_iter().unzip();
            shared.queue.begin_writing(answers);
            shared.watch.disk_begins();
            let outcomes = self.write(commits);
            shared.watch.disk_ends();
            let answers = shared.queue.end_writing();
            match outcomes {
                Ok(outcomes) => {
                    for (answer, outcome) in answers.into_iter().zip(outcomes) {
                        drop(answer.send(outcome));
                    }
                }
                Err(error) => return fail(&shared, &error, answers),
            }
        }
    }

    /// Writes a group; when this returns, it is on disk and marked so.
    fn write(&mut self, commits: Vec<Prepared>) -> StoreResult<Vec<Outcome>> {
        let Shared { tables, sealer, mark, .. } = &*self.shared;
        let mut group = Group::new(tables, sealer, &mut self.lanes);
        let mut outcomes = Vec::with_capacity(commits.len());
        for commit in commits {
            outcomes.push(group.add(commit, self.clock.now())?);
        }
        if group.is_empty() {
            return Ok(outcomes);
        }
        let number = self.number + 1;
        let slots = self.shared.options.most_groups_in_journals;
        self.shared.checkpoints.make_room(number, slots)?;
        group.into_batch(number, slots)?.commit().map_err(|error| failed(&error))?;
        self.number = number;
        let mut mark = mark.lock().unwrap_or_else(PoisonError::into_inner);
        let synced = super::folder::Mark { synced: number, ..mark.get() };
        mark.set(synced)?;
        Ok(outcomes)
    }
}

/// Nothing can be known about a disk that failed: the store takes no more until it was opened, and so verified, again.
fn fail(shared: &Shared, error: &StoreError, answers: Vec<Answer>) {
    tracing::error!(%error, "a write failed; the store takes no more commits");
    shared.fail(error);
    for answer in answers {
        drop(answer.send(Err(StoreError::OutcomeUnknown(error.to_string()).into())));
    }
}

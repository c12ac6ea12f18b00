//! The committer: takes what waits, writes it as one batch, syncs, and answers all.

use super::Shared;
use super::tables::{Tables, failed};
use super::{kept, layout, ledger};
use crate::clock::Micros;
use crate::store::rows::Writes;
use crate::store::rows::group::{Group, Lane, Prepared};
use crate::store::rows::queue::{Answer, Outcome};
use crate::store::{StoreError, StoreResult};
use crate::tenant::TenantId;
use fjall::{OwnedWriteBatch, PersistMode};
use rustc_hash::FxHashMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

/// How long expired records wait to be erased where nothing is written.
const ERASE_AFTER: Duration = Duration::from_secs(30);

pub(super) struct Committer {
    shared: Arc<Shared>,
    lanes: FxHashMap<TenantId, Lane>,
    /// The number of the last group.
    number: u64,
    /// No kept record expires before.
    next_expiry: Micros,
    /// Whether more has expired than the last group erased.
    has_more_to_erase: bool,
    /// The number of the next entry that a commit stages for the ledger.
    next_row: u64,
}

impl Committer {
    pub(super) fn new(shared: Arc<Shared>, number: u64) -> StoreResult<Self> {
        let next_expiry = kept::first_expiry(&*shared.tables)?;
        let next_row = ledger::next_row(&shared.tables)?;
        Ok(Self { shared, lanes: FxHashMap::default(), number, next_expiry, has_more_to_erase: false, next_row })
    }

    /// Runs until the queue ends, or a write fails.
    pub(super) fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        loop {
            let pause = if self.has_more_to_erase { Duration::ZERO } else { ERASE_AFTER };
            let Some(jobs) = shared.queue.take(shared.options.most_changes_in_group, pause) else { return };
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
        let Shared { tables, sealer, schema, clock, mark, epochs, staging, .. } = &*self.shared;
        let mut group = Group::new(&**tables, (sealer, schema), &mut self.lanes);
        let mut outcomes = Vec::with_capacity(commits.len());
        for commit in commits {
            outcomes.push(group.add(commit, clock.now())?);
        }
        self.has_more_to_erase = false;
        if self.next_expiry < kept::NEVER && self.shared.watch.refusal().is_none() {
            let now = clock.now();
            self.next_expiry = erase(&mut group, tables, self.next_expiry, now);
            self.has_more_to_erase = self.next_expiry <= now;
        }
        self.next_expiry = self.next_expiry.min(group.kept.first_expiry);
        if group.is_empty() {
            return Ok(outcomes);
        }
        let number = self.number + 1;
        let slots = self.shared.options.most_groups_in_journals;
        self.shared.checkpoints.make_room(number, slots)?;
        let renewed = std::mem::take(&mut group.kept.renewed);
        let gone = group.gone();
        let mut staged = std::mem::take(&mut group.staged);
        for (row, entry) in (self.next_row..).zip(&mut staged) {
            entry.row = Some(row);
        }
        self.next_row += staged.len() as u64;
        let writes = group.into_writes(&staged)?;
        tables.changes.begin(number, &writes);
        batch(tables, writes, number, slots).commit().map_err(|error| failed(&error))?;
        tables.changes.end(number);
        staging.add_rows(staged);
        for tenant in renewed {
            epochs.grow(tenant);
        }
        tables.forget(&gone);
        self.number = number;
        let mut mark = mark.lock().unwrap_or_else(PoisonError::into_inner);
        let synced = super::folder::Mark { synced: number, ..mark.get() };
        mark.set(synced)?;
        Ok(outcomes)
    }
}

/// The batch that writes a group, synced when it is committed.
fn batch(tables: &Tables, writes: Writes, number: u64, slots: u32) -> OwnedWriteBatch {
    let slot = u32::try_from(number % u64::from(slots)).unwrap_or_default();
    let batch = OwnedWriteBatch::with_capacity(tables.db.clone(), writes.all.len() + 3);
    let mut batch = batch.durability(Some(PersistMode::SyncData));
    for (table, key, value) in writes.all {
        match value {
            Some(value) => batch.insert(tables.of(table), key, value),
            None => batch.remove(tables.of(table), key),
        }
    }
    for keyspace in tables.all() {
        batch.insert(keyspace, layout::mark(slot), number.to_be_bytes());
    }
    batch
}

/// Erases what has expired, and answers when the next does. A failure stops the erasing until the store is opened again, and
/// nothing else: what has expired is passed over all the same.
fn erase(group: &mut Group<'_>, tables: &Tables, from: Micros, now: Micros) -> Micros {
    if from > now {
        return from;
    }
    group.kept.erase(tables, from, now).unwrap_or_else(|error| {
        tracing::error!(%error, "expired records can't be erased");
        kept::NEVER
    })
}

/// Nothing can be known about a disk that failed: the store takes no more until it was opened, and so verified, again.
fn fail(shared: &Shared, error: &StoreError, answers: Vec<Answer>) {
    tracing::error!(%error, "a write failed; the store takes no more commits");
    shared.fail(error);
    for answer in answers {
        drop(answer.send(Err(StoreError::OutcomeUnknown(error.to_string()).into())));
    }
}

//! The ledger on MongoDB: entries are staged as rows, and folded into the chain soon after.
//!
//! An entry of a commit is a row of the commit's own transaction. Any other waits in memory until the next insert, which begins as
//! soon as the one before has ended: who asks for [`Staging::synced`] waits for about one of them. Every process folds what is there,
//! whoever staged it; the head of the chain sees to it that they do so one after the other.

use super::Shared;
use super::client::{Failed, Meaning};
use super::committer::write;
use super::place::collection;
use super::read::Reading;
use super::transaction::document;
use super::write::Orders;
use crate::clock::Micros;
use crate::key::range::after_prefix;
use crate::store::ledger::Entry;
use crate::store::rows::ledger::{Fold, Unfolded, open_row, seal_row};
use crate::store::rows::{Rows, Table, Writes, layout};
use crate::store::{StoreError, StoreResult};
use crate::tenant::TenantId;
use mongodb::bson::Document;
use std::collections::BTreeSet;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Entries that may wait to be inserted: more are refused.
const MOST_WAITING: usize = 100_000;
/// Entries of one insert.
const INSERTED_TOGETHER: usize = 5000;
/// How long entries may wait before more are refused.
const LONGEST_LAG: Duration = Duration::from_secs(5);
/// How long a staged entry waits to be folded, at most, if a process is there that folds.
const FOLD_EVERY: Duration = Duration::from_secs(1);
/// How often it is looked for what other processes have left.
const LEFT_EVERY: Duration = Duration::from_secs(30);
/// As many are folded at once.
const FOLD_AT: usize = 4096;
/// The pause after a failure.
const AFTER_FAILURE: Duration = Duration::from_millis(100);
/// Bits of a row's number that tell processes apart.
const PROCESS_BITS: u32 = 12;

/// Rows that wait to be inserted, with the entry that a row is of.
struct Waiting {
    row: u64,
    tenant: TenantId,
    entry: Entry,
}

#[derive(Default)]
struct State {
    waiting: Vec<Waiting>,
    /// Since when the first of them waits.
    since: Option<Instant>,
    /// The last number that was given out, and the last row.
    number: u64,
    row: u64,
    /// Whether an insert is under way.
    is_inserting: bool,
    /// Whether nothing is inserted any more.
    has_ended: bool,
    folding: Folding,
    is_ending: bool,
}

#[derive(Default)]
struct Folding {
    is_under_way: bool,
    /// Whether there is something to fold, and whether somebody waits for it.
    is_due: bool,
    is_wanted: bool,
}

/// What folding has come to.
#[derive(Default)]
struct Folds {
    done: u64,
    failure: Option<StoreError>,
}

/// Between those who record and the threads that insert and fold.
pub(super) struct Staging {
    process: u64,
    state: Mutex<State>,
    change: Condvar,
    /// The last number that is inserted.
    synced: watch::Sender<u64>,
    folds: watch::Sender<Folds>,
}

impl Staging {
    pub(super) fn new(process: u64) -> Self {
        Self {
            process: process & ((1 << PROCESS_BITS) - 1),
            // What another process has left is folded at once.
            state: Mutex::new(State { folding: Folding { is_due: true, ..Folding::default() }, ..State::default() }),
            change: Condvar::new(),
            synced: watch::Sender::new(0),
            folds: watch::Sender::new(Folds::default()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn row_after(&self, last: u64, time: Micros) -> u64 {
        let micros = u64::try_from(time.0).unwrap_or_default();
        ((micros << PROCESS_BITS) | self.process).max(last + (1 << PROCESS_BITS))
    }

    /// The number of the row in which a commit stages an entry.
    pub(super) fn next_row(&self, time: Micros) -> u64 {
        let mut state = self.lock();
        state.row = self.row_after(state.row, time);
        state.row
    }

    /// Tells that commits have staged entries.
    pub(super) fn add_rows(&self, count: usize) {
        if count > 0 {
            self.lock().folding.is_due = true;
            self.change.notify_all();
        }
    }

    /// Why no entry can be taken now.
    pub(super) fn refusal(&self) -> Option<StoreError> {
        Self::refusal_of(&self.lock())
    }

    fn refusal_of(state: &State) -> Option<StoreError> {
        if state.is_ending || state.has_ended {
            return Some(StoreError::Closed("the ledger has ended".into()));
        }
        let is_late = state.since.is_some_and(|since| since.elapsed() > LONGEST_LAG);
        let is_behind = is_late || state.waiting.len() >= MOST_WAITING;
        is_behind.then(|| StoreError::Unreachable("the ledger is behind; requests go on when it has caught up".into()))
    }

    /// Takes an entry, and answers its number.
    pub(super) fn add(&self, tenant: TenantId, entry: Entry) -> StoreResult<u64> {
        let mut state = self.lock();
        if let Some(error) = Self::refusal_of(&state) {
            return Err(error);
        }
        state.number += 1;
        state.row = self.row_after(state.row, entry.time);
        let (number, row) = (state.number, state.row);
        state.since.get_or_insert_with(Instant::now);
        state.waiting.push(Waiting { row, tenant, entry });
        drop(state);
        self.change.notify_all();
        Ok(number)
    }

    /// Waits until the entry with this number is inserted.
    pub(super) async fn synced(this: Arc<Self>, number: u64) -> StoreResult<()> {
        let outcome = this.synced.subscribe().wait_for(|synced| *synced >= number).await.map(|synced| *synced);
        match outcome {
            Ok(u64::MAX) | Err(_) => Err(StoreError::Closed("the ledger has ended".into())),
            Ok(_) => Ok(()),
        }
    }

    /// Waits until all that was recorded before is in the chain.
    pub(super) async fn settled(this: Arc<Self>) -> StoreResult<()> {
        let number = this.lock().number;
        Self::synced(Arc::clone(&this), number).await?;
        let mut folds = this.folds.subscribe();
        let wanted = {
            let mut state = this.lock();
            if state.is_ending {
                return Err(StoreError::Closed("the ledger has ended".into()));
            }
            (state.folding.is_wanted, state.folding.is_due) = (true, true);
            // One that is under way may have begun before: the one after it has all.
            folds.borrow_and_update().done + 1 + u64::from(state.folding.is_under_way)
        };
        this.change.notify_all();
        match folds.wait_for(|folds| folds.done >= wanted).await {
            Ok(folds) => folds.failure.clone().map_or(Ok(()), Err),
            Err(_) => Err(StoreError::Closed("the ledger has ended".into())),
        }
    }

    /// Ends when all is inserted and folded, as far as the database answers.
    pub(super) fn end(&self) {
        self.lock().is_ending = true;
        self.change.notify_all();
    }

    fn pause<'s>(&self, state: MutexGuard<'s, State>, longest: Duration) -> MutexGuard<'s, State> {
        self.change.wait_timeout(state, longest).unwrap_or_else(PoisonError::into_inner).0
    }

    /// Waits for entries and takes them; `None` at the end.
    fn take(&self) -> Option<(Vec<Waiting>, u64)> {
        let mut state = self.lock();
        while state.waiting.is_empty() {
            if state.is_ending {
                return None;
            }
            state = self.pause(state, FOLD_EVERY);
        }
        state.is_inserting = true;
        Some((std::mem::take(&mut state.waiting), state.number))
    }

    fn has_inserted(&self, number: u64) {
        let mut state = self.lock();
        (state.is_inserting, state.folding.is_due) = (false, true);
        state.since = state.waiting.first().map(|_| Instant::now());
        drop(state);
        self.synced.send_replace(number);
        self.change.notify_all();
    }

    /// Nothing is inserted any more: nobody waits for it, neither who recorded nor who folds.
    fn has_ended(&self) {
        let mut state = self.lock();
        state.waiting.clear();
        (state.is_inserting, state.has_ended) = (false, true);
        drop(state);
        self.synced.send_replace(u64::MAX);
        self.change.notify_all();
    }

    /// Waits until it is time to fold; `false` at the end.
    fn wait_to_fold(&self) -> bool {
        let mut state = self.lock();
        let began = Instant::now();
        loop {
            let until = began + if state.folding.is_due { FOLD_EVERY } else { LEFT_EVERY };
            let is_idle = state.waiting.is_empty() && !state.is_inserting;
            if state.is_ending && is_idle && !state.folding.is_due {
                return false;
            }
            if state.folding.is_wanted || (state.is_ending && is_idle) || Instant::now() >= until {
                state.folding = Folding { is_under_way: true, ..Folding::default() };
                return true;
            }
            state = self.pause(state, until.saturating_duration_since(Instant::now()));
        }
    }

    fn has_folded(&self, outcome: StoreResult<()>) {
        self.lock().folding.is_under_way = false;
        self.folds.send_modify(|folds| {
            folds.done += 1;
            folds.failure = outcome.err();
        });
    }
}

/// The thread that inserts, until the staging ends.
pub(super) fn insert(shared: &Shared) {
    let _ends = Ends(|| shared.staging.has_ended());
    insert_all(shared);
}

/// Says that a thread has ended, also where it has panicked.
struct Ends<F: Fn()>(F);

impl<F: Fn()> Drop for Ends<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

fn insert_all(shared: &Shared) {
    while let Some((entries, number)) = shared.staging.take() {
        let documents: Result<Vec<_>, StoreError> = entries.iter().map(|waiting| staged(shared, waiting)).collect();
        let documents = match documents {
            Ok(documents) => Arc::new(documents),
            Err(error) => {
                tracing::error!(%error, "entries of the ledger can't be sealed");
                shared.queue.close(&StoreError::Closed(format!("the ledger failed: {error}; restart")));
                return;
            }
        };
        let began = Instant::now();
        while let Err(failed) = send(shared, &documents) {
            tracing::warn!(error = %failed.text, "the ledger waits for the database");
            std::thread::sleep(AFTER_FAILURE);
            if shared.staging.lock().is_ending && began.elapsed() > LONGEST_LAG {
                tracing::error!(
                    entries = documents.len(),
                    "entries of the ledger are lost: the database does not answer"
                );
                return;
            }
        }
        shared.staging.has_inserted(number);
    }
}

fn staged(shared: &Shared, Waiting { row, tenant, entry }: &Waiting) -> StoreResult<Document> {
    // Its texts are cut where it is recorded: it is far from being too large for a document.
    Ok(document(&layout::staged(*row), seal_row(&shared.sealer, *tenant, *row, entry)?, 0)?)
}

/// Inserts documents; those that an earlier try has inserted are there already.
fn send(shared: &Shared, documents: &Arc<Vec<Document>>) -> Result<(), Failed> {
    let (connection, documents) = (Arc::clone(&shared.connection), Arc::clone(documents));
    shared.connection.wait(async move {
        let history = connection.db().collection::<Document>(collection(Table::History));
        for part in documents.chunks(INSERTED_TOGETHER) {
            match history.insert_many(part).ordered(false).await.map_err(Failed::from) {
                Err(failed) if failed.meaning != Meaning::Again => return Err(failed),
                _ => {}
            }
        }
        Ok(())
    })
}

/// The thread that folds, until the staging ends.
pub(super) fn fold(shared: &Shared) {
    let ended = || Err(StoreError::Closed("nothing is folded any more".into()));
    let _ends = Ends(|| shared.staging.has_folded(ended()));
    while shared.staging.wait_to_fold() {
        // Where another schema is in force, that is for others.
        let outcome = shared.queue.failure().map_or_else(|| fold_all(shared), Err);
        if let Err(error) = &outcome {
            tracing::warn!(%error, "the ledger can't be folded now");
            std::thread::sleep(AFTER_FAILURE);
        }
        shared.staging.has_folded(outcome);
    }
}

/// Folds all that is staged.
fn fold_all(shared: &Shared) -> StoreResult<()> {
    let began = Instant::now();
    loop {
        match fold_some(shared) {
            Ok(count) if count < FOLD_AT => return Ok(()),
            Ok(_) => {}
            // Another process folds, too.
            Err(failed) if failed.meaning == Meaning::Again && began.elapsed() < LONGEST_LAG => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(failed) => return Err(failed.into()),
        }
    }
}

/// Sees to it that what tenants hide opens here, though another process may just have made their keys: without it all would be folded plain. What is
/// read was there before.
fn bring_keys(shared: &Shared, tenants: BTreeSet<TenantId>) -> StoreResult<()> {
    let Shared { sealer, ring, .. } = shared;
    let is_missing = |tenant: &TenantId| !sealer.has(*tenant) && !ring.is_destroyed(*tenant);
    let missing: Vec<TenantId> = tenants.into_iter().filter(is_missing).collect();
    if missing.is_empty() {
        return Ok(());
    }
    ring.renew()?;
    match missing.iter().find(|tenant| is_missing(tenant) && ring.knows(**tenant)) {
        Some(tenant) => Err(StoreError::Unreachable(format!("the keys of tenant {} can't be unwrapped now", tenant.0))),
        None => Ok(()),
    }
}

/// Folds some of what is staged, and answers how many.
fn fold_some(shared: &Shared) -> Result<usize, Failed> {
    let reading = Reading::new(Arc::clone(&shared.connection), usize::MAX);
    let all = layout::all_staged();
    let made = reading.range(Table::History, &all, &after_prefix(&all), FOLD_AT).and_then(|rows| {
        let entries = rows.iter().map(|row| open_row(&shared.sealer, row)).collect::<StoreResult<Vec<_>>>()?;
        bring_keys(shared, entries.iter().map(|staged| staged.tenant).collect())?;
        let count = entries.len();
        let unfolded = Unfolded { entries, ..Unfolded::default() };
        Ok((count, Fold::of(&reading, &shared.sealer, &*shared.entries.form, unfolded)?))
    });
    if let Some(failed) = reading.failure() {
        return Err(failed);
    }
    let (count, fold) = made?;
    if count > 0 {
        let mut writes = Writes::default();
        fold.write_to(&mut writes);
        let orders = Orders::new(writes, &reading.known(), false, shared.schema.in_force())?;
        write(shared, reading, orders)?;
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_waits_for_what_is_not_inserted_any_more() {
        let staging = Arc::new(Staging::new(1));
        let entry = || Entry { time: Micros(1), bytes: b"entry".as_slice().into() };
        let number = staging.add(TenantId::DEFAULT, entry()).unwrap();
        assert_eq!(staging.take().unwrap().0.len(), 1);
        staging.add(TenantId::DEFAULT, entry()).unwrap();
        staging.has_ended();
        assert!(staging.add(TenantId::DEFAULT, entry()).is_err());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        assert!(runtime.block_on(Staging::synced(Arc::clone(&staging), number)).is_err(), "it is not there");
        staging.end();
        let folds = (0..9).take_while(|_| staging.wait_to_fold()).map(|_| staging.has_folded(Ok(()))).count();
        assert!(folds < 9, "the thread that folds never ends");
    }

    #[test]
    fn that_a_thread_has_ended_is_said_also_where_it_panics() {
        let ended = std::sync::atomic::AtomicBool::new(false);
        let thread = || {
            let _ends = Ends(|| ended.store(true, std::sync::atomic::Ordering::SeqCst));
            assert!(ended.load(std::sync::atomic::Ordering::SeqCst), "on purpose");
        };
        assert!(std::panic::catch_unwind(thread).is_err());
        assert!(ended.into_inner());
    }
}

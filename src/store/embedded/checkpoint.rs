//! Checkpoints: now and then every keyspace is brought out of the journals into its own files, so that markers can be used
//! again, recovery has little to read, and journals can go.

use super::tables::{Tables, failed};
use super::{Shared, folder::Mark};
use crate::store::{StoreError, StoreResult};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// fjall has no signal for the end of a flush; it polls its own state as often.
const POLL: Duration = Duration::from_millis(5);

#[derive(Default)]
struct State {
    /// The last checkpoint.
    done: u64,
    /// The last group that asks for one.
    wanted: u64,
    is_ending: bool,
    failure: Option<StoreError>,
}

/// Between the committer, who asks for checkpoints, and the thread that makes them.
#[derive(Default)]
pub(super) struct Checkpoints {
    state: Mutex<State>,
    change: Condvar,
}

impl Checkpoints {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn start_at(&self, done: u64) {
        let mut state = self.lock();
        (state.done, state.wanted) = (done, done);
    }

    /// Asks for a checkpoint at this group.
    pub(super) fn want(&self, number: u64) {
        let mut state = self.lock();
        state.wanted = state.wanted.max(number);
        self.change.notify_all();
    }

    /// Makes sure that the group's marker can be written: asks for a checkpoint in good time, waits for it where it must.
    pub(super) fn make_room(&self, number: u64, slots: u32) -> StoreResult<()> {
        let mut state = self.lock();
        let slots = u64::from(slots);
        if number - state.done >= slots / 2 && state.wanted <= state.done {
            state.wanted = number - 1;
            self.change.notify_all();
        }
        while number - state.done >= slots {
            if let Some(error) = &state.failure {
                return Err(error.clone());
            }
            state = self.change.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        Ok(())
    }

    pub(super) fn end(&self) {
        self.lock().is_ending = true;
        self.change.notify_all();
    }

    fn next(&self) -> bool {
        let mut state = self.lock();
        while state.wanted <= state.done && !state.is_ending {
            state = self.change.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        !state.is_ending
    }
}

/// The thread that makes checkpoints.
pub(super) fn run(shared: &Shared) {
    while shared.checkpoints.next() {
        if let Err(error) = make(shared) {
            tracing::error!(%error, "a checkpoint failed; the store takes no more commits");
            shared.fail(&error);
            let mut state = shared.checkpoints.lock();
            state.failure = Some(error);
            shared.checkpoints.change.notify_all();
            return;
        }
    }
}

/// Makes a checkpoint of all groups that are synced now, and keeps it in the mark.
pub(super) fn make(shared: &Shared) -> StoreResult<()> {
    let number = shared.mark().get().synced;
    flush(&shared.tables, || shared.queue.failure())?;
    let handle = {
        let mut mark = shared.mark();
        let checkpoint = Mark { checkpoint: number, ..mark.get() };
        mark.set(checkpoint)?;
        mark.handle()?
    };
    handle.sync_data().map_err(|error| StoreError::Io(error.to_string()))?;
    let mut state = shared.checkpoints.lock();
    state.done = state.done.max(number);
    drop(state);
    shared.checkpoints.change.notify_all();
    Ok(())
}

/// Brings all that was written until now into the keyspaces' own files. `failure` tells whether the store has failed.
pub(super) fn flush(tables: &Tables, failure: impl Fn() -> Option<StoreError>) -> StoreResult<()> {
    for keyspace in tables.all() {
        keyspace.rotate_memtable().map_err(|error| failed(&error))?;
    }
    for keyspace in tables.all() {
        while keyspace.sealed_memtable_count() > 0 {
            if let Some(error) = failure() {
                return Err(error);
            }
            tables.db.persist(fjall::PersistMode::Buffer).map_err(|error| failed(&error))?;
            std::thread::sleep(POLL);
        }
    }
    Ok(())
}

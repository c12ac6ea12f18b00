//! Entries that are recorded and not folded yet.
//!
//! Whoever records puts an entry with those that are gathered, lets the others of its thread come first, and then writes all that is gathered,
//! unless somebody has: so many requests at once share one write.

use super::staged::{self, Record};
use super::turn::give_way;
use crate::clock::Micros;
use crate::store::embedded::io_error;
use crate::store::embedded::tables::Tables;
use crate::store::ledger::{Entry, Form};
use crate::store::rows::ledger::{Staged, Unfolded, open_row};
use crate::store::seal::Sealer;
use crate::store::{StoreError, StoreResult};
use crate::tenant::TenantId;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Entries that may wait to be folded: more are refused.
const MOST_WAITING: usize = 200_000;
/// The same in bytes.
const MOST_WAITING_BYTES: usize = 256 << 20;
/// How long who records waits for room before an entry is refused: so much slower do requests become that bring more than is folded.
const LONGEST_WAIT: Duration = Duration::from_secs(2);
/// How long a sync may take before entries are refused.
const LONGEST_LAG: Duration = Duration::from_secs(5);

/// An entry that is not with the system yet, and the ticket of who waits for that.
struct Gathered {
    ticket: u64,
    tenant: TenantId,
    entry: Entry,
}

#[derive(Default)]
struct State {
    gathered: Vec<Gathered>,
    /// The last ticket that was given out, and the last of which the entry is with the system, as all before are, or were refused.
    ticket: u64,
    written: u64,
    waiting: Vec<Staged>,
    /// The length of the entries of both together.
    bytes: usize,
    /// Since when the first of them waits.
    since: Option<Instant>,
    /// Since when something is not synced.
    unsynced: Option<Instant>,
    /// When the sync that is under way began.
    syncing: Option<Instant>,
    is_folding: bool,
    /// The file that is written to, and its length.
    active: usize,
    length: u64,
    /// The number of the last entry in the files.
    number: u64,
    /// Whether somebody waits for the fold.
    is_wanted: bool,
    is_ending: bool,
    failure: Option<StoreError>,
}

/// Between those who record and the threads that sync and fold.
pub(in crate::store::embedded) struct Staging {
    files: [File; 2],
    folder: PathBuf,
    sealer: Arc<Sealer>,
    state: Mutex<State>,
    change: Condvar,
    /// The last ticket of which the entry is synced, and how often was folded.
    synced: watch::Sender<u64>,
    folds: watch::Sender<u64>,
    /// How often all that waits was taken to be folded: there is room then.
    taken: watch::Sender<u64>,
}

/// The files, by the store's folder.
fn path(folder: &Path, file: usize) -> PathBuf {
    folder.join(format!("ledger-{file}"))
}

fn open_file(folder: &Path, file: usize) -> StoreResult<File> {
    let path = path(folder, file);
    let opened = OpenOptions::new().create(true).truncate(false).read(true).append(true).open(&path);
    opened.map_err(|error| io_error(&path, &error))
}

impl Staging {
    /// Opens the files. What they and the rows hold that is not folded waits again. Where entries are missing between others, or the end of a
    /// file can't be read, the ledger of the default tenant says so: whose they were is not known.
    pub(in crate::store::embedded) fn open(
        folder: &Path,
        tables: &Tables,
        sealer: Arc<Sealer>,
        form: &dyn Form,
    ) -> StoreResult<Self> {
        let files = [open_file(folder, 0)?, open_file(folder, 1)?];
        let folded = staged::folded_through(tables)?;
        let joined = staged::join(&files, &sealer, folded).map_err(|error| io_error(folder, &error))?;
        let (mut found, unread) = (joined.records, joined.unread);
        found.retain(|record| record.number > folded);
        found.sort_unstable_by_key(|record| record.number);
        found.dedup_by_key(|record| record.number);
        let number = found.last().map_or(folded, |record| record.number);
        let mut waiting = Vec::with_capacity(found.len());
        for (place, count) in staged::gaps(folded, &found) {
            tracing::error!(count, "entries that waited for the ledger are missing from its files");
            let time = found.get(place).map_or(Micros(0), |next| next.entry.time);
            waiting.push(Staged { tenant: TenantId::DEFAULT, entry: form.missing(count, time)?, row: None });
        }
        let last = found.last().map_or(Micros(0), |last| last.entry.time);
        waiting.extend(found.into_iter().map(|Record { tenant, entry, .. }| Staged { tenant, entry, row: None }));
        if unread > 0 {
            waiting.push(Staged { tenant: TenantId::DEFAULT, entry: form.unread(unread, last)?, row: None });
        }
        for row in staged::rows(tables) {
            waiting.push(open_row(&sealer, &row?)?);
        }
        let since = (!waiting.is_empty()).then(Instant::now);
        let length = files[0].metadata().map_err(|error| io_error(folder, &error))?.len();
        let is_wanted = since.is_some();
        let state = State { waiting, since, length, number, is_wanted, ..State::default() };
        Ok(Self {
            files,
            folder: folder.to_path_buf(),
            sealer,
            state: Mutex::new(state),
            change: Condvar::new(),
            synced: watch::Sender::new(0),
            folds: watch::Sender::new(0),
            taken: watch::Sender::new(0),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn file(&self, file: usize) -> &File {
        if file == 0 { &self.files[0] } else { &self.files[1] }
    }

    /// Why no entry can be taken now.
    fn refusal(state: &State) -> Option<StoreError> {
        let is_late = |since: Option<Instant>| since.is_some_and(|since| since.elapsed() > LONGEST_LAG);
        if let Some(error) = &state.failure {
            return Some(error.clone());
        }
        if state.is_ending {
            return Some(StoreError::Closed("the ledger has ended".into()));
        }
        let is_behind = Self::is_full(state) || is_late(state.unsynced) || is_late(state.syncing);
        is_behind.then(|| StoreError::Closed("the ledger is behind; requests go on when it has caught up".into()))
    }

    /// Whether as many entries wait as may.
    const fn is_full(state: &State) -> bool {
        state.waiting.len() + state.gathered.len() >= MOST_WAITING || state.bytes >= MOST_WAITING_BYTES
    }

    /// Whether it makes sense to wait for room.
    const fn lacks_room(state: &State) -> bool {
        Self::is_full(state) && state.failure.is_none() && !state.is_ending
    }

    /// Waits until there is room for an entry, though not for long.
    async fn room(&self) {
        if !Self::lacks_room(&self.lock()) {
            return;
        }
        let mut taken = self.taken.subscribe();
        let room = async { while Self::lacks_room(&self.lock()) && taken.changed().await.is_ok() {} };
        // Where there is none, the entry is refused.
        drop(tokio::time::timeout(LONGEST_WAIT, room).await);
    }

    /// Why no entry can be taken now.
    pub(in crate::store::embedded) fn health(&self) -> Option<StoreError> {
        Self::refusal(&self.lock())
    }

    /// Why none will be taken any more.
    pub(in crate::store::embedded) fn failure(&self) -> Option<StoreError> {
        self.lock().failure.clone()
    }

    /// Takes an entry: with `Ok` it is with the system, so that the end of this process does not lose it. Answers a ticket for
    /// [`Staging::synced`].
    pub(in crate::store::embedded) async fn add(this: Arc<Self>, tenant: TenantId, entry: Entry) -> StoreResult<u64> {
        this.room().await;
        let ticket = this.gather(tenant, entry)?;
        give_way().await;
        this.write_through(ticket)
    }

    fn gather(&self, tenant: TenantId, entry: Entry) -> StoreResult<u64> {
        let mut state = self.lock();
        if let Some(error) = Self::refusal(&state) {
            return Err(error);
        }
        state.ticket += 1;
        state.bytes += entry.bytes.len();
        let (ticket, is_first) = (state.ticket, state.since.is_none());
        state.gathered.push(Gathered { ticket, tenant, entry });
        if is_first {
            state.since = Some(Instant::now());
            self.change.notify_all();
        }
        Ok(ticket)
    }

    /// Sees to it that the entry with a ticket is with the system. One that can't be is given up.
    fn write_through(&self, ticket: u64) -> StoreResult<u64> {
        let mut state = self.lock();
        if state.written >= ticket {
            return Ok(ticket);
        }
        let before = state.waiting.len();
        if let Err(error) = self.write(&mut state) {
            if let Some(place) = state.gathered.iter().position(|own| own.ticket == ticket) {
                state.bytes -= state.gathered.remove(place).entry.bytes.len();
            }
            return Err(error);
        }
        let is_due = (before..state.waiting.len()).contains(&(super::FOLD_AT - 1));
        drop(state);
        if is_due {
            self.change.notify_all();
        }
        Ok(ticket)
    }

    /// Writes all that is gathered.
    fn write(&self, state: &mut State) -> StoreResult<()> {
        if state.gathered.is_empty() {
            return Ok(());
        }
        let (mut bytes, mut number) = (Vec::new(), state.number);
        for run in state.gathered.chunk_by(|one, other| one.tenant == other.tenant) {
            let tenant = run.first().map_or(TenantId::DEFAULT, |first| first.tenant);
            let entries = run.iter().map(|own| &own.entry);
            bytes.extend_from_slice(&staged::seal(&self.sealer, tenant, number + 1, entries)?);
            number += run.len() as u64;
        }
        if let Err(error) = self.file(state.active).write_all(&bytes) {
            // What was written of it goes again: a part in the middle would hide what follows.
            if self.file(state.active).set_len(state.length).is_err() {
                state.failure = Some(failed(&error));
            }
            return Err(io_error(&self.folder, &error));
        }
        state.length += bytes.len() as u64;
        (state.number, state.written) = (number, state.ticket);
        // Whoever writes tells the thread that syncs, which else could sleep on, and the ledger seem to be behind.
        if state.unsynced.is_none() {
            state.unsynced = Some(Instant::now());
            self.change.notify_all();
        }
        let written =
            state.gathered.drain(..).map(|Gathered { tenant, entry, .. }| Staged { tenant, entry, row: None });
        state.waiting.extend(written);
        Ok(())
    }

    /// Takes entries that a commit has written as rows.
    pub(in crate::store::embedded) fn add_rows(&self, entries: Vec<Staged>) {
        if entries.is_empty() {
            return;
        }
        let mut state = self.lock();
        state.since.get_or_insert_with(Instant::now);
        state.bytes += entries.iter().map(|staged| staged.entry.bytes.len()).sum::<usize>();
        state.waiting.extend(entries);
        drop(state);
        self.change.notify_all();
    }

    /// Waits until something is to be folded; `false` at the end, when all is.
    pub(super) fn wait_to_fold(&self, every: Duration, at: usize) -> bool {
        let mut state = self.lock();
        loop {
            let age = state.since.map(|since| since.elapsed());
            let is_due = state.is_wanted || state.is_ending || state.waiting.len() >= at;
            if age.is_some_and(|age| is_due || age >= every) {
                state.is_wanted = false;
                return true;
            }
            if state.is_wanted {
                state.is_wanted = false;
                self.folds.send_modify(|folds| *folds += 1);
            }
            if state.is_ending {
                return false;
            }
            state = self.pause(state, age.map(|age| every.saturating_sub(age)));
        }
    }

    /// Waits until something is to be synced; `false` at the end.
    pub(super) fn wait_to_sync(&self, every: Duration) -> bool {
        let mut state = self.lock();
        loop {
            let age = state.unsynced.map(|since| since.elapsed());
            if state.is_ending || state.failure.is_some() {
                return false;
            }
            if age.is_some_and(|age| age >= every) {
                return true;
            }
            state = self.pause(state, age.map(|age| every.saturating_sub(age)));
        }
    }

    fn pause<'s>(&self, state: MutexGuard<'s, State>, longest: Option<Duration>) -> MutexGuard<'s, State> {
        match longest {
            None => self.change.wait(state).unwrap_or_else(PoisonError::into_inner),
            Some(longest) => {
                let waited = self.change.wait_timeout(state, longest.max(Duration::from_millis(1)));
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
        }
    }

    /// Syncs what is in the files.
    pub(super) fn sync(&self) -> StoreResult<()> {
        let mut state = self.lock();
        let (ticket, began) = (state.written, Instant::now());
        state.syncing = Some(began);
        drop(state);
        let done = self.files.iter().try_for_each(File::sync_data).map_err(|error| io_error(&self.folder, &error));
        let mut state = self.lock();
        state.syncing = None;
        state.unsynced = (state.written > ticket).then_some(began);
        drop(state);
        done?;
        self.has_synced(ticket);
        Ok(())
    }

    fn has_synced(&self, ticket: u64) {
        self.synced.send_if_modified(|synced| {
            let is_later = ticket > *synced;
            *synced = ticket.max(*synced);
            is_later
        });
    }

    /// Takes all that waits, and turns to the other file.
    pub(super) fn take(&self) -> Unfolded {
        let mut state = self.lock();
        // Where it can't be written, those whom it concerns hear so themselves.
        drop(self.write(&mut state));
        let gathered = state.gathered.iter().map(|own| own.entry.bytes.len()).sum();
        (state.active, state.length, state.bytes) = (1 - state.active, 0, gathered);
        state.since = (!state.gathered.is_empty() && !state.is_ending).then(Instant::now);
        state.is_folding = true;
        let unfolded =
            Unfolded { entries: std::mem::take(&mut state.waiting), number: state.number, ticket: state.written };
        drop(state);
        self.taken.send_modify(|taken| *taken += 1);
        unfolded
    }

    /// All that was taken, to this ticket, is in the chain: what was staged of it goes.
    pub(super) fn folded(&self, ticket: u64) -> StoreResult<()> {
        let old = 1 - self.lock().active;
        let emptied = self.file(old).set_len(0).map_err(|error| io_error(&self.folder, &error));
        self.lock().is_folding = false;
        self.has_synced(ticket);
        self.folds.send_modify(|folds| *folds += 1);
        emptied
    }

    /// Takes no more entries.
    pub(super) fn fail(&self, error: &StoreError) {
        self.lock().failure = Some(failed(error));
        self.synced.send_replace(u64::MAX);
        self.folds.send_replace(u64::MAX);
        self.taken.send_modify(|taken| *taken += 1);
    }

    /// Ends when all is folded.
    pub(in crate::store::embedded) fn end(&self) {
        self.lock().is_ending = true;
        self.taken.send_modify(|taken| *taken += 1);
        self.change.notify_all();
    }

    /// Waits until the entry with this ticket is on disk.
    pub(in crate::store::embedded) async fn synced(this: Arc<Self>, ticket: u64) -> StoreResult<()> {
        // What fails sends a ticket that is past all others.
        drop(this.synced.subscribe().wait_for(|synced| *synced >= ticket).await);
        this.lock().failure.clone().map_or(Ok(()), Err)
    }

    /// Asks for a fold, and waits until all that was recorded before is in the chain.
    pub(in crate::store::embedded) async fn settled(this: Arc<Self>) -> StoreResult<()> {
        let mut folds = this.folds.subscribe();
        let wanted = {
            let mut state = this.lock();
            if let Some(error) = state.failure.clone() {
                return Err(error);
            }
            if state.is_ending {
                return Err(StoreError::Closed("the ledger has ended".into()));
            }
            state.is_wanted = true;
            // A fold that is under way may have begun before: the one after it has all.
            folds.borrow_and_update().saturating_add(1 + u64::from(state.is_folding))
        };
        this.change.notify_all();
        drop(folds.wait_for(|folds| *folds >= wanted).await);
        this.lock().failure.clone().map_or(Ok(()), Err)
    }
}

/// What is said after a failure.
fn failed(error: &impl std::fmt::Display) -> StoreError {
    StoreError::Closed(format!("the ledger failed: {error}; restart"))
}

#[cfg(test)]
mod tests;

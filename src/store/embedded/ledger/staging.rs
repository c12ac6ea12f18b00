//! Entries that are recorded and not folded yet.

use crate::clock::Micros;
use crate::store::embedded::tables::{Tables, failed};
use crate::store::embedded::{io_error, layout};
use crate::store::ledger::Entry;
use crate::store::rows::Row;
use crate::store::rows::ledger::{Staged, Unfolded, open_row, staged_place};
use crate::store::seal::Sealer;
use crate::store::{StoreError, StoreResult};
use crate::tenant::TenantId;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Entries that may wait to be folded: more are refused.
const MOST_WAITING: usize = 200_000;
/// The same in bytes.
const MOST_WAITING_BYTES: usize = 256 << 20;
/// How long a sync may take before entries are refused.
const LONGEST_LAG: Duration = Duration::from_secs(5);
/// The header of a staged entry: its length after this, its tenant, its number and its time.
const HEADER: usize = 4 + 4 + 8 + 8;

#[derive(Default)]
struct State {
    waiting: Vec<Staged>,
    /// The length of their entries together.
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
    /// The last number that was given out.
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
    state: Mutex<State>,
    change: Condvar,
    /// The last number that is synced, and how many entries were folded.
    synced: watch::Sender<u64>,
    folds: watch::Sender<u64>,
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
    /// Opens the files. What they and the rows hold that is not folded waits again.
    pub(in crate::store::embedded) fn open(folder: &Path, tables: &Tables, sealer: &Sealer) -> StoreResult<Self> {
        let files = [open_file(folder, 0)?, open_file(folder, 1)?];
        let folded = folded_through(tables)?;
        let mut found = join(&files, sealer).map_err(|error| io_error(folder, &error))?;
        found.retain(|(number, ..)| *number > folded);
        found.sort_unstable_by_key(|(number, ..)| *number);
        found.dedup_by_key(|(number, ..)| *number);
        let number = found.last().map_or(folded, |(number, ..)| *number);
        if found.windows(2).any(|pair| matches!(pair, [(a, ..), (b, ..)] if a + 1 != *b))
            || found.first().is_some_and(|(first, ..)| *first != folded + 1)
        {
            tracing::error!("entries that waited for the ledger are missing from its files");
        }
        let mut waiting: Vec<_> =
            found.into_iter().map(|(_, tenant, entry)| Staged { tenant, entry, row: None }).collect();
        for row in staged_rows(tables) {
            waiting.push(open_row(sealer, &row?)?);
        }
        let since = (!waiting.is_empty()).then(Instant::now);
        let length = files[0].metadata().map_err(|error| io_error(folder, &error))?.len();
        let is_wanted = since.is_some();
        let state = State { waiting, since, length, number, is_wanted, ..State::default() };
        Ok(Self {
            files,
            folder: folder.to_path_buf(),
            state: Mutex::new(state),
            change: Condvar::new(),
            synced: watch::Sender::new(number),
            folds: watch::Sender::new(0),
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
        let is_full = state.waiting.len() >= MOST_WAITING || state.bytes >= MOST_WAITING_BYTES;
        let is_behind = is_full || is_late(state.unsynced) || is_late(state.syncing);
        is_behind.then(|| StoreError::Closed("the ledger is behind; requests go on when it has caught up".into()))
    }

    /// Why no entry can be taken now.
    pub(in crate::store::embedded) fn health(&self) -> Option<StoreError> {
        Self::refusal(&self.lock())
    }

    /// Takes an entry: with `Ok` it is with the system, so that the end of this process does not lose it. Answers its number.
    pub(in crate::store::embedded) fn add(&self, sealer: &Sealer, tenant: TenantId, entry: Entry) -> StoreResult<u64> {
        let mut state = self.lock();
        if let Some(error) = Self::refusal(&state) {
            return Err(error);
        }
        let number = state.number + 1;
        let mut record = Vec::with_capacity(HEADER + entry.bytes.len() + crate::store::seal::OVERHEAD);
        record.extend_from_slice(&tenant.0.to_be_bytes());
        record.extend_from_slice(&number.to_be_bytes());
        record.extend_from_slice(&entry.time.0.to_be_bytes());
        sealer.seal(staged_place(tenant, number), entry.time, &entry.bytes, &mut record)?;
        let length = u32::try_from(record.len()).map_err(|_| StoreError::Io("an entry is too long".into()))?;
        record.splice(..0, length.to_be_bytes());
        if let Err(error) = self.file(state.active).write_all(&record) {
            // What was written of it goes again: a part in the middle would hide what follows.
            if self.file(state.active).set_len(state.length).is_err() {
                state.failure = Some(io_error(&self.folder, &error));
            }
            return Err(io_error(&self.folder, &error));
        }
        state.length += record.len() as u64;
        state.number = number;
        let now = Instant::now();
        let was_synced = state.unsynced.is_none();
        state.unsynced.get_or_insert(now);
        let is_first = state.since.is_none();
        state.since.get_or_insert(now);
        state.bytes += entry.bytes.len();
        state.waiting.push(Staged { tenant, entry, row: None });
        let is_due = is_first || state.waiting.len() == super::FOLD_AT || was_synced;
        drop(state);
        if is_due {
            self.change.notify_all();
        }
        Ok(number)
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
        let (number, began) = (state.number, Instant::now());
        state.syncing = Some(began);
        drop(state);
        let done = self.files.iter().try_for_each(File::sync_data).map_err(|error| io_error(&self.folder, &error));
        let mut state = self.lock();
        state.syncing = None;
        state.unsynced = (state.number > number).then_some(began);
        drop(state);
        done?;
        self.has_synced(number);
        Ok(())
    }

    fn has_synced(&self, number: u64) {
        self.synced.send_if_modified(|synced| {
            let is_later = number > *synced;
            *synced = number.max(*synced);
            is_later
        });
    }

    /// Takes all that waits, and turns to the other file.
    pub(super) fn take(&self) -> Unfolded {
        let mut state = self.lock();
        (state.active, state.length, state.bytes) = (1 - state.active, 0, 0);
        state.since = None;
        state.is_folding = true;
        Unfolded { entries: std::mem::take(&mut state.waiting), number: state.number }
    }

    /// All that was taken is in the chain: what was staged of it goes.
    pub(super) fn folded(&self, number: u64) -> StoreResult<()> {
        let old = 1 - self.lock().active;
        let emptied = self.file(old).set_len(0).map_err(|error| io_error(&self.folder, &error));
        self.lock().is_folding = false;
        self.has_synced(number);
        self.folds.send_modify(|folds| *folds += 1);
        emptied
    }

    /// Takes no more entries.
    pub(super) fn fail(&self, error: &StoreError) {
        self.lock().failure = Some(StoreError::Closed(format!("the ledger failed: {error}; restart")));
        self.synced.send_replace(u64::MAX);
        self.folds.send_replace(u64::MAX);
    }

    /// Ends when all is folded.
    pub(in crate::store::embedded) fn end(&self) {
        self.lock().is_ending = true;
        self.change.notify_all();
    }

    /// Waits until the entry with this number is on disk.
    pub(in crate::store::embedded) async fn synced(this: Arc<Self>, number: u64) -> StoreResult<()> {
        // What fails sends a number that is past all others.
        drop(this.synced.subscribe().wait_for(|synced| *synced >= number).await);
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

/// Brings the entries of both files into the first one, so that the other is empty. After a power cut the end of a file may not be
/// whole: it goes, since what is written behind it could not be read.
fn join(files: &[File; 2], sealer: &Sealer) -> std::io::Result<Vec<(u64, TenantId, Entry)>> {
    let [mut first, mut second] = files.each_ref();
    let mut found = Vec::new();
    let mut bytes = Vec::new();
    first.seek(SeekFrom::Start(0))?;
    first.read_to_end(&mut bytes)?;
    first.set_len(whole(&bytes, sealer, &mut found))?;
    bytes.clear();
    second.seek(SeekFrom::Start(0))?;
    second.read_to_end(&mut bytes)?;
    let length = usize::try_from(whole(&bytes, sealer, &mut found)).unwrap_or_default();
    first.write_all(bytes.get(..length).unwrap_or_default())?;
    first.sync_all()?;
    second.set_len(0)?;
    Ok(found)
}

/// Reads the entries of a file, as far as they are whole, and tells how long that is.
fn whole(bytes: &[u8], sealer: &Sealer, found: &mut Vec<(u64, TenantId, Entry)>) -> u64 {
    let mut rest = bytes;
    while let Some((entry, after)) = next(rest, sealer) {
        found.push(entry);
        rest = after;
    }
    if !rest.is_empty() {
        tracing::warn!(bytes = rest.len(), "the end of a file of staged entries can't be read");
    }
    (bytes.len() - rest.len()) as u64
}

type Found<'b> = ((u64, TenantId, Entry), &'b [u8]);

fn next<'b>(bytes: &'b [u8], sealer: &Sealer) -> Option<Found<'b>> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (record, after) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
    let (header, sealed) = record.split_at_checked(HEADER - 4)?;
    let (tenant, numbers) = header.split_first_chunk::<4>()?;
    let (number, time) = numbers.split_first_chunk::<8>()?;
    let (tenant, number) = (TenantId(u32::from_be_bytes(*tenant)), u64::from_be_bytes(*number));
    let time = Micros(i64::from_be_bytes(time.try_into().ok()?));
    let bytes = sealer.open(staged_place(tenant, number), header, sealed).ok()?;
    Some(((number, tenant, Entry { time, bytes }), after))
}

/// The last number in the files that was folded.
fn folded_through(tables: &Tables) -> StoreResult<u64> {
    let stored = tables.history.get(layout::folded()).map_err(|error| failed(&error))?;
    let number = stored.map(|bytes| bytes.as_ref().try_into().map(u64::from_be_bytes)).transpose();
    Ok(number.map_err(|_| StoreError::Damaged("the mark of the ledger".into()))?.unwrap_or_default())
}

/// The rows of entries that commits staged, in order.
pub(in crate::store::embedded) fn staged_rows(tables: &Tables) -> impl Iterator<Item = StoreResult<Row>> + use<> {
    tables.history.prefix(layout::all_staged()).map(|row| {
        let (key, value) = row.into_inner().map_err(|error| failed(&error))?;
        Ok((key.to_vec(), value.to_vec()))
    })
}

/// The number that the next row gets.
pub(in crate::store::embedded) fn next_row(tables: &Tables) -> StoreResult<u64> {
    let last = tables.history.prefix(layout::all_staged()).next_back();
    let key = last.map(|row| row.key().map_err(|error| failed(&error))).transpose()?;
    Ok(key.as_deref().and_then(<[u8]>::last_chunk::<8>).map_or(1, |bytes| u64::from_be_bytes(*bytes) + 1))
}

//! The watch: a thread that notices a disk that hangs or fills up, and syncs the mark in the background.

use super::Shared;
use crate::store::StoreError;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often free space is looked at and the mark is synced.
const LOOK: Duration = Duration::from_secs(1);

/// What the watch sees and says.
pub(super) struct Watch {
    start: Instant,
    /// Milliseconds from `start`, plus one, at which the committer went to the disk; 0 while it does not need it.
    at_disk_since: AtomicU64,
    is_hung: AtomicBool,
    is_full: AtomicBool,
    is_ending: Mutex<bool>,
    ending: Condvar,
}

impl Default for Watch {
    fn default() -> Self {
        Self {
            start: Instant::now(),
            at_disk_since: AtomicU64::new(0),
            is_hung: AtomicBool::new(false),
            is_full: AtomicBool::new(false),
            is_ending: Mutex::new(false),
            ending: Condvar::new(),
        }
    }
}

impl Watch {
    fn now_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1)
    }

    pub(super) fn disk_begins(&self) {
        self.at_disk_since.store(self.now_ms(), Ordering::Release);
    }

    pub(super) fn disk_ends(&self) {
        self.at_disk_since.store(0, Ordering::Release);
        self.is_hung.store(false, Ordering::Release);
    }

    /// Why no commit should be tried now.
    pub(super) fn refusal(&self) -> Option<StoreError> {
        if self.is_hung.load(Ordering::Acquire) {
            return Some(StoreError::Closed("the disk does not answer; commits go on when it does".into()));
        }
        self.is_full.load(Ordering::Acquire).then(|| {
            StoreError::ReadOnly("less disk space is left than the floor; writes go on when there is more".into())
        })
    }

    /// Whether the disk does not answer.
    pub(super) fn is_hung(&self) -> bool {
        self.is_hung.load(Ordering::Acquire)
    }

    pub(super) fn end(&self) {
        *self.is_ending.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.ending.notify_all();
    }
}

/// The thread that watches.
pub(super) fn run(shared: &Shared) {
    let watch = &shared.watch;
    let step = (shared.options.disk_limit / 4).clamp(Duration::from_millis(10), LOOK);
    let mut looked = Instant::now();
    let mut synced = 0;
    loop {
        let ending = watch.is_ending.lock().unwrap_or_else(PoisonError::into_inner);
        if *ending {
            return;
        }
        let (ending, _) = watch.ending.wait_timeout(ending, step).unwrap_or_else(PoisonError::into_inner);
        drop(ending);
        look_for_hang(shared);
        if looked.elapsed() >= LOOK {
            looked = Instant::now();
            look_at_space(shared);
            synced = sync_mark(shared, synced);
        }
    }
}

fn look_for_hang(shared: &Shared) {
    let watch = &shared.watch;
    let since = watch.at_disk_since.load(Ordering::Acquire);
    if since == 0 || u128::from(watch.now_ms() - since) < shared.options.disk_limit.as_millis() {
        return;
    }
    if !watch.is_hung.swap(true, Ordering::AcqRel) {
        tracing::error!(limit = ?shared.options.disk_limit, "the disk does not answer");
    }
    shared.queue.give_up(
        &StoreError::OutcomeUnknown("the disk does not answer in time".into()),
        &StoreError::Closed("the disk does not answer; the commit was not begun".into()),
    );
    // The committer may have come back between the two looks: then nothing is hung, and the flag must not stay.
    if watch.at_disk_since.load(Ordering::Acquire) == 0 {
        watch.is_hung.store(false, Ordering::Release);
    }
}

/// Notes whether less space is left than the floor.
pub(super) fn look_at_space(shared: &Shared) {
    let floor = shared.options.free_floor_mib.saturating_mul(1024 * 1024);
    let Some(free) = free_bytes(&shared.options.folder) else { return };
    let is_full = free < floor;
    if shared.watch.is_full.swap(is_full, Ordering::AcqRel) != is_full {
        let free_mib = free / (1024 * 1024);
        tracing::warn!(free_mib, is_full, "free disk space crossed the floor");
    }
}

/// Bytes that this process may still fill; `None` where the system doesn't tell.
fn free_bytes(folder: &Path) -> Option<u64> {
    let space = rustix::fs::statvfs(folder).ok()?;
    space.f_bavail.checked_mul(space.f_frsize)
}

fn sync_mark(shared: &Shared, synced: u64) -> u64 {
    let mark = shared.mark();
    let (number, handle) = (mark.get().synced, mark.handle());
    drop(mark);
    if number == synced {
        return synced;
    }
    match handle.map(|handle| handle.sync_data()) {
        Ok(Ok(())) => number,
        Ok(Err(error)) => {
            shared.fail(&StoreError::Io(error.to_string()));
            synced
        }
        Err(error) => {
            shared.fail(&error);
            synced
        }
    }
}

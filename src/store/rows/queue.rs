//! Commits that wait for the committer, and those it is writing.

use super::group::Prepared;
use crate::store::{CommitError, Committed, StoreError, StoreResult};
use crate::tenant::TenantId;
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::oneshot;

/// What a commit comes to.
pub(in crate::store) type Outcome = Result<Committed, CommitError>;
/// Where its outcome is awaited.
pub(in crate::store) type Answer = oneshot::Sender<Outcome>;

#[derive(Default)]
struct Waiting {
    jobs: VecDeque<(Prepared, Answer)>,
    /// Why no more is accepted.
    closed: Option<StoreError>,
    /// Whether it was closed by a failure.
    has_failed: bool,
    /// Whether the committer shall end when nothing waits any more.
    ending: bool,
    /// Those whose commits are being written.
    writing: Vec<Answer>,
}

/// What who waits hears of a committer that has gone.
pub(in crate::store) fn ended() -> StoreError {
    StoreError::OutcomeUnknown("the committer ended before it answered".into())
}

/// A bounded queue with one reader.
#[derive(Default)]
pub(in crate::store) struct Queue {
    waiting: Mutex<Waiting>,
    arrival: Condvar,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a commit, unless `most` wait already.
    pub(in crate::store) fn add(
        &self,
        commit: Prepared,
        most: usize,
    ) -> Result<oneshot::Receiver<Outcome>, StoreError> {
        let (answer, outcome) = oneshot::channel();
        let mut waiting = self.lock();
        if let Some(error) = &waiting.closed {
            return Err(error.clone());
        }
        if waiting.jobs.len() >= most {
            return Err(StoreError::Busy);
        }
        waiting.jobs.push_back((commit, answer));
        drop(waiting);
        self.arrival.notify_one();
        Ok(outcome)
    }

    /// Has all removed that is left of a tenant whose keys were destroyed, group by group.
    pub(in crate::store) async fn remove(&self, tenant: TenantId, most: usize) -> StoreResult<()> {
        loop {
            let answer = self.add(Prepared::with_removal(tenant), most)?;
            match answer.await.unwrap_or_else(|_| Err(ended().into())) {
                Ok(removed) if removed.written.is_empty() => return Ok(()),
                Ok(_) => {}
                Err(CommitError::Store(error)) => return Err(error),
                Err(other) => return Err(StoreError::Closed(other.to_string())),
            }
        }
    }

    /// Waits for commits and takes as many as make `most_changes`, but at least one; none when there were none for `longest`.
    /// `None` when the store ends.
    pub(in crate::store) fn take(&self, most_changes: usize, longest: Duration) -> Option<Vec<(Prepared, Answer)>> {
        let is_idle = |waiting: &mut Waiting| waiting.jobs.is_empty() && !waiting.ending;
        let waited = self.arrival.wait_timeout_while(self.lock(), longest, is_idle);
        let (mut waiting, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if waiting.ending && waiting.jobs.is_empty() {
            return None;
        }
        let mut group = Vec::new();
        let mut changes = 0;
        while let Some((commit, _)) = waiting.jobs.front() {
            changes += commit.len();
            if !group.is_empty() && changes > most_changes {
                break;
            }
            group.extend(waiting.jobs.pop_front());
        }
        Some(group)
    }

    /// Puts the answers where [`Queue::give_up`] finds them while the disk is at work.
    pub(in crate::store) fn begin_writing(&self, answers: Vec<Answer>) {
        self.lock().writing = answers;
    }

    /// Takes the answers back; none are left if they were given up meanwhile.
    pub(in crate::store) fn end_writing(&self) -> Vec<Answer> {
        std::mem::take(&mut self.lock().writing)
    }

    /// Answers all that are being written, and all that wait, when the disk does not.
    pub(in crate::store) fn give_up(&self, begun: &StoreError, not_begun: &StoreError) {
        let mut queue = self.lock();
        for answer in std::mem::take(&mut queue.writing) {
            drop(answer.send(Err(begun.clone().into())));
        }
        for (_, answer) in std::mem::take(&mut queue.jobs) {
            drop(answer.send(Err(not_begun.clone().into())));
        }
    }

    /// Accepts no more; what waits is still written.
    pub(in crate::store) fn end(&self) {
        let mut waiting = self.lock();
        waiting.ending = true;
        waiting.closed.get_or_insert_with(|| StoreError::Closed("it is shutting down".into()));
        drop(waiting);
        self.arrival.notify_all();
    }

    /// Accepts no more after a failure, and answers all that wait with it. The first failure is kept.
    pub(in crate::store) fn close(&self, error: &StoreError) {
        let mut waiting = self.lock();
        waiting.ending = true;
        if !waiting.has_failed {
            waiting.has_failed = true;
            waiting.closed = Some(error.clone());
        }
        for (_, answer) in std::mem::take(&mut waiting.jobs) {
            drop(answer.send(Err(error.clone().into())));
        }
        drop(waiting);
        self.arrival.notify_all();
    }

    /// Why nothing is accepted, if so.
    pub(in crate::store) fn closed(&self) -> Option<StoreError> {
        self.lock().closed.clone()
    }

    /// The failure that closed the queue; an orderly end is none.
    pub(in crate::store) fn failure(&self) -> Option<StoreError> {
        let waiting = self.lock();
        waiting.closed.clone().filter(|_| waiting.has_failed)
    }
}

/// Starts a thread that the store can't do without: where it panics, nobody waits for it in vain.
pub(in crate::store) fn spawn<S: AsRef<Queue> + Send + Sync + 'static>(
    shared: &Arc<S>,
    name: &str,
    run: impl FnOnce(&S) + Send + 'static,
) -> StoreResult<JoinHandle<()>> {
    let shared = Arc::clone(shared);
    let guarded = move || {
        let _closes = ClosesAtPanic((*shared).as_ref());
        run(&shared);
    };
    let thread = std::thread::Builder::new().name(format!("pharos-{name}")).spawn(guarded);
    thread.map_err(|error| StoreError::Io(error.to_string()))
}

struct ClosesAtPanic<'q>(&'q Queue);

impl Drop for ClosesAtPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.close(&StoreError::Closed("a thread of the store has ended abnormally; restart".into()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_for_a_thread_that_panics_hears_of_it() {
        let queue = Queue::default();
        let add = || queue.add(Prepared::with_kept(TenantId(0), Vec::new(), Vec::new()), 9);
        let waiting = add().unwrap();
        std::thread::scope(|scope| {
            let ends = |is_abnormal: bool| {
                let _closes = ClosesAtPanic(&queue);
                assert!(!is_abnormal, "on purpose");
            };
            assert!(scope.spawn(move || ends(false)).join().is_ok() && queue.failure().is_none());
            assert!(scope.spawn(move || ends(true)).join().is_err() && queue.failure().is_some());
        });
        assert!(matches!(waiting.blocking_recv(), Ok(Err(CommitError::Store(StoreError::Closed(_))))));
        assert!(matches!(add(), Err(StoreError::Closed(_))));
    }

    #[test]
    fn a_reader_waits_no_longer_than_it_wants_and_hears_of_the_end() {
        let queue = Queue::default();
        let take = |longest| queue.take(1, longest).map(|group| group.len());
        assert_eq!(take(Duration::from_millis(1)), Some(0));
        let outcome = queue.add(Prepared::with_kept(TenantId(0), Vec::new(), Vec::new()), 1).unwrap();
        assert_eq!(take(Duration::MAX), Some(1));
        assert!(outcome.blocking_recv().is_err(), "it was taken and dropped");
        queue.end();
        assert_eq!(take(Duration::MAX), None);
    }
}

//! The threads of a store on MongoDB: one commits, one inserts into the ledger, and one folds that.

use super::committer::Committer;
use super::{Shared, ledger};
use crate::store::rows::queue::{Queue, spawn};
use crate::store::{StoreError, StoreResult};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long the end of a store waits for a database that does not answer.
const LONGEST_END: Duration = Duration::from_secs(5);
/// How often it is looked whether a thread has ended.
const LOOK: Duration = Duration::from_millis(5);

/// They run until the store ends.
pub(super) struct Threads {
    committer: JoinHandle<()>,
    ledger: [JoinHandle<()>; 2],
}

impl Threads {
    pub(super) fn start(shared: &Arc<Shared>) -> StoreResult<Self> {
        let committer = Committer::new(Arc::clone(shared));
        let committer = spawn(shared, "commit", move |_| committer.run())?;
        Ok(Self {
            committer,
            ledger: [spawn(shared, "ledger", ledger::insert)?, spawn(shared, "ledger-fold", ledger::fold)?],
        })
    }

    /// Has them end when all that waits is done. Those that wait in vain for the database are left alone; they end with the process.
    pub(super) fn end(self, shared: &Shared) -> StoreResult<()> {
        let began = Instant::now();
        shared.queue.end();
        let committed = ended(self.committer, began, shared);
        shared.staging.end();
        let recorded = self.ledger.into_iter().map(|thread| ended(thread, began, shared)).fold(Ok(()), Result::and);
        if committed.is_ok() && recorded.is_ok() {
            shared.fence.end(&shared.connection);
        }
        committed.and(recorded)
    }
}

/// Waits for the end of a thread, but not for long where the database does not answer.
fn ended(thread: JoinHandle<()>, began: Instant, shared: &Shared) -> StoreResult<()> {
    while !thread.is_finished() {
        if began.elapsed() > LONGEST_END
            && let Some(silence) = shared.pulse.silence(Instant::now())
        {
            tracing::error!("the store ends without its database: what that has not taken by now is lost");
            return Err(silence);
        }
        std::thread::sleep(LOOK);
    }
    thread.join().map_err(|_| StoreError::Closed("a thread of the store ended abnormally".into()))
}

impl AsRef<Queue> for Shared {
    fn as_ref(&self) -> &Queue {
        &self.queue
    }
}

//! The ledger on the embedded store: entries are staged, so that the end of the process loses none, and folded into the chain soon
//! after (`crate::store::ledger`).
//!
//! An entry of a commit is staged as a row in the commit's own batch, and so is there exactly if the commit is. Any other is
//! appended to a file, together with others that come at the same time; a thread syncs the file every [`SYNC_EVERY`]. Another folds what is
//! staged: it makes blocks and postings of it, and has the committer write them and remove what was staged in one batch. It is the
//! only one that makes the chain longer.
//!
//! | where | what |
//! |---|---|
//! | `ledger-0`, `ledger-1` | files of staged entries: one is written to while the other is folded and emptied |
//! | history, `a` first | a block |
//! | history, `b` | how far the chain has come |
//! | history, tenant `u32::MAX`, `w` number | an entry that was staged with a commit |
//! | history, tenant `u32::MAX`, `y` | the last entry of the files that is folded |

mod check;
mod staged;
mod staging;
mod turn;

pub(super) use check::Walk;
pub(super) use staged::next_row;
pub(super) use staging::Staging;

use super::Shared;
use super::tables::row;
use crate::store::ledger::Block;
use crate::store::rows::group::Prepared;
use crate::store::rows::ledger::{Fold, block_of};
use crate::store::seal::Sealer;
use crate::store::{CommitError, StoreError, StoreResult};
use crate::tenant::TenantId;
use std::sync::Arc;
use std::time::Duration;

/// How long a staged entry waits to be synced, at most: half of what is promised.
const SYNC_EVERY: Duration = Duration::from_millis(25);
/// How long a staged entry waits to be folded, at most.
const FOLD_EVERY: Duration = Duration::from_secs(1);
/// How often a disk that does not answer is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// As many are folded at once without waiting.
const FOLD_AT: usize = 4096;

/// The thread that syncs, until the staging ends.
pub(super) fn sync(shared: &Shared) {
    while shared.staging.wait_to_sync(SYNC_EVERY) {
        if let Err(error) = shared.staging.sync() {
            return fail(shared, &error);
        }
    }
}

/// The thread that folds, until the staging ends and all is folded.
pub(super) fn run(shared: &Shared) {
    while shared.staging.wait_to_fold(FOLD_EVERY, FOLD_AT) {
        if let Err(error) = fold_all(shared) {
            return fail(shared, &error);
        }
    }
}

fn fail(shared: &Shared, error: &StoreError) {
    tracing::error!(%error, "the ledger failed; it takes no more entries");
    shared.staging.fail(error);
}

/// Folds all that is staged.
fn fold_all(shared: &Shared) -> StoreResult<()> {
    let unfolded = shared.staging.take();
    let through = unfolded.ticket;
    let fold = Arc::new(Fold::of(&*shared.tables, &shared.sealer, &*shared.entries.form, unfolded)?);
    while let Err(error) = commit(shared, &fold) {
        tracing::warn!(%error, "the ledger waits for the disk");
        wait_for_disk(shared)?;
        // It may have happened after all.
        if fold.has_happened(&*shared.tables)? {
            break;
        }
    }
    shared.staging.folded(through)
}

fn commit(shared: &Shared, fold: &Arc<Fold>) -> Result<(), CommitError> {
    let outcome = shared.queue.add(Prepared::with_fold(Arc::clone(fold)), usize::MAX)?;
    let outcome = outcome.blocking_recv();
    outcome.unwrap_or_else(|_| Err(StoreError::Closed("the committer ended".into()).into())).map(drop)
}

/// Waits until a disk that did not answer does so again.
fn wait_for_disk(shared: &Shared) -> StoreResult<()> {
    while shared.watch.is_hung() {
        shared.queue.closed().map_or(Ok(()), Err)?;
        std::thread::sleep(LOOK_EVERY);
    }
    shared.queue.closed().map_or(Ok(()), Err)
}

/// The blocks of a chain, in order; with their entries where `is_open`.
pub(super) fn blocks(
    stored: fjall::Iter,
    sealer: &Sealer,
    tenant: TenantId,
    is_open: bool,
) -> impl Iterator<Item = StoreResult<Block>> + Send + use<'_> {
    stored.map(move |block| Ok(block_of(row(block)?, sealer, tenant, is_open)))
}

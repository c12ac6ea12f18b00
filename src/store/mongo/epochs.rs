//! Hearing of what other processes have changed among the records that are no resources.
//!
//! Every process counts its changes in documents of its own, so that none is waited for, and looks at those of the others again and
//! again. So what one process revokes, another one honours for at most [`LOOK_EVERY`] longer. A look that is answered also tells that the
//! database is there ([`super::pulse`]).

use super::Shared;
use super::client::{Connection, Failed, Meaning};
use super::fence::{self, Fence};
use super::turns::Used;
use super::write::EPOCHS;
use crate::tenant::TenantId;
use mongodb::bson::{DateTime, Document, doc};
use rustc_hash::FxHashMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// How often the others' changes are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How often a process that writes nothing says that it is there.
const SAY_EVERY: Duration = Duration::from_secs(15);
/// How long the database may take over one thing: what was sent over a line that is dead is never answered, and what is sent next goes over
/// another one.
const LOOK_WITHIN: Duration = Duration::from_secs(10);
/// Counts of processes that have changed nothing for so long are forgotten.
const FORGET_AFTER_MS: i64 = 7 * 24 * 60 * 60 * 1000;

/// Looks at the counts as long as the store is open.
pub(super) fn follow(shared: &Arc<Shared>) {
    let weak = Arc::downgrade(shared);
    shared.connection.spawn(async move {
        if let Some(shared) = weak.upgrade() {
            forget(&shared.connection).await;
        }
        let (mut known, mut said, mut turns) = (None, (None, Instant::now()), None);
        while let Some(found) = look(&weak).await {
            match found {
                Ok((found, own)) => {
                    look_at_keys(&weak, own.mark).await;
                    known = Some(compare(&weak, known, found));
                    turns = look_at_turns(&weak, turns).await;
                    if said.0 != own.at {
                        said = (own.at, Instant::now());
                    } else if said.1.elapsed() >= SAY_EVERY {
                        say(&weak).await;
                    }
                }
                Err(failed) => tracing::debug!(error = %failed.text, "the changes of other processes can't be seen"),
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    });
}

/// Counts of the other processes by document.
type Counts = FxHashMap<String, i64>;

/// The mark of this process, and when it last wrote: see [`super::fence`].
#[derive(Default)]
struct Own {
    mark: Option<i64>,
    at: Option<DateTime>,
}

/// Says that this process is there, which its commits do as well: not while one is on its way.
async fn say(weak: &Weak<Shared>) {
    let Some(shared) = weak.upgrade().filter(|shared| !shared.fence.is_in_use()) else { return };
    let ((mark, sign), connection) = (shared.fence.heartbeat(), Arc::clone(&shared.connection));
    // Left without an answer it is silence, which the next look ends that has one.
    shared.pulse.asks(Instant::now());
    drop(shared);
    let saying = async { Ok(connection.db().collection::<Document>(EPOCHS).update_one(mark, sign).await?) };
    match within(LOOK_WITHIN, saying).await {
        Ok(_) => {
            if let Some(shared) = weak.upgrade() {
                shared.pulse.answers();
            }
        }
        Err(failed) => tracing::debug!(error = %failed.text, "the database does not hear of this process"),
    }
}

/// Waits for an answer so long.
async fn within<T>(longest: Duration, asking: impl Future<Output = Result<T, Failed>>) -> Result<T, Failed> {
    let late = |_| Err(Failed { meaning: Meaning::Unreachable, text: "it took too long".into() });
    tokio::time::timeout(longest, asking).await.unwrap_or_else(late)
}

/// The others' counts, and the own mark.
async fn look(weak: &Weak<Shared>) -> Option<Result<(Counts, Own), Failed>> {
    let shared = weak.upgrade()?;
    let (connection, process, fence) =
        (Arc::clone(&shared.connection), shared.process.clone(), shared.fence.id.clone());
    shared.pulse.asks(Instant::now());
    drop(shared);
    let found = within(LOOK_WITHIN, counts(&connection, &process, &fence)).await;
    if let (Ok(_), Some(shared)) = (&found, weak.upgrade()) {
        shared.pulse.answers();
    }
    Some(found)
}

async fn counts(connection: &Connection, process: &str, fence: &str) -> Result<(Counts, Own), Failed> {
    let mut cursor = connection.db().collection::<Document>(EPOCHS).find(doc! {}).await?;
    let (mut found, mut own) = (Counts::default(), Own::default());
    while cursor.advance().await? {
        let document = cursor.deserialize_current()?;
        let (Ok(id), Ok(count)) = (document.get_str("_id"), document.get_i64("n")) else { continue };
        if id == fence {
            own = Own { mark: Some(count), at: document.get_datetime("at").ok().copied() };
        } else if !Fence::is_one(id) && !id.ends_with(process) {
            found.insert(id.to_owned(), count);
        }
    }
    Ok((found, own))
}

/// Reads the keys anew where another process has changed them.
async fn look_at_keys(weak: &Weak<Shared>, mark: Option<i64>) {
    let is_other = |shared: &Arc<Shared>| mark != Some(shared.fence.mark()) && shared.queue.closed().is_none();
    let Some(shared) = weak.upgrade().filter(is_other) else { return };
    let renewing = tokio::task::spawn_blocking(move || fence::renew(&shared));
    if let Ok(Err(error)) = renewing.await {
        tracing::warn!(%error, "the keys can't be read anew");
    }
}

/// Looks at which tenants others take turns; where that fails, it is as before.
async fn look_at_turns(weak: &Weak<Shared>, last: Option<Used>) -> Option<Used> {
    let Some(shared) = weak.upgrade() else { return last };
    let (heard, connection, process) =
        (Arc::clone(&shared.heard), Arc::clone(&shared.connection), shared.process.clone());
    drop(shared);
    within(LOOK_WITHIN, heard.look(&connection, &process, last.as_ref())).await.map_or(last, Some)
}

/// Makes the epochs of tenants grow whose records others have changed. At the first look there is nothing to compare with.
fn compare(weak: &Weak<Shared>, known: Option<Counts>, found: Counts) -> Counts {
    if let (Some(known), Some(shared)) = (known, weak.upgrade()) {
        for (id, count) in found.iter().filter(|(id, count)| known.get(*id) != Some(*count)) {
            let tenant = id.split_once('-').and_then(|(tenant, _)| tenant.parse().ok());
            if let Some(tenant) = tenant.filter(|_| *count > 0) {
                shared.epochs.grow(TenantId(tenant));
            }
        }
    }
    found
}

async fn forget(connection: &Connection) {
    let before = DateTime::from_millis(DateTime::now().timestamp_millis() - FORGET_AFTER_MS);
    let old = doc! { "at": { "$lt": before } };
    // The next start forgets them otherwise.
    let forgetting = async { Ok(connection.db().collection::<Document>(EPOCHS).delete_many(old).await?) };
    drop(within(LOOK_WITHIN, forgetting).await);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_never_answered_is_not_waited_for() {
        let waiting = within(Duration::from_millis(1), std::future::pending::<Result<(), Failed>>());
        assert_eq!(waiting.await.map_err(|failed| failed.meaning), Err(Meaning::Unreachable));
    }
}

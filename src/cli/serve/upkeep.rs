//! What a server does by itself, apart from jobs: in a thread of its own, so that a database that does not answer holds up nothing else.

use super::checkpoint;
use crate::app::App;
use crate::auth::agent::Agent;
use std::io::Result;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Builder;
use tokio::sync::oneshot;
use tokio::task::LocalSet;
use tokio::time::MissedTickBehavior;

/// How often the erasure of deleted tenants is looked after.
const DELETIONS_LOOKED_AFTER: Duration = Duration::from_mins(1);
/// How often processes tell each other what they have counted.
const COUNTS_SHARED: Duration = Duration::from_secs(1);

/// The thread. It ends after what it is at, with this or with the process.
pub(super) struct Upkeep(oneshot::Sender<()>);

impl Upkeep {
    /// Starts it.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(super) fn start(app: &Arc<App>) -> Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (sender, ended) = oneshot::channel();
        let app = Arc::clone(app);
        let keep = move || {
            // Each by itself: where one panics, which is in the log, the others go on.
            let all = LocalSet::new();
            all.spawn_local(checkpoints(Arc::clone(&app)));
            all.spawn_local(sweeping(Arc::clone(&app)));
            all.spawn_local(deletions(Arc::clone(&app)));
            all.spawn_local(unwrapping(Arc::clone(&app)));
            all.spawn_local(sharing(Arc::clone(&app)));
            all.spawn_local(app.follow_schema());
            // Nothing is ever sent.
            let _end = runtime.block_on(all.run_until(ended));
        };
        std::thread::Builder::new().name("pharos-upkeep".into()).spawn(keep)?;
        Ok(Self(sender))
    }

    /// Nothing new is begun.
    pub(super) fn end(self) {
        drop(self.0);
    }
}

/// Records, again and again, which keys of other processes were unwrapped.
async fn unwrapping(app: Arc<App>) {
    let mut interval = tokio::time::interval(Duration::from_secs(1));
    loop {
        interval.tick().await;
        if let Err(error) = app.tell_unwrapped(&Agent::default()).await {
            tracing::error!(%error, "it could not be recorded that keys were unwrapped");
        }
    }
}

/// Sees to it that limits hold for all processes on the store together.
async fn sharing(app: Arc<App>) {
    let mut interval = tokio::time::interval(COUNTS_SHARED);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !app.store().is_local() {
        interval.tick().await;
        if let Err(error) = app.share_counts().await {
            tracing::debug!(?error, "limits hold for this process alone for now");
        }
    }
}

/// Signs checkpoints of the ledger, again and again.
async fn checkpoints(app: Arc<App>) {
    let seconds = app.config.audit.checkpoint_interval_s;
    if seconds == 0 {
        return;
    }
    let mut interval = tokio::time::interval(Duration::from_secs(seconds));
    loop {
        interval.tick().await;
        checkpoint(&app).await;
    }
}

/// Sees to it, at the start and again and again, that of deleted tenants nothing is left.
async fn deletions(app: Arc<App>) {
    let mut interval = tokio::time::interval(DELETIONS_LOOKED_AFTER);
    let mut is_first = true;
    loop {
        interval.tick().await;
        if let Err(error) = app.finish_deletions(std::mem::take(&mut is_first)).await {
            tracing::error!(?error, "the erasure of deleted tenants could not be looked after");
        }
    }
}

/// Removes what is left of exports that are over, again and again.
async fn sweeping(app: Arc<App>) {
    let seconds = app.config.bulk.sweep_interval_s;
    if seconds == 0 {
        return;
    }
    let mut interval = tokio::time::interval(Duration::from_secs(seconds));
    loop {
        interval.tick().await;
        for registered in app.tenants().all().unwrap_or_default() {
            if let Err(error) = app.sweep_exports(registered.id()).await {
                tracing::warn!(?error, "what is left of exports could not be removed");
            }
        }
    }
}

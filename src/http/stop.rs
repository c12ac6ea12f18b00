//! How a server ends. Told to by SIGTERM it says first that it is not ready, and serves on for a while (`limits.drain_s`), so that
//! whoever sends requests here hears of it before a connection is refused. Then it takes no more connections, and requests under way
//! have `limits.shutdown_timeout_s`, and no job has another turn. Beyond that nothing waits for a database that does not answer. SIGINT, that of a person at a terminal, goes without the first part. A second
//! signal ends it at once, whatever is under way.

use crate::app::App;
use crate::store::StoreError;
use actix_web::dev::Server;
use std::io::Result;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::select;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

/// A store that does not answer for so long while a server ends keeps it waiting no longer.
const PATIENCE: Duration = Duration::from_secs(3);
/// How often it is asked whether it does.
const LOOK: Duration = Duration::from_millis(100);

/// Waits until a store across a network has not answered for a while: then nothing that it is needed for need be waited for.
pub async fn out_of_reach(app: &App) {
    let mut since = Instant::now();
    while since.elapsed() < PATIENCE {
        tokio::time::sleep(LOOK).await;
        if !matches!(app.store().health(), Err(StoreError::Unreachable(_))) {
            since = Instant::now();
        }
    }
}

/// The signals that end a server.
pub struct Told {
    terminate: Signal,
    interrupt: Signal,
}

impl Told {
    /// From now on these signals do not end the process by themselves.
    ///
    /// # Errors
    /// When the system does not let it hear them.
    pub fn new() -> Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Runs a server until it is told to end, and to its end.
    ///
    /// # Errors
    /// When the server fails.
    pub async fn serve(&mut self, app: &Arc<App>, server: Server) -> Result<()> {
        let handle = server.handle();
        let mut server = pin!(server);
        let drain = select! {
            ended = &mut server => return ended,
            drain = self.next(app.config.drain()) => drain,
        };
        app.tell_stopping();
        tracing::info!(drain_s = drain.as_secs(), "told to stop: not ready any more");
        let orderly = async {
            let closing = async {
                tokio::time::sleep(drain).await;
                tracing::info!("stopping: no more connections, and requests under way are finished");
                let jobs_ended = end_jobs(app);
                handle.stop(true).await;
                select! {
                    // It fails where there was no thread for it, which is in the log.
                    _ = jobs_ended => {}
                    () = out_of_reach(app) => {
                        tracing::warn!("the database does not answer: the job under way is given up");
                        app.jobs.leave();
                    }
                }
            };
            tokio::join!(&mut server, closing).0
        };
        select! {
            ended = orderly => ended,
            _ = self.next(drain) => {
                tracing::warn!("told to stop a second time: requests and jobs under way are given up");
                app.jobs.leave();
                Ok(())
            }
        }
    }

    /// Waits for a signal: for how long requests are to be taken after it, where SIGTERM has them taken for `drain`.
    async fn next(&mut self, drain: Duration) -> Duration {
        select! {
            _ = self.terminate.recv() => drain,
            _ = self.interrupt.recv() => Duration::ZERO,
        }
    }
}

/// Has the jobs end, and tells when they have. A job may be at a part that takes a while; no thread of the runtime waits for it, since the runtime
/// waits for its own when it ends, and a second signal is not to.
fn end_jobs(app: &Arc<App>) -> oneshot::Receiver<()> {
    let (sender, ended) = oneshot::channel();
    let app = Arc::clone(app);
    let ending = move || {
        app.stop();
        // After a second signal nobody waits for it.
        let _told = sender.send(());
    };
    if let Err(error) = std::thread::Builder::new().name("pharos-stop".into()).spawn(ending) {
        tracing::error!(%error, "no thread waits for the end of the jobs");
    }
    ended
}

//! The connection to the database, and what its failures mean.

use super::Options;
use super::turns::TURNS;
use super::write::EPOCHS;
use crate::store::{StoreError, StoreResult};
use mongodb::error::{Error, ErrorKind, TRANSIENT_TRANSACTION_ERROR, UNKNOWN_TRANSACTION_COMMIT_RESULT, WriteFailure};
use mongodb::event::EventHandler;
use mongodb::event::command::CommandEvent;
use mongodb::options::{ClientOptions, ReadConcern, WriteConcern};
use mongodb::{Client, Database};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};

/// Threads that speak with the database; what is read is unsealed and searched elsewhere.
const THREADS: usize = 2;
/// What a database is called where the address names none.
const DATABASE: &str = "pharos";
/// Another document has the `_id` already.
const DUPLICATE_KEY: i32 = 11_000;
/// The longest wait for a server that takes commands.
const SELECTION: Duration = Duration::from_secs(5);

/// The database, for callers that wait.
pub(super) struct Connection {
    /// Ended in the background when this is dropped, wherever that is.
    runtime: Option<Runtime>,
    client: Client,
    db: Database,
    commands: Arc<AtomicU64>,
    patience: Duration,
}

impl Connection {
    /// Connects lazily: whether the database answers shows with the first command.
    pub(super) fn new(options: &Options) -> StoreResult<Self> {
        let mut threads = Builder::new_multi_thread();
        let runtime = threads
            .worker_threads(THREADS)
            .thread_name("pharos-mongodb")
            .enable_all()
            .build()
            .map_err(|error| StoreError::Io(error.to_string()))?;
        let commands = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&commands);
        let connected = runtime.block_on(async {
            let mut settings = ClientOptions::parse(&options.address).await?;
            settings.app_name.get_or_insert_with(|| "pharos".into());
            settings.server_selection_timeout.get_or_insert(SELECTION);
            settings.write_concern =
                Some(WriteConcern::builder().w(mongodb::options::Acknowledgment::Majority).journal(true).build());
            settings.read_concern = Some(ReadConcern::majority());
            settings.selection_criteria = None;
            settings.retry_writes = Some(true);
            settings.command_event_handler = Some(EventHandler::callback(move |event| {
                if let CommandEvent::Started(started) = event {
                    // Nobody waits for the end of a transaction that has only read, nor for the look at what other processes do.
                    let is_a_look = ["find", "update"]
                        .iter()
                        .any(|verb| started.command.get_str(verb).is_ok_and(|name| [EPOCHS, TURNS].contains(&name)));
                    if started.command_name != "abortTransaction" && !is_a_look {
                        counted.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }));
            Client::with_options(settings)
        });
        let client =
            connected.map_err(|error| StoreError::Closed(format!("the address of the store: {}", say(&error))))?;
        let db = client.default_database().unwrap_or_else(|| client.database(DATABASE));
        Ok(Self { runtime: Some(runtime), client, db, commands, patience: options.patience })
    }

    pub(super) const fn client(&self) -> &Client {
        &self.client
    }

    pub(super) const fn db(&self) -> &Database {
        &self.db
    }

    /// Commands sent so far for which somebody waited: round trips.
    pub(super) fn commands(&self) -> u64 {
        self.commands.load(Ordering::Relaxed)
    }

    /// Does work with the database, and blocks the thread until it is done, whatever runtime the thread belongs to.
    pub(super) fn wait<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Failed>> + Send + 'static,
    ) -> Result<T, Failed> {
        let (sender, receiver) = mpsc::sync_channel(1);
        let patience = self.patience;
        let ended = || Failed::other("the connection has ended");
        let runtime = self.runtime.as_ref().ok_or_else(ended)?;
        runtime.spawn(async move {
            let late = |_| Failed { meaning: Meaning::Unreachable, text: "it took too long".into() };
            let outcome = tokio::time::timeout(patience, work).await.unwrap_or_else(|elapsed| Err(late(elapsed)));
            // Nobody listens any more where the caller's thread has ended.
            drop(sender.send(outcome));
        });
        receiver.recv().unwrap_or_else(|_| Err(ended()))
    }

    /// Does what blocks a thread where that holds up nobody; the future may be awaited in any runtime.
    pub(super) fn apart<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> StoreResult<T> + Send + 'static,
    ) -> impl Future<Output = StoreResult<T>> + Send + 'static {
        let begun = self.runtime.as_ref().map(|runtime| runtime.spawn_blocking(work));
        async {
            let ended = || StoreError::Closed("the connection has ended".into());
            begun.ok_or_else(ended)?.await.unwrap_or_else(|_| Err(ended()))
        }
    }

    /// Does something that nobody waits for.
    pub(super) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        if let Some(runtime) = &self.runtime {
            runtime.spawn(work);
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// What follows from a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// What was read before does not hold any more: nothing happened, and the same may be done again without it.
    Stale,
    /// Somebody else's transaction came first, or the primary changed: nothing happened, and the same may be done again.
    Again,
    /// The database does not answer, or not in time. Of a commit it is not known whether it happened.
    Unreachable,
    /// The end of a transaction was asked for, and whether it happened is not known.
    Unknown,
    /// It would fail again.
    Other,
}

/// A failure of the database.
#[derive(Debug, Clone)]
pub(super) struct Failed {
    pub meaning: Meaning,
    /// For the log. Made of codes, not of the server's sentences, which can hold the values of documents.
    pub text: String,
}

impl Failed {
    pub(super) fn other(text: impl Into<String>) -> Self {
        Self { meaning: Meaning::Other, text: text.into() }
    }

    pub(super) fn stale(text: impl Into<String>) -> Self {
        Self { meaning: Meaning::Stale, text: text.into() }
    }

    pub(super) fn again(text: impl Into<String>) -> Self {
        Self { meaning: Meaning::Again, text: text.into() }
    }
}

impl From<StoreError> for Failed {
    /// What has become an error of the store is as transient as it was.
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unreachable(text) => Self { meaning: Meaning::Unreachable, text },
            StoreError::OutcomeUnknown(text) => Self { meaning: Meaning::Unknown, text },
            other => Self::other(other.to_string()),
        }
    }
}

impl From<mongodb::bson::error::Error> for Failed {
    fn from(_: mongodb::bson::error::Error) -> Self {
        Self::other("a document is not of the form of this store")
    }
}

impl From<Failed> for StoreError {
    fn from(Failed { meaning, text }: Failed) -> Self {
        match meaning {
            Meaning::Stale | Meaning::Again | Meaning::Unreachable => Self::Unreachable(text),
            Meaning::Unknown => Self::OutcomeUnknown(text),
            Meaning::Other => Self::Io(format!("the database: {text}")),
        }
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        let is_lost = matches!(
            *error.kind,
            ErrorKind::Io(_)
                | ErrorKind::ConnectionPoolCleared { .. }
                | ErrorKind::ServerSelection { .. }
                | ErrorKind::DnsResolve { .. }
        );
        let meaning = if error.contains_label(UNKNOWN_TRANSACTION_COMMIT_RESULT) {
            Meaning::Unknown
        } else if is_lost {
            Meaning::Unreachable
        } else if error.contains_label(TRANSIENT_TRANSACTION_ERROR) || code(&error) == Some(DUPLICATE_KEY) {
            Meaning::Again
        } else {
            Meaning::Other
        };
        Self { meaning, text: say(&error) }
    }
}

fn code(error: &Error) -> Option<i32> {
    match &*error.kind {
        ErrorKind::Command(command) => Some(command.code),
        ErrorKind::Write(WriteFailure::WriteError(write)) => Some(write.code),
        ErrorKind::InsertMany(many) => many.write_errors.as_ref()?.first().map(|write| write.code),
        _ => None,
    }
}

/// A failure without the server's own words.
fn say(error: &Error) -> String {
    match &*error.kind {
        ErrorKind::Command(command) => format!("error {} ({})", command.code, command.code_name),
        ErrorKind::Io(error) => error.to_string(),
        ErrorKind::ServerSelection { .. } => "no server takes commands".into(),
        ErrorKind::Authentication { .. } => "it does not accept the user name or the password".into(),
        ErrorKind::InvalidArgument { message, .. } | ErrorKind::IncompatibleServer { message, .. } => message.clone(),
        _ => code(error).map_or_else(|| "it failed".into(), |code| format!("error {code}")),
    }
}

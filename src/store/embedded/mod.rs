//! The store that needs no other server: one fjall database, sealed, with one thread that commits.

mod block;
mod group;
mod layout;
mod log;
mod marks;
mod postings;
mod queue;
mod record;
mod tables;
mod touched;
mod varint;
mod view;

use super::seal::Sealer;
use super::{Backend, Commit, CommitError, Committed, StoreError, StoreResult, View};
use crate::clock::Clock;
use crate::tenant::TenantId;
use futures_util::future::BoxFuture;
use group::{Group, Lane};
use queue::{Answer, Outcome, Queue};
use rustc_hash::FxHashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use tables::{Tables, failed};

/// Where the store is and how much it may take.
#[derive(Debug, Clone)]
pub struct Options {
    /// The store's folder; made where there is none.
    pub folder: PathBuf,
    /// The file with the master key: beside the folder, never in it, so that a copy of the folder tells nothing.
    pub key_file: PathBuf,
    /// The cache of blocks, in MiB.
    pub cache_mib: u64,
    /// Commits that may wait; more are refused with [`StoreError::Busy`].
    pub most_waiting: usize,
    /// Changes that are written and synced together.
    pub most_changes_in_group: usize,
}

impl Options {
    /// The defaults, with the key file `{folder}.key` beside the folder.
    #[must_use]
    pub fn at(folder: impl Into<PathBuf>) -> Self {
        let folder = folder.into();
        let mut key_file = folder.clone().into_os_string();
        key_file.push(".key");
        Self { folder, key_file: key_file.into(), cache_mib: 64, most_waiting: 1024, most_changes_in_group: 5000 }
    }
}

/// The embedded store.
pub struct Embedded {
    shared: Arc<Shared>,
    committer: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    tables: Arc<Tables>,
    sealer: Arc<Sealer>,
    queue: Queue,
    options: Options,
}

impl Embedded {
    /// Opens or makes a store.
    ///
    /// # Errors
    /// [`StoreError::Closed`] with what to do where the store must not be opened; else what failed.
    pub fn open(options: Options, clock: Arc<dyn Clock>) -> StoreResult<Self> {
        std::fs::create_dir_all(&options.folder).map_err(|error| io_error(&options.folder, &error))?;
        let sealer = Arc::new(Sealer::from_file(&options.key_file, true)?);
        let tables = Arc::new(Tables::open(&options.folder.join("db"), options.cache_mib)?);
        let shared = Arc::new(Shared { tables, sealer, queue: Queue::default(), options });
        let committer = {
            let shared = Arc::clone(&shared);
            let run = move || commit_groups(&shared, &*clock);
            std::thread::Builder::new()
                .name("pharos-commit".into())
                .spawn(run)
                .map_err(|error| StoreError::Io(error.to_string()))?
        };
        Ok(Self { shared, committer: Mutex::new(Some(committer)) })
    }
}

impl Backend for Embedded {
    fn view(&self, tenant: TenantId) -> StoreResult<Box<dyn View>> {
        let Shared { tables, sealer, .. } = &*self.shared;
        Ok(Box::new(view::TenantView::new(Arc::clone(tables), Arc::clone(sealer), tenant)))
    }

    fn commit(&self, commit: Commit) -> BoxFuture<'static, Result<Committed, CommitError>> {
        let added = self.shared.queue.add(commit.into(), self.shared.options.most_waiting);
        Box::pin(async {
            added?.await.unwrap_or_else(|_| {
                Err(StoreError::OutcomeUnknown("the committer ended before it answered".into()).into())
            })
        })
    }

    fn is_local(&self) -> bool {
        true
    }

    fn health(&self) -> StoreResult<()> {
        self.shared.queue.closed().map_or(Ok(()), Err)
    }

    fn close(&self) -> StoreResult<()> {
        self.shared.queue.end();
        let committer = self.committer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(committer) = committer {
            committer.join().map_err(|_| StoreError::Closed("the committer ended abnormally".into()))?;
        }
        Ok(())
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        drop(self.close());
    }
}

/// The committer: takes what waits, writes it as one batch, syncs, and answers all.
fn commit_groups(shared: &Shared, clock: &dyn Clock) {
    let mut lanes: FxHashMap<TenantId, Lane> = FxHashMap::default();
    let mut number = 0;
    while let Some(jobs) = shared.queue.take(shared.options.most_changes_in_group) {
        number += 1;
        let mut answers: Vec<Answer> = Vec::with_capacity(jobs.len());
        let mut outcomes: Vec<Outcome> = Vec::with_capacity(jobs.len());
        let mut group = Group::new(&shared.tables, &shared.sealer, &mut lanes);
        let mut failure = None;
        for (commit, answer) in jobs {
            answers.push(answer);
            match group.add(commit, clock.now()) {
                Ok(outcome) => outcomes.push(outcome),
                Err(error) => {
                    failure = Some(error);
                    break;
                }
            }
        }
        shared.queue.begin_writing(answers);
        let result = match failure {
            Some(error) => Err(error),
            None if group.is_empty() => Ok(()),
            None => group.into_batch(number).and_then(|batch| batch.commit().map_err(|error| failed(&error))),
        };
        let answers = shared.queue.end_writing();
        match result {
            Ok(()) => {
                for (answer, outcome) in answers.into_iter().zip(outcomes) {
                    drop(answer.send(outcome));
                }
            }
            Err(error) => {
                tracing::error!(%error, "a write failed; the store closes");
                shared
                    .queue
                    .close(&StoreError::Closed(format!("a write failed ({error}); restart once the disk is well")));
                for answer in answers {
                    let unknown = StoreError::OutcomeUnknown(error.to_string());
                    drop(answer.send(Err(unknown.into())));
                }
            }
        }
    }
}

fn io_error(path: &Path, error: &std::io::Error) -> StoreError {
    StoreError::Io(format!("{}: {error}", path.display()))
}

/// Makes new and renamed files of a folder last.
pub(super) fn sync_folder(folder: &Path) -> std::io::Result<()> {
    std::fs::File::open(folder)?.sync_all()
}

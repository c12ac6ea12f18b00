//! The store that needs no other server: one fjall database, sealed, with one thread that commits.

mod check;
mod checkpoint;
mod committer;
mod folder;
#[cfg(test)]
mod forged_tests;
#[cfg(test)]
mod index_tests;
mod ledger;
mod marks;
mod open;
mod rebuild;
mod schema;
#[cfg(test)]
mod schema_tests;
#[cfg(test)]
mod sealing_tests;
mod tables;
#[cfg(test)]
mod tests;
mod transfer;
mod view;
mod watch;

use super::index::{Index, Indexes};
use super::keys::Keyring;
use super::ledger::{Blocks, Entry, Form, Head, Ledger, Opaque};
use super::rows::kept;
use super::rows::ledger::{Entries, head};
use super::rows::{block, erase, layout, log, postings, record, sealing};
use super::schema::{PHAROS, Program, Schema, Schemas};
use super::seal::Sealer;
use super::{Backend, Commit, CommitError, Committed, OldRows, StoreError, StoreResult, View};
use crate::auth::keeper::Epochs;
use crate::clock::Clock;
use crate::tenant::TenantId;
pub use check::{Report, check, rebuild};
pub use rebuild::{Extract, Extractors, Ground};
pub(in crate::store) use transfer::Filled;

use super::rows::group::Prepared;
use crate::store::rows::Rows;
use crate::store::rows::engine::Engine;
use crate::store::rows::key_lists::KeyLists;
use crate::store::rows::queue::{Queue, ended, spawn};
use crate::store::rows::view::TenantView;
use crate::store::transfer::socket::Desk;
use checkpoint::Checkpoints;
use committer::Committer;
use folder::MarkFile;
use futures_util::future::BoxFuture;
use ledger::Staging;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use tables::Tables;
use watch::Watch;

/// Where the store is and how much it may take.
#[derive(Clone)]
pub struct Options {
    /// The store's folder; made where there is none.
    pub folder: PathBuf,
    /// Where the master key is.
    pub keys: crate::config::Keys,
    /// The file with the master key, if it is in one: beside the folder, never in it, so that a copy of the folder tells nothing.
    pub key_file: PathBuf,
    /// The cache of blocks, in MiB.
    pub cache_mib: u64,
    /// Commits that may wait; more are refused with [`StoreError::Busy`].
    pub most_waiting: usize,
    /// Changes that are written and synced together.
    pub most_changes_in_group: usize,
    /// Groups of commits that may follow a checkpoint; at half as many one is made in the background. At least 2.
    pub most_groups_in_journals: u32,
    /// How long the disk may take for one group before the waiting commits are answered "outcome unknown".
    pub disk_limit: Duration,
    /// Below this much free space, in MiB, the store is read-only.
    pub free_floor_mib: u64,
    /// What the entries of the ledger say.
    pub form: Arc<dyn Form>,
    /// Which schemas are written and opened.
    pub program: &'static Program,
}

impl Options {
    /// The defaults, with the key file `{folder}.key` beside the folder.
    #[must_use]
    pub fn at(folder: impl Into<PathBuf>) -> Self {
        let folder = folder.into();
        let mut key_file = folder.clone().into_os_string();
        key_file.push(".key");
        Self {
            folder,
            keys: crate::config::Keys::default(),
            key_file: key_file.into(),
            cache_mib: 64,
            most_waiting: 1024,
            most_changes_in_group: 5000,
            most_groups_in_journals: 1 << 16,
            disk_limit: Duration::from_secs(30),
            free_floor_mib: 256,
            form: Arc::new(Opaque),
            program: &PHAROS,
        }
    }
}

/// The embedded store. Its folder stays locked until this is dropped.
pub struct Embedded {
    shared: Arc<Shared>,
    threads: Mutex<Threads>,
}

#[derive(Default)]
struct Threads {
    committer: Option<JoinHandle<()>>,
    ledger: Option<JoinHandle<()>>,
    others: Vec<JoinHandle<()>>,
}

/// What the threads of a store have in common.
struct Shared {
    tables: Arc<Tables>,
    ring: Keyring,
    schema: Schema,
    sealer: Arc<Sealer>,
    clock: Arc<dyn Clock>,
    epochs: Epochs,
    indexes: Indexes,
    queue: Queue,
    mark: Mutex<MarkFile>,
    checkpoints: Checkpoints,
    watch: Watch,
    staging: Arc<Staging>,
    entries: Arc<Entries>,
    /// Key lists that were opened lately.
    key_lists: Arc<KeyLists>,
    options: Options,
    /// Where other processes may read what is stored; `None` where it could not be opened.
    desk: Option<Desk>,
    _lock: folder::Lock,
}

impl Shared {
    fn mark(&self) -> MutexGuard<'_, MarkFile> {
        self.mark.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes no more commits after a failure.
    fn fail(&self, error: &StoreError) {
        let why = format!("{error}; restart it once the disk is well, and it verifies itself");
        self.queue.close(&StoreError::Closed(why));
    }
}

impl Embedded {
    /// Opens or makes a store.
    ///
    /// # Errors
    /// [`StoreError::Closed`] with what to do where the store must not be opened; else what failed.
    pub fn open(options: Options, clock: Arc<dyn Clock>) -> StoreResult<Self> {
        let options = Options { most_groups_in_journals: options.most_groups_in_journals.max(2), ..options };
        let opened = open::open(&options)?;
        let sealer = opened.ring.sealer();
        let staging = Arc::new(Staging::open(&options.folder, &opened.tables, Arc::clone(&sealer), &*options.form)?);
        let desk = Desk::open(&options.folder).inspect_err(|error| {
            tracing::warn!(%error, "while this process runs, no other one can copy the store or back it up");
        });
        let shared = Arc::new(Shared {
            desk: desk.ok(),
            staging,
            entries: Arc::new(Entries::new(Arc::clone(&options.form))),
            key_lists: Arc::default(),
            tables: Arc::new(opened.tables),
            ring: opened.ring,
            schema: opened.schema,
            sealer,
            clock,
            epochs: Epochs::default(),
            indexes: Indexes::default(),
            queue: Queue::default(),
            mark: Mutex::new(opened.mark),
            checkpoints: Checkpoints::default(),
            watch: Watch::default(),
            options,
            _lock: opened.lock,
        });
        let mark = shared.mark().get();
        shared.checkpoints.start_at(mark.checkpoint);
        if mark.synced > mark.checkpoint {
            shared.checkpoints.want(mark.synced);
        }
        watch::look_at_space(&shared);
        let committer = Committer::new(Arc::clone(&shared), mark.synced)?;
        let store = Self { shared: Arc::clone(&shared), threads: Mutex::default() };
        let committer = Some(spawn(&shared, "commit", move |_| committer.run())?);
        let mut threads = Threads { committer, ..Threads::default() };
        threads.ledger = Some(spawn(&shared, "ledger", ledger::run)?);
        threads.others.push(spawn(&shared, "ledger-sync", ledger::sync)?);
        threads.others.push(spawn(&shared, "desk", |shared| shared.desk.iter().for_each(|desk| desk.run(shared)))?);
        threads.others.push(spawn(&shared, "watch", watch::run)?);
        threads.others.push(spawn(&shared, "checkpoint", checkpoint::run)?);
        *store.threads.lock().unwrap_or_else(PoisonError::into_inner) = threads;
        Ok(store)
    }
}

impl Embedded {
    /// See [`Keyring::derive`].
    ///
    /// # Errors
    /// As there.
    pub fn derive_key(&self, purpose: &[u8]) -> StoreResult<[u8; 32]> {
        self.shared.ring.derive(purpose)
    }
}

impl AsRef<Queue> for Shared {
    fn as_ref(&self) -> &Queue {
        &self.queue
    }
}

impl Engine for Embedded {
    fn newest(&self) -> impl Rows + '_ {
        self.shared.tables.snapshot()
    }

    fn sealer(&self) -> &Sealer {
        &self.shared.sealer
    }

    fn clock(&self) -> &dyn Clock {
        &*self.shared.clock
    }

    fn epochs(&self) -> &Epochs {
        &self.shared.epochs
    }

    fn indexes(&self) -> &Indexes {
        &self.shared.indexes
    }

    fn submit(&self, prepared: Prepared) -> BoxFuture<'static, Result<Committed, CommitError>> {
        let Shared { queue, watch, options, ring, .. } = &*self.shared;
        let added = match watch.refusal() {
            Some(error) => Err(error),
            // Here and not by the committer, who would have all wait for a provider that is asked over a network.
            None => ring.ensure(prepared.commit_of).and_then(|()| queue.add(prepared, options.most_waiting)),
        };
        Box::pin(async { added?.await.unwrap_or_else(|_| Err(ended().into())) })
    }
}

impl Backend for Embedded {
    fn view(&self, tenant: TenantId) -> StoreResult<Box<dyn View>> {
        let Shared { tables, sealer, schema, entries, key_lists, epochs, indexes, .. } = &*self.shared;
        let has_sealed_marks = schema.stand().has_sealed_marks();
        let index = indexes.get(tenant, epochs.get(tenant), || Index::load(&tables.snapshot(), sealer, tenant))?;
        let snapshot = view::Snapshot::new(tables, index);
        Ok(Box::new(TenantView::new(snapshot, sealer, (entries, key_lists), tenant, has_sealed_marks)))
    }

    fn commit(&self, commit: Commit) -> BoxFuture<'static, Result<Committed, CommitError>> {
        self.take(commit)
    }

    fn compact(&self) -> StoreResult<()> {
        let Shared { tables, queue, .. } = &*self.shared;
        checkpoint::flush(tables, || queue.failure())?;
        tables
            .all()
            .into_iter()
            .try_for_each(|keyspace| keyspace.major_compact().map_err(|error| tables::failed(&error)))
    }

    fn seal_file(&self, tenant: TenantId, name: &str, plain: &[u8]) -> StoreResult<Vec<u8>> {
        let Shared { sealer, clock, ring, .. } = &*self.shared;
        ring.ensure(tenant)?;
        sealer.seal_file(tenant, name, clock.now(), plain)
    }

    fn open_file(&self, tenant: TenantId, name: &str, sealed: &[u8]) -> StoreResult<Vec<u8>> {
        self.shared.sealer.open_file(tenant, name, sealed)
    }

    fn keyring(&self) -> Option<&Keyring> {
        Some(&self.shared.ring)
    }

    fn old_rows(&self, tenant: TenantId, after: &[u8], most: usize) -> StoreResult<OldRows> {
        let Shared { tables, sealer, .. } = &*self.shared;
        sealing::old_rows(&tables.snapshot(), sealer, tenant, after, most)
    }

    fn schemas(&self) -> Option<&dyn Schemas> {
        Some(&*self.shared)
    }

    fn destroy(&self, tenant: TenantId) -> BoxFuture<'static, StoreResult<()>> {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            if tenant == layout::SYSTEM {
                return Err(StoreError::Closed("the store's own keys are not destroyed".into()));
            }
            shared.ring.destroy(tenant)?;
            shared.indexes.forget(tenant);
            shared.queue.remove(tenant, shared.options.most_waiting).await
        })
    }

    fn is_local(&self) -> bool {
        true
    }

    fn health(&self) -> StoreResult<()> {
        let Shared { queue, watch, staging, .. } = &*self.shared;
        queue.closed().or_else(|| watch.refusal()).or_else(|| staging.health()).map_or(Ok(()), Err)
    }

    fn failure(&self) -> Option<StoreError> {
        self.shared.queue.failure().or_else(|| self.shared.staging.failure())
    }

    fn close(&self) -> StoreResult<()> {
        self.shared.desk.iter().for_each(Desk::end);
        self.shared.staging.end();
        let recorder = self.threads.lock().unwrap_or_else(PoisonError::into_inner).ledger.take();
        let recorded = recorder.is_none_or(|thread| thread.join().is_ok());
        self.shared.queue.end();
        let mut threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        let Some(committer) = threads.committer.take() else { return Ok(()) };
        let ended = committer.join();
        self.shared.watch.end();
        self.shared.checkpoints.end();
        for thread in threads.others {
            drop(thread.join());
        }
        ended.map_err(|_| StoreError::Closed("the committer ended abnormally".into()))?;
        if let Some(error) = self.shared.queue.failure() {
            return Err(error);
        }
        if !recorded {
            return Err(StoreError::Closed("the ledger ended abnormally".into()));
        }
        open::stop(&self.shared)
    }
}

impl Ledger for Embedded {
    fn record(&self, tenant: TenantId, entry: Entry) -> BoxFuture<'static, StoreResult<u64>> {
        let Shared { watch, staging, .. } = &*self.shared;
        match watch.refusal() {
            Some(error) => Box::pin(std::future::ready(Err(error))),
            None => Box::pin(Staging::add(Arc::clone(staging), tenant, entry)),
        }
    }

    fn synced(&self, number: u64) -> BoxFuture<'static, StoreResult<()>> {
        Box::pin(Staging::synced(Arc::clone(&self.shared.staging), number))
    }

    fn settled(&self) -> BoxFuture<'static, StoreResult<()>> {
        Box::pin(Staging::settled(Arc::clone(&self.shared.staging)))
    }

    fn head(&self, tenant: TenantId) -> StoreResult<Head> {
        head(&*self.shared.tables, tenant)
    }

    fn blocks(&self, tenant: TenantId, from: u64, is_open: bool) -> StoreResult<Blocks<'_>> {
        let Shared { tables, sealer, .. } = &*self.shared;
        let range = layout::ledger(tenant, from)..=layout::ledger(tenant, u64::MAX);
        Ok(Box::new(ledger::blocks(tables.history.range(range), sealer, tenant, is_open)))
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        drop(self.close());
    }
}

fn io_error(path: &Path, error: &std::io::Error) -> StoreError {
    StoreError::Io(format!("{}: {error}", path.display()))
}

/// Makes new and renamed files of a folder last.
pub(super) fn sync_folder(folder: &Path) -> std::io::Result<()> {
    std::fs::File::open(folder)?.sync_all()
}

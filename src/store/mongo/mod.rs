//! The store on MongoDB: the rows of [`super::rows`] as documents, shared by any number of server processes.
//!
//! | collection | what |
//! |---|---|
//! | `records`, `history`, `index` | a document for each row: `_id` is the key, `v` the value; that of an id also names the rows it leads to, in `c` |
//! | `epochs` | a count for each tenant and process, of changes to records that are no resources |
//! | `format` | the schema, and a sealed value that only the right key file opens |
//!
//! A commit is one transaction, and a view is one that only reads, so both see one moment.

mod catch_up;
mod client;
mod committer;
mod epochs;
mod hints;
mod ledger;
mod place;
mod read;
mod seen;
mod start;
mod transaction;
mod view;
mod write;

use super::index::Indexes;
use super::keys::Keyring;
use super::ledger::{Block, Blocks, Entry, Form, Head, Ledger, Opaque};
use super::rows::group::Prepared;
use super::rows::kept;
use super::rows::ledger::{Entries, block_of, head};
use super::rows::queue::Queue;
use super::rows::{Rows, Table, layout};
use super::seal::{DataKey, Sealer};
use super::{Backend, Commit, CommitError, Committed, NewKeys, OldRows, StoreError, StoreResult, View};
use crate::auth::keeper::{Epochs, Keep, Keeper, KeeperError, Kept, check_form};
use crate::clock::Clock;
use crate::key::range::after_prefix;
use crate::tenant::TenantId;
use client::Connection;
use committer::Committer;
use futures_util::future::BoxFuture;
use hints::Hints;
use ledger::Staging;
use read::Reading;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// What this program writes and reads.
pub const SCHEMA: i64 = 1;

/// Blocks of a ledger that are read at once.
const BLOCKS_AT_ONCE: usize = 64;
/// Bytes of rows that are kept for one reading of records that are no resources.
const KEPT_BYTES: usize = 16 << 20;

/// Where the database is and how much it may take.
#[derive(Clone)]
pub struct Options {
    /// The connection string, `mongodb://…`; the database that it names, or `pharos`.
    pub address: String,
    /// The file with the master key. Every process needs the same.
    pub key_file: PathBuf,
    /// Commits that may wait; more are refused with [`StoreError::Busy`].
    pub most_waiting: usize,
    /// Changes that are written in one transaction, unless one commit has more.
    pub most_changes_in_group: usize,
    /// How long the database may take for one command.
    pub patience: Duration,
    /// What the entries of the ledger say.
    pub form: Arc<dyn Form>,
}

impl Options {
    /// The defaults.
    #[must_use]
    pub fn at(address: impl Into<String>, key_file: impl Into<PathBuf>) -> Self {
        Self {
            address: address.into(),
            key_file: key_file.into(),
            most_waiting: 1024,
            most_changes_in_group: 5000,
            patience: Duration::from_secs(30),
            form: Arc::new(Opaque),
        }
    }
}

/// A process's part of a store on MongoDB.
pub struct Mongo {
    shared: Arc<Shared>,
    threads: Mutex<Threads>,
}

#[derive(Default)]
struct Threads {
    committer: Option<JoinHandle<()>>,
    ledger: Vec<JoinHandle<()>>,
}

/// What the threads of a store have in common.
struct Shared {
    connection: Arc<Connection>,
    sealer: Arc<Sealer>,
    data_key: DataKey,
    clock: Arc<dyn Clock>,
    epochs: Epochs,
    indexes: Indexes,
    queue: Queue,
    staging: Arc<Staging>,
    entries: Entries,
    hints: Hints,
    /// Tells this process from others; another one at each start.
    process: String,
    options: Options,
}

impl Mongo {
    /// Connects to a database, and makes what is missing in a new one.
    ///
    /// # Errors
    /// [`StoreError::Closed`] with what to do where the store must not be opened; else what failed.
    pub fn open(options: Options, clock: Arc<dyn Clock>) -> StoreResult<Self> {
        let connection = Arc::new(Connection::new(&options)?);
        let (sealer, data_key) = start::open(&connection, &options)?;
        let mut random = [0_u8; 8];
        aws_lc_rs::rand::fill(&mut random).map_err(|_| StoreError::Io("the system has no randomness".into()))?;
        let process = u64::from_be_bytes(random);
        let shared = Arc::new(Shared {
            connection,
            sealer: Arc::new(sealer),
            data_key,
            clock,
            epochs: Epochs::default(),
            indexes: Indexes::default(),
            queue: Queue::default(),
            staging: Arc::new(Staging::new(process)),
            entries: Entries::new(Arc::clone(&options.form)),
            hints: Hints::default(),
            process: format!("{process:016x}"),
            options,
        });
        epochs::follow(&shared);
        let committer = Committer::new(Arc::clone(&shared));
        let (inserting, folding) = (Arc::clone(&shared), Arc::clone(&shared));
        let threads = Threads {
            committer: Some(spawn("commit", move || committer.run())?),
            ledger: vec![
                spawn("ledger", move || ledger::insert(&inserting))?,
                spawn("ledger-fold", move || ledger::fold(&folding))?,
            ],
        };
        Ok(Self { shared, threads: Mutex::new(threads) })
    }

    /// See [`DataKey::derive`].
    ///
    /// # Errors
    /// As there.
    pub fn derive_key(&self, purpose: &[u8]) -> StoreResult<[u8; 32]> {
        self.shared.data_key.derive(purpose)
    }

    /// Commands sent to the database so far for which somebody waited.
    #[must_use]
    pub fn round_trips(&self) -> u64 {
        self.shared.connection.commands()
    }

    /// Gives work to the committer.
    fn submit(&self, prepared: Prepared) -> BoxFuture<'static, Result<Committed, CommitError>> {
        let added = self.shared.queue.add(prepared, self.shared.options.most_waiting);
        Box::pin(async {
            added?.await.unwrap_or_else(|_| {
                Err(StoreError::OutcomeUnknown("the committer ended before it answered".into()).into())
            })
        })
    }

    fn reading(&self) -> Reading {
        Reading::new(Arc::clone(&self.shared.connection), KEPT_BYTES)
    }

    fn kept<T>(&self, tenant: TenantId, read: impl FnOnce(kept::Reading<'_>) -> StoreResult<T>) -> StoreResult<T> {
        let Shared { sealer, clock, .. } = &*self.shared;
        read(kept::Reading { rows: &self.reading(), sealer, clock: &**clock, tenant })
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> StoreResult<JoinHandle<()>> {
    let thread = std::thread::Builder::new().name(format!("pharos-{name}")).spawn(run);
    thread.map_err(|error| StoreError::Io(error.to_string()))
}

impl Backend for Mongo {
    fn view(&self, tenant: TenantId) -> StoreResult<Box<dyn View>> {
        Ok(Box::new(view::MongoView::new(Arc::clone(&self.shared), tenant)))
    }

    fn commit(&self, commit: Commit) -> BoxFuture<'static, Result<Committed, CommitError>> {
        match check_form(&commit.keeps) {
            Ok(()) => {
                let index = self.shared.indexes.last(commit.tenant);
                self.submit(Prepared::new(commit, &index))
            }
            Err(error) => Box::pin(async move { Err(StoreError::Closed(error.to_string()).into()) }),
        }
    }

    fn reindex(&self, tenant: TenantId, keys: Vec<NewKeys>) -> BoxFuture<'static, Result<usize, CommitError>> {
        let answered = self.submit(Prepared::with_new_keys(tenant, keys));
        Box::pin(async { Ok(answered.await?.written.iter().filter(|written| written.changed).count()) })
    }

    /// The database frees the space of what was removed by itself.
    fn compact(&self) -> StoreResult<()> {
        Ok(())
    }

    fn seal_file(&self, tenant: TenantId, name: &str, plain: &[u8]) -> StoreResult<Vec<u8>> {
        let Shared { sealer, clock, .. } = &*self.shared;
        sealer.seal_file(tenant, name, clock.now(), plain)
    }

    fn open_file(&self, tenant: TenantId, name: &str, sealed: &[u8]) -> StoreResult<Vec<u8>> {
        self.shared.sealer.open_file(tenant, name, sealed)
    }

    /// One key seals for all tenants.
    fn keyring(&self) -> Option<&Keyring> {
        None
    }

    fn old_rows(&self, _: TenantId, _: &[u8], _: usize) -> StoreResult<OldRows> {
        Ok(OldRows::default())
    }

    fn destroy(&self, _: TenantId) -> BoxFuture<'static, StoreResult<()>> {
        let error = StoreError::Closed("tenants have no keys of their own in a store on MongoDB".into());
        Box::pin(std::future::ready(Err(error)))
    }

    fn is_local(&self) -> bool {
        false
    }

    fn health(&self) -> StoreResult<()> {
        let Shared { queue, staging, .. } = &*self.shared;
        queue.closed().or_else(|| staging.refusal()).map_or(Ok(()), Err)
    }

    fn close(&self) -> StoreResult<()> {
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        self.shared.queue.end();
        let committed = threads.committer.is_none_or(|thread| thread.join().is_ok());
        self.shared.staging.end();
        let recorded = threads.ledger.into_iter().all(|thread| thread.join().is_ok());
        if committed && recorded {
            Ok(())
        } else {
            Err(StoreError::Closed("a thread of the store ended abnormally".into()))
        }
    }
}

impl Ledger for Mongo {
    /// It is in the database then: the end of this process would lose what is not.
    fn record(&self, tenant: TenantId, entry: Entry) -> BoxFuture<'static, StoreResult<u64>> {
        let staging = Arc::clone(&self.shared.staging);
        Box::pin(async move {
            let number = staging.add(tenant, entry)?;
            Staging::synced(staging, number).await?;
            Ok(number)
        })
    }

    fn synced(&self, number: u64) -> BoxFuture<'static, StoreResult<()>> {
        Box::pin(Staging::synced(Arc::clone(&self.shared.staging), number))
    }

    fn settled(&self) -> BoxFuture<'static, StoreResult<()>> {
        Box::pin(Staging::settled(Arc::clone(&self.shared.staging)))
    }

    fn head(&self, tenant: TenantId) -> StoreResult<Head> {
        head(&self.reading(), tenant)
    }

    /// Part by part, each of its own moment: blocks are never changed, and only follow each other.
    fn blocks(&self, tenant: TenantId, from: u64, is_open: bool) -> StoreResult<Blocks<'_>> {
        let after = after_prefix(&layout::all_ledger(tenant));
        let mut next = Some(layout::ledger(tenant, from));
        let parts = std::iter::from_fn(move || {
            let from = next.take()?;
            let rows = match self.reading().range(Table::History, &from, &after, BLOCKS_AT_ONCE) {
                Ok(rows) => rows,
                Err(error) => return Some(vec![Err(error)]),
            };
            if rows.len() == BLOCKS_AT_ONCE {
                next = rows.last().map(|(key, _)| [&key[..], &[0]].concat());
            }
            let open = |row| Ok(block_of(row, &self.shared.sealer, tenant, is_open));
            Some(rows.into_iter().map(open).collect::<Vec<StoreResult<Block>>>())
        });
        Ok(Box::new(parts.flatten()))
    }
}

impl Keeper for Mongo {
    fn get(&self, tenant: TenantId, kind: &'static str, id: &str) -> Result<Option<Kept>, KeeperError> {
        Ok(self.kept(tenant, |kept| kept.get(kind, id))?)
    }

    fn list(
        &self,
        tenant: TenantId,
        kind: &'static str,
        prefix: &str,
        after: Option<&str>,
        count: usize,
    ) -> Result<Vec<Kept>, KeeperError> {
        Ok(self.kept(tenant, |kept| kept.list(kind, prefix, after, count))?)
    }

    fn keep(&self, tenant: TenantId, changes: Vec<Keep>) -> BoxFuture<'static, Result<(), KeeperError>> {
        let kept = check_form(&changes).map(|()| self.submit(Prepared::with_kept(tenant, changes)));
        Box::pin(async {
            match kept?.await {
                Ok(_) => Ok(()),
                Err(CommitError::Stale { change, .. }) => Err(KeeperError::Stale(change)),
                Err(error) => Err(KeeperError::Failed(error.to_string())),
            }
        })
    }

    fn epoch(&self, tenant: TenantId) -> u64 {
        self.shared.epochs.get(tenant)
    }
}

impl Drop for Mongo {
    fn drop(&mut self) {
        drop(self.close());
    }
}

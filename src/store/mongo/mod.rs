//! The store on MongoDB: the rows of [`super::rows`] as documents, shared by any number of server processes.
//!
//! | collection | what |
//! |---|---|
//! | `records`, `history`, `index` | a document for each row: `_id` is the key, `v` the value; that of an id also names the rows it leads to, in `c` |
//! | `parts` | the parts of rows that are too large for one document: see [`parts`] |
//! | `epochs` | a count for each tenant and process, of changes to records that are no resources; and [`fence`] |
//! | `keys` | the wrapped data keys: see [`keys`] |
//! | `limits` | what each process has counted of what is limited: see [`limits`] |
//! | `turns` | who writes to a tenant at which several processes are at work: see [`turns`] |
//! | `format` | the schema in force, what is under way to it, and a sealed value that only the right keys open |
//!
//! A commit is one transaction, and a view is one that only reads, so both see one moment.

mod catch_up;
mod client;
mod committer;
mod epochs;
mod fence;
mod hints;
mod keys;
mod ledger;
mod limits;
mod parts;
mod place;
mod pulse;
mod read;
mod schema;
mod seen;
mod start;
mod threads;
mod transaction;
mod transfer;
mod turns;
mod view;
mod write;

use super::index::Indexes;
use super::keys::{Keyring, Masters};
use super::ledger::{Block, Blocks, Entry, Form, Head, Ledger, Opaque};
use super::rows::engine::Engine;
use super::rows::group::Prepared;
use super::rows::key_lists::KeyLists;
use super::rows::ledger::{Entries, block_of, head};
use super::rows::queue::{Queue, ended};
use super::rows::stretch::Most;
use super::rows::view::TenantView;
use super::rows::{Rows, Table, layout, sealing};
use super::schema::{PHAROS, Program, Schema, Schemas};
use super::seal::Sealer;
use super::{Backend, Commit, CommitError, Committed, OldRows, StoreError, StoreResult, View};
use crate::auth::keeper::Epochs;
use crate::auth::rate::Used;
use crate::clock::Clock;
use crate::key::range::after_prefix;
use crate::tenant::TenantId;
use client::Connection;
use fence::Fence;
use futures_util::future::BoxFuture;
use hints::Hints;
use ledger::Staging;
use limits::Counts;
use pulse::Pulse;
use read::Reading;
use schema::Told;
use start::Purpose;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use threads::Threads;

pub(in crate::store) use transfer::Filled;

/// Blocks of a ledger that are read at once.
const BLOCKS_AT_ONCE: usize = 64;
/// Bytes of rows that are kept for one reading of records that are no resources.
const KEPT_BYTES: usize = 16 << 20;

/// Where the database is and how much it may take.
#[derive(Clone)]
pub struct Options {
    /// The connection string, `mongodb://…`; the database that it names, or `pharos`.
    pub address: String,
    /// Where the master key is. Every process needs the same.
    pub keys: crate::config::Keys,
    /// The file with the master key, if it is in one.
    pub key_file: PathBuf,
    /// Commits that may wait; more are refused with [`StoreError::Busy`].
    pub most_waiting: usize,
    /// Changes that are written in one transaction, unless one commit has more.
    pub most_changes_in_group: usize,
    /// How long the database may take for one command.
    pub patience: Duration,
    /// What the entries of the ledger say.
    pub form: Arc<dyn Form>,
    /// Which schemas are written.
    pub program: &'static Program,
    /// How long another process may say nothing before it is taken to have ended.
    pub heard_within: Duration,
}

impl Options {
    /// The defaults.
    #[must_use]
    pub fn at(address: impl Into<String>, key_file: impl Into<PathBuf>) -> Self {
        Self {
            address: address.into(),
            keys: crate::config::Keys::default(),
            key_file: key_file.into(),
            most_waiting: 1024,
            most_changes_in_group: 5000,
            patience: Duration::from_secs(30),
            form: Arc::new(Opaque),
            program: &PHAROS,
            heard_within: Duration::from_mins(1),
        }
    }
}

/// A process's part of a store on MongoDB.
pub struct Mongo {
    shared: Arc<Shared>,
    /// None once it has ended.
    threads: Mutex<Option<Threads>>,
}

/// What the threads of a store have in common.
struct Shared {
    connection: Arc<Connection>,
    ring: Arc<Keyring>,
    fence: Fence,
    schema: Schema,
    told: Told,
    sealer: Arc<Sealer>,
    clock: Arc<dyn Clock>,
    epochs: Epochs,
    indexes: Indexes,
    queue: Queue,
    staging: Arc<Staging>,
    entries: Arc<Entries>,
    /// Key lists that were opened lately.
    key_lists: Arc<KeyLists>,
    hints: Hints,
    pulse: Pulse,
    counts: Counts,
    heard: Arc<turns::Heard>,
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
        Self::open_for(Purpose::Serve, options, clock)
    }

    /// The same where there has to be a store.
    pub(in crate::store) fn open_existing(options: Options, clock: Arc<dyn Clock>) -> StoreResult<Self> {
        Self::open_for(Purpose::Read, options, clock)
    }

    fn open_for(purpose: Purpose<'_>, options: Options, clock: Arc<dyn Clock>) -> StoreResult<Self> {
        let connection = Arc::new(Connection::new(&options)?);
        let mut random = [0_u8; 8];
        aws_lc_rs::rand::fill(&mut random).map_err(|_| StoreError::Io("the system has no randomness".into()))?;
        let process = u64::from_be_bytes(random);
        let name = format!("{process:016x}");
        let (ring, fence, schema) = start::open(&connection, &options, &name, purpose)?;
        let ring = Arc::new(ring);
        let (keys, key_file) = (options.keys.clone(), options.key_file.clone());
        Keyring::share(&ring, move || Masters::of(&keys, &key_file, false));
        let shared = Arc::new(Shared {
            connection,
            sealer: ring.sealer(),
            ring,
            fence,
            schema,
            told: Told::default(),
            clock,
            epochs: Epochs::default(),
            indexes: Indexes::default(),
            queue: Queue::default(),
            staging: Arc::new(Staging::new(process)),
            entries: Arc::new(Entries::new(Arc::clone(&options.form))),
            key_lists: Arc::default(),
            hints: Hints::default(),
            pulse: Pulse::default(),
            counts: Counts::default(),
            heard: Arc::default(),
            process: name,
            options,
        });
        epochs::follow(&shared);
        let threads = Threads::start(&shared)?;
        Ok(Self { shared, threads: Mutex::new(Some(threads)) })
    }

    /// See [`Keyring::derive`].
    ///
    /// # Errors
    /// As there.
    pub fn derive_key(&self, purpose: &[u8]) -> StoreResult<[u8; 32]> {
        self.shared.ring.derive(purpose)
    }

    /// Commands sent to the database so far for which somebody waited.
    #[must_use]
    pub fn round_trips(&self) -> u64 {
        self.shared.connection.commands()
    }

    /// Sees to it that a tenant has keys; `None` where it has.
    fn has_keys(&self, tenant: TenantId) -> Option<BoxFuture<'static, StoreResult<()>>> {
        if self.shared.sealer.has(tenant) || tenant == layout::SYSTEM {
            return None;
        }
        let shared = Arc::clone(&self.shared);
        Some(Box::pin(self.shared.connection.apart(move || make_keys(&shared, tenant))))
    }

    fn reading(&self) -> Reading {
        Reading::new(Arc::clone(&self.shared.connection), KEPT_BYTES)
    }
}

/// Makes the first key of a tenant, unless another process has.
fn make_keys(shared: &Shared, tenant: TenantId) -> StoreResult<()> {
    let Shared { ring, connection, .. } = shared;
    ring.renew()?;
    let rows = Reading::new(Arc::clone(connection), KEPT_BYTES);
    if !ring.knows(tenant) && rows.get(Table::Records, &layout::head(tenant))?.is_some() {
        return Err(start::missing_keys(&format!("tenant {}", tenant.0)));
    }
    ring.ensure(tenant)
}

impl Engine for Mongo {
    fn newest(&self) -> impl Rows + '_ {
        self.reading()
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
        let shared = Arc::clone(&self.shared);
        let has_keys = self.has_keys(prepared.commit_of);
        let add = move |prepared| shared.queue.add(prepared, shared.options.most_waiting);
        match has_keys {
            None => {
                let added = add(prepared);
                Box::pin(async { added?.await.unwrap_or_else(|_| Err(ended().into())) })
            }
            Some(made) => Box::pin(async move {
                made.await?;
                add(prepared)?.await.unwrap_or_else(|_| Err(ended().into()))
            }),
        }
    }
}

impl Backend for Mongo {
    fn view(&self, tenant: TenantId) -> StoreResult<Box<dyn View>> {
        let Shared { sealer, schema, entries, key_lists, .. } = &*self.shared;
        let has_sealed_marks = schema.stand().has_sealed_marks();
        let snapshot = view::Snapshot::new(Arc::clone(&self.shared));
        Ok(Box::new(TenantView::new(snapshot, sealer, (entries, key_lists), tenant, has_sealed_marks)))
    }

    fn commit(&self, commit: Commit) -> BoxFuture<'static, Result<Committed, CommitError>> {
        self.take(commit)
    }

    /// The database frees the space of what was removed by itself.
    fn compact(&self) -> StoreResult<()> {
        Ok(())
    }

    fn seal_file(&self, tenant: TenantId, name: &str, plain: &[u8]) -> StoreResult<Vec<u8>> {
        let Shared { sealer, clock, .. } = &*self.shared;
        if !sealer.has(tenant) {
            make_keys(&self.shared, tenant)?;
        }
        sealer.seal_file(tenant, name, clock.now(), plain)
    }

    fn open_file(&self, tenant: TenantId, name: &str, sealed: &[u8]) -> StoreResult<Vec<u8>> {
        self.shared.sealer.open_file(tenant, name, sealed)
    }

    fn keyring(&self) -> Option<&Keyring> {
        Some(&self.shared.ring)
    }

    /// What a pass of sealing anew has not found when it ends is not there: no process seals under older keys from when it began.
    fn old_rows(&self, tenant: TenantId, after: &[u8], most: usize) -> StoreResult<OldRows> {
        let Shared { connection, sealer, .. } = &*self.shared;
        if after.is_empty() {
            fence::lift(connection, None)?;
            fence::renew(&self.shared)?;
        }
        sealing::old_rows(&self.reading(), sealer, tenant, after, most)
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
            let destroying = Arc::clone(&shared);
            let destroyed = shared.connection.apart(move || {
                destroying.ring.destroy(tenant)?;
                // An earlier try may have come no further.
                fence::lift(&destroying.connection, None)
            });
            destroyed.await?;
            shared.indexes.forget(tenant);
            shared.queue.remove(tenant, shared.options.most_waiting).await
        })
    }

    fn is_local(&self) -> bool {
        false
    }

    fn exchange(&self, used: Vec<Used>) -> BoxFuture<'static, StoreResult<Vec<Used>>> {
        let shared = Arc::clone(&self.shared);
        let exchange = move || {
            let connection = Arc::clone(&shared.connection);
            Ok(connection.wait(limits::exchange(shared, used))?)
        };
        Box::pin(self.shared.connection.apart(exchange))
    }

    fn health(&self) -> StoreResult<()> {
        let Shared { queue, staging, pulse, .. } = &*self.shared;
        let refusal = queue.closed().or_else(|| pulse.silence(Instant::now())).or_else(|| staging.refusal());
        refusal.map_or(Ok(()), Err)
    }

    fn failure(&self) -> Option<StoreError> {
        self.shared.queue.failure()
    }

    fn close(&self) -> StoreResult<()> {
        let threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner).take();
        threads.map_or(Ok(()), |threads| threads.end(&self.shared))
    }
}

impl Ledger for Mongo {
    /// It is in the database then: the end of this process would lose what is not.
    fn record(&self, tenant: TenantId, entry: Entry) -> BoxFuture<'static, StoreResult<u64>> {
        let (staging, failure) = (Arc::clone(&self.shared.staging), self.shared.queue.failure());
        Box::pin(async move {
            failure.map_or(Ok(()), Err)?;
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
            let read = match self.reading().stretch(Table::History, &from, &after, Most::rows(BLOCKS_AT_ONCE)) {
                Ok(read) => read,
                Err(error) => return Some(vec![Err(error)]),
            };
            next = read.next();
            let open = |row| Ok(block_of(row, &self.shared.sealer, tenant, is_open));
            Some(read.rows.into_iter().map(open).collect::<Vec<StoreResult<Block>>>())
        });
        Ok(Box::new(parts.flatten()))
    }
}

impl Drop for Mongo {
    fn drop(&mut self) {
        drop(self.close());
    }
}

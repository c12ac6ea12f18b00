//! The one door to data: what is kept, how it is read, and how it is changed.
//!
//! [`Store::open`] takes a [`Grant`] and gives [`Records`], a snapshot of one tenant; [`Store::commit`] is the only way to
//! write. ([`Store::keeper`] keeps what is no resource.) Behind the door stands a [`Backend`]: the embedded store, or MongoDB. A backend answers three verbs (read by
//! key, scan a range, commit) and knows nothing of FHIR beyond a type's name and an id.
//!
//! Views are synchronous: the embedded store answers from memory or the page cache in microseconds, and a search over plain
//! iterators stays simple and quick. A backend across a network runs its views on the blocking pool ([`Backend::is_local`]).

pub mod body;
mod commit;
pub mod contract;
pub mod embedded;
pub mod fault;
pub mod index;
pub mod keys;
pub mod ledger;
pub mod mongo;
pub(crate) mod rows;
pub mod schema;
pub mod seal;
pub mod transfer;

pub use commit::{Change, Commit, CommitError, Committed, Content, Erasure, Expect, Extent, Guard, NewKeys, Written};

use crate::auth::grant::{Consented, Grant};
use crate::auth::keeper::{Keeper, KeeperError, SharedKeeper};
use crate::auth::rate::Used;
use crate::clock::Micros;
use crate::key::blind::Blind;
use crate::key::{KeyList, KeyRange};
use crate::tenant::TenantId;
use body::Body;
use futures_util::future::BoxFuture;
use keys::Keyring;
use ledger::{Blocks, Entry, Head, Ledger};
use schema::Schemas;
use std::collections::BTreeSet;
use std::sync::Arc;

/// The number of a resource in the store: a lane (16 bits) and a counter (48 bits). Never used again, kept by copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rid(pub u64);

/// A moment in the life of one tenant's data: the time of the newest commit that a snapshot holds.
pub type Position = Micros;

/// What a failed call of the store means. The messages are for the log and hold no patient data.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The store stopped itself: a failed write or fsync, damage found, or a disk that hangs.
    #[error("the store does not accept work: {0}")]
    Closed(String),
    /// Less space is left than the floor; reads go on.
    #[error("the store is read-only: {0}")]
    ReadOnly(String),
    /// The commit may or may not have happened: the disk did not answer in time.
    #[error("the outcome of the commit is unknown: {0}")]
    OutcomeUnknown(String),
    /// Stored bytes can't be read as what they should be.
    #[error("damaged data: {0}")]
    Damaged(String),
    /// The operating system refused.
    #[error("{0}")]
    Io(String),
    /// Too many commits wait already.
    #[error("too many commits are waiting")]
    Busy,
    /// The database behind the store does not answer, or others kept coming first: nothing happened.
    #[error("the database does not answer: {0}")]
    Unreachable(String),
}

/// The result of a call of the store.
pub type StoreResult<T> = Result<T, StoreError>;

/// How a version came to be: `Bundle.entry.request.method` of its history entry, and the CRUD letter of the audit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Method {
    /// `POST`.
    Create = 1,
    /// `PUT`.
    Update = 2,
    /// `PATCH`.
    Patch = 3,
    /// `DELETE`.
    Delete = 4,
}

/// One version of a resource as the store keeps it. `body` is `None` for a deleted one.
#[derive(Debug, Clone)]
pub struct Version {
    /// The resource's number.
    pub rid: Rid,
    /// The resource type.
    pub type_name: Box<str>,
    /// The logical id.
    pub id: Box<str>,
    /// Counts from 1, by 1, deletions included.
    pub version: u64,
    /// `meta.lastUpdated`.
    pub time: Micros,
    /// How this version came to be.
    pub method: Method,
    /// The ids of the patients whose data it is; of a deletion, those of the version before.
    pub patients: Box<[Box<str>]>,
    /// The bytes, absent for a deletion.
    pub body: Option<Body>,
}

/// One posting: `key` (without tenant, generation and type) is a key of the resource `rid`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Posting {
    /// The search key; shared between the postings of one key.
    pub key: Arc<[u8]>,
    /// The resource's number.
    pub rid: Rid,
}

/// One entry of the change log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// The time of the commit.
    pub time: Micros,
    /// The order within the commit.
    pub index: u32,
    /// The resource's number.
    pub rid: Rid,
    /// The version that was made.
    pub version: u64,
}

/// What is known of a resource without opening it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outline {
    /// The resource's number.
    pub rid: Rid,
    /// The resource type.
    pub type_name: Box<str>,
    /// The logical id.
    pub id: Box<str>,
    /// The current version.
    pub version: u64,
    /// The oldest version that was not erased.
    pub oldest: u64,
    /// When the current version was made.
    pub time: Micros,
    /// Whether the current version is a deletion.
    pub is_deleted: bool,
    /// As in [`Version`].
    pub patients: Box<[Box<str>]>,
}

/// A stream of postings in key order, then in rid order.
pub type Postings<'v> = Box<dyn Iterator<Item = StoreResult<Posting>> + 'v>;

/// A stream of resource numbers, ascending.
pub type Rids<'v> = Box<dyn Iterator<Item = StoreResult<Rid>> + 'v>;

/// The same, many numbers at a time: none of the runs is empty, and they ascend within each and from one to the next.
pub type Runs<'v> = Box<dyn Iterator<Item = StoreResult<Vec<Rid>>> + 'v>;

/// What is going to be looked up in a view.
#[derive(Debug, Clone, Copy, Default)]
pub struct Expected<'e> {
    /// Resources by type and id, with their keys.
    pub ids: &'e [(&'e str, &'e str)],
    /// The current versions of resources.
    pub currents: &'e [Rid],
    /// Their keys.
    pub keys_of: &'e [Rid],
    /// The first resources that have a key, each with their type.
    pub having: &'e [(&'e str, &'e [u8])],
}

/// A snapshot of one tenant's data: of the moment of its first read, or of one before that. The entries of its ledger stand among the resources ([`ledger`]), as of one version each that
/// nothing changes.
pub trait View: Send + Sync {
    /// The number of the resource with this type and id, deleted ones included.
    fn find(&self, type_name: &str, id: &str) -> StoreResult<Option<Rid>>;
    /// The id of a resource, unless it is deleted.
    fn id_of(&self, rid: Rid) -> StoreResult<Option<Box<str>>>;
    /// The current version, a deletion included.
    fn current(&self, rid: Rid) -> StoreResult<Option<Version>>;
    /// The current versions of some resources, in the order in which these are given.
    fn currents(&self, rids: &[Rid]) -> StoreResult<Vec<Option<Version>>> {
        rids.iter().map(|rid| self.current(*rid)).collect()
    }
    /// Whether each look-up takes the time of a network, so that it is worth while to tell what is going to be looked up.
    fn is_far(&self) -> bool {
        false
    }
    /// These are about to be asked for. A backend that is far away reads what is of one kind at once; others do nothing.
    fn expect(&self, _: Expected<'_>) -> StoreResult<()> {
        Ok(())
    }
    /// One version, current or old.
    fn version(&self, rid: Rid, version: u64) -> StoreResult<Option<Version>>;
    /// The oldest version of a resource that was not erased; 1 for what never was.
    fn oldest(&self, rid: Rid) -> StoreResult<u64>;
    /// All resources from a number on, ascending, deleted ones included, entries of the ledger not.
    fn resources(&self, from: Rid) -> Box<dyn Iterator<Item = StoreResult<Outline>> + '_>;
    /// The keys of the current version (empty for a deleted one), those of `_lastUpdated` included.
    fn keys(&self, rid: Rid) -> StoreResult<Option<KeyList>>;
    /// The keys that a version had, current or old.
    fn version_keys(&self, rid: Rid, version: u64) -> StoreResult<Option<KeyList>>;
    /// The types of which there are resources, or were: so that a search over many types need not ask for each.
    fn types(&self) -> StoreResult<BTreeSet<Box<str>>>;
    /// The postings of one type in a range, ascending; for one key the rids ascend.
    fn scan(&self, type_name: &str, range: &KeyRange) -> Postings<'_>;
    /// The resources of one type that have exactly this key, from `from` on, in the runs that the backend keeps them in.
    fn runs(&self, type_name: &str, key: &[u8], from: Rid) -> Runs<'_>;
    /// The same one by one.
    fn rids(&self, type_name: &str, key: &[u8], from: Rid) -> Rids<'_> {
        Box::new(self.runs(type_name, key, from).flat_map(|run| {
            let (rids, error) = run.map_or_else(|error| (Vec::new(), Some(Err(error))), |rids| (rids, None));
            rids.into_iter().map(Ok).chain(error)
        }))
    }
    /// The same as [`View::scan`], descending in key order (rids within a key descend too).
    fn scan_back(&self, type_name: &str, range: &KeyRange) -> Postings<'_>;
    /// The change log, newest first, from strictly before (`time`, `index`), of one type or of all.
    fn log_back(
        &self,
        type_name: Option<&str>,
        before: (Micros, u32),
    ) -> Box<dyn Iterator<Item = StoreResult<LogEntry>> + '_>;
    /// The position of this snapshot.
    fn position(&self) -> Position;
    /// How hidden keys stand in the postings of a type; `None` where all keys are plain.
    fn blind(&self, type_name: &str) -> StoreResult<Option<Arc<Blind>>>;
}

impl From<StoreError> for KeeperError {
    fn from(error: StoreError) -> Self {
        Self::Failed(error.to_string())
    }
}

/// Rows with values that are sealed under other keys than the tenant's newest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OldRows {
    /// The rows, by names that only the backend reads.
    pub rows: Vec<Box<[u8]>>,
    /// How many resources were passed, with such values or without.
    pub resources: u64,
    /// After which row to go on; `None` at the end.
    pub next: Option<Box<[u8]>>,
}

/// What a store engine provides. Only [`Store`] calls it.
pub trait Backend: Keeper + Ledger {
    /// A snapshot of one tenant: see [`View`].
    fn view(&self, tenant: TenantId) -> StoreResult<Box<dyn View>>;
    /// Commits; durable when the future ends with `Ok`.
    fn commit(&self, commit: Commit) -> BoxFuture<'static, Result<Committed, CommitError>>;
    /// Makes what was erased or replaced leave the files, as far as no open view needs it. It may take minutes and blocks the thread.
    fn compact(&self) -> StoreResult<()>;
    /// Seals what is kept in a file outside of the store under the tenant's key, bound to the name.
    fn seal_file(&self, tenant: TenantId, name: &str, plain: &[u8]) -> StoreResult<Vec<u8>>;
    /// Opens what [`Backend::seal_file`] sealed.
    fn open_file(&self, tenant: TenantId, name: &str, sealed: &[u8]) -> StoreResult<Vec<u8>>;
    /// The data keys; `None` where nothing is sealed.
    fn keyring(&self) -> Option<&Keyring>;
    /// At most `most` rows with values under older keys, in an order in which what is written meanwhile is not passed over, from after a row
    /// on (the beginning if empty). They are re-sealed by a commit that names them.
    fn old_rows(&self, tenant: TenantId, after: &[u8], most: usize) -> StoreResult<OldRows>;
    /// In which form rows are kept; `None` where none are.
    fn schemas(&self) -> Option<&dyn Schemas> {
        None
    }
    /// Destroys a tenant: its keys for good, then all that it has, ledger apart, whose entries are sealed under the store's own key.
    /// From the first moment nothing of it opens. Where it fails after that, it has to be done again, to remove the rest.
    fn destroy(&self, tenant: TenantId) -> BoxFuture<'static, StoreResult<()>>;
    /// Whether views answer without a network.
    fn is_local(&self) -> bool;
    /// Tells the other processes on this store what was used, and answers what they have told since the last call.
    fn exchange(&self, _: Vec<Used>) -> BoxFuture<'static, StoreResult<Vec<Used>>> {
        Box::pin(async { Ok(Vec::new()) })
    }
    /// Whether the store takes writes now; the error says why not.
    fn health(&self) -> StoreResult<()>;
    /// What has ended the writing for good, so that the process has to be started anew; `None` where nothing has, or what is wrong may go by
    /// itself, like a database that does not answer.
    fn failure(&self) -> Option<StoreError>;
    /// Finishes waiting commits, flushes, and accepts no more work.
    fn close(&self) -> StoreResult<()>;
}

/// The door. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    backend: Arc<dyn Backend>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Store")
    }
}

impl Store {
    /// A door before this backend.
    #[must_use]
    pub fn new(backend: Arc<dyn Backend>) -> Self {
        Self { backend }
    }

    /// A snapshot of the grant's tenant.
    ///
    /// # Errors
    /// When the backend can't give one.
    pub fn open(&self, grant: &Grant) -> StoreResult<Records> {
        Ok(Records { view: self.backend.view(grant.tenant())?, grant: grant.clone() })
    }

    /// Commits under a grant.
    ///
    /// # Errors
    /// See [`CommitError`]; a commit for another tenant than the grant's is refused.
    pub async fn commit(&self, grant: &Grant, commit: Commit) -> Result<Committed, CommitError> {
        if commit.tenant != grant.tenant() {
            return Err(StoreError::Closed("a commit for another tenant than the grant's".into()).into());
        }
        self.backend.commit(commit).await
    }

    /// See [`Backend::compact`].
    ///
    /// # Errors
    /// When the store fails.
    pub fn compact(&self) -> StoreResult<()> {
        self.backend.compact()
    }

    /// See [`Backend::seal_file`].
    ///
    /// # Errors
    /// When the cryptographic library fails.
    pub fn seal_file(&self, grant: &Grant, name: &str, plain: &[u8]) -> StoreResult<Vec<u8>> {
        self.backend.seal_file(grant.tenant(), name, plain)
    }

    /// See [`Backend::open_file`].
    ///
    /// # Errors
    /// When it was altered, or sealed for another tenant, under another name or with another master key.
    pub fn open_file(&self, grant: &Grant, name: &str, sealed: &[u8]) -> StoreResult<Vec<u8>> {
        self.backend.open_file(grant.tenant(), name, sealed)
    }

    /// See [`Backend::keyring`].
    #[must_use]
    pub fn keyring(&self) -> Option<&Keyring> {
        self.backend.keyring()
    }

    /// See [`Backend::old_rows`].
    ///
    /// # Errors
    /// When the store can't be read.
    pub fn old_rows(&self, grant: &Grant, after: &[u8], most: usize) -> StoreResult<OldRows> {
        self.backend.old_rows(grant.tenant(), after, most)
    }

    /// See [`Backend::schemas`].
    #[must_use]
    pub fn schemas(&self) -> Option<&dyn Schemas> {
        self.backend.schemas()
    }

    /// Destroys the tenant of a grant: see [`Backend::destroy`].
    ///
    /// # Errors
    /// When it can't be written.
    pub async fn destroy(&self, grant: &Grant) -> StoreResult<()> {
        self.backend.destroy(grant.tenant()).await
    }

    /// What happened, for the ledger. It asks for no grant: refusals are recorded, too.
    ///
    /// # Errors
    /// See [`Ledger::record`].
    pub async fn record(&self, tenant: TenantId, entry: Entry) -> StoreResult<u64> {
        self.backend.record(tenant, entry).await
    }

    /// See [`Ledger::synced`].
    ///
    /// # Errors
    /// When the ledger has failed.
    pub async fn synced(&self, number: u64) -> StoreResult<()> {
        self.backend.synced(number).await
    }

    /// See [`Ledger::settled`].
    ///
    /// # Errors
    /// When the ledger has failed.
    pub async fn settled(&self) -> StoreResult<()> {
        self.backend.settled().await
    }

    /// See [`Ledger::head`].
    ///
    /// # Errors
    /// When it can't be read.
    pub fn ledger_head(&self, tenant: TenantId) -> StoreResult<Head> {
        self.backend.head(tenant)
    }

    /// See [`Ledger::blocks`].
    ///
    /// # Errors
    /// When the chain can't be read.
    pub fn ledger(&self, tenant: TenantId, from: u64, is_open: bool) -> StoreResult<Blocks<'_>> {
        self.backend.blocks(tenant, from, is_open)
    }

    /// Keeps what is no resource. It asks for no grant: it is what authorization itself stands on.
    #[must_use]
    pub fn keeper(&self) -> SharedKeeper {
        Arc::clone(&self.backend) as SharedKeeper
    }

    /// See [`Backend::is_local`].
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.backend.is_local()
    }

    /// See [`Backend::exchange`].
    ///
    /// # Errors
    /// When the store can't be reached; what was told then is told again.
    pub async fn exchange(&self, used: Vec<Used>) -> StoreResult<Vec<Used>> {
        self.backend.exchange(used).await
    }

    /// See [`Backend::health`].
    ///
    /// # Errors
    /// Why the store takes no writes.
    pub fn health(&self) -> StoreResult<()> {
        self.backend.health()
    }

    /// See [`Backend::failure`].
    #[must_use]
    pub fn failure(&self) -> Option<StoreError> {
        self.backend.failure()
    }

    /// See [`Backend::close`].
    ///
    /// # Errors
    /// When the last flush fails.
    pub fn close(&self) -> StoreResult<()> {
        self.backend.close()
    }
}

/// A snapshot of one tenant under one grant.
pub struct Records {
    view: Box<dyn View>,
    grant: Grant,
}

impl Records {
    /// The grant under which this was opened.
    #[must_use]
    pub const fn grant(&self) -> &Grant {
        &self.grant
    }

    /// The same, as far as patients consent to it.
    #[must_use]
    pub fn consented(mut self, to: Option<Consented>) -> Self {
        self.grant = self.grant.consented(to);
        self
    }

    /// The raw snapshot, past which nothing goes that the grant does not reach: for the search engine, which compiles the grant
    /// into each query, and for `interaction::reach`.
    #[must_use]
    pub fn view(&self) -> &dyn View {
        &*self.view
    }
}

//! What a commit is made of, and what comes of it.

use super::body::Body;
use super::ledger::Entry;
use super::{Method, Position, Rid, StoreError};
use crate::auth::keeper::Keep;
use crate::clock::Micros;
use crate::key::{KeyList, KeyRange};
use crate::tenant::TenantId;

/// What a change requires of the resource's current state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// Nothing.
    Any,
    /// There is no such resource, and never was.
    Absent,
    /// The current version is this one (a deletion counts as a version).
    Version(u64),
}

/// One resource's change within a commit.
#[derive(Debug, Clone)]
pub struct Change {
    /// The resource type.
    pub type_name: Box<str>,
    /// The logical id.
    pub id: Box<str>,
    /// What must hold for the commit to happen.
    pub expect: Expect,
    /// How the new version comes to be.
    pub method: Method,
    /// The new content; `None` deletes. A delete of what is absent or deleted already changes nothing.
    pub content: Option<Content>,
}

/// The new content of a resource: made before the commit, in parallel.
#[derive(Debug, Clone)]
pub struct Content {
    /// The bytes.
    pub body: Body,
    /// The search keys, without those of `_lastUpdated`, which the commit adds.
    pub keys: KeyList,
}

/// What is removed of a resource for good: neither its history nor the change log tell of it any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Erasure {
    /// The resource type.
    pub type_name: Box<str>,
    /// The logical id.
    pub id: Box<str>,
    /// How much of it.
    pub extent: Extent,
}

/// How much of a resource is erased.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// All of it, if this version is still the current one (a deletion counts as a version). The id is free afterwards: what is
    /// written under it is a new resource with another number, whose versions count from 1.
    Whole {
        /// The current version.
        version: u64,
    },
    /// The versions before this one, which exists.
    Before(u64),
}

/// All that happens at once or not at all.
#[derive(Debug)]
pub struct Commit {
    /// Whose data changes.
    pub tenant: TenantId,
    /// At most one change for each resource.
    pub changes: Vec<Change>,
    /// Search keys that replace others: at most one list for each resource, none of them changed by this commit. Where the version is not
    /// the current one any more, they are passed over. No version is made, and nothing goes into the change log; old versions keep the keys
    /// that they had. What decided on the old keys or on the new ones is decided again.
    pub new_keys: Vec<NewKeys>,
    /// At most one for each resource, none of them changed by this commit.
    pub erasures: Vec<Erasure>,
    /// Changes of records that are no resources: at most one for each.
    pub keeps: Vec<Keep>,
    /// Rows whose sealed values shall be under the tenant's newest key, by the names that [`super::Backend::old_rows`] gave them. What is
    /// not there any more, or is under that key already, stays as it is.
    pub reseals: Vec<Box<[u8]>>,
    /// Type and id of resources whose postings shall be as the form of the tenant's index says: see [`super::index`].
    pub reposts: Vec<(Box<str>, Box<str>)>,
    /// Whether postings of the ledger that are still plain, and shall be hidden, are: some of them, as [`super::index`] tells.
    pub hides_ledger: bool,
    /// What was read to decide on this commit: refused if a commit since [`Commit::read_at`] touched any of it.
    pub guards: Vec<Guard>,
    /// The position of the snapshot on which the guards were evaluated.
    pub read_at: Position,
    /// What the ledger shall have, exactly if the commit happens.
    pub entry: Option<Entry>,
}

impl Commit {
    /// A commit that changes nothing, and rests on nothing that was read.
    #[must_use]
    pub const fn of(tenant: TenantId) -> Self {
        Self {
            tenant,
            changes: Vec::new(),
            new_keys: Vec::new(),
            erasures: Vec::new(),
            keeps: Vec::new(),
            reseals: Vec::new(),
            reposts: Vec::new(),
            hides_ledger: false,
            guards: Vec::new(),
            read_at: Micros(i64::MIN),
            entry: None,
        }
    }
}

/// New search keys for a version that stays as it is: for parameters that came after it was written.
#[derive(Debug, Clone)]
pub struct NewKeys {
    /// The resource type.
    pub type_name: Box<str>,
    /// The logical id.
    pub id: Box<str>,
    /// The version that the keys were made from.
    pub version: u64,
    /// The keys, without those that a commit adds.
    pub keys: KeyList,
}

/// A range of search keys of one type whose postings a decision rests on. The keys touched by a change are those of the
/// old and of the new version.
#[derive(Debug, Clone)]
pub struct Guard {
    /// The resource type.
    pub type_name: Box<str>,
    /// The keys.
    pub range: KeyRange,
}

/// What one change of a commit came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The resource's number; `None` for the delete of what never was.
    pub rid: Option<Rid>,
    /// The version now current (0 where there is none).
    pub version: u64,
    /// Whether the resource did not exist, or was deleted, before.
    pub created: bool,
    /// Whether a new version was made at all.
    pub changed: bool,
}

/// The answer to a commit that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The time of the commit: `meta.lastUpdated` of every version in it, later than that of every commit before.
    pub time: Micros,
    /// One for each change, in order.
    pub written: Vec<Written>,
}

/// Why a commit did not happen.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CommitError {
    /// What a change, an erasure or a kept record expects does not hold.
    #[error("change {change} expected another version")]
    Stale {
        /// Which one, counted from 0: first the changes, then the erasures, then the kept records.
        change: usize,
        /// The version now current; `None` where there is none.
        current: Option<u64>,
    },
    /// A guarded range was touched since the snapshot (or the snapshot is too old to tell): decide again.
    #[error("what the commit was decided on has changed")]
    Touched,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

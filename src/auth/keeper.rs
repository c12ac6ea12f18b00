//! What authorization needs kept: small records that are no resources, such as clients, users, sessions, codes and keys.
//!
//! The store implements [`Keeper`] with the durability, sealing and tenants of resources. A record belongs to a tenant and a
//! kind, and is found by its id; ids are chosen so that what belongs together shares a prefix (`{user}~{session}`).

use crate::clock::Micros;
use crate::tenant::TenantId;
use futures_util::future::BoxFuture;
use std::sync::Arc;

/// A record as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Its id within tenant and kind.
    pub id: Box<str>,
    /// Counts the changes of this record, from 1.
    pub version: u64,
    /// From when on it is no longer there.
    pub expires: Option<Micros>,
    /// What it holds; JSON as a rule.
    pub bytes: Vec<u8>,
}

/// What a change requires of the record as it is now. An expired record is absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// Nothing.
    Any,
    /// There is none.
    Absent,
    /// It has this version.
    Version(u64),
}

/// One change of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keep {
    /// What kind of record: a short lower-case word.
    pub kind: &'static str,
    /// Its id: 1 to 255 bytes.
    pub id: Box<str>,
    /// What must hold for any of the changes to happen.
    pub expect: Expect,
    /// The new content; `None` removes the record for good. Removing what is absent changes nothing.
    pub bytes: Option<Vec<u8>>,
    /// From when on it is no longer there; `None` for never.
    pub expires: Option<Micros>,
}

/// Why records were not kept or could not be read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum KeeperError {
    /// An [`Expect`] does not hold: nothing was changed. Holds which of the changes, counted from 0.
    #[error("record {0} is not as expected")]
    Stale(usize),
    /// The store failed; the text is for the log.
    #[error("{0}")]
    Failed(String),
}

/// Keeps records. Cheap to share.
pub trait Keeper: Send + Sync {
    /// A record that has not expired.
    ///
    /// # Errors
    /// [`KeeperError::Failed`].
    fn get(&self, tenant: TenantId, kind: &'static str, id: &str) -> Result<Option<Kept>, KeeperError>;

    /// Records whose id starts with a prefix and comes after another, in the order of their ids, at most `count`.
    ///
    /// # Errors
    /// [`KeeperError::Failed`].
    fn list(
        &self,
        tenant: TenantId,
        kind: &'static str,
        prefix: &str,
        after: Option<&str>,
        count: usize,
    ) -> Result<Vec<Kept>, KeeperError>;

    /// Changes records, all or none. Durable when the future ends with `Ok`.
    fn keep(&self, tenant: TenantId, changes: Vec<Keep>) -> BoxFuture<'static, Result<(), KeeperError>>;

    /// A number that grows with every change of a tenant's records of a kind other than `code`, `jti` and `attempt`, so that what was
    /// derived from them can be held in memory until it changes.
    fn epoch(&self, tenant: TenantId) -> u64;
}

/// A shared keeper.
pub type SharedKeeper = Arc<dyn Keeper>;

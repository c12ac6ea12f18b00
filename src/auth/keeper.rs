//! What authorization needs kept: small records that are no resources, such as clients, users, sessions, codes and keys.
//!
//! The store implements [`Keeper`] with the durability, sealing and tenants of resources. A record belongs to a tenant and a
//! kind, and is found by its id; ids are chosen so that what belongs together shares a prefix (`{user}~{session}`).
//!
//! What a record holds is sealed; its kind, id, version and time are not. So a secret (a code, a token) is no id: its hash is.

use crate::clock::Micros;
use crate::tenant::TenantId;
use futures_util::future::BoxFuture;
use rustc_hash::{FxHashMap, FxHashSet};
use std::sync::{Arc, PoisonError, RwLock};

/// A record as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Its id within tenant and kind.
    pub id: Box<str>,
    /// Counts the changes of this record, from 1; from 1 again where the record was removed or had expired in between.
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

/// One thing that happened, for the audit ledger of a tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// When.
    pub time: Micros,
    /// What the ledger's form reads; bytes to the keeper and the store.
    pub bytes: Box<[u8]>,
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

    /// Records whose id starts with a prefix and comes after another, in the order of their ids, at most `count`, as they were
    /// at one moment.
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

    /// Changes records, all or none; at most one change for each record. Durable when the future ends with `Ok`. The ledgers of the
    /// tenants that are named have these entries exactly if the changes happen.
    ///
    /// # Errors
    /// [`KeeperError::Stale`]; [`KeeperError::Failed`], after which the changes may have happened or not.
    fn keep_told(
        &self,
        tenant: TenantId,
        changes: Vec<Keep>,
        told: Vec<(TenantId, Entry)>,
    ) -> BoxFuture<'static, Result<(), KeeperError>>;

    /// The same for what no ledger has to hear of.
    ///
    /// # Errors
    /// As [`Keeper::keep_told`].
    fn keep(&self, tenant: TenantId, changes: Vec<Keep>) -> BoxFuture<'static, Result<(), KeeperError>> {
        self.keep_told(tenant, changes, Vec::new())
    }

    /// A number that grows with every change of a tenant's records of a kind other than those that come and go with single requests or
    /// jobs (`code`, `jti`, `attempt`, `checkpoint`, `job`, `pin`, `spared`, `spare-gate`), so that what was
    /// derived from them can be held in memory until it changes. That a record expires changes nothing here: who holds one looks at
    /// [`Kept::expires`].
    fn epoch(&self, tenant: TenantId) -> u64;
}

/// A shared keeper.
pub type SharedKeeper = Arc<dyn Keeper>;

/// Kinds that come and go with single requests or change with every step of some work, and that nothing is derived from.
const PASSING: [&str; 8] = ["code", "jti", "attempt", "checkpoint", "job", "pin", "spared", "spare-gate"];
const LONGEST_ID: usize = 255;

/// Refuses changes that no keeper takes.
///
/// # Errors
/// [`KeeperError::Failed`] for a kind that is not a word, an id that is empty or too long, and two changes of one record.
pub fn check_form(changes: &[Keep]) -> Result<(), KeeperError> {
    let mut seen = FxHashSet::default();
    for Keep { kind, id, .. } in changes {
        let refuse = |why: &str| Err(KeeperError::Failed(format!("a record of kind {kind} can't be kept: {why}")));
        if kind.is_empty() || !kind.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-') {
            return refuse("its kind is not a lower-case word");
        }
        if id.is_empty() || id.len() > LONGEST_ID {
            return refuse("its id does not have 1 to 255 bytes");
        }
        if !seen.insert((kind, id)) {
            return refuse("it is changed twice at once");
        }
    }
    Ok(())
}

/// The numbers behind [`Keeper::epoch`], from 0 at each start.
#[derive(Debug, Default)]
pub struct Epochs {
    of: RwLock<FxHashMap<TenantId, u64>>,
}

impl Epochs {
    /// A tenant's number.
    #[must_use]
    pub fn get(&self, tenant: TenantId) -> u64 {
        self.of.read().unwrap_or_else(PoisonError::into_inner).get(&tenant).copied().unwrap_or_default()
    }

    /// Whether a change of this kind of record is one that makes the number grow.
    #[must_use]
    pub fn counts(kind: &str) -> bool {
        !PASSING.contains(&kind)
    }

    /// Makes a tenant's number grow: to be called when readers see the change, and before it is answered.
    pub fn grow(&self, tenant: TenantId) {
        *self.of.write().unwrap_or_else(PoisonError::into_inner).entry(tenant).or_default() += 1;
    }
}

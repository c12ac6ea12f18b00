//! Moving all that a store keeps: into another store ([`Destination::copy`]), into files ([`Origin::backup`]), and from them into a store
//! ([`Destination::restore`]).
//!
//! Both stores keep the same rows, so what is moved is rows, sealed as they are. Moved are the records and the history, with the ledgers; the index
//! is made anew of them. A source gives rows of one moment; what became new since an earlier moment is told by the change log
//! ([`changes`]). So a backup can stand on the one before it, and a copy that was cut short goes on where it was.

mod backup;
mod changes;
mod content;
mod copy;
mod files;
mod index;
mod manifest;
mod restore;
mod settle;
pub(in crate::store) mod socket;
mod tally;
mod turns;
#[cfg(test)]
mod turns_tests;

pub use backup::Written;
pub use restore::{Folder, Restored};
pub use tally::{Sum, Tally};

use super::embedded::{self, Embedded};
use super::keys::{self, KeyTable, Keyring, OwnersKeys, Unwrapped};
use super::ledger::{Entry, Form};
use super::mongo::{self, Mongo};
use super::rows::{Rows, Table, Writes, layout};
use super::seal::STORE;
use super::{StoreError, StoreResult};
use crate::clock::{Clock, SystemClock};
use crate::tenant::TenantId;
use content::Marks;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::Arc;

/// A store that is read.
pub(in crate::store) trait Source: Send + Sync {
    /// Brings what was recorded for the ledgers into their chains.
    fn settle(&self) -> StoreResult<()>;
    /// The rows of this moment.
    fn snapshot(&self) -> StoreResult<Box<dyn Rows + '_>>;
    /// The rows as they are whenever they are read, where a snapshot does not live for as long as it takes to read all.
    fn walk(&self) -> StoreResult<Option<Box<dyn Rows + '_>>> {
        Ok(None)
    }
    /// The oldest schema of which rows may be there that are read after this.
    fn oldest_rows(&self) -> StoreResult<u32>;
    /// The data keys, wrapped.
    fn wrapped_keys(&self) -> StoreResult<Vec<OwnersKeys>>;
    /// Seals what is kept in a file.
    fn seal(&self, tenant: TenantId, name: &str, plain: &[u8]) -> StoreResult<Vec<u8>>;
    /// Opens what [`Source::seal`] sealed.
    fn unseal(&self, tenant: TenantId, name: &str, sealed: &[u8]) -> StoreResult<Vec<u8>>;
    /// Records what happened.
    fn record(&self, tenant: TenantId, entry: Entry) -> StoreResult<()>;
    /// The keys that were unwrapped for it, and are in no ledger yet.
    fn unwrapped(&self) -> Vec<Unwrapped> {
        Vec::new()
    }
}

/// A store that is filled, and that nobody else has open.
pub(in crate::store) trait Target {
    /// The rows as they are now.
    fn rows(&self) -> &dyn Rows;
    /// Writes, durably, and all at once or not at all.
    fn write(&self, writes: Writes) -> StoreResult<()>;
    /// Its data keys.
    fn ring(&self) -> &Keyring;
    /// It was filled with rows of this schema and later ones.
    fn expect_rows_of(&self, oldest: u32) -> StoreResult<()>;
    /// The store is whole: it may be served.
    fn finish(self: Box<Self>) -> StoreResult<()>;
}

/// Whose key seals a row in a file.
fn owner_of(key: &[u8]) -> TenantId {
    if layout::is_of_ledger(key) { STORE } else { layout::tenant_of(key) }
}

/// What a store that is not whole yet says of itself; nothing else opens it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::store) enum Filling {
    /// Nothing is in it.
    Begun,
    /// A backup is.
    Restore,
    /// A copy of another store is, which knows the tenants up to these marks.
    Copy {
        /// Up to where.
        since: Marks,
        /// The ids of the keys that there were then.
        #[serde(default)]
        keys: copy::KeyIds,
        /// What comes next, as long as not all was read once.
        at: Option<copy::At>,
    },
}

impl Filling {
    /// Reads it; `None` in a whole store.
    pub(in crate::store) fn read(rows: &dyn Rows) -> StoreResult<Option<Self>> {
        let stored = rows.get(Table::Records, &layout::transfer())?;
        let read = |bytes: Vec<u8>| {
            serde_json::from_slice(&bytes).map_err(|_| StoreError::Damaged("how far a copy has come".into()))
        };
        stored.map(read).transpose()
    }

    fn put(&self, writes: &mut Writes) -> StoreResult<()> {
        let bytes = serde_json::to_vec(self).map_err(|error| StoreError::Io(error.to_string()))?;
        writes.put(Table::Records, layout::transfer(), bytes);
        Ok(())
    }

    pub(in crate::store) fn write(&self, target: &dyn Target) -> StoreResult<()> {
        let mut writes = Writes::default();
        self.put(&mut writes)?;
        target.write(writes)
    }

    /// It is whole, with rows of this schema and later ones, and on a line of its own from here on.
    fn end(target: &dyn Target, oldest: u32) -> StoreResult<()> {
        target.expect_rows_of(oldest)?;
        let mut writes = Writes::default();
        writes.remove(Table::Records, layout::transfer());
        writes.put(Table::Records, layout::line(), SystemClock.new_id().into_bytes());
        target.write(writes)
    }
}

/// What is said of a store that is not whole.
pub(in crate::store) fn not_whole(what: &str) -> StoreError {
    StoreError::Closed(format!(
        "{what} is being filled, and not whole yet: run the same `pharos copy` again, which goes on where it was; after a `pharos \
         restore` that was cut short, remove it and begin anew"
    ))
}

/// Waits, on a thread of no runtime.
pub(in crate::store) fn wait<T>(future: impl Future<Output = StoreResult<T>>) -> StoreResult<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    runtime.map_err(|error| StoreError::Io(error.to_string()))?.block_on(future)
}

/// Replaces the keys in a table.
pub(in crate::store) fn put_keys(table: &dyn KeyTable, keys: &[OwnersKeys]) -> StoreResult<()> {
    let first = table.load()?.revision;
    for (revision, keys) in (first..).zip(keys) {
        if !table.replace(revision, keys)? {
            return Err(StoreError::Closed(
                "another process changes the keys of the store that is to be filled".into(),
            ));
        }
    }
    Ok(())
}

fn check_empty(target: &dyn Target) -> StoreResult<()> {
    if content::tenants(target.rows())?.is_empty() {
        Ok(())
    } else {
        Err(StoreError::Closed("the store to be filled is not empty".into()))
    }
}

/// A store that all is read from.
pub struct Origin {
    source: Box<dyn Source>,
    is_served: bool,
}

impl Origin {
    /// An embedded store. Where another process has it open, that one is asked.
    ///
    /// # Errors
    /// When there is none, or it can't be opened.
    pub fn embedded(options: embedded::Options) -> StoreResult<Self> {
        if !options.folder.join("format").exists() {
            return Err(StoreError::Closed(format!("there is no store in {}", options.folder.display())));
        }
        if let Some(remote) = socket::Remote::connect(&options.folder) {
            return Ok(Self { source: Box::new(remote), is_served: true });
        }
        let source = Box::new(Embedded::open(options, Arc::new(SystemClock))?);
        Ok(Self { source, is_served: false })
    }

    /// A store on MongoDB, which other processes may share.
    ///
    /// # Errors
    /// When there is none, or it can't be opened.
    pub fn mongo(options: mongo::Options) -> StoreResult<Self> {
        let source = Box::new(Mongo::open_existing(options, Arc::new(SystemClock))?);
        Ok(Self { source, is_served: true })
    }

    /// Whether other processes may have it open.
    #[must_use]
    pub const fn is_served(&self) -> bool {
        self.is_served
    }

    /// Records something in the ledger of a tenant.
    ///
    /// # Errors
    /// When the store does not take it.
    pub fn record(&self, tenant: TenantId, entry: Entry) -> StoreResult<()> {
        self.source.record(tenant, entry)
    }

    /// The keys that were unwrapped to read it, which belong into the ledger.
    #[must_use]
    pub fn unwrapped(&self) -> Vec<Unwrapped> {
        self.source.unwrapped()
    }

    /// Its data keys, wrapped.
    ///
    /// # Errors
    /// When the store can't be read.
    pub fn wrapped_keys(&self) -> StoreResult<Vec<OwnersKeys>> {
        self.source.wrapped_keys()
    }

    /// Writes a backup into a folder: what is new since the last one there, or all, if there is none or `is_full`. It is of the moment at which it
    /// begins, while the store goes on being written to.
    ///
    /// # Errors
    /// Where it can't be read or written; and which file of an earlier backup was altered.
    pub fn backup(&self, folder: &Path, is_full: bool) -> StoreResult<Written> {
        backup::backup(&*self.source, folder, is_full)
    }
}

/// A store that is filled.
pub struct Destination {
    target: Box<dyn Target>,
    form: Arc<dyn Form>,
}

impl Destination {
    /// A new embedded store that has these data keys, or one whose copy was cut short.
    ///
    /// # Errors
    /// When there is a whole store already, or the master key does not unwrap the keys.
    pub fn embedded(options: &embedded::Options, keys: &[OwnersKeys]) -> StoreResult<Self> {
        let target = Box::new(embedded::Filled::open(options, keys)?);
        Ok(Self { target, form: Arc::clone(&options.form) })
    }

    /// The same on MongoDB.
    ///
    /// # Errors
    /// See [`Destination::embedded`].
    pub fn mongo(options: &mongo::Options, keys: &[OwnersKeys]) -> StoreResult<Self> {
        let target = Box::new(mongo::Filled::open(options, keys)?);
        Ok(Self { target, form: Arc::clone(&options.form) })
    }

    /// Fills it from backups.
    ///
    /// # Errors
    /// What does not open, or can't be written. The store is not whole then.
    pub fn restore(self, from: &Folder) -> StoreResult<Restored> {
        let Self { target, form } = self;
        let restored = restore::restore(from, &*target, &*form)?;
        Filling::end(&*target, from.oldest_rows()?)?;
        target.finish()?;
        Ok(restored)
    }

    /// Makes it equal to another store, and compares the two. `told` hears how many rows were copied. With `is_following`, it never ends, and copies what
    /// is new again and again, until the process is ended; what is left another run without it does.
    ///
    /// # Errors
    /// What can't be read or written, and where the other one is written to so much that the two are never equal. The same call goes on
    /// where this one was.
    pub fn copy(self, from: &Origin, is_following: bool, told: &mut dyn FnMut(u64)) -> StoreResult<Tally> {
        let Self { target, form } = self;
        let copying = copy::Copying { source: &*from.source, target: &*target, form: &*form };
        let (tally, oldest) = copying.run(is_following, told)?;
        Filling::end(&*target, oldest)?;
        target.finish()?;
        Ok(tally)
    }
}

/// The wrapped keys in a folder, such as a copy of `keys/`.
///
/// # Errors
/// When it can't be read, or has none.
pub fn keys_in(folder: &Path) -> StoreResult<Vec<OwnersKeys>> {
    let found = keys::Folder::new(folder.to_path_buf()).load()?.owners;
    if found.iter().any(|keys| keys.owner == STORE.0) {
        Ok(found)
    } else {
        Err(StoreError::Closed(format!("{} does not hold the wrapped keys of a store", folder.display())))
    }
}

//! The embedded store as one that is moved from, and as one that is being filled.

use super::folder::{self, Mark};
use super::open::{self, Opened};
use super::tables::failed;
use super::{Embedded, Options, Shared, checkpoint, io_error};
use crate::store::keys::{Folder, KeyTable, Keyring, Masters, OwnersKeys, Unwrapped};
use crate::store::ledger::{Entry, Ledger};
use crate::store::rows::{Rows, Writes};
use crate::store::schema::Stand;
use crate::store::transfer::{Filling, Source, Target, not_whole, put_keys, wait};
use crate::store::{Backend, StoreError, StoreResult};
use crate::tenant::TenantId;
use fjall::PersistMode;
use std::sync::Arc;

impl Source for Shared {
    fn settle(&self) -> StoreResult<()> {
        wait(super::Staging::settled(Arc::clone(&self.staging)))
    }

    fn snapshot(&self) -> StoreResult<Box<dyn Rows + '_>> {
        Ok(Box::new(self.tables.snapshot()))
    }

    fn oldest_rows(&self) -> StoreResult<u32> {
        Ok(self.schema.stand().oldest())
    }

    fn wrapped_keys(&self) -> StoreResult<Vec<OwnersKeys>> {
        Ok(self.ring.wrapped())
    }

    fn seal(&self, tenant: TenantId, name: &str, plain: &[u8]) -> StoreResult<Vec<u8>> {
        self.ring.ensure(tenant)?;
        self.sealer.seal_file(tenant, name, self.clock.now(), plain)
    }

    fn unseal(&self, tenant: TenantId, name: &str, sealed: &[u8]) -> StoreResult<Vec<u8>> {
        self.sealer.open_file(tenant, name, sealed)
    }

    fn record(&self, tenant: TenantId, entry: Entry) -> StoreResult<()> {
        wait(super::Staging::add(Arc::clone(&self.staging), tenant, entry)).map(drop)
    }
}

impl Source for Embedded {
    fn settle(&self) -> StoreResult<()> {
        self.shared.settle()
    }

    fn snapshot(&self) -> StoreResult<Box<dyn Rows + '_>> {
        self.shared.snapshot()
    }

    fn oldest_rows(&self) -> StoreResult<u32> {
        self.shared.oldest_rows()
    }

    fn wrapped_keys(&self) -> StoreResult<Vec<OwnersKeys>> {
        self.shared.wrapped_keys()
    }

    fn seal(&self, tenant: TenantId, name: &str, plain: &[u8]) -> StoreResult<Vec<u8>> {
        self.shared.seal(tenant, name, plain)
    }

    fn unseal(&self, tenant: TenantId, name: &str, sealed: &[u8]) -> StoreResult<Vec<u8>> {
        self.shared.unseal(tenant, name, sealed)
    }

    fn record(&self, tenant: TenantId, entry: Entry) -> StoreResult<()> {
        wait(Ledger::record(self, tenant, entry)).map(drop)
    }

    fn unwrapped(&self) -> Vec<Unwrapped> {
        self.keyring().map(Keyring::take_unwrapped).unwrap_or_default()
    }
}

/// A store that is being filled.
pub(in crate::store) struct Filled {
    opened: Opened,
    options: Options,
}

impl Filled {
    /// Makes a store with these data keys; or opens one that is not whole yet, whose keys they become too. Without any, it has to have its own.
    pub(in crate::store) fn open(options: &Options, keys: &[OwnersKeys]) -> StoreResult<Self> {
        let folder = &options.folder;
        std::fs::create_dir_all(folder).map_err(|error| io_error(folder, &error))?;
        let is_there = folder::exists(folder)?;
        let table = Folder::new(folder::keys(folder));
        if is_there {
            let opened = open::open_any(options)?;
            if Filling::read(&opened.tables)?.is_none() {
                return Err(StoreError::Closed(format!("there is a store in {} already", folder.display())));
            }
        } else if keys.is_empty() && table.load()?.owners.is_empty() {
            return Err(StoreError::Closed(format!(
                "the data keys are missing: name a copy of the folder with the wrapped keys, or put it into {}",
                folder::keys(folder).display()
            )));
        }
        // Another master key wraps them from now on only where the one before is known, too.
        Masters::of(&options.keys, &options.key_file, options.keys.previous.is_some())?;
        put_keys(&table, keys)?;
        let this = Self { opened: open::open_any(options)?, options: options.clone() };
        if !is_there {
            Filling::Begun.write(&this)?;
        }
        Ok(this)
    }
}

impl Target for Filled {
    fn rows(&self) -> &dyn Rows {
        &self.opened.tables
    }

    fn write(&self, writes: Writes) -> StoreResult<()> {
        let tables = &self.opened.tables;
        let mut batch = tables.db.batch().durability(Some(PersistMode::SyncData));
        for (table, key, value) in writes.all {
            match value {
                Some(value) => batch.insert(tables.of(table), key, value),
                None => batch.remove(tables.of(table), key),
            }
        }
        batch.commit().map_err(|error| failed(&error))
    }

    fn ring(&self) -> &Keyring {
        &self.opened.ring
    }

    fn expect_rows_of(&self, oldest: u32) -> StoreResult<()> {
        let stand = Stand::filled(self.options.program, oldest)?;
        folder::write_format(&self.options.folder, &self.opened.ring.sealer(), &stand)
    }

    fn finish(self: Box<Self>) -> StoreResult<()> {
        let Self { mut opened, options } = *self;
        checkpoint::flush(&opened.tables, || None)?;
        let last = opened.mark.get().synced;
        opened.mark.set(Mark { is_clean: true, synced: last, checkpoint: last })?;
        let synced = opened.mark.handle()?.sync_all();
        synced.map_err(|error| io_error(&options.folder, &error))
    }
}

/// Refuses a store that is not whole.
pub(super) fn check_whole(options: &Options, opened: &Opened) -> StoreResult<()> {
    match Filling::read(&opened.tables)? {
        Some(_) => Err(not_whole(&options.folder.display().to_string())),
        None => Ok(()),
    }
}

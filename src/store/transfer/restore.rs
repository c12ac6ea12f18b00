//! Making a store of a backup, as of the backup's moment or of one before it.

use super::changes::Sink;
use super::content::{Walk, tenants};
use super::files;
use super::manifest::{self, Manifest};
use super::settle::settle;
use super::{Filling, Target, index};
use crate::clock::Micros;
use crate::store::ledger::Form;
use crate::store::rows::{Table, Writes};
use crate::store::schema::BESIDE;
use crate::store::seal::STORE;
use crate::store::{Rid, StoreError, StoreResult};
use crate::tenant::TenantId;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Bytes that are written together.
const TOGETHER: usize = 4 << 20;

/// Rows that are removed together.
const REMOVED_TOGETHER: usize = 5000;

/// What was restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// The backup that it is of.
    pub number: u32,
    /// The moment that it is of.
    pub moment: Micros,
    /// Rows that were read.
    pub rows: u64,
    /// The tenants that were not restored, but for their ledgers, because their keys were destroyed.
    pub destroyed: Vec<u32>,
}

/// A folder of backups that can be restored from, all files of which are whole.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    manifests: Vec<Manifest>,
    /// The moment that is asked for.
    until: Option<Micros>,
}

impl Folder {
    /// Reads the manifests, and makes sure of all files that are needed for a moment; the last one where none is asked for.
    ///
    /// # Errors
    /// Which file is missing, cut off or altered; and where the folder has no backup of that moment.
    pub fn open(folder: &Path, until: Option<Micros>) -> StoreResult<Self> {
        let mut manifests = manifest::load(folder)?;
        let Some(last) = manifests.last() else {
            return Err(StoreError::Closed(format!("there is no backup in {}", folder.display())));
        };
        if until.is_some_and(|until| until.0 > last.moment) {
            return Err(StoreError::Closed(format!("the last backup in {} is of {}", folder.display(), last.instant)));
        }
        // The last one is the first behind the moment. What was erased after that one is there; what was erased between the two is not.
        if let Some(until) = until {
            let behind = manifests.iter().filter(|manifest| manifest.moment >= until.0).count();
            manifests.truncate(manifests.len() + 1 - behind);
        }
        let this = Self { path: folder.to_path_buf(), manifests, until };
        this.last()?;
        this.used(&this.starts()?).try_for_each(|one| one.check_files(folder))?;
        Ok(this)
    }

    /// The backups that are needed where the tenants begin with these.
    fn used(&self, starts: &BTreeMap<u32, u32>) -> impl Iterator<Item = &Manifest> {
        let first = starts.values().min().copied().unwrap_or_default();
        self.manifests.iter().filter(move |one| one.number >= first)
    }

    /// The oldest schema of which there may be rows.
    pub(super) fn oldest_rows(&self) -> StoreResult<u32> {
        let oldest = self.used(&self.starts()?).map(Manifest::oldest_rows).min();
        Ok(oldest.unwrap_or(BESIDE))
    }

    fn last(&self) -> StoreResult<&Manifest> {
        self.manifests.last().ok_or_else(|| StoreError::Closed("there is no backup".into()))
    }

    /// With which backup each tenant begins.
    fn starts(&self) -> StoreResult<BTreeMap<u32, u32>> {
        let first = self.manifests.first().map_or(1, |first| first.number);
        let start = |tenant| {
            manifest::start_of(&self.manifests, tenant).ok_or_else(|| {
                StoreError::Damaged(format!(
                    "{}: there is no backup in {} that has all of tenant {tenant}: one before number {first} is missing",
                    manifest::path(&self.path, first.saturating_sub(1)).display(),
                    self.path.display()
                ))
            })
        };
        self.last()?.tenants.iter().map(|of| Ok((of.tenant, start(of.tenant)?))).collect()
    }
}

/// Fills an empty store from a folder of backups.
pub(super) fn restore(from: &Folder, target: &dyn Target, form: &dyn Form) -> StoreResult<Restored> {
    super::check_empty(target)?;
    let ring = target.ring();
    let sealer = ring.sealer();
    let open = |tenant: TenantId, name: &str, sealed: &[u8]| sealer.open_file(tenant, name, sealed);
    let (last, starts) = (from.last()?, from.starts()?);
    let used = || from.used(&starts);
    used().try_for_each(|one| one.check_seal(&from.path, &open))?;
    let moment = from.until.unwrap_or(Micros(last.moment));
    let mut restored = Restored { number: last.number, moment, rows: 0, destroyed: Vec::new() };
    Filling::Restore.write(target)?;
    let mut rows = RowsTo::new(target);
    for one in used() {
        for facts in &one.files {
            let owner = TenantId(facts.owner);
            let is_needed = owner == STORE || starts.get(&facts.owner).is_some_and(|start| one.number >= *start);
            if owner != STORE && ring.is_destroyed(owner) {
                restored.destroyed.push(facts.owner);
            } else if is_needed {
                files::read(&from.path, &one.id, facts, &open, &mut rows)?;
                restored.rows += facts.rows;
            }
        }
    }
    restored.destroyed.sort_unstable();
    restored.destroyed.dedup();
    let (living, oldest) = (rows.finish()?, from.oldest_rows()?);
    for tenant in tenants(target.rows())? {
        let in_parts = |one: &Manifest| one.of(tenant.0).is_some_and(|of| of.is_in_parts);
        if let Some(living) = living.get(&tenant).filter(|_| from.until.is_some() || used().any(in_parts)) {
            settle(target, tenant, (living, oldest), from.until)?;
        }
    }
    index::make(target, form, oldest)?;
    Ok(restored)
}

/// Takes rows into a store.
pub(super) struct RowsTo<'t> {
    target: &'t dyn Target,
    writes: Writes,
    bytes: usize,
    living: BTreeMap<TenantId, Vec<Rid>>,
}

impl<'t> RowsTo<'t> {
    pub(super) const fn new(target: &'t dyn Target) -> Self {
        Self { target, writes: Writes { all: Vec::new() }, bytes: 0, living: BTreeMap::new() }
    }

    fn flush(&mut self) -> StoreResult<()> {
        self.bytes = 0;
        if self.writes.all.is_empty() { Ok(()) } else { self.target.write(std::mem::take(&mut self.writes)) }
    }

    /// Writes what is left, and answers which resources there are of which tenant.
    pub(super) fn finish(mut self) -> StoreResult<BTreeMap<TenantId, Vec<Rid>>> {
        self.flush()?;
        Ok(self.living)
    }
}

impl Sink for RowsTo<'_> {
    fn row(&mut self, table: Table, key: Vec<u8>, value: Vec<u8>) -> StoreResult<()> {
        self.bytes += key.len() + value.len();
        self.writes.put(table, key, value);
        if self.bytes >= TOGETHER { self.flush() } else { Ok(()) }
    }

    fn all_of(&mut self, table: Table, prefix: &[u8]) -> StoreResult<()> {
        self.flush()?;
        for row in Walk::over(self.target.rows(), table, prefix) {
            self.writes.remove(table, row?.0);
            if self.writes.all.len() >= REMOVED_TOGETHER {
                self.flush()?;
            }
        }
        self.flush()
    }

    fn living(&mut self, tenant: TenantId, rids: Vec<Rid>) -> StoreResult<()> {
        self.living.insert(tenant, rids);
        Ok(())
    }
}

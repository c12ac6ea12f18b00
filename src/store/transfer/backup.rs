//! Writing a backup: all that a store has, or what is new since the last one in the same folder.

use super::Source;
use super::changes::{self, Sink};
use super::content::{self, Mark, Marks};
use super::files::{Files, io};
use super::manifest::{self, Manifest, OfTenant};
use crate::clock::{Clock, Micros, SystemClock};
use crate::store::keys::OwnersKeys;
use crate::store::seal::STORE;
use crate::store::{StoreError, StoreResult};
use crate::tenant::TenantId;
use std::collections::BTreeSet;
use std::collections::btree_map::Entry;
use std::fs::{File, TryLockError};
use std::path::Path;

/// What a backup wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Its number in the folder.
    pub number: u32,
    /// The moment that can be restored with it.
    pub moment: Micros,
    /// The tenants of which it has all, and those of which it has what is new.
    pub complete: Vec<u32>,
    /// See [`Written::complete`].
    pub added_to: Vec<u32>,
    /// Rows and bytes of all files.
    pub rows: u64,
    /// See [`Written::rows`].
    pub bytes: u64,
}

/// Writes a backup into a folder. `is_full` asks for one that stands on no other.
pub(super) fn backup(source: &dyn Source, folder: &Path, is_full: bool) -> StoreResult<Written> {
    std::fs::create_dir_all(folder).map_err(|error| io(folder, &error))?;
    let _lock = lock(folder)?;
    let earlier = manifest::load(folder)?;
    let last = earlier.last();
    if let Some(last) = last {
        last.check_seal(folder, &|tenant, name, sealed| source.unseal(tenant, name, sealed))?;
    }
    let number = last.map_or(1, |last| last.number + 1);
    remove_unfinished(folder, number)?;
    let ring = source.wrapped_keys()?;
    let known = last.filter(|_| !is_full).map(|last| still_good(&earlier, last, &ring)).unwrap_or_default();
    let mut manifest = Manifest::new(number, SystemClock.new_id(), last, SystemClock.now())?;
    let id = manifest.id.clone();
    let destroyed = ring.iter().filter(|keys| keys.destroyed.is_some()).map(|keys| keys.owner).collect();
    let mut files = Files::new(folder, source, (number, &id), destroyed);
    source.settle()?;
    manifest.tenants = give(source, known, &mut files)?;
    // Asked for again: a tenant may have got its first key meanwhile.
    let ring = source.wrapped_keys()?;
    for of in &mut manifest.tenants {
        let before = last.filter(|_| !of.is_complete).and_then(|last| last.of(of.tenant));
        let keys: BTreeSet<String> = ids_of(&ring, of.tenant)
            .chain(ids_of(&ring, STORE.0))
            .chain(before.into_iter().flat_map(|before| before.keys.iter().cloned()))
            .collect();
        of.keys = keys.into_iter().collect();
    }
    manifest.files = files.finish()?;
    let numbers =
        |is_complete| manifest.tenants.iter().filter(|of| of.is_complete == is_complete).map(|of| of.tenant).collect();
    let written = Written {
        number,
        moment: Micros(manifest.moment),
        complete: numbers(true),
        added_to: numbers(false),
        rows: manifest.files.iter().map(|facts| facts.rows).sum(),
        bytes: manifest.files.iter().map(|facts| facts.bytes).sum(),
    };
    manifest.write(folder, |tenant, name, plain| source.seal(tenant, name, plain))?;
    Ok(written)
}

/// One at a time writes into a folder.
fn lock(folder: &Path) -> StoreResult<File> {
    let path = folder.join("lock");
    let file = File::options().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(|error| io(&path, &error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(StoreError::Closed(format!("another process writes a backup into {}", folder.display())))
        }
        Err(TryLockError::Error(error)) => Err(io(&path, &error)),
    }
}

/// Removes the files of a backup that has no manifest, since it was not finished.
fn remove_unfinished(folder: &Path, number: u32) -> StoreResult<()> {
    let begins = format!("{number:06}-");
    for entry in std::fs::read_dir(folder).map_err(|error| io(folder, &error))? {
        let path = entry.map_err(|error| io(folder, &error))?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&begins)) {
            std::fs::remove_file(&path).map_err(|error| io(&path, &error))?;
        }
    }
    Ok(())
}

fn ids_of(ring: &[OwnersKeys], owner: u32) -> impl Iterator<Item = String> {
    ring.iter().filter(move |keys| keys.owner == owner).flat_map(|keys| &keys.keys).map(|key| key.id.clone())
}

/// The marks of the tenants whose earlier backups are all there, and can still be opened with the keys that there are.
fn still_good(earlier: &[Manifest], last: &Manifest, ring: &[OwnersKeys]) -> Marks {
    let all: BTreeSet<String> = ring.iter().flat_map(|keys| &keys.keys).map(|key| key.id.clone()).collect();
    let mut marks = last.marks();
    marks.retain(|tenant, _| manifest::start_of(earlier, *tenant).is_some());
    marks.retain(|tenant, _| last.of(*tenant).is_some_and(|of| of.keys.iter().all(|id| all.contains(id))));
    marks
}

/// Gives what is to be in the backup, and answers what it is of each tenant.
fn give(source: &dyn Source, mut known: Marks, sink: &mut dyn Sink) -> StoreResult<Vec<OfTenant>> {
    let mut walked = BTreeSet::new();
    // Where a snapshot does not live for long, all is read as it is first, and then what became new meanwhile.
    if let Some(rows) = source.walk()? {
        let marks = content::marks(&*source.snapshot()?)?;
        for tenant in content::tenants(&*rows)? {
            if let Entry::Vacant(unknown) = known.entry(tenant.0) {
                changes::all(&*rows, tenant, sink)?;
                unknown.insert(marks.get(&tenant.0).copied().unwrap_or(Mark::FIRST));
                walked.insert(tenant.0);
            }
        }
    }
    let rows = source.snapshot()?;
    let mut found = Vec::new();
    for (tenant, mark) in content::marks(&*rows)? {
        let is_all = changes::since(&*rows, TenantId(tenant), known.get(&tenant).copied(), sink)?;
        let (is_complete, is_in_parts) = (is_all || walked.contains(&tenant), !is_all);
        found.push(OfTenant { tenant, is_complete, is_in_parts, mark, keys: Vec::new() });
    }
    changes::staged(&*rows, sink)?;
    Ok(found)
}

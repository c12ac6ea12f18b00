//! Writing a backup: all that a store has, or what is new since the last one in the same folder.

use super::Source;
use super::changes::{self, Sink};
use super::content::{self, Marks};
use super::files::{Files, io};
use super::manifest::{self, Manifest, OfTenant};
use super::turns;
use crate::clock::Micros;
use crate::store::keys::OwnersKeys;
use crate::store::schema::Stand;
use crate::store::seal::STORE;
use crate::store::{StoreError, StoreResult};
use crate::tenant::TenantId;
use std::collections::BTreeSet;
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
    let oldest = source.oldest_rows()?;
    // What a store on another line has at a time is not what this one has.
    let line = content::line(&*source.snapshot()?)?;
    let known = last
        .filter(|last| !is_full && last.line == line)
        .map(|last| still_good(&earlier, last, &ring))
        .unwrap_or_default();
    let mut manifest = Manifest::new(number, last, line, oldest)?;
    let id = manifest.id.clone();
    let destroyed = ring.iter().filter(|keys| keys.destroyed.is_some()).map(|keys| keys.owner).collect();
    let mut files = Files::new(folder, source, (number, &id), (destroyed, Stand::of(oldest)));
    source.settle()?;
    manifest.tenants = give(source, &known, &mut files)?;
    // Asked for again: keys may have been made meanwhile. What was sealed under one that was destroyed can't be opened.
    let before = ring;
    let ring = source.wrapped_keys()?;
    if !all_ids(&before).is_subset(&all_ids(&ring)) {
        return Err(StoreError::Closed("a data key was destroyed while the backup was written: run it again".into()));
    }
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

fn all_ids(ring: &[OwnersKeys]) -> BTreeSet<&str> {
    ring.iter().flat_map(|keys| &keys.keys).map(|key| key.id.as_str()).collect()
}

/// The marks of the tenants whose earlier backups are all there, and can still be opened with the keys that there are.
fn still_good(earlier: &[Manifest], last: &Manifest, ring: &[OwnersKeys]) -> Marks {
    let all = all_ids(ring);
    let mut marks = last.marks();
    marks.retain(|tenant, _| manifest::start_of(earlier, *tenant).is_some());
    marks.retain(|tenant, _| last.of(*tenant).is_some_and(|of| of.keys.iter().all(|id| all.contains(id.as_str()))));
    marks
}

/// Gives what is to be in the backup, and answers what it is of each tenant.
fn give(source: &dyn Source, known: &Marks, sink: &mut dyn Sink) -> StoreResult<Vec<OfTenant>> {
    let of =
        |tenant, mark, (is_complete, is_in_parts)| OfTenant { tenant, is_complete, is_in_parts, mark, keys: vec![] };
    if let Some(rows) = source.walk()? {
        let given = turns::give(source, &*rows, known, sink)?;
        return Ok(given.into_iter().map(|(tenant, given)| of(tenant, given.mark, (given.is_all, true))).collect());
    }
    let rows = source.snapshot()?;
    let mut found = Vec::new();
    for (tenant, mark) in content::marks(&*rows)? {
        let is_all = changes::since(&*rows, TenantId(tenant), known.get(&tenant).copied(), sink)?;
        found.push(of(tenant, mark, (is_all, !is_all)));
    }
    changes::staged(&*rows, sink)?;
    Ok(found)
}

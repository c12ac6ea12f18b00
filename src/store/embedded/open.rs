//! Opening and stopping: what must hold before anything is served.

use super::folder::{self, Format, Mark, MarkFile};
use super::tables::Tables;
use super::{Options, Shared, check, checkpoint, io_error, marks, transfer};
use crate::store::keys::{Folder, Keyring, Masters, Secret};
use crate::store::schema::{OWN_KEYS, Schema, Stand};
use crate::store::seal::{STORE, Sealer};
use crate::store::{StoreError, StoreResult};
use std::path::{Path, PathBuf};

/// A store whose files are open and in order.
pub(super) struct Opened {
    pub tables: Tables,
    pub ring: Keyring,
    pub schema: Schema,
    pub mark: MarkFile,
    pub lock: folder::Lock,
}

/// A store whose files are open, in order or not.
pub(super) struct Unverified {
    pub opened: Opened,
    pub found: marks::Found,
}

/// Opens or makes a store; refuses one with holes, and one that is not whole.
pub(super) fn open(options: &Options) -> StoreResult<Opened> {
    let opened = open_any(options)?;
    transfer::check_whole(options, &opened)?;
    Ok(opened)
}

/// Opens or makes a store, be it one that is being filled; refuses one with holes.
pub(super) fn open_any(options: &Options) -> StoreResult<Opened> {
    let folder = &options.folder;
    std::fs::create_dir_all(folder).map_err(|error| io_error(folder, &error))?;
    let lock = folder::lock(folder)?;
    if !folder::exists(folder)? {
        make(options)?;
    }
    let Unverified { mut opened, found } = open_unverified(options, lock)?;
    if !found.holes.is_empty() {
        return Err(StoreError::Closed(format!(
            "after an unclean stop {} lacks commits that were answered: {}. Copies of the journals as they were are in {}. \
             Restore the store from a backup; or look at what is left with `pharos check`, and go on with it by \
             `pharos check --rebuild`",
            folder.display(),
            found.holes.join("; "),
            copies(options).display()
        )));
    }
    opened.mark.set(Mark { is_clean: false, synced: found.last, ..opened.mark.get() })?;
    let synced = opened.mark.handle()?.sync_all();
    synced.map_err(|error| io_error(folder, &error))?;
    forget_copies(options)?;
    Ok(opened)
}

/// Opens what is there: copies the journals first if the last stop was unclean, and tells what the markers show.
pub(super) fn open_unverified(options: &Options, lock: folder::Lock) -> StoreResult<Unverified> {
    let folder = &options.folder;
    let format = Format::read(folder, options.program)?;
    let masters = Masters::of(&options.keys, &options.key_file, false)?;
    let common = if format.stand.schema < OWN_KEYS { Some(common_key(folder, &format, &masters)?) } else { None };
    let ring = keyring(folder, masters)?;
    if common.is_none() {
        if !ring.knows(STORE) {
            return Err(missing_keys(folder, "the store"));
        }
        if !format.opens_with(&ring.sealer()) {
            return Err(folder::other_key(folder));
        }
    }
    let mark = MarkFile::open(folder)?;
    let database = folder::database(folder);
    if mark.get().is_clean {
        marks::empty_journals(&database).map_err(|error| io_error(&database, &error))?;
    } else {
        let copied = marks::copy_journals(&database, &copies(options));
        copied.map_err(|error| io_error(&copies(options), &error))?;
    }
    let tables = open_tables(options)?;
    let found = marks::verify(&tables, mark.get())?;
    let tenants = check::tenants_with_sealed(&tables)?;
    let mut stand = format.stand;
    if let Some(common) = common {
        ring.adopt(&common, &tenants)?;
        stand = Stand::of(OWN_KEYS);
        folder::write_format(folder, &ring.sealer(), &stand)?;
    }
    if let Some(tenant) = tenants.iter().find(|tenant| !ring.knows(**tenant)) {
        return Err(missing_keys(folder, &format!("tenant {}", tenant.0)));
    }
    let schema = Schema::new(options.program, stand);
    Ok(Unverified { opened: Opened { tables, ring, schema, mark, lock }, found })
}

fn missing_keys(folder: &Path, whose: &str) -> StoreError {
    let keys = folder::keys(folder);
    StoreError::Closed(format!(
        "the wrapped keys of {whose} are missing in {}: restore them from a copy",
        keys.display()
    ))
}

fn keyring(folder: &Path, masters: Masters) -> StoreResult<Keyring> {
    Keyring::open(masters, Box::new(Folder::new(folder::keys(folder))))
}

/// The key that was that of all tenants in a store of schema 3: its master key.
fn common_key(folder: &Path, format: &Format, masters: &Masters) -> StoreResult<Secret> {
    let mut keys = masters.of_old_store();
    let opens = |key: &&Secret| Sealer::new(key).is_ok_and(|sealer| format.opens_with(&sealer));
    keys.find(opens).cloned().ok_or_else(|| folder::other_key(folder))
}

/// fjall answers some kinds of damage with a panic.
fn open_tables(options: &Options) -> StoreResult<Tables> {
    let path = folder::database(&options.folder);
    let cache_mib = options.cache_mib;
    let opened = std::panic::catch_unwind(|| Tables::open(&path, cache_mib));
    let refusal = |why: String| {
        StoreError::Closed(format!(
            "the database in {} can't be opened ({why}): restore it from a backup; if the last stop was unclean, copies of \
             the journals as they were are in {}",
            path.display(),
            copies(options).display()
        ))
    };
    match opened {
        Ok(Err(StoreError::Damaged(why))) => Err(refusal(why)),
        Ok(opened) => opened,
        Err(_) => Err(refusal("fjall gave up on what it found".into())),
    }
}

/// Makes a store: the format file last, so that a half-made one is never taken for a whole one.
fn make(options: &Options) -> StoreResult<()> {
    let folder = &options.folder;
    let ring = keyring(folder, Masters::of(&options.keys, &options.key_file, true)?)?;
    ring.ensure(STORE)?;
    MarkFile::create(folder)?;
    drop(Tables::open(&folder::database(folder), options.cache_mib)?);
    super::sync_folder(folder).map_err(|error| io_error(folder, &error))?;
    folder::write_format(folder, &ring.sealer(), &Stand::of(options.program.writes))
}

/// Where the copies of the journals are kept while it is not known that all is well.
pub(super) fn copies(options: &Options) -> PathBuf {
    options.folder.join("journals-before-recovery")
}

fn forget_copies(options: &Options) -> StoreResult<()> {
    let copies = copies(options);
    if copies.exists() {
        std::fs::remove_dir_all(&copies).map_err(|error| io_error(&copies, &error))?;
    }
    Ok(())
}

/// Keeps the copies where opening does not remove them, in place of those of an earlier rebuild.
pub(super) fn set_copies_aside(options: &Options) -> StoreResult<()> {
    let (copies, aside) = (copies(options), options.folder.join("journals-before-rebuild"));
    if !copies.exists() {
        return Ok(());
    }
    if aside.exists() {
        std::fs::remove_dir_all(&aside).map_err(|error| io_error(&aside, &error))?;
    }
    std::fs::rename(&copies, &aside).map_err(|error| io_error(&aside, &error))
}

/// The last steps of an orderly stop: nothing is left that only the journals hold, and the mark says so.
pub(super) fn stop(shared: &Shared) -> StoreResult<()> {
    checkpoint::make(shared)?;
    let mut mark = shared.mark();
    let clean = Mark { is_clean: true, ..mark.get() };
    mark.set(clean)?;
    let folder = &shared.options.folder;
    mark.handle()?.sync_all().map_err(|error| io_error(folder, &error))?;
    let database = folder::database(folder);
    marks::empty_journals(&database).map_err(|error| io_error(&database, &error))
}

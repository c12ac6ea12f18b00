//! Somebody without a key takes an old version away, and writes a mark that says that it was erased.

use super::schema_tests::{LATER, OLDER, TENANT, close, fill, opened, options, rewrite};
use super::{Options, check, folder, layout};
use crate::store::contract::erase::{before, erase, whole};
use crate::store::contract::{commit, put};
use crate::store::rows::{Rows, Table};
use crate::store::schema::{Advance, BESIDE, PHAROS, Program, Stand, WRITES};
use crate::store::transfer::{Destination, Folder, Origin};
use crate::store::{Backend, CommitError, Rid, StoreError, StoreResult};
use std::path::PathBuf;

const A: Rid = Rid(1);
const B: Rid = Rid(2);

/// A store with the resource `a` of three versions, and `b0` of two, the first of which was erased.
fn store(place: &tempfile::TempDir, program: &'static Program) -> Options {
    let options = options(place, program);
    let store = opened(&options).unwrap();
    for text in ["first", "second", "third"] {
        commit(&store, TENANT, vec![put("Basic", "a", text, &["k\0v"])]).unwrap();
    }
    fill(&store, "b", 1);
    close(store);
    options
}

/// Takes the first version of `a` away; with the mark of `b0` where it is to have a seal.
fn forge(options: &Options, is_plain: bool) {
    let tables = super::Tables::open(&folder::database(&options.folder), 8).unwrap();
    let sealed = tables.get(Table::Records, &layout::erased(TENANT, B)).unwrap().unwrap();
    let mark = if is_plain { &[2][..] } else { &sealed };
    tables.history.remove(layout::history(TENANT, A, 1)).unwrap();
    tables.records.insert(layout::erased(TENANT, A), mark).unwrap();
    // After an orderly stop the journals are taken as empty.
    for keyspace in [&tables.history, &tables.records] {
        keyspace.rotate_memtable_and_wait().unwrap();
    }
}

fn copied(options: &Options, name: &str) -> StoreResult<Options> {
    let origin = Origin::embedded(options.clone())?;
    let copy = Options { folder: options.folder.with_file_name(name), ..options.clone() };
    Destination::embedded(&copy, &origin.wrapped_keys()?)?.copy(&origin, false, &mut |_| ())?;
    Ok(copy)
}

fn backups(options: &Options) -> PathBuf {
    options.folder.with_file_name("backups")
}

fn backed_up(options: &Options) -> StoreResult<u32> {
    Ok(Origin::embedded(options.clone())?.backup(&backups(options), false)?.number)
}

fn restored(options: &Options, name: &str) -> StoreResult<Options> {
    let keys = Origin::embedded(options.clone())?.wrapped_keys()?;
    let new = Options { folder: options.folder.with_file_name(name), ..options.clone() };
    Destination::embedded(&new, &keys)?.restore(&Folder::open(&backups(options), None)?)?;
    Ok(new)
}

/// Whether an error names the mark of `a`.
fn names_it(error: &StoreError) -> bool {
    matches!(error, StoreError::Damaged(text) if text.contains("of tenant 7") && text.contains("resource 1 "))
}

#[test]
fn the_check_finds_a_forged_mark() {
    for is_plain in [true, false] {
        let place = tempfile::tempdir().unwrap();
        let options = store(&place, &PHAROS);
        forge(&options, is_plain);
        let problems = check(&options).unwrap().problems;
        let is_told = |of: &str| problems.iter().any(|problem| problem.contains(of));
        assert!(is_told("the mark of erased versions of resource 1:") && !is_told("resource 2"), "{problems:?}");
    }
}

#[test]
fn a_forged_mark_is_neither_read_nor_written_over_but_does_not_keep_a_resource_from_being_erased() {
    for is_plain in [true, false] {
        let place = tempfile::tempdir().unwrap();
        let options = store(&place, &PHAROS);
        forge(&options, is_plain);
        let store = opened(&options).unwrap();
        let view = store.view(TENANT).unwrap();
        assert!(view.oldest(A).is_err_and(|error| names_it(&error)));
        assert_eq!(view.oldest(B).unwrap(), 2);
        assert!(view.resources(Rid(0)).any(|outline| outline.is_err_and(|error| names_it(&error))));
        drop(view);
        let refused = erase(&store, TENANT, vec![before("Basic", "a", 3)]).err();
        assert!(matches!(&refused, Some(CommitError::Store(error)) if names_it(error)), "{refused:?}");
        erase(&store, TENANT, vec![whole("Basic", "a", 3)]).unwrap();
        close(store);
        let problems = check(&options).unwrap().problems;
        assert!(
            problems.len() == 1 && problems[0].contains("the change log"),
            "it tells of what was taken: {problems:?}"
        );
    }
}

#[test]
fn a_forged_mark_is_neither_copied_nor_backed_up_nor_restored() {
    for is_plain in [true, false] {
        let place = tempfile::tempdir().unwrap();
        let options = store(&place, &PHAROS);
        forge(&options, is_plain);
        assert!(copied(&options, "copy").is_err_and(|error| names_it(&error)));
        let copy = Options { folder: options.folder.with_file_name("copy"), ..options.clone() };
        assert!(opened(&copy).err().unwrap().to_string().contains("not whole"));
        // Who asks for a backup may have no key: one that is sealed, for another resource, is found by who restores it.
        assert_eq!(backed_up(&options).is_err_and(|error| names_it(&error)), is_plain);
        if !is_plain {
            assert!(restored(&options, "restored").is_err_and(|error| names_it(&error)));
        }
    }
}

#[test]
fn a_later_migration_does_not_seal_a_forged_mark() {
    let place = tempfile::tempdir().unwrap();
    let options = Options { program: &LATER, ..store(&place, &PHAROS) };
    forge(&options, true);
    let store = opened(&options).unwrap();
    assert_eq!(store.schemas().unwrap().advance().unwrap(), Advance::Moved);
    assert_eq!(rewrite(&store, Some(Box::default())), 0);
    assert!(store.view(TENANT).unwrap().oldest(A).is_err_and(|error| names_it(&error)));
}

#[test]
fn what_is_made_of_a_store_may_have_the_forms_that_it_had() {
    let place = tempfile::tempdir().unwrap();
    let older = store(&place, &OLDER);
    // As a program makes it that has not yet brought its schema into force.
    let options = Options { program: &PHAROS, ..older };
    let oldest = |options: &Options| check(options).unwrap().stand;
    for made in [copied(&options, "old-copy").unwrap(), {
        backed_up(&options).unwrap();
        restored(&options, "old-restored").unwrap()
    }] {
        assert_eq!((oldest(&made).schema, oldest(&made).oldest()), (WRITES, BESIDE), "its marks are plain");
        assert_eq!(check(&made).unwrap().problems, Vec::<String>::new());
    }
    let place = tempfile::tempdir().unwrap();
    let options = store(&place, &PHAROS);
    backed_up(&options).unwrap();
    for made in [copied(&options, "copy").unwrap(), restored(&options, "restored").unwrap()] {
        assert_eq!(oldest(&made), Stand::of(WRITES), "nothing in it is older");
        assert_eq!(check(&made).unwrap().problems, Vec::<String>::new());
    }
}

//! Stores that must not be served: holes that fjall's recovery leaves without a word, wrong keys, newer schemas, moved bytes.

use crate::crash::{TENANT, verify_answered, write_until_killed};
use crate::workload::first_seed;
use pharos::auth::keeper::{Keep, Keeper, KeeperError};
use pharos::clock::{Micros, SystemClock};
use pharos::store::contract::{commit, keeper, put};
use pharos::store::embedded::{Embedded, Options, check, rebuild};
use pharos::store::{Backend, StoreError};
use pharos::tenant::TenantId;
use std::path::Path;
use std::sync::Arc;

fn open(options: &Options) -> Result<Embedded, StoreError> {
    Embedded::open(options.clone(), Arc::new(SystemClock))
}

fn refusal(options: &Options) -> String {
    match open(options) {
        Err(StoreError::Closed(why)) => why,
        Err(other) => panic!("refused for another reason: {other}"),
        Ok(_) => panic!("the store was opened"),
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else if path.is_file() {
            std::fs::copy(&path, &target).unwrap();
        }
    }
}

/// Brings the keyspace `records` into its own files, so that only it no longer needs the journal.
fn flush_records(database: &Path) {
    let db = fjall::Database::builder(database).open().unwrap();
    let records = db.keyspace("records", fjall::KeyspaceCreateOptions::default).unwrap();
    records.rotate_memtable_and_wait().unwrap();
}

/// What ends each batch in fjall's journals.
const END_OF_BATCH: &[u8] = b"FJL\x03";

/// Where the first batch ends behind a place. (Damage from the middle of an entry on may hit an assertion of fjall, in a build that has
/// them.)
fn end_of_batch(journal: &[u8], from: usize) -> usize {
    let found = journal[from..].windows(END_OF_BATCH.len()).position(|part| part == END_OF_BATCH);
    from + found.unwrap() + END_OF_BATCH.len()
}

/// Zeroes a stretch in the middle of the journal's used part, and seals it by beginning the next one.
fn damage_and_seal_journal(database: &Path) {
    let journal = database.join("0.jnl");
    let mut bytes = std::fs::read(&journal).unwrap();
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    let start = end_of_batch(&bytes, used / 2);
    bytes[start..start + 200].fill(0);
    std::fs::write(&journal, bytes).unwrap();
    std::fs::write(database.join("1.jnl"), vec![0; 1024 * 1024]).unwrap();
}

#[test]
fn a_hole_in_a_sealed_journal_is_found_where_one_keyspace_was_flushed() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options::at(folder.path().join("store"));
    let seed = first_seed(900);
    let told = write_until_killed(&options.folder, seed, "r", 300, |_| ());
    let sound = Options { folder: folder.path().join("sound"), ..options.clone() };
    flush_records(&options.folder.join("db"));
    copy(&options.folder, &sound.folder);
    verify_answered(&open(&sound).unwrap(), seed, &told);

    damage_and_seal_journal(&options.folder.join("db"));
    let why = refusal(&options);
    assert!(why.contains("index lacks") && why.contains("history lacks"), "{why}");
    assert!(!why.contains("records lacks"), "{why}");
    assert!(why.contains("backup") && why.contains("pharos check"), "{why}");
    let copied = options.folder.join("journals-before-recovery/0.jnl");
    assert!(std::fs::metadata(copied).unwrap().len() > 0, "the journals were copied before they were cut");
    assert_eq!(refusal(&options), why, "a second start is refused as well");

    assert!(!check(&options).unwrap().is_sound());
    rebuild(&options, None).unwrap();
    assert!(options.folder.join("journals-before-rebuild").exists());
    let store = open(&options).expect("the operator has decided");
    commit(&store, TENANT, vec![put("Basic", "new", "", &[])]).unwrap();
}

#[test]
fn a_damaged_end_of_what_was_answered_is_found_too() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options::at(folder.path().join("store"));
    write_until_killed(&options.folder, first_seed(910), "r", 200, |_| ());
    let journal = options.folder.join("db/0.jnl");
    let mut bytes = std::fs::read(&journal).unwrap();
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    let start = end_of_batch(&bytes, used - used / 4);
    bytes[start..].fill(0);
    std::fs::write(&journal, bytes).unwrap();
    let why = refusal(&options);
    assert!(why.contains("records lacks") && why.contains("index lacks"), "{why}");
}

#[test]
fn another_key_a_newer_schema_and_a_second_process_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options::at(folder.path().join("store"));
    let store = open(&options).unwrap();
    assert!(refusal(&options).contains("another process"));
    store.close().unwrap();
    drop(store);

    let other = Options { key_file: folder.path().join("other.key"), ..options.clone() };
    assert!(refusal(&other).contains("can't be read"), "a lost key file is not made anew beside old data");
    std::fs::write(&other.key_file, [7; 32]).unwrap();
    assert!(refusal(&other).contains("key file"));

    let format = options.folder.join("format");
    let bytes = std::fs::read(&format).unwrap();
    let rest = bytes.strip_prefix(b"pharos store schema 5\n").unwrap();
    std::fs::write(&format, [&b"pharos store schema 6\n"[..], rest].concat()).unwrap();
    assert!(refusal(&options).contains("newer version"));
    std::fs::remove_file(&format).unwrap();
    assert!(refusal(&options).contains("without its format file"));
    std::fs::write(&format, bytes).unwrap();
    assert!(open(&options).is_ok());
}

#[test]
fn moved_and_altered_bytes_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options::at(folder.path().join("store"));
    let store = open(&options).unwrap();
    let changes = ["a", "b", "c"].map(|id| put("Basic", id, &format!("text of {id}"), &["k\0x"]));
    commit(&store, TENANT, changes.into()).unwrap();
    let rids = ["a", "b", "c"].map(|id| store.view(TENANT).unwrap().find("Basic", id).unwrap().unwrap());
    store.close().unwrap();
    drop(store);
    assert!(check(&options).unwrap().is_sound());
    {
        let db = fjall::Database::builder(options.folder.join("db")).open().unwrap();
        let records = db.keyspace("records", fjall::KeyspaceCreateOptions::default).unwrap();
        let keys = rids.map(|rid| [&TENANT.0.to_be_bytes()[..], b"c", &rid.0.to_be_bytes()].concat());
        let [a, b, c] = keys.each_ref().map(|key| records.get(key).unwrap().unwrap());
        records.insert(&keys[0], &b[..]).unwrap();
        records.insert(&keys[1], &a[..]).unwrap();
        let mut altered = c.to_vec();
        *altered.last_mut().unwrap() ^= 1;
        records.insert(&keys[2], altered).unwrap();
        // After an orderly stop the journals are taken as empty: what is altered must be in the files of the keyspace.
        records.rotate_memtable_and_wait().unwrap();
    }
    let report = check(&options).unwrap();
    assert!(rids.iter().all(|rid| report.problems.iter().any(|text| text.contains(&format!("resource {}", rid.0)))));
    let store = open(&options).unwrap();
    let view = store.view(TENANT).unwrap();
    for rid in rids {
        assert!(matches!(view.current(rid), Err(StoreError::Damaged(_))));
    }
}

#[test]
fn moved_and_altered_records_that_are_no_resources_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options::at(folder.path().join("store"));
    let store = open(&options).unwrap();
    let until = |id| Keep { expires: Some(Micros(i64::MAX / 2)), ..keeper::put("user", id, "text") };
    keeper::keep(&store, TENANT, ["a", "b", "c", "d"].map(until).into()).unwrap();
    keeper::keep(&store, TenantId(9), vec![until("a")]).unwrap();
    store.close().unwrap();
    drop(store);
    let report = check(&options).unwrap();
    assert_eq!((report.problems, report.kept), (Vec::new(), 5));
    {
        let db = fjall::Database::builder(options.folder.join("db")).open().unwrap();
        let records = db.keyspace("records", fjall::KeyspaceCreateOptions::default).unwrap();
        let key = |tenant: TenantId, id: &str| [&tenant.0.to_be_bytes()[..], b"suser\0", id.as_bytes()].concat();
        let value = |key: &[u8]| records.get(key).unwrap().unwrap().to_vec();
        let (a, b) = (value(&key(TENANT, "a")), value(&key(TENANT, "b")));
        records.insert(key(TENANT, "a"), b).unwrap();
        records.insert(key(TenantId(9), "a"), a).unwrap();
        let mut altered = value(&key(TENANT, "c"));
        *altered.last_mut().unwrap() ^= 1;
        records.insert(key(TENANT, "c"), altered).unwrap();
        let index = records.prefix([&[0xFF; 4][..], b"x"].concat()).map(|entry| entry.key().unwrap());
        let entry = index.into_iter().find(|entry| entry.ends_with(&key(TENANT, "d"))).unwrap();
        records.remove(entry).unwrap();
        records.rotate_memtable_and_wait().unwrap();
    }
    let problems = check(&options).unwrap().problems.join("\n");
    assert_eq!(problems.matches("does not open").count(), 3, "{problems}");
    assert_eq!(problems.matches("missing in the index").count(), 1, "{problems}");
    assert!(problems.contains("has 4 entries for 5 records"), "{problems}");
    let store = open(&options).unwrap();
    for (tenant, id) in [(TENANT, "a"), (TENANT, "c"), (TenantId(9), "a")] {
        let found = store.get(tenant, "user", id);
        assert!(matches!(&found, Err(KeeperError::Failed(why)) if why.contains("damaged")), "{found:?}");
    }
    assert!(store.get(TENANT, "user", "b").unwrap().is_some());
}

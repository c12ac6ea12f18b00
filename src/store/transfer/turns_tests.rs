//! A store whose snapshots live for a few readings only, and that is written to while it is read, is moved all the same.

use super::backup::backup;
use super::changes::{self, Sink};
use super::restore::Folder;
use super::{Destination, Source, keys_in};
use crate::auth::keeper::Keeper;
use crate::clock::SystemClock;
use crate::store::contract::erase::{before, erase, whole};
use crate::store::contract::{body, delete, keeper, put, wait};
use crate::store::embedded::{Embedded, Options, check};
use crate::store::keys::OwnersKeys;
use crate::store::ledger::{Entry, Ledger};
use crate::store::rows::stretch::{Most, Stretch};
use crate::store::rows::{Row, Rows, Table};
use crate::store::{Backend, Commit, Rid, StoreError, StoreResult, View};
use crate::tenant::TenantId;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

const TENANT: TenantId = TenantId(7);
/// Resources that are there at first, and records that are no resources.
const RESOURCES: usize = 5_000;
const KEPT: usize = 300;
/// Readings for which a snapshot lives: a fraction of what reading all takes.
const LIVES: usize = 24;
/// Writes that are made meanwhile, one before every second reading.
const WRITES: usize = 60;

/// See the module.
struct Short<'s> {
    store: &'s Embedded,
    writer: &'s Writer<'s>,
}

/// A snapshot that dies.
struct Dying<'s> {
    rows: Box<dyn Rows + 's>,
    left: AtomicUsize,
    expected: Mutex<BTreeSet<(Table, Vec<u8>)>>,
}

impl Dying<'_> {
    fn read(&self) -> StoreResult<()> {
        let lives = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok();
        if lives { Ok(()) } else { Err(StoreError::Io("the snapshot is gone".into())) }
    }
}

impl Rows for Dying<'_> {
    fn get(&self, table: Table, key: &[u8]) -> StoreResult<Option<Vec<u8>>> {
        if !self.expected.lock().unwrap().remove(&(table, key.to_vec())) {
            self.read()?;
        }
        self.rows.get(table, key)
    }

    fn ahead(&self, table: Table, keys: &[Vec<u8>]) -> StoreResult<()> {
        self.expected.lock().unwrap().extend(keys.iter().map(|key| (table, key.clone())));
        self.read()
    }

    fn stretch(&self, table: Table, from: &[u8], to: &[u8], most: Most) -> StoreResult<Stretch> {
        self.read()?;
        self.rows.stretch(table, from, to, most)
    }

    fn range_back(&self, table: Table, from: &[u8], to: &[u8], most: usize) -> StoreResult<Vec<Row>> {
        self.read()?;
        self.rows.range_back(table, from, to, most)
    }
}

/// The rows as they are, which change from one reading to the next.
struct Changing<'s>(&'s Short<'s>);

impl Changing<'_> {
    fn now(&self) -> StoreResult<Box<dyn Rows + '_>> {
        self.0.writer.turn();
        self.0.store.snapshot()
    }
}

impl Rows for Changing<'_> {
    fn get(&self, table: Table, key: &[u8]) -> StoreResult<Option<Vec<u8>>> {
        self.now()?.get(table, key)
    }

    fn stretch(&self, table: Table, from: &[u8], to: &[u8], most: Most) -> StoreResult<Stretch> {
        self.now()?.stretch(table, from, to, most)
    }

    fn range_back(&self, table: Table, from: &[u8], to: &[u8], most: usize) -> StoreResult<Vec<Row>> {
        self.now()?.range_back(table, from, to, most)
    }
}

impl Source for Short<'_> {
    fn settle(&self) -> StoreResult<()> {
        self.store.settle()
    }

    fn snapshot(&self) -> StoreResult<Box<dyn Rows + '_>> {
        let (rows, left) = (self.store.snapshot()?, AtomicUsize::new(LIVES));
        Ok(Box::new(Dying { rows, left, expected: Mutex::default() }))
    }

    fn walk(&self) -> StoreResult<Option<Box<dyn Rows + '_>>> {
        Ok(Some(Box::new(Changing(self))))
    }

    fn oldest_rows(&self) -> StoreResult<u32> {
        self.store.oldest_rows()
    }

    fn wrapped_keys(&self) -> StoreResult<Vec<OwnersKeys>> {
        self.store.wrapped_keys()
    }

    fn seal(&self, tenant: TenantId, name: &str, plain: &[u8]) -> StoreResult<Vec<u8>> {
        self.store.seal(tenant, name, plain)
    }

    fn unseal(&self, tenant: TenantId, name: &str, sealed: &[u8]) -> StoreResult<Vec<u8>> {
        self.store.unseal(tenant, name, sealed)
    }

    fn record(&self, tenant: TenantId, entry: Entry) -> StoreResult<()> {
        Source::record(self.store, tenant, entry)
    }
}

/// Writes while somebody reads. Every commit writes its number into a resource, into a record that is none, and into the ledger.
struct Writer<'w> {
    store: &'w Embedded,
    readings: AtomicUsize,
    until: AtomicUsize,
    done: AtomicUsize,
}

impl Writer<'_> {
    /// Lets so many more writes happen.
    fn allow(&self, writes: usize) {
        self.until.fetch_add(writes, Ordering::SeqCst);
    }

    fn turn(&self) {
        let reading = self.readings.fetch_add(1, Ordering::SeqCst);
        if reading.is_multiple_of(2) && self.done.load(Ordering::SeqCst) < self.until.load(Ordering::SeqCst) {
            self.write();
        }
    }

    fn write(&self) {
        let number = self.done.fetch_add(1, Ordering::SeqCst) + 1;
        let text = number.to_string();
        let id = |nth: usize| format!("r{}", (number * 997 + nth * 13) % RESOURCES);
        let changes = vec![
            put("Basic", "number", &text, &["k\0number"]),
            put("Basic", &id(0), &text, &["k\0again"]),
            put("Basic", &format!("new{number}"), &text, &["k\0new"]),
            if number.is_multiple_of(5) { delete("Basic", &id(1)) } else { put("Basic", &id(1), &text, &[]) },
        ];
        let keeps = vec![keeper::put("client", "number", &text)];
        let entry = Some(Entry { time: crate::clock::Micros(1), bytes: text.into_bytes().into() });
        wait(self.store.commit(Commit { changes, keeps, entry, ..Commit::of(TENANT) })).unwrap();
        // What was erased is in no log. The version before is the one that a backup of an earlier moment would want.
        let newest = |id: &str| {
            let view = self.store.view(TENANT).unwrap();
            let rid = view.find("Basic", id).unwrap().unwrap();
            view.current(rid).unwrap().unwrap().version
        };
        let (old, gone) = (id(0), format!("r{}", (number * 991 + 7) % RESOURCES));
        let version = newest(&old);
        let mut erasures = vec![before("Basic", &old, version)];
        if self.store.view(TENANT).unwrap().find("Basic", &gone).unwrap().is_some() && gone != old {
            erasures.push(whole("Basic", &gone, newest(&gone)));
        }
        erase(self.store, TENANT, erasures).unwrap();
    }
}

struct Nowhere;

impl Sink for Nowhere {
    fn row(&mut self, _: Table, _: Vec<u8>, _: Vec<u8>) -> StoreResult<()> {
        Ok(())
    }

    fn all_of(&mut self, _: Table, _: &[u8]) -> StoreResult<()> {
        Ok(())
    }

    fn living(&mut self, _: TenantId, _: Vec<Rid>) -> StoreResult<()> {
        Ok(())
    }
}

fn options(folder: &Path, name: &str) -> Options {
    Options { free_floor_mib: 0, key_file: folder.join("key"), ..Options::at(folder.join(name)) }
}

/// What is there, by id: the current version with its time, deletions included.
fn current(view: &dyn View) -> BTreeMap<String, (u64, i64, bool)> {
    let outlines = view.resources(Rid(0)).map(|outline| outline.unwrap());
    outlines.map(|one| (one.id.into(), (one.version, one.time.0, one.is_deleted))).collect()
}

/// Restores, and compares with the store that the backup is of, which went on since.
fn restored_as_of_one_moment(folder: &Path, store: &Embedded, name: &str) -> usize {
    let keys = keys_in(&folder.join("store/keys")).unwrap();
    let from = Folder::open(&folder.join("backups"), None).unwrap();
    Destination::embedded(&options(folder, name), &keys).unwrap().restore(&from).unwrap();
    assert_eq!(check(&options(folder, name)).unwrap().problems, Vec::<String>::new());
    let restored = Embedded::open(options(folder, name), Arc::new(SystemClock)).unwrap();
    let view = restored.view(TENANT).unwrap();

    let number = restored.get(TENANT, "client", "number").unwrap().unwrap().bytes;
    let number: usize = String::from_utf8(number).unwrap().parse().unwrap();
    let rid = view.find("Basic", "number").unwrap().unwrap();
    let version = view.current(rid).unwrap().unwrap();
    assert_eq!(
        version.body.unwrap().unpack(version.version, version.time).unwrap(),
        body("Basic", "number", &number.to_string()).unpack(version.version, version.time).unwrap(),
        "the resource and the record of one commit"
    );
    wait(restored.settled()).unwrap();
    assert_eq!(restored.head(TENANT).unwrap().next, number as u64, "each commit's entry is there, once");

    let moment = view.position();
    let (now, there) = (store.view(TENANT).unwrap(), current(&*view));
    let mut expected = BTreeMap::new();
    for outline in now.resources(Rid(0)).map(|outline| outline.unwrap()) {
        let versions = (outline.oldest..=outline.version).map(|one| now.version(outline.rid, one).unwrap().unwrap());
        let newest = versions.filter(|version| version.time <= moment).last();
        let newest = newest.map(|version| (version.version, version.time.0, version.body.is_none()));
        if let Some(newest) = newest {
            expected.insert(outline.id.to_string(), newest);
        } else if let Some(there) = there.get(&*outline.id) {
            // Its version of the moment was erased since: the backup may have it still.
            assert!(there.1 <= moment.0 && there.0 < outline.oldest, "{} is of a later moment", outline.id);
            expected.insert(outline.id.to_string(), *there);
        }
    }
    for id in expected.keys().chain(there.keys()) {
        if expected.get(id) != there.get(id) {
            // What was erased between the moment and the end of the backup is not there, and what was erased after that is.
            assert!(now.find("Basic", id).unwrap().is_none(), "{id}: {:?} and {:?}", expected.get(id), there.get(id));
        }
    }
    assert!(there.len() > RESOURCES - 3 * WRITES);
    drop(view);
    restored.close().unwrap();
    number
}

#[test]
fn no_snapshot_has_to_live_for_long() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let store = Embedded::open(options(folder, "store"), Arc::new(SystemClock)).unwrap();
    for part in (0..RESOURCES).collect::<Vec<_>>().chunks(500) {
        let changes = part.iter().map(|n| put("Basic", &format!("r{n}"), "at first", &["k\0first"])).collect();
        wait(store.commit(Commit { changes, ..Commit::of(TENANT) })).unwrap();
    }
    let keeps = (0..KEPT).map(|n| keeper::put("client", &format!("c{n}"), "kept")).collect();
    wait(store.keep(TENANT, keeps)).unwrap();
    let writer = Writer {
        store: &store,
        readings: AtomicUsize::default(),
        until: AtomicUsize::new(WRITES),
        done: AtomicUsize::default(),
    };
    writer.write();
    let short = Short { store: &store, writer: &writer };
    let whole = changes::since(&*short.snapshot().unwrap(), TENANT, None, &mut Nowhere);
    assert!(whole.is_err(), "one snapshot could read all, so this shows nothing");

    let backups = folder.join("backups");
    let written = backup(&short, &backups, false).unwrap();
    assert_eq!((written.complete, written.added_to), (vec![TENANT.0], vec![]));
    let first = restored_as_of_one_moment(folder, &store, "first");
    assert!(first > 10, "it was written to while it was read: {first}");

    // What is new stands on it.
    writer.allow(WRITES);
    (0..WRITES / 2).for_each(|_| writer.write());
    let written = backup(&short, &backups, false).unwrap();
    assert_eq!((written.complete, written.added_to), (vec![], vec![TENANT.0]));
    assert!(written.rows < RESOURCES as u64, "{}", written.rows);
    assert!(restored_as_of_one_moment(folder, &store, "second") > first);
    store.close().unwrap();
}

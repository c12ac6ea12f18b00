//! Processes of two releases on one database: they write beside each other, in the form of the older one, until it has gone.

use crate::support::mongodb::new_database;
use mongodb::Collection;
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, Document, doc};
use pharos::clock::{Micros, SystemClock};
use pharos::store::contract::erase::{before, erase};
use pharos::store::contract::{commit, put, wait};
use pharos::store::ledger::{Entry, Ledger};
use pharos::store::mongo::{Mongo, Options};
use pharos::store::schema::{Advance, BESIDE, MIGRATIONS, PHAROS, Program, Schemas, Stand, WRITES};
use pharos::store::seal::{Place, Purpose, STORE};
use pharos::store::transfer::Origin;
use pharos::store::{Backend, Commit, Rid, StoreError};
use pharos::tenant::TenantId;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const TENANT: TenantId = TenantId(3);

/// The release before this one.
static OLDER: Program = Program { writes: BESIDE, beside: BESIDE, opens: BESIDE, migrations: MIGRATIONS };

fn open(address: &str, folder: &Path, program: &'static Program) -> Result<Mongo, StoreError> {
    Mongo::open(Options { program, ..Options::at(address, folder.join("key")) }, Arc::new(SystemClock))
}

/// A resource of which the first version was erased.
fn write(store: &Mongo, id: &str) -> Result<(), pharos::store::CommitError> {
    for text in ["first", "second"] {
        commit(store, TENANT, vec![put("Basic", id, text, &["k"])])?;
    }
    erase(store, TENANT, vec![before("Basic", id, 2)]).map(drop)
}

/// The resources that there are, all with the second version as their oldest.
fn count(store: &Mongo) -> usize {
    let view = store.view(TENANT).unwrap();
    let outlines: Vec<_> = view.resources(Rid(0)).map(Result::unwrap).collect();
    assert!(outlines.iter().all(|outline| (outline.oldest, outline.version) == (2, 2)));
    assert!(outlines.iter().all(|outline| view.current(outline.rid).unwrap().unwrap().body.is_some()));
    outlines.len()
}

fn schemas(store: &Mongo) -> &dyn Schemas {
    store.schemas().unwrap()
}

/// Goes through the tenant once, as its job does; how many rows were rewritten.
fn rewrite(store: &Mongo) -> usize {
    let (mut after, mut count): (Box<[u8]>, _) = (Box::default(), 0);
    loop {
        let found = schemas(store).old_forms(TENANT, &after, 2).unwrap();
        count += found.rows.len();
        wait(store.commit(Commit { reseals: found.rows, ..Commit::of(TENANT) })).unwrap();
        match found.next {
            Some(next) => after = next,
            None => return count,
        }
    }
}

#[test]
fn a_later_schema_waits_for_the_last_process_that_can_not_write_it() {
    let Some(address) = new_database() else { return };
    let folder = tempfile::tempdir().unwrap();
    let older = open(&address, folder.path(), &OLDER).unwrap();
    for n in 0..3 {
        write(&older, &format!("old{n}")).unwrap();
    }
    let newer = open(&address, folder.path(), &PHAROS).unwrap();
    assert_eq!(schemas(&newer).advance().unwrap(), Advance::Waiting(1));
    assert_eq!(schemas(&newer).stand().unwrap(), Stand::of(BESIDE));
    write(&newer, "beside").unwrap();
    write(&older, "still").unwrap();
    assert_eq!((count(&older), count(&newer)), (5, 5), "each reads what the other wrote");
    older.close().unwrap();
    drop(older);

    // A third one goes on writing all the time, and hears of it by itself.
    let third = open(&address, folder.path(), &PHAROS).unwrap();
    let (is_over, written) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::SeqCst) {
                write(&third, &format!("third{}", written.load(Ordering::SeqCst))).unwrap();
                written.fetch_add(1, Ordering::SeqCst);
            }
        });
        assert_eq!(schemas(&newer).advance().unwrap(), Advance::Moved);
        assert_eq!(schemas(&third).advance().unwrap(), Advance::Current);
        assert!(rewrite(&newer) >= 5);
        assert_eq!(rewrite(&newer), 0, "what is written meanwhile is of the schema in force");
        is_over.store(true, Ordering::SeqCst);
    });
    let stand = schemas(&third).stand().unwrap();
    assert_eq!((stand.schema, stand.oldest()), (WRITES, BESIDE));
    schemas(&third).finish(&stand.rewriting.unwrap().pass).unwrap();
    assert_eq!(schemas(&newer).stand().unwrap(), Stand::of(WRITES));
    assert_eq!(count(&newer), 5 + written.load(Ordering::SeqCst));
    let refused = open(&address, folder.path(), &OLDER).err().unwrap().to_string();
    assert!(refused.contains(&format!("of schema {WRITES}")), "{refused}");
    for store in [newer, third] {
        store.close().unwrap();
    }
    assert_eq!(count(&open(&address, folder.path(), &PHAROS).unwrap()), 5 + written.load(Ordering::SeqCst));
}

#[test]
fn a_process_that_was_silent_too_long_writes_nothing_when_it_comes_back() {
    let Some(address) = new_database() else { return };
    let folder = tempfile::tempdir().unwrap();
    let older = open(&address, folder.path(), &OLDER).unwrap();
    write(&older, "old").unwrap();
    let impatient = Options { heard_within: Duration::ZERO, ..Options::at(&*address, folder.path().join("key")) };
    let newer = Mongo::open(impatient, Arc::new(SystemClock)).unwrap();
    assert_eq!(schemas(&newer).advance().unwrap(), Advance::Moved);
    let refused = write(&older, "late").unwrap_err().to_string();
    assert!(refused.contains(&format!("of schema {WRITES}")), "{refused}");
    let entry = Entry { time: Micros(0), bytes: b"late".as_slice().into() };
    assert!(wait(older.record(TENANT, entry)).is_err(), "nor does its ledger take anything");
    assert!(matches!(older.health(), Err(StoreError::Closed(_))) && older.failure().is_some());
    assert_eq!((count(&newer), rewrite(&newer), rewrite(&newer)), (1, 1, 0));
    older.close().unwrap();
}

#[test]
fn a_process_that_writes_nothing_hears_of_it_too() {
    let Some(address) = new_database() else { return };
    let folder = tempfile::tempdir().unwrap();
    let older = open(&address, folder.path(), &OLDER).unwrap();
    let impatient = Options { heard_within: Duration::ZERO, ..Options::at(&*address, folder.path().join("key")) };
    let newer = Mongo::open(impatient, Arc::new(SystemClock)).unwrap();
    assert_eq!(schemas(&newer).advance().unwrap(), Advance::Moved);
    let began = Instant::now();
    while older.health().is_ok() {
        assert!(began.elapsed() < Duration::from_secs(20), "it believes that it may go on");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The document that says how a store stands, for who administers the database and has no key.
struct Format {
    runtime: tokio::runtime::Runtime,
    database: mongodb::Database,
    documents: Collection<Document>,
}

impl Format {
    fn of(address: &str) -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let client = runtime.block_on(mongodb::Client::with_uri_str(address)).unwrap();
        let database = client.default_database().unwrap();
        Self { runtime, documents: database.collection("format"), database }
    }

    fn read(&self) -> Document {
        self.runtime.block_on(async { self.documents.find_one(doc! {}).await }).unwrap().unwrap()
    }

    fn put(&self, document: &Document) {
        let putting = async { self.documents.replace_one(doc! { "_id": "store" }, document).await };
        assert_eq!(self.runtime.block_on(putting).unwrap().matched_count, 1);
    }
}

#[test]
fn a_plain_mark_of_erased_versions_is_no_mark_where_all_are_sealed() {
    let Some(address) = new_database() else { return };
    let (folder, format) = (tempfile::tempdir().unwrap(), Format::of(&address));
    let store = open(&address, folder.path(), &PHAROS).unwrap();
    commit(&store, TENANT, vec![put("Basic", "a", "first", &["k"])]).unwrap();
    commit(&store, TENANT, vec![put("Basic", "a", "second", &["k"])]).unwrap();
    let rid = store.view(TENANT).unwrap().find("Basic", "a").unwrap().unwrap();
    let key = [&TENANT.0.to_be_bytes()[..], b"e", &rid.0.to_be_bytes()].concat();
    let id: String = key.into_iter().map(char::from).collect();
    let mark = Binary { subtype: BinarySubtype::Generic, bytes: vec![2] };
    let records = format.database.collection::<Document>("records");
    format.runtime.block_on(async { records.insert_one(doc! { "_id": id, "v": mark }).await }).unwrap();
    let is_damage = |error: StoreError| matches!(error, StoreError::Damaged(_));
    assert!(store.view(TENANT).unwrap().oldest(rid).is_err_and(is_damage));
    let origin = Origin::mongo(Options::at(&*address, folder.path().join("key"))).unwrap();
    assert!(origin.backup(&folder.path().join("backups"), false).is_err_and(is_damage));
    store.close().unwrap();
}

/// Rows of older forms, as somebody says.
fn rewriting() -> Document {
    doc! { "from": i64::from(BESIDE), "pass": "00c0ffee" }
}

#[test]
fn nobody_without_the_keys_says_how_a_store_stands() {
    let Some(address) = new_database() else { return };
    let (folder, format) = (tempfile::tempdir().unwrap(), Format::of(&address));
    let store = open(&address, folder.path(), &PHAROS).unwrap();
    write(&store, "a").unwrap();
    let good = format.read();
    let mut edited = good.clone();
    edited.insert("rewriting", rewriting());
    format.put(&edited);
    for refused in [schemas(&store).stand().err(), open(&address, folder.path(), &PHAROS).err()] {
        let refused = refused.expect("an edited document is found").to_string();
        assert!(refused.contains("somebody has edited the document in the collection `format`"), "{refused}");
    }
    assert!(matches!(store.health(), Err(StoreError::Closed(_))));
    assert!(write(&store, "late").is_err(), "it writes nothing by what somebody says");
    store.close().unwrap();
    format.put(&good);
    assert_eq!(schemas(&open(&address, folder.path(), &PHAROS).unwrap()).stand().unwrap(), Stand::of(WRITES));
}

#[test]
fn an_earlier_document_is_not_taken_while_a_process_is_at_work() {
    let Some(address) = new_database() else { return };
    let (folder, format) = (tempfile::tempdir().unwrap(), Format::of(&address));
    let older = open(&address, folder.path(), &OLDER).unwrap();
    write(&older, "a").unwrap();
    older.close().unwrap();
    let earlier = format.read();
    let store = open(&address, folder.path(), &PHAROS).unwrap();
    assert_eq!(schemas(&store).advance().unwrap(), Advance::Moved);
    format.put(&earlier);
    let refused = schemas(&store).stand().unwrap_err().to_string();
    assert!(refused.contains("somebody has put an earlier document back"), "{refused}");
    assert!(matches!(store.health(), Err(StoreError::Closed(_))));
    store.close().unwrap();
}

/// Programs of before sealed the number of the schema alone.
#[test]
fn a_store_that_an_earlier_program_made_is_bound_to_how_it_stands() {
    let Some(address) = new_database() else { return };
    let (folder, format) = (tempfile::tempdir().unwrap(), Format::of(&address));
    let store = open(&address, folder.path(), &PHAROS).unwrap();
    let mut check = format!("pharos store schema {WRITES} in MongoDB\n").into_bytes();
    let (plain, place) = (check.len(), Place { purpose: Purpose::Check, tenant: STORE, rid: Rid(0), version: 0 });
    store.keyring().unwrap().sealer().seal(place, Micros(0), b"pharos", &mut check).unwrap();
    store.close().unwrap();
    let check = Binary { subtype: BinarySubtype::Generic, bytes: check.split_off(plain) };
    let mut document = format.read();
    document.extend(doc! { "rewriting": rewriting(), "check": check });
    format.put(&document);

    let store = open(&address, folder.path(), &PHAROS).unwrap();
    let stand = schemas(&store).stand().unwrap();
    assert_eq!((stand.schema, stand.oldest()), (WRITES, BESIDE), "it goes on with what was under way");
    let bound = format.read();
    assert_ne!(bound.get("check"), document.get("check"));
    schemas(&store).finish("00c0ffee").unwrap();
    assert_eq!(schemas(&store).stand().unwrap(), Stand::of(WRITES));
    format.put(&document);
    let refused = schemas(&store).stand().unwrap_err().to_string();
    assert!(refused.contains("somebody has put an earlier document back"), "{refused}");
    store.close().unwrap();
}

//! Processes of two releases on one database: they write beside each other, in the form of the older one, until it has gone.

use crate::support::mongodb::new_database;
use pharos::clock::{Micros, SystemClock};
use pharos::store::contract::erase::{before, erase};
use pharos::store::contract::{commit, put, wait};
use pharos::store::ledger::{Entry, Ledger};
use pharos::store::mongo::{Mongo, Options};
use pharos::store::schema::{Advance, BESIDE, MIGRATIONS, PHAROS, Program, Schemas, Stand, WRITES};
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

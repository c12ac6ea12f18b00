//! Copies of a whole store, served or not, cut short or not.

use crate::backup::{Place, record, seen};
use crate::support::Process;
use crate::support::mongodb::new_database;
use crate::workload::{self, Rng, first_seed};
use pharos::clock::SystemClock;
use pharos::store::contract::keeper::{keep, put as put_kept};
use pharos::store::contract::{commit, put, wait};
use pharos::store::embedded::{Embedded, Options, check};
use pharos::store::ledger::Ledger;
use pharos::store::mongo::{self, Mongo};
use pharos::store::transfer::{Destination, Folder, Origin, Tally};
use pharos::store::{Backend, StoreError};
use pharos::tenant::TenantId;
use std::sync::Arc;
use std::time::Duration;

const TENANT: TenantId = TenantId(7);
const OTHER: TenantId = TenantId(8);
const GONE: TenantId = TenantId(9);

fn write(store: &impl Backend, tenant: TenantId, seed: u64, steps: std::ops::Range<u64>) {
    for n in steps {
        let made = workload::commit(&*store.view(tenant).unwrap(), tenant, &workload::step(seed, "a", n));
        wait(store.commit(made)).unwrap();
        keep(store, tenant, vec![put_kept("client", &format!("c{}", n % 5), &format!("{n}"))]).unwrap();
        record(store, tenant, "entry");
    }
}

fn copy(place: &Place, from: &str, to: &str) -> Tally {
    let origin = Origin::embedded(place.options(from)).unwrap();
    let destination = Destination::embedded(&place.options(to), &origin.wrapped_keys().unwrap()).unwrap();
    destination.copy(&origin, false, &mut |_| ()).unwrap()
}

#[test]
fn a_store_is_copied_while_it_is_open() {
    let (place, seed) = (Place::new(), first_seed(920));
    let store = place.open("store");
    for tenant in [TENANT, OTHER] {
        write(&store, tenant, seed, 0..80);
    }
    // Of one that was destroyed there is the ledger.
    write(&store, GONE, seed, 0..5);
    wait(store.destroy(GONE)).unwrap();
    record(&store, GONE, "it was destroyed");
    let tally = copy(&place, "store", "copy");
    assert!(tally[&(TENANT.0, "history")].count > 80, "{tally:?}");
    wait(store.settled()).unwrap();
    let copied = place.open("copy");
    for tenant in [TENANT, OTHER] {
        assert!(seen(&copied, tenant) == seen(&store, tenant));
    }
    let ledger =
        |store: &Embedded| store.blocks(GONE, 0, false).unwrap().map(|block| block.unwrap().bytes).collect::<Vec<_>>();
    assert_eq!(ledger(&copied), ledger(&store));
    write(&copied, TENANT, seed, 80..90);
    copied.close().unwrap();
    drop(copied);
    assert_eq!(check(&place.options("copy")).unwrap().problems, Vec::<String>::new());
    let origin = Origin::embedded(place.options("store")).unwrap();
    let error = Destination::embedded(&place.options("copy"), &origin.wrapped_keys().unwrap()).err().unwrap();
    assert!(error.to_string().contains("already"), "a store is not written over: {error}");
}

#[test]
fn a_copy_has_a_master_key_of_its_own() {
    let (place, seed) = (Place::new(), first_seed(921));
    let store = place.open("store");
    write(&store, TENANT, seed, 0..20);
    wait(store.settled()).unwrap();
    let origin = Origin::embedded(place.options("store")).unwrap();
    let mut options = Options { key_file: place.path("new.key"), ..place.options("copy") };
    options.keys.previous = Some(pharos::config::PreviousKey {
        key_file: Some(place.path("master.key")),
        ..pharos::config::PreviousKey::default()
    });
    Destination::embedded(&options, &origin.wrapped_keys().unwrap())
        .unwrap()
        .copy(&origin, false, &mut |_| ())
        .unwrap();
    options.keys.previous = None;
    let copied = Embedded::open(options, Arc::new(SystemClock)).unwrap();
    assert!(seen(&copied, TENANT) == seen(&store, TENANT));
}

/// While it is copied, a tenant's rows are sealed anew and the old key is destroyed, and another tenant is destroyed.
#[test]
fn a_copy_goes_on_where_keys_became_others() {
    let (place, seed) = (Place::new(), first_seed(922));
    let store = place.open("store");
    for tenant in [TENANT, OTHER, GONE] {
        write(&store, tenant, seed, 0..20);
    }
    let origin = Origin::embedded(place.options("store")).unwrap();
    let destination = || Destination::embedded(&place.options("copy"), &origin.wrapped_keys().unwrap()).unwrap();
    let mut is_first = true;
    let changed = destination().copy(&origin, false, &mut |_| {
        if std::mem::take(&mut is_first) {
            let ring = store.keyring().unwrap();
            ring.rotate(TENANT).unwrap();
            let found = store.old_rows(TENANT, &[], usize::MAX).unwrap();
            let reseals = pharos::store::Commit { reseals: found.rows, ..pharos::store::Commit::of(TENANT) };
            wait(store.commit(reseals)).unwrap();
            ring.retire(TENANT, ring.newest(TENANT)).unwrap();
            assert_eq!(ring.drop_retired(TENANT, u32::MAX).unwrap(), 1);
            wait(store.destroy(GONE)).unwrap();
        }
    });
    assert!(changed.unwrap_err().to_string().contains("run this again"));
    destination().copy(&origin, false, &mut |_| ()).unwrap();
    wait(store.settled()).unwrap();
    let copied = place.open("copy");
    for tenant in [TENANT, OTHER] {
        assert!(seen(&copied, tenant) == seen(&store, tenant), "tenant {}", tenant.0);
    }
    copied.close().unwrap();
    drop(copied);
    assert_eq!(check(&place.options("copy")).unwrap().problems, Vec::<String>::new());
}

/// From one kind of store to the other, while it is open, and back: what comes back is what went.
#[test]
fn a_store_goes_to_mongodb_and_back() {
    let (place, seed) = (Place::new(), first_seed(925));
    let Some(address) = new_database() else { return };
    let store = place.open("store");
    for tenant in [TENANT, OTHER] {
        write(&store, tenant, seed, 0..25);
    }
    wait(store.settled()).unwrap();
    let options = mongo::Options {
        form: place.options("store").form,
        patience: Duration::from_mins(3),
        ..mongo::Options::at(address, place.path("master.key"))
    };
    let origin = Origin::embedded(place.options("store")).unwrap();
    let destination = Destination::mongo(&options, &origin.wrapped_keys().unwrap()).unwrap();
    let refused = Mongo::open(options.clone(), Arc::new(SystemClock)).err();
    assert!(matches!(&refused, Some(StoreError::Closed(text)) if text.contains("not whole")), "{refused:?}");
    destination.copy(&origin, false, &mut |_| ()).unwrap();
    drop(origin);
    let on_mongodb = Mongo::open(options.clone(), Arc::new(SystemClock)).unwrap();
    for tenant in [TENANT, OTHER] {
        assert!(seen(&on_mongodb, tenant) == seen(&store, tenant), "on MongoDB, tenant {}", tenant.0);
    }
    // It is written to there, and backed up while it is open, and copied back.
    write(&on_mongodb, TENANT, seed, 25..30);
    let origin = Origin::mongo(options.clone()).unwrap();
    origin.backup(&place.path("backups"), false).unwrap();
    write(&on_mongodb, TENANT, seed, 30..35);
    assert_eq!(origin.backup(&place.path("backups"), false).unwrap().added_to, [TENANT.0, OTHER.0]);
    wait(on_mongodb.settled()).unwrap();
    let keys = origin.wrapped_keys().unwrap();
    Destination::embedded(&place.options("back"), &keys).unwrap().copy(&origin, false, &mut |_| ()).unwrap();
    let backups = Folder::open(&place.path("backups"), None).unwrap();
    Destination::embedded(&place.options("restored"), &keys).unwrap().restore(&backups).unwrap();
    for name in ["back", "restored"] {
        assert_eq!(check(&place.options(name)).unwrap().problems, Vec::<String>::new());
        let back = place.open(name);
        for tenant in [TENANT, OTHER] {
            assert!(seen(&back, tenant) == seen(&on_mongodb, tenant), "{name}, tenant {}", tenant.0);
        }
    }
    assert!(Destination::mongo(&options, &keys).is_err(), "a store is not written over");
}

/// The program is killed while it copies, the source changes, and it goes on where it was.
#[test]
fn a_copy_that_was_killed_goes_on() {
    let (place, seed) = (Place::new(), first_seed(930));
    let store = place.open("store");
    let mut rng = Rng(seed);
    for part in 0..20 {
        let noise = |rng: &mut Rng| (0..700).map(|_| rng.next().to_string()).collect::<String>();
        let changes = (0..100).map(|n| put("Basic", &format!("big-{part}-{n}"), &noise(&mut rng), &["k\0v1"]));
        commit(&store, TENANT, changes.collect()).unwrap();
    }
    write(&store, TENANT, seed, 0..30);
    let (from, to) =
        (format!("file:{}", place.path("store").display()), format!("file:{}", place.path("copy").display()));
    let key = place.path("master.key").display().to_string();
    let arguments = ["copy", "--from", &from, "--to", &to, "--key-file", &key];
    let mut begun = Vec::new();
    for round in 0..3 {
        let process = Process::start(arguments);
        begun.push(process.lines_until("rows")[..].last().unwrap().clone());
        process.kill();
        assert!(!process.wait().success());
        let refused = Embedded::open(place.options("copy"), Arc::new(SystemClock)).err();
        assert!(matches!(&refused, Some(StoreError::Closed(text)) if text.contains("not whole")), "{refused:?}");
        // What was copied is changed and erased; a tenant is new.
        write(&store, TENANT, seed, 30 + 10 * round..40 + 10 * round);
        let current = commit(&store, TENANT, vec![put("Basic", &format!("big-0-{round}"), "small", &["k\0v2"])]);
        current.unwrap();
        let erasure = pharos::store::contract::erase::whole("Basic", &format!("big-1-{round}"), 1);
        wait(store.commit(pharos::store::Commit { erasures: vec![erasure], ..pharos::store::Commit::of(TENANT) }))
            .unwrap();
        write(&store, OTHER, seed, 10 * round..10 + 10 * round);
    }
    println!("killed after {begun:?}");
    let process = Process::start(arguments);
    assert!(process.wait().success(), "{}", process.said());
    println!("{}", process.said());
    wait(store.settled()).unwrap();
    let copied = place.open("copy");
    for tenant in [TENANT, OTHER] {
        let (here, there) = (seen(&copied, tenant), seen(&store, tenant));
        assert!(here.has_ledger_of(&there), "tenant {}", tenant.0);
        assert!(here.without_ledger() == there.without_ledger(), "tenant {}", tenant.0);
    }
    copied.close().unwrap();
    drop(copied);
    assert_eq!(check(&place.options("copy")).unwrap().problems, Vec::<String>::new());
}

#[test]
fn entries_that_another_address_recorded_are_no_difference() {
    let place = Place::new();
    let store = place.open("store");
    record(&store, TENANT, "entry");
    store.close().unwrap();
    drop(store);
    let elsewhere = |name: &str| Options {
        form: Arc::new(pharos::audit::form::AuditEvents::new("https://elsewhere.example.org/fhir")),
        ..place.options(name)
    };
    let origin = Origin::embedded(elsewhere("store")).unwrap();
    let destination = Destination::embedded(&elsewhere("copy"), &origin.wrapped_keys().unwrap()).unwrap();
    let tally = destination.copy(&origin, false, &mut |_| ()).unwrap();
    assert_eq!(tally[&(TENANT.0, "history")].count, 2, "{tally:?}");
}

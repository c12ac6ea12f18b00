//! Rows that are too large for one document of MongoDB: nobody hears of it, and nothing of them stays behind.

use crate::backup::{Place, seen};
use crate::support::mongodb::new_database;
use mongodb::bson::{RawDocumentBuf, doc};
use pharos::clock::SystemClock;
use pharos::store::contract::large::noise;
use pharos::store::contract::{self, Breach, commit, put, wait};
use pharos::store::mongo::{Mongo, Options};
use pharos::store::transfer::{Destination, Folder, Origin};
use pharos::store::{Backend, Commit};
use pharos::tenant::TenantId;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

const TENANT: TenantId = TenantId(7);
/// What a part may have, and the rest of its document.
const LARGEST: usize = 8_000_000 + 4096;

fn options(address: &str, place: &Place) -> Options {
    let form = place.options("store").form;
    Options { form, patience: Duration::from_mins(3), ..Options::at(address, place.path("master.key")) }
}

fn open(options: &Options) -> Mongo {
    Mongo::open(options.clone(), Arc::new(SystemClock)).unwrap()
}

/// How many documents there are in each collection, of which none is larger than [`LARGEST`].
fn documents(address: &str) -> BTreeMap<String, usize> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let client = mongodb::Client::with_uri_str(address).await.unwrap();
        let db = client.default_database().unwrap();
        let mut counts = BTreeMap::new();
        for name in db.list_collection_names().await.unwrap() {
            let mut all = db.collection::<RawDocumentBuf>(&name).find(doc! {}).await.unwrap();
            let count = counts.entry(name.clone()).or_insert(0);
            while all.advance().await.unwrap() {
                let size = all.current().as_bytes().len();
                assert!(size <= LARGEST, "a document of {name} has {size} bytes");
                *count += 1;
            }
        }
        counts
    })
}

#[test]
fn large_rows_are_kept_in_parts_and_go_with_them() {
    let place = Place::new();
    let embedded = place.open("store");
    let address = new_database();
    let mongo = address.as_ref().map(|address| open(&options(address, &place)));
    for (n, (name, clause)) in (1..).zip(contract::large::CLAUSES) {
        let fails = |Breach(how)| panic!("{name}: {how}");
        clause(&embedded, TenantId(n)).unwrap_or_else(fails);
        if let Some(mongo) = &mongo {
            clause(mongo, TenantId(n)).unwrap_or_else(fails);
            assert_eq!(documents(address.as_ref().unwrap())["parts"], 0, "{name}: all was erased");
        }
    }
}

/// What one process has begun and another one was faster with leaves nothing, keys change, and a tenant goes with all that is its own.
#[test]
fn parts_follow_their_rows() {
    let (place, Some(address)) = (Place::new(), new_database()) else { return };
    let options = options(&address, &place);
    let (one, other) = (open(&options), open(&options));
    let texts: Vec<String> = (0..6).map(|n| noise((12 << 20) + 6 * (n << 20), n as u64)).collect();
    for (n, text) in texts.iter().enumerate() {
        let store = if n % 2 == 0 { &one } else { &other };
        commit(store, TENANT, vec![put("Basic", "a", text, &["k\0x"])]).unwrap();
        commit(store, TENANT, vec![put("Basic", "b", "small", &["k\0x"])]).unwrap();
    }
    let of = |store: &Mongo, n: u64| {
        let view = store.view(TENANT).unwrap();
        let rid = view.find("Basic", "a").unwrap().unwrap();
        let version = view.version(rid, n).unwrap().unwrap();
        String::from_utf8(version.body.unwrap().unpack(n, version.time).unwrap()).unwrap()
    };
    let all_are_there = |store: &Mongo| {
        for (n, text) in (1..).zip(&texts) {
            assert!(of(store, n).ends_with(&format!(r#""text":"{text}"}}"#)), "version {n}");
        }
    };
    for store in [&one, &other] {
        all_are_there(store);
    }
    let parts = documents(&address)["parts"];
    assert!(parts >= 10, "{parts} parts");
    // A read of a row with parts is one command more, and one for each further answer of 16 MB.
    let before = one.round_trips();
    of(&one, 6);
    println!("{} round trips: a body of 42 MB", one.round_trips() - before);

    let ring = one.keyring().unwrap();
    ring.rotate(TENANT).unwrap();
    let mut after: Box<[u8]> = Box::default();
    loop {
        let found = one.old_rows(TENANT, &after, 10).unwrap();
        wait(one.commit(Commit { reseals: found.rows, ..Commit::of(TENANT) })).unwrap();
        let Some(next) = found.next else { break };
        after = next;
    }
    ring.retire(TENANT, ring.newest(TENANT)).unwrap();
    assert_eq!(ring.drop_retired(TENANT, u32::MAX).unwrap(), 1);
    all_are_there(&other);
    assert_eq!(documents(&address)["parts"], parts);

    wait(one.destroy(TENANT)).unwrap();
    assert_eq!(documents(&address)["parts"], 0);
}

#[test]
fn large_rows_go_to_mongodb_and_back() {
    let (place, Some(address)) = (Place::new(), new_database()) else { return };
    let options = options(&address, &place);
    let store = place.open("store");
    for n in [0, 1] {
        let changes =
            (0..3).map(|m| put("Basic", &format!("r{m}"), &noise((11 + 9 * m) << 20, 3 * n + m as u64), &["k\0v"]));
        commit(&store, TENANT, changes.collect()).unwrap();
    }
    let origin = Origin::embedded(place.options("store")).unwrap();
    let destination = Destination::mongo(&options, &origin.wrapped_keys().unwrap()).unwrap();
    destination.copy(&origin, false, &mut |_| ()).unwrap();
    drop(origin);
    assert!(documents(&address)["parts"] >= 6);
    let on_mongodb = open(&options);
    assert!(seen(&on_mongodb, TENANT) == seen(&store, TENANT), "on MongoDB");
    let origin = Origin::mongo(options).unwrap();
    origin.backup(&place.path("backups"), false).unwrap();
    let keys = origin.wrapped_keys().unwrap();
    Destination::embedded(&place.options("back"), &keys).unwrap().copy(&origin, false, &mut |_| ()).unwrap();
    let backups = Folder::open(&place.path("backups"), None).unwrap();
    Destination::embedded(&place.options("restored"), &keys).unwrap().restore(&backups).unwrap();
    for name in ["back", "restored"] {
        assert!(seen(&place.open(name), TENANT) == seen(&store, TENANT), "{name}");
    }
}

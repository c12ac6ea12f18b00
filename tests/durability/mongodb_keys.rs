//! Each tenant has its own keys on MongoDB, too, and all processes that share the database seal under the same ones.

use crate::support::mongodb::new_database;
use pharos::clock::SystemClock;
use pharos::store::contract::{commit, put, wait};
use pharos::store::keys::State;
use pharos::store::mongo::{Mongo, Options};
use pharos::store::{Backend, StoreError};
use pharos::tenant::TenantId;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

const TENANT: TenantId = TenantId(3);

fn open(address: &str, key_file: &Path) -> Result<Mongo, StoreError> {
    Mongo::open(Options::at(address, key_file), Arc::new(SystemClock))
}

fn write(store: &Mongo, tenant: TenantId, id: &str) {
    commit(store, tenant, vec![put("Basic", id, "text", &["k"])]).unwrap();
}

/// Whether a resource is there and opens.
fn is_readable(store: &Mongo, tenant: TenantId, id: &str) -> Result<bool, StoreError> {
    let view = store.view(tenant)?;
    let Some(rid) = view.find("Basic", id)? else { return Ok(false) };
    Ok(view.current(rid)?.is_some() && view.keys(rid)?.is_some())
}

/// How many rows are under older keys.
fn old(store: &Mongo) -> usize {
    store.old_rows(TENANT, &[], 10_000).unwrap().rows.len()
}

fn ids(store: &Mongo, tenant: TenantId) -> Vec<String> {
    store.keyring().unwrap().facts(tenant).into_iter().map(|fact| fact.id).collect()
}

#[test]
fn what_one_process_rotates_the_others_seal_under_at_once() {
    let Some(address) = new_database() else { return };
    let folder = tempfile::tempdir().unwrap();
    let [one, other] = [0, 1].map(|_| open(&address, &folder.path().join("key")).unwrap());
    std::thread::scope(|scope| {
        for n in 0..6 {
            let store = [&one, &other][n % 2];
            scope.spawn(move || write(store, TENANT, &format!("first{n}")));
        }
    });
    assert_eq!((ids(&one, TENANT).len(), ids(&other, TENANT)), (1, ids(&one, TENANT)), "one key for both");
    for round in 0..4 {
        let (rotates, follows) = if round % 2 == 0 { (&one, &other) } else { (&other, &one) };
        rotates.keyring().unwrap().rotate(TENANT).unwrap();
        // It has had no time to look at the keys by itself.
        let id = format!("after{round}");
        write(follows, TENANT, &id);
        for n in 0..6 {
            assert!(is_readable(rotates, TENANT, &format!("first{n}")).unwrap());
        }
        assert!(is_readable(rotates, TENANT, &id).unwrap());
        assert_eq!(old(rotates), 2 * (6 + round), "record and keys of all that was there before, and nothing else");
    }
    assert_eq!(ids(&one, TENANT).len(), 5);
    assert_eq!(ids(&one, TENANT), ids(&other, TENANT));
    one.keyring().unwrap().retire(TENANT, 4).unwrap();
    other.keyring().unwrap().renew().unwrap();
    let states: Vec<_> = other.keyring().unwrap().facts(TENANT).into_iter().map(|fact| fact.state).collect();
    assert_eq!(states, [State::Retired, State::Retired, State::Retired, State::Replaced, State::Newest]);
}

#[test]
fn a_tenant_that_one_process_destroys_opens_in_none() {
    let Some(address) = new_database() else { return };
    let folder = tempfile::tempdir().unwrap();
    let [one, other] = [0, 1].map(|_| open(&address, &folder.path().join("key")).unwrap());
    for n in 0..20 {
        write(&one, TENANT, &format!("r{n}"));
    }
    write(&other, TenantId(4), "stays");
    assert!(is_readable(&other, TENANT, "r0").unwrap());
    wait(one.destroy(TENANT)).unwrap();
    // From the first moment on it writes nothing: no look at the keys is needed.
    let refused = commit(&other, TENANT, vec![put("Basic", "late", "", &[])]).unwrap_err().to_string();
    assert!(refused.contains("were destroyed"), "{refused}");
    for store in [&one, &other] {
        assert!(!is_readable(store, TENANT, "r0").unwrap() && store.keyring().unwrap().is_destroyed(TENANT));
        assert!(store.keyring().unwrap().ensure(TENANT).is_err());
        assert!(is_readable(store, TenantId(4), "stays").unwrap());
        assert_eq!(old(store), 0);
    }
    wait(one.destroy(TENANT)).unwrap();
    let again = open(&address, &folder.path().join("key")).unwrap();
    assert!(again.keyring().unwrap().is_destroyed(TENANT) && is_readable(&again, TenantId(4), "stays").unwrap());
}

#[test]
fn a_process_with_the_old_master_key_goes_on_and_waits_for_the_new_one() {
    let Some(address) = new_database() else { return };
    let folder = tempfile::tempdir().unwrap();
    let [own, copy] = ["own", "copy"].map(|name| folder.path().join(name));
    let one = open(&address, &own).unwrap();
    write(&one, TENANT, "a");
    std::fs::copy(&own, &copy).unwrap();
    let other = open(&address, &copy).unwrap();
    assert_eq!(one.keyring().unwrap().rotate_master().unwrap(), 2);
    assert_ne!(std::fs::read(&own).unwrap(), std::fs::read(&copy).unwrap());
    // Its keys are unwrapped already. A key of its own it would wrap by what nobody has any more.
    write(&other, TENANT, "b");
    let refused = commit(&other, TenantId(5), vec![put("Basic", "c", "", &[])]).unwrap_err().to_string();
    assert!(refused.contains("the master key was rotated by another process"), "{refused}");
    write(&one, TenantId(5), "c");
    let told = open(&address, &copy).err().unwrap().to_string();
    assert!(told.contains("restore the right key file"), "{told}");
    std::fs::copy(&own, &copy).unwrap();
    write(&other, TenantId(6), "d");
    write(&other, TenantId(5), "e");
    assert!(is_readable(&one, TenantId(6), "d").unwrap() && is_readable(&one, TENANT, "b").unwrap());
}

#[test]
fn keys_that_are_missing_or_others_are_refused() {
    let Some(address) = new_database() else { return };
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key");
    let store = open(&address, &key).unwrap();
    write(&store, TENANT, "a");
    drop(store);
    std::fs::write(folder.path().join("other"), [7; 32]).unwrap();
    let told = open(&address, &folder.path().join("other")).err().unwrap().to_string();
    assert!(told.contains("was wrapped by local:") && told.contains("restore the right key file"), "{told}");
    let keys = documents(&address, "keys");
    let remove = |id: &str| {
        use mongodb::bson::doc;
        assert_eq!(keys.1.block_on(async { keys.0.delete_one(doc! { "_id": id }).await }).unwrap().deleted_count, 1);
    };
    remove("tenant 3");
    let store = open(&address, &key).unwrap();
    let refused = commit(&store, TENANT, vec![put("Basic", "b", "", &[])]).unwrap_err().to_string();
    assert!(refused.contains("the wrapped keys of tenant 3 are missing"), "{refused}");
    let began = Instant::now();
    for _ in 0..20 {
        assert!(is_readable(&store, TENANT, "a").is_err());
    }
    assert!(began.elapsed() < Duration::from_secs(30));
    drop(store);
    remove("store");
    let told = open(&address, &key).err().unwrap().to_string();
    assert!(told.contains("the wrapped keys of the store are missing"), "{told}");
}

/// A collection of a database, and a runtime to use it in.
fn documents(address: &str, name: &str) -> (mongodb::Collection<mongodb::bson::Document>, tokio::runtime::Runtime) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let client = runtime.block_on(mongodb::Client::with_uri_str(address)).unwrap();
    (client.default_database().unwrap().collection(name), runtime)
}

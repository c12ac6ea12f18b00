//! The embedded store keeps the contract, fresh and after it was closed and opened again; and all that it then holds
//! passes the check, before and after a rebuild.

use pharos::clock::SystemClock;
use pharos::store::embedded::{Embedded, Options, check, rebuild};
use pharos::store::fault::{Faulty, Odds};
use pharos::store::{Backend, Store, contract};
use pharos::tenant::TenantId;
use std::sync::Arc;

#[test]
fn the_embedded_store_keeps_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options::at(folder.path().join("store"));
    for round in 0..2 {
        let store = Embedded::open(options.clone(), Arc::new(SystemClock)).unwrap();
        contract::check_all(&store, TenantId(round * 100)).unwrap();
        store.close().unwrap();
    }
    let before = check(&options).unwrap();
    assert_eq!(before.problems, Vec::<String>::new());
    assert!(before.resources > 6000 && before.versions > 12_000 && before.postings > 12_000 && before.kept > 300);

    rebuild(&options, None).unwrap();
    let after = check(&options).unwrap();
    assert_eq!(after.problems, Vec::<String>::new());
    assert_eq!((after.versions, after.postings, after.kept), (before.versions, before.postings, before.kept));
    let store = Embedded::open(options, Arc::new(SystemClock)).unwrap();
    contract::check_all(&store, TenantId(200)).unwrap();
}

#[test]
fn a_backend_without_faults_keeps_it_and_one_with_faults_is_found_out() {
    let folder = tempfile::tempdir().unwrap();
    let store = Embedded::open(Options::at(folder.path().join("store")), Arc::new(SystemClock)).unwrap();
    let store: Arc<dyn Backend> = Arc::new(store);
    contract::check_all(&Faulty::new(Arc::clone(&store), 1, Odds::default()), TenantId(0)).unwrap();
    let late = Odds { late: 500, ..Odds::default() };
    contract::check_all(&Faulty::new(Arc::clone(&store), 1, late), TenantId(100)).unwrap();
    contract::keeper::check_all(&*Store::new(Arc::clone(&store)).keeper(), TenantId(180)).unwrap();
    let kinds = [
        Odds { refused: 50, ..Odds::default() },
        Odds { unknown: 50, ..Odds::default() },
        Odds { read_fails: 50, ..Odds::default() },
    ];
    for (n, odds) in (2..).zip(kinds) {
        let faulty = Faulty::new(Arc::clone(&store), 1, odds);
        assert!(contract::check_all(&faulty, TenantId(n * 100)).is_err(), "{odds:?}");
    }
}

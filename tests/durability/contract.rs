//! The embedded store keeps the contract, fresh and after it was closed and opened again; and all that it then holds
//! passes the check, before and after a rebuild.

use pharos::clock::SystemClock;
use pharos::store::embedded::{Embedded, Options, check, rebuild};
use pharos::store::{Backend, contract};
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
    assert!(before.resources > 6000 && before.versions > 12_000 && before.postings > 12_000);

    rebuild(&options, None).unwrap();
    let after = check(&options).unwrap();
    assert_eq!(after.problems, Vec::<String>::new());
    assert_eq!((after.versions, after.postings), (before.versions, before.postings));
    let store = Embedded::open(options, Arc::new(SystemClock)).unwrap();
    contract::check_all(&store, TenantId(200)).unwrap();
}

//! The embedded store keeps the contract, fresh and after it was closed and opened again.

use pharos::clock::SystemClock;
use pharos::store::Backend;
use pharos::store::contract;
use pharos::store::embedded::{Embedded, Options};
use pharos::tenant::TenantId;
use std::sync::Arc;

#[test]
fn the_embedded_store_keeps_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..2 {
        let store = Embedded::open(Options::at(folder.path().join("store")), Arc::new(SystemClock)).unwrap();
        contract::check_all(&store, TenantId(round * 100)).unwrap();
        store.close().unwrap();
    }
}

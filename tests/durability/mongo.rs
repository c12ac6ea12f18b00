//! The store on MongoDB keeps the contract, and what else it promises.

use crate::support::mongodb::new_database;
use pharos::clock::SystemClock;
use pharos::store::mongo::{Mongo, Options};
use pharos::store::{Backend, StoreError, contract};
use pharos::tenant::TenantId;
use std::path::Path;
use std::sync::Arc;

fn open(address: &str, folder: &Path) -> Result<Mongo, StoreError> {
    Mongo::open(Options::at(address, folder.join("key")), Arc::new(SystemClock))
}

#[test]
fn the_store_on_mongodb_keeps_the_contract() {
    let Some(address) = new_database() else { return };
    let folder = tempfile::tempdir().unwrap();
    let store = open(&address, folder.path()).unwrap();
    contract::check_all(&store, TenantId(0)).unwrap();
    store.close().unwrap();
}

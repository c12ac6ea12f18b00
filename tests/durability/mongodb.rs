//! The store on MongoDB keeps the contract, and what else it promises.

use crate::support::mongodb::new_database;
use pharos::clock::SystemClock;
use pharos::store::contract::{self, Breach};
use pharos::store::mongo::{Mongo, Options};
use pharos::store::{Backend, StoreError};
use pharos::tenant::TenantId;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

fn open(address: &str, folder: &Path) -> Result<Mongo, StoreError> {
    // The stand-in takes its time for thousands of changes, above all on a busy machine.
    let options = Options { patience: Duration::from_mins(3), ..Options::at(address, folder.join("key")) };
    Mongo::open(options, Arc::new(SystemClock))
}

/// A new database and the store on it, with its key in the folder.
fn new_store() -> Option<(Mongo, TempDir)> {
    let (address, folder) = (new_database()?, tempfile::tempdir().unwrap());
    Some((open(&address, folder.path()).unwrap(), folder))
}

/// Each clause in a database of its own: the stand-in that the tests run on reads all of a collection for each range.
#[test]
fn the_store_on_mongodb_keeps_the_contract() {
    for (name, clause) in contract::CLAUSES.iter().chain(contract::erase::CLAUSES) {
        let Some((store, _folder)) = new_store() else { return };
        let began = Instant::now();
        clause(&store, TenantId(1)).unwrap_or_else(|Breach(how)| panic!("{name}: {how}"));
        println!("{name}: {:?}, {} round trips", began.elapsed(), store.round_trips());
        store.close().unwrap();
    }
}

#[test]
fn the_store_on_mongodb_keeps_records_that_are_no_resources() {
    for (name, clause) in contract::keeper::CLAUSES {
        let Some((store, _folder)) = new_store() else { return };
        let began = Instant::now();
        clause(&store, TenantId(1)).unwrap_or_else(|Breach(how)| panic!("{name}: {how}"));
        println!("{name}: {:?}, {} round trips", began.elapsed(), store.round_trips());
        store.close().unwrap();
    }
}

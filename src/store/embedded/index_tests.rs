//! What the check and the rebuild say of a store whose index has changed its form.

use super::check::{check, rebuild};
use super::{Embedded, Options};
use crate::clock::SystemClock;
use crate::store::contract::index::CLAUSES;
use crate::tenant::TenantId;
use std::sync::Arc;

#[test]
fn a_store_with_hidden_keys_is_sound_and_is_rebuilt_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { free_floor_mib: 1, ..Options::at(folder.path().join("data")) };
    let store = Embedded::open(options.clone(), Arc::new(SystemClock)).unwrap();
    for (tenant, (name, clause)) in (1..).map(TenantId).zip(CLAUSES) {
        clause(&store, tenant).unwrap_or_else(|breach| panic!("{name}: {breach}"));
    }
    drop(store);
    let before = check(&options).unwrap();
    assert_eq!(before.problems, Vec::<String>::new());
    rebuild(&options, None).unwrap();
    let after = check(&options).unwrap();
    assert_eq!((after.problems, after.postings), (Vec::new(), before.postings));
}

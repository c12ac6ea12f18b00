//! What of the store's work shows in its files.

use super::{Embedded, Options, check, layout};
use crate::auth::keeper::Keep;
use crate::clock::{Clock, FixedClock, Micros};
use crate::store::Backend;
use crate::store::contract::erase::{before, erase, whole};
use crate::store::contract::keeper::{keep, put as keep_put};
use crate::store::contract::{commit, put};
use crate::store::rows::kept::{ERASED_TOGETHER, NEVER};
use crate::tenant::TenantId;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Whether a file of the store holds these bytes.
fn holds(folder: &Path, bytes: &[u8]) -> bool {
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).any(|path| {
        if path.is_dir() {
            return holds(&path, bytes);
        }
        path.is_file() && memchr::memmem::find(&std::fs::read(path).unwrap(), bytes).is_some()
    })
}

#[test]
fn what_was_erased_leaves_the_files_when_they_are_compacted() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { free_floor_mib: 0, ..Options::at(folder.path().join("store")) };
    let open = || Embedded::open(options.clone(), FixedClock::at(Micros(0)) as Arc<dyn Clock>).unwrap();
    let (store, tenant) = (open(), TenantId(1));
    // Ids and search keys stand plain in the files.
    for text in ["one", "two"] {
        commit(&store, tenant, vec![put("Basic", "id-that-goes", text, &["k\0key-that-goes"])]).unwrap();
        commit(&store, tenant, vec![put("Basic", "id-that-stays", text, &["k\0key-that-stays"])]).unwrap();
    }
    store.compact().unwrap();
    erase(&store, tenant, vec![whole("Basic", "id-that-goes", 2), before("Basic", "id-that-stays", 2)]).unwrap();
    store.close().unwrap();
    drop(store);
    let is_there = |text: &str| holds(&options.folder, text.as_bytes());
    assert!(is_there("id-that-goes") && is_there("id-that-stays"), "removed, and still in older files");

    let store = open();
    store.compact().unwrap();
    store.close().unwrap();
    drop(store);
    assert!(!is_there("id-that-goes") && !is_there("key-that-goes"));
    assert!(is_there("id-that-stays") && is_there("key-that-stays"));
    assert_eq!(check(&options).unwrap().problems, Vec::<String>::new());
}

#[test]
fn what_has_expired_is_erased_step_by_step_without_further_writes() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { free_floor_mib: 0, ..Options::at(folder.path().join("store")) };
    let store = Embedded::open(options, FixedClock::at(Micros(1_000_000))).unwrap();
    let tenant = TenantId(7);
    let until = |expires, id: String| Keep { expires: Some(expires), ..keep_put("jti", &id, "") };
    let expired = (0..=2 * ERASED_TOGETHER).map(|n| until(Micros(5), n.to_string()));
    keep(&store, tenant, expired.chain([until(NEVER, "not-yet".into())]).collect()).unwrap();
    let records = store.shared.tables.records.clone();
    let count = |prefix| records.prefix(prefix).count();
    assert_eq!(count(layout::all_kept(tenant)), 2 * ERASED_TOGETHER + 2, "a group erases what was there before it");
    keep(&store, tenant, vec![keep_put("client", "trigger", "")]).unwrap();
    assert!(count(layout::all_kept(tenant)) <= ERASED_TOGETHER + 3);
    let deadline = Instant::now() + Duration::from_secs(20);
    while count(layout::all_kept(tenant)) > 2 {
        assert!(Instant::now() < deadline, "the rest is not erased");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(count(layout::all_expiry()), 1);
}

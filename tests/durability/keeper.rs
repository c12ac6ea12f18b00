//! Records that expire, with a clock that is set by hand.

use pharos::auth::keeper::{Expect, Keep, Keeper, KeeperError};
use pharos::clock::{Clock, Micros};
use pharos::store::Backend;
use pharos::store::contract::keeper::{keep, put};
use pharos::store::contract::{self, commit};
use pharos::store::embedded::{Embedded, Options, check};
use pharos::tenant::TenantId;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

const TENANT: TenantId = TenantId(4);

struct SetByHand(AtomicI64);

impl SetByHand {
    fn set(&self, seconds: i64) {
        self.0.store(seconds * 1_000_000, Ordering::Relaxed);
    }
}

impl Clock for SetByHand {
    fn now(&self) -> Micros {
        Micros(self.0.load(Ordering::Relaxed))
    }

    fn new_id(&self) -> String {
        "id".into()
    }
}

fn until(seconds: i64, id: &str) -> Keep {
    Keep { expires: Some(Micros(seconds * 1_000_000)), ..put("session", id, "text") }
}

#[test]
fn records_expire_by_the_clock_and_are_then_erased() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options::at(folder.path().join("store"));
    let clock = Arc::new(SetByHand(AtomicI64::new(0)));
    let store = Embedded::open(options.clone(), clock.clone()).unwrap();
    let is_there = |store: &Embedded, id: &str| store.get(TENANT, "session", id).unwrap().is_some();
    keep(&store, TENANT, vec![until(10, "a"), until(10, "b"), until(20, "c"), put("session", "d", "")]).unwrap();
    clock.set(9);
    assert!(is_there(&store, "a"));
    keep(&store, TENANT, vec![Keep { expect: Expect::Version(1), ..until(30, "b") }]).unwrap();
    clock.set(10);
    assert!(!is_there(&store, "a"), "from its time on it is not there");
    assert!(is_there(&store, "b"), "what was prolonged is");
    let stale = keep(&store, TENANT, vec![Keep { expect: Expect::Version(1), ..until(40, "a") }]);
    assert!(matches!(stale, Err(KeeperError::Stale(0))));
    let listed = store.list(TENANT, "session", "", None, 9).unwrap();
    assert_eq!(listed.iter().map(|kept| (&*kept.id, kept.version)).collect::<Vec<_>>(), [("b", 2), ("c", 1), ("d", 1)]);
    let epoch = store.epoch(TENANT);
    commit(&store, TENANT, vec![contract::put("Basic", "any", "", &[])]).unwrap();
    assert_eq!(store.epoch(TENANT), epoch, "erasing is no change");
    store.close().unwrap();
    drop(store);
    let report = check(&options).unwrap();
    assert_eq!(
        (report.problems, report.kept),
        (Vec::new(), 3),
        "a commit of resources erased the one that has expired"
    );

    clock.set(29);
    let store = Embedded::open(options.clone(), clock.clone()).unwrap();
    assert!(is_there(&store, "b") && !is_there(&store, "c"));
    keep(&store, TENANT, vec![Keep { expect: Expect::Absent, ..until(50, "c") }, until(50, "a")]).unwrap();
    clock.set(30);
    keep(&store, TENANT, vec![until(60, "d")]).unwrap();
    store.close().unwrap();
    drop(store);
    let report = check(&options).unwrap();
    assert_eq!((report.problems, report.kept), (Vec::new(), 3), "`b` is erased; `c` is not: it was replaced first");
    let store = Embedded::open(options, clock).unwrap();
    assert!(is_there(&store, "a") && is_there(&store, "c") && is_there(&store, "d") && !is_there(&store, "b"));
}

//! Disks that fail, fill up and hang. Each test runs its body in a process of its own, on a disk that obeys orders.

use crate::disk::Disk;
use pharos::auth::keeper::{Keep, Keeper, KeeperError};
use pharos::clock::SystemClock;
use pharos::store::contract::keeper::keep;
use pharos::store::contract::{self, put};
use pharos::store::embedded::{Embedded, Options, check};
use pharos::store::{Backend, Commit, CommitError, Committed, StoreError};
use pharos::tenant::TenantId;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

const TENANT: TenantId = TenantId(3);

/// Runs `body` in another process, on a disk that obeys.
pub fn on_a_bad_disk(test: &str, body: impl FnOnce(&Options, &Disk)) {
    if let Ok(folder) = std::env::var("PHAROS_TEST_FOLDER") {
        let folder = std::path::PathBuf::from(folder);
        let options = Options { disk_limit: Duration::from_millis(200), ..Options::at(folder.join("root/store")) };
        body(&options, &Disk::new(&folder.join("root"), &folder.join("orders")));
        println!("the body ran to its end");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::new(&folder.path().join("root"), &folder.path().join("orders"));
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture"]).env("PHAROS_TEST_FOLDER", folder.path());
    disk.under(&mut command);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("the body ran to its end"), "{said}");
}

fn open(options: &Options) -> Embedded {
    Embedded::open(options.clone(), Arc::new(SystemClock)).unwrap()
}

fn write(store: &Embedded, id: &str) -> Result<Committed, CommitError> {
    contract::commit(store, TENANT, vec![put("Basic", id, "some text", &["k\0x"])])
}

fn is_there(store: &Embedded, id: &str) -> bool {
    let view = store.view(TENANT).unwrap();
    view.find("Basic", id).unwrap().is_some_and(|rid| view.current(rid).unwrap().is_some())
}

fn record(id: &str) -> Keep {
    contract::keeper::put("client", id, "")
}

/// After the order `fault` no write succeeds, not even when the disk is well again, until the store was opened anew.
fn fails_and_refuses_to_go_on(options: &Options, disk: &Disk, fault: &str) {
    let store = open(options);
    write(&store, "before").unwrap();
    disk.order(fault);
    let error = write(&store, "during").unwrap_err();
    assert!(matches!(error, CommitError::Store(StoreError::OutcomeUnknown(_))), "{error}");
    disk.revoke(fault);
    let error = write(&store, "after").unwrap_err();
    assert!(matches!(error, CommitError::Store(StoreError::Closed(_))), "{error}");
    let error = keep(&store, TENANT, vec![record("after")]).unwrap_err();
    assert!(matches!(&error, KeeperError::Failed(why) if why.contains("does not accept")), "{error}");
    assert!(matches!(store.health(), Err(StoreError::Closed(_))) && store.failure().is_some());
    assert!(is_there(&store, "before"), "what was committed can still be read");
    assert!(!is_there(&store, "during"), "what failed was never shown");
    assert!(store.close().is_err(), "it was no orderly stop");
    drop(store);
    let store = open(options);
    assert!(is_there(&store, "before"));
    assert!(!is_there(&store, "after"));
    write(&store, "again").unwrap();
    store.close().unwrap();
    drop(store);
    assert_eq!(check(options).unwrap().problems, Vec::<String>::new());
}

#[test]
fn after_a_failed_fsync_the_store_refuses_to_go_on() {
    on_a_bad_disk("faults::after_a_failed_fsync_the_store_refuses_to_go_on", |options, disk| {
        fails_and_refuses_to_go_on(options, disk, "fail-sync");
    });
}

#[test]
fn after_a_failed_write_the_store_refuses_to_go_on() {
    on_a_bad_disk("faults::after_a_failed_write_the_store_refuses_to_go_on", |options, disk| {
        fails_and_refuses_to_go_on(options, disk, "full");
    });
}

#[test]
fn a_kept_record_whose_fsync_failed_is_never_shown() {
    on_a_bad_disk("faults::a_kept_record_whose_fsync_failed_is_never_shown", |options, disk| {
        let store = open(options);
        keep(&store, TENANT, vec![record("before")]).unwrap();
        let epoch = store.epoch(TENANT);
        disk.order("fail-sync");
        let error = keep(&store, TENANT, vec![record("during")]).unwrap_err();
        assert!(matches!(&error, KeeperError::Failed(why) if why.contains("unknown")), "{error}");
        disk.revoke("fail-sync");
        assert!(store.get(TENANT, "client", "before").unwrap().is_some(), "what was kept can still be read");
        assert!(store.get(TENANT, "client", "during").unwrap().is_none(), "what failed was never shown");
        assert_eq!(store.epoch(TENANT), epoch);
        assert!(store.close().is_err());
        drop(store);
        let store = open(options);
        assert!(store.get(TENANT, "client", "before").unwrap().is_some());
        keep(&store, TENANT, vec![record("again")]).unwrap();
        store.close().unwrap();
    });
}

#[test]
fn a_hung_disk_is_answered_in_time_and_commits_go_on_after_it() {
    on_a_bad_disk("faults::a_hung_disk_is_answered_in_time_and_commits_go_on_after_it", |options, disk| {
        let store = open(options);
        write(&store, "before").unwrap();
        disk.order("hang");
        let begun = Instant::now();
        let error = write(&store, "during").unwrap_err();
        assert!(matches!(error, CommitError::Store(StoreError::OutcomeUnknown(_))), "{error}");
        assert!(begun.elapsed() < Duration::from_secs(20), "the answer does not wait for the disk");
        assert!(matches!(store.health(), Err(StoreError::Closed(_))) && store.failure().is_none());
        let error = write(&store, "next").unwrap_err();
        assert!(matches!(error, CommitError::Store(StoreError::Closed(_))), "{error}");
        assert!(is_there(&store, "before"), "reads go on");
        disk.revoke("hang");
        let deadline = Instant::now() + Duration::from_secs(30);
        while store.health().is_err() {
            assert!(Instant::now() < deadline, "the store does not come back");
            std::thread::yield_now();
        }
        assert!(is_there(&store, "during"), "the unknown outcome was a commit");
        assert!(!is_there(&store, "next"), "what was refused did not happen");
        write(&store, "after").unwrap();
        store.close().unwrap();
    });
}

#[test]
fn below_the_floor_of_free_space_the_store_is_read_only() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options::at(folder.path().join("store"));
    let store = open(&options);
    write(&store, "a").unwrap();
    keep(&store, TENANT, vec![record("a")]).unwrap();
    store.close().unwrap();
    drop(store);
    let store = open(&Options { free_floor_mib: u64::MAX, ..options });
    let error = write(&store, "b").unwrap_err();
    assert!(matches!(error, CommitError::Store(StoreError::ReadOnly(_))), "{error}");
    assert!(matches!(store.health(), Err(StoreError::ReadOnly(_))) && store.failure().is_none());
    assert!(is_there(&store, "a"), "reads go on");
    let error = keep(&store, TENANT, vec![record("b")]).unwrap_err();
    assert!(matches!(&error, KeeperError::Failed(why) if why.contains("read-only")), "{error}");
    assert!(store.get(TENANT, "client", "a").unwrap().is_some() && store.get(TENANT, "client", "b").unwrap().is_none());
}

#[test]
fn a_full_queue_is_busy_and_a_closed_store_is_closed() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&Options { most_waiting: 0, ..Options::at(folder.path().join("store")) });
    let commit = Commit::of(TENANT);
    let error = contract::wait(store.commit(commit)).unwrap_err();
    assert!(matches!(error, CommitError::Store(StoreError::Busy)), "{error}");
    let error = keep(&store, TENANT, vec![record("a")]).unwrap_err();
    assert!(matches!(&error, KeeperError::Failed(why) if why.contains("too many")), "{error}");
    store.close().unwrap();
    let error = write(&store, "a").unwrap_err();
    assert!(matches!(error, CommitError::Store(StoreError::Closed(_))), "{error}");
    let error = keep(&store, TENANT, vec![record("a")]).unwrap_err();
    assert!(matches!(&error, KeeperError::Failed(why) if why.contains("shutting down")), "{error}");
}

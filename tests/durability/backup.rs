//! Backups: what was backed up while it was written to comes back whole, as of the backup or of a moment before; nobody reads it without the
//! keys; and what was damaged is found and named.

use crate::workload::{self, Oracle, Rng, first_seed};
use pharos::audit::form::AuditEvents;
use pharos::audit::record::{Event, Record};
use pharos::auth::agent::Agent;
use pharos::auth::keeper::Keep;
use pharos::clock::{Micros, SystemClock};
use pharos::key::KeyList;
use pharos::store::contract::keeper::{keep, put as put_kept};
use pharos::store::contract::{commit, put, wait};
use pharos::store::embedded::{Embedded, Options, check, rebuild};
use pharos::store::ledger::Ledger;
use pharos::store::transfer::{Destination, Folder, Origin, Restored, Written, keys_in};
use pharos::store::{Backend, NewKeys, StoreError, StoreResult};
use pharos::tenant::TenantId;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tempfile::TempDir;

const TENANT: TenantId = TenantId(7);
const OTHER: TenantId = TenantId(8);

/// A folder with a store, its backups, and what is restored of them.
pub struct Place {
    folder: TempDir,
}

impl Place {
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn options(&self, name: &str) -> Options {
        let key_file = self.path("master.key");
        let form = Arc::new(AuditEvents::new(&pharos::config::Config::default().base_url()));
        Options { free_floor_mib: 0, key_file, form, ..Options::at(self.path(name)) }
    }

    pub fn open(&self, name: &str) -> Embedded {
        Embedded::open(self.options(name), Arc::new(SystemClock)).unwrap()
    }

    fn backup(&self) -> Written {
        Origin::embedded(self.options("store")).unwrap().backup(&self.path("backups"), false).unwrap()
    }

    fn try_restore(&self, to: &str, until: Option<Micros>) -> StoreResult<Restored> {
        let from = Folder::open(&self.path("backups"), until)?;
        let keys = keys_in(&self.path("store/keys"))?;
        Destination::embedded(&self.options(to), &keys)?.restore(&from)
    }

    /// Restores, and has the store that was made checked.
    fn restore(&self, to: &str, until: Option<Micros>) -> Restored {
        let restored = self.try_restore(to, until).unwrap();
        assert_eq!(check(&self.options(to)).unwrap().problems, Vec::<String>::new());
        restored
    }
}

/// Number, time, bytes, and keys.
type SeenVersion = (u64, i64, Option<Vec<u8>>, Option<KeyList>);

/// All versions of all resources with their keys, the log, records that are no resources, and the blocks of the ledger.
#[derive(Debug, PartialEq, Eq)]
pub struct Seen {
    resources: BTreeMap<(String, String), Vec<SeenVersion>>,
    log: Vec<(i64, u32, u64, u64)>,
    kept: Vec<(String, u64, Vec<u8>)>,
    ledger: Vec<Vec<u8>>,
    scanned: Vec<(Vec<u8>, u64)>,
}

impl Seen {
    /// Without the ledger, which gets an entry whenever the program unwraps a key.
    pub fn without_ledger(mut self) -> Self {
        self.ledger.clear();
        self.scanned.retain(|(_, rid)| pharos::store::Rid(*rid).entry().is_none());
        self
    }

    /// Whether the other's ledger is the beginning of this one.
    pub fn has_ledger_of(&self, other: &Self) -> bool {
        self.ledger.starts_with(&other.ledger)
    }
}

pub fn seen(store: &(impl Backend + ?Sized), tenant: TenantId) -> Seen {
    let view = store.view(tenant).unwrap();
    let mut resources = BTreeMap::new();
    for outline in view.resources(pharos::store::Rid(0)) {
        let outline = outline.unwrap();
        let versions = (outline.oldest..=outline.version).map(|number| {
            let version = view.version(outline.rid, number).unwrap().unwrap();
            let body = version.body.map(|body| body.unpack(version.version, version.time).unwrap());
            (number, version.time.0, body, view.version_keys(outline.rid, number).unwrap())
        });
        resources.insert((outline.type_name.to_string(), outline.id.to_string()), versions.collect());
    }
    let log = view.log_back(None, (Micros(i64::MAX), 0)).map(|entry| entry.unwrap());
    let log = log.map(|entry| (entry.time.0, entry.index, entry.rid.0, entry.version)).collect();
    let kept = store.list(tenant, "client", "", None, 1000).unwrap();
    let kept = kept.into_iter().map(|kept| (kept.id.to_string(), kept.version, kept.bytes)).collect();
    let ledger = store.blocks(tenant, 0, false).unwrap().map(|block| block.unwrap().bytes).collect();
    let all = pharos::key::KeyRange::prefix(b"");
    let scan = |type_name: &str| {
        let postings = view.scan(type_name, &all).map(|posting| posting.unwrap());
        postings.map(|posting| (posting.key.to_vec(), posting.rid.0)).collect::<Vec<_>>()
    };
    let scanned = ["Basic", "Group", "AuditEvent"].into_iter().flat_map(scan).collect();
    Seen { resources, log, kept, ledger, scanned }
}

pub fn record(store: &impl Ledger, tenant: TenantId, text: &str) {
    let record = Record::of(Event::Interaction("read".into()), Cow::Owned(Agent::client("app")));
    let entry = record.saying(text.to_owned()).entry(Micros(1_700_000_000_000_000)).unwrap();
    wait(store.record(tenant, entry)).unwrap();
}

fn step(store: &Embedded, tenant: TenantId, seed: u64, client: &str, n: u64, erases: bool) -> Micros {
    let mut ops = workload::step(seed, client, n);
    ops.retain(|op| erases || !op.is_erasure);
    let made = workload::commit(&*store.view(tenant).unwrap(), tenant, &ops);
    wait(store.commit(made)).unwrap().time
}

#[test]
fn what_is_backed_up_while_it_is_written_to_comes_back() {
    let (place, seed) = (Place::new(), first_seed(900));
    println!("seed {seed}");
    let store = place.open("store");
    let (is_over, mut rng) = (AtomicBool::new(false), Rng(seed));
    let steps = std::thread::scope(|scope| {
        let writers: Vec<_> = [(TENANT, "a"), (TENANT, "b"), (OTHER, "c")]
            .map(|(tenant, client)| {
                let (store, is_over) = (&store, &is_over);
                scope.spawn(move || {
                    let mut n = 0;
                    while !is_over.load(Ordering::Relaxed) || n < 60 {
                        step(store, tenant, seed, client, n, true);
                        keep(store, tenant, vec![put_kept("client", &format!("{client}{}", n % 9), &format!("{n}"))])
                            .unwrap();
                        record(store, tenant, &format!("{client} {n}"));
                        n += 1;
                    }
                    n
                })
            })
            .into();
        for n in 0..5 {
            let written = place.backup();
            assert_eq!(written.number, n + 1);
            // A store that is being written to gives one moment: what was restored of it is sound.
            let name = format!("meanwhile-{n}");
            assert_eq!(place.restore(&name, None).number, n + 1);
            std::thread::sleep(std::time::Duration::from_millis(rng.below(60)));
        }
        is_over.store(true, Ordering::Relaxed);
        writers.into_iter().map(|writer| writer.join().unwrap()).collect::<Vec<_>>()
    });
    println!("{steps:?} steps");
    wait(store.settled()).unwrap();
    let written = place.backup();
    assert_eq!(written.added_to, [TENANT.0, OTHER.0], "nothing asks for all again");
    place.restore("restored", None);
    let restored = place.open("restored");
    for tenant in [TENANT, OTHER] {
        assert!(seen(&restored, tenant) == seen(&store, tenant), "tenant {}", tenant.0);
    }
    let mut oracle = Oracle::after(seed, "a", steps[0]);
    oracle.0.extend(Oracle::after(seed, "b", steps[1]).0);
    workload::verify_all(&*restored.view(TENANT).unwrap(), &oracle);
    // It goes on where it was.
    step(&restored, TENANT, seed, "a", steps[0], true);
    keep(&restored, TENANT, vec![put_kept("client", "new", "x")]).unwrap();
    restored.close().unwrap();
    drop(restored);
    assert_eq!(check(&place.options("restored")).unwrap().problems, Vec::<String>::new());
}

#[test]
fn a_store_comes_back_as_of_a_moment() {
    let (place, seed) = (Place::new(), first_seed(910));
    let store = place.open("store");
    let mut times = Vec::new();
    for n in 0..120 {
        times.push(step(&store, TENANT, seed, "a", n, false));
        if [30, 60, 100].contains(&n) {
            place.backup();
        }
    }
    place.backup();
    for n in [0_usize, 1, 17, 30, 31, 45, 60, 99, 110, 119] {
        let name = format!("after-{n}");
        place.restore(&name, Some(times[n]));
        let mut oracle = Oracle::default();
        for n in 0..=n as u64 {
            oracle.apply(&workload::step(seed, "a", n).into_iter().filter(|op| !op.is_erasure).collect::<Vec<_>>());
        }
        let restored = place.open(&name);
        let view = restored.view(TENANT).unwrap();
        assert_eq!(Oracle::observe(&*view, "a"), oracle, "as of step {n}");
        workload::verify_all(&*view, &oracle);
    }
    let later = place.try_restore("later", Some(Micros(i64::MAX))).unwrap_err();
    assert!(later.to_string().contains("the last backup"), "{later}");
}

#[test]
fn what_was_erased_after_a_moment_is_in_the_backup_behind_it() {
    let place = Place::new();
    let store = place.open("store");
    commit(&store, TENANT, vec![put("Basic", "gone", "text", &["k\0v"])]).unwrap();
    let moment = commit(&store, TENANT, vec![put("Basic", "stays", "text", &["k\0v"])]).unwrap().time;
    commit(&store, TENANT, vec![put("Basic", "gone", "changed", &["k\0v"])]).unwrap();
    place.backup();
    let erasure = pharos::store::contract::erase::whole("Basic", "gone", 2);
    wait(store.commit(pharos::store::Commit { erasures: vec![erasure], ..pharos::store::Commit::of(TENANT) })).unwrap();
    place.backup();
    place.restore("then", Some(moment));
    let then = place.open("then");
    let view = then.view(TENANT).unwrap();
    let rid = view.find("Basic", "gone").unwrap().unwrap();
    assert_eq!(view.current(rid).unwrap().unwrap().version, 1);
    place.restore("now", None);
    assert!(seen(&place.open("now"), TENANT) == seen(&store, TENANT));
}

#[test]
fn what_the_log_does_not_tell_is_backed_up_too() {
    let place = Place::new();
    let store = place.open("store");
    for n in 0..20 {
        commit(&store, TENANT, vec![put("Basic", &format!("b{n}"), "body", &["k\0v1"])]).unwrap();
    }
    place.backup();
    let list = KeyList::new(vec![b"k\0v2".as_slice().into()]);
    let new = NewKeys { type_name: "Basic".into(), id: "b3".into(), version: 1, keys: list };
    let done =
        wait(store.commit(pharos::store::Commit { new_keys: vec![new], ..pharos::store::Commit::of(TENANT) })).unwrap();
    assert_eq!(done.written.iter().filter(|written| written.changed).count(), 1);
    assert_eq!(place.backup().complete, [TENANT.0], "a key list was replaced");
    assert!(place.backup().complete.is_empty());
    // A key that is dropped takes the backups with it that were sealed under it.
    let ring = store.keyring().unwrap();
    ring.rotate(TENANT).unwrap();
    assert!(place.backup().complete.is_empty());
    let found = store.old_rows(TENANT, &[], usize::MAX).unwrap();
    wait(store.commit(pharos::store::Commit { reseals: found.rows, ..pharos::store::Commit::of(TENANT) })).unwrap();
    ring.retire(TENANT, ring.newest(TENANT)).unwrap();
    assert_eq!(ring.drop_retired(TENANT, u32::MAX).unwrap(), 1);
    assert_eq!(place.backup().complete, [TENANT.0], "the key of the earlier ones is gone");
    place.restore("restored", None);
    assert!(seen(&place.open("restored"), TENANT) == seen(&store, TENANT));
}

/// Whether a file below a folder holds these bytes.
fn holds(folder: &Path, bytes: &[u8]) -> bool {
    let files = std::fs::read_dir(folder).unwrap().map(|entry| std::fs::read(entry.unwrap().path()).unwrap());
    files.into_iter().any(|file| memchr::memmem::find(&file, bytes).is_some())
}

#[test]
fn nobody_reads_a_backup_without_the_keys() {
    let place = Place::new();
    let store = place.open("store");
    let names = ["family\0nlovelace", "given\0nada"];
    commit(&store, TENANT, vec![put("Patient", "patient-of-mine", "Lovelace", &names)]).unwrap();
    commit(&store, TENANT, vec![put("Patient", "patient-of-mine", "Byron", &names)]).unwrap();
    keep(
        &store,
        TENANT,
        vec![Keep { expires: Some(Micros(i64::MAX)), ..put_kept("client", "client-of-mine", "hash") }],
    )
    .unwrap();
    record(&store, TENANT, "note-of-mine");
    place.backup();
    record(&store, TENANT, "note-of-mine");
    place.backup();
    for text in ["Lovelace", "lovelace", "Byron", "Patient", "-of-mine", "family", "wrapped"] {
        assert!(!holds(&place.path("backups"), text.as_bytes()), "{text}");
    }
    let keys = keys_in(&place.path("store/keys")).unwrap();
    let wrapped = keys.iter().flat_map(|keys| &keys.keys).map(|key| key.wrapped().unwrap().bytes);
    wrapped.for_each(|bytes| assert!(!holds(&place.path("backups"), &bytes)));

    let from = Folder::open(&place.path("backups"), None).unwrap();
    let stranger = Options { key_file: place.path("other.key"), ..place.options("stranger") };
    assert!(Destination::embedded(&stranger, &keys).is_err(), "there is no such key file");
    std::fs::write(place.path("other.key"), [1; 32]).unwrap();
    let error = Destination::embedded(&stranger, &keys).err().unwrap();
    assert!(error.to_string().contains("restore the right key file"), "{error}");
    // Keys of another store are not these.
    let other = place.open("another");
    commit(&other, TENANT, vec![put("Basic", "b", "text", &[])]).unwrap();
    let keys = keys_in(&place.path("another/keys")).unwrap();
    let error = Destination::embedded(&place.options("wrong"), &keys).unwrap().restore(&from).unwrap_err();
    assert!(error.to_string().contains("does not open"), "{error}");
    assert!(Destination::embedded(&place.options("without"), &[]).is_err());
}

#[test]
fn a_destroyed_tenant_is_in_no_backup_any_more() {
    let place = Place::new();
    let store = place.open("store");
    for tenant in [TENANT, OTHER] {
        commit(&store, tenant, vec![put("Basic", "b", "text", &["k\0v"])]).unwrap();
        record(&store, tenant, "what happened");
    }
    place.backup();
    wait(store.destroy(TENANT)).unwrap();
    let restored = place.restore("before", None);
    assert_eq!(restored.destroyed, [TENANT.0]);
    let before = place.open("before");
    assert!(before.view(TENANT).unwrap().find("Basic", "b").unwrap().is_none());
    assert!(before.view(OTHER).unwrap().find("Basic", "b").unwrap().is_some());
    assert_eq!(before.blocks(TENANT, 0, true).unwrap().count(), 1, "its ledger is the proof of it");
    // The next backup says nothing of it but the ledger.
    place.backup();
    place.restore("after", None);
    assert!(seen(&place.open("after"), OTHER) == seen(&store, OTHER));
}

#[test]
fn damage_is_found_and_named() {
    let place = Place::new();
    let store = place.open("store");
    commit(&store, TENANT, vec![put("Basic", "b", "text", &["k\0v"])]).unwrap();
    commit(&store, OTHER, vec![put("Basic", "b", "text", &["k\0v"])]).unwrap();
    record(&store, TENANT, "what happened");
    place.backup();
    commit(&store, TENANT, vec![put("Basic", "b", "text 2", &["k\0v"])]).unwrap();
    place.backup();
    drop(store);
    let backups = place.path("backups");
    let files =
        ["000001.json", "000002.json", "000001-tenant-7", "000001-tenant-8", "000002-tenant-7", "000001-ledgers"];
    let named = |what: &str, name: &str| {
        let error = place.try_restore(&format!("{what}-{name}"), None).unwrap_err();
        assert!(error.to_string().contains(name), "{what} {name}: {error}");
    };
    for name in files {
        let path = backups.join(name);
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        named("cut-off", name);
        let mut altered = whole.clone();
        let at = altered.len() / 2;
        altered[at] ^= 1;
        std::fs::write(&path, &altered).unwrap();
        named("altered", name);
        std::fs::write(&path, &whole).unwrap();
    }
    std::fs::remove_file(backups.join("000001-tenant-8")).unwrap();
    named("missing", "000001-tenant-8");
    std::fs::copy(backups.join("000001-tenant-7"), backups.join("000001-tenant-8")).unwrap();
    named("swapped", "000001-tenant-8");
}

/// What the others stand on is gone: nothing is restored in part, and the next backup has all.
#[test]
fn a_base_that_is_missing_is_named() {
    let place = Place::new();
    let store = place.open("store");
    commit(&store, TENANT, vec![put("Basic", "b", "text", &["k\0v"])]).unwrap();
    place.backup();
    commit(&store, TENANT, vec![put("Basic", "c", "text", &["k\0v"])]).unwrap();
    place.backup();
    for name in ["000001.json", "000001-tenant-7"] {
        std::fs::remove_file(place.path("backups").join(name)).unwrap();
    }
    let error = Folder::open(&place.path("backups"), None).unwrap_err();
    assert!(error.to_string().contains("000001.json") && error.to_string().contains("tenant 7"), "{error}");
    assert_eq!(place.backup().complete, [TENANT.0]);
    place.restore("restored", None);
    assert!(seen(&place.open("restored"), TENANT) == seen(&store, TENANT));
}

/// A store that was taken back to a moment goes on otherwise than the one that the backups are of.
#[test]
fn a_restored_store_is_backed_up_into_the_same_folder() {
    let place = Place::new();
    let store = place.open("store");
    let moment = commit(&store, TENANT, vec![put("Basic", "a", "text", &["k\0v"])]).unwrap().time;
    place.backup();
    for id in ["a", "b", "c"] {
        commit(&store, TENANT, vec![put("Basic", id, "of the first", &["k\0v"])]).unwrap();
    }
    place.backup();
    place.restore("other", Some(moment));
    let other = place.open("other");
    commit(&other, TENANT, vec![put("Basic", "d", "of the other", &["k\0v"])]).unwrap();
    let backup = || Origin::embedded(place.options("other")).unwrap().backup(&place.path("backups"), false).unwrap();
    assert_eq!(backup().complete, [TENANT.0]);
    commit(&other, TENANT, vec![put("Basic", "e", "of the other", &["k\0v"])]).unwrap();
    assert_eq!(backup().added_to, [TENANT.0], "it is known from then on");
    place.restore("again", None);
    assert!(seen(&place.open("again"), TENANT) == seen(&other, TENANT));
}

#[test]
fn key_lists_that_a_rebuild_made_are_backed_up() {
    let place = Place::new();
    let store = place.open("store");
    commit(&store, TENANT, vec![put("Basic", "b", "text", &["k\0v1"])]).unwrap();
    place.backup();
    store.close().unwrap();
    drop(store);
    let list = || KeyList::new(vec![b"k\0v2".as_slice().into()]);
    rebuild(&place.options("store"), Some(&|_| Box::new(move |_| list()))).unwrap();
    assert_eq!(place.backup().complete, [TENANT.0]);
    place.restore("restored", None);
    let (restored, store) = (place.open("restored"), place.open("store"));
    assert!(seen(&restored, TENANT) == seen(&store, TENANT));
    assert!(seen(&store, TENANT).scanned.iter().any(|(key, _)| key == b"k\0v2"));
}

/// Large rows are answered in parts by the process that has the store open.
#[test]
fn large_resources_are_backed_up_from_an_open_store() {
    let (place, mut rng) = (Place::new(), Rng(first_seed(940)));
    let store = place.open("store");
    for n in 0..80 {
        let noise = (0..20_000).map(|_| rng.next().to_string()).collect::<String>();
        commit(&store, TENANT, vec![put("Basic", &format!("b{n}"), &noise, &["k\0v"])]).unwrap();
    }
    let written = place.backup();
    assert!(written.bytes > 10 << 20, "{written:?}");
    place.restore("restored", None);
    assert!(seen(&place.open("restored"), TENANT) == seen(&store, TENANT));
}

/// A manifest can't be made to fit: the hash over it is sealed.
#[test]
fn a_manifest_that_was_made_to_fit_is_found() {
    let place = Place::new();
    let store = place.open("store");
    commit(&store, TENANT, vec![put("Basic", "b", "text", &["k\0v"])]).unwrap();
    place.backup();
    drop(store);
    let path = place.path("backups/000001.json");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replacen("\"rows\": ", "\"rows\": 1", 1)).unwrap();
    let error = place.try_restore("restored", None).unwrap_err();
    assert!(matches!(&error, StoreError::Damaged(text) if text.contains("000001.json")), "{error}");
}

#[test]
fn a_backup_that_was_cut_short_counts_for_nothing() {
    let place = Place::new();
    let store = place.open("store");
    commit(&store, TENANT, vec![put("Basic", "b", "text", &["k\0v"])]).unwrap();
    place.backup();
    std::fs::write(place.path("backups/000002-tenant-7"), "half of it").unwrap();
    place.restore("before", None);
    assert_eq!(place.backup().number, 2);
    place.restore("after", None);
    assert!(seen(&place.open("after"), TENANT) == seen(&store, TENANT));
}

//! An index becomes blind while another process folds the ledger: what that one has made in the form of before is not written.

use crate::support::mongodb::new_database;
use pharos::auth::keeper::Expect;
use pharos::auth::records;
use pharos::clock::{Micros, SystemClock};
use pharos::fhir::tree::Object;
use pharos::key::KeyList;
use pharos::key::blind::{Hidden, LEDGER};
use pharos::store::contract::keeper::keep;
use pharos::store::contract::wait;
use pharos::store::index::{Form, IndexRecord};
use pharos::store::ledger::{self, Entry, Ledger, Opaque, PartKeys};
use pharos::store::mongo::{Mongo, Options};
use pharos::store::{Backend, StoreResult};
use pharos::tenant::TenantId;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

const TENANT: TenantId = TenantId(3);
/// Longer than anything takes here, and shorter than a transaction lives.
const PATIENCE: Duration = Duration::from_secs(50);

/// Entries that name a parameter, and have a key of it. A fold can be held up when it has read all that it needs.
struct Named {
    is_held: AtomicBool,
    held: mpsc::SyncSender<()>,
    goes_on: Mutex<mpsc::Receiver<()>>,
}

fn key(code: &[u8]) -> Box<[u8]> {
    [code, b"\0nquillfeather"].concat().into()
}

impl ledger::Form for Named {
    fn type_name(&self) -> &'static str {
        LEDGER
    }

    fn parts(&self, entry: &Entry) -> StoreResult<u32> {
        Opaque.parts(entry)
    }

    fn resource(&self, number: u64, entry: &Entry, part: u32) -> StoreResult<Object<'static>> {
        Opaque.resource(number, entry, part)
    }

    fn keys(&self, number: u64, entry: &Entry, part: u32) -> StoreResult<KeyList> {
        Ok(Opaque.keys(number, entry, part)?.with(vec![key(&entry.bytes)]))
    }

    fn time_keys(&self, time: Micros) -> Vec<Box<[u8]>> {
        Opaque.time_keys(time)
    }

    fn all_keys(&self, entry: &Entry) -> StoreResult<Vec<PartKeys>> {
        if self.is_held.swap(false, Ordering::SeqCst) {
            self.held.send(()).unwrap();
            self.goes_on.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        }
        Ok(vec![PartKeys { shared: Arc::new(KeyList::new(vec![key(&entry.bytes)])), own: Vec::new() }])
    }

    fn missing(&self, count: u64, time: Micros) -> StoreResult<Entry> {
        Opaque.missing(count, time)
    }

    fn unread(&self, bytes: usize, time: Micros) -> StoreResult<Entry> {
        Opaque.unread(bytes, time)
    }

    fn patients(&self, entry: &Entry, part: u32) -> StoreResult<Box<[Box<str>]>> {
        Opaque.patients(entry, part)
    }
}

/// Postings of the ledger that its form hides, and that are plain. A process that has not changed the form hears of it a little later.
fn plain(store: &Mongo) -> usize {
    let view = store.view(TENANT).unwrap();
    let blind = view.blind(LEDGER).unwrap().expect("the ledger has a form");
    blind.plain_of_ledger().iter().map(|range| view.scan(LEDGER, range).map(Result::unwrap).count()).sum()
}

/// Keeps the form that hides one more parameter of the ledger, as the job does.
fn hide(store: &Mongo, code: &str) {
    let known = records::get::<IndexRecord>(store, TENANT, IndexRecord::ID).unwrap();
    let expect = known.as_ref().map_or(Expect::Absent, |(_, version)| Expect::Version(*version));
    let now = known.and_then(|(record, _)| record.ledger);
    let wanted: Hidden = [(LEDGER.into(), [code.into()].into())].into();
    let form = Form::of_ledger(now.as_ref(), &wanted).unwrap();
    let record = IndexRecord { ledger: form, is_mixed: true, ..IndexRecord::default() };
    keep(store, TENANT, vec![records::put(IndexRecord::ID, &record, expect, None).unwrap()]).unwrap();
}

#[test]
fn what_another_process_was_folding_is_hidden_as_well() {
    let Some(address) = new_database() else { return };
    let folder = tempfile::tempdir().unwrap();
    let ((held, is_held), (go_on, goes_on)) = (mpsc::sync_channel(1), mpsc::sync_channel(1));
    let form = Arc::new(Named { is_held: AtomicBool::new(false), held, goes_on: Mutex::new(goes_on) });
    let options = Options::at(&*address, folder.path().join("key"));
    let one = Mongo::open(options.clone(), Arc::new(SystemClock)).unwrap();
    let other = Mongo::open(Options { form: Arc::clone(&form) as _, ..options }, Arc::new(SystemClock)).unwrap();
    wait(one.settled()).unwrap();
    // The first entry of the chain, and the first of a list that has grown.
    for (n, code) in (1..).zip(["agent-name", "entity-name"]) {
        form.is_held.store(true, Ordering::SeqCst);
        wait(other.record(TENANT, Entry { time: Micros(n), bytes: code.as_bytes().into() })).unwrap();
        is_held.recv_timeout(PATIENCE).expect("the other process folds");
        hide(&one, code);
        go_on.send(()).unwrap();
        wait(other.settled()).unwrap();
        assert_eq!(other.head(TENANT).unwrap().next, u64::try_from(n).unwrap(), "it is in the chain, once");
        assert_eq!(plain(&one), 0, "{code}");
    }
    for store in [one, other] {
        store.close().unwrap();
    }
}

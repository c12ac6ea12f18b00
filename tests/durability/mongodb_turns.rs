//! Processes that are at work at the same tenant take turns, and limits hold for all of them together.

use crate::support::mongodb::new_database;
use crate::support::{Client, Process, free_address};
use mongodb::bson::{Document, doc};
use pharos::clock::SystemClock;
use pharos::store::contract::{commit, put};
use pharos::store::mongo::{Mongo, Options};
use pharos::store::{Backend, Rid};
use pharos::tenant::TenantId;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const TENANT: TenantId = TenantId(3);

fn open(address: &str, folder: &Path) -> Mongo {
    Mongo::open(Options::at(address, folder.join("key")), Arc::new(SystemClock)).unwrap()
}

/// Writes by clients of this process, as long as it is wanted; how many were answered.
fn write_while(store: &Mongo, name: &str, clients: usize, wanted: &AtomicBool) -> usize {
    let (answered, next) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..clients {
            scope.spawn(|| {
                while wanted.load(Ordering::SeqCst) {
                    let id = format!("{name}-{}", next.fetch_add(1, Ordering::SeqCst));
                    commit(store, TENANT, vec![put("Basic", &id, "text", &["k"])]).unwrap();
                    answered.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
    });
    answered.into_inner()
}

/// How many writes each of these processes answers while all of them write.
fn rates(stores: &[&Mongo], round: &str) -> Vec<usize> {
    let wanted = AtomicBool::new(true);
    std::thread::scope(|scope| {
        let writing: Vec<_> = (0..)
            .zip(stores)
            .map(|(n, store)| {
                let (name, wanted) = (format!("{round}{n}"), &wanted);
                scope.spawn(move || write_while(store, &name, 6, wanted))
            })
            .collect();
        std::thread::sleep(Duration::from_secs(4));
        wanted.store(false, Ordering::SeqCst);
        writing.into_iter().map(|one| one.join().unwrap()).collect()
    })
}

#[test]
fn three_processes_write_to_one_tenant_a_good_part_of_what_one_does() {
    let Some(address) = new_database() else { return };
    let folder = tempfile::tempdir().unwrap();
    let stores = [(); 3].map(|()| open(&address, folder.path()));
    let alone = rates(&[&stores[0]], "alone")[0];
    let together = rates(&stores.each_ref(), "together");
    let later = rates(&[&stores[0]], "later")[0];
    let sum: usize = together.iter().sum();
    println!("alone {alone} and {later}, together {together:?}");
    // Without turns they come to a sixth of it. What else the machine does may come and go.
    assert!(4 * sum > alone.min(later), "{alone} {later} {together:?}");
    assert!(together.iter().all(|answered| 12 * answered > sum), "none is passed over: {together:?}");
    let view = stores[2].view(TENANT).unwrap();
    assert_eq!(view.rids("Basic", b"k", Rid(0)).count(), alone + sum + later, "each is there once");
}

/// Gives a turn to a process that there is not; which waits, too, and says that it uses it so many times more, each 0.2 s.
fn give_to_nobody(runtime: &tokio::runtime::Runtime, address: &str, uses: u32) -> tokio::task::JoinHandle<()> {
    let address = address.to_owned();
    let (turns, turn) = runtime.block_on(async move {
        let database = mongodb::Client::with_uri_str(&address).await.unwrap().default_database().unwrap();
        let (turns, turn) = (database.collection::<Document>("turns"), doc! { "_id": i64::from(TENANT.0) });
        let (free, began) = (doc! { "_id": i64::from(TENANT.0), "has": "" }, Instant::now());
        let holds = doc! { "$set": { "has": "nobody", "wait": ["nobody else"] }, "$inc": { "n": 1_i64 } };
        while turns.update_one(free.clone(), holds.clone()).await.unwrap().matched_count == 0 {
            assert!(began.elapsed() < Duration::from_secs(20), "they have met, and nobody writes any more");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        (turns, turn)
    });
    runtime.spawn(async move {
        for _ in 0..uses {
            tokio::time::sleep(Duration::from_millis(200)).await;
            turns.update_one(turn.clone(), doc! { "$inc": { "u": 1_i64 } }).await.unwrap();
        }
    })
}

/// Writes to a tenant while it is wanted, one thing after the other; the longest that one of them has taken.
fn longest(store: &Mongo, tenant: TenantId, wanted: impl Fn(Duration) -> bool) -> Duration {
    let mut longest = Duration::ZERO;
    for n in 0.. {
        let began = Instant::now();
        commit(store, tenant, vec![put("Basic", &format!("one-by-one-{n}"), "text", &["k"])]).unwrap();
        longest = longest.max(began.elapsed());
        if !wanted(longest) {
            break;
        }
    }
    longest
}

#[test]
fn the_turn_of_a_process_that_has_died_is_taken() {
    let Some(address) = new_database() else { return };
    let folder = tempfile::tempdir().unwrap();
    let stores = [(); 2].map(|()| open(&address, folder.path()));
    rates(&stores.each_ref(), "both");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    give_to_nobody(&runtime, &address, 0);
    // It may write a few times before it has heard of the turn.
    let (began, is_short) = (Instant::now(), |longest| longest < Duration::from_millis(800));
    let waited = longest(&stores[0], TENANT, |longest| is_short(longest) && began.elapsed() < Duration::from_secs(20));
    assert!(!is_short(waited), "it waits for its turn: {waited:?}");
    assert!(waited < Duration::from_secs(4), "it does not wait for the dead: {waited:?}");
}

#[test]
fn while_a_process_waits_for_its_turn_it_writes_to_other_tenants() {
    let Some(address) = new_database() else { return };
    let folder = tempfile::tempdir().unwrap();
    let stores = [(); 2].map(|()| open(&address, folder.path()));
    rates(&stores.each_ref(), "both");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let uses = give_to_nobody(&runtime, &address, 15);
    let (waiting, other) = std::thread::scope(|scope| {
        let (store, uses) = (&stores[0], &uses);
        let waiting = scope.spawn(move || longest(store, TENANT, |_| !uses.is_finished()));
        let other = longest(store, TenantId(TENANT.0 + 1), |_| !uses.is_finished());
        (waiting.join().unwrap(), other)
    });
    println!("the turn was waited for {waiting:?}, another tenant for {other:?} at most");
    assert!(waiting > Duration::from_secs(2), "it waits for its turn: {waiting:?}");
    assert!(2 * other < waiting, "nor does another tenant wait: {other:?} and {waiting:?}");
    assert!(runtime.block_on(uses).is_ok());
}

#[test]
fn what_a_client_sends_to_one_process_counts_at_the_others() {
    let Some(address) = new_database() else { return };
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key").to_str().unwrap().to_owned();
    let settings = folder.path().join("pharos.toml");
    std::fs::write(&settings, "[limits]\nclient_requests_per_s = 10\n").unwrap();
    let start = || {
        let listen = free_address().to_string();
        let open = ["serve", "--insecure-open", "--listen", &listen, "--store", &address, "--key-file", &key];
        let process = Process::start(open.into_iter().chain(["--config", settings.to_str().unwrap()]));
        process.lines_until("serving FHIR");
        (process, Client::new(format!("http://{listen}/fhir")))
    };
    let [(_first, here), (_second, there)] = [(); 2].map(|()| start());
    let status = |client: &Client| client.get("/Basic/none").send().status();
    assert_eq!(status(&there), 404, "it has looked at what the others tell, or will before this has an end");
    // There, a request a while is far below the limit, and refused all the same when the other one has told that it was reached.
    let (began, mut answered) = (Instant::now(), 0);
    loop {
        answered += (0..2000).take_while(|_| status(&here) != 429).count();
        assert!(answered >= 100, "ten seconds' worth are not refused: {answered}");
        if status(&there) == 429 {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(30), "it has not heard of what the other one answered");
        std::thread::sleep(Duration::from_millis(100));
    }
}

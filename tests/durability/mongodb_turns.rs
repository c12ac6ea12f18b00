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
fn three_processes_write_to_one_tenant_about_as_much_as_one() {
    let Some(address) = new_database() else { return };
    let folder = tempfile::tempdir().unwrap();
    let stores = [(); 3].map(|()| open(&address, folder.path()));
    let alone = rates(&[&stores[0]], "alone");
    let together = rates(&stores.each_ref(), "together");
    let sum: usize = together.iter().sum();
    println!("alone {alone:?}, together {together:?}");
    // Without turns they come to a fraction of it.
    assert!(3 * sum > alone[0], "{alone:?} {together:?}");
    assert!(together.iter().all(|answered| 12 * answered > sum), "none is passed over: {together:?}");
    let view = stores[2].view(TENANT).unwrap();
    assert_eq!(view.rids("Basic", b"k", Rid(0)).count(), alone[0] + sum, "each is there once");
}

/// Gives a turn to a process that there is not; which waits, too, and says that it uses it so many times more, each 0.2 s.
fn give_to_nobody(runtime: &tokio::runtime::Runtime, address: &str, uses: u32) -> tokio::task::JoinHandle<()> {
    let address = address.to_owned();
    let (turns, turn) = runtime.block_on(async move {
        let database = mongodb::Client::with_uri_str(&address).await.unwrap().default_database().unwrap();
        let (turns, turn) = (database.collection::<Document>("turns"), doc! { "_id": i64::from(TENANT.0) });
        let holds = doc! { "$set": { "has": "nobody", "wait": ["nobody else"] }, "$inc": { "n": 1_i64 } };
        assert_eq!(turns.update_one(turn.clone(), holds).await.unwrap().matched_count, 1, "they have met");
        (turns, turn)
    });
    runtime.spawn(async move {
        for _ in 0..uses {
            tokio::time::sleep(Duration::from_millis(200)).await;
            turns.update_one(turn.clone(), doc! { "$inc": { "u": 1_i64 } }).await.unwrap();
        }
    })
}

#[test]
fn the_turn_of_a_process_that_has_died_is_taken() {
    let Some(address) = new_database() else { return };
    let folder = tempfile::tempdir().unwrap();
    let stores = [(); 2].map(|()| open(&address, folder.path()));
    rates(&stores.each_ref(), "both");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    give_to_nobody(&runtime, &address, 0);
    let began = Instant::now();
    commit(&stores[0], TENANT, vec![put("Basic", "after", "text", &["k"])]).unwrap();
    let waited = began.elapsed();
    assert!(waited > Duration::from_millis(800), "it waits for its turn: {waited:?}");
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
    let store = &stores[0];
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| commit(store, TENANT, vec![put("Basic", "waits", "text", &["k"])]));
        for n in 0..5 {
            commit(store, TenantId(TENANT.0 + 1), vec![put("Basic", &format!("other{n}"), "text", &["k"])]).unwrap();
        }
        assert!(!uses.is_finished() && !waiting.is_finished(), "the turn is another's all the time");
        waiting.join().unwrap().unwrap();
    });
    assert!(runtime.block_on(uses).is_ok());
}

#[test]
fn what_a_client_sends_to_one_process_counts_at_the_others() {
    let Some(address) = new_database() else { return };
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key").to_str().unwrap().to_owned();
    let settings = folder.path().join("pharos.toml");
    std::fs::write(&settings, "[limits]\nclient_requests_per_s = 30\n").unwrap();
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
    // Ten seconds' worth, and half of it once more as time goes by.
    let answered = (0..2000).take_while(|_| status(&here) != 429).count();
    assert!(answered >= 300, "{answered}");
    // There, one request a while is far below the limit, and refused all the same when the other one has told.
    let began = Instant::now();
    while status(&there) != 429 {
        assert!(began.elapsed() < Duration::from_secs(20), "it has not heard of what the other one answered");
        std::thread::sleep(Duration::from_millis(100));
    }
}

//! Requests to the authorization server that wait for a store across a network hold up nobody else, and what is refused before a thread takes it up.

use crate::support::smart::TENANT;
use crate::support::tokens::block_on;
use crate::support::{Client, Server};
use pharos::audit::Record;
use pharos::clock::Micros;
use pharos::config::Config;
use pharos::store::fault::{Faulty, Gate, Odds};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Requests that wait at a time. The server has one worker.
const WAITING: usize = 24;

#[test]
fn a_read_is_answered_while_requests_for_tokens_wait_for_the_store() {
    let gate = Arc::new(Gate::before("client"));
    let own = Arc::clone(&gate);
    let server = Server::over(
        |config| assert_eq!(config.workers, 1),
        |store| Arc::new(Faulty::new(store, 1, Odds::default()).behind(own)),
    );
    let root = server.base().trim_end_matches("/fhir").to_owned();
    server.put("/Patient/a").json(json!({"resourceType": "Patient", "id": "a"})).expect(201);
    gate.is_shut.store(true, Ordering::SeqCst);
    std::thread::scope(|scope| {
        let ask = |number: usize| {
            let ways = [
                server.post(&format!("{root}/auth/token")).form("grant_type=client_credentials&client_id=nobody"),
                server.get(&format!("{root}/auth/authorize?response_type=code&client_id=nobody")),
                server.get("/Patient/a").header("Origin", "https://app.example.org"),
            ];
            ways.into_iter().nth(number % 3).unwrap().send().status()
        };
        let asked = (0..WAITING).map(|number| scope.spawn(move || ask(number))).collect::<Vec<_>>();
        let deadline = Instant::now() + Duration::from_secs(20);
        while gate.waiting.load(Ordering::SeqCst) < WAITING && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        let waiting = gate.waiting.load(Ordering::SeqCst);
        let read = (waiting == WAITING).then(|| server.get("/Patient/a").expect(200));
        let page = (waiting == WAITING).then(|| server.get(&format!("{root}/auth/style.css")).expect(200));
        gate.is_shut.store(false, Ordering::SeqCst);
        let answered = asked.into_iter().map(|asked| asked.join().unwrap()).collect::<Vec<_>>();
        assert!(read.is_some() && page.is_some(), "only {waiting} of {WAITING} wait at a time");
        let expected = (0..WAITING).map(|number| [401, 400, 200][number % 3]).collect::<Vec<_>>();
        assert_eq!(answered, expected);
    });
}

/// A store across a network, which the gate holds up before it looks for a client.
fn behind(gate: &Arc<Gate>, change: impl FnOnce(&mut Config)) -> (Server, Client) {
    let own = Arc::clone(gate);
    let server = Server::over(change, |store| Arc::new(Faulty::new(store, 1, Odds::default()).behind(own)));
    let root = Client::new(server.base().trim_end_matches("/fhir"));
    (server, root)
}

#[test]
fn tokens_and_keys_do_not_wait_for_the_pages() {
    let gate = Arc::new(Gate::before("client"));
    let (_server, root) = behind(&gate, |_| {});
    gate.is_shut.store(true, Ordering::SeqCst);
    std::thread::scope(|scope| {
        // More than there are threads.
        let asked = (0..50)
            .map(|_| scope.spawn(|| root.get("/auth/authorize?response_type=code&client_id=nobody").send().status()));
        let asked = asked.collect::<Vec<_>>();
        let deadline = Instant::now() + Duration::from_secs(20);
        while gate.waiting.load(Ordering::SeqCst) < 32 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        std::thread::sleep(Duration::from_millis(500));
        let (began, keys) = (Instant::now(), scope.spawn(|| root.get("/auth/keys").send().status()));
        while !keys.is_finished() && began.elapsed() < Duration::from_secs(10) {
            std::thread::sleep(Duration::from_millis(5));
        }
        let is_answered = keys.is_finished();
        gate.is_shut.store(false, Ordering::SeqCst);
        assert!(asked.into_iter().all(|asked| asked.join().unwrap() == 400));
        assert!(is_answered && keys.join().unwrap() == 200, "it waits for the pages");
    });
}

#[test]
fn an_address_is_counted_once_and_what_is_too_much_is_refused() {
    let gate = Arc::new(Gate::before("client"));
    let (_server, root) = behind(&gate, |config| config.limits.client_requests_per_s = 2);
    let passed = (0..60).take_while(|_| root.get("/auth/keys").send().status() == 200).count();
    assert!((20..60).contains(&passed), "{passed}");
}

#[test]
fn what_no_thread_takes_up_is_recorded_and_told_to_pages() {
    let gate = Arc::new(Gate::before("client"));
    let (server, root) = behind(&gate, |config| config.audit.enabled = Some(true));
    let long = "x".repeat(2 << 20);
    let refused = root.post("/auth/keys").header("Origin", "https://app.example.org").form(&long).expect(413);
    assert_eq!(refused.header("access-control-allow-origin"), Some("*"), "{refused}");
    block_on(server.app().store().settled()).unwrap();
    let blocks = server.app().store().ledger(TENANT, 0, true).unwrap();
    let entries = blocks.flat_map(|block| block.unwrap().entries.unwrap());
    let statuses = entries.map(|entry| Record::read(&entry).unwrap().shape.status).collect::<Vec<_>>();
    assert!(statuses.contains(&413), "{statuses:?}");
}

#[test]
fn no_worker_waits_for_the_tenants() {
    let gate = Arc::new(Gate::before("tenant"));
    let (server, root) = behind(&gate, |config| assert_eq!(config.workers, 1));
    root.get("/fhir/metadata").expect(200);
    // Whoever asks next has to read them anew.
    block_on(server.app().tenants().create(&json!({"name": "acme"}), 9, Micros(0), None)).unwrap();
    gate.is_shut.store(true, Ordering::SeqCst);
    let ways = ["/t/acme/fhir/metadata", "/fhir/.well-known/smart-configuration", "/fhir/unheard-of", "/auth/keys"];
    std::thread::scope(|scope| {
        let root = &root;
        let asked = ways.map(|path| scope.spawn(move || root.get(path).send().status()));
        let deadline = Instant::now() + Duration::from_secs(20);
        while gate.waiting.load(Ordering::SeqCst) == 0 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        std::thread::sleep(Duration::from_millis(500));
        let (began, live) = (Instant::now(), scope.spawn(|| root.get("/health/live").send().status()));
        while !live.is_finished() && began.elapsed() < Duration::from_secs(10) {
            std::thread::sleep(Duration::from_millis(5));
        }
        let (waiting, is_answered) = (gate.waiting.load(Ordering::SeqCst), live.is_finished());
        gate.is_shut.store(false, Ordering::SeqCst);
        let answered = asked.map(|asked| asked.join().unwrap());
        assert!(waiting > 0, "nobody reads the tenants anew");
        assert!(is_answered && live.join().unwrap() == 200, "the worker waits");
        assert_eq!(answered, [200, 200, 404, 200]);
    });
}

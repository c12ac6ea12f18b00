//! Requests to the authorization server that wait for a store across a network hold up nobody else.

use crate::support::Server;
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

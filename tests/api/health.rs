//! What an orchestrator hears: when a server is not to be asked, and when only a new process will do.

use crate::support::{Client, Server};
use pharos::store::fault::{Faulty, Odds};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

#[test]
fn only_a_failure_for_good_ends_the_life_of_a_process() {
    let (mut is_silent, mut has_failed) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
    let server = Server::over(
        |_| {},
        |store| {
            let faulty = Faulty::new(store, 1, Odds::default());
            (is_silent, has_failed) = (Arc::clone(&faulty.is_silent), Arc::clone(&faulty.has_failed));
            Arc::new(faulty)
        },
    );
    let root = Client::new(server.base().trim_end_matches("/fhir"));
    let statuses = || ["/health/live", "/health/ready"].map(|path| root.get(path).send().status());
    assert_eq!(statuses(), [200, 200]);
    is_silent.store(true, Ordering::Relaxed);
    assert_eq!(statuses(), [200, 503], "a database that does not answer is not brought back by a new process");
    is_silent.store(false, Ordering::Relaxed);
    assert_eq!(statuses(), [200, 200]);
    server.app().tell_stopping();
    assert_eq!(statuses(), [200, 503], "who is told to stop goes on for a while");
    has_failed.store(true, Ordering::Relaxed);
    assert_eq!(statuses(), [503, 503]);
    let answer = root.get("/health/live").expect(503);
    let text = "The store has failed. The server has to be started anew.";
    assert_eq!(answer.json()["issue"][0]["diagnostics"], json!(text), "{answer}");
    assert!(!answer.text().contains("on purpose"), "the reason is for the log: {answer}");
}

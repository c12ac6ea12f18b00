//! Many clients at once: what the conditions of HTTP and FHIR promise holds, and nothing is lost or made twice.

use crate::support::server::rounds;
use crate::support::{Answer, Client, Server};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

const MANY: usize = 64;
const RACE: &str = "http://example.org/race";

fn server() -> Server {
    Server::with(|config| config.workers = 2)
}

/// Clients that each have a connection of their own.
fn clients(server: &Server, count: usize) -> Vec<Client> {
    (0..count).map(|_| Client::new(server.base())).collect()
}

/// Lets all clients act at the same moment, and gives what they came to, in their order.
fn at_once<T: Send>(clients: &[Client], act: impl Fn(&Client, usize) -> T + Sync) -> Vec<T> {
    let (start, act) = (Barrier::new(clients.len()), &act);
    std::thread::scope(|scope| {
        let run = |(n, client)| {
            let start = &start;
            scope.spawn(move || {
                start.wait();
                act(client, n)
            })
        };
        let threads: Vec<_> = clients.iter().enumerate().map(run).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

fn patient(id: Option<&str>, identifier: &str) -> Value {
    let mut patient = json!({"resourceType": "Patient", "identifier": [{"system": RACE, "value": identifier}]});
    if let Some(id) = id {
        patient["id"] = json!(id);
    }
    patient
}

/// How many answers there are of each status.
fn statuses(answers: &[Answer]) -> BTreeMap<u16, usize> {
    answers.iter().fold(BTreeMap::new(), |mut counts, answer| {
        *counts.entry(answer.status()).or_default() += 1;
        counts
    })
}

fn found(server: &Server, type_name: &str, identifier: &str) -> Vec<String> {
    server.get(&format!("/{type_name}?identifier={RACE}%7C{identifier}")).expect(200).ids()
}

#[test]
fn identical_conditional_creates_make_one_resource() {
    let all = rounds(1000, 8);
    let server = server();
    let clients = clients(&server, MANY);
    let started = Instant::now();
    for round in 0..all {
        let (identifier, body) = (format!("c{round}"), patient(None, &format!("c{round}")));
        let answers = at_once(&clients, |client, _| {
            client
                .post("/Patient")
                .header("If-None-Exist", &format!("identifier={RACE}|{identifier}"))
                .json(&body)
                .send()
        });
        assert_eq!(statuses(&answers), BTreeMap::from([(200, MANY - 1), (201, 1)]), "round {round}");
        let ids: BTreeSet<String> = answers.iter().map(Answer::id).collect();
        assert_eq!(ids.into_iter().collect::<Vec<_>>(), found(&server, "Patient", &identifier), "round {round}");
    }
    println!("{all} rounds of {MANY} conditional creates in {:?}", started.elapsed());
}

#[test]
fn transactions_with_the_same_conditional_create_share_its_resource() {
    let server = server();
    let clients = clients(&server, MANY);
    for round in 0..rounds(20, 3) {
        let identifier = format!("t{round}");
        let url = "urn:uuid:61ebe359-bfdc-4613-8bf2-c5e300945f0a";
        let transaction = json!({"resourceType": "Bundle", "type": "transaction", "entry": [
            {"request": {"method": "POST", "url": "Basic"}, "resource": {"resourceType": "Basic",
                "identifier": [{"system": RACE, "value": identifier}], "code": {"text": "x"}, "subject": {"reference": url}}},
            {"fullUrl": url, "resource": patient(None, &identifier), "request": {"method": "POST", "url": "Patient",
                "ifNoneExist": format!("identifier={RACE}|{identifier}")}},
        ]});
        let answers = at_once(&clients, |client, _| client.post("").json(&transaction).expect(200));
        let made = answers.iter().filter(|answer| answer.at("/entry/1/response/status") == "201 Created").count();
        let ids = found(&server, "Patient", &identifier);
        assert_eq!((made, ids.len()), (1, 1), "round {round}");
        let of_it = server.get(&format!("/Basic?subject=Patient/{}&_count=100", ids[0])).expect(200).ids();
        assert_eq!(of_it.len(), MANY, "round {round}");
    }
}

#[test]
fn the_entries_of_a_batch_race_as_requests_do() {
    let server = server();
    let entry = json!({"resource": patient(None, "b"), "request": {"method": "POST", "url": "Patient",
        "ifNoneExist": format!("identifier={RACE}|b")}});
    let batch = json!({"resourceType": "Bundle", "type": "batch", "entry": vec![entry; 32]});
    let answers = at_once(&clients(&server, 4), |client, _| client.post("").json(&batch).expect(200));
    let statuses: Vec<Value> =
        answers.iter().flat_map(|answer| (0..32).map(|n| answer.at(&format!("/entry/{n}/response/status")))).collect();
    let count = |status: &str| statuses.iter().filter(|found| *found == status).count();
    assert_eq!((count("201 Created"), count("200 OK")), (1, 4 * 32 - 1));
    assert_eq!(found(&server, "Patient", "b").len(), 1);
}

#[test]
fn conditional_creates_and_deletes_never_leave_two() {
    let server = server();
    let path = format!("/Patient?identifier={RACE}%7Cd");
    for round in 0..rounds(50, 20) {
        let condition = format!("identifier={RACE}|d");
        let answers = at_once(&clients(&server, 8), |client, n| {
            if n.is_multiple_of(2) {
                return client.delete(&path).send();
            }
            client.post("/Patient").header("If-None-Exist", &condition).json(patient(None, "d")).send()
        });
        assert!(statuses(&answers).keys().all(|status| matches!(status, 200 | 201 | 204)), "round {round}");
        assert!(found(&server, "Patient", "d").len() <= 1, "round {round}");
    }
}

#[test]
fn identical_conditional_updates_make_one_resource() {
    let server = server();
    let clients = clients(&server, 16);
    for round in 0..rounds(20, 5) {
        let identifier = format!("u{round}");
        let path = format!("/Patient?identifier={RACE}%7C{identifier}");
        let answers = at_once(&clients, |client, _| client.put(&path).json(patient(None, &identifier)).send());
        assert_eq!(statuses(&answers), BTreeMap::from([(200, 15), (201, 1)]), "round {round}");
        assert_eq!(found(&server, "Patient", &identifier).len(), 1, "round {round}");
        let versions: BTreeSet<u64> = answers.iter().map(|answer| answer.version().parse().unwrap()).collect();
        assert_eq!(versions, (1..=16).collect(), "round {round}");
    }
}

#[test]
fn of_two_updates_of_the_same_version_one_wins() {
    let server = server();
    let clients = clients(&server, 2);
    server.put("/Patient/p").json(patient(Some("p"), "0")).expect(201);
    for round in 1..=rounds(200, 60) {
        let tag = format!("W/\"{round}\"");
        let answers = at_once(&clients, |client, n| {
            let body = patient(Some("p"), &format!("{round}-{n}"));
            client.put("/Patient/p").header("If-Match", &tag).json(body).send()
        });
        assert_eq!(statuses(&answers), BTreeMap::from([(200, 1), (412, 1)]), "round {round}");
        let winner = answers.iter().position(|answer| answer.status() == 200).unwrap();
        let current = server.get("/Patient/p").expect(200);
        assert_eq!(current.at("/identifier/0/value"), format!("{round}-{winner}"));
        assert_eq!(current.version(), (round + 1).to_string());
    }
}

#[test]
fn racing_updates_make_one_version_each() {
    let server = server();
    let answers = at_once(&clients(&server, MANY), |client, n| {
        client.put("/Patient/p").json(patient(Some("p"), &n.to_string())).send()
    });
    assert_eq!(statuses(&answers), BTreeMap::from([(200, MANY - 1), (201, 1)]));
    for (n, answer) in answers.iter().enumerate() {
        let version = server.get(&format!("/Patient/p/_history/{}", answer.version())).expect(200);
        assert_eq!(version.at("/identifier/0/value"), n.to_string(), "each answer names the version that it made");
    }
    let versions: BTreeSet<String> = answers.iter().map(Answer::version).collect();
    assert_eq!(versions.len(), MANY);
}

#[test]
fn racing_patches_are_all_applied() {
    let server = server();
    server.put("/Patient/p").json(patient(Some("p"), "first")).expect(201);
    let answers = at_once(&clients(&server, MANY), |client, n| {
        let patch = json!([{"op": "add", "path": "/identifier/-", "value": {"system": RACE, "value": n.to_string()}}]);
        client.patch("/Patient/p").body("application/json-patch+json", patch.to_string()).send()
    });
    assert_eq!(statuses(&answers), BTreeMap::from([(200, MANY)]));
    let patched = server.get("/Patient/p").expect(200);
    let identifiers = patched.at("/identifier").as_array().cloned().unwrap();
    let values: BTreeSet<&str> = identifiers.iter().map(|identifier| identifier["value"].as_str().unwrap()).collect();
    assert_eq!((values.len(), identifiers.len(), patched.version()), (MANY + 1, MANY + 1, (MANY + 1).to_string()));
}

/// Patients that stay as they are (`s0`, `s1` …), and how many.
const STEADY: usize = 120;

/// Runs `read` while others create, update and delete patients; `read` gets a number to wait on: how much they have done.
fn while_others_write(server: &Server, read: impl FnOnce(&AtomicUsize)) {
    let entries: Vec<Value> = (0..STEADY)
        .map(|n| {
            let id = format!("s{n}");
            let mut patient = patient(Some(&id), "steady");
            patient["name"] = json!([{"family": format!("F{}", n * 7 % 40)}]);
            json!({"request": {"method": "PUT", "url": format!("Patient/{id}")}, "resource": patient})
        })
        .collect();
    server.post("").json(json!({"resourceType": "Bundle", "type": "transaction", "entry": entries})).expect(200);
    let (stop, done) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for (n, client) in clients(server, 4).into_iter().enumerate() {
            let (stop, done) = (&stop, &done);
            scope.spawn(move || {
                for step in 0.. {
                    let id = format!("w{n}-{}", step % 9);
                    let mut body = patient(Some(&id), "moving");
                    body["name"] = json!([{"family": format!("F{}", step % 40)}]);
                    client.put(&format!("/Patient/{id}")).json(body).send();
                    if step % 3 == 0 {
                        client.delete(&format!("/Patient/{id}")).expect(204);
                    }
                    done.fetch_add(1, Ordering::Relaxed);
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                }
            });
        }
        // The writers end also when the reader panics.
        let _stop = OnDrop(|| stop.store(true, Ordering::Relaxed));
        read(&done);
    });
}

struct OnDrop<F: Fn()>(F);

impl<F: Fn()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// The entries of all pages; between two pages the others get something done.
fn pages(server: &Server, path: &str, done: &AtomicUsize) -> Vec<Value> {
    let (mut entries, mut next) = (Vec::new(), Some(path.to_owned()));
    while let Some(url) = next {
        let answer = server.get(&url).expect(200);
        entries.extend(answer.at("/entry").as_array().cloned().unwrap_or_default());
        next = answer.link("next");
        let before = done.load(Ordering::Relaxed);
        while next.is_some() && done.load(Ordering::Relaxed) < before + 3 {
            std::thread::yield_now();
        }
        assert!(entries.len() < 100 * STEADY, "the pages have no end");
    }
    entries
}

#[test]
fn the_pages_of_a_search_hold_what_does_not_change_once() {
    let server = server();
    while_others_write(&server, |done| {
        let queries = ["", "&_sort=-family,_id", "&_sort=family", "&_sort=_lastUpdated", "&_sort=_id"];
        for query in queries.into_iter().take(rounds(5, 2)) {
            let entries = pages(&server, &format!("/Patient?family=f&_count=13{query}"), done);
            let ids = entries.iter().map(|entry| entry["resource"]["id"].as_str().unwrap().to_owned());
            let steady: Vec<String> = ids.filter(|id| id.starts_with('s')).collect();
            let once: BTreeSet<&String> = steady.iter().collect();
            assert_eq!((steady.len(), once.len()), (STEADY, STEADY), "{query}");
        }
    });
}

#[test]
fn the_pages_of_a_history_hold_each_version_of_their_start_once() {
    let server = server();
    let version = |entry: &Value| {
        (entry["fullUrl"].as_str().unwrap().to_owned(), entry["response"]["etag"].as_str().unwrap().to_owned())
    };
    while_others_write(&server, |done| {
        for path in ["/Patient/_history", "/_history", "/Patient/w0-0/_history"] {
            while done.load(Ordering::Relaxed) < 100 {
                std::thread::yield_now();
            }
            let whole = server.get(&format!("{path}?_count=1000")).expect(200);
            assert!(whole.link("next").is_none(), "all versions of the start fit on a page");
            let at_start: BTreeSet<_> = whole.at("/entry").as_array().unwrap().iter().map(version).collect();
            let entries = pages(&server, &format!("{path}?_count={}", rounds(7, 30)), done);
            let paged: Vec<_> = entries.iter().map(version).collect();
            let once: BTreeSet<_> = paged.iter().cloned().collect();
            assert_eq!(paged.len(), once.len(), "{path}: a version stands on two pages");
            assert!(once.is_superset(&at_start), "{path}: {:?} are lost", at_start.difference(&once));
        }
    });
}

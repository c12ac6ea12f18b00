//! The real program, killed while it erases a record: it goes on by itself where it was, erases nothing twice and leaves nothing.

use crate::place::Place;
use crate::support::Client;
use crate::workload::{Rng, first_seed};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_mins(4);

fn observation(id: &str, patient: &str) -> Value {
    let subject = json!({"reference": format!("Patient/{patient}")});
    json!({"resourceType": "Observation", "id": id, "status": "final", "code": {"text": id}, "subject": subject})
}

/// The record of `p`, each tenth resource with two versions, and of `q` one Observation.
fn load(client: &Client, resources: u64) {
    for id in ["p", "q"] {
        client.put(&format!("/Patient/{id}")).json(json!({"resourceType": "Patient", "id": id})).expect(201);
    }
    client.put("/Observation/of-q").json(observation("of-q", "q")).expect(201);
    let (first, second): (Vec<u64>, Vec<u64>) = ((0..resources).collect(), (0..resources).step_by(10).collect());
    // A transaction holds no resource twice.
    for part in first.chunks(500).chain(second.chunks(500)) {
        let entry = |n: &u64| {
            let id = format!("o{n}");
            let request = json!({"method": "PUT", "url": format!("Observation/{id}")});
            json!({"resource": observation(&id, "p"), "request": request})
        };
        let entries = part.iter().map(entry).collect::<Vec<_>>();
        client.post("").json(json!({"resourceType": "Bundle", "type": "transaction", "entry": entries})).expect(200);
    }
}

/// How many are done, or the outcome.
fn look(client: &Client, path: &str) -> Result<u64, Value> {
    let answer = client.get(path).send();
    match answer.status() {
        202 => Ok(answer.header("x-progress").and_then(|text| text.split(' ').next()?.parse().ok()).unwrap_or(0)),
        _ => Err(answer.status_is(200).json()),
    }
}

#[test]
fn a_purge_that_is_killed_goes_on_where_it_was() {
    goes_on(&Place::embedded());
}

#[test]
fn a_purge_that_is_killed_goes_on_where_it_was_on_mongodb() {
    if let Some(place) = Place::on_mongodb() {
        goes_on(&place);
    }
}

fn goes_on(place: &Place) {
    let resources = place.rounds(3000, 300);
    let (mut process, mut client) = place.serve("");
    load(&client, resources);
    let request = client.post("/Patient/p/$purge").header("Prefer", "respond-async");
    let begun = request.json(json!({"resourceType": "Parameters"})).expect(202);
    let path = begun.header("content-location").unwrap().strip_prefix(client.base()).unwrap().to_owned();

    let seed = first_seed(700);
    let (mut rng, mut reached, deadline) = (Rng(seed), 0, Instant::now() + PATIENCE);
    // There the job of a process that was killed is taken over when its lease has ended, after a minute.
    for _ in 0..place.rounds(4, 1) {
        let target = reached + 1 + rng.below(resources / 5);
        let mut done = reached;
        while done < target {
            assert!(Instant::now() < deadline, "it does not go on");
            done = look(&client, &path).unwrap_or_else(|outcome| panic!("it ended too early: {outcome}"));
            assert!(done >= reached, "what was told is not lost");
        }
        println!("seed {seed}: killed after {done} of {resources}");
        process.kill();
        assert!(!process.wait().success());
        reached = done;
        // Links hold the address: a job is found by its path.
        (process, client) = place.serve("");
    }
    let outcome = loop {
        assert!(Instant::now() < deadline, "it does not end");
        if let Err(outcome) = look(&client, &path) {
            break outcome;
        }
    };
    let told =
        format!("Erased: Observation {resources} ({} versions), Patient 1 (1 versions).", resources + resources / 10);
    assert_eq!(outcome["entry"][0]["response"]["outcome"]["issue"][0]["diagnostics"], told, "{outcome}");
    let left = client.get("/_history?_count=1000").expect(200).ids();
    assert_eq!(left, ["of-q", "q"]);
    client.get("/Observation/o7").expect(404);
    process.terminate();
    assert!(process.wait().success(), "{}", process.said());
    place.check();
}

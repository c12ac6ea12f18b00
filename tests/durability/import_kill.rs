//! The real program, killed while it imports: what is stored then is what an undisturbed import stores, and nothing is stored twice.

use crate::place::Place;
use crate::support::source::send;
use crate::support::{Client, Source, job_path};
use crate::workload::{Rng, first_seed};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Enough for many parts of the job, and for a few.
const MANY: u64 = 6_000;
const FEW: u64 = 1_000;
/// The source may be on this machine.
const SETTINGS: &str = "import_hosts = [\"127.0.0.1\"]\nimport_private = true\n";
const PATIENCE: Duration = Duration::from_mins(3);

/// Resources under ids of their own; of each tenth there is another version later on. Each 500th line is bad, and each
/// thousandth resource has no id.
fn text(resources: u64) -> String {
    let line = |n: u64| {
        let long = if n.is_multiple_of(700) { "long ".repeat(10_000) } else { format!("note {n}") };
        let id = if n.is_multiple_of(10) && n >= resources / 2 { n - resources / 2 } else { n };
        let mut made =
            json!({"resourceType": "Observation", "id": format!("o{id}"), "status": "final", "code": {"text": long}});
        if n.is_multiple_of(1000) {
            made.as_object_mut().unwrap().remove("id");
        }
        if n % 500 == 1 { "bad".to_owned() } else { made.to_string() }
    };
    (0..resources).map(|n| line(n) + "\n").collect()
}

/// Every resource with an id of the source: its version and text. And how many there are in all.
fn stored(client: &Client) -> (BTreeMap<String, (String, Value)>, Value) {
    let total = client.get("/Observation?_summary=count").expect(200).at("/total");
    let exported = client.export("/$export?_type=Observation");
    let line = |line: Value| {
        let id = line["id"].as_str().unwrap().to_owned();
        (id, (line["meta"]["versionId"].as_str().unwrap().to_owned(), line["code"]["text"].clone()))
    };
    let all = exported.lines("output").into_iter().map(line);
    (all.filter(|(id, _)| id.starts_with('o') && id.len() < 8).collect(), total)
}

#[test]
fn an_import_that_is_killed_goes_on_and_stores_the_same() {
    goes_on(&Place::embedded(), &Place::embedded());
}

#[test]
fn an_import_that_is_killed_goes_on_and_stores_the_same_on_mongodb() {
    if let (Some(calm), Some(place)) = (Place::on_mongodb(), Place::on_mongodb()) {
        goes_on(&calm, &place);
    }
}

fn goes_on(calm: &Place, place: &Place) {
    let text = text(place.rounds(MANY, FEW));
    let source = Source::start(move |_, _, connection| send(connection, 200, "ETag: \"1\"\r\n", text.as_bytes()));
    let manifest =
        json!({"inputFormat": "application/fhir+ndjson", "input": [{"type": "Observation", "url": source.url("/o")}]});
    let begin = |client: &Client| {
        job_path(client, &client.post("/$import").header("Prefer", "respond-async").json(&manifest).expect(202))
    };

    let (calm, client) = calm.serve(SETTINGS);
    let undisturbed = client.export_at(&begin(&client));
    let (expected, notes) = (stored(&client), undisturbed.notes());
    calm.terminate();
    assert!(calm.wait().success(), "{}", calm.said());

    let (mut process, mut client) = place.serve(SETTINGS);
    let path = begin(&client);
    let seed = first_seed(700);
    let (mut rng, mut kills, deadline) = (Rng(seed), 0, Instant::now() + PATIENCE);
    // There the job of a process that was killed is taken over when its lease has ended, after a minute.
    for _ in 0..place.rounds(6, 1) {
        std::thread::sleep(Duration::from_millis(rng.below(700)));
        let answer = client.get(&path).send();
        let progress = answer.header("x-progress").map(str::to_owned);
        process.kill();
        assert!(!process.wait().success());
        println!("seed {seed}: killed at {progress:?}");
        (process, client) = place.serve(SETTINGS);
        if answer.status() == 200 {
            break;
        }
        kills += 1;
        assert!(Instant::now() < deadline, "it does not end");
    }
    assert!(kills > 0, "it was killed in the middle");
    let imported = client.export_at(&path);
    for what in ["/output", "/error/0/count"] {
        assert_eq!(imported.manifest.pointer(what), undisturbed.manifest.pointer(what), "{what}");
    }
    assert_eq!(imported.notes(), notes);
    assert!(stored(&client) == expected, "what is stored is not the same");
    process.terminate();
    assert!(process.wait().success(), "{}", process.said());
    place.check();
}

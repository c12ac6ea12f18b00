//! The real program, killed while it writes an export: what comes of it is what an undisturbed export of the same moment gives.

use crate::support::{Client, Exported, Process, free_address, job_path};
use crate::workload::{Rng, first_seed};
use pharos::store::embedded::{Options, check};
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, Instant};

/// Enough for several parts of the job.
const RESOURCES: u64 = 16_000;
const PATIENCE: Duration = Duration::from_mins(3);

fn serve(store: &Path) -> (Process, Client) {
    let address = free_address();
    let (listen, store) = (address.to_string(), format!("file:{}", store.display()));
    // Links hold the address: a job is found by its path, and the base is the same for both exports.
    let arguments = ["serve", "--insecure-open", "--listen", &listen, "--store", &store];
    let process = Process::start(arguments);
    process.lines_until("serving FHIR");
    (process, Client::new(format!("http://{address}/fhir")))
}

fn observation(n: u64) -> Value {
    let long = if n.is_multiple_of(1000) { "long ".repeat(10_000) } else { format!("note {n}") };
    json!({"resourceType": "Observation", "id": format!("o{n}"), "status": "final", "code": {"text": long}, "subject": {"reference": format!("Patient/p{}", n % 7)}})
}

fn load(client: &Client) {
    let numbers: Vec<u64> = (0..RESOURCES).collect();
    for part in numbers.chunks(1000) {
        let entry = |n: &u64| json!({"resource": observation(*n), "request": {"method": "PUT", "url": format!("Observation/o{n}")}});
        let entries = part.iter().map(entry).collect::<Vec<_>>();
        client.post("").json(json!({"resourceType": "Bundle", "type": "transaction", "entry": entries})).expect(200);
    }
}

/// The path of the job.
fn begin(client: &Client) -> String {
    job_path(client, &client.get("/$export?_type=Observation").header("Prefer", "respond-async").expect(202))
}

/// How many are done, or nothing when all are.
fn look(client: &Client, path: &str) -> Option<u64> {
    let answer = client.get(path).send();
    match answer.status() {
        200 => None,
        429 => Some(0),
        _ => Some(answer.header("x-progress").and_then(|text| text.split(' ').next()?.parse().ok()).unwrap_or(0)),
    }
}

/// The texts of the files, in the order of the manifest.
fn texts(client: &Client, exported: &Exported) -> Vec<String> {
    let file = |url: &String| {
        let path = url.split("/fhir").nth(1).unwrap();
        client.get(path).expect(200).text().to_owned()
    };
    exported.urls("output", None).iter().map(file).collect()
}

#[test]
fn an_export_that_is_killed_goes_on_and_is_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    let (mut process, mut client) = serve(&store);
    load(&client);
    let undisturbed = begin(&client);
    let undisturbed = client.export_at(&undisturbed);
    let expected = texts(&client, &undisturbed);
    let path = begin(&client);

    let seed = first_seed(900);
    let (mut rng, mut kills, deadline) = (Rng(seed), 0, Instant::now() + PATIENCE);
    for _ in 0..5 {
        std::thread::sleep(Duration::from_millis(rng.below(60)));
        let done = look(&client, &path);
        process.kill();
        assert!(!process.wait().success());
        println!("seed {seed}: killed after {done:?} of {RESOURCES}");
        (process, client) = serve(&store);
        if done.is_none() {
            break;
        }
        kills += 1;
        // What is deleted, and changed, from now on is of another moment.
        client.delete(&format!("/Observation/o{kills}")).expect(204);
        assert!(Instant::now() < deadline, "it does not end");
    }
    assert!(kills > 0, "it was killed in the middle");
    let exported = client.export_at(&path);
    assert_eq!(exported.manifest["transactionTime"], undisturbed.manifest["transactionTime"]);
    assert!(texts(&client, &exported) == expected, "the files are not the same");
    process.terminate();
    assert!(process.wait().success(), "{}", process.said());
    assert_eq!(check(&Options::at(&store)).unwrap().problems, Vec::<String>::new());
}

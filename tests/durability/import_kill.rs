//! The real program, killed while it imports: what is stored then is what an undisturbed import stores, and nothing is stored twice.

use crate::support::source::send;
use crate::support::{Client, Process, Source, free_address, job_path};
use crate::workload::{Rng, first_seed};
use pharos::store::embedded::{Options, check};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

/// Enough for many parts of the job.
const RESOURCES: u64 = 6_000;
const PATIENCE: Duration = Duration::from_mins(3);

fn serve(store: &Path, config: &Path) -> (Process, Client) {
    let address = free_address();
    let (listen, store, config) =
        (address.to_string(), format!("file:{}", store.display()), config.display().to_string());
    let arguments = ["serve", "--insecure-open", "--listen", &listen, "--store", &store, "--config", &config];
    let process = Process::start(arguments);
    process.lines_until("serving FHIR");
    (process, Client::new(format!("http://{address}/fhir")))
}

/// Resources under ids of their own; of each tenth there is another version later on. Each 500th line is bad, and each
/// thousandth resource has no id.
fn text() -> String {
    let line = |n: u64| {
        let long = if n.is_multiple_of(700) { "long ".repeat(10_000) } else { format!("note {n}") };
        let id = if n.is_multiple_of(10) && n >= RESOURCES / 2 { n - RESOURCES / 2 } else { n };
        let mut made =
            json!({"resourceType": "Observation", "id": format!("o{id}"), "status": "final", "code": {"text": long}});
        if n.is_multiple_of(1000) {
            made.as_object_mut().unwrap().remove("id");
        }
        if n % 500 == 1 { "bad".to_owned() } else { made.to_string() }
    };
    (0..RESOURCES).map(|n| line(n) + "\n").collect()
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
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("pharos.toml");
    std::fs::write(&config, "[bulk]\nimport_hosts = [\"127.0.0.1\"]\nimport_private = true\n").unwrap();
    let text = text();
    let source = Source::start(move |_, _, connection| send(connection, 200, "ETag: \"1\"\r\n", text.as_bytes()));
    let manifest =
        json!({"inputFormat": "application/fhir+ndjson", "input": [{"type": "Observation", "url": source.url("/o")}]});
    let begin = |client: &Client| {
        job_path(client, &client.post("/$import").header("Prefer", "respond-async").json(&manifest).expect(202))
    };

    let (calm_store, store) = (folder.path().join("calm"), folder.path().join("store"));
    let (calm, client) = serve(&calm_store, &config);
    let undisturbed = client.export_at(&begin(&client));
    let (expected, notes) = (stored(&client), undisturbed.notes());
    calm.terminate();
    assert!(calm.wait().success(), "{}", calm.said());

    let (mut process, mut client) = serve(&store, &config);
    let path = begin(&client);
    let seed = first_seed(700);
    let (mut rng, mut kills, deadline) = (Rng(seed), 0, Instant::now() + PATIENCE);
    for _ in 0..6 {
        std::thread::sleep(Duration::from_millis(rng.below(700)));
        let answer = client.get(&path).send();
        let progress = answer.header("x-progress").map(str::to_owned);
        process.kill();
        assert!(!process.wait().success());
        println!("seed {seed}: killed at {progress:?}");
        (process, client) = serve(&store, &config);
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
    assert_eq!(check(&Options::at(&store)).unwrap().problems, Vec::<String>::new());
}

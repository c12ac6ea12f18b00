//! Two processes on one database and one folder of files: one is killed while it writes an export, and the other one finishes it.

use crate::support::mongodb::new_database;
use crate::support::{Client, Process, free_address, job_path};
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, Instant};

/// Three parts of the job.
const RESOURCES: u64 = 9_000;
/// A lease lasts a minute.
const PATIENCE: Duration = Duration::from_mins(5);

fn serve(config: &Path) -> (Process, Client) {
    let address = free_address();
    let process =
        Process::start(["serve", "--config", &config.display().to_string(), "--listen", &address.to_string()]);
    process.lines_until("serving FHIR");
    (process, Client::new(format!("http://{address}/fhir")))
}

fn load(client: &Client) {
    let observation = |n: u64| json!({"resourceType": "Observation", "id": format!("o{n}"), "status": "final", "code": {"text": format!("note {n}")}});
    let numbers: Vec<u64> = (0..RESOURCES).collect();
    for part in numbers.chunks(500) {
        let entry = |n: &u64| json!({"resource": observation(*n), "request": {"method": "PUT", "url": format!("Observation/o{n}")}});
        let entries = part.iter().map(entry).collect::<Vec<_>>();
        client.post("").json(json!({"resourceType": "Bundle", "type": "transaction", "entry": entries})).expect(200);
    }
}

/// How many are done; the manifest when all are.
fn look(client: &Client, path: &str) -> Result<Value, u64> {
    loop {
        let answer = client.get(path).send();
        match answer.status() {
            200 => return Ok(answer.json()),
            202 => {
                return Err(answer
                    .header("x-progress")
                    .and_then(|text| text.split(' ').next()?.parse().ok())
                    .unwrap_or(0));
            }
            429 => std::thread::sleep(Duration::from_millis(500)),
            _ => panic!("{answer}"),
        }
    }
}

#[test]
fn the_other_process_goes_on_where_one_was_killed_on_mongodb() {
    let Some(address) = new_database() else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let config = folder.path().join("pharos.toml");
    let (key, files) = (path("key"), path("exports"));
    let settings = format!(
        "store = {address:?}\nkey_file = {key:?}\ninsecure_open = true\n\n[bulk]\nfolder = {files:?}\n\n[limits]\nrequest_timeout_ms = 110000\n"
    );
    std::fs::write(&config, settings).unwrap();
    let (one, of_one) = serve(&config);
    let (other, of_other) = serve(&config);
    load(&of_one);

    let export = job_path(&of_one, &of_one.get("/$export?_type=Observation").expect(202));
    let until = Instant::now() + PATIENCE;
    let done = loop {
        match look(&of_one, &export) {
            Ok(_) => panic!("it was done before it could be killed"),
            Err(0) => assert!(Instant::now() < until, "it does not begin"),
            Err(done) => break done,
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    one.kill();
    assert!(!one.wait().success());
    println!("killed after {done} of {RESOURCES}");
    // The other process sees what was done, and what is changed from now on is of another moment.
    assert!(look(&of_other, &export).is_err_and(|seen| seen >= done));
    of_other.delete("/Observation/o1").expect(204);
    let manifest = loop {
        match look(&of_other, &export) {
            Ok(manifest) => break manifest,
            Err(_) => assert!(Instant::now() < until, "nobody goes on: {}", other.said()),
        }
        std::thread::sleep(Duration::from_millis(500));
    };
    let mut found = vec![0; RESOURCES as usize];
    for file in manifest["output"].as_array().unwrap() {
        let path = file["url"].as_str().unwrap().split("/fhir").nth(1).unwrap().to_owned();
        for line in of_other.get(&path).expect(200).text().lines() {
            let id =
                serde_json::from_str::<Value>(line).unwrap()["id"].as_str().unwrap()[1..].parse::<usize>().unwrap();
            found[id] += 1;
        }
    }
    assert!(found.iter().all(|count| *count == 1), "each comes once");
    other.terminate();
    assert!(other.wait().success(), "{}", other.said());
}

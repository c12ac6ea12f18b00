//! The real program is backed up while it serves, and what is restored answers the same.

use crate::support::{Client, Process, free_address};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

const WRITERS: usize = 4;
/// Each writes at least so many patients.
const EACH: usize = 25;

/// Runs a command to its end, and answers whether that was a good one, and what it said.
fn ended<'a>(arguments: impl IntoIterator<Item = &'a str>) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_pharos")).args(arguments).output().unwrap();
    (output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

/// Runs a command to its good end.
fn run<'a>(arguments: impl IntoIterator<Item = &'a str>) -> String {
    let (is_good, said) = ended(arguments);
    assert!(is_good, "{said}");
    said
}

/// Serves a store. What is answered does not depend on the port.
fn serve(store: &str) -> (Process, Client) {
    let listen = free_address().to_string();
    let public = "http://pharos.example.org";
    let key = ["serve", "--insecure-open", "--listen", &listen, "--store", store, "--public-url", public];
    let process = Process::start(key);
    process.lines_until("serving FHIR");
    (process, Client::new(format!("http://{listen}/fhir")))
}

/// A patient, changed once, and an observation; of some the observation is deleted.
fn write(client: &Client, name: &str, n: usize) {
    let id = format!("{name}-{n}");
    let patient = |given: &str| {
        json!({"resourceType": "Patient", "id": id, "birthDate": format!("19{:02}-03-04", n % 100),
            "name": [{"family": format!("Przybylski{n}"), "given": [given]}],
            "identifier": [{"system": "urn:n", "value": format!("mrn-{id}")}]})
    };
    client.put(&format!("/Patient/{id}")).json(patient("Anna")).expect(201);
    client.put(&format!("/Patient/{id}")).json(patient("Maria")).expect(200);
    let observation = json!({"resourceType": "Observation", "id": id, "status": "final", "code": {"coding": [{"system": "urn:c", "code": "a"}]},
        "subject": {"reference": format!("Patient/{id}")}, "valueQuantity": {"value": n, "unit": "mg"}});
    client.put(&format!("/Observation/{id}")).json(observation).expect(201);
    if n.is_multiple_of(5) {
        client.delete(&format!("/Observation/{id}")).expect(204);
    }
}

/// What is answered: all resources, all histories, and searches of several kinds.
fn answers(client: &Client) -> Vec<(String, Value)> {
    let mut asked: Vec<String> = [
        "/Patient?_count=500&_sort=family,_id",
        "/Observation?_count=500&_sort=-value-quantity,_id",
        "/_history?_count=500",
        "/Patient/_history?_count=500",
        "/Patient?name=przybylski7&_count=500",
        "/Patient?identifier=urn:n|mrn-w1-3",
        "/Patient?birthdate=lt1910-01-01&_count=500",
        "/Observation?subject:Patient.given=maria&code=urn:c|a&_count=500",
        "/Patient?_has:Observation:patient:code=a&_count=500",
        "/Patient?given:exact=Anna&_summary=count",
        "/Observation?value-quantity=gt12&_include=Observation:subject&_count=500",
    ]
    .map(ToOwned::to_owned)
    .into();
    for writer in 0..WRITERS {
        asked.extend((0..EACH).map(|n| format!("/Patient/w{writer}-{n}/_history?_count=500")));
        asked.extend((0..EACH).map(|n| format!("/Observation/w{writer}-{n}/_history?_count=500")));
    }
    asked
        .into_iter()
        .map(|path| {
            let answer = client.get(&path).expect(200);
            let found = json!([answer.at("/entry"), answer.at("/total")]);
            (path, found)
        })
        .collect()
}

fn holds(folder: &Path, text: &str) -> bool {
    let files = std::fs::read_dir(folder).unwrap().map(|entry| std::fs::read(entry.unwrap().path()).unwrap());
    files.into_iter().any(|file| memchr::memmem::find(&file, text.as_bytes()).is_some())
}

#[test]
fn a_restored_server_answers_what_the_first_one_did() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (store, backups, restored) =
        (format!("file:{}", path("store")), path("backups"), format!("file:{}", path("restored")));
    run(["user", "add", "root", "--role", "Admin", "--store", &store]);
    run([
        "client",
        "add",
        "--id",
        "chart",
        "--name",
        "Chart",
        "--redirect-uri",
        "https://app.example.org/back",
        "--scope",
        "patient/*.rs",
        "--store",
        &store,
    ]);
    run(["tenant", "create", "north", "--store", &store]);
    let (process, client) = serve(&store);
    let (is_over, written) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (client, is_over, written) = (&client, &is_over, &written);
            scope.spawn(move || {
                for n in 0.. {
                    if n >= EACH && is_over.load(Ordering::Relaxed) {
                        return;
                    }
                    write(client, &format!("w{writer}"), n);
                    written.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for _ in 0..3 {
            let before = written.load(Ordering::Relaxed);
            println!("{}", run(["backup", "--store", &store, "--to", &backups]));
            println!("{} patients were written meanwhile", written.load(Ordering::Relaxed) - before);
        }
        is_over.store(true, Ordering::Relaxed);
    });
    println!("{}", run(["backup", "--store", &store, "--to", &backups]));
    let expected = answers(&client);
    let events = client.get("/AuditEvent?_summary=count").expect(200).at("/total").as_u64().unwrap();
    process.terminate();
    assert!(process.wait().success(), "{}", process.said());
    for name in ["Przybylski", "przybylski", "Maria", "mrn-w", "w0-1", "Patient", "chart", "north"] {
        assert!(!holds(Path::new(&backups), name), "{name} is in the backup");
    }

    let (key, keys) = (path("store.key"), path("store/keys"));
    run(["restore", "--check", "--from", &backups]);
    let said = run(["restore", "--from", &backups, "--keys", &keys, "--store", &restored, "--key-file", &key]);
    println!("{said}");
    std::fs::copy(&key, path("restored.key")).unwrap();
    assert!(run(["check", "--store", &restored]).contains("Nothing is wrong."));
    assert!(run(["audit", "verify", "--store", &restored]).contains("The ledger is whole."));
    for (what, name) in [("user", "root"), ("client", "chart"), ("tenant", "north")] {
        assert!(run([what, "list", "--store", &restored]).contains(name), "{what}");
    }
    let (process, client) = serve(&restored);
    for ((path, expected), (_, found)) in expected.into_iter().zip(answers(&client)) {
        assert_eq!(found, expected, "{path}");
    }
    let found = client.get("/AuditEvent?_summary=count").expect(200).at("/total").as_u64().unwrap();
    assert!(found > events, "{found} events, {events} before");
    write(&client, "new", 1);
    process.terminate();
    assert!(process.wait().success(), "{}", process.said());
    // Of what an operator did there is an entry.
    let told = run(["restore", "--from", &backups, "--store", &restored, "--key-file", &key, "--check"]);
    assert!(told.contains("as they were written"), "{told}");
}

/// What was not restored is not overwritten, and what can't be done is said.
#[test]
fn what_can_not_be_done_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let store = format!("file:{}", path("store"));
    let refused = |arguments: &[&str], why: &str| {
        let (is_good, said) = ended(arguments.iter().copied());
        assert!(!is_good && said.contains(why), "{arguments:?}: {said}");
    };
    let backups = path("backups");
    refused(&["backup", "--store", &store, "--to", &backups], "there is no store");
    std::fs::create_dir(&backups).unwrap();
    refused(&["restore", "--store", &store, "--from", &backups], "there is no backup");
    run(["tenant", "create", "north", "--store", &store]);
    run(["backup", "--store", &store, "--to", &backups]);
    refused(&["restore", "--store", &store, "--from", &backups], "already");
    let other = format!("file:{}", path("other"));
    refused(&["restore", "--store", &other, "--from", &backups], "data keys are missing");
    refused(&["restore", "--store", &other, "--from", &backups, "--keys", &path("nowhere")], "wrapped keys");
    refused(&["restore", "--store", &other, "--from", &backups, "--until", "yesterday"], "--until");
    refused(&["restore", "--store", &other, "--from", &backups, "--until", "2999-01-01T00:00:00Z"], "the last backup");
    refused(&["copy", "--from", &store, "--to", &store], "the same store");
    refused(&["copy", "--from", &other, "--to", &store], "there is no store");
    refused(&["copy", "--from", &store, "--to", &other, "--store", &store], "--from and --to");
}

//! Data keys and the master key: over HTTP while the server serves, at the command line, and what the store's files tell without them.

use crate::support::mongodb::new_database;
use crate::support::server::is_on_mongodb;
use crate::support::tokens::block_on;
use crate::support::{Client, Person, Process, Server, free_address};
use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rsa::{KeySize, OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey, PrivateDecryptingKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pharos::audit::form::AuditEvents;
use pharos::audit::{Event, Record};
use pharos::auth::agent::Agent;
use pharos::auth::keeper::Expect;
use pharos::auth::records;
use pharos::clock::{Clock, SystemClock};
use pharos::jobs::{Job, New};
use pharos::store::Store;
use pharos::store::embedded::{Embedded, Options};
use pharos::tenant::TenantId;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// One address for all that opens the store: what is recorded is indexed with it.
const SETTINGS: &str = "public_url = \"http://127.0.0.1:9\"\n[audit]\nenabled = true\n";

fn patient(id: &str) -> Value {
    json!({
        "resourceType": "Patient",
        "id": id,
        "identifier": [{"system": "urn:mrn", "value": "MRN-4815162342"}],
        "name": [{"family": "Quxborough", "given": ["Zebulonia"]}],
        "telecom": [{"system": "phone", "value": "+1-555-0173-994"}],
        "address": [{"line": ["742 Marmalade Crescent"], "city": "Throckmortonville"}],
    })
}

fn states(admin: &Client) -> Vec<Value> {
    let keys = admin.get("/auth/admin/keys").expect(200).at("/keys");
    keys.as_array().unwrap().iter().map(|key| key["state"].clone()).collect()
}

/// Asks for a job, and gives its report.
fn done(admin: &Client, path: &str, body: Value) -> Value {
    let begun = admin.post(path).json(body).expect(202);
    let path = begun.location(admin.base());
    for _ in 0..100_000 {
        let job = admin.get(&path).expect(200).json();
        if job["ended"].is_string() {
            assert_eq!(job["state"], "done", "{job}");
            return job["report"].clone();
        }
    }
    panic!("it does not end");
}

#[test]
fn a_data_key_is_rotated_while_the_server_serves() {
    let server = Server::guarded();
    let person = Person { roles: &["Admin"], ..Person::default() };
    let root = server.base().trim_end_matches("/fhir").to_owned();
    let admin = Client::bearing(root, &server.token("admin", Some(&person)));
    let client = server.as_system("system/*.cruds");
    for n in 0..50 {
        client.put(&format!("/Patient/p{n}")).json(patient(&format!("p{n}"))).expect(201);
    }
    assert_eq!(states(&admin), ["newest"]);
    admin.post("/auth/admin/keys/rotate").json(json!({"what": "all"})).expect(400);
    admin.get("/auth/admin/keys/reseal").expect(405);
    let is_over = AtomicBool::new(false);
    let written: u32 = std::thread::scope(|scope| {
        let writing = scope.spawn(|| {
            let mut written = 0;
            while !is_over.load(Ordering::SeqCst) || written < 20 {
                let id = format!("p{}", written % 60);
                let answer = client.put(&format!("/Patient/{id}")).json(patient(&id)).send();
                assert!([200, 201].contains(&answer.status()), "{answer}");
                client.get(&format!("/Patient/p{}", written % 50)).expect(200);
                written += 1;
            }
            written
        });
        let report = done(&admin, "/auth/admin/keys/rotate", json!({"what": "data"}));
        assert!(report["rows"].as_u64().unwrap() > 50, "{report}");
        assert_eq!(states(&admin), ["retired", "newest"]);
        let report = done(&admin, "/auth/admin/keys/rotate", json!({"what": "data", "drop_old": true}));
        is_over.store(true, Ordering::SeqCst);
        assert_eq!(report["dropped"], 2, "{report}");
        writing.join().unwrap()
    });
    assert!(written >= 20);
    assert_eq!(states(&admin), ["newest"]);
    assert_eq!(done(&admin, "/auth/admin/keys/reseal", json!({"drop_old": true}))["rows"], 0);
    for n in 0..50 {
        client.get(&format!("/Patient/p{n}/_history")).expect(200);
    }
    assert_eq!(
        client.get("/Patient?family=quxborough&_summary=count").expect(200).at("/total"),
        json!(60.min(50 + written.saturating_sub(50)))
    );

    // The master key is another one, and the ledger's: nothing is sealed anew.
    let wrapped = admin.post("/auth/admin/keys/rotate").json(json!({"what": "master"})).expect(200);
    assert_eq!(wrapped.at("/wrapped"), 2);
    admin.post("/auth/admin/keys/rotate").json(json!({"what": "ledger"})).expect(204);
    client.get("/Patient/p1").expect(200);
    let reader = server.as_user("user/AuditEvent.rs", &Person { roles: &["Admin"], ..Person::default() });
    let events = reader.get("/AuditEvent?subtype=unwrapping&_count=50").expect(200).resources();
    let mut names: Vec<_> = events.iter().map(|event| event["entity"][0]["name"].as_str().unwrap()).collect();
    names.sort_unstable();
    // Each to be wrapped anew; and the store's own when it was opened, where it is opened after it was made.
    let opened = usize::from(!is_on_mongodb());
    assert_eq!(names, [vec!["key 1 of the store"; 1 + opened], vec!["key 3 of tenant 0"]].concat());
    assert_eq!(events[0]["subtype"][0]["code"], "110132");
}

/// Runs the program.
fn pharos(store: &str, arguments: &[&str]) -> (bool, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pharos"));
    command.args(arguments).args(["--store", store]).env("NO_COLOR", "1").env("RUST_LOG", "error");
    let output = command.output().unwrap();
    (output.status.success(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
}

/// Serves what is in a folder, has `work` done, and stops in order.
fn serving(store: &str, settings: &Path, work: impl FnOnce(&Client)) {
    let address = free_address().to_string();
    let arguments = ["serve", "--insecure-open", "--listen", &address, "--store", store, "--config"];
    let process = Process::start(arguments.iter().copied().chain([settings.to_str().unwrap()]));
    process.lines_until("serving FHIR");
    work(&Client::new(format!("http://{address}/fhir")));
    process.terminate();
    assert!(process.wait().success());
}

#[test]
fn keys_are_rotated_and_entrusted_at_the_command_line() {
    let folder = tempfile::tempdir().unwrap();
    let store = format!("file:{}", folder.path().join("data").display());
    at_the_command_line(folder.path(), &store);
    let settings = folder.path().join("pharos.toml");
    let (_, said) = pharos(&store, &["check", "--config", settings.to_str().unwrap()]);
    assert!(said.contains("Nothing is wrong."), "{said}");
}

#[test]
fn keys_are_rotated_and_entrusted_at_the_command_line_on_mongodb() {
    let Some(address) = new_database() else { return };
    at_the_command_line(tempfile::tempdir().unwrap().path(), &address);
}

#[test]
fn a_new_data_key_is_told_of_where_nothing_can_be_sealed_anew() {
    let folder = tempfile::tempdir().unwrap();
    let (data, settings) = (folder.path().join("data"), folder.path().join("pharos.toml"));
    std::fs::write(&settings, "[limits]\njobs_per_tenant = 1\n").unwrap();
    let open = || {
        let form = Arc::new(AuditEvents::new("http://127.0.0.1:8080/fhir"));
        let options = Options { form, ..Options::at(data.clone()) };
        Store::new(Arc::new(Embedded::open(options, Arc::new(SystemClock)).unwrap()))
    };
    let store = open();
    let other = New { kind: "other", owner: Agent::server(), parameters: Value::Null };
    let other = Job::new("a".into(), other, SystemClock.now());
    let other = records::put(&other.id, &other, Expect::Absent, None).unwrap();
    block_on(store.keeper().keep(TenantId::DEFAULT, vec![other])).unwrap();
    store.close().unwrap();
    drop(store);
    let at = format!("file:{}", data.display());
    let (is_good, said) = pharos(&at, &["keys", "rotate", "data", "--config", settings.to_str().unwrap()]);
    assert!(!is_good && said.contains("limits.jobs_per_tenant") && said.contains("has a new data key"), "{said}");
    let store = open();
    let blocks = store.ledger(TenantId::DEFAULT, 0, true).unwrap();
    let entries = blocks.flat_map(|block| block.unwrap().entries.unwrap()).collect::<Vec<_>>();
    let records = entries.iter().map(|entry| Record::read(entry).unwrap());
    let by_hand = records.filter(|record| record.shape.event == Event::Administration("keys".into()));
    let notes = by_hand.map(|record| record.content.note.unwrap().into_owned()).collect::<Vec<_>>();
    assert_eq!(notes.len(), 2, "{notes:?}");
    assert_eq!(notes[0], "pharos keys rotate data; drop_old: false; begins");
    assert!(notes[1].contains("; failed: ") && notes[1].contains("has a new data key"), "{notes:?}");
    store.close().unwrap();
}

fn at_the_command_line(folder: &Path, store: &str) {
    let (settings, file) = (folder.join("pharos.toml"), folder.join("data.key"));
    std::fs::write(&settings, format!("key_file = \"{}\"\n{SETTINGS}", file.display())).unwrap();
    serving(store, &settings, |client| drop(client.put("/Patient/eve").json(patient("eve")).expect(201)));
    let run = |arguments: &[&str]| {
        let (is_good, said) = pharos(store, &[arguments, &["--config", settings.to_str().unwrap()]].concat());
        assert!(is_good, "{arguments:?}: {said}");
        said
    };
    let before = run(&["keys", "list"]);
    assert_eq!(before.lines().map(|line| line.split('\t').next().unwrap()).collect::<Vec<_>>(), ["data", "ledger"]);
    assert!(run(&["keys", "rotate", "data", "--drop-old"]).contains("1 old keys were dropped"));
    assert!(run(&["keys", "rotate", "ledger"]).contains("new key"));
    let master = std::fs::read(&file).unwrap();
    assert!(run(&["keys", "rotate", "master"]).contains("3 keys are wrapped anew"));
    assert_ne!(std::fs::read(&file).unwrap(), master);
    assert!(run(&["keys", "reseal"]).starts_with("0 rows"));
    let after = run(&["keys", "list"]);
    assert!(after.contains("data\t2\t") && !after.contains("data\t1\t") && after.contains("ledger\t1\t"), "{after}");

    let key = PrivateDecryptingKey::generate(KeySize::Rsa3072).unwrap();
    let der: PublicKeyX509Der<'_> = key.public_key().as_der().unwrap();
    let (pem, to) = (folder.join("public.pem"), folder.join("escrow"));
    let text = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(der.as_ref()));
    std::fs::write(&pem, text).unwrap();
    run(&["keys", "escrow", "--public-key", pem.to_str().unwrap(), "--to", to.to_str().unwrap()]);
    let key = OaepPrivateDecryptingKey::new(key).unwrap();
    let mut plain = vec![0; key.min_output_size()];
    let plain = key.decrypt(&OAEP_SHA256_MGF1SHA256, &std::fs::read(&to).unwrap(), &mut plain, None).unwrap();
    assert_eq!(plain, std::fs::read(&file).unwrap());

    assert!(run(&["audit", "verify"]).contains("Entries: "));
    serving(store, &settings, |client| drop(client.get("/Patient/eve").expect(200)));

    // A key file that is not the right one, or not whole, ends the start.
    let config = settings.to_str().unwrap();
    for (bytes, said) in [(&master[..], "restore the right key file"), (&master[..20], "does not hold 32 bytes")] {
        std::fs::write(&file, bytes).unwrap();
        let (is_good, told) = pharos(store, &["serve", "--listen", "127.0.0.1:0", "--config", config]);
        assert!(!is_good && told.contains(said), "{told}");
    }
    std::fs::write(&file, plain).unwrap();
    serving(store, &settings, |client| drop(client.get("/Patient/eve").expect(200)));
}

#[test]
fn a_provider_that_is_down_ends_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let (settings, token) = (folder.path().join("pharos.toml"), folder.path().join("token"));
    std::fs::write(&token, "s.x").unwrap();
    let keys = "[keys]\nprovider = \"vault\"\ntimeout_ms = 300\n[keys.vault]\naddress = \"http://127.0.0.1:1\"\n";
    std::fs::write(&settings, format!("{keys}token_file = {token:?}\n")).unwrap();
    let store = format!("file:{}", folder.path().join("data").display());
    let (is_good, said) = pharos(&store, &["serve", "--config", settings.to_str().unwrap(), "--listen", "127.0.0.1:0"]);
    assert!(!is_good && said.contains("vault:transit/pharos") && said.contains("can't be reached"), "{said}");
    std::fs::write(&settings, "[keys]\nprovider = \"vault\"\n[keys.vault]\naddress = \"http://10.0.0.1\"\n").unwrap();
    let (is_good, said) = pharos(&store, &["serve", "--config", settings.to_str().unwrap()]);
    assert!(!is_good && said.contains("keys.vault.address"), "{said}");
}

/// The files below a folder that hold a text, whatever its case.
pub fn holding(folder: &Path, text: &str) -> Vec<PathBuf> {
    files_where(folder, &|bytes| memchr::memmem::find(&bytes.to_ascii_lowercase(), text.as_bytes()).is_some())
}

/// The files below a folder of whose bytes something holds.
pub fn files_where(folder: &Path, holds: &dyn Fn(&[u8]) -> bool) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            found.extend(files_where(&path, holds));
            continue;
        }
        // Some are sockets, and some are gone by now where a server is at work.
        if std::fs::read(&path).is_ok_and(|bytes| holds(&bytes)) {
            found.push(path);
        }
    }
    found
}

#[test]
fn outside_of_the_index_the_files_name_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let settings = folder.path().join("pharos.toml");
    std::fs::write(&settings, SETTINGS).unwrap();
    let data = folder.path().join("data");
    serving(&format!("file:{}", data.display()), &settings, |client| {
        client.put("/Patient/eve").json(patient("eve")).expect(201);
        // An old version, a deletion, and the ledger's records of searches that name somebody.
        client.put("/Patient/eve").json(json!({"resourceType": "Patient", "id": "eve"})).expect(200);
        client.put("/Patient/ada").json(patient("ada")).expect(201);
        client.put("/Patient/gone").json(patient("gone")).expect(201);
        client.delete("/Patient/gone").expect(204);
        client.get("/Patient?family=Quxborough&address-city=Throckmortonville").expect(200);
        client.get("/Patient?identifier=MRN-4815162342&phone=%2B1-555-0173-994").expect(200);
    });
    let index = holding(&data, "quxborough");
    let folder_of = |path: &Path| path.ancestors().nth(2).unwrap().to_path_buf();
    assert!(!index.is_empty(), "the index is plain");
    let index_folder = folder_of(&index[0]);
    assert!(index_folder.starts_with(data.join("db/keyspaces")), "{index:?}");
    for text in ["quxborough", "zebulonia", "4815162342", "0173-994", "marmalade", "throckmorton"] {
        let outside: Vec<_> = holding(&data, text).into_iter().filter(|path| folder_of(path) != index_folder).collect();
        assert!(outside.is_empty(), "{text} is in {outside:?}");
    }
}

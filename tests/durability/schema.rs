//! A store as an earlier program wrote it, kept in `tests/fixtures`: the program of today opens it, and rewrites it while it is read and written.

use crate::support::{Client, Process, free_address};
use crate::workload::{Rng, first_seed};
use pharos::audit::form::AuditEvents;
use pharos::clock::SystemClock;
use pharos::store::embedded::{Embedded, Options, check};
use pharos::store::schema::{BESIDE, MIGRATIONS, Program, Stand, WRITES};
use serde_json::json;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

static OLDER: Program = Program { writes: BESIDE, beside: BESIDE, opens: BESIDE, migrations: MIGRATIONS };

/// The address that the entries of its ledger are under.
const PUBLIC_URL: &str = "http://fixture.test";

/// Unpacks a store; its key file lies beside it.
fn unpacked(folder: &Path, schema: u32) -> Options {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/schema-{schema}.tar.zst"));
    let packed = std::fs::File::open(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    tar::Archive::new(zstd::Decoder::new(packed).unwrap()).unpack(folder).unwrap();
    let form = Arc::new(AuditEvents::new(&format!("{PUBLIC_URL}/fhir")));
    Options { key_file: folder.join("store.key"), form, ..Options::at(folder.join("store")) }
}

fn serve(options: &Options) -> (Process, Client) {
    let address = free_address();
    let (listen, store) = (address.to_string(), format!("file:{}", options.folder.display()));
    let key_file = options.key_file.display().to_string();
    let mut arguments = vec!["serve", "--insecure-open", "--public-url", PUBLIC_URL];
    arguments.extend(["--listen", &listen, "--store", &store, "--key-file", &key_file]);
    let process = Process::start(arguments);
    process.lines_until("serving FHIR");
    (process, Client::new(format!("http://{address}/fhir")))
}

fn code(n: u64, text: &str) -> serde_json::Value {
    json!({"resourceType": "Basic", "id": format!("b{n}"), "code": {"text": text}})
}

#[test]
fn each_schema_that_a_store_may_have_is_kept_as_a_fixture() {
    for schema in BESIDE..WRITES {
        let folder = tempfile::tempdir().unwrap();
        let options = unpacked(folder.path(), schema);
        let report = check(&options).unwrap();
        assert_eq!((report.problems, report.stand), (Vec::new(), Stand::of(schema)));
        assert_eq!((report.tenants, report.resources, report.versions), (2, 280, 440));
    }
}

#[test]
fn a_store_of_an_earlier_schema_is_rewritten_while_it_is_served_and_killed() {
    let folder = tempfile::tempdir().unwrap();
    let options = unpacked(folder.path(), BESIDE);
    let seed = first_seed(810);
    println!("seed {seed}");
    let mut rng = Rng(seed);
    let (mut pass, mut written) = (None, 0);
    for round in 0..6 {
        let (process, client) = serve(&options);
        if round == 0 {
            process.lines_until("a later schema is in force");
        }
        for _ in 0..rng.below(12) {
            written += 1;
            client.put(&format!("/Basic/b{}", 1 + written % 120)).json(code(1 + written % 120, "new")).expect(200);
        }
        std::thread::sleep(Duration::from_millis(rng.below(60)));
        process.kill();
        let report = check(&options).unwrap();
        assert_eq!(report.problems, Vec::<String>::new(), "round {round}");
        assert_eq!(report.stand.schema, WRITES);
        let now = report.stand.rewriting.map(|rewriting| rewriting.pass);
        let known = pass.get_or_insert_with(|| now.clone());
        assert!(round == 0 || now.is_none() || now == *known, "another pass was begun");
    }

    let (process, client) = serve(&options);
    let history = client.get("/Basic/b120/_history").expect(200).json();
    assert_eq!(history["total"], 2, "the first version was erased: {history}");
    client.get("/Basic/b120/_history/1").expect(404);
    let total = client.get("/Basic?_summary=count").expect(200).json()["total"].clone();
    assert_eq!(total, 120);
    let of_code = client.get("/Basic?_count=200").expect(200).json().to_string().matches("\"text\":\"new\"").count();
    assert_eq!(of_code as u64, written.min(120));
    client.get("/Patient/p7").expect(410);
    process.terminate();
    assert!(process.wait().success(), "{}", process.said());
    let report = check(&options).unwrap();
    assert_eq!(report.problems, Vec::<String>::new());
    assert_eq!(report.versions, 440 + written);

    // With nothing left to do it says so within one look.
    if report.stand.rewriting.is_some() {
        let (process, _) = serve(&options);
        process.lines_until("all is of the schema in force");
        process.terminate();
        assert!(process.wait().success());
    }
    assert_eq!(check(&options).unwrap().stand, Stand::of(WRITES));
    let older = Options { program: &OLDER, ..options };
    let refused = Embedded::open(older, Arc::new(SystemClock)).err().unwrap().to_string();
    assert!(refused.contains("newer version") && refused.contains(&format!("schema {WRITES}")), "{refused}");
}

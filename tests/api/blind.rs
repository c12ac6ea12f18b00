//! Tenants whose index hides what identifies persons: what can be asked, what files and database tell, and changing to it and back.

use crate::keys::{files_where, holding};
use crate::support::mongodb::new_database;
use crate::support::server::{START, embedded, on_mongodb};
use crate::support::tokens::block_on;
use crate::support::{Client, Person, Server};
use pharos::clock::{FixedClock, Micros, SystemClock};
use pharos::config::{Config, IndexMode};
use pharos::jobs::index::KIND;
use pharos::key::last_updated::sortable_micros;
use pharos::retention::compaction;
use pharos::tenant::TenantId;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

/// What nobody may read, in lower case.
const NAMES: [&str; 13] = [
    "quillfeather",
    "zebulonia",
    "mrn-48151623",
    "0173-994",
    "zq@example",
    "marmalade",
    "throckmorton",
    "dr. wolkenstein",
    "wolkenstein",
    "npi-9911",
    "oldname",
    "inkwellian",
    "90210-x",
];
/// 1961-04-12, in microseconds since 1970.
const BORN: i64 = -275_270_400_000_000;

fn patient(id: &str, family: &str) -> Value {
    json!({
        "resourceType": "Patient",
        "id": id,
        "text": {"status": "generated", "div": format!("<div xmlns=\"http://www.w3.org/1999/xhtml\">{family}, Zebulonia</div>")},
        "identifier": [{"system": "urn:mrn", "value": "MRN-48151623", "type": {"coding": [{"system": "urn:types", "code": "MR"}]}}],
        "name": [{"family": family, "given": ["Zebulonia"], "prefix": ["Dr. Wolkenstein"]}],
        "telecom": [{"system": "phone", "value": "+1-555-0173-994"}, {"system": "email", "value": "zq@example.org"}],
        "address": [{"line": ["742 Marmalade Crescent"], "city": "Throckmortonville", "postalCode": "90210-X"}],
        "gender": "female",
        "birthDate": "1961-04-12",
    })
}

/// Writes persons and what names them, as many ways as there are, and searches for them.
fn fill(client: &Client) {
    let put = |resource: Value| {
        let path = format!("/{}/{}", resource["resourceType"].as_str().unwrap(), resource["id"].as_str().unwrap());
        client.put(&path).json(resource).expect(201);
    };
    put(patient("a", "Oldname"));
    client.put("/Patient/a").json(patient("a", "Quillfeather")).expect(200);
    put(patient("gone", "Quillfeather"));
    client.delete("/Patient/gone").expect(204);
    for type_name in ["Practitioner", "Person", "RelatedPerson"] {
        let mut person = patient("x", "Inkwellian");
        person["resourceType"] = type_name.into();
        if type_name == "RelatedPerson" {
            person["patient"] = json!({"reference": "Patient/a"});
        }
        put(person);
    }
    put(json!({
        "resourceType": "Encounter", "id": "e", "status": "finished", "class": {"code": "AMB"},
        "subject": {"reference": "Patient/a", "display": "Quillfeather, Zebulonia"},
        "participant": [{"individual": {"identifier": {"system": "urn:npi", "value": "NPI-9911"}, "display": "Dr. Wolkenstein"}}],
    }));
    put(json!({
        "resourceType": "Coverage", "id": "c", "status": "active", "contained": [patient("inner", "Inkwellian")],
        "beneficiary": {"reference": "#inner"}, "payor": [{"reference": "Patient/a"}],
    }));
    for (path, matches) in [
        ("/Patient?family=quill&birthdate=1961-04", 1),
        ("/Patient?family=quillfeatherstone", 0),
        ("/Patient?name=dr.%20wolk", 1),
        ("/Patient?family:exact=Quillfeather&given=zeb&gender=female", 1),
        ("/Patient?identifier=urn:mrn|MRN-48151623", 1),
        ("/Patient?identifier:of-type=urn:types|MR|mrn-48151623", 1),
        ("/Patient?phone=%2B1-555-0173-994&email=zq@example.org", 1),
        ("/Patient?address=742%20marm&address-city=Throckmortonville&address-postalcode=90210-x", 1),
        ("/Patient?birthdate=lt1970&birthdate=ge1961-04-12", 1),
        ("/Patient?birthdate=gt1961-04-12", 0),
        ("/Patient?name:missing=true", 0),
        ("/Patient?_text=quillfeather&_content=marm*", 1),
        ("/Patient?_filter=family%20eq%20%22quillfeather%22", 1),
        ("/Encounter?participant:identifier=urn:npi|NPI-9911", 1),
        ("/Encounter?subject:text=quill", 1),
        ("/Encounter?patient.birthdate=1961", 1),
        ("/RelatedPerson?patient:Patient.family=quill&name=ink", 1),
        ("/Patient?_has:RelatedPerson:patient:name=inkwellian", 1),
        ("/Coverage?beneficiary:Patient.family=inkw", 1),
    ] {
        assert_eq!(client.get(path).expect(200).resources().len(), matches, "{path}");
    }
    client.put("/Patient?identifier=urn:mrn|MRN-48151623").json(patient("a", "Quillfeather")).expect(200);
}

fn blind(config: &mut Config) {
    config.index.mode = IndexMode::Blind;
    config.search_content = true;
}

/// A server on the embedded store, and its folder.
fn on_disk(change: impl FnOnce(&mut Config)) -> (Server, PathBuf) {
    let place = Arc::new(OnceLock::new());
    let told = Arc::clone(&place);
    let server = Server::on(change, Arc::new(SystemClock), move |folder, config, clock| {
        told.set(folder.to_path_buf()).unwrap();
        embedded(folder, config, clock)
    });
    (server, place.get().unwrap().clone())
}

#[test]
fn the_files_of_a_blind_index_name_nobody() {
    let (server, folder) = on_disk(blind);
    fill(&server);
    server.app().store().compact().unwrap();
    for name in NAMES {
        assert_eq!(holding(&folder, name), Vec::<PathBuf>::new(), "{name}");
    }
    let born = sortable_micros(Micros(BORN));
    let (plain, plain_folder) = on_disk(|config| blind_with(config, IndexMode::Plain));
    fill(&plain);
    assert!(
        !files_with(&plain_folder, &born).is_empty() && !holding(&plain_folder, "quillfeather").is_empty(),
        "of use"
    );
    assert_eq!(files_with(&folder, &born), Vec::<PathBuf>::new(), "a birth date");
}

fn blind_with(config: &mut Config, mode: IndexMode) {
    blind(config);
    config.index.mode = mode;
}

fn files_with(folder: &Path, part: &[u8]) -> Vec<PathBuf> {
    files_where(folder, &|bytes| memchr::memmem::find(bytes, part).is_some())
}

#[test]
fn the_database_of_a_blind_index_names_nobody() {
    for mode in [IndexMode::Blind, IndexMode::Plain] {
        let Some(address) = new_database() else { return };
        let there = address.clone();
        let change = |config: &mut Config| {
            blind_with(config, mode);
            config.limits.request_timeout_ms = 110_000;
        };
        let server = Server::on(change, FixedClock::at(START), move |folder, config, clock| {
            Arc::new(on_mongodb(there, folder, config, clock))
        });
        fill(&server);
        let dump = block_on(dump(&address)).unwrap();
        assert!(dump.len() > 10, "documents");
        let is_there = |name: &&str| dump.iter().any(|bytes| memchr::memmem::find(bytes, name.as_bytes()).is_some());
        let found: Vec<_> = NAMES.iter().filter(|name| is_there(name)).collect();
        assert_eq!(found.is_empty(), mode == IndexMode::Blind, "{mode:?}: {found:?}");
    }
}

/// The bytes of every document of a database, in lower case.
async fn dump(address: &str) -> mongodb::error::Result<Vec<Vec<u8>>> {
    let database = mongodb::Client::with_uri_str(address).await?.default_database().unwrap();
    let mut all = Vec::new();
    for name in database.list_collection_names().await? {
        let mut cursor =
            database.collection::<mongodb::bson::RawDocumentBuf>(&name).find(mongodb::bson::doc! {}).await?;
        while cursor.advance().await? {
            all.push(cursor.current().as_bytes().to_ascii_lowercase());
        }
    }
    Ok(all)
}

#[test]
fn what_a_blind_index_cannot_answer_is_refused_and_named() {
    let server = Server::with(blind);
    fill(&server);
    for (query, name) in [
        ("family:contains=feather", "family"),
        ("name:contains=feather,x", "name"),
        ("_sort=family", "family"),
        ("_sort=-birthdate,_id", "birthdate"),
        ("_filter=family%20co%20feather", "family"),
        ("_filter=given%20ew%20nia", "given"),
        ("_has:RelatedPerson:patient:name:contains=kwell", "name"),
    ] {
        server.get(&format!("/Patient?{query}")).expect(400).issue("not-supported").says(&format!("`{name}`"));
    }
    server.get("/Encounter?patient.family:contains=feather").expect(400).says("`family`");
    server.post("/Patient").header("If-None-Exist", "family:contains=x").json(patient("n", "N")).expect(400);
    // What is not hidden is as ever.
    assert_eq!(server.get("/Patient?_sort=gender,-_lastUpdated&_count=1").expect(200).resources().len(), 1);
}

/// What the tests' persons are called.
const WHO: &str = "person of a test";

/// A clinician, who has written a Patient, and with whom the ledger begins.
fn act(server: &Server) {
    let doctor = Person { fhir_user: Some("Practitioner/x"), roles: &["Clinical Director"], ..Person::default() };
    server.as_user("user/*.cruds", &doctor).put("/Patient/a").json(patient("a", "Quillfeather")).expect(201);
}

/// How many AuditEvents a search finds.
fn recorded(client: &Client, query: &str) -> Value {
    client.get(&format!("/AuditEvent?{query}&subtype=update&patient=Patient/a&_summary=count")).expect(200).at("/total")
}

#[test]
fn the_ledger_of_a_blind_index_tells_nobody_who_acted() {
    for mode in [IndexMode::Blind, IndexMode::Plain] {
        let (server, folder) = on_disk(|config| {
            blind_with(config, mode);
            config.insecure_open = false;
        });
        act(&server);
        let all = server.as_system("system/*.cruds");
        for (query, count) in [
            ("agent-name=a%20person", 1),
            ("agent-name:exact=A%20person%20of%20a%20test", 1),
            ("agent-name=a%20person%20of%20another", 0),
            ("address=127.0.0", 1),
            ("altid:missing=false&agent-name:missing=false", 1),
            ("agent=Practitioner/x&patient=Patient/a", 1),
            ("agent=Practitioner/y", 0),
        ] {
            assert_eq!(recorded(&all, query), count, "{mode:?}: {query}");
        }
        let refused = if mode == IndexMode::Blind { 400 } else { 200 };
        all.get("/AuditEvent?agent-name:contains=person").expect(refused);
        all.get("/AuditEvent?_sort=address").expect(refused);
        all.get("/AuditEvent?_sort=-date").expect(200);
        server.app().store().compact().unwrap();
        for name in [WHO, "127.0.0.1"] {
            assert_eq!(holding(&folder, name).is_empty(), mode == IndexMode::Blind, "{mode:?}: {name}");
        }
    }
}

fn wait_for(server: &Server, tenant: TenantId, kind: &str) {
    for _ in 0..3000 {
        if server.app().jobs.get(tenant, kind).unwrap().is_some_and(|job| job.state.is_ended()) {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    panic!("the job {kind} does not end: {:?}", server.app().jobs.get(tenant, kind).unwrap());
}

#[test]
fn an_index_becomes_blind_and_plain_again_while_it_is_used() {
    let (server, folder) = on_disk(|config| {
        blind_with(config, IndexMode::Plain);
        config.insecure_open = false;
        config.workers = 2;
    });
    let person = Person { roles: &["Admin"], ..Person::default() };
    let root = server.base().trim_end_matches("/fhir").to_owned();
    let admin = Client::bearing(root, &server.token("admin", Some(&person)));
    let client = server.as_system("system/*.cruds");
    act(&server);
    client.delete("/Patient/a").expect(204);
    fill(&client);
    for n in 0..120 {
        let family = ["Quillfeather", "Quillon", "Inkwellian"][n % 3];
        client.put(&format!("/Patient/s{n:03}")).json(patient(&format!("s{n:03}"), family)).expect(201);
    }
    let of_family = |name: &str| client.get(&format!("/Patient?family={name}&_count=500")).expect(200).ids();
    let expected =
        |remainder: usize| (0..120).filter(|n| n % 3 == remainder).map(|n| format!("s{n:03}")).collect::<Vec<_>>();
    let check = || {
        for (name, remainder) in [("quillon", 1), ("inkw", 2)] {
            let mut found: Vec<_> = of_family(name).into_iter().filter(|id| id.starts_with('s')).collect();
            found.sort();
            assert_eq!(found, expected(remainder), "{name}");
        }
        assert_eq!(client.get("/Patient?birthdate=1961-04-12&_summary=count&_id=s003").expect(200).at("/total"), 1);
        assert_eq!(recorded(&client, "agent-name=a%20person"), 1);
    };
    for (mode, form) in [("blind", true), ("plain", false), ("blind", true)] {
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let writing = scope.spawn(|| {
                let mut round = 0;
                while !is_over.load(Ordering::SeqCst) {
                    let (id, family) = (format!("w{}", round % 30), ["Oldname", "Inkwellian"][round % 2]);
                    let answer = client.put(&format!("/Patient/{id}")).json(patient(&id, family)).send();
                    assert!([200, 201].contains(&answer.status()), "{answer}");
                    if round % 5 == 0 {
                        client.delete(&format!("/Patient/w{}", (round + 7) % 30)).send();
                    }
                    let found = of_family(&family.to_lowercase());
                    assert!(found.contains(&id), "{id} was just written as {family}: {found:?}");
                    round += 1;
                }
            });
            let reading = scope.spawn(|| {
                while !is_over.load(Ordering::SeqCst) {
                    check();
                }
            });
            admin.put("/auth/admin/tenants/default").json(json!({ "index": mode })).expect(200);
            wait_for(&server, TenantId::DEFAULT, KIND);
            is_over.store(true, Ordering::SeqCst);
            writing.join().unwrap();
            reading.join().unwrap();
        });
        check();
        assert_eq!(admin.get("/auth/admin/tenants/default").expect(200).at("/index"), mode);
        let contains = client.get("/Patient?family:contains=llon&_count=500").send();
        assert_eq!(contains.status(), if form { 400 } else { 200 }, "{mode}: {contains}");
        let job = server.app().jobs.get(TenantId::DEFAULT, KIND).unwrap().unwrap();
        assert!(job.report["filled"].as_u64() >= Some(120) && job.report["swept"].as_u64() >= Some(120), "{job:?}");
    }
    wait_for(&server, TenantId::DEFAULT, compaction::KIND);
    server.app().store().compact().unwrap();
    for name in NAMES.into_iter().chain([WHO]) {
        // What was plain is in the journals until the store is closed in order.
        let is_journal = |path: &PathBuf| path.extension().is_some_and(|end| end == "jnl");
        let found: Vec<_> = holding(&folder, name).into_iter().filter(|path| !is_journal(path)).collect();
        assert_eq!(found, Vec::<PathBuf>::new(), "{name}");
    }
}

#[test]
fn a_tenant_chooses_for_itself() {
    let server = Server::guarded();
    let person = Person { roles: &["Admin"], ..Person::default() };
    let root = server.base().trim_end_matches("/fhir").to_owned();
    let admin = Client::bearing(root, &server.token("admin", Some(&person)));
    admin.post("/auth/admin/tenants").json(json!({"name": "odd", "index": "hashed"})).expect(400);
    admin.post("/auth/admin/tenants").json(json!({"name": "shy", "index": "blind"})).expect(201);
    admin.post("/auth/admin/tenants").json(json!({"name": "open", "index": "plain"})).expect(201);
    let tenant = |name: &str| server.app().tenants().named(name).unwrap().id();
    let is_blind = |name: &str| {
        let grant = pharos::auth::grant::Grant::unrestricted(tenant(name));
        server.app().store().open(&grant).unwrap().view().blind("Patient").unwrap().is_some()
    };
    assert!(is_blind("shy") && !is_blind("open"));
    assert_eq!(server.app().jobs.get(tenant("shy"), KIND).unwrap(), None, "an empty tenant needs no job");
}

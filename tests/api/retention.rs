//! The rules of retention: by request, by command and at intervals; archives; legal holds.

use crate::support::{Client, Person, Process, Server, free_address};
use pharos::config::{RetentionRule, Then, What};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;

fn rule(types: &[&str], what: What, keep_days: u32, then: Then) -> RetentionRule {
    RetentionRule {
        tenant: None,
        types: types.iter().map(|name| (*name).to_owned()).collect(),
        what,
        keep_days: Some(keep_days),
        then,
    }
}

fn populate(server: &Client) {
    let put = |path: &str, resource: Value| {
        let answer = server.put(path).json(resource).send();
        assert!([200, 201].contains(&answer.status()), "{}", answer.text());
    };
    for patient in ["p", "q"] {
        let subject = json!({"reference": format!("Patient/{patient}")});
        put(&format!("/Patient/{patient}"), json!({"resourceType": "Patient", "id": patient}));
        for kind in ["old", "deleted"] {
            let id = format!("{kind}-{patient}");
            for text in ["one", "two", "three"] {
                let code = json!({"text": text});
                put(
                    &format!("/Observation/{id}"),
                    json!({"resourceType": "Observation", "id": id, "status": "final", "code": code, "subject": subject}),
                );
            }
        }
        server.delete(&format!("/Observation/deleted-{patient}")).expect(204);
        let id = format!("flag-{patient}");
        put(
            &format!("/Flag/{id}"),
            json!({"resourceType": "Flag", "id": id, "status": "active", "code": {"text": "x"}, "subject": subject}),
        );
    }
}

fn rules() -> Vec<RetentionRule> {
    vec![
        rule(&["Observation"], What::OldVersions, 0, Then::Purge),
        rule(&["Observation"], What::Deleted, 0, Then::Purge),
        rule(&["Flag"], What::Current, 0, Then::Archive),
        rule(&[], What::OldVersions, 30_000, Then::Purge),
    ]
}

/// The administration, and a client that may do everything with data.
fn clients(server: &Server) -> (Client, Client) {
    let person = Person { roles: &["Admin"], ..Person::default() };
    let root = server.base().trim_end_matches("/fhir").to_owned();
    (Client::bearing(root, &server.token("admin", Some(&person))), server.as_system("system/*.cruds"))
}

/// Lets the rules be applied, and tells what came of it.
fn run(admin: &Client, body: Value) -> Value {
    let begun = admin.post("/auth/admin/retention").json(body).expect(202);
    let path = begun.location(admin.base());
    for _ in 0..10_000 {
        let job = admin.get(&path).expect(200).json();
        if job["ended"].is_string() {
            assert_eq!(job["state"], "done", "{job}");
            return job["report"].clone();
        }
    }
    panic!("it does not end");
}

#[test]
fn rules_are_applied_and_holds_respected() {
    let folder = tempfile::tempdir().unwrap();
    let archive = folder.path().join("archive");
    let server = Server::with(|config| {
        config.insecure_open = false;
        // By request only: what the start of the server begins might find some of what is only being written.
        config.retention.interval_s = 0;
        config.retention.rules = rules();
        config.retention.archive_folder = Some(archive.clone());
    });
    let (admin, data) = clients(&server);
    populate(&data);
    assert_eq!(admin.get("/auth/admin/retention").expect(200).at("/rules/2/then"), "archive");
    admin.put("/auth/admin/holds/Patient/q").json(json!({"reason": "case 7"})).expect(200);
    admin.put("/auth/admin/holds/Patients/q").json(json!({"reason": "case 7"})).expect(400);
    admin.put("/auth/admin/holds/Patient/q").json(json!({"reason": ""})).expect(400);
    let listed = admin.get("/auth/admin/holds").expect(200);
    assert_eq!(
        (listed.at("/holds/0/on"), listed.at("/holds/0/reason"), listed.at("/holds/1")),
        (json!("Patient/q"), json!("case 7"), Value::Null)
    );

    let erased = json!({"Flag": {"resources": 1, "versions": 1}, "Observation": {"resources": 1, "versions": 6}});
    let (archived, held) = (json!({"Flag": {"resources": 1, "versions": 1}}), json!({"Flag": 1, "Observation": 2}));
    let told = run(&admin, json!({"dry_run": true}));
    assert_eq!(
        (&told["is_dry_run"], &told["erased"], &told["archived"], &told["held"]),
        (&json!(true), &erased, &archived, &held)
    );
    assert!(!archive.exists());
    data.get("/Flag/flag-p").expect(200);

    let told = run(&admin, json!({}));
    assert_eq!(
        (&told["is_dry_run"], &told["erased"], &told["archived"], &told["held"]),
        (&json!(false), &erased, &archived, &held)
    );
    for path in ["/Flag/flag-p", "/Observation/deleted-p", "/Observation/old-p/_history/2"] {
        data.get(path).expect(404);
    }
    for path in ["/Flag/flag-q", "/Observation/old-q/_history/1", "/Observation/old-p", "/Patient/p"] {
        data.get(path).expect(200);
    }
    data.get("/Observation/deleted-q").expect(410);
    assert_eq!(data.get("/Observation/old-p/_history").expect(200).at("/total"), 1);
    assert_eq!(run(&admin, json!({}))["erased"], json!({}), "there is nothing more to do");

    let files: Vec<_> = std::fs::read_dir(&archive).unwrap().map(|file| file.unwrap().path()).collect();
    let [file] = &files[..] else { panic!("{files:?}") };
    let sealed = std::fs::read(file).unwrap();
    assert!(!sealed.windows(6).any(|part| part == b"flag-p"));
    let grant = pharos::auth::grant::Grant::unrestricted(pharos::tenant::TenantId::DEFAULT);
    let lines = pharos::retention::archive::read(server.app().store(), &grant, file).unwrap();
    let flag: Value = serde_json::from_slice(&lines).unwrap();
    assert_eq!((&flag["id"], &flag["meta"]["versionId"]), (&json!("flag-p"), &json!("1")));

    admin.delete("/auth/admin/holds/Patient/q").expect(204);
    admin.delete("/auth/admin/holds/Patient/q").expect(404);
    assert_eq!(run(&admin, json!({}))["erased"], erased);
    data.get("/Flag/flag-q").expect(404);
    let events = data.get("/AuditEvent?_count=1000").expect(200).text().to_owned();
    assert!(events.contains("\"archival\"") && events.contains("lifted"), "{events}");
    let set = events.matches("set: case 7").count();
    assert_eq!(set, 1, "recorded once, with its commit");
}

/// What is derived from resources forgets those that are erased: here a consent, which hides no longer.
#[test]
fn an_erased_consent_is_none() {
    let server = Server::with(|config| {
        config.insecure_open = false;
        config.retention.rules = vec![rule(&["Consent"], What::Current, 0, Then::Purge)];
    });
    let (admin, _) = clients(&server);
    let person = |roles| Person { roles, fhir_user: Some("Practitioner/a"), ..Person::default() };
    let manager = server.as_user("user/*.cruds", &person(&["Admin", "Clinical Director"]));
    let clinician = server.as_user("user/*.rs", &person(&["Clinical Director"]));
    manager.put("/Patient/p").json(json!({"resourceType": "Patient", "id": "p"})).expect(201);
    clinician.get("/Patient/p").expect(200);
    let coding = |system: &str, code: &str| json!({"coding": [{"system": system, "code": code}]});
    let consent = json!({
        "resourceType": "Consent", "id": "c", "status": "active", "patient": {"reference": "Patient/p"},
        "scope": coding("http://terminology.hl7.org/CodeSystem/consentscope", "patient-privacy"),
        "category": [coding("http://loinc.org", "59284-0")],
        "policyRule": coding("http://terminology.hl7.org/CodeSystem/v3-ActCode", "OPTOUT")
    });
    manager.put("/Consent/c").json(consent).expect(201);
    clinician.get("/Patient/p").expect(404);
    assert_eq!(run(&admin, json!({}))["erased"], json!({"Consent": {"resources": 1, "versions": 1}}));
    clinician.get("/Patient/p").expect(200);
}

#[test]
fn only_administrators_have_to_do_with_it() {
    let server = Server::guarded();
    let root = server.base().trim_end_matches("/fhir").to_owned();
    let nobody = Client::bearing(root, &server.token("system/*.cruds", None));
    for path in ["retention", "jobs", "jobs/x", "holds", "holds/Patient/p"] {
        nobody.get(&format!("/auth/admin/{path}")).expect(403);
    }
    let (admin, _) = clients(&server);
    admin.get("/auth/admin/jobs/x").expect(404);
    admin.get("/auth/admin/holds/Patient/p").expect(404);
    assert_eq!(admin.get("/auth/admin/retention").expect(200).at("/rules"), json!([]));
    assert_eq!(run(&admin, json!({}))["erased"], json!({}), "nothing is erased without a rule");
}

#[test]
fn rules_are_applied_at_intervals() {
    let server = Server::with(|config| {
        config.retention.interval_s = 3600;
        config.retention.rules = vec![rule(&["Flag"], What::Current, 36_500, Then::Purge)];
    });
    let jobs = &server.app().jobs;
    let ended = || jobs.list(pharos::tenant::TenantId::DEFAULT).unwrap().iter().any(|job| job.ended.is_some());
    // The clock moves a millisecond at each look: an hour does not pass.
    assert!((0..100_000).any(|_| ended()), "no job was run");
    assert_eq!(jobs.list(pharos::tenant::TenantId::DEFAULT).unwrap().len(), 1);
}

fn pharos(store: &str, config: &Path, arguments: &[&str]) -> (bool, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pharos"));
    command.args(arguments).args(["--store", store, "--config"]).arg(config).env("RUST_LOG", "error");
    let output = command.output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).unwrap())
}

#[test]
fn the_command_line_does_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let (store, config) =
        (format!("file:{}", folder.path().join("store").display()), folder.path().join("pharos.toml"));
    let address = free_address().to_string();
    let process = Process::start(["serve", "--insecure-open", "--listen", &address, "--store", &store]);
    process.lines_until("serving FHIR");
    populate(&Client::new(format!("http://{address}/fhir")));
    process.terminate();
    assert!(process.wait().success());
    let archive = folder.path().join("archive");
    let settings = format!(
        "[audit]\nenabled = false\n[retention]\narchive_folder = {:?}\n[[retention.rules]]\ntypes = [\"Flag\"]\nwhat = \"current\"\nkeep_days = 0\nthen = \"archive\"\n",
        archive.display().to_string()
    );
    std::fs::write(&config, settings).unwrap();
    let pharos = |arguments: &[&str]| pharos(&store, &config, arguments);

    let (is_good, said) = pharos(&["retention", "hold", "Flag/flag-q", "--reason", "case 7"]);
    assert!(is_good && said.contains("There is a hold on Flag/flag-q."), "{said}");
    assert_eq!(pharos(&["retention", "holds"]), (true, "Flag/flag-q\tcase 7\n".to_owned()));
    assert!(!pharos(&["retention", "hold", "flag-q", "--reason", "x"]).0);
    let (is_good, said) = pharos(&["retention", "run", "--dry-run"]);
    assert!(is_good && said.contains("To be erased: Flag: 1 resources, 1 versions, 1 of them archived\nHeld: Flag: 1 resources\nNothing was touched."), "{said}");
    let (is_good, said) = pharos(&["retention", "run"]);
    assert!(is_good && said.contains("Erased: Flag: 1 resources"), "{said}");
    let (is_good, said) = pharos(&["retention", "release", "Flag/flag-q"]);
    assert!(is_good && said.contains("lifted"), "{said}");
    assert!(!pharos(&["retention", "release", "Flag/flag-q"]).0);
    assert!(pharos(&["retention", "run"]).1.contains("Erased: Flag: 1 resources"));
    let mut files: Vec<_> =
        std::fs::read_dir(&archive).unwrap().map(|file| file.unwrap().path().display().to_string()).collect();
    files.sort_unstable();
    assert_eq!(files.len(), 2);
    let (is_good, said) = pharos(&["retention", "read", &files[0], &files[1]]);
    assert!(is_good && said.lines().count() == 2 && said.contains("flag-p") && said.contains("flag-q"), "{said}");
    let (is_good, said) = pharos(&["check"]);
    assert!(is_good && said.contains("Nothing is wrong."), "{said}");
    assert!(pharos(&["check", "--rebuild"]).0);
}

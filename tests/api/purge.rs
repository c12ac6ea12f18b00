//! `Patient/[id]/$purge`: what of a record goes, what is left, and who may ask for it.

use crate::support::{Answer, Client, Person, Request, Server};
use pharos::auth::agent::Agent;
use pharos::retention::hold::Hold;
use pharos::tenant::TenantId;
use serde_json::{Value, json};

fn put(server: &Client, resource: Value) -> Answer {
    let path = format!("/{}/{}", resource["resourceType"].as_str().unwrap(), resource["id"].as_str().unwrap());
    let answer = server.put(&path).json(resource).send();
    assert!(matches!(answer.status(), 200 | 201), "{answer}");
    answer
}

fn observation(id: &str, patient: &str, text: &str) -> Value {
    let subject = json!({"reference": format!("Patient/{patient}")});
    json!({"resourceType": "Observation", "id": id, "status": "final", "code": {"text": text}, "subject": subject})
}

fn patient(id: &str) -> Value {
    json!({"resourceType": "Patient", "id": id, "name": [{"family": format!("Family-{id}")}]})
}

fn document(id: &str, binary: &str) -> Value {
    json!({"resourceType": "DocumentReference", "id": id, "status": "current", "subject": {"reference": "Patient/p"},
        "content": [{"attachment": {"contentType": "text/plain", "url": format!("Binary/{binary}")}}]})
}

fn binary(id: &str) -> Value {
    json!({"resourceType": "Binary", "id": id, "contentType": "text/plain", "data": "c2VjcmV0"})
}

/// The record of `p`, and beside it that of `q`.
fn populate(server: &Client) {
    for id in ["p", "q"] {
        put(server, patient(id));
        put(server, patient(id));
        put(server, observation(&format!("of-{id}"), id, "one"));
        put(server, observation(&format!("of-{id}"), id, "two"));
    }
    put(server, observation("moved", "p", "of the wrong patient"));
    put(server, observation("moved", "q", "of the right patient"));
    put(server, observation("deleted", "p", "to be deleted"));
    server.delete("/Observation/deleted").expect(204);
    put(server, json!({"resourceType": "Practitioner", "id": "doctor"}));
    let participant = |id: &str| json!({"actor": {"reference": format!("Patient/{id}")}, "status": "accepted"});
    put(
        server,
        json!({"resourceType": "Appointment", "id": "shared", "status": "booked", "participant": [participant("p"), participant("q")]}),
    );
    put(server, binary("letter"));
    put(server, binary("secured-by-p"));
    put(server, document("doc-1", "letter"));
    put(server, document("doc-2", "letter"));
    let mut secured = binary("secured-by-p");
    secured["securityContext"] = json!({"reference": "Patient/p"});
    put(server, secured);
}

fn purge<'c>(server: &'c Client, id: &str, parameters: &[(&str, bool)]) -> Request<'c> {
    let parameter = |(name, value): &(&str, bool)| json!({"name": name, "valueBoolean": value});
    let parameters = parameters.iter().map(parameter).collect::<Vec<_>>();
    server.post(&format!("/Patient/{id}/$purge")).json(json!({"resourceType": "Parameters", "parameter": parameters}))
}

fn all_versions(server: &Client) -> Vec<String> {
    let bundle = server.get("/_history?_count=1000").expect(200).json();
    let entries = bundle["entry"].as_array().unwrap();
    let mut all: Vec<_> = entries.iter().map(|entry| entry["response"]["location"].as_str().unwrap()).collect();
    all.sort_unstable();
    all.iter().map(|location| location.split("/fhir/").nth(1).unwrap().replace("/_history/", " ")).collect()
}

fn hold(server: &Server, on: &str) {
    let hold = Hold { on: on.into(), reason: "case 7".into(), by: Agent::operator(), since: 0 };
    crate::support::tokens::block_on(server.app().holds(TenantId::DEFAULT).set(&hold)).unwrap();
}

fn lift(server: &Server, on: &str) {
    let app = server.app();
    crate::support::tokens::block_on(app.holds(TenantId::DEFAULT).lift(on, &Agent::operator(), app.now())).unwrap();
}

#[test]
fn a_record_goes_with_all_its_versions_and_nothing_else() {
    let server = Server::start();
    populate(&server);
    let before = all_versions(&server);
    let told = purge(&server, "p", &[("dryRun", true)]).expect(200).says("Nothing was touched");
    assert_eq!(all_versions(&server), before);

    let answer = purge(&server, "p", &[]).expect(200).says("Appointment/shared was left: it is about other patients");
    let outcome = answer.outcome();
    assert_eq!(outcome.severities(), ["information", "warning"]);
    let erased =
        "Binary 2 (3 versions), DocumentReference 2 (2 versions), Observation 2 (5 versions), Patient 1 (2 versions).";
    assert_eq!(outcome.diagnostics()[0], format!("Erased: {erased}"));
    assert_eq!(told.outcome().diagnostics()[0], format!("Nothing was touched. To be erased: {erased}"));

    let left = [
        "Appointment/shared 1",
        "Observation/moved 2",
        "Observation/of-q 1",
        "Observation/of-q 2",
        "Patient/q 1",
        "Patient/q 2",
        "Practitioner/doctor 1",
    ];
    assert_eq!(all_versions(&server), left);
    for path in [
        "/Patient/p",
        "/Patient/p/_history",
        "/Patient/p/_history/1",
        "/Observation/of-p",
        "/Observation/of-p/_history/1",
        "/Observation/deleted",
        "/Observation/deleted/_history/1",
        "/Binary/letter",
        "/Observation/moved/_history/1",
    ] {
        server.get(path).expect(404);
    }
    let moved = server.get("/Observation/moved/_history").expect(200);
    assert_eq!((moved.at("/total"), moved.ids()), (json!(1), vec!["moved".to_owned()]));
    assert_eq!(server.get("/Observation?subject=Patient/p").expect(200).ids(), Vec::<String>::new());
    assert_eq!(server.get("/Patient?family=family").expect(200).ids(), ["q"]);
    assert_eq!(server.get("/Observation?_lastUpdated=gt2000").expect(200).ids().len(), 2);
    assert_eq!(server.get("/Observation/_history?_since=2000-01-01T00:00:00Z").expect(200).ids().len(), 3);

    purge(&server, "p", &[]).expect(404).issue("not-found");
    let again = put(&server, patient("p"));
    assert_eq!((again.status(), again.version()), (201, "1".into()));
    assert_eq!(server.get("/Patient/p/_history").expect(200).at("/total"), 1);
    purge(&server, "p", &[]).expect(200).says("Patient 1 (1 versions)");
    server.get("/Patient/p").expect(404);
}

#[test]
fn a_deleted_patient_can_be_purged() {
    let server = Server::start();
    populate(&server);
    server.delete("/Observation/of-p").expect(204);
    server.delete("/Patient/p").expect(204);
    server.get("/Patient/p").expect(410);
    purge(&server, "p", &[]).expect(200).says("Patient 1 (3 versions)").says("Observation 2 (6 versions)");
    server.get("/Patient/p").expect(404);
    server.get("/Observation/of-p").expect(404);
    assert!(!all_versions(&server).iter().any(|version| version.contains("of-p") || version.contains("Patient/p")));
}

#[test]
fn what_is_under_a_hold_stays() {
    let server = Server::start();
    populate(&server);
    let before = all_versions(&server);
    hold(&server, "Patient/p");
    purge(&server, "p", &[]).expect(409).issue("business-rule").says("legal hold");
    purge(&server, "p", &[("dryRun", true)]).expect(409);
    assert_eq!(all_versions(&server), before);
    lift(&server, "Patient/p");
    for on in ["Observation/of-p", "DocumentReference/doc-1", "Patient/q"] {
        hold(&server, on);
    }
    let answer = purge(&server, "p", &[]).expect(200);
    for name in ["Observation/of-p", "DocumentReference/doc-1", "Observation/moved"] {
        let answer = answer.outcome().diagnostics();
        assert!(
            answer.iter().any(|text| text.starts_with(&format!("{name} was left: it is under a legal hold"))),
            "{answer:?}"
        );
    }
    for path in [
        "/Observation/of-p",
        "/Observation/of-p/_history/1",
        "/DocumentReference/doc-1",
        "/Binary/letter",
        "/Observation/moved/_history/1",
    ] {
        server.get(path).expect(200);
    }
    for path in ["/DocumentReference/doc-2", "/Patient/p", "/Binary/secured-by-p"] {
        server.get(path).expect(404);
    }
}

#[test]
fn bad_requests_are_refused() {
    let server = Server::start();
    populate(&server);
    let before = all_versions(&server);
    purge(&server, "never", &[]).expect(404).issue("not-found");
    purge(&server, "p", &[("dry-run", true)]).expect(400).issue("not-supported");
    purge(&server, "p", &[("dryrun", true)]).header("Prefer", "handling=lenient").expect(400);
    server
        .post("/Patient/p/$purge?dryRun=perhaps")
        .json(json!({"resourceType": "Parameters"}))
        .expect(400)
        .about("dryRun");
    server.get("/Patient/p/$purge").expect(405);
    server.post("/Observation/of-p/$purge").json(json!({"resourceType": "Parameters"})).expect(404);
    server.post("/Patient/$purge").json(json!({"resourceType": "Parameters"})).expect(404);
    assert_eq!(all_versions(&server), before);
    let told =
        server.get("/metadata").expect(200).text().contains("http://hl7.org/fhir/OperationDefinition/Patient-purge");
    assert!(told);
}

#[test]
fn only_administrators_purge_and_the_ledger_keeps_it() {
    let server = Server::guarded();
    let system = server.as_system("system/*.cruds");
    populate(&system);
    system.get("/Patient/p").expect(200);
    let person = |roles| Person { roles, fhir_user: Some("Practitioner/doctor"), ..Person::default() };
    purge(&system, "p", &[]).expect(403).issue("forbidden");
    purge(&server, "p", &[]).expect(401);
    purge(&server.as_user("user/*.cruds", &person(&["Admin"])), "p", &[]).expect(403);
    purge(&server.as_user("user/*.cruds admin", &person(&["Provider"])), "p", &[]).expect(403);
    system.get("/Patient/p").expect(200);

    let admin = server.as_user("admin", &person(&["Admin"]));
    let batch = json!({"resourceType": "Bundle", "type": "batch", "entry": [
        {"request": {"method": "POST", "url": "Patient/p/$purge"}, "resource": {"resourceType": "Parameters", "parameter": [{"name": "dryRun", "valueBoolean": true}]}}]});
    assert_eq!(system.post("").json(batch.clone()).expect(200).at("/entry/0/response/status"), "403");
    assert_eq!(admin.post("").json(batch).expect(200).at("/entry/0/response/status"), "200 OK");
    purge(&admin, "p", &[]).expect(200).says("Patient 1");
    system.get("/Patient/p").expect(404);

    let entries = system.get("/AuditEvent?patient=Patient/p&_count=1000").expect(200).resources();
    let erasures: Vec<_> = entries.iter().filter(|entry| entry.to_string().contains("\"erasure\"")).collect();
    assert!(
        !erasures.is_empty() && erasures.iter().any(|entry| entry.to_string().contains("Observation/of-p")),
        "{entries:?}"
    );
    assert!(erasures[0].to_string().contains("user-"), "who asked for it: {}", erasures[0]);
    let is_read = |entry: &&Value| entry["subtype"].to_string().contains("\"read\"");
    assert!(entries.iter().any(|entry| is_read(&entry)), "what was before stays: {entries:?}");
}

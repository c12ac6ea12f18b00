//! `Prefer: respond-async` on searches and Bundles.

use crate::export::{fill, observation, patient};
use crate::support::tokens::block_on;
use crate::support::{Answer, Client, Person, Server, job_path};
use pharos::auth::agent::Agent;
use pharos::bulk::DEFERRED;
use pharos::jobs::{New, State};
use pharos::tenant::TenantId;
use serde_json::{Value, json};
use std::time::Duration;

const TENANT: TenantId = TenantId::DEFAULT;

/// The entry of the Bundle that a job ends with.
fn end_of(client: &Client, begun: &Answer) -> (Answer, Value) {
    assert_eq!(begun.outcome().severities(), ["information"]);
    let path = job_path(client, begun);
    for _ in 0..600 {
        let answer = client.get(&path).send();
        if ![202, 429].contains(&answer.status()) {
            let answer = answer.status_is(200).header_is("content-type", "application/fhir+json; charset=utf-8");
            let bundle = answer.json();
            assert_eq!((&bundle["type"], bundle["entry"].as_array().unwrap().len()), (&json!("batch-response"), 1));
            return (answer, bundle["entry"][0].clone());
        }
        assert!(answer.status() == 429 || answer.header("retry-after").is_some());
        std::thread::sleep(Duration::from_millis(if answer.status() == 429 { 1000 } else { 50 }));
    }
    panic!("it does not end");
}

fn without_time(mut bundle: Value) -> Value {
    bundle.as_object_mut().unwrap().remove("meta");
    bundle
}

#[test]
fn a_search_is_answered_later_with_what_it_would_have_been_answered_at_once() {
    let server = Server::start();
    fill(&server);
    for query in
        ["/Patient?gender=female&_sort=_id", "/Patient/a/Observation?status=final", "/?_type=Patient,Group&_id=a,ab"]
    {
        let now = without_time(server.get(query).expect(200).json());
        let begun = server.get(query).header("Prefer", "respond-async").expect(202);
        let (_, entry) = end_of(&server, &begun);
        assert_eq!((&entry["response"]["status"], without_time(entry["resource"].clone())), (&json!("200 OK"), now));
    }
    let posted = server.post("/Patient/_search").header("Prefer", "respond-async").form("_id=b").expect(202);
    let (_, entry) = end_of(&server, &posted);
    assert_eq!(entry["resource"]["entry"][0]["resource"]["id"], "b");
    // What is refused is refused in the end.
    let bad = server.get("/Patient?no-such=x").header("Prefer", "respond-async").expect(202);
    let (_, entry) = end_of(&server, &bad);
    assert_eq!((&entry["response"]["status"], entry.get("resource")), (&json!("400"), None));
    assert!(entry["response"]["outcome"].to_string().contains("no-such"), "{entry}");
    let dropped = server.get("/Patient?no-such=x").header("Prefer", "respond-async, handling=lenient").expect(202);
    assert_eq!(end_of(&server, &dropped).1["response"]["status"], "200 OK");
    // Other interactions are answered at once.
    server.get("/Patient/a").header("Prefer", "respond-async").expect(200);
}

#[test]
fn a_bundle_happens_once() {
    let server = Server::start();
    let entry = |resource: Value, method: &str| {
        let path = format!("{}/{}", resource["resourceType"].as_str().unwrap(), resource["id"].as_str().unwrap());
        let url = if method == "PUT" { path } else { resource["resourceType"].as_str().unwrap().to_owned() };
        json!({"resource": resource, "request": {"method": method, "url": url}})
    };
    for kind in ["transaction", "batch"] {
        let id = format!("of-{kind}");
        let entries = [entry(patient(&id), "PUT"), entry(observation("new", &id), "POST")];
        let bundle = json!({"resourceType": "Bundle", "type": kind, "entry": entries});
        let begun = server.post("/").header("Prefer", "respond-async, return=minimal").json(bundle).expect(202);
        let (_, entry) = end_of(&server, &begun);
        assert_eq!(
            (&entry["response"]["status"], &entry["resource"]["type"]),
            (&json!("200 OK"), &json!(format!("{kind}-response")))
        );
        assert_eq!(
            entry["resource"]["entry"][1]["response"]["status"].as_str().map(|status| &status[..3]),
            Some("201")
        );
        assert_eq!(server.get(&format!("/Observation?subject=Patient/{id}")).expect(200).resources().len(), 1);
    }
    // One that was begun by a process that is no more is not begun again; a search is.
    server.app().jobs.stop();
    let bundle = json!({"resourceType": "Bundle", "type": "transaction", "entry": [entry(patient("again"), "PUT")]});
    let begun = |answer: Answer| job_path(&server, &answer.status_is(202))[7..].to_owned();
    let of_bundle = begun(server.post("/").header("Prefer", "respond-async").json(bundle).send());
    let of_search = begun(server.get("/Patient?_id=of-batch").header("Prefer", "respond-async").send());
    for id in [&of_bundle, &of_search] {
        let keeper = server.app().store().keeper();
        let kept = keeper.get(TENANT, "job", id).unwrap().unwrap();
        let mut job: Value = serde_json::from_slice(&kept.bytes).unwrap();
        job["position"] = json!("begun");
        let bytes = Some(serde_json::to_vec(&job).unwrap());
        let keep = pharos::auth::keeper::Keep {
            kind: "job",
            id: id.as_str().into(),
            expect: pharos::auth::keeper::Expect::Any,
            bytes,
            expires: None,
        };
        block_on(keeper.keep(TENANT, vec![keep])).unwrap();
    }
    let run = |id: &str| block_on(server.app().jobs.run_to_end(TENANT, id)).unwrap().unwrap();
    let failed = run(&of_bundle);
    assert!(failed.state == State::Failed && failed.failure.unwrap().contains("interrupted"));
    server.get(&format!("/_jobs/{of_bundle}")).expect(500).says("interrupted");
    server.get("/Patient/again").expect(404);
    assert_eq!(run(&of_search).state, State::Done);
}

#[test]
fn rights_ownership_and_the_ledger_are_those_of_any_request() {
    let server = Server::guarded();
    fill(&server.as_system("system/*.cruds"));
    let client = server.as_system("system/Patient.rs");
    let begun = client.get("/Patient?_id=a").header("Prefer", "respond-async").expect(202);
    let (_, entry) = end_of(&client, &begun);
    assert_eq!(entry["resource"]["entry"][0]["resource"]["id"], "a");
    let path = job_path(&client, &begun);
    server.as_system("system/Patient.rs").get(&path).expect(404);
    client.get("/Observation").header("Prefer", "respond-async").expect(403);
    let refused = json!({"resourceType": "Bundle", "type": "transaction", "entry": [
        {"resource": patient("x"), "request": {"method": "PUT", "url": "Patient/x"}}]});
    let refused = client.post("/").header("Prefer", "respond-async").json(refused).send();
    if refused.status() == 202 {
        assert_eq!(end_of(&client, &refused).1["response"]["status"], "403");
    } else {
        refused.status_is(403);
    }
    client.get("/Patient/x").expect(404);
    let auditor = server
        .as_user("user/AuditEvent.rs user/Patient.rs", &Person { roles: &["Compliance Officer"], ..Person::default() });
    let told = auditor
        .get("/AuditEvent?patient=Patient/a&subtype=http://hl7.org/fhir/restful-interaction|search-type")
        .expect(200);
    assert_eq!(told.resources().len(), 1, "the search, when it was performed");
    // Who may see a part of a type hears at once.
    server.as_system("system/Patient.rs?_id=a").get("/Patient").header("Prefer", "respond-async").expect(200);
    client.delete(&path).expect(202);
    client.get(&path).expect(404);
}

#[test]
fn what_is_kept_is_limited_and_goes() {
    let server = Server::with(|config| config.bulk.kept_answers = 1);
    fill(&server);
    let begun = server.get("/Patient").header("Prefer", "respond-async").expect(202);
    end_of(&server, &begun);
    server.get("/Patient").header("Prefer", "respond-async").expect(429).says("bulk.kept_answers");
    // Exports have a limit of their own.
    server.export("/$export?_type=Patient");
    let path = job_path(&server, &begun);
    server.delete(&path).expect(202);
    assert!(!server.app().exports.folder_of(TENANT, &path[7..]).exists());
    // One that is cancelled before its turn is not performed.
    server.app().jobs.stop();
    let bundle = json!({"resourceType": "Bundle", "type": "transaction", "entry": [
        {"resource": patient("x"), "request": {"method": "PUT", "url": "Patient/x"}}]});
    let path = job_path(&server, &server.post("/").header("Prefer", "respond-async").json(bundle).expect(202));
    server.delete(&path).expect(202);
    server.get(&path).expect(404);
    assert_eq!(block_on(server.app().jobs.run_to_end(TENANT, &path[7..])).unwrap().unwrap().state, State::Cancelled);
    server.get("/Patient/x").expect(404);
}

#[test]
fn a_bundle_is_not_kept_and_its_answer_goes_with_any_purge() {
    let server = Server::start();
    fill(&server);
    let bundle = json!({"resourceType": "Bundle", "type": "batch", "entry": [
        {"resource": patient("new"), "request": {"method": "PUT", "url": "Patient/new"}}]});
    let begun = server.post("/").header("Prefer", "respond-async, return=representation").json(bundle).expect(202);
    end_of(&server, &begun);
    let path = job_path(&server, &begun);
    let folder = server.app().exports.folder_of(TENANT, &path[7..]);
    assert!(folder.join("2.Bundle.ndjson").exists() && !folder.join("1.input.ndjson").exists());
    server.post("/Patient/new/$purge").json(json!({"resourceType": "Parameters"})).expect(200);
    server.get(&path).expect(410).issue("deleted");
    assert_eq!(block_on(server.app().sweep_exports(TENANT)).unwrap(), 1);
    server.get(&path).expect(404);
    assert!(!folder.exists());
}

#[test]
fn what_rests_on_a_client_that_was_switched_off_is_not_performed() {
    let server = Server::guarded();
    let client = server.as_system("system/*.cruds");
    server.app().jobs.stop();
    let begin = || {
        let bundle = json!({"resourceType": "Bundle", "type": "transaction", "entry": [
            {"resource": patient("x"), "request": {"method": "PUT", "url": "Patient/x"}}]});
        let begun = client.post("/").header("Prefer", "respond-async").json(bundle).expect(202);
        job_path(&client, &begun)[7..].to_owned()
    };
    let run = |id: &str| block_on(server.app().jobs.run_to_end(TENANT, id)).unwrap().unwrap();
    assert_eq!(run(&begin()).state, State::Done);
    let id = begin();
    let keeper = server.app().store().keeper();
    let owner = server.app().jobs.get(TENANT, &id).unwrap().unwrap().owner.client.unwrap();
    let kept = keeper.get(TENANT, "client", &owner).unwrap().unwrap();
    let mut record: Value = serde_json::from_slice(&kept.bytes).unwrap();
    record["disabled"] = json!(true);
    let keep = pharos::auth::keeper::Keep {
        kind: "client",
        id: owner,
        expect: pharos::auth::keeper::Expect::Any,
        bytes: Some(serde_json::to_vec(&record).unwrap()),
        expires: None,
    };
    block_on(keeper.keep(TENANT, vec![keep])).unwrap();
    let failed = run(&id);
    assert!(failed.state == State::Failed && failed.failure.unwrap().contains("switched off"));
}

/// A batch that takes its time: each of so many entries is a commit of its own.
fn slow(prefix: &str, entries: usize) -> Value {
    let entry = |n: usize| {
        let id = format!("{prefix}-{n}");
        json!({"resource": patient(&id), "request": {"method": "PUT", "url": format!("Patient/{id}")}})
    };
    json!({"resourceType": "Bundle", "type": "batch", "entry": (0..entries).map(entry).collect::<Vec<_>>()})
}

fn later(client: &Client, bundle: &Value) -> String {
    job_path(client, &client.post("/").header("Prefer", "respond-async").json(bundle).expect(202))
}

fn count(client: &Client) -> u64 {
    client.get("/Patient?_summary=count").expect(200).at("/total").as_u64().unwrap()
}

#[test]
fn one_that_is_at_work_stops_when_it_is_cancelled() {
    const ENTRIES: usize = 4_000;
    let server = Server::with(|config| config.limits.bundle_entries = ENTRIES);
    let path = later(&server, &slow("p", ENTRIES));
    while count(&server) == 0 {
        std::thread::sleep(Duration::from_millis(5));
    }
    server.delete(&path).expect(202);
    server.get(&path).expect(404);
    // What was under way at the moment still happens.
    let mut before = count(&server);
    loop {
        std::thread::sleep(Duration::from_millis(400));
        let now = count(&server);
        if now == before {
            break;
        }
        before = now;
    }
    assert!(before < ENTRIES as u64, "all of it was done");
    // Its place is free.
    let next = server.get("/Patient?_summary=count").header("Prefer", "respond-async").expect(202);
    assert_eq!(end_of(&server, &next).1["resource"]["total"], before);
}

#[test]
fn the_flood_of_one_tenant_leaves_places_to_others() {
    let server = Server::with(|config| {
        config.limits.deferred_at_once = 2;
        config.limits.deferred_at_once_per_tenant = 1;
    });
    block_on(server.app().create_tenant(&json!({"name": "b"}), None)).unwrap();
    let other = Client::new(server.base().replace("/fhir", "/t/b/fhir"));
    let flood: Vec<_> = (0..6).map(|n| later(&server, &slow(&format!("f{n}"), 400))).collect();
    for _ in 0..3 {
        let begun = other.get("/Patient?_summary=count").header("Prefer", "respond-async").expect(202);
        assert_eq!(end_of(&other, &begun).1["response"]["status"], "200 OK");
    }
    let done =
        flood.iter().filter(|path| server.app().jobs.get(TENANT, &path[7..]).unwrap().unwrap().state == State::Done);
    assert!(done.count() < flood.len(), "the other tenant did not wait for all of the flood");
    for path in &flood {
        let job = block_on(server.app().jobs.wait(TENANT, &path[7..], Duration::from_mins(2))).unwrap().unwrap();
        assert_eq!(job.state, State::Done);
    }
    assert_eq!(count(&server), 2_400);
}

#[test]
fn what_can_not_be_begun_leaves_its_place() {
    let server = Server::with(|config| config.limits.deferred_at_once = 1);
    let jobs = &server.app().jobs;
    let unread = New { kind: DEFERRED, owner: Agent::server(), parameters: json!({"what": "nothing"}) };
    let unread = block_on(jobs.submit(TENANT, unread)).unwrap();
    let failed = block_on(jobs.wait(TENANT, &unread.id, Duration::from_mins(1))).unwrap().unwrap();
    assert_eq!((failed.state, failed.position), (State::Failed, json!("begun")));
    let next = server.get("/Patient?_summary=count").header("Prefer", "respond-async").expect(202);
    assert_eq!(end_of(&server, &next).1["response"]["status"], "200 OK");
}

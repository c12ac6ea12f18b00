use crate::support::Server;
use serde_json::{Value, json};

fn patient(active: bool) -> Value {
    json!({"resourceType": "Patient", "id": "p", "active": active})
}

#[test]
fn each_update_makes_a_version() {
    let server = Server::start();
    let first = server.put("/Patient/p").json(patient(true)).expect(201).header_is("etag", "W/\"1\"");
    assert_eq!(first.location(server.base()), "/Patient/p/_history/1");
    server.put("/Patient/p").json(patient(false)).expect(200).header_is("etag", "W/\"2\"");
    assert_eq!(server.get("/Patient/p").expect(200).at("/active"), false);
}

#[test]
fn a_deleted_resource_comes_back_as_created() {
    let server = Server::start();
    server.put("/Patient/p").json(patient(true)).expect(201);
    server.delete("/Patient/p").expect(204);
    server.put("/Patient/p").json(patient(true)).expect(201).header_is("etag", "W/\"3\"");
    server.get("/Patient/p").expect(200);
}

#[test]
fn if_match_guards_against_lost_updates() {
    let server = Server::start();
    server.put("/Patient/p").json(patient(true)).expect(201);
    let put = |tag: &str| server.put("/Patient/p").header("If-Match", tag).json(patient(false));
    put("W/\"7\"").expect(412).outcome();
    put("W/\"1\"").expect(200).header_is("etag", "W/\"2\"");
    put("W/\"1\"").expect(412).outcome();
    assert_eq!(server.get("/Patient/p").expect(200).version(), "2");
}

#[test]
fn of_many_at_once_exactly_one_wins_each_version() {
    let server = Server::start();
    server.put("/Patient/p").json(patient(true)).expect(201);
    let put = || server.put("/Patient/p").header("If-Match", "W/\"1\"").json(patient(false)).send().status();
    let statuses = std::thread::scope(|scope| {
        let threads = (0..8).map(|_| scope.spawn(put)).collect::<Vec<_>>();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 412).count(), 7, "{statuses:?}");
}

#[test]
fn the_ids_of_url_and_body_must_agree() {
    let server = Server::start();
    server.put("/Patient/q").json(patient(true)).expect(400).about("Patient.id");
    server.put("/Patient/q").json(json!({"resourceType": "Patient"})).expect(400).about("Patient.id");
    server.put("/Patient/a_b").json(json!({"resourceType": "Patient", "id": "a_b"})).expect(400).outcome();
    server.get("/Patient/q").expect(404);
}

#[test]
fn if_none_match_guards_what_is_there() {
    let server = Server::start();
    let put = |tag: &str| server.put("/Patient/p").header("If-None-Match", tag).json(patient(true));
    put("*").expect(201);
    put("*").expect(412).outcome();
    put("W/\"1\"").expect(412);
    put("W/\"7\"").expect(200);
    server.delete("/Patient/p").expect(204);
    put("*").expect(201);
}

#[test]
fn without_conditions_everybody_gets_a_turn() {
    let server = Server::with(|config| config.workers = 2);
    let put = || server.put("/Patient/p").json(patient(true)).send().status();
    let statuses = std::thread::scope(|scope| {
        let threads = (0..48).map(|_| scope.spawn(put)).collect::<Vec<_>>();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    assert!(statuses.iter().all(|status| matches!(status, 200 | 201)), "{statuses:?}");
    assert_eq!(server.get("/Patient/p").expect(200).version(), "48");
}

#[test]
fn conditions_that_can_not_be_read_are_not_passed_over() {
    let server = Server::start();
    server.put("/Patient/p").json(patient(true)).expect(201);
    server.put("/Patient/p").header("If-Match", "1").json(patient(false)).expect(400).outcome();
    let body = patient(false).to_string();
    let head = format!(
        "PUT /fhir/Patient/p HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n",
        body.len()
    );
    let mut request = head.into_bytes();
    request.extend_from_slice(b"Connection: close\r\nIf-Match: W/\"\xff\"\r\n\r\n");
    request.extend_from_slice(body.as_bytes());
    let answer = server.raw(&request);
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert_eq!(server.get("/Patient/p").expect(200).version(), "1");
}

#[test]
fn version_and_time_of_the_client_are_not_taken() {
    let server = Server::start();
    let meta = json!({"versionId": "77", "lastUpdated": "1999-01-01T00:00:00Z", "source": "urn:x"});
    let sent = json!({"resourceType": "Patient", "id": "p", "meta": meta});
    let stored = server.put("/Patient/p").json(sent).expect(201);
    assert_eq!((stored.version(), stored.at("/meta/source")), ("1".to_owned(), json!("urn:x")));
    assert!(stored.at("/meta/lastUpdated").as_str().unwrap().starts_with("2026-"));
}

#[test]
fn conditional_updates_follow_the_table() {
    let server = Server::start();
    let put = |id: Option<&str>, value: &str| {
        let mut body = json!({"resourceType": "Patient", "identifier": [{"system": "s", "value": value}]});
        if let Some(id) = id {
            body["id"] = json!(id);
        }
        server.put(&format!("/Patient?identifier=s%7C{value}")).json(body)
    };
    let first = put(None, "1").expect(201).id();
    assert_eq!(put(None, "1").expect(200).id(), first);
    put(Some(&first), "1").expect(200);
    put(Some("other"), "1").expect(400).about("Patient.id");
    assert_eq!(put(Some("mine"), "2").expect(201).id(), "mine");
    put(Some("mine"), "3").expect(409).issue("duplicate");
    server
        .post("/Patient")
        .json(json!({"resourceType": "Patient", "identifier": [{"system": "s", "value": "1"}]}))
        .expect(201);
    put(None, "1").expect(412).issue("multiple-matches");
    server.put("/Patient").json(patient(true)).expect(400).outcome();
    server.put("/Patient?nothing=1").json(patient(true)).expect(400).outcome();
}

#[test]
fn a_provenance_is_stored_beside() {
    let server = Server::start();
    let agent = json!([{"who": {"display": "me"}}]);
    let provenance =
        json!({"resourceType": "Provenance", "recorded": "2026-01-01T00:00:00Z", "agent": agent}).to_string();
    server.put("/Patient/p").header("X-Provenance", &provenance).json(patient(true)).expect(201);
    let found = server.get("/Provenance?target=Patient/p").expect(200).resources();
    assert_eq!(found[0]["target"], json!([{"reference": "Patient/p"}]));
    assert_eq!(found[0]["meta"]["lastUpdated"], server.get("/Patient/p").expect(200).at("/meta/lastUpdated"));

    let put = |id: &str| json!({"request": {"method": "PUT", "url": format!("Patient/{id}")}, "resource": {"resourceType": "Patient", "id": id}});
    let bundle = json!({"resourceType": "Bundle", "type": "transaction", "entry": [put("a"), put("b")]});
    server.post("").header("X-Provenance", &provenance).json(&bundle).expect(200);
    let found = server.get("/Provenance?target=Patient/a").expect(200).resources();
    assert_eq!(found[0]["target"], json!([{"reference": "Patient/a"}, {"reference": "Patient/b"}]));

    server.delete("/Patient/nobody").header("X-Provenance", &provenance).expect(204);
    assert_eq!(server.get("/Provenance?_summary=count").expect(200).at("/total"), 2);
    server
        .put("/Patient/q")
        .header("X-Provenance", "{}")
        .json(json!({"resourceType": "Patient", "id": "q"}))
        .expect(400);
    server.get("/Patient/q").expect(404);
}

use crate::support::Server;
use serde_json::json;

#[test]
fn the_server_gives_the_id() {
    let server = Server::start();
    let sent = json!({"resourceType": "Patient", "id": "mine", "active": true});
    let answer = server.post("/Patient").json(sent).expect(201).header_is("etag", "W/\"1\"");
    let id = answer.id();
    assert_ne!(id, "mine");
    assert_eq!(answer.location(server.base()), format!("/Patient/{id}/_history/1"));
    assert_eq!(server.get(&format!("/Patient/{id}")).expect(200).at("/active"), true);
}

#[test]
fn prefer_decides_on_the_body() {
    let server = Server::start();
    let post = |prefer: &str| {
        server.post("/Patient").header("Prefer", prefer).json(json!({"resourceType": "Patient"})).expect(201)
    };
    assert!(post("return=minimal").bytes().is_empty());
    assert_eq!(post("return=representation").at("/resourceType"), "Patient");
    assert_eq!(post("return=OperationOutcome").at("/resourceType"), "OperationOutcome");
}

#[test]
fn what_is_structurally_wrong_is_named_and_not_stored() {
    let server = Server::start();
    let post = |body: &str| server.post("/Patient").body("application/fhir+json", body).expect(400);
    post("{\"resourceType\":\"Patient\",").says("line 1");
    post("[]");
    post("{}");
    post(r#"{"resourceType":"Observation","status":"final","code":{}}"#);
    post(r#"{"resourceType":"Patient","nmae":[]}"#);
    post(r#"{"resourceType":"Patient","birthDate":"12.3.1980"}"#).about("Patient.birthDate");
    post(r#"{"resourceType":"Patient","active":"yes"}"#).about("Patient.active");
    server.post("/Patients").json(json!({})).expect(404).outcome();
    assert_eq!(server.get("/_history").expect(200).resources().len(), 0);
}

#[test]
fn errors_never_repeat_values() {
    let server = Server::start();
    let body = json!({"resourceType": "Patient", "birthDate": "Lovelace", "gender": "Lovelace", "active": "Lovelace"});
    let answer = server.post("/Patient").json(body).expect(400);
    assert!(!answer.text().contains("Lovelace"), "{answer}");
}

#[test]
fn conditional_creates_follow_the_table() {
    let server = Server::start();
    let body = |value: &str| json!({"resourceType": "Patient", "identifier": [{"value": value}]});
    let post =
        |criteria: &str, value: &str| server.post("/Patient").header("If-None-Exist", criteria).json(body(value));
    let first = post("identifier=1", "1").expect(201);
    let again = post("Patient?identifier=1", "1").expect(200);
    assert_eq!((again.id(), again.location(server.base())), (first.id(), first.location(server.base())));
    server.post("/Patient").json(body("1")).expect(201);
    post("identifier=1", "1").expect(412).issue("multiple-matches");
    post("nothing=1", "1").expect(400);
    post("", "1").expect(400);
    post("identifier=a?b", "a?b").expect(201);
    post("identifier=a?b", "a?b").expect(200);
}

#[test]
fn other_formats_than_json_are_refused() {
    let server = Server::start();
    for kind in [
        "application/fhir+xml",
        "text/plain",
        "application/json-patch+json",
        "application/x-www-form-urlencoded",
        "application/fhir+json; fhirVersion=3.0",
        "application/fhir+json; charset=latin1",
    ] {
        server.post("/Patient").body(kind, "{\"resourceType\":\"Patient\"}").expect(415).issue("not-supported");
    }
    server.post("/Patient").header("Content-Encoding", "lzma").json(json!({"resourceType": "Patient"})).expect(415);
    server.post("/Patient").expect(415);
}

#[test]
fn compressed_bodies_are_taken_up_to_the_limit() {
    let server = Server::with(|config| config.limits.body_bytes = 10_000);
    let packed = |text: &str| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        std::io::Write::write_all(&mut encoder, text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    };
    let post = |bytes: Vec<u8>| {
        server.post("/Patient").header("Content-Encoding", "GZIP").body("application/fhir+json", bytes)
    };
    post(packed("{\"resourceType\":\"Patient\"}")).expect(201);
    post(packed(&" ".repeat(50_000_000))).expect(413).issue("too-long");
    post(b"no gzip at all".to_vec()).expect(400).outcome();
}

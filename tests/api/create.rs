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

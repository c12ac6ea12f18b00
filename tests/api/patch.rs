use crate::support::Server;
use serde_json::json;

const JSON_PATCH: &str = "application/json-patch+json";

fn with_patient() -> Server {
    let server = Server::start();
    let name = json!([{"family": "Lovelace", "given": ["Ada"]}]);
    server.put("/Patient/p").json(json!({"resourceType": "Patient", "id": "p", "name": name})).expect(201);
    server
}

#[test]
fn json_patch_changes_what_it_names() {
    let server = with_patient();
    let patch =
        br#"[{"op":"add","path":"/active","value":true},{"op":"replace","path":"/name/0/family","value":"King"}]"#;
    server.patch("/Patient/p").body(JSON_PATCH, patch).expect(200).header_is("etag", "W/\"2\"");
    let patient = server.get("/Patient/p").expect(200);
    assert_eq!((patient.at("/active"), patient.at("/name/0/family")), (json!(true), json!("King")));
    assert_eq!(patient.at("/name/0/given/0"), "Ada");
}

#[test]
fn fhirpath_patch_changes_what_it_names() {
    let server = with_patient();
    let part = json!([
        {"name": "type", "valueCode": "replace"},
        {"name": "path", "valueString": "Patient.name[0].family"},
        {"name": "value", "valueString": "King"},
    ]);
    let patch = json!({"resourceType": "Parameters", "parameter": [{"name": "operation", "part": part}]});
    server.patch("/Patient/p").json(patch).expect(200);
    assert_eq!(server.get("/Patient/p").expect(200).at("/name/0/family"), "King");
}

#[test]
fn what_can_not_be_applied_changes_nothing() {
    let server = with_patient();
    let patch = |body: &str| server.patch("/Patient/p").body(JSON_PATCH, body).send();
    for body in [
        r#"[{"op":"test","path":"/active","value":true}]"#,
        r#"[{"op":"remove","path":"/nothing"}]"#,
        r#"[{"op":"add","path":"/nmae","value":[]}]"#,
        r#"[{"op":"replace","path":"/id","value":"q"}]"#,
        r#"{"op":"add"}"#,
    ] {
        let answer = patch(body);
        assert!(matches!(answer.status(), 400 | 422), "{answer}");
        answer.outcome();
    }
    assert_eq!(server.get("/Patient/p").expect(200).version(), "1");
    server.patch("/Patient/q").body(JSON_PATCH, "[]").expect(404);
    server.patch("/Patient/p").header("If-Match", "W/\"9\"").body(JSON_PATCH, "[]").expect(412);
}

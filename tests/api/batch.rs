use crate::support::Server;
use serde_json::json;

#[test]
fn each_entry_stands_for_itself() {
    let server = Server::start();
    let bundle = json!({"resourceType": "Bundle", "type": "batch", "entry": [
        {"request": {"method": "PUT", "url": "Patient/a"}, "resource": {"resourceType": "Patient", "id": "a"}},
        {"request": {"method": "PUT", "url": "Patient/b"}, "resource": {"resourceType": "Patient", "id": "other"}},
        {"request": {"method": "GET", "url": "Patient/nobody"}},
        {"request": {"method": "POST", "url": "Patient"}, "resource": {"resourceType": "Patient"}},
    ]});
    let answer = server.post("").json(bundle).expect(200);
    assert_eq!(answer.at("/type"), "batch-response");
    let status = |n: usize| answer.at(&format!("/entry/{n}/response/status")).as_str().unwrap_or_default().to_owned();
    let starts = [0, 1, 2, 3].map(|n| status(n).chars().take(3).collect::<String>());
    assert_eq!(starts, ["201", "400", "404", "201"], "{answer}");
    assert_eq!(answer.at("/entry/1/response/outcome/resourceType"), "OperationOutcome");
    server.get("/Patient/a").expect(200);
    server.get("/Patient/b").expect(404);
}

#[test]
fn every_method_works_in_a_batch() {
    let server = Server::start();
    server.put("/Patient/p").json(json!({"resourceType": "Patient", "id": "p"})).expect(201);
    server.put("/Patient/gone").json(json!({"resourceType": "Patient", "id": "gone"})).expect(201);
    server.delete("/Patient/gone").expect(204);
    // [{"op":"add","path":"/active","value":true}]
    let json_patch = json!({"resourceType": "Binary", "contentType": "application/json-patch+json",
        "data": "W3sib3AiOiJhZGQiLCJwYXRoIjoiL2FjdGl2ZSIsInZhbHVlIjp0cnVlfV0="});
    let base = server.base();
    let entries = json!([
        {"request": {"method": "GET", "url": "Patient/p"}},
        {"request": {"method": "HEAD", "url": "/Patient/p"}},
        {"request": {"method": "GET", "url": format!("{base}/Patient?_id=p")}},
        {"request": {"method": "GET", "url": "Patient/p/_history"}},
        {"request": {"method": "GET", "url": "Patient/gone"}},
        {"request": {"method": "GET", "url": "metadata?_summary=true"}},
        {"request": {"method": "DELETE", "url": "Patient/nobody"}},
        {"request": {"method": "GET", "url": "Patient/p", "ifNoneMatch": "W/\"1\""}},
        {"request": {"method": "PUT", "url": "Patient/q", "ifMatch": "W/\"1\""}, "resource": {"resourceType": "Patient", "id": "q"}},
        {"request": {"method": "POST", "url": "/"}, "resource": {"resourceType": "Bundle", "type": "batch"}},
        {"request": {"method": "GET", "url": "http://elsewhere.org/fhir/Patient/p"}},
        {"request": {"method": "GET", "url": format!("{base}Patient/p")}},
        {"request": {"method": "GET", "url": "Patient/p?nothing=1"}},
        {"request": {"method": "PATCH", "url": "Patient/p"}, "resource": json_patch},
    ]);
    let answer = server.post("").json(json!({"resourceType": "Bundle", "type": "batch", "entry": entries})).expect(200);
    let statuses: Vec<String> = answer
        .at("/entry")
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["response"]["status"].as_str().unwrap()[..3].to_owned())
        .collect();
    let expected = ["200", "200", "200", "200", "410", "200", "204", "304", "412", "400", "404", "404", "400", "200"];
    assert_eq!(statuses, expected, "{answer}");
    assert_eq!(answer.at("/entry/0/resource/id"), "p");
    assert_eq!(answer.at("/entry/0/response/etag"), "W/\"1\"");
    assert!(answer.at("/entry/0/response/lastModified").is_string() && answer.at("/entry/1/resource").is_null());
    assert_eq!(answer.at("/entry/4/response/etag"), "W/\"2\"");
    assert_eq!(server.get("/Patient/p").expect(200).at("/active"), true);
}

#[test]
fn an_outcome_stands_in_the_response() {
    let server = Server::start();
    let bundle = json!({"resourceType": "Bundle", "type": "batch", "entry": [
        {"request": {"method": "POST", "url": "Patient"}, "resource": {"resourceType": "Patient"}},
    ]});
    let post = |prefer: &str| server.post("").header("Prefer", prefer).json(&bundle).expect(200);
    let outcome = post("return=OperationOutcome");
    assert_eq!(outcome.at("/entry/0/response/outcome/resourceType"), "OperationOutcome");
    assert!(outcome.at("/entry/0/resource").is_null());
    assert_eq!(post("return=representation").at("/entry/0/resource/resourceType"), "Patient");
    assert!(post("return=minimal").at("/entry/0/resource").is_null());
}

#[test]
fn other_bundles_are_not_processed() {
    let server = Server::start();
    for kind in ["searchset", "collection", "document", "nonsense"] {
        server.post("").json(json!({"resourceType": "Bundle", "type": kind})).expect(400).about("Bundle.type");
    }
    server.post("").json(json!({"resourceType": "Patient"})).expect(400).about("resourceType");
    server
        .post("")
        .json(json!({"resourceType": "Bundle", "type": "batch", "entry": {}}))
        .expect(400)
        .about("Bundle.entry");
    let empty = server.post("").json(json!({"resourceType": "Bundle", "type": "batch"})).expect(200);
    assert_eq!(empty.at("/type"), "batch-response");
}

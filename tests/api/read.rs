use crate::support::Server;
use serde_json::json;

#[test]
fn a_resource_comes_back_byte_for_byte() {
    let server = Server::start();
    let sent = r#"{"resourceType":"Observation","id":"o","status":"final","code":{"text":"é"},"valueQuantity":{"value":1.00}}"#;
    server.put("/Observation/o").body("application/fhir+json", sent).expect(201);

    let answer = server.get("/Observation/o").expect(200);
    let text = answer.text();
    let (start, end) = sent.split_at(sent.find(",\"status\"").unwrap());
    assert!(text.starts_with(start) && text.ends_with(end), "{text}");
    assert_eq!(answer.version(), "1");
    answer.header_is("etag", "W/\"1\"").header_is("content-type", "application/fhir+json; charset=utf-8");
}

#[test]
fn head_tells_the_same_without_a_body() {
    let server = Server::start();
    server.put("/Patient/p").json(json!({"resourceType": "Patient", "id": "p"})).expect(201);
    let answer = server.head("/Patient/p").expect(200).header_is("etag", "W/\"1\"");
    assert!(answer.bytes().is_empty());
}

#[test]
fn what_is_absent_unknown_or_deleted_is_told_apart() {
    let server = Server::start();
    server.put("/Patient/p").json(json!({"resourceType": "Patient", "id": "p"})).expect(201);
    server.delete("/Patient/p").expect(204);
    server.get("/Patient/p").expect(410).issue("deleted").says("version 2");
    server.get("/Patient/q").expect(404).issue("not-found");
    assert!(!server.get("/Patients/p").expect(404).outcome().codes().is_empty());
}

#[test]
fn conditional_reads_answer_304() {
    let server = Server::start();
    server.put("/Patient/p").json(json!({"resourceType": "Patient", "id": "p"})).expect(201);
    let modified = server.get("/Patient/p").expect(200).header("last-modified").unwrap().to_owned();
    let get = || server.get("/Patient/p");
    assert!(get().header("If-None-Match", "W/\"1\"").expect(304).bytes().is_empty());
    get().header("If-None-Match", "W/\"2\"").expect(200);
    get().header("If-Modified-Since", &modified).expect(304);
    get().header("If-Modified-Since", "Thu, 01 Jan 2015 00:00:00 GMT").expect(200);
}

#[test]
fn only_json_is_spoken() {
    let server = Server::start();
    server.put("/Patient/p").json(json!({"resourceType": "Patient", "id": "p"})).expect(201);
    let get = |accept: &str| server.get("/Patient/p").header("Accept", accept).send().status();
    for accept in
        ["application/fhir+json", "application/fhir+json; fhirVersion=4.0", "application/json", "text/json", "*/*"]
    {
        assert_eq!(get(accept), 200, "{accept}");
    }
    assert_eq!(get("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"), 200);
    assert_eq!(get("application/fhir+xml"), 406);
    server.get("/Patient/p?_format=xml").expect(406);
    let xml = "<Patient xmlns=\"http://hl7.org/fhir\"/>";
    server.put("/Patient/p").body("application/fhir+xml", xml).expect(415).outcome();
}

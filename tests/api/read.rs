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

#[test]
fn a_deletion_tells_its_version_in_the_entity_tag() {
    let server = Server::start();
    server.put("/Patient/p").json(json!({"resourceType": "Patient", "id": "p"})).expect(201);
    server.delete("/Patient/p").expect(204);
    for path in ["/Patient/p", "/Patient/p/_history/2"] {
        server.get(path).expect(410).header_is("etag", "W/\"2\"").issue("deleted");
        server.head(path).expect(410).header_is("etag", "W/\"2\"");
    }
}

#[test]
fn the_answer_is_of_the_type_that_was_accepted() {
    let server = Server::start();
    server.put("/Patient/p").json(json!({"resourceType": "Patient", "id": "p"})).expect(201);
    let get = |accept: &str| server.get("/Patient/p").header("Accept", accept).expect(200);
    let versioned = "application/fhir+json; charset=utf-8; fhirVersion=4.0";
    get("application/fhir+json; fhirVersion=4.0").header_is("content-type", versioned);
    get("application/json").header_is("content-type", "application/json; charset=utf-8");
    get("text/json").header_is("content-type", "text/json; charset=utf-8");
    let read =
        get("*/*").header_is("cache-control", "private, no-cache").header_is("x-content-type-options", "nosniff");
    assert!(read.header("last-modified").is_some());
    server.get("/Patient/p").header("Accept", "application/fhir+json; fhirVersion=3.0").expect(406);
}

#[test]
fn parts_of_a_resource() {
    let server = Server::start();
    let patient = json!({"resourceType": "Patient", "id": "p", "birthDate": "1990", "gender": "female"});
    server.put("/Patient/p").json(patient).expect(201);
    let part = server.get("/Patient/p?_elements=gender").expect(200);
    assert_eq!((part.at("/gender"), part.at("/birthDate")), (json!("female"), json!(null)));
    assert_eq!(part.at("/meta/tag/0/code"), "SUBSETTED");
    server.put("/Patient/p").body("application/fhir+json", part.bytes()).expect(422);
    assert_eq!(server.get("/Patient/p?_summary=true&_pretty=true").expect(200).at("/gender"), "female");
    for query in ["_elements=nothing", "_summary=some", "_summary=count", "_pretty=maybe"] {
        server.get(&format!("/Patient/p?{query}")).expect(400).outcome();
    }
}

#[test]
fn unknown_parameters_are_refused_unless_leniency_is_asked_for() {
    let server = Server::start();
    server.put("/Patient/p").json(json!({"resourceType": "Patient", "id": "p"})).expect(201);
    server.get("/Patient/p?name=x").expect(400).says("name");
    server.get("/Patient/p?name=").expect(200);
    server.get("/Patient/p?name=x").header("Prefer", "handling=lenient").expect(200);
    server.get("/Patient/p?name=%FF").expect(400);
    server.delete("/Patient/p?name=x").expect(400);
    server.get("/metadata?nothing=x").expect(400);
    server.get("/metadata?_summary=true&_format=json").expect(200);
}

#[test]
fn methods_that_a_url_does_not_have_are_listed() {
    let server = Server::start();
    for (method, path, allow) in [
        ("POST", "/Patient/p", "GET, HEAD, PUT, PATCH, DELETE"),
        ("OPTIONS", "/Patient/p", "GET, HEAD, PUT, PATCH, DELETE"),
        ("TRACE", "/Patient", "GET, HEAD, POST, PUT, PATCH, DELETE"),
        ("PUT", "", "GET, HEAD, POST"),
        ("POST", "/metadata", "GET, HEAD"),
        ("DELETE", "/Patient/p/_history", "GET, HEAD"),
        ("GET", "/_search", "POST"),
    ] {
        server.request(method, path).expect(405).header_is("allow", allow).issue("not-supported");
    }
}

#[test]
fn head_is_answered_wherever_get_is() {
    let server = Server::start();
    server.put("/Patient/p").json(json!({"resourceType": "Patient", "id": "p"})).expect(201);
    let root = server.base().strip_suffix("/fhir").unwrap().to_owned();
    let paths = [
        "/metadata",
        "/Patient/p",
        "/Patient/p/_history/1",
        "/Patient/p/_history",
        "/_history",
        "/Patient",
        "/Patient/p/$meta",
    ];
    let others = ["/health/live", "/health/ready", "/metrics"].map(|path| format!("{root}{path}"));
    for path in paths.map(str::to_owned).into_iter().chain(others) {
        let (get, head) = (server.get(&path).expect(200), server.head(&path).expect(200));
        assert!(head.bytes().is_empty());
        assert_eq!(get.header("content-type"), head.header("content-type"), "{path}");
    }
    server.head("/Patient/q").expect(404);
    server.post(&format!("{root}/health/live")).json(json!({})).expect(405).header_is("allow", "GET, HEAD");
    server.get(&format!("{root}/elsewhere")).expect(404).outcome();
}

#[test]
fn answers_are_compressed_when_the_client_asks() {
    let server = Server::start();
    server.put("/Patient/p").json(json!({"resourceType": "Patient", "id": "p"})).expect(201);
    let plain = server.get("/Patient/p").expect(200);
    // The client unpacks gzip by itself, and takes the header away.
    let packed = server.get("/Patient/p").header("Accept-Encoding", "gzip").expect(200).header_is("etag", "W/\"1\"");
    assert_eq!(packed.text(), plain.text());
    let raw =
        server.raw(b"GET /fhir/Patient/p HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\nConnection: close\r\n\r\n");
    let raw = raw.to_ascii_lowercase();
    assert!(raw.contains("\r\ncontent-encoding: gzip\r\n") && raw.contains("\r\nvary: accept-encoding\r\n"), "{raw}");
    server.get("/Patient/p").header("Accept-Encoding", "br").expect(200).header_is("content-encoding", "br");
    let unchanged =
        server.get("/Patient/p").header("Accept-Encoding", "gzip").header("If-None-Match", "W/\"1\"").expect(304);
    assert_eq!((unchanged.header("content-encoding"), unchanged.bytes().len()), (None, 0));
    let gone = server.delete("/Patient/p").header("Accept-Encoding", "gzip").expect(204);
    assert_eq!((gone.header("content-encoding"), gone.bytes().len()), (None, 0));
}

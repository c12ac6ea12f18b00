//! Binary in its own content type: <https://hl7.org/fhir/R4/binary.html#rest>.

use crate::support::Server;
use serde_json::json;

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\xff";

#[test]
fn content_goes_in_and_comes_back() {
    let server = Server::start();
    let created = server.post("/Binary").header("X-Security-Context", "Patient/p").body("image/png", PNG).expect(201);
    assert_eq!(created.at("/contentType"), "image/png");
    assert_eq!(created.at("/securityContext/reference"), "Patient/p");
    let path = format!("/Binary/{}", created.id());
    for accept in ["*/*", "image/png", "text/html,application/xhtml+xml,*/*;q=0.8"] {
        let read = server.get(&path).header("Accept", accept).expect(200);
        assert_eq!(read.header_is("content-type", "image/png").bytes(), PNG, "{accept}");
    }
    for accept in ["application/fhir+json", "application/json"] {
        assert_eq!(server.get(&path).header("Accept", accept).expect(200).at("/data"), created.at("/data"));
    }
    assert_eq!(server.get(&format!("{path}?_format=json")).expect(200).at("/resourceType"), "Binary");
    assert_eq!(server.get(&format!("{path}/_history/1")).expect(200).bytes(), PNG);
    server.get(&path).header("Accept", "application/fhir+xml").expect(406);
}

#[test]
fn an_update_takes_the_id_of_its_url() {
    let server = Server::start();
    server.put("/Binary/b").body("text/plain", "one").expect(201);
    let put = |tag: &str| server.put("/Binary/b").header("If-Match", tag).body("text/plain", "two");
    put("W/\"9\"").expect(412);
    put("W/\"1\"").expect(200).header_is("etag", "W/\"2\"");
    assert_eq!(server.get("/Binary/b").expect(200).text(), "two");
    server.put("/Binary/b").body("application/pdf", "").expect(200);
    assert!(server.get("/Binary/b").expect(200).bytes().is_empty());
}

#[test]
fn json_is_the_resource_or_content() {
    let server = Server::start();
    let resource = json!({"resourceType": "Binary", "id": "b", "contentType": "text/plain", "data": "aGk="});
    server.put("/Binary/b").json(resource).expect(201);
    assert_eq!(server.get("/Binary/b").expect(200).header_is("content-type", "text/plain").text(), "hi");
    let content = server.post("/Binary").body("application/json", "{\"a\":1}").expect(201);
    let read = server.get(&format!("/Binary/{}", content.id())).header("Accept", "*/*").expect(200);
    assert_eq!(read.header_is("content-type", "application/json").text(), "{\"a\":1}");
    server.post("/Binary").body("application/fhir+json", "{\"resourceType\":\"Binary\",").expect(400).outcome();
}

#[test]
fn a_page_that_somebody_stored_runs_no_scripts_here() {
    let server = Server::start();
    server.put("/Binary/b").body("text/html", "<script>alert(1)</script>").expect(201);
    let read = server.get("/Binary/b").header("Accept", "text/html").expect(200);
    read.header_is("content-security-policy", "sandbox").header_is("x-content-type-options", "nosniff");
}

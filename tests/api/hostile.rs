//! Input that no well-meaning client sends: a clear answer, nothing stored, and the server goes on.

use crate::support::Server;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::json;
use std::io::Write;

/// Whether the server still does its work, and holds nothing but what it is asked to hold here.
#[track_caller]
fn works(server: &Server) {
    server.put("/Patient/well").json(json!({"resourceType": "Patient", "id": "well"})).send();
    server.get("/Patient/well").expect(200);
}

fn refused(server: &Server, body: &str) {
    server.post("/Patient").body("application/fhir+json", body).expect(400).outcome();
    assert_eq!(server.get("/_history").expect(200).resources().len(), 0);
}

#[test]
fn bodies_that_are_no_resource_are_refused() {
    let server = Server::start();
    let deep = "[".repeat(100_000);
    for body in ["", "null", "\"", "{", "{\"resourceType\":\"Patient\",\"resourceType\":\"Patient\"}", "{}{}", &deep] {
        refused(&server, body);
    }
    server.post("/Patient").body("application/fhir+json", [0xff, 0xfe, 0x00]).expect(400).outcome();
    works(&server);
}

#[test]
fn a_body_over_the_limit_is_refused() {
    let server = Server::with(|config| config.limits.body_bytes = 1_000);
    let body = json!({"resourceType": "Patient", "language": "x".repeat(2_000)});
    server.post("/Patient").json(body).expect(413).issue("too-long");
    works(&server);
}

#[test]
fn a_bundle_with_too_many_entries_is_refused() {
    let server = Server::with(|config| config.limits.bundle_entries = 3);
    let entry = json!({"request": {"method": "GET", "url": "Patient/x"}});
    let bundle = json!({"resourceType": "Bundle", "type": "batch", "entry": vec![entry; 4]});
    let answer = server.post("").json(bundle).send();
    assert!(matches!(answer.status(), 400 | 413), "{answer}");
    answer.outcome();
    works(&server);
}

#[test]
fn half_sent_and_senseless_requests_end_and_harm_nobody() {
    let server = Server::start();
    for bytes in [
        &b"GET"[..],
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
        b"POST /fhir/Patient HTTP/1.1\r\nHost: x\r\nContent-Type: application/fhir+json\r\nContent-Length: 99\r\n\r\n{\"a",
        b"POST /fhir HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n{}{}{}",
        b"GET /fhir/../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /fhir/Patient/%2e%2e%2f%00 HTTP/1.1\r\nHost: x\r\n\r\n",
    ] {
        let answer = server.raw(bytes);
        assert!(!answer.starts_with("HTTP/1.1 2") && !answer.starts_with("HTTP/1.1 5"), "{answer}");
    }
    // One that never goes on does not hold up the others.
    let mut waiting = server.connect();
    waiting.write_all(b"POST /fhir/Patient HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n").unwrap();
    works(&server);
}

/// A real resource, and places at which bytes of it are replaced.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let resource = json!({
        "resourceType": "Observation", "id": "o", "status": "final", "meta": {"tag": [{"code": "x"}]},
        "text": {"status": "generated", "div": "<div xmlns=\"http://www.w3.org/1999/xhtml\">é</div>"},
        "code": {"coding": [{"system": "http://loinc.org", "code": "8480-6"}]}, "subject": {"reference": "Patient/p"},
        "effectiveDateTime": "2020-02-29T12:00:00+01:00", "valueQuantity": {"value": 120.0, "unit": "mmHg"},
        "component": [{"code": {"text": "y"}, "valueString": "z", "_valueString": {"id": "s"}}],
    });
    let byte = prop_oneof![prop::sample::select(b"{}[]:,\"\\0-.e9tfn /$_".to_vec()), any::<u8>()];
    prop::collection::vec((any::<prop::sample::Index>(), byte), 1..4).prop_map(move |changes| {
        let mut bytes = serde_json::to_vec(&resource).unwrap();
        for (place, byte) in changes {
            let at = place.index(bytes.len());
            bytes[at] = byte;
        }
        bytes
    })
}

#[test]
fn mutated_resources_never_make_the_server_fail() {
    let server = Server::start();
    let routes = [
        ("POST", "/Observation", "application/fhir+json"),
        ("PUT", "/Observation/o", "application/fhir+json"),
        ("PUT", "/Observation?code=x", "application/fhir+json"),
        ("PATCH", "/Observation/o", "application/json-patch+json"),
        ("PATCH", "/Observation/o", "application/fhir+json"),
        ("POST", "", "application/fhir+json"),
        ("POST", "/Observation/o/$meta-add", "application/fhir+json"),
    ];
    let strategy = (prop::sample::select(routes.to_vec()), mutated());
    let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::with_cases(500) });
    let run = runner.run(&strategy, |((method, path, content_type), body)| {
        let answer = server.request(method, path).body(content_type, body).send();
        prop_assert!(answer.status() < 500, "{}", answer);
        if answer.status() >= 400 {
            answer.outcome();
        }
        Ok(())
    });
    run.unwrap();
    works(&server);
}

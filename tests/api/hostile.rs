//! Input that no well-meaning client sends: a clear answer, nothing stored, and the server goes on.

use crate::support::Server;
use crate::support::server::rounds;
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

/// That many header fields.
fn fields(count: usize) -> String {
    (0..count).fold(String::new(), |fields, n| fields + &format!("X-{n}: {n}\r\n"))
}

#[test]
fn odd_requests_are_answered_by_the_book() {
    let server = Server::start();
    server.put("/Patient/p").json(json!({"resourceType": "Patient", "id": "p"})).expect(201);
    let get = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n");
    let many = fields(90);
    let too_many = fields(500);
    let with = |headers: &str| get("/fhir/Patient/p").replacen("\r\n\r\n", &format!("\r\n{headers}\r\n"), 1);
    let cases = [
        (get("/fhir/Patient/p"), "200"),
        (get("http://elsewhere.example/fhir/Patient/p"), "200"),
        (get("/fhir/Patient/p/"), "200"),
        (get("/fhir//Patient/p"), "404"),
        (get("//fhir/Patient/p"), "404"),
        (get("/fhir/Patient/p%2F"), "404"),
        (get("/fhir/Patient/%00"), "404"),
        (get("/fhir/Patient/%FF"), "400"),
        (get("/fhir/Patient/.."), "404"),
        (get("/fhir/../metrics"), "404"),
        (get("/fhir/Patient/p\u{e9}"), "400"),
        (get("/fhir/Patient/p HTTP/9.9 x"), "400"),
        (get(&format!("/fhir/Patient?name={}", "x".repeat(9_000))), "414"),
        (with(&many), "200"),
        (with(&too_many), "4"),
        (with(&format!("X-Long: {}\r\n", "x".repeat(200_000))), "4"),
        (with("X-Odd: a\0b\r\n"), "400"),
    ];
    for (request, status) in cases {
        let answer = server.raw(request.as_bytes());
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{status} for {request:.200}\n{answer}");
        assert!(!answer.contains("evil.example") && !answer.contains("elsewhere.example"), "{answer}");
    }
    works(&server);
}

#[test]
fn bodies_in_every_framing() {
    let server = Server::start();
    let head =
        "PUT /fhir/Patient/p HTTP/1.1\r\nHost: x\r\nContent-Type: application/fhir+json\r\nConnection: close\r\n";
    let body = "{\"resourceType\":\"Patient\",\"id\":\"p\"}";
    let (one, two) = body.split_at(10);
    let chunked = format!(
        "{head}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{one}\r\n{:x}\r\n{two}\r\n0\r\n\r\n",
        one.len(),
        two.len()
    );
    assert!(server.raw(chunked.as_bytes()).starts_with("HTTP/1.1 201"));
    let expected = format!("{head}Expect: 100-continue\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let answer = server.raw(expected.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 100") && answer.contains("HTTP/1.1 200"), "{answer}");
    for wrong in [
        format!("{head}Content-Length: {}\r\n\r\n{body}", body.len() + 5),
        format!("{head}Content-Length: {}\r\n\r\n{body}", body.len() - 5),
        format!("{head}Content-Length: x\r\n\r\n{body}"),
        format!("{head}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n{body}"),
        format!("{head}Transfer-Encoding: chunked\r\n\r\nzz\r\n{body}"),
        format!("{head}Transfer-Encoding: chunked\r\n\r\n5\r\n{body}"),
    ] {
        let answer = server.raw(wrong.as_bytes());
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{wrong}\n{answer}");
    }
    assert_eq!(server.get("/Patient/p").expect(200).version(), "2");
}

#[test]
fn requests_in_one_connection_are_answered_in_order() {
    let server = Server::start();
    server.put("/Patient/p").json(json!({"resourceType": "Patient", "id": "p"})).expect(201);
    let request = |method: &str, path: &str| format!("{method} /fhir/{path} HTTP/1.1\r\nHost: x\r\n\r\n");
    let all = [
        request("HEAD", "Patient/p"),
        request("GET", "Patient/q"),
        request("GET", "Patient/p"),
        request("GET", "Patient/p/_history/1"),
    ];
    let answer = server.raw(all.concat().as_bytes());
    let statuses: Vec<&str> = answer.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]).collect();
    assert_eq!(statuses, ["200", "404", "200", "200"], "{answer}");
}

#[test]
fn slow_clients_are_sent_away() {
    let server = Server::with(|config| {
        config.limits.header_timeout_ms = 1_500;
        config.limits.body_stall_timeout_ms = 1_500;
    });
    let all_of = |mut connection: std::net::TcpStream| {
        let mut answer = String::new();
        let _ended = std::io::Read::read_to_string(&mut connection, &mut answer);
        answer
    };
    let mut headers = server.connect();
    headers.write_all(b"GET /fhir/Patient HTTP/1.1\r\nHost:").unwrap();
    let answer = all_of(headers);
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");
    works(&server);
}

#[test]
fn a_body_may_take_its_time_but_not_stall() {
    let server = Server::with(|config| {
        config.limits.header_timeout_ms = 1_500;
        config.limits.body_stall_timeout_ms = 1_500;
    });
    let send = |parts: &[&str]| {
        let mut connection = server.connect();
        let head =
            "PUT /fhir/Patient/p HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 36\r\n";
        connection.write_all(format!("{head}Connection: close\r\n\r\n").as_bytes()).unwrap();
        for part in parts {
            connection.write_all(part.as_bytes()).unwrap();
            std::thread::sleep(std::time::Duration::from_millis(300));
        }
        let mut answer = String::new();
        let _ended = std::io::Read::read_to_string(&mut connection, &mut answer);
        answer
    };
    let answer = send(&["{", "\"resourceType\"", ":\"Patient\"", ",", "\"id\"", ":\"p\" ", "}"]);
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    let answer = send(&["{", "\"resourceType\""]);
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert_eq!(server.get("/Patient/p").expect(200).version(), "1");
}

#[test]
fn a_hundred_thousand_entries_are_refused_at_once() {
    let server = Server::start();
    let entry = json!({"request": {"method": "POST", "url": "Patient"}, "resource": {"resourceType": "Patient"}});
    for kind in ["batch", "transaction"] {
        let bundle = json!({"resourceType": "Bundle", "type": kind, "entry": vec![&entry; 100_000]});
        server.post("").json(bundle).expect(413).about("Bundle.entry").issue("too-long");
    }
    assert!(server.get("/_history").expect(200).resources().is_empty());
}

/// Resources of many kinds, made by this project.
fn originals() -> Vec<serde_json::Value> {
    let observation = json!({
        "resourceType": "Observation", "id": "o", "status": "final", "meta": {"tag": [{"code": "x"}]},
        "text": {"status": "generated", "div": "<div xmlns=\"http://www.w3.org/1999/xhtml\">é</div>"},
        "code": {"coding": [{"system": "http://loinc.org", "code": "8480-6"}]}, "subject": {"reference": "Patient/p"},
        "effectiveDateTime": "2020-02-29T12:00:00+01:00", "valueQuantity": {"value": 120.0, "unit": "mmHg"},
        "component": [{"code": {"text": "y"}, "valueString": "z", "_valueString": {"id": "s"}}],
    });
    let patient = json!({
        "resourceType": "Patient", "id": "o", "name": [{"family": "A", "given": ["B", null], "_given": [null, {"id": "g"}]}],
        "birthDate": "1980-02-29", "multipleBirthInteger": 2, "contact": [{"name": {"text": "c"}}],
        "contained": [{"resourceType": "Organization", "id": "c", "name": "x"}], "managingOrganization": {"reference": "#c"},
    });
    let entry = |method: &str, url: &str, resource: &serde_json::Value| json!({"fullUrl": "urn:uuid:61ebe359-bfdc-4613-8bf2-c5e300945f0a", "request": {"method": method, "url": url, "ifNoneExist": "code=1"}, "resource": resource});
    let bundle = |kind: &str| {
        json!({"resourceType": "Bundle", "type": kind, "entry": [
            entry("POST", "Observation", &observation), {"request": {"method": "PUT", "url": "Patient/o"}, "resource": patient},
            {"request": {"method": "GET", "url": "Observation?code=x&_count=1"}}, {"request": {"method": "DELETE", "url": "Patient/x"}},
        ]})
    };
    let parameters = json!({"resourceType": "Parameters", "parameter": [{"name": "operation", "part": [
        {"name": "type", "valueCode": "add"}, {"name": "path", "valueString": "Observation.component[0]"},
        {"name": "name", "valueString": "valueString"}, {"name": "value", "valueString": "x"}]},
        {"name": "meta", "valueMeta": {"tag": [{"code": "a"}]}}]});
    let patch =
        json!([{"op": "add", "path": "/component/0/id", "value": "x"}, {"op": "move", "from": "/note", "path": "/x"}]);
    vec![bundle("batch"), bundle("transaction"), observation, patient, parameters, patch]
}

/// One of the resources with some bytes replaced, or nothing but random bytes.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let byte = || prop_oneof![prop::sample::select(b"{}[]:,\"\\0-.e9tfn /$_#?&=".to_vec()), any::<u8>()];
    let changes = prop::collection::vec((any::<prop::sample::Index>(), byte()), 0..4);
    let changed = (prop::sample::select(originals()), changes).prop_map(move |(resource, changes)| {
        let mut bytes = serde_json::to_vec(&resource).unwrap();
        for (place, byte) in changes {
            let at = place.index(bytes.len());
            bytes[at] = byte;
        }
        bytes
    });
    prop_oneof![8 => changed, 1 => prop::collection::vec(byte(), 0..200)]
}

/// A part of a URL: one that means something, or anything.
fn part() -> impl Strategy<Value = String> {
    let known = [
        "Observation",
        "Patient",
        "Binary",
        "Bundle",
        "o",
        "p",
        "_history",
        "_search",
        "1",
        "2",
        "*",
        "metadata",
        "$meta",
        "$meta-add",
        "$everything",
        "$x",
    ];
    prop_oneof![6 => prop::sample::select(known.to_vec()).prop_map(str::to_owned), 1 => "[a-zA-Z0-9.%$_*-]{1,8}"]
}

fn url() -> impl Strategy<Value = String> {
    let names = [
        "_id",
        "code",
        "name:exact",
        "_count",
        "_since",
        "_at",
        "_summary",
        "_elements",
        "_include",
        "_has:Observation:subject:code",
        "value-quantity",
        "date",
        "_sort",
        "_format",
        "_cursor",
        "subject.name",
        "_lastUpdated",
        "_total",
        "mode",
    ];
    let value = prop_oneof![
        "[a-z0-9:.,|$%-]{0,8}",
        prop::sample::select(vec!["2020", "json", "0", "true", "Observation:subject", "gt1", "9999-12-31"])
            .prop_map(str::to_owned)
    ];
    let query = prop::collection::vec((prop::sample::select(names.to_vec()), value), 0..3);
    (prop::collection::vec(part(), 0..5), query).prop_map(|(parts, query)| {
        let query: Vec<String> = query.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let path = parts.iter().fold(String::new(), |path, part| path + "/" + part);
        // A percent sign that starts no escape is refused by the client already.
        let path = path.replace('%', "%25");
        if query.is_empty() {
            path
        } else {
            format!("{path}?{}", query.join("&").replace('%', "%25").replace('|', "%7C"))
        }
    })
}

#[test]
fn nothing_that_is_sent_anywhere_makes_the_server_fail() {
    let server = Server::start();
    server.put("/Observation/o").json(&originals()[2]).expect(201);
    let routes = [
        "",
        "/Observation",
        "/Observation/o",
        "/Patient",
        "/Patient/o",
        "/Observation?code=x",
        "/Binary",
        "/Bundle",
        "/Observation/o/$meta-add",
    ];
    let url = prop_oneof![prop::sample::select(routes.to_vec()).prop_map(str::to_owned), url()];
    let method = prop::sample::select(vec!["GET", "HEAD", "POST", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]);
    let kind = prop::sample::select(vec![
        "application/fhir+json",
        "application/fhir+json",
        "application/json-patch+json",
        "application/x-www-form-urlencoded",
        "text/plain",
    ]);
    let header = prop::option::of(prop::sample::select(vec![
        ("If-Match", "W/\"1\""),
        ("If-None-Match", "*"),
        ("If-None-Exist", "code=x"),
        ("Prefer", "return=OperationOutcome, handling=lenient"),
        ("Accept", "application/fhir+xml"),
        ("X-Provenance", "{\"resourceType\":\"Provenance\"}"),
        ("Content-Encoding", "gzip"),
        ("If-Modified-Since", "x"),
    ]));
    let strategy = (method, url, kind, header, mutated());
    let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::with_cases(3_000) });
    let until = std::time::Instant::now() + std::time::Duration::from_secs(rounds(20, 8) as u64);
    let run = runner.run(&strategy, |(method, path, kind, header, body)| {
        if std::time::Instant::now() > until {
            return Ok(());
        }
        let mut request = server.request(method, &path);
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        if !matches!(method, "GET" | "HEAD" | "DELETE" | "OPTIONS") {
            request = request.body(kind, body);
        }
        let answer = request.send();
        prop_assert!(answer.status() < 500, "{}", answer);
        if answer.status() >= 400 && method != "HEAD" {
            answer.outcome();
        }
        Ok(())
    });
    run.unwrap();
    works(&server);
}

//! The tests' own client, against a peer that says what it is told to.

use crate::support::Client;
use serde_json::json;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::thread::JoinHandle;

/// The lines of a request, and its body.
type Heard = (Vec<String>, Vec<u8>);

/// Answers one request with these bytes.
fn peer(answer: String) -> (Client, JoinHandle<Heard>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = Client::new(format!("http://{}/fhir", listener.local_addr().unwrap()));
    let heard = std::thread::spawn(move || {
        let (mut connection, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(connection.try_clone().unwrap());
        let head = reader.by_ref().lines().map(Result::unwrap).take_while(|line| !line.is_empty()).collect::<Vec<_>>();
        let length = head.iter().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        reader.read_exact(&mut body).unwrap();
        connection.write_all(answer.as_bytes()).unwrap();
        (head, body)
    });
    (client, heard)
}

fn answer(status: u16, body: &serde_json::Value) -> String {
    let body = body.to_string();
    let head = format!("HTTP/1.1 {status} X\r\nContent-Type: application/fhir+json\r\nETag: W/\"2\"\r\n");
    format!("{head}Content-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
}

#[test]
fn a_request_is_sent_as_written_and_its_answer_can_be_asked() {
    let (client, heard) = peer(answer(200, &json!({"id": "eve", "meta": {"versionId": "2"}})));
    let patient = json!({"resourceType": "Patient"});
    let answer = client.put("/Patient/eve?x=1").header("If-Match", "W/\"1\"").json(&patient).expect(200);

    let (lines, body) = heard.join().unwrap();
    assert_eq!(lines[0], "PUT /fhir/Patient/eve?x=1 HTTP/1.1");
    let has = |line: &str| lines.iter().any(|header| header.eq_ignore_ascii_case(line));
    assert!(has("If-Match: W/\"1\"") && has("Content-Type: application/fhir+json"), "{lines:?}");
    assert!(!lines.iter().any(|header| header.to_lowercase().starts_with("accept-encoding")), "{lines:?}");
    assert_eq!(body, patient.to_string().into_bytes());

    assert_eq!((answer.id(), answer.version()), ("eve".into(), "2".into()));
    answer.header_is("etag", "W/\"2\"");
}

#[test]
fn an_error_is_an_answer_with_an_outcome() {
    let issue = json!({"severity": "error", "code": "deleted", "diagnostics": "gone", "expression": ["Patient.id"]});
    let (client, heard) = peer(answer(410, &json!({"resourceType": "OperationOutcome", "issue": [issue]})));
    let answer = client.delete("/Patient/eve").expect(410).issue("deleted").about("Patient.id").says("gone");
    assert_eq!(answer.outcome().severities(), ["error"]);
    assert_eq!(heard.join().unwrap().0[0], "DELETE /fhir/Patient/eve HTTP/1.1");
}

#[test]
#[should_panic(expected = "no issue `conflict`")]
fn another_issue_is_noticed() {
    let (client, _heard) =
        peer(answer(410, &json!({"resourceType": "OperationOutcome", "issue": [{"code": "deleted"}]})));
    client.delete("/Patient/eve").expect(410).issue("conflict");
}

//! Resources of tens of megabytes: what one store does with them, the other one does too.

use crate::support::mongodb::new_database;
use crate::support::server::{START, embedded, on_mongodb};
use crate::support::{Answer, Server};
use pharos::clock::FixedClock;
use pharos::config::Config;
use pharos::store::Backend;
use pharos::store::contract::large::noise;
use regex::Regex;
use serde_json::json;
use std::sync::Arc;

fn settings(config: &mut Config) {
    config.limits.request_timeout_ms = 110_000;
}

fn servers() -> Vec<Server> {
    let on_disk = Server::on(settings, FixedClock::at(START), embedded);
    let on_mongodb = new_database().map(|address| {
        Server::on(settings, FixedClock::at(START), |folder, config, clock| {
            Arc::new(on_mongodb(address, folder, config, clock)) as Arc<dyn Backend>
        })
    });
    [on_disk].into_iter().chain(on_mongodb).collect()
}

/// The body of a Binary of about 40 MB.
fn binary(number: u64) -> String {
    json!({"resourceType": "Binary", "id": "scan", "contentType": "image/tiff", "data": noise(40 << 20, number)})
        .to_string()
}

fn document(number: u64) -> serde_json::Value {
    json!({"resourceType": "DocumentReference", "id": "report", "status": "current", "subject": {"reference": "Patient/p"},
        "content": [{"attachment": {"contentType": "image/tiff", "data": noise(20 << 20, number)}},
            {"attachment": {"contentType": "image/tiff", "url": "Binary/scan"}}]})
}

/// Where two texts begin to differ, and what stands there.
fn difference(one: &str, other: &str) -> Option<[String; 2]> {
    if one == other {
        return None;
    }
    let at = one.bytes().zip(other.bytes()).take_while(|(one, other)| one == other).count();
    Some([one, other].map(|text| text[at.saturating_sub(40)..text.len().min(at + 40)].to_owned()))
}

#[test]
fn resources_too_large_for_one_document() {
    let times = Regex::new(r#""(lastUpdated|lastModified|timestamp)":"[^"]*""#).unwrap();
    let mut told: Vec<Vec<String>> = Vec::new();
    for server in servers() {
        let mut answers = Vec::new();
        let mut keep = |answer: Answer| {
            let text = std::str::from_utf8(answer.bytes()).unwrap().replace(server.base(), "BASE");
            answers.push(times.replace_all(&text, "$1").into_owned());
        };
        let put = |number| server.put("/Binary/scan").body("application/fhir+json", binary(number));
        server.put("/Patient/p").json(json!({"resourceType": "Patient", "id": "p"})).expect(201);
        keep(put(1).expect(201));
        keep(server.put("/DocumentReference/report").json(document(3)).expect(201));
        let read = || server.get("/Binary/scan").header("Accept", "application/fhir+json");
        keep(read().expect(200));
        keep(server.get("/DocumentReference?patient=p&_include=DocumentReference:subject").expect(200));
        keep(put(2).expect(200));
        keep(server.get("/Binary/scan/_history/1").header("Accept", "application/fhir+json").expect(200));
        keep(server.get("/Binary/scan/_history").expect(200));
        server.delete("/Binary/scan").expect(204);
        read().expect(410);
        keep(server.get("/Binary/scan/_history/2").header("Accept", "application/fhir+json").expect(200));
        keep(put(1).expect(201));
        server.post("/Patient/p/$purge").json(json!({"resourceType": "Parameters"})).expect(200);
        for gone in ["/Patient/p", "/Binary/scan", "/DocumentReference/report", "/DocumentReference/report/_history/1"]
        {
            server.get(gone).expect(404);
        }
        told.push(answers);
    }
    assert!(told.iter().all(|answers| answers.iter().all(|answer| answer.len() > 20 << 20)));
    for both in told.windows(2) {
        for (n, (one, other)) in both[0].iter().zip(&both[1]).enumerate() {
            assert_eq!(difference(one, other), None, "answer {n}");
        }
    }
}

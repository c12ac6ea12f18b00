use crate::support::Server;
use serde_json::{Value, json};

fn transaction(entries: &[Value]) -> Value {
    json!({"resourceType": "Bundle", "type": "transaction", "entry": entries})
}

fn put(id: &str) -> Value {
    json!({"request": {"method": "PUT", "url": format!("Patient/{id}")}, "resource": {"resourceType": "Patient", "id": id}})
}

#[test]
fn references_between_entries_are_rewritten() {
    let server = Server::start();
    let patient = "urn:uuid:61ebe359-bfdc-4613-8bf2-c5e300945f0a";
    let answer = server.post("").json(transaction(&[
        json!({
            "request": {"method": "POST", "url": "Observation"},
            "resource": {"resourceType": "Observation", "status": "final", "code": {"text": "x"},
                "subject": {"reference": patient}},
        }),
        json!({
            "fullUrl": patient,
            "request": {"method": "POST", "url": "Patient"},
            "resource": {"resourceType": "Patient"},
        }),
    ]));
    let answer = answer.expect(200);
    assert_eq!(answer.at("/type"), "transaction-response");
    let path = |n: usize| {
        let location = answer.at(&format!("/entry/{n}/response/location")).as_str().unwrap_or_default().to_owned();
        let end = location.find("/_history").unwrap_or_else(|| panic!("no versioned location in {answer}"));
        let start = location[..end].rmatch_indices('/').nth(1).map_or(0, |(at, _)| at + 1);
        location[start..end].to_owned()
    };
    let observation = server.get(&format!("/{}", path(0))).expect(200);
    assert_eq!(observation.at("/subject/reference"), path(1));
}

#[test]
fn one_wrong_entry_undoes_all() {
    let server = Server::start();
    let wrong = json!({"request": {"method": "PUT", "url": "Patient/b"}, "resource": {"resourceType": "Patient", "id": "other"}});
    server.post("").json(transaction(&[put("a"), wrong])).expect(400).outcome();
    server.get("/Patient/a").expect(404);
    assert_eq!(server.get("/_history").expect(200).resources().len(), 0);
}

#[test]
fn all_of_one_transaction_have_one_time() {
    let server = Server::start();
    server.post("").json(transaction(&[put("a"), put("b")])).expect(200);
    let time = |id: &str| server.get(&format!("/Patient/{id}")).expect(200).at("/meta/lastUpdated");
    assert_eq!(time("a"), time("b"));
}

#[test]
fn the_same_resource_twice_is_refused() {
    let server = Server::start();
    server.post("").json(transaction(&[put("a"), put("a")])).expect(400).outcome();
    server.get("/Patient/a").expect(404);
}

#[test]
fn an_empty_one_is_answered() {
    let server = Server::start();
    let answer = server.post("").json(json!({"resourceType": "Bundle", "type": "transaction"})).expect(200);
    assert_eq!((answer.at("/type"), answer.resources().len()), (json!("transaction-response"), 0));
}

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

#[test]
fn one_of_three_hundred_undoes_all_and_is_named() {
    let server = Server::start();
    let mut entries: Vec<Value> = (0..300).map(|n| put(&format!("p{n}"))).collect();
    entries[217]["resource"]["birthDate"] = json!("yesterday");
    entries[219]["resource"]["gender"] = json!(1);
    let refused = server.post("").json(transaction(&entries)).expect(400);
    refused.about("Bundle.entry[217].resource.birthDate").about("Bundle.entry[219].resource.gender");
    entries[217] = put("p217");
    entries[219]["request"] = json!({"method": "PUT", "url": "Patient/p219", "ifMatch": "W/\"3\""});
    entries[219]["resource"] = put("p219")["resource"].clone();
    server.post("").json(transaction(&entries)).expect(412).about("Bundle.entry[219]");
    assert!(server.get("/_history").expect(200).resources().is_empty());
    assert_eq!(server.get("/Patient?_summary=count").expect(200).at("/total"), 0);
}

#[test]
fn a_read_that_fails_undoes_all() {
    let server = Server::start();
    let get = |url: &str| json!({"request": {"method": "GET", "url": url}});
    for url in ["Patient/nobody", "Patient?nothing=1", "Nothing/1"] {
        let answer = server.post("").json(transaction(&[put("a"), get(url)])).send();
        assert!(matches!(answer.status(), 400 | 404), "{answer}");
        assert!(answer.outcome().expressions()[0].starts_with("Bundle.entry[1]"), "{answer}");
        server.get("/Patient/a").expect(404);
    }
    let entries = [get("Patient/a"), get("Patient?_id=a"), get("Patient/a/_history"), put("a")];
    let answer = server.post("").json(transaction(&entries)).expect(200);
    assert_eq!(answer.at("/entry/0/resource/id"), "a");
    assert_eq!((answer.at("/entry/1/resource/total"), answer.at("/entry/2/resource/total")), (json!(1), json!(1)));
}

#[test]
fn every_form_of_full_url_is_rewritten() {
    let server = Server::start();
    for full_url in ["urn:uuid:61ebe359-bfdc-4613-8bf2-c5e300945f0a", "urn:oid:1.2.3", "http://old.org/fhir/Patient/7"]
    {
        let mut observation = json!({"resourceType": "Observation", "status": "final", "code": {"text": "x"},
            "text": {"status": "generated", "div": format!("<div xmlns=\"http://www.w3.org/1999/xhtml\"><a href=\"{full_url}\">x</a></div>")},
            "subject": {"reference": full_url}});
        if full_url.starts_with("http") {
            // A UUID or an OID with a version after it would be none.
            observation["focus"] = json!([{"reference": format!("{full_url}/_history/9")}]);
        }
        let entries = [
            json!({"request": {"method": "POST", "url": "Observation"}, "resource": observation}),
            json!({"fullUrl": full_url, "request": {"method": "POST", "url": "Patient"}, "resource": {"resourceType": "Patient"}}),
        ];
        let answer = server.post("").header("Prefer", "return=representation").json(transaction(&entries)).expect(200);
        let patient = format!("Patient/{}", answer.at("/entry/1/resource/id").as_str().unwrap());
        let observation = answer.at("/entry/0/resource");
        assert_eq!(observation["subject"]["reference"], patient);
        if full_url.starts_with("http") {
            assert_eq!(observation["focus"][0]["reference"], format!("{patient}/_history/1"));
        }
        assert!(observation["text"]["div"].as_str().unwrap().contains(&format!("href=\"{patient}\"")));
    }
    let twice = json!({"fullUrl": "urn:uuid:61ebe359-bfdc-4613-8bf2-c5e300945f0a", "request": {"method": "POST", "url": "Patient"},
        "resource": {"resourceType": "Patient"}});
    server.post("").json(transaction(&[twice.clone(), twice])).expect(400).issue("duplicate");
}

#[test]
fn conditional_references_find_what_is_there_and_what_comes_along() {
    let server = Server::start();
    let patient = |value: &str| json!({"resourceType": "Patient", "identifier": [{"system": "s", "value": value}]});
    let observation = |value: &str| {
        json!({"request": {"method": "POST", "url": "Observation"}, "resource":
        {"resourceType": "Observation", "status": "final", "code": {"text": "x"}, "subject": {"reference": format!("Patient?identifier=s|{value}")}}})
    };
    let there = server.post("/Patient").json(patient("1")).expect(201).id();
    let post =
        |entries: &[Value]| server.post("").header("Prefer", "return=representation").json(transaction(entries)).send();
    let answer = post(&[observation("1")]).status_is(200);
    assert_eq!(answer.at("/entry/0/resource/subject/reference"), format!("Patient/{there}"));
    post(&[observation("2")]).status_is(412).about("Bundle.entry[0]");

    let new = json!({"request": {"method": "POST", "url": "Patient"}, "resource": patient("2")});
    let answer = post(&[observation("2"), new]).status_is(200);
    let made = answer.at("/entry/1/resource/id").as_str().unwrap().to_owned();
    assert_eq!(answer.at("/entry/0/resource/subject/reference"), format!("Patient/{made}"));

    // What the transaction deletes is not found any more; what it changes is found as it will be.
    let delete = json!({"request": {"method": "DELETE", "url": format!("Patient/{there}")}});
    post(&[observation("1"), delete]).status_is(412);
    let mut changed = patient("3");
    changed["id"] = json!(made);
    let change = json!({"request": {"method": "PUT", "url": format!("Patient/{made}")}, "resource": changed});
    post(&[observation("2"), change.clone()]).status_is(412);
    post(&[observation("3"), change]).status_is(200);
    server.post("/Patient").json(patient("3")).expect(201);
    post(&[observation("3")]).status_is(412).issue("multiple-matches");
}

#[test]
fn conditional_entries_and_overlaps() {
    let server = Server::start();
    let patient = json!({"resourceType": "Patient", "identifier": [{"value": "1"}]});
    let create =
        json!({"request": {"method": "POST", "url": "Patient", "ifNoneExist": "identifier=1"}, "resource": patient});
    server.post("").json(transaction(&[create.clone(), create.clone()])).expect(400).issue("duplicate");
    assert_eq!(
        server.post("").json(transaction(&[create.clone()])).expect(200).at("/entry/0/response/status"),
        "201 Created"
    );
    let found = server.post("").json(transaction(&[create.clone()])).expect(200);
    assert_eq!(found.at("/entry/0/response/status"), "200 OK");
    assert_eq!(found.at("/entry/0/response/etag"), "W/\"1\"");
    let update = json!({"request": {"method": "PUT", "url": "Patient?identifier=1"}, "resource": patient});
    let delete = json!({"request": {"method": "DELETE", "url": "Patient?identifier=1"}});
    for overlap in [[create, update.clone()], [delete.clone(), update.clone()]] {
        server.post("").json(transaction(&overlap)).expect(400).issue("duplicate");
    }
    server.post("").json(transaction(&[update])).expect(200);
    server.post("").json(transaction(&[delete])).expect(200);
    assert_eq!(server.get("/Patient?_summary=count").expect(200).at("/total"), 0);
}

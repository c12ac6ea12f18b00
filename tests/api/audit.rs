//! The audit ledger: every request leaves an AuditEvent, nobody can change one, and nobody learns from one of other patients.

use crate::support::tokens::Person;
use crate::support::{Answer, Client, Server};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

fn patient(id: &str, family: &str) -> Value {
    json!({"resourceType": "Patient", "id": id, "name": [{"family": family}]})
}

fn observation(id: &str, patient: &str) -> Value {
    json!({
        "resourceType": "Observation", "id": id, "status": "final", "code": {"text": "x"},
        "subject": {"reference": format!("Patient/{patient}")}
    })
}

/// A guarded server with two patients and an observation of each, and who wrote them.
fn server() -> (Server, Client) {
    let server = Server::guarded();
    let all = server.as_system("system/*.cruds");
    for id in ["a", "b"] {
        all.put(&format!("/Patient/{id}")).json(patient(id, &format!("Family-{id}"))).expect(201);
        all.put(&format!("/Observation/o{id}")).json(observation(&format!("o{id}"), id)).expect(201);
    }
    (server, all)
}

/// The AuditEvents of a search.
fn events(client: &Client, query: &str) -> Vec<Value> {
    entries(&client.get(&format!("/AuditEvent?{query}&_count=500")).expect(200))
}

fn entries(answer: &Answer) -> Vec<Value> {
    let found = answer.json()["entry"].as_array().cloned().unwrap_or_default();
    found.into_iter().map(|entry| entry["resource"].clone()).collect()
}

fn references(event: &Value) -> Vec<String> {
    let entities = event["entity"].as_array().cloned().unwrap_or_default();
    entities.iter().filter_map(|entity| Some(entity["what"]["reference"].as_str()?.to_owned())).collect()
}

fn query_of(event: &Value) -> Option<String> {
    let entities = event["entity"].as_array()?;
    let query = entities.iter().find_map(|entity| entity["query"].as_str())?;
    Some(String::from_utf8(STANDARD.decode(query).unwrap()).unwrap())
}

#[test]
fn reads_changes_and_searches_name_who_what_and_whom() {
    let (server, all) = server();
    let doctor = Person { fhir_user: Some("Practitioner/d"), roles: &["Clinical Director"], ..Person::default() };
    let app = server.as_user("user/*.cruds", &doctor);
    app.get("/Observation/oa").expect(200);
    let [read] = &events(&all, "subtype=read&agent=Practitioner/d")[..] else { panic!("one read") };
    assert_eq!(references(read), ["Patient/a", "Observation/oa"]);
    assert_eq!((&read["action"], &read["outcome"]), (&json!("R"), &json!("0")));
    assert_eq!(
        read["meta"]["profile"][0],
        "https://profiles.ihe.net/ITI/BALP/StructureDefinition/IHE.BasicAudit.PatientRead"
    );
    let agents = read["agent"].as_array().unwrap();
    let requestors: Vec<_> = agents.iter().filter(|agent| agent["requestor"] == true).collect();
    assert_eq!(requestors.len(), 1);
    assert_eq!(requestors[0]["who"]["reference"], "Practitioner/d");
    assert_eq!(requestors[0]["role"][0]["text"], "Clinical Director");
    assert_eq!(agents[0]["network"], json!({"address": "127.0.0.1", "type": "2"}));

    app.put("/Observation/oa").json(observation("oa", "b")).expect(200);
    let [update] = &events(&all, "subtype=update&agent=Practitioner/d&entity=Observation/oa&patient=a")[..] else {
        panic!("the patient whose it was is told")
    };
    assert_eq!(references(update), ["Patient/a", "Observation/oa"]);
    assert_eq!(events(&all, "subtype=update&agent=Practitioner/d&patient=b").len(), 1, "and the one whose it is now");
    app.delete("/Observation/oa").expect(204);
    let [delete] = &events(&all, "action=D")[..] else { panic!("one delete") };
    assert_eq!(references(delete), ["Patient/b", "Observation/oa"]);

    app.get("/Patient?name=family").expect(200);
    let found = events(&all, "subtype=search-type&agent=Practitioner/d");
    assert_eq!(found.len(), 3, "one for all, and one for each patient: {found:?}");
    assert_eq!(query_of(&found[0]).as_deref(), Some("Patient?name=family"));
    assert_eq!(references(&found[0]), Vec::<String>::new());
    assert_eq!(references(&found[1]), ["Patient/a"]);
    assert_eq!(query_of(&found[1]), None);
    assert_eq!(events(&all, "subtype=search-type&agent=Practitioner/d&patient=b").len(), 1);
}

#[test]
fn refusals_and_what_is_not_there_are_recorded() {
    let (server, all) = server();
    let narrow = server.as_system("system/Observation.r");
    narrow.get("/Patient/a").expect(403);
    narrow.get("/Observation/none").expect(404);
    server.get("/Patient/a").expect(401);
    let found = events(&all, "outcome=4");
    let told: Vec<_> = found.iter().map(|event| (event["outcomeDesc"].as_str().unwrap(), references(event))).collect();
    assert_eq!(told[0], ("HTTP 403", vec!["Patient/a".to_owned()]));
    assert_eq!(told[1], ("HTTP 404", vec!["Observation/none".to_owned()]));
    assert_eq!(told[2], ("HTTP 401", vec!["Patient/a".to_owned()]));
    assert_eq!(told.len(), 3);
    assert_eq!(events(&all, "patient=a&outcome=4").len(), 2, "who was refused, is in the patient's history");
}

#[test]
fn a_batch_names_its_reads_and_its_writes() {
    let (_server, all) = server();
    let bundle = json!({"resourceType": "Bundle", "type": "batch", "entry": [
        {"request": {"method": "GET", "url": "Patient/a"}},
        {"request": {"method": "GET", "url": "Observation?subject=Patient/b"}},
        {"request": {"method": "PUT", "url": "Patient/c"}, "resource": patient("c", "C")},
    ]});
    all.post("").json(bundle).expect(200);
    let batch = events(&all, "subtype=batch");
    assert_eq!(query_of(&batch[0]).as_deref(), Some("Patient/a\nObservation?subject=Patient%2Fb"));
    assert_eq!(batch.len(), 3);
    assert_eq!(events(&all, "subtype=batch&patient=b").len(), 1);
    let [written] = &events(&all, "subtype=update&patient=c")[..] else { panic!("one update") };
    assert_eq!(references(written), ["Patient/c", "Patient/c"]);

    let refused = json!({"resourceType": "Bundle", "type": "batch", "entry": [
        {"request": {"method": "PUT", "url": "Patient/e"}, "resource": patient("e", "E")},
        {"request": {"method": "DELETE", "url": "Patient/zz"}, "resource": {"resourceType": "Basic"}},
        {"request": {"method": "PUT", "url": "Patient/f"}, "resource": {"resourceType": "Patient"}},
    ]});
    all.post("").json(refused).expect(200);
    let batch = events(&all, "subtype=batch&_sort=-date").remove(0);
    assert_eq!(query_of(&batch).as_deref(), Some("PUT Patient/f: 400"));

    let bundle = json!({"resourceType": "Bundle", "type": "transaction", "entry": [
        {"request": {"method": "PUT", "url": "Patient/d"}, "resource": patient("d", "D")},
        {"request": {"method": "PUT", "url": "Observation/od"}, "resource": observation("od", "d")},
        {"request": {"method": "PUT", "url": "Observation/ob"}, "resource": observation("ob", "b")},
        {"request": {"method": "PUT", "url": "Organization/o"}, "resource": {"resourceType": "Organization", "id": "o", "name": "O"}},
    ]});
    all.post("").json(bundle).expect(200);
    let [of_d] = &events(&all, "subtype=transaction&patient=d")[..] else { panic!("one for d") };
    assert_eq!(references(of_d), ["Patient/d", "Patient/d", "Observation/od"]);
    let [of_b] = &events(&all, "subtype=transaction&patient=b")[..] else { panic!("one for b") };
    assert_eq!(references(of_b), ["Patient/b", "Observation/ob"]);
    let [of_nobody] = &events(&all, "subtype=transaction&entity=Organization/o")[..] else { panic!("one for o") };
    assert_eq!(references(of_nobody), ["Organization/o"]);
}

#[test]
fn a_patient_sees_who_has_seen_their_record_and_nothing_of_others() {
    let (server, all) = server();
    all.get("/Patient?name=family").expect(200);
    all.get("/Observation?_include=Observation:subject").expect(200);
    let me = Person { fhir_user: Some("Patient/a"), roles: &["Patient"], patient: Some("a"), ..Person::default() };
    let app = server.as_user("patient/AuditEvent.rs patient/Patient.r", &me);
    let mine = events(&app, "");
    assert!(mine.len() >= 4, "written twice and found twice: {}", mine.len());
    for event in &mine {
        let text = event.to_string();
        assert!(text.contains("Patient/a"), "{text}");
        for other in ["Patient/b", "Observation/ob", "Family-b"] {
            assert!(!text.contains(other), "{other} in {text}");
        }
    }
    assert_eq!(events(&app, "patient=b").len(), 0);
    assert_eq!(events(&app, "entity=Observation/ob").len(), 0);
    assert_eq!(
        app.get("/Patient/a/AuditEvent?_summary=count").expect(200).json()["total"],
        json!(mine.len() + 3),
        "and what I asked myself"
    );
}

#[test]
fn nobody_makes_changes_or_deletes_one() {
    let (_server, all) = server();
    let event = events(&all, "subtype=update").remove(0);
    let path = format!("/AuditEvent/{}", event["id"].as_str().unwrap());
    assert_eq!(all.get(&path).expect(200).json(), event);
    assert_eq!(all.get(&format!("{path}/_history/1")).expect(200).json(), event);
    all.put(&path).json(event.clone()).expect(405);
    all.delete(&path).expect(405);
    all.patch(&path)
        .body("application/json-patch+json", r#"[{"op":"replace","path":"/outcome","value":"0"}]"#)
        .expect(405);
    all.post("/AuditEvent").json(event.clone()).expect(405);
    all.delete("/AuditEvent?action=U").expect(405);
    all.get(&path).expect(200);
    let bundle = json!({"resourceType": "Bundle", "type": "transaction", "entry": [
        {"request": {"method": "DELETE", "url": &path[1..]}},
    ]});
    all.post("").json(bundle).expect(405);
    let statement = all.get("/metadata").expect(200).json().clone();
    let types = statement["rest"][0]["resource"].as_array().unwrap();
    let own = types.iter().find(|one| one["type"] == "AuditEvent").unwrap();
    let codes: Vec<_> =
        own["interaction"].as_array().unwrap().iter().map(|one| one["code"].as_str().unwrap()).collect();
    assert_eq!(codes, ["read", "vread", "search-type"]);
}

#[test]
fn an_emergency_is_told_with_its_reason() {
    let (server, all) = server();
    let doctor = Person {
        break_glass: Some("unconscious"),
        fhir_user: Some("Practitioner/d"),
        roles: &["Clinical Director"],
        ..Person::default()
    };
    server.as_user("user/*.rs", &doctor).get("/Patient/a").expect(200);
    let [read] = &events(&all, "subtype=read")[..] else { panic!("one read") };
    assert_eq!(read["purposeOfEvent"][0]["coding"][0]["code"], "BTG");
    assert_eq!(read["purposeOfEvent"][0]["text"], "unconscious");
}

#[test]
fn pages_and_sorts_are_those_of_any_search() {
    let (_server, all) = server();
    for _ in 0..50 {
        all.get("/Patient/a").expect(200);
    }
    let mut page = all.get("/AuditEvent?patient=a&_sort=-date&_count=7&_total=accurate").expect(200);
    let total = page.json()["total"].as_u64().unwrap();
    let mut ids = Vec::new();
    let mut times = Vec::new();
    loop {
        for event in entries(&page) {
            ids.push(event["id"].as_str().unwrap().to_owned());
            times.push(event["recorded"].as_str().unwrap().to_owned());
        }
        let Some(next) = page.link("next") else { break };
        page = all.get(&next).expect(200);
    }
    assert!(times.is_sorted_by(|a, b| a >= b));
    assert_eq!(ids.len() as u64, total);
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len() as u64, total);
}

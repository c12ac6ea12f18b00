//! What a page holds: <https://hl7.org/fhir/R4/search.html#return>.

use crate::support::{Answer, Server};
use serde_json::{Value, json};

/// Patient a with an observation, Patient b, each with narrative and more than a summary shows.
fn store() -> Server {
    let server = Server::start();
    let text = json!({"status": "generated", "div": "<div xmlns=\"http://www.w3.org/1999/xhtml\">Told</div>"});
    for id in ["a", "b"] {
        let patient = json!({
            "resourceType": "Patient", "id": id, "text": text, "name": [{"family": "Ray"}], "gender": "female",
            "birthDate": "1970-01-01", "maritalStatus": {"text": "single"}, "photo": [{"title": "face"}]
        });
        server.put(&format!("/Patient/{id}")).json(patient).expect(201);
    }
    let observation = json!({
        "resourceType": "Observation", "id": "o", "text": text, "status": "final", "code": {"text": "x"},
        "subject": {"reference": "Patient/a"}, "effectiveDateTime": "2020-05-10T08:00:00+02:00", "note": [{"text": "n"}]
    });
    server.put("/Observation/o").json(observation).expect(201);
    server
}

/// The members of the first resource, without `resourceType`, `id` and `meta`.
fn members(answer: &Answer) -> Vec<String> {
    let resource = answer.resources().remove(0);
    let names =
        resource.as_object().unwrap().keys().filter(|name| !["resourceType", "id", "meta"].contains(&name.as_str()));
    names.cloned().collect()
}

fn is_subsetted(resource: &Value) -> bool {
    resource["meta"]["tag"].as_array().is_some_and(|tags| tags.iter().any(|tag| tag["code"] == "SUBSETTED"))
}

#[test]
fn every_mode_of_summary() {
    let server = store();
    let search = |rest: &str| server.get(&format!("/Patient?_id=a&{rest}")).expect(200);
    let whole = ["birthDate", "gender", "maritalStatus", "name", "photo", "text"];
    assert_eq!(members(&search("_summary=false")), whole);
    assert!(!is_subsetted(&search("_summary=false").resources()[0]));
    assert_eq!(members(&search("_summary=true")), ["birthDate", "gender", "name"]);
    assert_eq!(members(&search("_summary=text")), ["text"]);
    assert_eq!(members(&search("_summary=data")), ["birthDate", "gender", "maritalStatus", "name", "photo"]);
    assert_eq!(members(&search("_elements=name,photo")), ["name", "photo"]);
    // Elements that must be there stay.
    assert_eq!(members(&server.get("/Observation?_elements=note").expect(200)), ["code", "note", "status"]);
    for rest in ["_summary=true", "_summary=text", "_summary=data", "_elements=name"] {
        let answer = search(rest);
        assert!(is_subsetted(&answer.resources()[0]), "{rest}: {answer}");
        let put = server.put("/Patient/a").json(&answer.resources()[0]).expect(422);
        put.says("SUBSETTED").about("Patient.meta.tag");
    }
    assert_eq!(server.get("/Patient/a").expect(200).version(), "1");
    let count = server.get("/Patient?_summary=count").expect(200);
    assert_eq!((count.at("/total"), count.at("/entry")), (json!(2), Value::Null));
    let none = server.get("/Patient?_count=0").expect(200);
    assert_eq!((none.at("/total"), none.at("/entry")), (json!(2), Value::Null));
    server.get("/Patient?_elements=colour").expect(400).says("_elements");
    server.get("/Patient?_summary=brief").expect(400).says("`_summary`");
}

#[test]
fn totals() {
    let server = store();
    let total = |rest: &str| server.get(&format!("/Patient?_count=1{rest}")).expect(200).at("/total");
    assert_eq!(total(""), Value::Null);
    assert_eq!(total("&_total=none"), Value::Null);
    assert_eq!(total("&_total=estimate"), 2);
    assert_eq!(total("&_total=accurate"), 2);
    assert_eq!(total("&_total=accurate&_revinclude=Observation:subject"), 2);
    server.get("/Patient?_total=roughly").expect(400).says("`_total`");
}

#[test]
fn entries_say_why_they_are_there() {
    let server = store();
    let modes = |answer: &Answer| {
        let entries = answer.at("/entry").as_array().cloned().unwrap_or_default();
        entries.iter().map(|entry| entry["search"]["mode"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let answer = server
        .get("/Observation?_include=Observation:subject&colour=red&_summary=true")
        .header("Prefer", "handling=lenient")
        .expect(200);
    assert_eq!(modes(&answer), ["match", "include", "outcome"]);
    assert!(answer.resources()[..2].iter().all(is_subsetted), "{answer}");
    assert!(!answer.link("self").unwrap().contains("colour"));
    let iterated =
        server.get("/Patient?_id=b,a&_revinclude=Observation:subject&_include:iterate=Observation:subject").expect(200);
    assert_eq!(
        (iterated.ids(), modes(&iterated)),
        (vec!["a".into(), "b".into(), "o".into()], vec!["match".into(), "match".into(), "include".into()])
    );
}

#[test]
fn includes_that_are_cut_off_say_so() {
    let server = Server::with(|config| config.limits.include_max = 2);
    server.put("/Patient/a").json(json!({"resourceType": "Patient", "id": "a"})).expect(201);
    for number in 0..4 {
        let observation = json!({"resourceType": "Observation", "id": format!("o{number}"), "status": "final", "code": {"text": "x"}, "subject": {"reference": "Patient/a"}});
        server.put(&format!("/Observation/o{number}")).json(observation).expect(201);
    }
    let answer = server.get("/Patient?_revinclude=Observation:subject").expect(200);
    assert_eq!(answer.resources().len(), 4);
    assert!(answer.resources()[3].to_string().contains("limits.include_max"), "{answer}");
}

#[test]
fn forms_and_urls_are_merged_and_time_zones_survive() {
    let server = store();
    let ids = |answer: Answer| answer.ids();
    assert_eq!(ids(server.post("/Patient/_search?_id=a").form("family=ray").expect(200)), ["a"]);
    assert_eq!(ids(server.post("/Patient/_search?_id=a").form("_id=b").expect(200)), Vec::<String>::new());
    assert_eq!(ids(server.post("/_search?_type=Patient").form("family=ray&_id=b").expect(200)), ["b"]);
    assert_eq!(ids(server.get("/Observation?date=2020-05-10T08:00:00%2B02:00").expect(200)), ["o"]);
    assert_eq!(ids(server.get("/Observation?date=2020-05-10T08:00:00+02:00").expect(200)), ["o"]);
    assert_eq!(ids(server.get("/Observation?date=2020-05-10T08:00:00%2B01:00").expect(200)), Vec::<String>::new());
}

#[test]
fn compartments_are_searched_by_type_and_whole() {
    let server = store();
    let ids = |query: &str| server.get(query).expect(200).ids();
    assert_eq!(ids("/Patient/a/Observation"), ["o"]);
    assert_eq!(ids("/Patient/a/Observation?status=final&code:text=x"), ["o"]);
    assert!(ids("/Patient/b/Observation").is_empty());
    assert_eq!(ids("/Patient/a/*"), ["o", "a"]);
    assert_eq!(ids("/Patient/a/*?_type=Observation"), ["o"]);
    server.get("/Patient/a/Organization").expect(400).outcome();
}

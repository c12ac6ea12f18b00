use crate::support::Server;
use serde_json::{Value, json};

const LOINC: &str = "http://loinc.org";

fn coding(code: &str) -> Value {
    json!({"system": LOINC, "code": code})
}

fn observe(server: &Server, id: &str, subject: &str, code: &Value, date: Option<&str>) {
    let category = json!([{"coding": [{"code": "vital-signs"}]}]);
    let mut observation = json!({"resourceType": "Observation", "id": id, "status": "final", "category": category,
        "subject": {"reference": subject}, "code": code});
    if let Some(date) = date {
        observation["effectiveDateTime"] = json!(date);
    }
    server.put(&format!("/Observation/{id}")).json(observation).expect(201);
}

fn with_observations() -> Server {
    let server = Server::start();
    let pulse = json!({"coding": [coding("8867-4")]});
    let weight = json!({"coding": [coding("29463-7")]});
    for (id, code, date) in [
        ("pulse-2", &pulse, Some("2020-02-01")),
        ("pulse-4", &pulse, Some("2020-04-01T12:00:00Z")),
        ("pulse-1", &pulse, Some("2020-01-01")),
        ("pulse-3", &pulse, Some("2020-03-01")),
        ("pulse-0", &pulse, None),
        ("weight-1", &weight, Some("2019-01-01")),
        ("weight-2", &weight, Some("2019-02-01")),
    ] {
        observe(&server, id, "Patient/eve", code, date);
    }
    observe(&server, "others", "Patient/bob", &pulse, Some("2021-01-01"));
    server
}

fn ids(server: &Server, query: &str) -> Vec<String> {
    server.get(&format!("/Observation/$lastn?{query}")).expect(200).ids()
}

#[test]
fn the_newest_of_each_code() {
    let server = with_observations();
    assert_eq!(ids(&server, "patient=eve&category=vital-signs"), ["weight-2", "pulse-4"]);
    assert_eq!(ids(&server, "patient=eve&code=8867-4&max=3"), ["pulse-4", "pulse-3", "pulse-2"]);
    assert_eq!(ids(&server, "subject=Patient/eve&code=8867-4&max=9").last().unwrap(), "pulse-0");
    assert_eq!(ids(&server, "patient=eve&code=8867-4&date=lt2020-03&max=1"), ["pulse-2"]);
    assert_eq!(ids(&server, "patient=eve&category=none"), Vec::<String>::new());
    assert_eq!(ids(&server, "patient=eve,bob&code=8867-4").len(), 2, "one for each subject");
    let answer = server.get("/Observation/$lastn?patient=eve&category=vital-signs&max=2").expect(200);
    assert_eq!(answer.at("/total"), 4);
}

#[test]
fn codings_that_are_shared_make_one_group() {
    let server = Server::start();
    let own = |codes: &[&str]| json!({"coding": codes.iter().map(|code| coding(code)).collect::<Vec<_>>()});
    observe(&server, "a", "Patient/eve", &own(&["1"]), Some("2020-01"));
    observe(&server, "c", "Patient/eve", &own(&["2"]), Some("2020-03"));
    observe(&server, "d", "Patient/eve", &own(&["3"]), Some("2020-04"));
    assert_eq!(ids(&server, "patient=eve&category=vital-signs").len(), 3);
    observe(&server, "b", "Patient/eve", &own(&["1", "2"]), Some("2020-02"));
    assert_eq!(ids(&server, "patient=eve&category=vital-signs"), ["c", "d"]);
    assert_eq!(ids(&server, "patient=eve&category=vital-signs&max=2"), ["c", "b", "d"]);
}

#[test]
fn texts_without_coding_group_by_the_very_text() {
    let server = Server::start();
    for (id, text) in [("a", "Pulse"), ("b", "pulse"), ("c", "Pulse")] {
        observe(&server, id, "Patient/eve", &json!({"text": text}), Some("2020"));
    }
    let mut found = ids(&server, "patient=eve&category=vital-signs");
    found.sort_unstable();
    assert_eq!(found, ["b", "c"]);
}

#[test]
fn pages_go_on_where_they_ended() {
    let server = with_observations();
    let mut found = Vec::new();
    let mut url = Some("/Observation/$lastn?patient=eve&category=vital-signs&max=3&_count=2".to_owned());
    while let Some(page) = url {
        let answer = server.get(&page).expect(200);
        assert!(answer.ids().len() <= 2);
        found.extend(answer.ids());
        url = answer.link("next");
    }
    assert_eq!(found, ["weight-2", "weight-1", "pulse-4", "pulse-3", "pulse-2"]);
}

#[test]
fn parameters_come_in_a_body_too() {
    let server = with_observations();
    let body = json!({"resourceType": "Parameters", "parameter": [
        {"name": "patient", "valueReference": {"reference": "Patient/eve"}},
        {"name": "code", "valueCoding": coding("29463-7")}, {"name": "max", "valuePositiveInt": 1}]});
    let answer = server.post("/Observation/$lastn").json(body).expect(200);
    assert_eq!(answer.ids(), ["weight-2"]);
    assert!(answer.link("self").unwrap().contains("max=1"), "{answer}");
}

#[test]
fn a_subject_and_a_category_or_code_are_needed() {
    let server = with_observations();
    server.get("/Observation/$lastn?category=vital-signs").expect(400).issue("required").says("subject");
    server.get("/Observation/$lastn?patient=eve").expect(400).issue("required").says("category");
    server.get("/Observation/$lastn?patient=eve&code-value-quantity=8867-4$gt1").expect(200);
    server.get("/Observation/$lastn?patient=eve&code=x&max=0").expect(400).about("max");
    server.get("/Observation/$lastn?patient=eve&code=x&max=1&max=2").expect(400).about("max");
    server.get("/Observation/$lastn?patient=eve&code=x&_sort=date").expect(400).about("_sort");
    server.get("/Observation/$lastn?patient=eve&code=x&colour=red").expect(400).says("colour");
    server.get("/Patient/$lastn?patient=eve&code=x").expect(404);
}

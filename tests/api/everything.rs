use crate::support::{Answer, Server};
use serde_json::{Value, json};

fn put(server: &Server, resource: &Value) {
    let (type_name, id) = (resource["resourceType"].as_str().unwrap(), resource["id"].as_str().unwrap());
    let answer = server.put(&format!("/{type_name}/{id}")).json(resource).send();
    assert!(matches!(answer.status(), 200 | 201), "{answer}");
}

/// Two patients with a record each, who share a practitioner.
fn with_records() -> Server {
    let server = Server::start();
    let to = |reference: &str| json!({"reference": reference});
    put(&server, &json!({"resourceType": "Organization", "id": "org", "name": "Clinic"}));
    put(&server, &json!({"resourceType": "Organization", "id": "elsewhere", "name": "Not referred to"}));
    put(&server, &json!({"resourceType": "Practitioner", "id": "doc"}));
    put(&server, &json!({"resourceType": "Practitioner", "id": "idle"}));
    put(&server, &json!({"resourceType": "Location", "id": "room"}));
    put(&server, &json!({"resourceType": "Binary", "id": "scan", "contentType": "text/plain", "data": "YQ=="}));
    for (patient, year) in [("eve", 2020), ("bob", 2021)] {
        let subject = to(&format!("Patient/{patient}"));
        put(
            &server,
            &json!({"resourceType": "Patient", "id": patient, "managingOrganization": to("Organization/org")}),
        );
        put(&server, &json!({"resourceType": "Device", "id": format!("{patient}-pump"), "patient": subject}));
        put(
            &server,
            &json!({"resourceType": "Encounter", "id": format!("{patient}-visit"), "status": "finished", "subject": subject,
                "class": {"code": "AMB"}, "period": {"start": format!("{year}-03-01"), "end": format!("{year}-03-05")},
                "participant": [{"individual": to("Practitioner/doc")}],
                "location": [{"location": to("Location/room")}]}),
        );
        for month in 1..=4 {
            put(
                &server,
                &json!({"resourceType": "Observation", "id": format!("{patient}-{month}"), "status": "final",
                    "subject": subject, "performer": [to("Practitioner/doc")], "code": {"text": "pulse"},
                    "encounter": to(&format!("Encounter/{patient}-visit")),
                    "device": to(&format!("Device/{patient}-pump")),
                    "effectiveDateTime": format!("{year}-0{month}-01")}),
            );
        }
        put(
            &server,
            &json!({"resourceType": "Coverage", "id": format!("{patient}-cover"), "status": "active",
                "beneficiary": subject, "payor": [to("Organization/org")]}),
        );
    }
    put(
        &server,
        &json!({"resourceType": "DocumentReference", "id": "eve-scan", "status": "current", "subject": to("Patient/eve"),
            "date": "2020-02-02T10:00:00Z", "content": [{"attachment": {"url": "Binary/scan"}}]}),
    );
    server
}

fn sorted(answer: &Answer) -> Vec<String> {
    let mut ids = answer.ids();
    ids.sort_unstable();
    ids
}

const EVE: [&str; 12] =
    ["doc", "eve", "eve-1", "eve-2", "eve-3", "eve-4", "eve-cover", "eve-scan", "eve-visit", "org", "room", "scan"];

#[test]
fn a_patients_record_comes_with_what_it_refers_to() {
    let server = with_records();
    let answer = server.get("/Patient/eve/$everything").expect(200);
    assert_eq!(sorted(&answer), EVE, "{answer}");
    assert_eq!(answer.ids().first().map(String::as_str), Some("eve"));
    assert_eq!(answer.at("/type"), "searchset");
    assert!(answer.link("next").is_none());
    let modes: Vec<_> =
        answer.json()["entry"].as_array().unwrap().iter().map(|it| it["search"]["mode"].clone()).collect();
    assert_eq!(modes.iter().filter(|mode| *mode == "include").count(), 4, "{answer}");
    assert_eq!(
        sorted(&server.post("/Patient/eve/$everything").json(json!({"resourceType": "Parameters"})).expect(200)),
        EVE
    );
}

#[test]
fn what_is_another_patients_own_stays_out() {
    let server = with_records();
    let link = json!([{"reference": "Device/bob-pump"}, {"reference": "Patient/bob"}]);
    let other = json!({"resourceType": "List", "id": "eve-list", "status": "current", "mode": "working",
        "subject": {"reference": "Patient/eve"},
        "entry": [{"item": link[0]}, {"item": link[1]}, {"item": {"reference": "Observation/bob-1"}},
                  {"item": {"reference": "Organization/elsewhere"}}]});
    put(&server, &other);
    let ids = server.get("/Patient/eve/$everything").expect(200).ids();
    assert!(!ids.iter().any(|id| id.starts_with("bob")), "{ids:?}");
    assert!(ids.contains(&"elsewhere".to_owned()), "{ids:?}");
}

#[test]
fn pages_hold_everything_once() {
    let server = with_records();
    for count in 1..=13 {
        let mut url = Some(format!("/Patient/eve/$everything?_count={count}"));
        let mut ids = Vec::new();
        while let Some(page) = url {
            let answer = server.get(&page).expect(200);
            assert!(answer.ids().len() <= count, "{answer}");
            assert!(!answer.ids().is_empty(), "{answer}");
            ids.extend(answer.ids());
            url = answer.link("next");
        }
        ids.sort_unstable();
        assert_eq!(ids, EVE, "{count} a page");
    }
}

#[test]
fn a_page_does_not_repeat_what_was_there_when_the_record_changes() {
    let server = with_records();
    let first = server.get("/Patient/eve/$everything?_count=5").expect(200);
    put(&server, &json!({"resourceType": "AllergyIntolerance", "id": "new", "patient": {"reference": "Patient/eve"}}));
    put(&server, &json!({"resourceType": "Patient", "id": "eve", "active": true}));
    let mut ids = first.ids();
    let mut next = first.link("next");
    while let Some(url) = next {
        let page = server.get(&url).expect(200);
        ids.extend(page.ids());
        next = page.link("next");
    }
    ids.sort_unstable();
    // The patient refers to the organisation no more, but the coverage does.
    assert_eq!(ids, EVE);
}

#[test]
fn page_links_are_of_one_record() {
    let server = with_records();
    let next = server.get("/Patient/eve/$everything?_count=2").expect(200).link("next").unwrap();
    server.get(&next.replace("/eve/", "/bob/")).expect(400).about("_cursor");
    server.get(&next.replace("_count=2", "_count=3")).expect(400).about("_cursor");
}

#[test]
fn care_dates_narrow_a_record() {
    let server = with_records();
    let ids = |query: &str| {
        let answer =
            server.get(&format!("/Patient/eve/$everything?_type=Observation,Encounter,Coverage,Patient&{query}"));
        sorted(&answer.expect(200))
    };
    assert_eq!(ids("start=2020-03-03"), ["eve", "eve-4", "eve-cover", "eve-visit"]);
    assert_eq!(ids("end=2020-03-01"), ["eve", "eve-1", "eve-2", "eve-3", "eve-cover", "eve-visit"]);
    assert_eq!(ids("start=2020-02&end=2020-02"), ["eve", "eve-2", "eve-cover"]);
    assert_eq!(ids("start=2022"), ["eve", "eve-cover"]);
    // Nothing but the coverage and the patient refer to anything then: not the practitioner.
    let all = server.get("/Patient/eve/$everything?start=2022").expect(200);
    assert_eq!(sorted(&all), ["eve", "eve-cover", "org"]);
}

#[test]
fn types_and_time_of_change_narrow_a_record() {
    let server = with_records();
    let answer = server.get("/Patient/eve/$everything?_type=Practitioner,Location").expect(200);
    assert_eq!(sorted(&answer), ["doc", "room"]);
    let repeated = server.get("/Patient/eve/$everything?_type=Practitioner&_type=Coverage").expect(200);
    assert_eq!(sorted(&repeated), ["doc", "eve-cover"]);
    let time = server.get("/Observation/eve-2").expect(200).at("/meta/lastUpdated");
    put(&server, &json!({"resourceType": "Practitioner", "id": "doc", "active": true}));
    let time = time.as_str().unwrap().replace('+', "%2B");
    let since = server.get(&format!("/Patient/eve/$everything?_since={time}")).expect(200);
    assert_eq!(sorted(&since), ["doc", "eve-2", "eve-3", "eve-4", "eve-cover", "eve-scan"]);
}

#[test]
fn parameters_come_in_a_body_too() {
    let server = with_records();
    let body = json!({"resourceType": "Parameters", "parameter": [
        {"name": "_type", "valueCode": "Encounter"}, {"name": "_type", "valueCode": "Observation"},
        {"name": "start", "valueDate": "2020-03-02"}, {"name": "_count", "valueInteger": 1}]});
    let answer = server.post("/Patient/eve/$everything").json(body).expect(200);
    assert_eq!(answer.ids(), ["eve-visit"]);
    let next = answer.link("next").unwrap();
    assert_eq!(server.get(&next).expect(200).ids(), ["eve-4"]);
    server.post("/Patient/eve/$everything").json(json!({"resourceType": "Patient"})).expect(400).says("Parameters");
    let bad = json!({"resourceType": "Parameters", "parameter": [{"name": "start", "valuePeriod": {"start": "2020"}}]});
    server.post("/Patient/eve/$everything").json(bad).expect(400).about("Parameters.parameter[0]");
}

#[test]
fn all_patients_records() {
    let server = with_records();
    put(
        &server,
        &json!({"resourceType": "Observation", "id": "nobodys", "status": "final", "code": {"text": "x"},
        "subject": {"reference": "Location/room"}}),
    );
    let mut ids = Vec::new();
    let mut url = Some("/Patient/$everything?_count=5".to_owned());
    while let Some(page) = url {
        let answer = server.get(&page).expect(200);
        ids.extend(answer.ids());
        url = answer.link("next");
    }
    ids.sort_unstable();
    let mut expected: Vec<_> = EVE.iter().filter(|id| **id != "scan").map(|id| (*id).to_owned()).collect();
    expected.extend(["bob", "bob-1", "bob-2", "bob-3", "bob-4", "bob-cover", "bob-visit"].map(str::to_owned));
    expected.sort_unstable();
    assert_eq!(ids, expected);
}

#[test]
fn an_encounter_comes_with_its_patient_and_what_it_refers_to() {
    let server = with_records();
    put(&server, &json!({"resourceType": "Encounter", "id": "empty", "status": "planned", "class": {"code": "AMB"}}));
    let answer = server.get("/Encounter/eve-visit/$everything").expect(200);
    assert_eq!(sorted(&answer), ["doc", "eve", "eve-1", "eve-2", "eve-3", "eve-4", "eve-visit", "room"], "{answer}");
    let mut pages = Vec::new();
    let mut url = Some("/Encounter/eve-visit/$everything?_count=3".to_owned());
    while let Some(page) = url {
        let answer = server.get(&page).expect(200);
        pages.extend(answer.ids());
        url = answer.link("next");
    }
    pages.sort_unstable();
    assert_eq!(pages, sorted(&answer));
    assert_eq!(server.get("/Encounter/empty/$everything").expect(200).ids(), ["empty"]);
    let types = server.get("/Encounter/eve-visit/$everything?_type=Patient,Location").expect(200);
    assert_eq!(sorted(&types), ["eve", "room"]);
    server.get("/Encounter/eve-visit/$everything?start=2020").expect(400).says("start");
}

#[test]
fn what_is_not_understood_is_refused() {
    let server = with_records();
    server.get("/Patient/eve/$everything?since=2020").expect(400).says("since");
    let lenient = server.get("/Patient/eve/$everything?since=2020").header("Prefer", "handling=lenient").expect(200);
    assert_eq!(lenient.ids().len(), EVE.len() + 1, "with an outcome");
    for (query, name) in
        [("start=soon", "start"), ("_since=x", "_since"), ("_count=0", "_count"), ("_type=Patien", "_type")]
    {
        server.get(&format!("/Patient/eve/$everything?{query}")).expect(400).about(name);
    }
    server.get("/Patient/nobody/$everything").expect(404).issue("not-found");
    server.delete("/Patient/bob").expect(204);
    server.get("/Patient/bob/$everything").expect(410).issue("deleted");
    server.get("/Observation/eve-1/$everything").expect(404).issue("not-supported");
}

use crate::support::Server;
use serde_json::json;

const LOINC: &str = "http://loinc.org";

fn with_documents() -> Server {
    let server = Server::start();
    for (id, patient, status, code, date, period) in [
        ("old-ccd", "eve", "current", "34133-9", "2019-01-01T00:00:00Z", None),
        ("new-ccd", "eve", "current", "34133-9", "2020-06-01T00:00:00Z", Some(("2020-01-01", "2020-03-31"))),
        ("replaced", "eve", "superseded", "34133-9", "2021-06-01T00:00:00Z", None),
        ("note", "eve", "current", "11488-4", "2018-05-05T00:00:00Z", None),
        ("bobs", "bob", "current", "34133-9", "2020-01-01T00:00:00Z", None),
    ] {
        let mut document = json!({"resourceType": "DocumentReference", "id": id, "status": status, "date": date,
            "subject": {"reference": format!("Patient/{patient}")}, "type": {"coding": [{"system": LOINC, "code": code}]},
            "content": [{"attachment": {"url": format!("http://example.org/{id}")}}]});
        if let Some((start, end)) = period {
            document["context"] = json!({"period": {"start": start, "end": end}});
        }
        server.put(&format!("/DocumentReference/{id}")).json(document).expect(201);
    }
    server
}

fn ids(server: &Server, query: &str) -> Vec<String> {
    let url = format!("{}/DocumentReference/$docref?{query}", server.base());
    let mut ids = server.get(&url).expect(200).ids();
    ids.sort_unstable();
    ids
}

#[test]
fn without_dates_the_newest_current_document_of_each_type() {
    let server = with_documents();
    assert_eq!(ids(&server, "patient=eve"), ["new-ccd", "note"]);
    assert_eq!(ids(&server, "patient=eve&type=http://loinc.org%7C34133-9"), ["new-ccd"]);
    assert_eq!(ids(&server, "patient=eve&type=34133-9&type=11488-4"), ["new-ccd", "note"]);
    assert_eq!(ids(&server, "patient=Patient/bob"), ["bobs"]);
    assert!(ids(&server, "patient=nobody").is_empty());
}

#[test]
fn with_dates_the_documents_about_care_in_them() {
    let server = with_documents();
    assert_eq!(ids(&server, "patient=eve&start=2018"), ["new-ccd", "note", "old-ccd"]);
    assert_eq!(ids(&server, "patient=eve&end=2019-12-31"), ["note", "old-ccd"]);
    assert_eq!(ids(&server, "patient=eve&start=2020-02-01&end=2020-02-28"), ["new-ccd"]);
    assert!(ids(&server, "patient=eve&start=2020-05-01").is_empty(), "the care that counts was before");
    let mut url = Some("/DocumentReference/$docref?patient=eve&start=2018&_count=1".to_owned());
    let mut found = Vec::new();
    while let Some(page) = url {
        let answer = server.get(&page).expect(200);
        found.extend(answer.ids());
        url = answer.link("next");
    }
    assert_eq!(found, ["old-ccd", "new-ccd", "note"]);
}

#[test]
fn nothing_is_made_on_demand() {
    let server = with_documents();
    let answer = server.get("/DocumentReference/$docref?patient=eve&on-demand=true").expect(200);
    assert_eq!(answer.at("/type"), "searchset");
    assert!(answer.ids().is_empty());
    assert!(ids(&server, "patient=eve&start=2018&on-demand=true").is_empty());
    assert_eq!(ids(&server, "patient=eve&on-demand=false"), ["new-ccd", "note"]);
}

#[test]
fn parameters_come_in_a_body_too() {
    let server = with_documents();
    let body = json!({"resourceType": "Parameters", "parameter": [{"name": "patient", "valueId": "eve"},
        {"name": "type", "valueCoding": {"system": LOINC, "code": "11488-4"}}]});
    assert_eq!(server.post("/DocumentReference/$docref").json(body).expect(200).ids(), ["note"]);
}

#[test]
fn what_is_not_understood_is_refused() {
    let server = with_documents();
    server.get("/DocumentReference/$docref").expect(400).issue("required").about("patient");
    server.get("/DocumentReference/$docref?patient=eve&patient=bob").expect(400).about("patient");
    server.get("/DocumentReference/$docref?patient=eve&start=soon").expect(400).about("start");
    server.get("/DocumentReference/$docref?patient=eve&on-demand=maybe").expect(400).about("on-demand");
    server.get("/DocumentReference/$docref?patient=eve&author=x").expect(400).says("author");
}

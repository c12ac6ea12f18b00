use crate::support::Server;
use serde_json::json;

fn with_people() -> Server {
    let server = Server::start();
    for (id, family, born) in [("ada", "Lovelace", "1815-12-10"), ("grace", "Hopper", "1906-12-09")] {
        let identifier = json!([{"system": "http://example.org/mrn", "value": id}]);
        let name = json!([{"family": family}]);
        let patient =
            json!({"resourceType": "Patient", "id": id, "identifier": identifier, "name": name, "birthDate": born});
        server.put(&format!("/Patient/{id}")).json(patient).expect(201);
    }
    server
}

#[test]
fn parameters_of_each_type_find() {
    let server = with_people();
    let ids = |query: &str| server.get(&format!("/Patient?{query}")).expect(200).ids();
    assert_eq!(ids("family=love"), ["ada"]);
    assert_eq!(ids("identifier=http://example.org/mrn|grace"), ["grace"]);
    assert_eq!(ids("birthdate=lt1900"), ["ada"]);
    assert_eq!(ids("_id=ada,grace&_sort=_id"), ["ada", "grace"]);
    assert!(ids("family=nobody").is_empty());
    let posted = server.post("/Patient/_search").form("family=hopp").expect(200);
    assert_eq!(posted.ids(), ["grace"]);
}

#[test]
fn what_changes_is_found_by_its_new_values_only() {
    let server = with_people();
    let patient = json!({"resourceType": "Patient", "id": "ada", "name": [{"family": "King"}]});
    server.put("/Patient/ada").json(patient).expect(200);
    assert!(server.get("/Patient?family=lovelace").expect(200).ids().is_empty());
    assert_eq!(server.get("/Patient?family=king").expect(200).ids(), ["ada"]);
    server.delete("/Patient/ada").expect(204);
    assert!(server.get("/Patient?family=king").expect(200).ids().is_empty());
}

#[test]
fn unknown_parameters_are_an_error_unless_leniency_is_asked_for() {
    let server = with_people();
    server.get("/Patient?familly=love").expect(400).says("familly");
    let lenient = server.get("/Patient?familly=love&family=love").header("Prefer", "handling=lenient").expect(200);
    assert!(lenient.ids().contains(&"ada".to_owned()), "{lenient}");
    assert!(!lenient.link("self").unwrap_or_default().contains("familly"), "{lenient}");
    server.get("/Patient?birthdate=soon").expect(400).outcome();
}

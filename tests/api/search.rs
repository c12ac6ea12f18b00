use crate::support::Server;
use crate::support::server::is_blind;
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
    assert_eq!(ids("identifier=http:%2F%2Fexample.org%2Fmrn%7Cgrace"), ["grace"]);
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

#[test]
fn words_filters_lists_and_places() {
    let server = Server::with(|config| config.search_content = true);
    let narrative = json!({"status": "generated", "div": "<div xmlns=\"http://www.w3.org/1999/xhtml\">Weaves <b>algebra</b></div>"});
    let ada = json!({"resourceType": "Patient", "id": "ada", "text": narrative, "name": [{"family": "Lovelace"}]});
    server.put("/Patient/ada").json(ada).expect(201);
    let grace = json!({"resourceType": "Patient", "id": "grace", "name": [{"family": "Hopper"}], "gender": "female"});
    server.put("/Patient/grace").json(grace).expect(201);
    let entry = json!([{"item": {"reference": "Patient/ada"}}]);
    let list = json!({"resourceType": "List", "id": "mine", "status": "current", "mode": "working", "entry": entry});
    server.put("/List/mine").json(list).expect(201);
    let position = json!({"latitude": 51.5074, "longitude": -0.1278});
    let london = json!({"resourceType": "Location", "id": "london", "position": position});
    server.put("/Location/london").json(london).expect(201);

    let ids = |query: &str| server.get(query).expect(200).ids();
    assert_eq!(ids("/Patient?_text=algebra"), ["ada"]);
    assert_eq!(ids("/Patient?_content=hopper"), ["grace"]);
    assert_eq!(ids("/Patient?_filter=family%20co%20%22love%22%20or%20gender%20eq%20male"), ["ada"]);
    assert_eq!(ids("/Patient?_list=mine"), ["ada"]);
    assert_eq!(ids("/Location?near=51.5%7C-0.1%7C3%7Ckm"), ["london"]);
    assert!(ids("/Location?near=51.5%7C-0.1%7C1%7Ckm").is_empty());
    assert_eq!(ids("/?_type=Patient,List&_sort=-_id"), ["mine", "grace", "ada"]);
    let ada = json!({"resourceType": "Patient", "id": "ada", "name": [{"family": "King"}]});
    server.put("/Patient/ada").json(ada).expect(200);
    assert!(ids("/Patient?_text=algebra").is_empty());
    server.get("/Patient?_filter=gender%20po%202020").expect(400).says("gender");
    server.get("/Patient?_list=$current-problems").expect(400).says("_list");
}

#[test]
fn content_is_searched_only_where_it_is_turned_on() {
    let server = with_people();
    server.get("/Patient?_content=hopper").expect(400).says("search_content");
    let lists = |server: &Server, name: &str| {
        server.get("/metadata").expect(200).json().to_string().contains(&format!("\"{name}\""))
    };
    assert!(lists(&server, "_text") && lists(&server, "near") && !lists(&server, "_content"));
    assert!(lists(&Server::with(|config| config.search_content = true), "_content"));
}

#[test]
fn a_search_explains_itself() {
    let server = with_people();
    let answer = server.get("/Patient?family=hopp&birthdate=gt1900&_explain=true").expect(200);
    let outcome = answer.resources().into_iter().find(|it| it["resourceType"] == "OperationOutcome").unwrap();
    let criteria = if is_blind() { "family (hidden) and birthdate (hidden)" } else { "family and birthdate" };
    assert!(outcome.to_string().contains(criteria), "{outcome}");
    assert!(!outcome.to_string().contains("hopp"), "{outcome}");
    assert_eq!(answer.json()["total"], 1);
}

//! `_contained` and `_containedType`: <https://hl7.org/fhir/R4/search.html#contained>; chains into contained resources; what
//! Bundles begin with.

use crate::support::{Answer, Server};
use serde_json::{Value, json};

/// MedicationRequest/23 with a contained Medication, and a Medication of its own.
fn store() -> Server {
    let server = Server::start();
    let medication = |id: &str| {
        let ingredient = json!([{"itemCodeableConcept": {"coding": [{"code": "abc"}]}}]);
        json!({"resourceType": "Medication", "id": id, "ingredient": ingredient, "form": {"text": "tablet"}})
    };
    let request = json!({
        "resourceType": "MedicationRequest", "id": "23", "status": "active", "intent": "order",
        "contained": [medication("m1")], "subject": {"reference": "Patient/x"}, "medicationReference": {"reference": "#m1"}
    });
    server.put("/MedicationRequest/23").json(request).expect(201);
    server.put("/Medication/own").json(medication("own")).expect(201);
    server
}

fn entry(answer: &Answer, position: usize) -> Value {
    answer.at(&format!("/entry/{position}"))
}

#[test]
fn containers_or_what_they_contain_are_answered() {
    let server = store();
    let search = |rest: &str| server.get(&format!("/Medication?ingredient-code=abc{rest}")).expect(200);
    assert_eq!(search("").ids(), ["own"]);
    assert_eq!(search("&_contained=false").ids(), ["own"]);

    let containers = search("&_contained=true");
    assert_eq!((containers.ids(), containers.at("/total")), (vec!["23".into()], json!(1)));
    assert_eq!(entry(&containers, 0)["fullUrl"], format!("{}/MedicationRequest/23", server.base()));
    assert_eq!(entry(&containers, 0)["search"]["mode"], "match");

    let contained = search("&_contained=true&_containedType=contained");
    assert_eq!((contained.ids(), contained.at("/total")), (vec!["m1".into()], json!(1)));
    assert_eq!(entry(&contained, 0)["fullUrl"], format!("{}/MedicationRequest/23#m1", server.base()));
    assert_eq!(entry(&contained, 0)["resource"]["resourceType"], "Medication");
    assert_eq!(entry(&contained, 0)["resource"]["form"]["text"], "tablet");

    let both = search("&_contained=both&_containedType=contained&_elements=ingredient");
    assert_eq!(both.ids(), ["own", "m1"]);
    for position in [0, 1] {
        let resource = &entry(&both, position)["resource"];
        assert_eq!(resource["meta"]["tag"][0]["code"], "SUBSETTED", "{resource}");
        assert!(resource.get("form").is_none(), "{resource}");
    }
    assert_eq!(search("&_contained=both&_summary=count").at("/total"), 2);
    assert_eq!(server.post("/Medication/_search").form("_contained=true&form:text=tab").expect(200).ids(), ["23"]);
}

#[test]
fn pages_of_contained_resources_lead_forward_and_back() {
    let server = store();
    for number in 0..5 {
        let contained: Vec<_> =
            ["a", "b"].map(|id| json!({"resourceType": "Medication", "id": id, "status": "active"})).into();
        let request = json!({
            "resourceType": "MedicationRequest", "id": format!("r{number}"), "status": "active", "intent": "order",
            "contained": contained, "subject": {"reference": "Patient/x"}, "medicationReference": {"reference": "#a"},
            "supportingInformation": [{"reference": "#b"}]
        });
        server.put(&format!("/MedicationRequest/r{number}")).json(request).expect(201);
    }
    for sort in ["", "&_sort=status", "&_sort=-_id", "&_sort=_lastUpdated"] {
        let first = format!("/Medication?status=active&_contained=true&_containedType=contained&_count=3{sort}");
        let mut pages = vec![server.get(&first).expect(200)];
        while let Some(next) = pages.last().unwrap().link("next") {
            pages.push(server.get(&next).expect(200));
        }
        let urls =
            |answer: &Answer| (0..answer.ids().len()).map(|n| entry(answer, n)["fullUrl"].clone()).collect::<Vec<_>>();
        let mut all: Vec<_> = pages.iter().flat_map(&urls).map(|url| url.to_string()).collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 10, "{sort}");
        for pair in pages.windows(2).rev() {
            let back = server.get(&pair[1].link("prev").unwrap()).expect(200);
            assert_eq!(urls(&back), urls(&pair[0]), "{sort}");
        }
    }
}

#[test]
fn chains_are_evaluated_in_contained_resources() {
    let server = store();
    let ids = |query: &str| server.get(query).expect(200).ids();
    assert_eq!(ids("/MedicationRequest?medication.ingredient-code=abc"), ["23"]);
    assert!(ids("/MedicationRequest?medication.ingredient-code=abd").is_empty());
    // A change of what is contained is found, and what it was before is not.
    let contained = json!([{"resourceType": "Medication", "id": "m1", "ingredient": [{"itemCodeableConcept": {"coding": [{"code": "abd"}]}}]}]);
    let request = json!({
        "resourceType": "MedicationRequest", "id": "23", "status": "active", "intent": "order", "contained": contained,
        "subject": {"reference": "Patient/x"}, "medicationReference": {"reference": "#m1"}
    });
    server.put("/MedicationRequest/23").json(request).expect(200);
    assert_eq!(ids("/MedicationRequest?medication.ingredient-code=abd"), ["23"]);
    assert!(ids("/Medication?ingredient-code=abc&_contained=true").is_empty());
    server.delete("/MedicationRequest?medication.ingredient-code=abd").expect(204);
    assert!(ids("/MedicationRequest").is_empty());
}

#[test]
fn what_contained_can_not_mean_is_refused() {
    let server = store();
    server.get("/Medication?_contained=maybe").expect(400).says("`_contained`");
    server.get("/Medication?_containedType=all").expect(400).says("`_containedType`");
    server.get("/Medication?_contained=true&_sort=form").expect(400).says("`_sort`");
    server.delete("/Medication?_contained=true&form:text=tab").expect(400).says("`_contained`");
    server.get("/Observation/$lastn?patient=x&code=y&_contained=true").expect(400).says("`_contained`");
}

#[test]
fn documents_are_found_by_their_composition_and_messages_by_their_header() {
    let server = Server::start();
    let composition = json!({
        "resourceType": "Composition", "id": "c", "status": "final", "type": {"coding": [{"code": "letter"}]},
        "subject": {"reference": "Patient/ada"}, "date": "2020-05-01", "author": [{"display": "x"}], "title": "Letter"
    });
    let document = json!({
        "resourceType": "Bundle", "id": "doc", "type": "document", "timestamp": "2020-05-01T00:00:00Z",
        "identifier": {"system": "urn:x", "value": "1"},
        "entry": [{"fullUrl": "http://example.org/fhir/Composition/c", "resource": composition}]
    });
    server.put("/Bundle/doc").json(document).expect(201);
    let header = json!({
        "resourceType": "MessageHeader", "id": "h", "eventCoding": {"system": "urn:e", "code": "admit"},
        "source": {"endpoint": "http://example.org"}
    });
    let message = json!({
        "resourceType": "Bundle", "id": "msg", "type": "message",
        "entry": [{"fullUrl": "http://example.org/fhir/MessageHeader/h", "resource": header}]
    });
    server.put("/Bundle/msg").json(message).expect(201);
    server
        .put("/Patient/ada")
        .json(json!({"resourceType": "Patient", "id": "ada", "name": [{"family": "King"}]}))
        .expect(201);
    let ids = |query: &str| server.get(query).expect(200).ids();
    assert_eq!(ids("/Bundle?composition=Composition/c"), ["doc"]);
    assert_eq!(ids("/Bundle?composition.patient=Patient/ada&composition.type=letter"), ["doc"]);
    assert_eq!(ids("/Bundle?composition.patient.name=king"), ["doc"]);
    assert_eq!(ids("/Bundle?message.event=admit"), ["msg"]);
    assert!(ids("/Bundle?composition.type=report").is_empty() && ids("/Bundle?message=MessageHeader/x").is_empty());
}

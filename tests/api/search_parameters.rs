//! Search parameters that a tenant adds.

use crate::support::{Answer, Server};
use serde_json::{Value, json};

/// A SearchParameter on Patient, by the colour that an extension holds.
fn colour(id: &str, expression: &str) -> Value {
    json!({
        "resourceType": "SearchParameter", "id": id, "url": format!("http://example.org/SearchParameter/{id}"),
        "name": "Colour", "status": "active", "description": "By colour.", "code": "colour", "base": ["Patient"],
        "type": "token", "expression": expression
    })
}

const EXPRESSION: &str = "Patient.extension.where(url = 'http://example.org/colour').value";

fn patient(id: &str, colour: &str) -> Value {
    let extension = json!([{"url": "http://example.org/colour", "valueCode": colour}]);
    json!({"resourceType": "Patient", "id": id, "extension": extension})
}

/// The ids of the matches, and whether the answer warns that some may be missing.
fn matches(answer: &Answer) -> (Vec<String>, bool) {
    let entries = answer.at("/entry").as_array().cloned().unwrap_or_default();
    let of_mode = |mode: &str| entries.iter().filter(|entry| entry["search"]["mode"] == mode).collect::<Vec<_>>();
    let ids = of_mode("match").iter().map(|entry| entry["resource"]["id"].as_str().unwrap().to_owned()).collect();
    let outcomes = of_mode("outcome");
    let warns = |outcome: &&Value| outcome.to_string().contains("$reindex");
    (ids, outcomes.iter().any(warns))
}

#[test]
fn a_new_parameter_takes_effect_at_once_and_says_what_it_does_not_know() {
    let server = Server::start();
    server.put("/Patient/old").json(patient("old", "red")).expect(201);
    server.get("/Patient?colour=red").expect(400).says("colour");

    server.put("/SearchParameter/colour").json(colour("colour", EXPRESSION)).expect(201);
    server.put("/Patient/new").json(patient("new", "red")).expect(201);
    server.put("/Patient/blue").json(patient("blue", "blue")).expect(201);
    assert_eq!(matches(&server.get("/Patient?colour=red").expect(200)), (vec!["new".into()], true));
    let statement = server.get("/metadata").expect(200).text().to_owned();
    assert!(statement.contains("http://example.org/SearchParameter/colour"));

    // Once every resource has been written anew, nothing can be missing.
    server.put("/Patient/old").json(patient("old", "blue")).expect(200);
    assert_eq!(matches(&server.get("/Patient?colour=red").expect(200)), (vec!["new".into()], false));
    assert_eq!(
        matches(&server.get("/Patient?colour=blue&_sort=_id").expect(200)),
        (vec!["blue".into(), "old".into()], false)
    );

    server.delete("/SearchParameter/colour").expect(204);
    server.get("/Patient?colour=red").expect(400).says("colour");
    assert!(!server.get("/metadata").expect(200).text().contains("http://example.org/SearchParameter/colour"));
}

#[test]
fn a_parameter_on_an_empty_type_is_whole_from_the_start() {
    let server = Server::start();
    server.put("/SearchParameter/colour").json(colour("colour", EXPRESSION)).expect(201);
    server.put("/Patient/a").json(patient("a", "red")).expect(201);
    assert_eq!(matches(&server.get("/Patient?colour=red").expect(200)), (vec!["a".into()], false));
    let chained = server.get("/Observation?subject:Patient.colour=red").expect(200);
    assert_eq!(matches(&chained), (vec![], false));
}

#[test]
fn what_can_not_take_effect_is_refused_with_the_reason() {
    let server = Server::start();
    let put = |change: &dyn Fn(&mut Value)| {
        let mut parameter = colour("colour", EXPRESSION);
        change(&mut parameter);
        server.put("/SearchParameter/colour").json(parameter).send()
    };
    let refused = |change: &dyn Fn(&mut Value), element: &str| {
        put(change).status_is(422).issue("business-rule").about(element);
    };
    refused(&|parameter| parameter["expression"] = json!("Patient.extension.where("), "SearchParameter.expression");
    refused(&|parameter| parameter["expression"] = json!("Patient.colour"), "SearchParameter.expression");
    refused(&|parameter| parameter["expression"] = json!("Person.name"), "SearchParameter.expression");
    refused(&|parameter| drop(parameter.as_object_mut().unwrap().remove("expression")), "SearchParameter.expression");
    refused(&|parameter| parameter["type"] = json!("special"), "SearchParameter.type");
    refused(&|parameter| parameter["code"] = json!("gender"), "SearchParameter.code");
    refused(&|parameter| parameter["code"] = json!("colour:x"), "SearchParameter.code");
    refused(&|parameter| parameter["type"] = json!("composite"), "SearchParameter.component");
    put(&|parameter| {
        parameter["expression"] = json!("Patient.colour");
        parameter["status"] = json!("retired");
    })
    .status_is(201);
    server.get("/Patient?colour=red").expect(400);
    put(&|parameter| {
        parameter["code"] = json!("gender");
        parameter["derivedFrom"] = json!("http://hl7.org/fhir/SearchParameter/individual-gender");
    })
    .status_is(200);
}

#[test]
fn official_parameters_with_odd_expressions_are_answered() {
    let server = Server::start();
    let first = |kind: &str, resource: Value| {
        let entry = json!({"fullUrl": "urn:uuid:8b9f3a52-2f3c-4a5b-9f5e-0d6d0a2a7d5b", "resource": resource});
        json!({"resourceType": "Bundle", "id": kind, "type": kind, "timestamp": "2020-01-01T00:00:00Z", "entry": [entry],
            "identifier": {"system": "urn:ietf:rfc:3986", "value": "urn:uuid:0c3201bd-1cbf-4d64-b04d-cd9187a4c6e0"}})
    };
    let composition = json!({"resourceType": "Composition", "id": "c", "status": "final", "type": {"text": "t"},
        "date": "2020", "author": [{"display": "a"}], "title": "t"});
    let header =
        json!({"resourceType": "MessageHeader", "id": "m", "eventUri": "urn:e", "source": {"endpoint": "urn:s"}});
    server.put("/Bundle/document").json(first("document", composition)).expect(201);
    server.put("/Bundle/message").json(first("message", header)).expect(201);
    assert_eq!(server.get("/Bundle?composition=Composition/c").expect(200).ids(), ["document"]);
    assert_eq!(server.get("/Bundle?message=MessageHeader/m").expect(200).ids(), ["message"]);
    assert_eq!(server.get("/Bundle?composition:missing=true").expect(200).ids(), ["message"]);

    let maiden = json!([{"url": "http://hl7.org/fhir/StructureDefinition/patient-mothersMaidenName", "valueString": "Sörensen"}]);
    server.put("/Patient/p").json(json!({"resourceType": "Patient", "id": "p", "extension": maiden})).expect(201);
    assert_eq!(server.get("/Patient?mothersMaidenName=soren").expect(200).ids(), ["p"]);
}

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
fn one_that_is_for_all_types_is_not_known_of_audit_events() {
    let server = Server::with(|config| config.audit.enabled = Some(true));
    let language = json!({
        "resourceType": "SearchParameter", "id": "tongue", "url": "http://example.org/SearchParameter/tongue", "name": "Tongue",
        "status": "active", "description": "By language.", "code": "tongue", "base": ["Resource"], "type": "token",
        "expression": "Resource.language"
    });
    server.put("/SearchParameter/tongue").json(language).expect(201);
    server.put("/Patient/a").json(json!({"resourceType": "Patient", "id": "a", "language": "de"})).expect(201);
    assert_eq!(matches(&server.get("/Patient?tongue=de").expect(200)).0, ["a"]);
    server.get("/AuditEvent?tongue=de").expect(400).says("tongue");
    let dropped = server.get("/AuditEvent?tongue=de").header("Prefer", "handling=lenient").expect(200);
    assert!(dropped.at("/entry").to_string().contains("tongue"), "{dropped}");
    let resources = server.get("/metadata").expect(200).at("/rest/0/resource");
    let of = |name: &str| resources.as_array().unwrap().iter().find(|own| own["type"] == name).unwrap().to_string();
    assert!(of("Patient").contains("SearchParameter/tongue") && !of("AuditEvent").contains("SearchParameter/tongue"));
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
fn a_type_has_each_code_once() {
    let server = Server::start();
    server.put("/SearchParameter/colour").json(colour("colour", EXPRESSION)).expect(201);
    let clash = |id: &str| server.put(&format!("/SearchParameter/{id}")).json(colour(id, EXPRESSION)).send();
    clash("b-colour")
        .status_is(422)
        .issue("business-rule")
        .about("SearchParameter.code")
        .says("SearchParameter/colour");
    clash("a-colour").status_is(422).says("for Patient");
    // The same one can be changed, one for another type is welcome, and so is another once the first has gone.
    clash("colour").status_is(200);
    let mut of_people = colour("people", "Person.extension.where(url = 'http://example.org/colour').value");
    of_people["base"] = json!(["Person"]);
    server.put("/SearchParameter/people").json(of_people).expect(201);
    let mut retired = colour("colour", EXPRESSION);
    retired["status"] = json!("retired");
    server.put("/SearchParameter/colour").json(retired).expect(200);
    clash("a-colour").status_is(201);
    // Nor can one transaction bring two.
    let entry = |id: &str| json!({"request": {"method": "PUT", "url": format!("SearchParameter/{id}")}, "resource": colour(id, EXPRESSION)});
    let bundle = |ids: &[&str]| json!({"resourceType": "Bundle", "type": "transaction", "entry": ids.iter().map(|id| entry(id)).collect::<Vec<_>>()});
    server.delete("/SearchParameter/a-colour").expect(204);
    server.post("").json(bundle(&["x", "y"])).expect(422).about("SearchParameter.code");
    server.post("").json(bundle(&["x"])).expect(200);
}

#[test]
fn of_two_that_come_at_once_one_is_stored() {
    let server = Server::start();
    let client = &*server;
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let put = |number: usize| {
            scope.spawn(move || {
                let id = format!("p{number}");
                client.put(&format!("/SearchParameter/{id}")).json(colour(&id, EXPRESSION)).send().status()
            })
        };
        (0..8).map(put).collect::<Vec<_>>().into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 1, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 422).count(), 7, "{statuses:?}");
}

#[test]
fn lastn_says_what_a_new_parameter_does_not_know() {
    let server = Server::start();
    let observation = |id: &str| {
        let extension = json!([{"url": "http://example.org/colour", "valueCode": "red"}]);
        json!({
            "resourceType": "Observation", "id": id, "status": "final", "subject": {"reference": "Patient/p"},
            "code": {"coding": [{"code": id}]}, "category": [{"coding": [{"code": "x"}]}], "extension": extension
        })
    };
    server.put("/Observation/old").json(observation("old")).expect(201);
    let mut parameter = colour("colour", "Observation.extension.where(url = 'http://example.org/colour').value");
    parameter["base"] = json!(["Observation"]);
    server.put("/SearchParameter/colour").json(parameter).expect(201);
    server.put("/Observation/new").json(observation("new")).expect(201);
    let query = "/Observation/$lastn?patient=p&category=x&colour=red";
    assert_eq!(matches(&server.get(query).expect(200)), (vec!["new".into()], true));
    server.put("/Observation/old").json(observation("old")).expect(200);
    assert_eq!(matches(&server.get(query).expect(200)), (vec!["new".into(), "old".into()], false));
}

#[test]
fn the_capability_statement_lists_what_they_bring() {
    let server = Server::start();
    let mut friend =
        colour("friend", "Patient.extension.where(url = 'http://example.org/friend').value.ofType(Reference)");
    friend["code"] = json!("friend");
    friend["type"] = json!("reference");
    friend["target"] = json!(["Practitioner"]);
    server.put("/SearchParameter/friend").json(friend).expect(201);
    let statement = server.get("/metadata").expect(200).json();
    let rest = &statement["rest"][0];
    let of_type =
        |name: &str| rest["resource"].as_array().unwrap().iter().find(|it| it["type"] == name).unwrap().clone();
    let lists =
        |resource: &Value, member: &str| resource[member].as_array().unwrap().contains(&json!("Patient:friend"));
    assert!(lists(&of_type("Patient"), "searchInclude"));
    assert!(lists(&of_type("Practitioner"), "searchRevInclude"));
    assert!(!lists(&of_type("Organization"), "searchRevInclude"));
    let operations: Vec<_> = rest["operation"].as_array().unwrap().iter().map(|it| it["name"].clone()).collect();
    assert!(operations.contains(&json!("reindex")), "{operations:?}");
    assert!(
        rest["compartment"].as_array().unwrap().contains(&json!("http://hl7.org/fhir/CompartmentDefinition/patient"))
    );

    let extension = json!([{"url": "http://example.org/friend", "valueReference": {"reference": "Practitioner/d"}}]);
    server.put("/Patient/p").json(json!({"resourceType": "Patient", "id": "p", "extension": extension})).expect(201);
    server.put("/Practitioner/d").json(json!({"resourceType": "Practitioner", "id": "d"})).expect(201);
    assert_eq!(server.get("/Practitioner?_revinclude=Patient:friend").expect(200).ids(), ["d", "p"]);
    assert_eq!(server.get("/Patient?_include=Patient:friend").expect(200).ids(), ["p", "d"]);
    assert_eq!(server.get("/Patient?friend=Practitioner/d").expect(200).ids(), ["p"]);
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

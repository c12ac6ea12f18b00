//! The table of modifiers and types of <https://hl7.org/fhir/R4/search.html#modifiers>, cell by cell, and that of prefixes.

use crate::support::Server;
use crate::support::server::is_blind;
use serde_json::{Value, json};

/// The types: what each is tried with.
const TYPES: [(&str, &str, &str); 9] = [
    ("number", "RiskAssessment", "probability"),
    ("date", "Observation", "date"),
    ("string", "Patient", "family"),
    ("token", "Observation", "code"),
    ("reference", "Observation", "subject"),
    ("composite", "Observation", "code-value-quantity"),
    ("quantity", "Observation", "value-quantity"),
    ("uri", "ValueSet", "url"),
    ("special", "Location", "near"),
];

const MODIFIERS: [&str; 12] = [
    "missing",
    "exact",
    "contains",
    "not",
    "text",
    "in",
    "not-in",
    "below",
    "above",
    "of-type",
    "identifier",
    "Patient",
];

/// The cells that exist: type, modifier, and the values that find the resource of [`store`] and that do not. Where another
/// parameter shows it better, it is named before the values.
const ALLOWED: [(&str, &str, &str, &str); 25] = [
    ("number", "missing", "false", "true"),
    ("date", "missing", "false", "true"),
    ("string", "missing", "false", "true"),
    ("token", "missing", "false", "true"),
    ("reference", "missing", "false", "true"),
    ("quantity", "missing", "false", "true"),
    ("uri", "missing", "false", "true"),
    ("special", "missing", "false", "true"),
    ("string", "exact", "Lovelace", "lovelace"),
    ("string", "contains", "ELAC", "elax"),
    ("token", "not", "final", "29463-7"),
    ("token", "text", "body w", "height"),
    ("token", "in", "http://example.org/ValueSet/weights", "http://example.org/ValueSet/none"),
    ("token", "not-in", "http://example.org/ValueSet/none", "http://example.org/ValueSet/weights"),
    ("token", "below", "http://example.org/codes|measure", "http://example.org/codes|other"),
    ("token", "above", "http://example.org/codes|kilos", "http://example.org/codes|measure"),
    ("token", "of-type", "http://example.org/kinds|MR|12", "http://example.org/kinds|MR|13"),
    ("reference", "text", "ada l", "grace"),
    ("reference", "identifier", "http://example.org/mrn|12", "http://example.org/mrn|13"),
    ("reference", "Patient", "ada", "grace"),
    ("reference", "below", "Location/house", "Location/bed"),
    ("reference", "above", "Location/bed", "Location/house"),
    ("uri", "below", "http://example.org/ValueSet/", "http://example.org/ValueSet/weights/more"),
    ("uri", "above", "http://example.org/ValueSet/weights/more", "http://example.org/ValueSet/"),
    ("uri", "above", "http://example.org/ValueSet/weights", "http://example.org"),
];

fn put(server: &Server, resource: impl std::borrow::Borrow<Value>) {
    let resource = resource.borrow();
    let (name, id) = (resource["resourceType"].as_str().unwrap(), resource["id"].as_str().unwrap());
    server.put(&format!("/{name}/{id}")).json(resource).expect(201);
}

/// One resource of each type that is asked for, and what they rest on.
fn store(server: &Server) {
    let kind = json!({"coding": [{"system": "http://example.org/kinds", "code": "MR"}]});
    let identifier = json!({"system": "http://example.org/mrn", "value": "12", "type": kind});
    put(
        server,
        json!({"resourceType": "Patient", "id": "ada", "name": [{"family": "Lovelace"}], "identifier": [identifier]}),
    );
    let subject = json!({"reference": "Patient/ada", "display": "Ada Lovelace", "identifier": identifier});
    let codings = json!([
        {"system": "http://loinc.org", "code": "29463-7", "display": "Body weight"},
        {"system": "http://example.org/codes", "code": "weight"}
    ]);
    put(
        server,
        json!({
            "resourceType": "Observation", "id": "weight", "status": "final", "subject": subject,
            "code": {"coding": codings}, "identifier": [identifier], "effectiveDateTime": "2020-05-10",
            "valueQuantity": {"value": 72.5, "unit": "kg", "system": "http://unitsofmeasure.org", "code": "kg"}
        }),
    );
    put(
        server,
        json!({
            "resourceType": "RiskAssessment", "id": "risk", "status": "final", "subject": {"reference": "Patient/ada"},
            "prediction": [{"probabilityDecimal": 0.5}]
        }),
    );
    put(
        server,
        json!({
            "resourceType": "CodeSystem", "id": "codes", "url": "http://example.org/codes", "status": "active",
            "content": "complete", "concept": [
                {"code": "measure", "concept": [{"code": "weight", "concept": [{"code": "kilos"}]}]}, {"code": "other"}]
        }),
    );
    let set = |id: &str, include: Value| {
        let url = format!("http://example.org/ValueSet/{id}");
        json!({"resourceType": "ValueSet", "id": id, "url": url, "version": "1.0", "status": "active", "compose": {"include": include}})
    };
    let filter = json!([{"property": "concept", "op": "is-a", "value": "weight"}]);
    put(server, set("weights", json!([{"system": "http://example.org/codes", "filter": filter}])));
    put(server, set("none", json!([{"system": "http://example.org/codes", "concept": [{"code": "other"}]}])));
    let place = |id: &str, part_of: Option<&str>| {
        let mut place = json!({"resourceType": "Location", "id": id});
        if let Some(whole) = part_of {
            place["partOf"] = json!({"reference": format!("Location/{whole}")});
        } else {
            place["position"] = json!({"latitude": 1, "longitude": 1});
        }
        place
    };
    put(server, place("house", None));
    put(server, place("ward", Some("house")));
    put(server, place("bed", Some("ward")));
    put(
        server,
        json!({
            "resourceType": "Encounter", "id": "visit", "status": "finished", "class": {"code": "IMP"},
            "location": [{"location": {"reference": "Location/ward"}}]
        }),
    );
}

/// Where a cell is shown by another parameter than its type's.
fn asked(kind: &str, modifier: &str) -> (&'static str, &'static str, &'static str) {
    let (_, type_name, code) = TYPES.into_iter().find(|(name, ..)| *name == kind).unwrap();
    match (kind, modifier) {
        ("reference", "below" | "above") => ("Encounter", "location", "visit"),
        ("token", "of-type") => (type_name, "identifier", "weight"),
        ("uri", _) => (type_name, code, "weights"),
        ("number", _) => (type_name, code, "risk"),
        ("string", _) => (type_name, code, "ada"),
        ("special", _) => (type_name, code, "house"),
        _ => (type_name, code, "weight"),
    }
}

fn escaped(value: &str) -> String {
    value.replace('|', "%7C").replace(' ', "%20").replace('#', "%23")
}

#[test]
fn every_cell_of_the_table_of_modifiers() {
    let server = Server::start();
    store(&server);
    let mut wrong = Vec::new();
    for (kind, modifier, matching, other) in ALLOWED {
        let (type_name, code, id) = asked(kind, modifier);
        for (value, is_expected) in [(matching, true), (other, false)] {
            let query = format!("/{type_name}?{code}:{modifier}={}", escaped(value));
            let answer = server.get(&query).send();
            if is_blind() && query.contains("family:contains") {
                answer.status_is(400).says("`family`");
                continue;
            }
            if answer.status() != 200 || answer.ids().contains(&id.to_owned()) != is_expected {
                wrong.push(format!("{query}: {answer}"));
            }
        }
    }
    let mut forbidden = 0;
    for (kind, type_name, code) in TYPES {
        let is_allowed = |modifier: &&str| ALLOWED.iter().any(|(own, name, ..)| *own == kind && name == modifier);
        for modifier in MODIFIERS.into_iter().filter(|modifier| !is_allowed(modifier)) {
            forbidden += 1;
            let value = if modifier == "missing" { "true" } else { "1" };
            let query = format!("/{type_name}?{code}:{modifier}={value}");
            let answer = server.get(&query).send();
            if answer.status() != 400 || !answer.outcome().diagnostics()[0].contains(&format!("`{code}")) {
                wrong.push(format!("{query}: {answer}"));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
    assert_eq!(forbidden + ALLOWED.len() - 1, TYPES.len() * MODIFIERS.len());
}

#[test]
fn every_prefix_with_every_type_that_has_them() {
    let server = Server::start();
    store(&server);
    let cases = [
        ("RiskAssessment?probability", "eq", "0.5", "0.6"),
        ("RiskAssessment?probability", "ne", "0.6", "0.5"),
        ("RiskAssessment?probability", "gt", "0.4", "0.5"),
        ("RiskAssessment?probability", "lt", "0.6", "0.5"),
        ("RiskAssessment?probability", "ge", "0.5", "0.51"),
        ("RiskAssessment?probability", "le", "0.5", "0.49"),
        ("RiskAssessment?probability", "sa", "0.4", "0.5"),
        ("RiskAssessment?probability", "eb", "0.6", "0.5"),
        ("RiskAssessment?probability", "ap", "0.52", "0.7"),
        ("Observation?date", "eq", "2020-05", "2020-06"),
        ("Observation?date", "ne", "2020-06", "2020-05"),
        ("Observation?date", "gt", "2020-05-09", "2020-05-10"),
        ("Observation?date", "lt", "2020-05-11", "2020-05-10"),
        ("Observation?date", "ge", "2020-05-10", "2020-05-11"),
        ("Observation?date", "le", "2020-05-10", "2020-05-09"),
        ("Observation?date", "sa", "2020-05-09", "2020-05-10"),
        ("Observation?date", "eb", "2020-05-11", "2020-05-10"),
        ("Observation?date", "ap", "2020-03-01", "2018-03-01"),
        ("Observation?value-quantity", "eq", "72.5|http://unitsofmeasure.org|kg", "72.5|http://unitsofmeasure.org|lb"),
        ("Observation?value-quantity", "ne", "72|http://unitsofmeasure.org|kg", "72.5|http://unitsofmeasure.org|kg"),
        ("Observation?value-quantity", "gt", "72400|http://unitsofmeasure.org|g", "72500|http://unitsofmeasure.org|g"),
        ("Observation?value-quantity", "lt", "73", "72.5"),
        ("Observation?value-quantity", "ge", "72.5||kg", "72.6||kg"),
        ("Observation?value-quantity", "le", "72.5||kg", "72.4||kg"),
        ("Observation?value-quantity", "sa", "72", "72.5"),
        ("Observation?value-quantity", "eb", "73", "72.5"),
        ("Observation?value-quantity", "ap", "75", "90"),
    ];
    let mut wrong = Vec::new();
    for (asked, prefix, matching, other) in cases {
        for (value, expected) in [(matching, 1), (other, 0)] {
            let query = format!("/{asked}={prefix}{}", escaped(value));
            let answer = server.get(&query).send();
            if answer.status() != 200 || answer.ids().len() != expected {
                wrong.push(format!("{query}: {answer}"));
            }
        }
    }
    for asked in ["RiskAssessment?probability", "Observation?date", "Observation?value-quantity"] {
        let answer = server.get(&format!("/{asked}=xx5")).expect(400);
        assert!(answer.outcome().diagnostics()[0].contains(asked.split('?').next_back().unwrap()), "{answer}");
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn value_sets_are_stored_or_built_in_and_what_they_consist_of_must_be_known() {
    let server = Server::start();
    store(&server);
    let ids = |query: &str| server.get(query).expect(200).ids();
    assert_eq!(ids("/Observation?code:in=ValueSet/weights"), ["weight"]);
    assert_eq!(ids("/Observation?code:in=http://example.org/ValueSet/weights%7C1.0"), ["weight"]);
    assert_eq!(ids("/Observation?status:in=http://hl7.org/fhir/ValueSet/observation-status"), ["weight"]);
    assert!(ids("/Observation?status:not-in=http://hl7.org/fhir/ValueSet/observation-status").is_empty());
    // The official hierarchy of a code system that is built in: INT stands below ACT's other codes.
    put(
        &server,
        json!({
            "resourceType": "Encounter", "id": "inside", "status": "finished",
            "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "ACUTE"}
        }),
    );
    let system = "http://terminology.hl7.org/CodeSystem/v3-ActCode";
    assert_eq!(ids(&format!("/Encounter?class:below={system}%7CIMP")), ["inside"]);
    assert!(ids(&format!("/Encounter?class:below={system}%7CAMB")).is_empty());
    assert_eq!(ids(&format!("/Encounter?class:above={system}%7CACUTE")), ["inside"]);

    let includes = [
        ("import", json!([{"valueSet": ["http://example.org/ValueSet/weights"]}]), 200),
        ("listed", json!([{"system": "http://loinc.org", "concept": [{"code": "29463-7"}]}]), 200),
        ("itself", json!([{"valueSet": ["http://example.org/ValueSet/itself"]}]), 400),
        ("loinc", json!([{"system": "http://loinc.org"}]), 400),
        (
            "regex",
            json!([{"system": "http://example.org/codes", "filter": [{"property": "concept", "op": "regex", "value": "w.*"}]}]),
            400,
        ),
    ];
    for (id, include, status) in includes {
        let url = format!("http://example.org/ValueSet/{id}");
        put(
            &server,
            json!({"resourceType": "ValueSet", "id": id, "url": url, "status": "active", "compose": {"include": include}}),
        );
        let answer = server.get(&format!("/Observation?code:in={url}")).expect(status);
        if status == 200 {
            assert_eq!(answer.ids(), ["weight"], "{id}");
        } else {
            answer.says("`code:in`");
        }
    }
    server
        .get("/Observation?code:in=http://example.org/ValueSet/unknown")
        .expect(400)
        .says("`code:in`")
        .issue("not-found");
    server.get("/Observation?code:below=http://example.org/codes%7Cunknown").expect(400).says("`code:below`");
    server.get("/Observation?code:below=http://example.org/unknown%7Cx").expect(400).says("`code:below`");
    // A change of the value set is seen at once.
    let url = "http://example.org/ValueSet/none";
    let include = json!([{"system": "http://loinc.org", "concept": [{"code": "29463-7"}]}]);
    let changed = json!({"resourceType": "ValueSet", "id": "none", "url": url, "status": "active", "compose": {"include": include}});
    server.put("/ValueSet/none").json(changed).expect(200);
    assert_eq!(ids(&format!("/Observation?code:in={url}")), ["weight"]);
}

#[test]
fn canonical_urls_have_versions() {
    let server = Server::start();
    for (id, version) in [("one", "1.0"), ("two", "2.1.0"), ("twenty", "20")] {
        let url = "http://example.org/ValueSet/v";
        put(&server, json!({"resourceType": "ValueSet", "id": id, "url": url, "version": version, "status": "active"}));
        let plan = format!("http://example.org/Plan|{version}");
        let plan = json!({"resourceType": "CarePlan", "id": id, "status": "active", "intent": "plan", "subject": {"reference": "Patient/x"}, "instantiatesCanonical": [plan]});
        put(&server, plan);
    }
    let ids = |query: &str| server.get(&escaped(query)).expect(200).ids();
    assert_eq!(ids("/ValueSet?url=http://example.org/ValueSet/v"), ["one", "two", "twenty"]);
    assert_eq!(ids("/ValueSet?url=http://example.org/ValueSet/v|2.1.0"), ["two"]);
    assert_eq!(
        ids("/ValueSet?url=http://example.org/ValueSet/v|1.0,http://example.org/ValueSet/v|20"),
        ["one", "twenty"]
    );
    assert_eq!(ids("/CarePlan?instantiates-canonical=http://example.org/Plan|1.0"), ["one"]);
    assert_eq!(ids("/CarePlan?instantiates-canonical:below=http://example.org/Plan|2"), ["two"]);
    assert_eq!(ids("/CarePlan?instantiates-canonical:below=http://example.org/Plan|20"), ["twenty"]);
    assert_eq!(ids("/CarePlan?instantiates-canonical:above=http://example.org/Plan|2.1.0.5"), ["two"]);
}

#[test]
fn hierarchies_of_resources() {
    let server = Server::start();
    store(&server);
    let ids = |query: &str| server.get(query).expect(200).ids();
    assert_eq!(ids("/Encounter?location:below=house"), ["visit"]);
    assert_eq!(ids("/Location?partof:below=Location/house"), ["ward", "bed"]);
    assert_eq!(ids("/Location?partof:above=Location/ward"), ["ward", "bed"]);
    assert_eq!(ids("/Location?partof:above=Location/house"), ["ward"]);
    assert!(ids("/Location?partof:below=Location/bed").is_empty());
    server.get("/Observation?subject:below=Patient/ada").expect(400).says("`subject:below`");
    // One that goes round in a circle ends.
    let round = json!({"resourceType": "Location", "id": "house", "partOf": {"reference": "Location/bed"}});
    server.put("/Location/house").json(round).expect(200);
    assert_eq!(ids("/Location?partof:below=Location/house").len(), 3);
}

//! Whole resources through the checks: small cases here, then all examples of HL7 and real records.

mod records;

use super::*;
use crate::tree;

/// The issues as `code element`.
fn found(value: &Value<'_>) -> Vec<String> {
    let issues = structure(value.as_object().expect("a resource"));
    issues.iter().map(|issue| format!("{} {}", issue.code, issue.expression.as_deref().unwrap_or("-"))).collect()
}

fn fine(value: &Value<'_>) {
    let issues = structure(value.as_object().unwrap());
    assert!(issues.is_empty(), "{issues:?}");
}

#[test]
fn a_sound_resource() {
    fine(&tree!({
        "resourceType": "Patient",
        "id": "a",
        "text": { "status": "generated", "div": "<div xmlns=\"http://www.w3.org/1999/xhtml\">Eve</div>" },
        "name": [{ "family": "Evans", "given": ["Eve", null], "_given": [null, { "extension": [
            { "url": "http://example.org/unknown", "valueBoolean": true }
        ] }] }],
        "gender": "female",
        "birthDate": "1990-02-28",
        "_birthDate": { "id": "b" },
        "deceasedBoolean": false,
        "contact": [{ "gender": "male" }],
        "managingOrganization": { "reference": "Organization/1", "type": "Organization" }
    }));
}

#[test]
fn the_type_must_be_known() {
    assert_eq!(found(&tree!({ "id": "a" })), ["required Resource"]);
    assert_eq!(found(&tree!({ "resourceType": "DomainResource" })), ["structure DomainResource"]);
    assert_eq!(found(&tree!({ "resourceType": "HumanName" })), ["structure HumanName"]);
    assert_eq!(found(&tree!({ "resourceType": "Eve Evans, born 1990" })), ["structure Resource"]);
    assert_eq!(found(&tree!({ "resourceType": true })), ["structure Resource"]);
    fine(&tree!({ "resourceType": "Patient" }));
}

#[test]
fn elements_must_be_known_and_of_their_type() {
    let patient = tree!({
        "resourceType": "Patient",
        "nickname": "E",
        "born on 1990": true,
        "active": "true",
        "gender": ["female"],
        "name": { "family": "Evans" },
        "contact": [{ "gender": "f", "name": "Adam" }],
        "birthDate": "1990-02-30",
        "telecom": [],
        "address": [{}],
        "communication": [{ "preferred": true }, { "id": "a" }]
    });
    let expected = [
        "structure Patient.nickname",
        "structure Patient",
        "structure Patient.active",
        "structure Patient.gender",
        "structure Patient.name",
        "code-invalid Patient.contact[0].gender",
        "structure Patient.contact[0].name",
        "value Patient.birthDate",
        "structure Patient.telecom",
        "structure Patient.address[0]",
        "required Patient.communication[0].language",
        "invariant Patient.communication[1]",
        "required Patient.communication[1].language",
    ];
    assert_eq!(found(&patient), expected);
}

#[test]
fn no_issue_holds_a_value_or_an_unknown_name() {
    let patient = tree!({
        "resourceType": "Patient",
        "gender": "SECRET",
        "birthDate": "SECRET",
        "SECRET text of somebody": "SECRET",
        "managingOrganization": { "reference": "SECRET/SECRET", "type": "SECRET" },
        "text": { "status": "SECRET", "div": "<SECRET>" }
    });
    let issues = structure(patient.as_object().unwrap());
    assert_eq!(issues.len(), 6);
    assert!(!format!("{issues:?}").contains("SECRET"), "{issues:?}");
}

#[test]
fn one_of_a_choice() {
    let observation = |extra: Value<'static>| {
        let mut value = tree!({
            "resourceType": "Observation", "status": "final", "code": { "text": "a" }, "valueString": "a"
        });
        for (name, member) in extra.as_object().unwrap().iter() {
            value.as_object_mut().unwrap().set(name.to_owned(), member.clone());
        }
        found(&value)
    };
    assert!(observation(tree!({})).is_empty());
    assert!(observation(tree!({ "_valueString": { "id": "a" } })).is_empty());
    assert_eq!(observation(tree!({ "valueInteger": (1_u64) })), ["structure Observation.value"]);
    let sibling = tree!({ "_valueTime": { "extension": [{ "url": "a", "valueCode": "b" }] } });
    assert_eq!(observation(sibling), ["structure Observation.value"]);
    let both = tree!({ "_valueString": { "id": "a" }, "valueInteger": (1_u64), "_valueInteger": { "id": "a" } });
    assert_eq!(observation(both), ["structure Observation.value"]);
    assert_eq!(observation(tree!({ "value": "a" })), ["structure Observation.value"]);
}

#[test]
fn siblings_and_nulls() {
    let named = |name: Value<'static>| found(&tree!({ "resourceType": "Patient", "name": [(name)] }));
    let extended = || tree!({ "extension": [{ "url": "http://example.org/a", "valueCode": "a" }] });
    assert!(named(tree!({ "_family": (extended()) })).is_empty());
    assert!(named(tree!({ "given": [null, "a"], "_given": [(extended()), null] })).is_empty());
    assert!(named(tree!({ "_given": [(extended())] })).is_empty());
    assert_eq!(named(tree!({ "given": [null] })), ["structure Patient.name[0].given[0]"]);
    assert_eq!(named(tree!({ "given": ["a", null], "_given": [(extended()), null] })).len(), 2);
    assert_eq!(named(tree!({ "given": ["a"], "_given": [null, (extended())] })).len(), 1);
    assert_eq!(named(tree!({ "_given": [null, (extended())] })), ["structure Patient.name[0].given[0]"]);
    assert_eq!(named(tree!({ "_given": (extended()) })), ["structure Patient.name[0].given"]);
    assert_eq!(named(tree!({ "_family": [(extended())] })), ["structure Patient.name[0].family"]);
    assert_eq!(named(tree!({ "_family": { "id": "a" } })), ["invariant Patient.name[0].family"]);
    assert_eq!(named(tree!({ "_family": { "value": "a" } })), ["structure Patient.name[0].family.value"]);
    assert_eq!(named(tree!({ "_period": { "id": "a" } })), ["structure Patient.name[0].period"]);
    assert_eq!(named(tree!({ "family": null })), ["structure Patient.name[0].family"]);
    assert_eq!(named(tree!({ "period": null })), ["structure Patient.name[0].period"]);
    assert_eq!(named(tree!({ "family": "" })), ["value Patient.name[0].family"]);
}

#[test]
fn extensions() {
    let extended = |extension: Value<'static>| found(&tree!({ "resourceType": "Patient", "extension": [(extension)] }));
    assert!(extended(tree!({ "url": "http://example.org/a", "valueAddress": { "city": "a" } })).is_empty());
    assert!(
        extended(tree!({ "url": "http://example.org/a", "extension": [{ "url": "b", "valueCode": "c" }] })).is_empty()
    );
    assert_eq!(extended(tree!({ "valueCode": "c" })), ["required Patient.extension[0].url"]);
    assert_eq!(extended(tree!({ "url": "http://example.org/a" })), ["invariant Patient.extension[0]"]);
    let both = tree!({ "url": "a", "valueCode": "b", "extension": [{ "url": "b", "valueCode": "c" }] });
    assert_eq!(extended(both), ["invariant Patient.extension[0]"]);
}

#[test]
fn references() {
    let of = |reference: &'static str| {
        let subject = tree!({ "reference": (reference) });
        found(&tree!({ "resourceType": "Account", "status": "active", "owner": (subject) }))
    };
    assert!(of("Organization/1").is_empty());
    assert!(of("https://example.org/fhir/Organization/1").is_empty());
    assert!(of("urn:uuid:b4a4ed76-1a7b-4a0f-9a5e-0d6d0a2a7d5b").is_empty());
    assert_eq!(of("Patient/1"), ["structure Account.owner.reference"]);
    assert_eq!(of("https://example.org/fhir/Patient/1"), ["structure Account.owner.reference"]);
    assert_eq!(of("#nothing"), ["invariant Account.owner.reference"]);
    assert_eq!(of("#"), ["invariant Account.owner.reference"]);
    assert_eq!(of("Organization?identifier=a"), ["value Account.owner.reference"]);
    assert_eq!(of("Organization"), ["value Account.owner.reference"]);
    let typed = tree!({ "reference": "Organization/1", "type": "Patient" });
    let account = tree!({ "resourceType": "Account", "status": "active", "owner": (typed) });
    assert_eq!(found(&account), ["value Account.owner.type"]);
}

#[test]
fn contained_resources() {
    let account = |contained: Value<'static>| {
        let owner = tree!({ "reference": "#a" });
        found(&tree!({ "resourceType": "Account", "status": "active", "contained": (contained), "owner": (owner) }))
    };
    assert!(account(tree!([{ "resourceType": "Organization", "id": "a" }])).is_empty());
    assert_eq!(account(tree!([{ "resourceType": "Patient", "id": "a" }])), ["structure Account.owner.reference"]);
    let upward = tree!([
        { "resourceType": "Organization", "id": "a" },
        { "resourceType": "Provenance", "id": "b", "target": [{ "reference": "#" }], "recorded": "2020-01-01T00:00:00Z",
          "agent": [{ "who": { "reference": "#a" } }] }
    ]);
    assert!(account(upward).is_empty());
    let wrong = tree!([
        { "resourceType": "Organization", "id": "a", "meta": { "versionId": "1", "security": [{ "code": "R" }] },
          "contained": [{ "resourceType": "Patient", "id": "c" }] },
        { "resourceType": "Patient", "id": "b", "nickname": "b" },
        { "resourceType": "Patient" },
        { "resourceType": "Organization", "id": "a" }
    ]);
    let expected = [
        "invariant Account.contained[0].contained[0]",
        "invariant Account.contained[0].meta",
        "invariant Account.contained[0].meta",
        "structure Account.contained[1].nickname",
        "invariant Account.contained[1]",
        "required Account.contained[2]",
        "duplicate Account.contained[3]",
    ];
    assert_eq!(account(wrong), expected);
}

#[test]
fn bundles_and_parameters() {
    let subject = || tree!({ "reference": "Patient?identifier=a" });
    let bundle = |kind: &'static str| {
        let condition = tree!({ "resourceType": "Condition", "subject": (subject()), "contained": [
            { "resourceType": "Patient", "id": "a" }
        ], "asserter": { "reference": "#a" } });
        found(&tree!({ "resourceType": "Bundle", "type": (kind), "entry": [
            { "resource": { "resourceType": "Patient", "active": "yes" } },
            { "resource": (condition) }
        ] }))
    };
    assert_eq!(bundle("transaction"), ["structure Bundle.entry[0].resource.active"]);
    assert_eq!(bundle("batch").last().unwrap(), "value Bundle.entry[1].resource.subject.reference");
    let parameters = tree!({ "resourceType": "Parameters", "parameter": [
        { "name": "a", "part": [{ "name": "b", "resource": { "resourceType": "Patient", "active": (1_u64) } }] }
    ] });
    assert_eq!(found(&parameters), ["structure Parameters.parameter[0].part[0].resource.active"]);
}

#[test]
fn required_bindings_of_concepts() {
    let allergy = |status: Value<'static>| {
        let patient = tree!({ "reference": "Patient/1" });
        found(&tree!({ "resourceType": "AllergyIntolerance", "patient": (patient), "clinicalStatus": (status) }))
    };
    let system = "http://terminology.hl7.org/CodeSystem/allergyintolerance-clinical";
    let other = || tree!({ "system": "http://example.org", "code": "x" });
    assert!(allergy(tree!({ "coding": [(other()), { "system": (system), "code": "active" }] })).is_empty());
    assert!(allergy(tree!({ "text": "active" })).is_empty());
    assert_eq!(allergy(tree!({ "coding": [(other())] })), ["code-invalid AllergyIntolerance.clinicalStatus"]);
}

#[test]
fn issues_are_limited() {
    let items = (0..1000).map(|_| tree!({ "nothing": true })).collect();
    let mut patient = tree!({ "resourceType": "Patient" });
    patient.as_object_mut().unwrap().set("name", Value::Array(items));
    assert_eq!(found(&patient).len(), ISSUES_MAX);
}

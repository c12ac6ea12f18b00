//! Resources inside of others, and pages backward through many resources.

use super::memory::Memory;
use super::tests::{all_pages, ids, options, pairs, query, refusal, wrong};
use super::*;
use crate::auth::access::Access;
use crate::auth::grant::Grant;
use crate::auth::scope::Scopes;
use crate::store::Store;
use crate::tenant::TenantId;
use std::sync::Arc;

/// Requests for medications: two that contain one each, one that contains two, one that refers to one outside.
fn medications() -> Memory {
    let mut memory = Memory::default();
    let medication = |id: &str, code: &str, maker: &str| {
        format!(
            r#"{{"resourceType":"Medication","id":"{id}","code":{{"coding":[{{"system":"urn:drugs","code":"{code}"}}]}},
                "manufacturer":{{"reference":"{maker}"}}}}"#
        )
    };
    let mut put = |id: &str, status: &str, contained: &[String], medication: &str| {
        let contained = contained.join(",");
        memory.put(&format!(
            r#"{{"resourceType":"MedicationRequest","id":"{id}","status":"{status}","intent":"order","contained":[{contained}],
                "subject":{{"reference":"Patient/x"}},"medicationReference":{{"reference":"{medication}"}}}}"#
        ));
    };
    put("r1", "active", &[medication("m", "a", "Organization/o1")], "#m");
    put(
        "r2",
        "active",
        &[medication("m", "b", "#mm"), r#"{"resourceType":"Organization","id":"mm","name":"Maker"}"#.into()],
        "#m",
    );
    put("r3", "stopped", &[medication("m1", "a", "Organization/o2"), medication("m2", "b", "Organization/o1")], "#m2");
    put("r4", "stopped", &[], "Medication/whole");
    memory.put(&medication("whole", "a", "Organization/o1"));
    memory.put(r#"{"resourceType":"Organization","id":"o1","name":"Omega"}"#);
    memory.put(r#"{"resourceType":"Organization","id":"o2","name":"Zeta"}"#);
    memory
}

#[test]
fn contained_resources_match() {
    let memory = medications();
    let cases = [
        ("Medication", "code=a", "whole"),
        ("Medication", "code=a&_contained=false", "whole"),
        ("Medication", "code=a&_contained=true", "r1 r3"),
        ("Medication", "code=a&_contained=both", "whole r1 r3"),
        ("Medication", "code=a&_contained=true&_containedType=container", "r1 r3"),
        ("Medication", "code=a&_contained=true&_containedType=contained", "r1#0 r3#0"),
        ("Medication", "code=a,b&_contained=both&_containedType=contained", "whole r1#0 r2#0 r3#0 r3#1"),
        ("Medication", "_id=m&_contained=true", "r1 r2"),
        ("Medication", "code:not=a&_contained=true&_containedType=contained", "r2#0 r3#1"),
        ("Medication", "code:missing=true&_contained=true", ""),
        // Both criteria must hold of the same contained resource.
        ("Medication", "code=a&manufacturer=Organization/o1&_contained=true", "r1"),
        ("Medication", "code=b&manufacturer=Organization/o1&_contained=true", "r3"),
        ("Medication", "manufacturer.name=zeta&_contained=true", "r3"),
        ("Medication", "manufacturer.name=maker&_contained=true", "r2"),
        ("Medication", "_has:MedicationRequest:medication:status=active&_contained=true", "r1 r2"),
        (
            "Medication",
            "_has:MedicationRequest:medication:status=stopped&_contained=true&_containedType=contained",
            "r3#1",
        ),
        ("Medication", "_contained=both&_containedType=contained&_sort=-code,_id", "r2#0 r3#1 r1#0 r3#0 whole"),
        ("Medication", "_contained=true&_sort=-_id", "r3 r2 r1"),
        ("Medication", "_contained=both&_containedType=contained&_sort=-_lastUpdated", "whole r3#0 r3#1 r2#0 r1#0"),
        ("Organization", "name=m&_contained=true", "r2"),
        ("MedicationRequest", "_contained=true", ""),
    ];
    assert_eq!(wrong(&memory, &cases), Vec::<String>::new());
    let query = parse(&Registry::default(), None, &pairs("_type=Medication,Organization&_contained=true"), &options());
    assert_eq!(all_pages(&memory, &query.unwrap()).concat(), ["r1", "r2", "r3"]);
    assert!(refusal("Medication", "_contained=maybe").contains("`_contained`"));
    assert!(refusal("Medication", "_containedType=x").contains("`_containedType`"));
    assert!(refusal("Medication", "_contained=true&_sort=code").contains("`_sort`"));
}

#[test]
fn chains_go_into_contained_resources() {
    let memory = medications();
    let cases = [
        ("MedicationRequest", "medication.code=a", "r1 r4"),
        ("MedicationRequest", "medication.code=b", "r2 r3"),
        ("MedicationRequest", "medication:Medication.code=urn:drugs|a&status=active", "r1"),
        ("MedicationRequest", "medication.manufacturer.name=omega", "r1 r3 r4"),
        ("MedicationRequest", "medication.manufacturer.name=maker", "r2"),
        ("MedicationRequest", "medication.manufacturer=Organization/o1", "r1 r3 r4"),
        ("MedicationRequest", "medication.code:not=a", "r2 r3"),
        ("MedicationRequest", "medication:missing=true", ""),
    ];
    assert_eq!(wrong(&memory, &cases), Vec::<String>::new());
}

#[test]
fn what_a_contained_match_refers_to_is_included() {
    let memory = medications();
    let text = "code=b&_contained=true&_containedType=contained&_include=Medication:manufacturer&_include=MedicationRequest:subject";
    let page = run(&memory.records(), &query("Medication", text), None, &Budget::default()).unwrap();
    assert_eq!(page.included.iter().map(|version| &*version.id).collect::<Vec<_>>(), ["o1"]);
    assert_eq!(page.total, Some(2));
}

#[test]
fn documents_and_messages_are_found_by_what_they_begin_with() {
    let mut memory = Memory::default();
    let mut put = |id: &str, kind: &str, first: &str| {
        memory.put(&format!(
            r#"{{"resourceType":"Bundle","id":"{id}","type":"{kind}","entry":[{{"resource":{first}}},
                {{"resource":{{"resourceType":"Patient","id":"p"}}}}]}}"#
        ));
    };
    let composition = r#"{"resourceType":"Composition","id":"c","title":"Letter","status":"final","subject":{"reference":"Patient/p"},
        "identifier":{"system":"urn:docs","value":"7"},"type":{"coding":[{"code":"letter"}]},"date":"2020-05-01"}"#;
    put("doc", "document", composition);
    put("set", "collection", composition);
    put(
        "msg",
        "message",
        r#"{"resourceType":"MessageHeader","id":"h","eventCoding":{"system":"urn:e","code":"admit"}}"#,
    );
    memory.put(r#"{"resourceType":"Patient","id":"p","name":[{"family":"Ann"}]}"#);
    let cases = [
        ("Bundle", "composition=Composition/c", "doc"),
        ("Bundle", "composition=c", "doc"),
        ("Bundle", "composition=Composition/d", ""),
        ("Bundle", "composition:identifier=urn:docs|7", "doc"),
        ("Bundle", "composition.type=letter", "doc"),
        ("Bundle", "composition.patient=Patient/p&composition.date=2020", "doc"),
        ("Bundle", "composition.patient.name=ann", "doc"),
        ("Bundle", "composition.title=report", ""),
        ("Bundle", "composition:missing=true", "set msg"),
        ("Bundle", "message.event=urn:e|admit", "msg"),
        ("Bundle", "message=MessageHeader/h", "msg"),
        ("Bundle", "message:missing=false", "msg"),
        ("Composition", "type=letter&_contained=true", ""),
    ];
    assert_eq!(wrong(&memory, &cases), Vec::<String>::new());
}

#[test]
fn pages_lead_back_through_many_resources() {
    let mut memory = Memory::default();
    for number in 0..1500 {
        let gender = ["male", "female", "other"][number % 3];
        let gender = if number % 7 == 0 { String::new() } else { format!(r#","gender":"{gender}""#) };
        let born =
            if number % 5 == 0 { String::new() } else { format!(r#","birthDate":"19{:02}-01-01""#, number % 90 + 10) };
        memory.put(&format!(
            r#"{{"resourceType":"Patient","id":"p{number}","active":true,"name":[{{"family":"A{number}"}},{{"family":"B{}"}}]{gender}{born}}}"#,
            number % 11
        ));
    }
    for sort in [
        "",
        "_sort=gender",
        "_sort=-gender",
        "_sort=birthdate,-_id",
        "_sort=-birthdate,gender",
        "_sort=family",
        "_sort=-family",
        "_sort=-_lastUpdated",
        "active=true&gender:missing=false&_sort=birthdate",
    ] {
        let pages = all_pages(&memory, &query("Patient", &format!("{sort}&_count=97")));
        let mut all = pages.concat();
        let expected = if sort.contains("missing") { 1285 } else { 1500 };
        assert_eq!(all.len(), expected, "{sort}");
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), expected, "{sort}");
    }
}

#[test]
fn the_page_before_is_exact_whatever_was_written_since() {
    let mut memory = Memory::default();
    let put = |memory: &mut Memory, number: u32| {
        memory.put(&format!(r#"{{"resourceType":"Patient","id":"p{number}","birthDate":"{}"}}"#, 1900 + number));
    };
    for number in (10..40).step_by(2) {
        put(&mut memory, number);
    }
    let query = query("Patient", "_sort=birthdate&_count=4");
    let first = run(&memory.records(), &query, None, &Budget::default()).unwrap();
    let second = run(&memory.records(), &query, first.next.as_ref(), &Budget::default()).unwrap();
    assert_eq!(second.matches[0].version.id.as_ref(), "p18");
    // One comes in before, and one that was there moves to the end.
    put(&mut memory, 15);
    memory.put(r#"{"resourceType":"Patient","id":"p12","birthDate":"1999"}"#);
    let before = run(&memory.records(), &query, second.prev.as_ref(), &Budget::default()).unwrap();
    let ids: Vec<_> = before.matches.iter().map(|found| &*found.version.id).collect();
    assert_eq!(ids, ["p10", "p14", "p15", "p16"]);
    assert_eq!(before.prev, None);
}

#[test]
fn a_grant_decides_by_the_container() {
    let mut memory = medications();
    memory.put(
        r##"{"resourceType":"MedicationRequest","id":"r5","status":"active","intent":"order","subject":{"reference":"Patient/y"},
            "contained":[{"resourceType":"Medication","id":"m","code":{"coding":[{"code":"a"}]}}],
            "medicationReference":{"reference":"#m"}}"##,
    );
    assert_eq!(ids(&memory, "Medication", "code=a&_contained=true"), ["r1", "r3", "r5"]);
    let seen = |scopes: &str, type_name: &str, text: &str| {
        let access = Access::new(
            &Scopes::parse(scopes),
            Some("x"),
            None,
            &Compiler { registry: &Registry::default(), options: &options() },
        );
        let grant = Grant::limited(TenantId::DEFAULT, Arc::new(access), None);
        let records = Store::new(Arc::new(memory.clone())).open(&grant).unwrap();
        let page = run(&records, &query(type_name, text), None, &Budget::default()).unwrap();
        assert_eq!(page.total, Some(page.matches.len() as u64));
        page.matches.iter().map(|found| found.version.id.to_string()).collect::<Vec<_>>()
    };
    let scopes = "patient/MedicationRequest.rs patient/Medication.rs";
    assert_eq!(seen(scopes, "Medication", "code=a&_contained=true"), ["r1", "r3"]);
    assert_eq!(seen(scopes, "Medication", "code=a&_contained=true&_containedType=contained"), ["r1", "r3"]);
    assert_eq!(seen(scopes, "MedicationRequest", "medication.code=a"), ["r1", "r4"]);
    assert!(seen("patient/Medication.rs", "Medication", "code=a&_contained=true").is_empty());
    assert_eq!(seen("patient/Medication.rs", "Medication", "code=a&_contained=both"), ["whole"]);
    // Without a right to search medications, chains see none, contained or not.
    assert!(seen("patient/MedicationRequest.rs", "MedicationRequest", "medication.code=a").is_empty());
}

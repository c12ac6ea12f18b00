//! Queries over a few resources, the answers by id.

use super::memory::Memory;
use super::*;
use crate::clock::Micros;
use crate::error::Category;

pub(super) fn options() -> Options {
    let base = Some("http://localhost/fhir".into());
    Options { now: Micros(1_600_000_000_000_000), base, has_content: true, ..Options::default() }
}

pub(super) fn pairs(query: &str) -> Vec<(String, String)> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| pair.split_once('=').unwrap()).map(|(name, value)| (name.into(), value.into())).collect()
}

pub(super) fn query(type_name: &str, text: &str) -> Query {
    parse(&Registry::default(), Some(type_name), &pairs(text), &options()).unwrap()
}

/// All pages of a query, joined; each page comes through the bytes of its cursor.
pub(super) fn ids(memory: &Memory, type_name: &str, text: &str) -> Vec<String> {
    let query = query(type_name, text);
    let found = all_pages(memory, &query).concat();
    is_found_blind(memory, &query, &found);
    found
}

/// What a query means that a blind index does not answer.
const NOT_BLIND: [&str; 4] = [":contains", "_sort", " co ", " ew "];

/// Holds what was found against what a blind index finds, or refuses for a reason.
pub(super) fn is_found_blind(memory: &Memory, query: &Query, found: &[String]) {
    let blinded = memory.blinded();
    if let Err(error) = run(&blinded.records(), query, None, &Budget::default()) {
        assert!(error.issues[0].diagnostics.contains("hidden from the index"), "{error:?}");
        let text = format!("{query:?}");
        assert!(NOT_BLIND.iter().any(|sign| text.contains(sign)), "{text}");
        return;
    }
    let (mut found, mut blind) = (found.to_vec(), all_pages(&blinded, query).concat());
    if query.sort.is_empty() {
        found.sort_unstable();
        blind.sort_unstable();
    }
    assert_eq!(found, blind, "by a blind index");
}

/// The searches that do not find the ids expected, on one page or on many; without `_sort` in any order.
pub(super) fn wrong(memory: &Memory, cases: &[(&str, &str, &str)]) -> Vec<String> {
    let mut wrong = Vec::new();
    for (type_name, text, expected) in cases {
        for pages in ["", "&_count=1"] {
            let mut found = ids(memory, type_name, &format!("{text}{pages}"));
            let mut wanted: Vec<_> = expected.split_whitespace().collect();
            if !text.contains("_sort=") {
                found.sort_unstable();
                wanted.sort_unstable();
            }
            if found != wanted {
                wrong.push(format!("{type_name}?{text}{pages}: {found:?}, not {expected}"));
            }
        }
    }
    wrong
}

/// The ids on each page of a query. From the last page the `prev` links must lead back over the very same pages.
pub(super) fn all_pages(memory: &Memory, query: &Query) -> Vec<Vec<String>> {
    let records = memory.records();
    let at = |cursor: Option<&Cursor>| {
        let cursor = cursor.map(|cursor| Cursor::from_bytes(&cursor.to_bytes(query), query).unwrap());
        let page = run(&records, query, cursor.as_ref(), &Budget::default()).unwrap();
        assert!(page.matches.len() <= query.count);
        let name = |found: &Match| {
            let inner = found.inner.as_ref().map(|inner| format!("#{}", inner.slot)).unwrap_or_default();
            format!("{}{inner}", found.version.id)
        };
        (page.matches.iter().map(name).collect::<Vec<_>>(), page.next, page.prev)
    };
    let (first, mut next, prev) = at(None);
    assert_eq!(prev, None);
    let (mut pages, mut back) = (vec![first], None);
    while let Some(cursor) = next {
        let page = at(Some(&cursor));
        pages.push(page.0);
        (next, back) = (page.1, page.2);
    }
    for page in pages.iter().rev().skip(1) {
        let before = at(Some(&back.expect("a prev link")));
        assert_eq!(before.0, *page, "backward");
        let again = at(before.1.as_ref());
        assert!(pages.contains(&again.0), "forward again");
        back = before.2;
    }
    assert_eq!(back, None, "before the first page");
    pages
}

pub(super) fn refusal(type_name: &str, text: &str) -> String {
    let error = parse(&Registry::default(), Some(type_name), &pairs(text), &options()).unwrap_err();
    assert_eq!(error.category, Category::Invalid);
    error.issues[0].diagnostics.to_string()
}

pub(super) fn sample() -> Memory {
    let mut memory = Memory::default();
    for json in [
        r#"{"resourceType":"Patient","id":"p1","active":true,"gender":"female","birthDate":"1980-05-17",
            "identifier":[{"system":"urn:mrn","value":"A-1","type":{"coding":[{"system":"urn:kinds","code":"MR"}]}}],
            "name":[{"family":"O'Brien","given":["Anne-Marie","Zoé"]}],"telecom":[{"system":"phone","value":"555"}],
            "address":[{"city":"Galway","postalCode":"H91"}],"generalPractitioner":[{"reference":"Practitioner/d1"}],
            "meta":{"tag":[{"system":"urn:tags","code":"vip"}],"profile":["http://example.org/p|1.0"]}}"#,
        r#"{"resourceType":"Patient","id":"p2","gender":"male","birthDate":"1980-06",
            "identifier":[{"system":"urn:mrn","value":"b-2"}],"name":[{"family":"Obrador","given":["Peter"]}],
            "link":[{"other":{"reference":"Patient/p1"},"type":"seealso"}]}"#,
        r#"{"resourceType":"Patient","id":"p3","deceasedDateTime":"2019","name":[{"text":"peter pan"}]}"#,
        r#"{"resourceType":"Practitioner","id":"d1","name":[{"family":"Who"}],"gender":"other"}"#,
        r#"{"resourceType":"Observation","id":"o1","status":"final","subject":{"reference":"Patient/p1"},
            "code":{"coding":[{"system":"http://loinc.org","code":"29463-7","display":"Body weight"}],"text":"Weight"},
            "effectiveDateTime":"2020-03-01T10:00:00Z","valueQuantity":{"value":72.5,"unit":"kilograms",
            "system":"http://unitsofmeasure.org","code":"kg"}}"#,
        r#"{"resourceType":"Observation","id":"o2","status":"amended","subject":{"reference":"http://localhost/fhir/Patient/p2"},
            "code":{"coding":[{"system":"http://loinc.org","code":"29463-7"}]},
            "effectivePeriod":{"start":"2020-02-01","end":"2020-04-15"},"valueQuantity":{"value":81000,"unit":"g",
            "system":"http://unitsofmeasure.org","code":"g"}}"#,
        r#"{"resourceType":"Observation","id":"o3","status":"final","subject":{"reference":"Patient/p1/_history/2"},
            "code":{"coding":[{"system":"http://loinc.org","code":"8867-4"}]},"effectiveDateTime":"2021",
            "component":[{"code":{"coding":[{"code":"a"}]},"valueQuantity":{"value":1}},
                         {"code":{"coding":[{"code":"b"}]},"valueQuantity":{"value":2}}]}"#,
        r#"{"resourceType":"Provenance","id":"v1","target":[{"reference":"Observation/o1"},{"reference":"Patient/p1"}]}"#,
        r#"{"resourceType":"RiskAssessment","id":"r1","prediction":[{"probabilityDecimal":0.50}]}"#,
    ] {
        memory.put(json);
    }
    memory
}

#[test]
fn criteria_of_every_type() {
    let memory = sample();
    let cases = [
        ("Patient", "", "p1 p2 p3"),
        ("Patient", "_id=p2,p9,p1", "p1 p2"),
        ("Patient", "gender=male", "p2"),
        ("Patient", "gender=http://hl7.org/fhir/administrative-gender|male", "p2"),
        ("Patient", "gender=|male", "p2"),
        ("Patient", "gender=urn:other|male", ""),
        ("Patient", "gender:not=male", "p1 p3"),
        ("Patient", "gender:missing=true", "p3"),
        ("Patient", "gender:missing=false", "p1 p2"),
        ("Patient", "active=true", "p1"),
        ("Patient", "identifier=A-1", "p1"),
        ("Patient", "identifier=urn:mrn|B-2", "p2"),
        ("Patient", "identifier=urn:mrn|", "p1 p2"),
        ("Patient", "identifier:of-type=urn:kinds|MR|A-1", "p1"),
        ("Patient", "telecom=phone|555", "p1"),
        ("Patient", "phone=555", "p1"),
        ("Patient", "email=555", ""),
        ("Patient", "deceased=true", "p3"),
        ("Patient", "deceased=false", "p1 p2"),
        ("Patient", "death-date=2019-05", ""),
        ("Patient", "name=obr", "p1 p2"),
        ("Patient", "name=OBRI", "p1"),
        ("Patient", "name:exact=O'Brien", "p1"),
        ("Patient", "name:exact=o'brien", ""),
        ("Patient", "name:contains=PAN", "p3"),
        ("Patient", "name=anne marie", ""),
        ("Patient", "given=annemarie", "p1"),
        ("Patient", "given=zoe&family=obrien", "p1"),
        ("Patient", "address=galway", "p1"),
        ("Patient", "address-postalcode=h9", "p1"),
        ("Patient", "birthdate=1980-05-17", "p1"),
        ("Patient", "birthdate=1980-06-01", ""),
        ("Patient", "birthdate=1980", "p1 p2"),
        ("Patient", "birthdate=ge1980-05-18", "p2"),
        ("Patient", "birthdate=lt1980-06", "p1"),
        ("Patient", "birthdate=ne1980-05-17", "p2"),
        ("Patient", "general-practitioner=Practitioner/d1", "p1"),
        ("Patient", "general-practitioner=d1", "p1"),
        ("Patient", "general-practitioner:Practitioner=d1", "p1"),
        ("Patient", "general-practitioner.name=who", "p1"),
        ("Patient", "general-practitioner:Practitioner.name=whom", ""),
        ("Patient", "link.general-practitioner.gender=other", "p2"),
        ("Patient", "_has:Observation:patient:code=8867-4", "p1"),
        ("Patient", "_has:Observation:subject:_has:Provenance:target:_id=v1", "p1"),
        ("Patient", "_tag=urn:tags|vip", "p1"),
        ("Patient", "_profile=http://example.org/p", "p1"),
        ("Patient", "_profile=http://example.org/p|1.0", "p1"),
        ("Patient", "_profile=http://example.org/p|2.0", ""),
        ("Patient", "_profile:below=http://example.org/", "p1"),
        ("Patient", "_lastUpdated=gt1970-01-01T00:00:02Z", "p3"),
        ("Observation", "status=final", "o1 o3"),
        ("Observation", "status=final,amended", "o1 o2 o3"),
        ("Observation", "code=http://loinc.org|29463-7", "o1 o2"),
        ("Observation", "code:text=body", "o1"),
        ("Observation", "subject=Patient/p1", "o1 o3"),
        ("Observation", "subject=p1", "o1 o3"),
        ("Observation", "patient=p1", "o1 o3"),
        ("Observation", "patient=Patient/p2", "o2"),
        ("Observation", "subject=Patient/p1/_history/2", "o3"),
        ("Observation", "subject=http://localhost/fhir/Patient/p1", "o1 o3"),
        ("Observation", "subject:Patient.name=obrador", "o2"),
        ("Observation", "patient.birthdate=lt1980-06&status=final", "o1 o3"),
        ("Observation", "date=2020-03", "o1"),
        ("Observation", "date=gt2020-03-02", "o2 o3"),
        ("Observation", "date=sa2020-03-02", "o3"),
        ("Observation", "date=lt2020-03", "o2"),
        ("Observation", "date=eb2020-05", "o1 o2"),
        ("Observation", "date=ge2020-02&date=le2020-04", "o1 o2"),
        ("Observation", "value-quantity=72.5", "o1"),
        ("Observation", "value-quantity=72.5||kg", "o1"),
        ("Observation", "value-quantity=72.5||kilograms", "o1"),
        ("Observation", "value-quantity=gt80|http://unitsofmeasure.org|kg", "o2"),
        ("Observation", "value-quantity=81.000|http://unitsofmeasure.org|kg", "o2"),
        ("Observation", "value-quantity=ap80|http://unitsofmeasure.org|kg", "o1 o2"),
        ("Observation", "value-quantity=73", ""),
        ("Observation", "value-quantity=le72.5", "o1"),
        ("Observation", "value-quantity=lt72.5", ""),
        ("Observation", "code-value-quantity=http://loinc.org|29463-7$gt80|http://unitsofmeasure.org|kg", "o2"),
        ("Observation", "code-value-quantity=29463-7$lt100", "o1"),
        ("Observation", "component-code-value-quantity=a$1", "o3"),
        ("Observation", "component-code-value-quantity=a$2", ""),
        ("RiskAssessment", "probability=0.5", "r1"),
        ("RiskAssessment", "probability=0.500", ""),
        ("RiskAssessment", "probability=ge0.5", "r1"),
        ("RiskAssessment", "probability=gt0.50", ""),
    ];
    assert_eq!(wrong(&memory, &cases), Vec::<String>::new());
}

#[test]
fn order() {
    let memory = sample();
    let cases = [
        ("Patient", "_sort=birthdate", "p1 p2 p3"),
        ("Patient", "_sort=-birthdate", "p2 p1 p3"),
        ("Patient", "_sort=-_id", "p3 p2 p1"),
        ("Patient", "_sort=-_lastUpdated", "p3 p2 p1"),
        ("Patient", "_sort=gender,-_id", "p1 p2 p3"),
        ("Observation", "_sort=status,-date", "o2 o3 o1"),
        ("Observation", "_sort=-status,date", "o1 o3 o2"),
        ("Observation", "_sort=subject&status=final", "o1 o3"),
    ];
    for (type_name, text, expected) in cases {
        for pages in ["", "&_count=1", "&_count=2"] {
            assert_eq!(ids(&memory, type_name, &format!("{text}{pages}")).join(" "), expected, "{text}{pages}");
        }
    }
}

#[test]
fn many_are_sorted_by_walking() {
    let mut memory = Memory::default();
    for number in 0..1500 {
        let born =
            if number % 7 == 0 { String::new() } else { format!(r#","birthDate":"19{:02}-01-01""#, number % 90) };
        let gender = if number % 2 == 0 { "male" } else { "female" };
        memory.put(&format!(r#"{{"resourceType":"Patient","id":"n{number}","gender":"{gender}"{born}}}"#));
    }
    let mut expected: Vec<_> = (0..1500).collect();
    expected.sort_by_key(|n| (n % 7 == 0, if n % 7 == 0 { 0 } else { n % 90 }, *n));
    let expected: Vec<_> = expected.into_iter().map(|n| format!("n{n}")).collect();
    assert_eq!(ids(&memory, "Patient", "_sort=birthdate&_count=77"), expected);
    let mut expected: Vec<i32> = (0..1500).collect();
    expected.sort_by_key(|n| (n % 7 == 0, if n % 7 == 0 { 0 } else { -(n % 90) }, *n));
    let expected: Vec<_> = expected.into_iter().map(|n| format!("n{n}")).collect();
    assert_eq!(ids(&memory, "Patient", "_sort=-birthdate&_count=101"), expected);
    let mut expected: Vec<i32> = (0..1500).collect();
    expected.sort_by_key(|n| (n % 2 == 0, n % 7 == 0, if n % 7 == 0 { 0 } else { -(n % 90) }, *n));
    let expected: Vec<_> = expected.into_iter().map(|n| format!("n{n}")).collect();
    assert_eq!(ids(&memory, "Patient", "_sort=gender,-birthdate&_count=250"), expected);
}

#[test]
fn totals_and_includes() {
    let memory = sample();
    let records = memory.records();
    let page = |type_name: &str, text: &str| run(&records, &query(type_name, text), None, &Budget::default()).unwrap();
    assert_eq!(page("Patient", "_summary=count").total, Some(3));
    assert_eq!(page("Patient", "_count=0&gender=male").total, Some(1));
    assert_eq!(page("Patient", "_count=1").total, None);
    assert_eq!(page("Patient", "_count=1&_total=accurate").total, Some(3));
    assert_eq!(page("Patient", "_count=3").total, Some(3));
    let included = |type_name: &str, text: &str| {
        let page = page(type_name, text);
        let mut ids: Vec<_> = page.included.iter().map(|version| version.id.to_string()).collect();
        ids.sort();
        ids.join(" ")
    };
    assert_eq!(included("Observation", "_include=Observation:subject"), "p1 p2");
    assert_eq!(included("Observation", "_id=o1&_include=*"), "p1");
    assert_eq!(included("Observation", "_id=o1&_include=Observation:subject:Group"), "");
    assert_eq!(
        included("Observation", "_id=o1&_include=Observation:*&_include:iterate=Patient:general-practitioner"),
        "d1 p1"
    );
    assert_eq!(included("Patient", "_id=p1&_revinclude=Observation:patient"), "o1 o3");
    assert_eq!(
        included("Patient", "_revinclude=Observation:subject&_revinclude:iterate=Provenance:target"),
        "o1 o2 o3 v1"
    );
}

#[test]
fn refusals_name_the_parameter() {
    for (text, named) in [
        ("colour=red", "colour"),
        ("birthdate=ge2020-13", "birthdate"),
        ("birthdate=xx2020", "birthdate"),
        ("birthdate:exact=2020", "birthdate"),
        ("gender:contains=x", "gender"),
        ("name.given=x", "name.given"),
        ("general-practitioner.colour=x", "colour"),
        ("_sort=colour", "_sort"),
        ("_include=Patient:colour", "_include"),
        ("_include=Colour:x", "_include"),
        ("_count=many", "_count"),
        ("_summary=x", "_summary"),
        ("_has:Observation:code:status=final", "_has:Observation:code:status"),
        ("gender:missing=maybe", "gender:missing"),
        ("name=--", "name"),
    ] {
        assert!(refusal("Patient", text).contains(&format!("`{named}`")), "{text}: {}", refusal("Patient", text));
    }
    assert!(refusal("Observation", "value-quantity=abc").contains("`value-quantity`"));
    assert!(refusal("Observation", "code-value-quantity=1").contains("`code-value-quantity`"));
    assert!(refusal("Patient", &format!("_id={}", "x,".repeat(10_000))).contains("`_id`"));
    let chain = "link.".repeat(500) + "name";
    assert!(refusal("Patient", &format!("{chain}=x")).contains("too many steps"));
    let wide = "subject.".repeat(7) + "name";
    assert!(refusal("Composition", &format!("{wide}=x")).contains("too many types"));
    let lenient = Options { handling: Handling::Lenient, ..options() };
    let query = parse(&Registry::default(), Some("Patient"), &pairs("colour=red&gender=male&name="), &lenient).unwrap();
    assert_eq!(query.dropped, ["colour"]);
    assert_eq!(self_pairs(&query), pairs("gender=male"));
    let over_types = "_type=Encounter,Patient&name=peter&_id=a";
    let query = parse(&Registry::default(), None, &pairs(over_types), &lenient).unwrap();
    assert_eq!(query.dropped, ["name"]);
    let without = parse(&Registry::default(), None, &pairs("_type=Encounter,Patient&_id=a"), &options()).unwrap();
    assert_eq!(query.targets, without.targets, "a dropped parameter narrows no type");
    // The type that comes first in the alphabet knows the parameter, the other does not.
    let query = parse(&Registry::default(), None, &pairs("_type=Encounter,Patient&class=AMB&_id=a"), &lenient).unwrap();
    assert_eq!((query.dropped, query.targets), (vec!["class".to_owned()], without.targets));
}

#[test]
fn a_cursor_belongs_to_its_query() {
    let memory = sample();
    let (mine, other) = (query("Patient", "_count=1"), query("Patient", "_count=1&active=true"));
    let next = run(&memory.records(), &mine, None, &Budget::default()).unwrap().next.unwrap();
    let bytes = next.to_bytes(&mine);
    assert_eq!(Cursor::from_bytes(&bytes, &mine).unwrap(), next);
    assert_eq!(Cursor::from_bytes(&bytes, &query("Patient", "_count=2")).unwrap(), next);
    assert!(Cursor::from_bytes(&bytes, &other).is_err());
    for end in 0..bytes.len() {
        assert!(Cursor::from_bytes(&bytes[..end], &mine).is_err());
    }
}

#[test]
fn a_budget_ends_a_search() {
    let memory = sample();
    let budget = Budget::new(2, std::time::Duration::from_secs(9));
    let error = run(&memory.records(), &query("Patient", "birthdate:missing=true"), None, &budget).unwrap_err();
    assert_eq!(error.category, Category::Timeout);
}

#[test]
fn conditional_criteria_come_with_their_guards() {
    let memory = sample();
    let query = query("Patient", "identifier=urn:mrn|A-1");
    let (found, guards) = find_up_to(&memory.records(), &query, 2, &Budget::default()).unwrap();
    assert_eq!(found.iter().map(|rid| memory.name_of(*rid)).collect::<Vec<_>>(), ["p1"]);
    assert!(
        guards
            .iter()
            .any(|guard| &*guard.type_name == "Patient" && guard.range.holds(b"identifier\0ca-1\0urn:mrn\0\0"))
    );
}

#[test]
fn a_system_search_goes_over_types() {
    let memory = sample();
    let query = parse(&Registry::default(), None, &pairs("_type=Practitioner,Patient&_count=2"), &options()).unwrap();
    assert_eq!(all_pages(&memory, &query), [["p1", "p2"], ["p3", "d1"]]);
}

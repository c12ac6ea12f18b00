use super::super::requests::REQUESTS;
use super::{PATIENTS, Population, SEED};
use crate::fhir::tree::Value;
use crate::fhir::write::to_vec;
use jiff::civil::{Date, date};
use std::collections::{BTreeMap, HashSet};

const TODAY: Date = date(2025, 11, 20);

fn bundles() -> Vec<Value<'static>> {
    Population::demo(TODAY).collect()
}

fn entries<'v>(bundles: &'v [Value<'static>]) -> impl Iterator<Item = &'v Value<'static>> {
    bundles.iter().flat_map(|bundle| bundle.get("entry").unwrap().as_array().unwrap())
}

fn resources<'v>(bundles: &'v [Value<'static>]) -> impl Iterator<Item = &'v Value<'static>> {
    entries(bundles).map(|entry| entry.get("resource").unwrap())
}

fn text<'v>(value: &'v Value<'static>, path: &str) -> Option<&'v str> {
    path.split('.').try_fold(value, |value, name| value.get(name)).and_then(Value::as_str)
}

/// Calls `found` with every `reference` in the value.
fn references<'v>(value: &'v Value<'static>, found: &mut impl FnMut(&'v str)) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        Value::Object(object) => {
            for (name, member) in object.iter() {
                match (name, member.as_str()) {
                    ("reference", Some(target)) => found(target),
                    _ => references(member, found),
                }
            }
        }
        _ => {}
    }
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let bytes = |seed| Population::new(seed, 5, TODAY).map(|bundle| to_vec(&bundle)).collect::<Vec<_>>();
    assert_eq!(bytes(1), bytes(1));
    assert_ne!(bytes(1), bytes(2));
    assert_eq!(bytes(1).len(), 6, "the shared Bundle and one for each patient");
}

#[test]
fn more_patients_do_not_change_the_ones_there_were() {
    let few: Vec<_> = Population::new(3, 5, TODAY).collect();
    let many: Vec<_> = Population::new(3, 9, TODAY).take(6).collect();
    assert_eq!(few, many);
}

#[test]
fn who_somebody_is_does_not_depend_on_the_day() {
    let patient = |today| {
        let bundle = Population::new(SEED, 1, today).nth(1).unwrap();
        let patient = bundle.get("entry").unwrap().items()[0].get("resource").unwrap().clone();
        (patient.get("name").cloned(), patient.get("birthDate").cloned())
    };
    assert_eq!(patient(TODAY), patient(date(2031, 2, 3)));
}

#[test]
fn ids_and_full_urls_are_unique_and_requests_put_them() {
    let bundles = bundles();
    let mut seen = HashSet::new();
    for entry in entries(&bundles) {
        let resource = entry.get("resource").unwrap();
        let url = format!("{}/{}", text(resource, "resourceType").unwrap(), text(resource, "id").unwrap());
        assert_eq!(text(entry, "request.url"), Some(url.as_str()));
        assert_eq!(text(entry, "request.method"), Some("PUT"));
        assert!(text(entry, "fullUrl").unwrap().starts_with("urn:uuid:"));
        assert!(seen.insert(url), "an id twice");
        assert!(seen.insert(text(entry, "fullUrl").unwrap().to_owned()), "a fullUrl twice");
    }
}

#[test]
fn every_reference_resolves() {
    let bundles = bundles();
    let shared: HashSet<&str> = entries(&bundles[..1]).filter_map(|entry| text(entry, "request.url")).collect();
    for bundle in &bundles {
        let urls: HashSet<&str> =
            entries(std::slice::from_ref(bundle)).filter_map(|entry| text(entry, "fullUrl")).collect();
        references(bundle, &mut |target| {
            assert!(urls.contains(target) || shared.contains(target), "{target} does not resolve");
        });
    }
}

#[test]
fn every_resource_passes_the_structural_checks() {
    for resource in resources(&bundles()) {
        let issues = crate::validate::structure_in_transaction(resource.as_object().unwrap());
        assert!(issues.is_empty(), "{}: {issues:?}", String::from_utf8(to_vec(resource)).unwrap());
    }
}

#[test]
fn sizes_are_as_promised() {
    let bundles = bundles();
    let mut counts = BTreeMap::new();
    for resource in resources(&bundles) {
        *counts.entry(text(resource, "resourceType").unwrap()).or_insert(0) += 1;
    }
    println!("{counts:?}");
    let total: u64 = counts.values().sum();
    assert_eq!(counts["Patient"], PATIENTS);
    assert!((10 * PATIENTS..=25 * PATIENTS).contains(&total), "{total} resources");
    for type_name in ["RelatedPerson", "CareTeam", "AllergyIntolerance", "Immunization", "MedicationRequest"] {
        assert!(counts[type_name] >= 40, "{type_name}");
    }
}

/// Encounters lie within the life, observations and claims within their encounter.
#[test]
fn dates_are_coherent() {
    for bundle in bundles().iter().skip(1) {
        let mine = std::slice::from_ref(bundle);
        let patient = resources(mine).next().unwrap();
        let birth = text(patient, "birthDate").unwrap();
        let end = text(patient, "deceasedDateTime").map_or_else(|| TODAY.to_string(), str::to_owned);
        let mut periods = BTreeMap::new();
        for entry in entries(mine) {
            let resource = entry.get("resource").unwrap();
            match text(resource, "resourceType").unwrap() {
                "Encounter" => {
                    let (from, to) = (text(resource, "period.start").unwrap(), text(resource, "period.end").unwrap());
                    assert!(birth <= &from[..10] && &to[..10] <= end.as_str() && from < to);
                    periods.insert(text(entry, "fullUrl").unwrap(), (from, to));
                }
                "Observation" => {
                    let (from, to) = periods[text(resource, "encounter.reference").unwrap()];
                    assert!((from..=to).contains(&text(resource, "effectiveDateTime").unwrap()));
                }
                "Condition" => {
                    let (onset, over) = (text(resource, "onsetDateTime").unwrap(), text(resource, "abatementDateTime"));
                    assert!(birth <= onset && onset <= end.as_str());
                    assert!(over.is_none_or(|over| onset < over && over <= end.as_str()));
                }
                _ => {}
            }
        }
    }
}

#[test]
fn the_requests_worth_trying_have_something_to_show() {
    let bundles = bundles();
    let written: String = bundles.iter().map(|bundle| String::from_utf8(to_vec(bundle)).unwrap()).collect();
    for telling in ["\"José", "Okafor", "\"44054006\"", "\"85354-9\""] {
        assert!(written.contains(telling), "nothing with {telling}");
    }
    let first: String = String::from_utf8(to_vec(&bundles[1])).unwrap();
    for type_name in ["Observation", "MedicationRequest"] {
        assert!(first.contains(&format!("\"{type_name}/demo-1-1\"")), "Patient/demo-1 has no {type_name}");
    }
    assert!(REQUESTS.iter().all(|request| !request.path.starts_with('/') && !request.path.contains([' ', '|'])));
}

use super::*;
use std::time::Instant;

#[test]
fn all_of_r4_is_there() {
    let started = Instant::now();
    let definitions = read::r4().expect("every line is readable");
    println!("read in {:?}", started.elapsed());
    assert_eq!(definitions.resource_types.len(), 146);
    assert_eq!(definitions.types.iter().filter(|found| found.kind == Kind::Primitive).count(), 20);
    assert_eq!(definitions.search_parameters.len(), 1387);
    assert_eq!(definitions.compartments.len(), 5);
    assert_eq!(definitions.operations.len(), 46);
    let started = Instant::now();
    assert_eq!(terminology::R4.code_systems.len(), 1061);
    println!("terminology read in {:?}", started.elapsed());
}

#[test]
fn a_choice_is_found_by_its_json_name() {
    let observation = r4().type_named("Observation").unwrap();
    let (element, type_ref) = observation.element("valueQuantity").unwrap();
    assert_eq!((element.name, element.is_choice, type_ref.name), ("value", true, "Quantity"));
    assert_eq!(type_ref.definition().unwrap().name, "Quantity");
    assert_eq!(element.json_name(type_ref), "valueQuantity");
    assert!(observation.element("value").is_none());
    assert!(observation.element("valueAddress").is_none());
    assert!(observation.element_named("value").is_some());
    assert_eq!(r4().type_named("Extension").unwrap().element_named("value").unwrap().types.len(), 50);
}

#[test]
fn nested_types_and_content_references() {
    let contact = r4().type_named("Patient.contact").unwrap();
    let names: Vec<_> = contact.elements.iter().map(|element| element.name).collect();
    let own = ["relationship", "name", "telecom", "address", "gender", "organization", "period"];
    assert_eq!(names[..3], ["id", "extension", "modifierExtension"]);
    assert_eq!(names[3..], own);
    let entry = r4().type_named("Bundle.entry").unwrap();
    assert_eq!(entry.element("link").unwrap().1.name, "Bundle.link");
    assert_eq!(r4().type_named("Timing.repeat").unwrap().base, Some("Element"));
}

#[test]
fn ids_have_the_types_that_the_prose_gives_them() {
    let id_type = |name: &str| r4().type_named(name).unwrap().element("id").unwrap().1.name;
    assert_eq!(id_type("Patient"), "id");
    assert_eq!(id_type("HumanName"), "string");
    assert_eq!(id_type("Patient.contact"), "string");
    assert_eq!(r4().type_named("Extension").unwrap().element("url").unwrap().1.name, "uri");
    let xhtml = r4().type_named("xhtml").unwrap();
    assert!(xhtml.element("extension").is_none() && xhtml.element("id").is_some());
}

#[test]
fn lineage() {
    for (name, base) in [
        ("Age", "Quantity"),
        ("code", "string"),
        ("url", "uri"),
        ("Patient", "Resource"),
        ("Patient", "DomainResource"),
        ("Bundle", "Resource"),
        ("Patient.contact", "Element"),
        ("Patient", "Patient"),
    ] {
        assert!(r4().is_subtype_of(name, base), "{name} is a {base}");
    }
    assert!(!r4().is_subtype_of("Bundle", "DomainResource"));
    assert!(!r4().is_subtype_of("Nothing", "Nothing"));
    assert!(r4().is_resource_type("Patient") && !r4().is_resource_type("DomainResource"));
    assert!(!r4().is_resource_type("HumanName"));
}

#[test]
fn every_reference_between_definitions_resolves() {
    for found in r4().types() {
        assert!(found.elements.len() <= 128, "the positions are kept as bits");
        for element in &found.elements {
            for type_ref in &element.types {
                assert_eq!(type_ref.definition().unwrap().name, type_ref.name);
                for target in &type_ref.targets {
                    assert!(r4().type_named(target).is_some(), "{}.{}: {target}", found.name, element.name);
                }
            }
            let known = |url| r4().value_set(url).is_some() || url == "http://loinc.org/vs/LL379-9";
            assert!(element.required_binding.is_none_or(known), "{:?}", element.required_binding);
        }
    }
    for parameter in r4().search_parameters() {
        for name in parameter.base.iter().chain(&parameter.targets) {
            assert!(r4().type_named(name).is_some(), "{}: {name}", parameter.url);
        }
        for (url, _) in &parameter.components {
            assert!(r4().search_parameter_by_url(url).is_some(), "{}: {url}", parameter.url);
        }
    }
    for (name, params) in r4().compartments().iter().flat_map(|compartment| &compartment.resources) {
        for param in params.iter().filter(|param| **param != "{def}") {
            assert!(r4().search_parameter(name, param).is_some(), "{name}: {param}");
        }
    }
}

#[test]
fn search_parameters_by_type() {
    let birthdate = r4().search_parameter("Patient", "birthdate").unwrap();
    assert_eq!(birthdate.url, "http://hl7.org/fhir/SearchParameter/individual-birthdate");
    assert_eq!(birthdate.param_type, ParamType::Date);
    assert!(r4().search_parameter("Patient", "_lastUpdated").is_some());
    assert!(r4().search_parameter("Patient", "_text").is_some());
    assert!(r4().search_parameter("Bundle", "_text").is_none());
    assert_eq!(r4().compartment("Patient").unwrap().params("Condition"), ["patient", "asserter"]);
    assert!(r4().compartment("Patient").unwrap().params("Medication").is_empty());
}

#[test]
fn value_sets_expand() {
    let gender = r4().value_set("http://hl7.org/fhir/ValueSet/administrative-gender").unwrap();
    let system = "http://hl7.org/fhir/administrative-gender";
    assert_eq!(gender.codes().unwrap().len(), 4);
    assert_eq!(gender.contains(system, "female"), Some(true));
    assert_eq!(gender.contains("http://example.org", "female"), Some(false));
    assert_eq!(gender.contains_code("f"), Some(false));
    let mimetypes = r4().value_set("http://hl7.org/fhir/ValueSet/mimetypes").unwrap();
    assert_eq!(mimetypes.contains_code("text/plain"), None);
    let started = Instant::now();
    let all = terminology::R4.value_sets.values();
    let count: usize = all.filter_map(|found| Some(found.codes()?.len())).sum();
    println!("{count} codes of all value sets in {:?}", started.elapsed());
    assert!(count > 19_000);
}

#[test]
fn code_systems_have_a_hierarchy() {
    let acts = r4().code_system("http://terminology.hl7.org/CodeSystem/v3-ActCode").unwrap();
    assert_eq!(acts.case_sensitive, Some(true));
    assert!(acts.is_a("AMB", "_ActEncounterCode") && acts.is_a("AMB", "AMB"));
    assert!(!acts.is_a("_ActEncounterCode", "AMB") && !acts.is_a("nothing", "nothing"));
    assert_eq!(acts.concept("AMB").unwrap().display, "ambulatory");
    let snomed = r4().code_system("http://snomed.info/sct").unwrap();
    assert!(!snomed.is_complete && snomed.case_sensitive == Some(false));
}

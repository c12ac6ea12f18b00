use super::*;
use crate::fhir::definitions::{Kind, Type};
use crate::tree;

fn with<T>(check: impl FnOnce(&Capabilities<'_>) -> T) -> T {
    let built = |_: &str, parameter: &SearchParameter| parameter.code != "_query";
    let meta = Operation {
        url: "http://hl7.org/fhir/OperationDefinition/Resource-meta",
        code: "meta",
        levels: vec!["system", "instance"],
        resources: vec!["Resource"],
    };
    let lastn =
        Operation { url: "http://x/lastn", code: "lastn", levels: vec!["type"], resources: vec!["Observation"] };
    let support =
        |type_name, interactions| ResourceSupport { type_name, interactions, supported_profiles: vec!["http://x/p"] };
    let capabilities = Capabilities {
        base_url: "http://x/fhir",
        software: "Pharos",
        version: "1.2.3",
        description: "A server",
        date: "2026-11-22",
        security: Some(tree!({ "cors": true })),
        instantiates: &["http://x/cs"],
        resources: vec![
            support("Patient", &["read", "search-type"]),
            support("Provenance", &["search-type"]),
            support("Observation", &["read"]),
        ],
        system_interactions: &["transaction"],
        operations: &[&meta, &lastn],
        compartments: &["http://hl7.org/fhir/CompartmentDefinition/patient"],
        patch_formats: &["application/json-patch+json"],
        policy: Policy {
            versioning: Some("versioned-update"),
            conditional_read: Some("full-support"),
            conditional_delete: Some("multiple"),
            reference_policy: &["literal"],
            ..Policy::default()
        },
        search: Search {
            is_built: &built,
            further: &[
                FurtherParameter {
                    type_name: "Patient",
                    code: "race",
                    url: "http://x/race",
                    param_type: ParamType::Token,
                    targets: &[],
                },
                FurtherParameter {
                    type_name: "Patient",
                    code: "friend",
                    url: "http://x/friend",
                    param_type: ParamType::Reference,
                    targets: &["Patient"],
                },
            ],
            includes: true,
        },
        code_systems: &["http://hl7.org/fhir/administrative-gender"],
    };
    check(&capabilities)
}

/// Checks that the definitions know every member, at every level, and that no mandatory element is missing.
fn check_members(object: &Object<'_>, definition: &'static Type, path: &str) {
    for element in definition.elements.iter().filter(|element| element.min > 0) {
        assert!(object.get(element.name).is_some(), "{path}.{} is missing", element.name);
    }
    for (name, value) in object.iter().filter(|(name, _)| *name != "resourceType") {
        let (element, type_ref) = definition.element(name).unwrap_or_else(|| panic!("{path}.{name} is unknown"));
        assert_eq!(value.as_array().is_some(), element.max != Some(1), "{path}.{name}");
        let inner = type_ref.definition().unwrap();
        for item in value.items() {
            assert_eq!(item.as_object().is_some(), inner.kind != Kind::Primitive, "{path}.{name}");
            if let Some(item) = item.as_object() {
                assert!(!item.is_empty());
                check_members(item, inner, name);
            }
        }
    }
}

fn resource<'v>(statement: &'v Value<'v>, name: &str) -> &'v Object<'v> {
    let list = statement.get("rest").unwrap().items()[0].get("resource").unwrap().items();
    list.iter().filter_map(Value::as_object).find(|resource| resource.str("type") == Some(name)).unwrap()
}

fn texts(list: Option<&Value<'_>>, name: &str) -> Vec<String> {
    let text = |item: &Value<'_>| item.as_str().or_else(|| item.get(name)?.as_str()).unwrap().to_owned();
    list.map(Value::items).unwrap_or_default().iter().map(text).collect()
}

#[test]
fn every_mode_answers_a_valid_resource() {
    with(|capabilities| {
        for mode in [Mode::Full, Mode::Normative, Mode::Terminology] {
            let value = capabilities.resource(mode);
            let object = value.as_object().unwrap();
            let definition = definitions::r4().type_named(object.resource_type().unwrap()).unwrap();
            check_members(object, definition, definition.name);
        }
    });
}

#[test]
fn only_what_is_built_is_listed() {
    with(|capabilities| {
        let statement = capabilities.resource(Mode::Full);
        assert_eq!(statement.get("fhirVersion").unwrap().as_str(), Some("4.0.1"));
        let patient = resource(&statement, "Patient");
        assert_eq!(texts(patient.get("interaction"), "code"), ["read", "search-type"]);
        let parameters = texts(patient.get("searchParam"), "name");
        for name in ["birthdate", "_id", "_lastUpdated", "race"] {
            assert_eq!(parameters.iter().filter(|found| *found == name).count(), 1, "{name}");
        }
        assert!(!parameters.contains(&"_query".to_owned()));
        assert!(texts(patient.get("searchInclude"), "").contains(&"Patient:organization".to_owned()));
        assert!(texts(patient.get("searchRevInclude"), "").contains(&"Provenance:target".to_owned()));
        assert!(texts(patient.get("searchRevInclude"), "").contains(&"Patient:friend".to_owned()));
        assert!(!texts(patient.get("searchRevInclude"), "").iter().any(|text| text.starts_with("Observation:")));
        assert_eq!(texts(patient.get("operation"), "name"), ["meta"]);
        let observation = resource(&statement, "Observation");
        assert!(observation.get("searchParam").is_none() && observation.get("searchInclude").is_none());
        assert_eq!(texts(observation.get("operation"), "name"), ["meta", "lastn"]);
        let rest = &statement.get("rest").unwrap().items()[0];
        assert_eq!(texts(rest.get("operation"), "name"), ["meta"]);
        assert_eq!(texts(rest.get("interaction"), "code"), ["transaction"]);
    });
}

#[test]
fn normative_leaves_trial_use_elements_out() {
    with(|capabilities| {
        let statement = capabilities.resource(Mode::Normative);
        let patient = resource(&statement, "Patient");
        let members: Vec<_> = patient.iter().map(|(name, _)| name).collect();
        assert_eq!(members, ["type", "profile", "interaction", "searchParam", "operation"]);
        assert!(statement.get("rest").unwrap().items()[0].get("security").is_none());
    });
}

#[test]
fn modes_by_name() {
    assert_eq!(Mode::from_code(None), Some(Mode::Full));
    assert_eq!(Mode::from_code(Some("terminology")), Some(Mode::Terminology));
    assert_eq!(Mode::from_code(Some("odd")), None);
    with(|capabilities| {
        let terminology = capabilities.resource(Mode::Terminology);
        assert_eq!(texts(terminology.get("codeSystem"), "uri"), ["http://hl7.org/fhir/administrative-gender"]);
    });
}

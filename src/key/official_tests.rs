//! The official search parameters over HL7's examples: keys are made where, by a second reading of the expressions, there is
//! something to be found; and each parameter that no example has keys for is listed with the reason.

mod naive;

use super::extract::is_indexed;
use super::{Extractor, prefix_of};
use crate::fhir::definitions::{self, ParamType, SearchParameter};
use crate::fhir::examples::r4_package;
use crate::fhir::parse::parse;
use crate::fhir::tree::Object;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Why no example has keys for a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reason {
    /// There is no expression.
    Expression,
    /// No example has the element.
    Element,
    /// Examples have the element, but none passes the condition of the expression.
    Condition,
    /// No element has a value for each component of the composite.
    Component,
    /// What stands there can't be searched: an identifier without value, an attachment where the parameter is of references.
    Unsearchable,
}

/// What the second reading says of a parameter and all examples of a type.
#[derive(Debug, Default)]
struct Told {
    has_elements: bool,
    has_passing: bool,
    has_keys: bool,
}

/// Whether a value can be found by a parameter.
fn is_searchable(value: &Value, parameter: &SearchParameter) -> bool {
    let has = |names: &[&str]| names.iter().any(|name| value.get(name).is_some());
    let is_number = |value: &Value| value["value"].is_number();
    let extended = value.as_object().filter(|_| value["url"].is_string() && parameter.param_type != ParamType::Uri);
    if let Some((_, value)) = extended.and_then(|object| object.iter().find(|(name, _)| name.starts_with("value"))) {
        return is_searchable(value, parameter);
    }
    match (parameter.param_type, value) {
        (ParamType::Token, Value::Object(_)) => match value["coding"].as_array() {
            Some(codings) => has(&["text"]) || codings.iter().any(|coding| is_searchable(coding, parameter)),
            None => has(&["text", "code", "system", "display", "value"]),
        },
        (ParamType::Reference, Value::Object(_)) => {
            let is_target = |name: &str| parameter.targets.contains(&name) && has(&["id"]);
            has(&["reference", "display"])
                || value["identifier"]["value"].is_string()
                || value["resourceType"].as_str().is_some_and(is_target)
        }
        (ParamType::String, Value::Object(_)) => {
            has(&["text", "family", "given", "prefix", "suffix", "line", "city", "state", "postalCode", "country"])
        }
        (ParamType::Date, Value::Object(_)) => has(&["start", "end", "event"]) || has_bounds(value),
        (ParamType::Number | ParamType::Quantity, Value::Object(_)) => {
            is_number(value) || is_number(&value["low"]) || is_number(&value["high"])
        }
        (ParamType::Token, _) => true,
        (ParamType::Number, value) => value.is_number(),
        // `scheduledString` is of no date.
        (ParamType::Date, value) => {
            value.as_str().is_some_and(|text| text.starts_with(|first: char| first.is_ascii_digit()))
        }
        (ParamType::String | ParamType::Reference | ParamType::Uri, value) => value.is_string(),
        (ParamType::Quantity | ParamType::Composite | ParamType::Special, _) => false,
    }
}

fn has_bounds(timing: &Value) -> bool {
    let period = &timing["repeat"]["boundsPeriod"];
    period["start"].is_string() || period["end"].is_string()
}

/// Whether each component has a value; a token needs a code.
fn has_components(element: &Value, resource: &Value, parameter: &SearchParameter) -> bool {
    parameter.components.iter().all(|(url, expression)| {
        // The definition of DocumentReference's `relationship` has these two swapped.
        let expression = match url.rsplit('/').next() {
            Some("DocumentReference-relatesto") => "target",
            Some("DocumentReference-relation") => "code",
            _ => expression,
        };
        let part = definitions::r4().search_parameter_by_url(url).unwrap();
        let has_code = |value: &Value| {
            let codings = value["coding"].as_array().map_or_else(|| vec![value], |codings| codings.iter().collect());
            value.is_string() || codings.iter().any(|coding| coding["code"].is_string() || coding["value"].is_string())
        };
        naive::component(expression, element, resource)
            .iter()
            .any(|value| is_searchable(value, part) && (part.param_type != ParamType::Token || has_code(value)))
    })
}

/// Reads a parameter's expression over an example.
fn tell(parameter: &SearchParameter, type_name: &str, resource: &Value) -> Told {
    let found = naive::find(&parameter.expression, type_name, resource);
    let has_keys = match parameter.param_type {
        ParamType::Composite => found.passing.iter().any(|element| has_components(element, resource, parameter)),
        _ => found.passing.iter().any(|value| is_searchable(value, parameter)),
    };
    // What the descriptions of these two say, but not their expressions.
    let has_keys = match &*parameter.url {
        "http://hl7.org/fhir/SearchParameter/Bundle-composition" => has_keys && resource["type"] == "document",
        "http://hl7.org/fhir/SearchParameter/Bundle-message" => has_keys && resource["type"] == "message",
        _ => has_keys,
    };
    Told { has_elements: !found.elements.is_empty(), has_passing: !found.passing.is_empty(), has_keys }
}

/// The parameters of a type, each with the type that it is defined for (`Resource` for `_tag`), that keys are made of by their
/// expressions.
fn parameters_of(type_name: &str) -> impl Iterator<Item = (&'static str, &'static SearchParameter)> {
    let definitions = definitions::r4();
    let base = move |parameter: &'static SearchParameter| {
        let mut bases = parameter.base.iter().copied();
        bases.find(|base| definitions.is_subtype_of(type_name, base)).map(|base| (base, parameter))
    };
    definitions.search_parameters_of(type_name).filter_map(base)
}

/// The resource and those in its entries, if it is a Bundle.
fn with_entries<'r>(resource: &'r Object<'r>, json: &'r Value) -> Vec<(&'r Object<'r>, &'r Value)> {
    let mut all = vec![(resource, json)];
    let entries = resource.get("entry").map(crate::fhir::tree::Value::items).unwrap_or_default();
    for (position, entry) in entries.iter().enumerate() {
        let inner = entry.get("resource").and_then(crate::fhir::tree::Value::as_object);
        all.extend(inner.map(|inner| (inner, &json["entry"][position]["resource"])));
    }
    all
}

/// Type and code of each parameter, with what was told of all examples; asserts for each example that keys are made where there
/// is something to be found.
fn told_of_examples(examples: &BTreeMap<String, Vec<u8>>) -> BTreeMap<(&'static str, String), Told> {
    let extractor = Extractor::new(None);
    let mut all: BTreeMap<(&'static str, String), Told> = BTreeMap::new();
    for parameter in definitions::r4().search_parameters() {
        all.extend(parameter.base.iter().map(|base| ((*base, parameter.code.to_string()), Told::default())));
    }
    let mut wrong = BTreeMap::new();
    for (name, bytes) in examples {
        let (tree, json) = (parse(bytes, 64).unwrap(), serde_json::from_slice::<Value>(bytes).unwrap());
        for (resource, json) in with_entries(tree.as_object().unwrap(), &json) {
            let type_name = resource.resource_type().unwrap();
            let keys = extractor.keys(resource);
            for (base, parameter) in parameters_of(type_name).filter(|(_, parameter)| is_indexed(parameter)) {
                let told = tell(parameter, type_name, json);
                if told.has_keys != keys.starting_with(&prefix_of(&parameter.code)).next().is_some() {
                    wrong.insert(format!("{type_name}.{}", parameter.code), (name, told.has_keys));
                }
                let entry = all.get_mut(&(base, parameter.code.to_string())).unwrap();
                entry.has_elements |= told.has_elements;
                entry.has_passing |= told.has_passing;
                entry.has_keys |= told.has_keys;
            }
        }
    }
    assert!(wrong.is_empty(), "where, and whether there should be keys: {wrong:#?}");
    all
}

fn reason(told: &Told, parameter: &SearchParameter) -> Reason {
    match parameter.param_type {
        _ if parameter.expression.is_empty() => Reason::Expression,
        _ if !told.has_elements => Reason::Element,
        _ if !told.has_passing => Reason::Condition,
        ParamType::Composite => Reason::Component,
        _ => Reason::Unsearchable,
    }
}

/// Parameters that have no keys of an expression, but are answered: by the id, the time and the words of a resource, its place.
const ANSWERED_OTHERWISE: [&str; 5] = ["_id", "_lastUpdated", "_text", "_content", "near"];

#[test]
fn parameters_that_no_example_has_keys_for_are_listed_with_the_reason() {
    let Some(examples) = r4_package() else { return };
    let told = told_of_examples(&examples);
    let pairs = told.len();
    let mut rows: BTreeMap<(Reason, &str), BTreeSet<&str>> = BTreeMap::new();
    let mut counts: BTreeMap<Reason, usize> = BTreeMap::new();
    for ((base, code), told) in &told {
        if told.has_keys || ANSWERED_OTHERWISE.contains(&code.as_str()) {
            continue;
        }
        let mut parameters = definitions::r4().search_parameters().iter();
        let parameter = parameters.find(|found| found.code == *code && found.base.contains(base)).unwrap();
        let reason = reason(told, parameter);
        rows.entry((reason, base)).or_default().insert(code);
        *counts.entry(reason).or_default() += 1;
    }
    let row = |((reason, base), codes): (&(Reason, &str), &BTreeSet<&str>)| {
        format!("{reason:?} {base}: {}\n", codes.iter().copied().collect::<Vec<_>>().join(" "))
    };
    let list: String = rows.iter().map(row).collect();
    let listed = include_str!("official_tests/without_keys.txt");
    assert!(list == listed, "the list is another one now:\n{list}");
    let page = include_str!("../../docs/search-parameters.md");
    let total: usize = counts.values().sum();
    println!("{total} of {pairs}: {counts:?}");
    assert!(
        page.contains(&format!("{pairs} pairs")) && page.contains(&format!("{total} of them")),
        "{total} of {pairs}"
    );
    for (reason, count) in counts {
        assert!(page.contains(&format!("| `{reason:?}` | {count} |")), "{reason:?}: {count}");
    }
}

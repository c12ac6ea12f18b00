//! What the expressions of the official search parameters find, told a second time: a reader of the few forms that they are
//! written in, over plain JSON. It shares nothing with the engine but the names of the types.

use crate::fhir::definitions::r4;
use regex::{Match, Regex};
use serde_json::Value;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex};

/// What an expression finds in a resource.
#[derive(Debug, Default)]
pub struct Found<'r> {
    /// The elements that its path leads to, whatever its filters say.
    pub elements: Vec<&'r Value>,
    /// Those of them that pass.
    pub passing: Vec<&'r Value>,
}

/// Evaluates the alternatives that are for a type.
pub fn find<'r>(expression: &str, type_name: &str, resource: &'r Value) -> Found<'r> {
    let mut found = Found::default();
    for text in expression.split(" | ").map(str::trim) {
        let plain = text.trim_start_matches('(');
        let is_rooted = plain.starts_with(|first: char| first.is_ascii_uppercase());
        if text == type_name {
            found.elements.push(resource);
            found.passing.push(resource);
            continue;
        }
        let path = match plain.split_once('.') {
            Some((root, _)) if [type_name, "Resource", "DomainResource"].contains(&root) => text.replacen(root, "", 1),
            _ if !is_rooted => text.to_owned(),
            _ => continue,
        };
        if path.contains(" and ") {
            // `Patient.deceased.exists() and …` is true or false for every Patient.
            static TRUE: Value = Value::Bool(true);
            found.passing.push(&TRUE);
            continue;
        }
        walk(&path, resource, resource, &mut found);
    }
    found
}

/// What a component of a composite finds in an element.
pub fn component<'r>(expression: &str, element: &'r Value, resource: &'r Value) -> Vec<&'r Value> {
    let mut found = Found::default();
    for text in expression.split(" | ") {
        match text.strip_prefix("%resource.") {
            Some(path) => walk(path, resource, resource, &mut found),
            None => walk(text, element, resource, &mut found),
        }
    }
    found.passing
}

/// `(a.b as T)` is written `a.b.as(T)`.
static AS: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"^\(?([\w.]+) as (\w+)\)?").unwrap());
/// One step: a name, perhaps with arguments or the position 0.
static STEP: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(\w+)(\((?:[^()']|'[^']*'|\((?:[^()']|'[^']*')*\))*\)|\[0\])?").unwrap());

/// Names, each with what stands behind it.
type Steps = Vec<(String, String)>;

/// The steps of a path; each is read once.
fn steps(path: &str) -> Arc<Steps> {
    static KNOWN: LazyLock<Mutex<HashMap<String, Arc<Steps>>>> = LazyLock::new(Mutex::default);
    let read = || {
        let path = AS.replace(path, "$1.as($2)");
        let text = |found: Option<Match<'_>>| found.map_or_else(String::new, |found| found.as_str().to_owned());
        Arc::new(STEP.captures_iter(&path).map(|step| (text(step.get(1)), text(step.get(2)))).collect())
    };
    Arc::clone(KNOWN.lock().unwrap().entry(path.to_owned()).or_insert_with(read))
}

fn walk<'r>(path: &str, from: &'r Value, root: &'r Value, found: &mut Found<'r>) {
    let steps = steps(path);
    let (mut elements, mut passing) = (vec![from], vec![from]);
    for (position, (name, rest)) in steps.iter().enumerate() {
        let argument = rest.trim_start_matches('(').trim_end_matches(')');
        match name.as_str() {
            "as" | "ofType" => {}
            "where" => passing.retain(|value| passes(value, argument, root)),
            "extension" => {
                let url = argument.trim_matches('\'');
                let url = url.replace("patient-extensions-Patient-mothersMaidenName", "patient-mothersMaidenName");
                passing = members(&passing, "extension", None);
                passing.retain(|extension| extension["url"] == *url);
            }
            _ => {
                let of = steps.get(position + 1).filter(|next| ["as", "ofType"].contains(&&*next.0));
                let of = of.map(|(_, of)| of.trim_matches(['(', ')']));
                elements = members(&elements, name, of);
                passing = members(&passing, name, of);
                if rest == "[0]" {
                    passing.truncate(1);
                }
            }
        }
    }
    found.elements.extend(elements);
    found.passing.extend(passing);
}

/// The members of a name, or of a choice's name and a type: `value` finds `valueQuantity` too.
fn members<'r>(values: &[&'r Value], name: &str, of: Option<&str>) -> Vec<&'r Value> {
    let is_meant = |member: &str| match (member.strip_prefix(name), of) {
        (Some(rest), Some(of)) => rest.eq_ignore_ascii_case(of),
        (Some(rest), None) => rest.is_empty() || is_type(rest),
        (None, _) => false,
    };
    let objects = values.iter().filter_map(|value| value.as_object());
    let found = objects.flatten().filter(|(member, _)| is_meant(member)).map(|(_, value)| value);
    found.flat_map(|value| value.as_array().map_or_else(|| vec![value], |items| items.iter().collect())).collect()
}

/// Whether this is how the name of a choice ends: `Quantity`, `DateTime`.
fn is_type(rest: &str) -> bool {
    let (first, others) = rest.split_at(1);
    let is_named = [rest.to_owned(), first.to_lowercase() + others].iter().any(|name| r4().type_named(name).is_some());
    is_named && rest.starts_with(|first: char| first.is_ascii_uppercase())
}

/// `where(resolve() is T)`, `where(system='x')`, `where(hasExtension('x'))`.
fn passes(value: &Value, condition: &str, root: &Value) -> bool {
    if let Some(type_name) = condition.strip_prefix("resolve() is ") {
        let reference = value["reference"].as_str().unwrap_or_default();
        if let Some(id) = reference.strip_prefix('#') {
            let contained = members(&[root], "contained", None);
            return contained.iter().any(|inner| inner["id"] == *id && inner["resourceType"] == *type_name);
        }
        let path = reference.split("/_history/").next().unwrap_or_default();
        let told = path.rsplit('/').nth(1).filter(|name| name.starts_with(|first: char| first.is_ascii_uppercase()));
        return told.or_else(|| value["type"].as_str()) == Some(type_name);
    }
    if let Some((member, text)) = condition.split_once('=') {
        return value[member] == *text.trim_matches('\'');
    }
    let url = condition.trim_start_matches("hasExtension('").trim_end_matches("')").trim_end_matches('\'');
    members(&[value], "extension", None).iter().any(|extension| extension["url"] == *url)
}

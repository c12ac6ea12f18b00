//! Profiles, tags and security labels: the three sets in a resource's `meta`.
//!
//! <https://hl7.org/fhir/R4/resource-operation-meta.html>, <https://hl7.org/fhir/R4/resource-operation-meta-add.html>,
//! <https://hl7.org/fhir/R4/resource-operation-meta-delete.html>, <https://hl7.org/fhir/R4/resource.html#tag-updates>.
//!
//! A tag or a label is its system and code: version and display do not count. A profile is its URL.

use super::tree::{Object, Value};
use crate::error::{Error, Issue, Result};

/// The three sets, in the order in which `Meta` defines them.
const SETS: [&str; 3] = ["profile", "security", "tag"];

/// The `meta` of a resource.
#[must_use]
pub fn meta<'r, 'a>(resource: &'r Object<'a>) -> Option<&'r Object<'a>> {
    resource.get("meta").and_then(Value::as_object)
}

/// Adds what is not there yet of the profiles, labels and tags in `given` (`$meta-add`; also the union over many resources
/// for `$meta` on a type or on the system).
pub fn add<'a>(meta: &mut Object<'a>, given: &Object<'a>) {
    for name in SETS {
        add_set(meta, given, name);
    }
}

fn add_set<'a>(meta: &mut Object<'a>, given: &Object<'a>, name: &'static str) {
    let new = given.get(name).map(Value::items).unwrap_or_default();
    if new.is_empty() {
        return;
    }
    if meta.get(name).is_none() {
        meta.set(name, Value::Array(Vec::new()));
    }
    if let Some(kept) = meta.get_mut(name).and_then(Value::as_array_mut) {
        for item in new {
            if !kept.iter().any(|old| same(old, item)) {
                kept.push(item.clone());
            }
        }
    }
}

/// Takes out the profiles, labels and tags that are in `given` (`$meta-delete`). What is not there is no error.
pub fn delete(meta: &mut Object<'_>, given: &Object<'_>) {
    for name in SETS {
        let gone = given.get(name).map(Value::items).unwrap_or_default();
        if let Some(kept) = meta.get_mut(name).and_then(Value::as_array_mut) {
            kept.retain(|old| !gone.iter().any(|item| same(old, item)));
            if kept.is_empty() {
                meta.remove(name);
            }
        }
    }
}

/// Two profiles with the same URL, or two codings with the same system and code.
fn same(one: &Value<'_>, other: &Value<'_>) -> bool {
    match (one.as_object(), other.as_object()) {
        (Some(one), Some(other)) => one.str("system") == other.str("system") && one.str("code") == other.str("code"),
        (None, None) => one == other,
        _ => false,
    }
}

/// Carries the labels and tags of the current version over into an update, as the specification says servers generally
/// do: labels and tags of an update are added to those that are there, so that a client that knows nothing of them does
/// not drop an access label by accident; `$meta-delete` takes them away. Profiles are those of the update alone.
/// The mark of an incomplete resource ([`super::subset`]) is never carried over.
pub fn carry_over<'a>(update: &mut Object<'a>, current: &Object<'a>) {
    let Some(old) = meta(current) else { return };
    let mut kept = Object::new();
    for name in ["security", "tag"] {
        add_set(&mut kept, old, name);
    }
    delete(&mut kept, &super::subset::mark());
    if !kept.is_empty() {
        change(update, |meta| add(meta, &kept));
    }
}

/// Changes the `meta` of a resource; one that was absent stands after the id, one that ends up empty is left out.
pub fn change<'a>(resource: &mut Object<'a>, change: impl FnOnce(&mut Object<'a>)) {
    let position = resource.position("id").or_else(|| resource.position("resourceType")).map_or(0, |at| at + 1);
    let mut meta = match resource.get_mut("meta").and_then(Value::as_object_mut) {
        Some(meta) => std::mem::take(meta),
        None => Object::new(),
    };
    change(&mut meta);
    if meta.is_empty() {
        resource.remove("meta");
    } else {
        resource.insert_at(position, "meta", meta.into());
    }
}

/// The answer of the three operations: `Parameters` with the resulting `meta` as `return`. A `meta` without content (which
/// only `$meta` on a type or on the system can come to) can't be written in FHIR: then there is no parameter.
#[must_use]
pub fn to_parameters(meta: Object<'_>) -> Value<'_> {
    if meta.is_empty() {
        return crate::tree!({ "resourceType": "Parameters" });
    }
    crate::tree!({ "resourceType": "Parameters", "parameter": [{ "name": "return", "valueMeta": (meta) }] })
}

/// The `meta` that `$meta-add` and `$meta-delete` are given.
///
/// # Errors
/// 400 where the body is not `Parameters` with exactly one parameter `meta` that has a `valueMeta`.
pub fn from_parameters<'r, 'a>(body: &'r Object<'a>) -> Result<&'r Object<'a>> {
    if body.resource_type() != Some("Parameters") {
        return Err(Error::invalid("The body must be a Parameters resource."));
    }
    let parameters = body.get("parameter").map(Value::items).unwrap_or_default();
    let mut named = parameters.iter().filter(|parameter| parameter.get("name").and_then(Value::as_str) == Some("meta"));
    let (Some(one), None) = (named.next(), named.next()) else {
        let issue = Issue::error("required", "Exactly one parameter named meta is needed.").at("Parameters.parameter");
        return Err(Error::from_issues(crate::error::Category::Invalid, vec![issue]));
    };
    one.get("valueMeta")
        .and_then(Value::as_object)
        .ok_or_else(|| Error::invalid("The parameter meta must have a valueMeta.").at("Parameters.parameter"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree;

    fn object(value: Value<'static>) -> Object<'static> {
        match value {
            Value::Object(object) => object,
            _ => panic!("an object"),
        }
    }

    fn sample() -> Object<'static> {
        object(tree!({
            "versionId": "1",
            "profile": ["http://x/a"],
            "tag": [{ "system": "http://s", "code": "1", "display": "One" }, { "code": "1" }]
        }))
    }

    #[test]
    fn adding_makes_no_duplicates() {
        let mut meta = sample();
        add(
            &mut meta,
            &object(tree!({
                "versionId": "9",
                "profile": ["http://x/b", "http://x/a"],
                "security": [{ "system": "http://c", "code": "R" }],
                "tag": [{ "system": "http://s", "code": "1", "display": "Other", "version": "2" }, { "code": "2" }]
            })),
        );
        let expected = tree!({
            "versionId": "1",
            "profile": ["http://x/a", "http://x/b"],
            "tag": [{ "system": "http://s", "code": "1", "display": "One" }, { "code": "1" }, { "code": "2" }],
            "security": [{ "system": "http://c", "code": "R" }]
        });
        assert_eq!(Value::Object(meta), expected);
    }

    #[test]
    fn deleting_goes_by_system_and_code() {
        let mut meta = sample();
        delete(
            &mut meta,
            &object(tree!({ "profile": ["http://x/a"], "tag": [{ "system": "http://s", "code": "1" }] })),
        );
        assert_eq!(Value::Object(meta), tree!({ "versionId": "1", "tag": [{ "code": "1" }] }));
    }

    #[test]
    fn an_update_keeps_labels_and_tags_but_not_profiles() {
        let current = object(tree!({
            "resourceType": "Patient", "id": "1",
            "meta": {
                "profile": ["http://x/old"],
                "security": [{ "system": "http://c", "code": "R" }],
                "tag": [{ "code": "old" }, { "system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue", "code": "SUBSETTED" }]
            }
        }));
        let mut update = object(tree!({ "resourceType": "Patient", "id": "1", "active": true }));
        carry_over(&mut update, &current);
        let expected = tree!({
            "resourceType": "Patient", "id": "1",
            "meta": { "security": [{ "system": "http://c", "code": "R" }], "tag": [{ "code": "old" }] },
            "active": true
        });
        assert_eq!(Value::Object(update), expected);
    }

    #[test]
    fn a_meta_without_content_is_left_out() {
        let mut patient = object(tree!({ "resourceType": "Patient", "meta": { "tag": [{ "code": "a" }] } }));
        change(&mut patient, |meta| delete(meta, &object(tree!({ "tag": [{ "code": "a" }] }))));
        assert_eq!(Value::Object(patient), tree!({ "resourceType": "Patient" }));
    }

    #[test]
    fn parameters_in_and_out() {
        let answer = to_parameters(sample());
        assert_eq!(answer.get("parameter").unwrap().items()[0].get("valueMeta"), Some(&Value::Object(sample())));
        assert_eq!(to_parameters(Object::new()), tree!({ "resourceType": "Parameters" }));
        let given = object(
            tree!({ "resourceType": "Parameters", "parameter": [{ "name": "meta", "valueMeta": { "tag": [{ "code": "a" }] } }] }),
        );
        assert!(from_parameters(&given).unwrap().get("tag").is_some());
        for wrong in [
            tree!({ "resourceType": "Patient" }),
            tree!({ "resourceType": "Parameters" }),
            tree!({ "resourceType": "Parameters", "parameter": [{ "name": "meta", "valueString": "a" }] }),
            tree!({ "resourceType": "Parameters", "parameter": [{ "name": "meta" }, { "name": "meta" }] }),
        ] {
            assert!(from_parameters(&object(wrong)).is_err());
        }
    }
}

//! The parameters of an operation as pairs of name and text, wherever they stand: in the URL, in a form, or in a body of type
//! Parameters. <https://hl7.org/fhir/R4/operations.html#request>, <https://hl7.org/fhir/R4/parameters.html>

use crate::error::{Category, Error, Issue, Result};
use crate::fhir::tree::{Object, Value};
use crate::interaction::Request;

/// What the server reads itself and what is no parameter of any operation.
const NOT_PARAMETERS: [&str; 3] = ["_format", "_pretty", "_cursor"];

/// The parameters of a request, in order: those of the URL, then those of the body, which is taken. Values of complex types are
/// in the form that a search has for them: `system|code`, `[type]/[id]`. Empty ones are left out.
///
/// # Errors
/// 400 for a body that is no Parameters resource, and for a parameter without a value that has such a form.
pub fn pairs(request: &mut Request<'_>) -> Result<Vec<(String, String)>> {
    let mut pairs = request.query.clone();
    if request.body.is_some() {
        let body = request.resource()?;
        if body.resource_type() != Some("Parameters") {
            return Err(Error::invalid("The body must be a Parameters resource."));
        }
        for (at, parameter) in body.get("parameter").map(Value::items).unwrap_or_default().iter().enumerate() {
            let pair = parameter.as_object().and_then(pair).ok_or_else(|| bad(at))?;
            pairs.push(pair);
        }
    }
    pairs.retain(|(name, value)| !value.is_empty() && !NOT_PARAMETERS.contains(&name.as_str()));
    Ok(pairs)
}

/// 400 for a parameter that an operation does not have.
#[must_use]
pub fn unknown(operation: &str, name: &str) -> Error {
    let looks_like_one =
        name.len() <= 64 && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-:.".contains(&byte));
    let text = if looks_like_one {
        format!("{operation} has no parameter `{name}`.")
    } else {
        format!("{operation} is given a parameter that it does not have.")
    };
    Error::new(Category::Invalid, "not-supported", text)
}

fn bad(at: usize) -> Error {
    let text = "A parameter of this operation has a name and one value, which is a primitive, a Coding, a CodeableConcept, an \
                Identifier, a Quantity or a Reference.";
    let issue = Issue::error("value", text).at(format!("Parameters.parameter[{at}]"));
    Error::from_issues(Category::Invalid, vec![issue])
}

fn pair(parameter: &Object<'_>) -> Option<(String, String)> {
    let name = parameter.str("name")?;
    let mut values = parameter.iter().filter(|(name, _)| !matches!(*name, "id" | "name" | "extension"));
    let (Some((kind, value)), None) = (values.next(), values.next()) else { return None };
    Some((name.to_owned(), text(kind.strip_prefix("value")?, value)?))
}

fn text(kind: &str, value: &Value<'_>) -> Option<String> {
    match value {
        Value::String(text) | Value::Number(text) => Some(text.to_string()),
        Value::Bool(value) => Some(value.to_string()),
        Value::Object(object) => match kind {
            "Coding" => token(object, "code"),
            "Identifier" => token(object, "value"),
            "CodeableConcept" => {
                let codings = object.get("coding").map(Value::items).unwrap_or_default();
                let tokens = codings.iter().map(|coding| token(coding.as_object()?, "code"));
                tokens.collect::<Option<Vec<_>>>().filter(|tokens| !tokens.is_empty()).map(|tokens| tokens.join(","))
            }
            "Reference" => object.str("reference").map(escaped),
            "Quantity" => {
                let Some(Value::Number(value)) = object.get("value") else { return None };
                let comparator = match object.str("comparator") {
                    None => "",
                    Some("<") => "lt",
                    Some("<=") => "le",
                    Some(">") => "gt",
                    Some(">=") => "ge",
                    Some(_) => return None,
                };
                let part = |name| object.str(name).map(escaped).unwrap_or_default();
                let unit = if object.str("code").is_some() { part("code") } else { part("unit") };
                Some(format!("{comparator}{value}|{}|{unit}", part("system")))
            }
            _ => None,
        },
        Value::Null | Value::Array(_) => None,
    }
}

fn token(object: &Object<'_>, code: &str) -> Option<String> {
    match (object.str("system").map(escaped), object.str(code).map(escaped)) {
        (Some(system), code) => Some(format!("{system}|{}", code.unwrap_or_default())),
        (None, code) => code,
    }
}

/// The text with what separates values escaped: <https://hl7.org/fhir/R4/search.html#escaping>.
#[must_use]
pub fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for char in text.chars() {
        if matches!(char, ',' | '|' | '$' | '\\') {
            escaped.push('\\');
        }
        escaped.push(char);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_take_the_form_that_a_search_has_for_them() {
        let cases = [
            (crate::tree!({ "name": "a", "valueCode": "x" }), Some("x")),
            (crate::tree!({ "name": "a", "valueBoolean": true }), Some("true")),
            (
                crate::tree!({ "name": "a", "valueCoding": { "system": "http://s", "code": "a|b" } }),
                Some("http://s|a\\|b"),
            ),
            (crate::tree!({ "name": "a", "valueCoding": { "code": "c" } }), Some("c")),
            (crate::tree!({ "name": "a", "valueIdentifier": { "system": "s", "value": "1" } }), Some("s|1")),
            (crate::tree!({ "name": "a", "valueReference": { "reference": "Patient/p" } }), Some("Patient/p")),
            (
                crate::tree!({ "name": "a", "valueCodeableConcept": { "coding": [{ "code": "x" }, { "system": "s", "code": "y" }] } }),
                Some("x,s|y"),
            ),
            (crate::tree!({ "name": "a", "valuePeriod": { "start": "2020" } }), None),
            (crate::tree!({ "name": "a", "part": [] }), None),
            (crate::tree!({ "name": "a" }), None),
            (crate::tree!({ "valueCode": "x" }), None),
        ];
        for (parameter, expected) in cases {
            let found = parameter.as_object().and_then(pair).map(|(_, value)| value);
            assert_eq!(found.as_deref(), expected, "{parameter:?}");
        }
    }
}

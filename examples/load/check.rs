//! Whether an answer is what it should be. The reasons name elements, never their values.

use crate::bundles::DEPTH;
use crate::client::Answer;
use pharos::fhir::parse::parse;
use pharos::fhir::tree::{Object, Value};

/// The status is one of these.
pub fn status(answer: &Answer, allowed: &[u16]) -> Result<(), String> {
    if allowed.contains(&answer.status) { Ok(()) } else { Err(format!("status {}", answer.status)) }
}

/// The `ETag` is that of version `version`.
pub fn version(answer: &Answer, version: &str) -> Result<(), String> {
    let found = answer.etag().map(|etag| etag.trim_start_matches("W/").trim_matches('"'));
    if found == Some(version) { Ok(()) } else { Err("ETag of another version".to_owned()) }
}

/// The body is this resource at this address and version, and for the rest what was sent: members, their order, numbers.
pub fn content(answer: &Answer, address: &str, version: &str, sent: &Object<'_>) -> Result<(), String> {
    let body = parse(&answer.body, DEPTH).map_err(|error| format!("body: {error}"))?;
    let Value::Object(mut found) = body else { return Err("the body is no object".to_owned()) };
    let its = format!("{}/{}", found.resource_type().unwrap_or_default(), found.id().unwrap_or_default());
    if its != address {
        return Err("resourceType or id of another resource".to_owned());
    }
    let meta = found.get("meta").and_then(Value::as_object);
    if meta.and_then(|meta| meta.str("versionId")) != Some(version) {
        return Err("meta.versionId of another version".to_owned());
    }
    let mut sent = sent.clone();
    strip(&mut sent);
    strip(&mut found);
    difference(&Value::Object(sent), &Value::Object(found), its.split('/').next().unwrap_or_default())
        .map_or(Ok(()), Err)
}

/// Takes out what the server decides: `id`, `meta.versionId`, `meta.lastUpdated`.
fn strip(resource: &mut Object<'_>) {
    resource.remove("id");
    let Some(meta) = resource.get_mut("meta").and_then(Value::as_object_mut) else { return };
    meta.remove("versionId");
    meta.remove("lastUpdated");
    if meta.is_empty() {
        resource.remove("meta");
    }
}

/// The path of the first difference. The place of `meta` among the members is the server's.
fn difference(sent: &Value<'_>, found: &Value<'_>, path: &str) -> Option<String> {
    match (sent, found) {
        (Value::Object(sent), Value::Object(found)) => {
            let names = |object: &Object<'_>| -> Vec<String> {
                object.iter().map(|(name, _)| name.to_owned()).filter(|name| name != "meta").collect()
            };
            if names(sent) != names(found) || sent.get("meta").is_some() != found.get("meta").is_some() {
                return Some(format!("{path}: other members, or in another order"));
            }
            sent.iter().find_map(|(name, value)| difference(value, found.get(name)?, &format!("{path}.{name}")))
        }
        (Value::Array(sent), Value::Array(found)) if sent.len() == found.len() => sent
            .iter()
            .zip(found)
            .enumerate()
            .find_map(|(n, (sent, found))| difference(sent, found, &format!("{path}[{n}]"))),
        _ => (sent != found).then(|| format!("{path}: another value")),
    }
}

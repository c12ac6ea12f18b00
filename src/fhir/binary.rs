//! Binary in its own content type: <https://hl7.org/fhir/R4/binary.html#rest>.

use super::parse::parse;
use super::tree::{Object, Value};
use crate::error::{Category, Error, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// The Binary resource that holds these bytes; an update brings the id of its URL.
#[must_use]
pub fn resource<'a>(id: Option<&str>, content_type: &str, security_context: Option<&str>, bytes: &[u8]) -> Value<'a> {
    let mut binary = Object::new();
    binary.set("resourceType", Value::from("Binary"));
    if let Some(id) = id {
        binary.set("id", Value::from(id.to_owned()));
    }
    binary.set("contentType", Value::from(content_type.to_owned()));
    if let Some(reference) = security_context {
        binary.set("securityContext", crate::tree!({ "reference": (reference.to_owned()) }));
    }
    if !bytes.is_empty() {
        binary.set("data", Value::from(STANDARD.encode(bytes)));
    }
    Value::Object(binary)
}

/// The content type and the bytes that a Binary in JSON holds.
///
/// # Errors
/// When it is no Binary or its data is no base64: what is stored was checked, so that is the server's fault.
pub fn content(json: &[u8]) -> Result<(String, Vec<u8>)> {
    let tree = parse(json, usize::MAX).map_err(Error::internal)?;
    let binary = tree.as_object().ok_or_else(|| Error::internal("a Binary that is no object"))?;
    let content_type = binary.str("contentType").unwrap_or("application/octet-stream").to_owned();
    if content_type.bytes().any(|byte| byte.is_ascii_control()) {
        return Err(Error::new(Category::Unprocessable, "value", "The content type can't be sent as a header."));
    }
    let data: String = binary.str("data").unwrap_or_default().split_ascii_whitespace().collect();
    Ok((content_type, STANDARD.decode(data).map_err(Error::internal)?))
}

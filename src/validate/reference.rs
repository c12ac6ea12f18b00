//! The form of references. <https://hl7.org/fhir/R4/references.html#literal>

use super::{Check, Path, primitive};
use crate::fhir::definitions::{self, TypeRef};
use crate::fhir::tree::Object;

/// What can be told of the target of a literal reference.
#[derive(Debug, PartialEq, Eq)]
enum Target<'r> {
    /// `#id`, or nothing after the `#` for the container itself.
    Local(&'r str),
    /// `Patient/1`, `https://example.org/fhir/Patient/1/_history/2`.
    Type(&'r str),
    /// `Patient?identifier=…`.
    Conditional(&'r str),
    /// An absolute URL or URN that does not tell.
    Unknown,
}

impl<'r> Check<'r> {
    /// A `Reference`: the form of its `reference`, that it resolves if it is local, and the type it points to.
    pub(super) fn reference(&mut self, object: &'r Object<'r>, type_ref: &TypeRef, path: &Path<'_>) {
        let here = path.name("reference");
        let Some(text) = object.str("reference") else { return };
        let target = match target(text) {
            Ok(target) => target,
            Err(message) => return self.issue("value", message, &here),
        };
        let found = match target {
            Target::Local(id) => {
                self.scope.note(text);
                match self.local(id) {
                    Ok(found) => found,
                    Err(message) => return self.issue("invariant", message, &here),
                }
            }
            Target::Conditional(_) if !self.in_transaction => {
                return self.issue("value", "A conditional reference is allowed only in a transaction.", &here);
            }
            Target::Type(name) | Target::Conditional(name) => Some(name),
            Target::Unknown => None,
        };
        let Some(found) = found else { return };
        if !type_ref.targets.is_empty() && !type_ref.targets.contains(&found) {
            self.issue("structure", format!("The target must be one of: {}.", type_ref.targets.join(", ")), &here);
        }
        if object.str("type").is_some_and(|stated| type_name(stated) != found) {
            self.issue("value", "The type that the reference states is not that of its target.", &path.name("type"));
        }
    }

    /// The type of the target of a local reference.
    fn local(&self, id: &str) -> Result<Option<&'r str>, &'static str> {
        if id.is_empty() {
            let outside = "Only a contained resource can refer to its container.";
            return if self.scope.is_inside() { Ok(None) } else { Err(outside) };
        }
        let found = self.scope.contained(id).ok_or("No contained resource has this id (ref-1).")?;
        Ok(found.resource_type())
    }
}

/// The name of a type that `Reference.type` gives, with or without its URL.
fn type_name(stated: &str) -> &str {
    stated.strip_prefix("http://hl7.org/fhir/StructureDefinition/").unwrap_or(stated)
}

fn target(text: &str) -> Result<Target<'_>, &'static str> {
    const FORM: &str = "A reference must be `Type/id`, an absolute URL, `urn:uuid:…`, `urn:oid:…` or `#id`.";
    if text.bytes().any(|byte| byte.is_ascii_whitespace()) {
        return Err("A reference must not have blanks.");
    }
    if let Some(id) = text.strip_prefix('#') {
        return Ok(Target::Local(id));
    }
    if let Some((scheme, rest)) = text.split_once(':').filter(|(scheme, _)| is_scheme(scheme)) {
        return match scheme {
            "urn" if rest.starts_with("uuid:") && !primitive::is_uuid(&text.to_ascii_lowercase()) => {
                Err("`urn:uuid:` must be followed by a UUID.")
            }
            "urn" if rest.starts_with("oid:") && !primitive::is_oid(text) => {
                Err("`urn:oid:` must be followed by an OID.")
            }
            _ if rest.is_empty() => Err(FORM),
            "http" | "https" => Ok(typed_end(rest).map_or(Target::Unknown, Target::Type)),
            _ => Ok(Target::Unknown),
        };
    }
    if let Some((name, _)) = text.split_once('?') {
        return if is_type(name) { Ok(Target::Conditional(name)) } else { Err(FORM) };
    }
    let mut parts = text.split('/');
    let (name, id) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let is_versioned = match (parts.next(), parts.next(), parts.next()) {
        (None, ..) => true,
        (Some("_history"), Some(version), None) => primitive::is_id(version),
        _ => false,
    };
    if !is_versioned || !primitive::is_id(id) {
        return Err(FORM);
    }
    if is_type(name) { Ok(Target::Type(name)) } else { Err("The target is of no type of FHIR R4.") }
}

/// The type at the end of a URL that ends like one of a FHIR server.
fn typed_end(url: &str) -> Option<&str> {
    let mut parts = url.rsplit('/');
    let mut id = parts.next()?;
    let mut name = parts.next()?;
    if name == "_history" {
        (id, name) = (parts.next()?, parts.next()?);
    }
    // Before them stands a host at least.
    parts.next().filter(|part| !part.is_empty())?;
    (primitive::is_id(id) && is_type(name)).then_some(name)
}

fn is_type(name: &str) -> bool {
    definitions::r4().is_resource_type(name)
}

fn is_scheme(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    text.starts_with(|first: char| first.is_ascii_alphabetic()) && text.bytes().all(inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets() {
        let cases = [
            ("Patient/1", Ok(Target::Type("Patient"))),
            ("Patient/1/_history/2", Ok(Target::Type("Patient"))),
            ("http://example.org/fhir/Patient/1/_history/2", Ok(Target::Type("Patient"))),
            ("https://example.org/Patient/1", Ok(Target::Type("Patient"))),
            ("http://Patient/1", Ok(Target::Unknown)),
            ("http://example.org/somewhere", Ok(Target::Unknown)),
            ("#", Ok(Target::Local(""))),
            ("#a", Ok(Target::Local("a"))),
            ("Patient?identifier=a|b", Ok(Target::Conditional("Patient"))),
            ("urn:uuid:b4a4ed76-1a7b-4a0f-9a5e-0d6d0a2a7d5b", Ok(Target::Unknown)),
            ("urn:uuid:B4A4ED76-1A7B-4A0F-9A5E-0D6D0A2A7D5B", Ok(Target::Unknown)),
        ];
        for (text, expected) in cases {
            assert_eq!(target(text), expected, "{text}");
        }
        for text in
            ["", "Patient", "Patient/", "Pat/1", "Patient/1/2", "/Patient/1", "Patient/1/_history", "Patient/a b"]
        {
            assert!(target(text).is_err(), "{text}");
        }
        for text in ["urn:uuid:x", "urn:oid:x", "http:", "Pat?x=y", "Patient/1/_history/2/3", "Patient/a_b"] {
            assert!(target(text).is_err(), "{text}");
        }
    }
}

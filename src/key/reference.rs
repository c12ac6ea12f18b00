//! References and URIs.
//!
//! Parts: `r id type` for a resource of this server, `v id type version` beside it for a version of one, `u url` for
//! everything else (a canonical with a version both with and without it), `i value system` for `Reference.identifier`, `t text`
//! for `Reference.display`, and `# type slot` for a resource inside of the one that refers ([`super::inner`]).
//!
//! <https://hl7.org/fhir/R4/search.html#reference>, <https://hl7.org/fhir/R4/search.html#uri>

use super::bytes::{END, Parts, open_text, text, url};
use super::fold::fold;
use super::inner::Home;
use super::range::{KeyRange, Step};
use crate::fhir::definitions;
use crate::fhir::tree::{Object, Value};

/// What the part of a reference to a resource of this server looks like.
pub const SHAPE: [Step; 2] = [Step::Bytes(1), Step::Texts(2)];
/// What the part of a URI looks like.
pub const URI_SHAPE: [Step; 2] = [Step::Bytes(1), Step::Texts(1)];

/// What a reference's text says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target<'t> {
    /// A resource of this server, or one version of it.
    Local {
        /// The resource type.
        type_name: &'t str,
        /// The logical id.
        id: &'t str,
        /// The version, where the reference is to one.
        version: Option<&'t str>,
    },
    /// Anything else.
    Url(&'t str),
}

impl<'t> Target<'t> {
    /// Reads a reference; `base` is the address of this server, without a slash at the end, where it is known.
    #[must_use]
    pub fn read(reference: &'t str, base: Option<&str>) -> Self {
        let relative = base.and_then(|base| reference.strip_prefix(base)?.strip_prefix('/')).unwrap_or(reference);
        let mut parts = relative.split('/');
        let (Some(type_name), Some(id)) = (parts.next(), parts.next()) else { return Self::Url(reference) };
        let version = match (parts.next(), parts.next(), parts.next()) {
            (None, ..) => None,
            (Some("_history"), Some(version), None) => Some(version),
            _ => return Self::Url(reference),
        };
        if definitions::r4().is_resource_type(type_name) && !id.is_empty() {
            Self::Local { type_name, id, version }
        } else {
            Self::Url(reference)
        }
    }
}

/// Adds the parts of a `Reference`.
pub fn object_parts(out: &mut Parts, reference: &Object<'_>, home: Home<'_>) {
    if let Some(text) = reference.str("reference") {
        text_parts(out, text, home);
    }
    if let Some(display) = reference.str("display").map(fold).filter(|folded| !folded.is_empty()) {
        out.add(b't', |bytes| text(bytes, &display));
    }
    if let Some(identifier) = reference.get("identifier") {
        identifier_parts(out, identifier);
    }
}

fn identifier_parts(out: &mut Parts, identifier: &Value<'_>) {
    let text = |name| identifier.get(name).and_then(Value::as_str);
    if let Some(value) = text("value") {
        out.add(b'i', |bytes| identifier_bytes(bytes, text("system").unwrap_or_default(), value));
    }
}

/// Adds the parts of a reference to a resource that stands inside of the one that is read.
pub fn inner_parts(out: &mut Parts, resource: &Object<'_>, home: Home<'_>) {
    if let Some(inner) = home.name_of(resource) {
        inner.add_part(out);
    }
    if let (Some(type_name), Some(id)) = (resource.resource_type(), resource.id()) {
        target_parts(out, Target::Local { type_name, id, version: None });
    }
    if let Some(identifier) = resource.get("identifier") {
        identifier_parts(out, identifier);
    }
}

/// Adds the parts of a canonical or other URI that refers.
pub fn parts(out: &mut Parts, value: &Value<'_>, home: Home<'_>) {
    if let Some(text) = value.as_str() {
        text_parts(out, text, home);
    }
}

fn text_parts(out: &mut Parts, text: &str, home: Home<'_>) {
    match text.strip_prefix('#') {
        Some(id) => home.local(id).into_iter().for_each(|inner| inner.add_part(out)),
        None => target_parts(out, Target::read(text, home.base)),
    }
}

/// Adds the part of a resource of this server.
pub fn resource_parts(out: &mut Parts, type_name: &str, id: &str) {
    out.add(b'r', |bytes| [id, type_name].iter().for_each(|part| text(bytes, part)));
}

fn target_parts(out: &mut Parts, target: Target<'_>) {
    match target {
        Target::Local { type_name, id, version } => {
            resource_parts(out, type_name, id);
            if let Some(version) = version {
                out.add(b'v', |bytes| [id, type_name, version].iter().for_each(|part| text(bytes, part)));
            }
        }
        Target::Url(url) => uri_parts(out, url),
    }
}

/// Adds the parts of a URI or canonical: with its version, and without it.
pub fn uri_parts(out: &mut Parts, uri: &str) {
    out.add(b'u', |bytes| url(bytes, uri));
    if let Some((plain, _)) = uri.split_once('|') {
        out.add(b'u', |bytes| url(bytes, plain));
    }
}

fn identifier_bytes(bytes: &mut Vec<u8>, system: &str, value: &str) {
    text(bytes, &value.to_lowercase());
    text(bytes, system);
}

/// The range of the references to a resource of this server.
#[must_use]
pub fn matching_resource(type_name: &str, id: &str) -> KeyRange {
    let mut bytes = vec![b'r'];
    for part in [id, type_name] {
        text(&mut bytes, part);
    }
    KeyRange::exactly(&bytes)
}

/// The range of the references to a version of a resource of this server.
#[must_use]
pub fn matching_version(type_name: &str, id: &str, version: &str) -> KeyRange {
    let mut bytes = vec![b'v'];
    for part in [id, type_name, version] {
        text(&mut bytes, part);
    }
    KeyRange::exactly(&bytes)
}

/// The range of the references to a resource of any type with this id.
#[must_use]
pub fn matching_id(id: &str) -> KeyRange {
    let mut bytes = vec![b'r'];
    text(&mut bytes, id);
    KeyRange::prefix(&bytes)
}

/// The range of a URI.
#[must_use]
pub fn matching_uri(uri: &str) -> KeyRange {
    let mut bytes = vec![b'u'];
    url(&mut bytes, uri);
    KeyRange::exactly(&bytes)
}

/// The range of the URIs that start with this one.
#[must_use]
pub fn matching_uri_start(uri: &str) -> KeyRange {
    let mut bytes = vec![b'u'];
    open_text(&mut bytes, uri);
    KeyRange::prefix(&bytes)
}

/// The range of the references whose display starts with this folded text, for `:text`.
#[must_use]
pub fn matching_display(folded: &str) -> KeyRange {
    let mut bytes = vec![b't'];
    open_text(&mut bytes, folded);
    KeyRange::prefix(&bytes)
}

/// The range of the references by this identifier: of any system where `system` is `None`.
#[must_use]
pub fn matching_identifier(system: Option<&str>, value: &str) -> KeyRange {
    let mut bytes = vec![b'i'];
    match system {
        None => {
            text(&mut bytes, &value.to_lowercase());
            KeyRange::prefix(&bytes)
        }
        Some(system) => {
            identifier_bytes(&mut bytes, system, value);
            KeyRange::exactly(&bytes)
        }
    }
}

/// The type and id in a key of a reference, where it is one to a resource of this server; `code_len` is the length of the
/// parameter's code.
#[must_use]
pub fn target_in(key: &[u8], code_len: usize) -> Option<(&str, &str)> {
    let rest = key.get(code_len..)?.strip_prefix(&[END, b'r'])?;
    let mut texts = rest.split(|byte| *byte == END).map(std::str::from_utf8);
    let (id, type_name) = (texts.next()?.ok()?, texts.next()?.ok()?);
    Some((type_name, id))
}

/// The URL in a key of a reference or URI.
#[must_use]
pub fn url_in(key: &[u8], code_len: usize) -> Option<&str> {
    let rest = key.get(code_len..)?.strip_prefix(&[END, b'u'])?;
    std::str::from_utf8(rest.strip_suffix(&[END])?).ok()
}

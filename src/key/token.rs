//! Tokens: codes, identifiers, booleans.
//!
//! A part is `c folded-code system code`, where the last text is empty unless the system is known to care about case and the
//! code is not the same folded; `s system`; `t text` for `:text`; `o system type value` for `:of-type`.
//!
//! <https://hl7.org/fhir/R4/search.html#token>

use super::bytes::{Parts, open_text, text};
use super::fold::fold;
use super::range::{KeyRange, Step};
use crate::fhir::definitions;
use crate::fhir::tree::{Object, Value};
use std::borrow::Cow;

/// What the part of a code looks like.
pub const SHAPE: [Step; 2] = [Step::Bytes(1), Step::Texts(3)];

/// Adds the parts of a complex element.
pub fn object_parts(out: &mut Parts, type_name: &str, object: &Object<'_>) {
    match type_name {
        "CodeableConcept" => concept(out, object),
        "Identifier" => identifier(out, object),
        "ContactPoint" => contact_point(out, object),
        _ => coding(out, object),
    }
}

/// Adds the parts of a primitive. `implied` are the systems of an element of type `code`.
pub fn parts(out: &mut Parts, value: &Value<'_>, implied: &[&str]) {
    match value {
        Value::String(code) => {
            code_parts(out, "", code);
            for system in implied {
                code_parts(out, system, code);
            }
        }
        Value::Bool(value) => code_parts(out, "", if *value { "true" } else { "false" }),
        Value::Number(number) => code_parts(out, "", number),
        _ => {}
    }
}

fn code_parts(out: &mut Parts, system: &str, code: &str) {
    let folded = fold_code(code);
    let exact = if folded == code || !minds_case(system) { "" } else { code };
    out.add(b'c', |bytes| [folded.as_ref(), system, exact].iter().for_each(|part| text(bytes, part)));
}

fn system_part(out: &mut Parts, system: &str) {
    out.add(b's', |bytes| text(bytes, system));
}

fn text_part(out: &mut Parts, words: Option<&str>) {
    if let Some(folded) = words.map(fold).filter(|folded| !folded.is_empty()) {
        out.add(b't', |bytes| text(bytes, &folded));
    }
}

/// The form of a code in which case makes no difference.
#[must_use]
pub fn fold_code(code: &str) -> Cow<'_, str> {
    if code.bytes().any(|byte| byte.is_ascii_uppercase() || !byte.is_ascii()) {
        Cow::Owned(code.to_lowercase())
    } else {
        Cow::Borrowed(code)
    }
}

/// Whether case makes a difference in this system: only where its definition is known and says so.
fn minds_case(system: &str) -> bool {
    definitions::r4().code_system(system).is_some_and(|system| system.case_sensitive == Some(true))
}

fn coding(out: &mut Parts, coding: &Object<'_>) {
    let system = coding.str("system");
    if let Some(code) = coding.str("code") {
        code_parts(out, system.unwrap_or_default(), code);
    }
    if let Some(system) = system {
        system_part(out, system);
    }
    text_part(out, coding.str("display"));
}

fn concept(out: &mut Parts, concept: &Object<'_>) {
    for item in concept.get("coding").map_or(&[][..], Value::items).iter().filter_map(Value::as_object) {
        coding(out, item);
    }
    text_part(out, concept.str("text"));
}

fn identifier(out: &mut Parts, identifier: &Object<'_>) {
    let system = identifier.str("system");
    let kind = identifier.get("type").and_then(Value::as_object);
    if let Some(system) = system {
        system_part(out, system);
    }
    if let Some(value) = identifier.str("value") {
        code_parts(out, system.unwrap_or_default(), value);
        let codings = kind.and_then(|kind| kind.get("coding")).map_or(&[][..], Value::items);
        for kind in codings.iter().filter_map(Value::as_object) {
            of_type_part(out, kind.str("system").unwrap_or_default(), kind.str("code").unwrap_or_default(), value);
        }
    }
    text_part(out, kind.and_then(|kind| kind.str("text")));
}

fn of_type_part(out: &mut Parts, system: &str, code: &str, value: &str) {
    out.add(b'o', |bytes| of_type(bytes, system, code, value));
}

fn of_type(bytes: &mut Vec<u8>, system: &str, code: &str, value: &str) {
    for part in [system, &fold_code(code), &fold_code(value)] {
        text(bytes, part);
    }
}

/// The specification leaves open what the system of a contact point is: both its kind and its use answer here.
fn contact_point(out: &mut Parts, contact: &Object<'_>) {
    let Some(value) = contact.str("value") else { return };
    let (system, purpose) = (contact.str("system"), contact.str("use"));
    for system in system.into_iter().chain(purpose) {
        code_parts(out, system, value);
        system_part(out, system);
    }
    if system.is_none() && purpose.is_none() {
        code_parts(out, "", value);
    }
}

/// The range of a code: of any system where `system` is `None`, of no system where it is empty.
#[must_use]
pub fn matching_code(system: Option<&str>, code: &str) -> KeyRange {
    let mut bytes = vec![b'c'];
    text(&mut bytes, &fold_code(code));
    let Some(system) = system else { return KeyRange::prefix(&bytes) };
    text(&mut bytes, system);
    text(&mut bytes, if fold_code(code) == code || !minds_case(system) { "" } else { code });
    KeyRange::exactly(&bytes)
}

/// The range of all codes of a system.
#[must_use]
pub fn matching_system(system: &str) -> KeyRange {
    let mut bytes = vec![b's'];
    text(&mut bytes, system);
    KeyRange::exactly(&bytes)
}

/// The range of the texts that start with this folded text, for `:text`.
#[must_use]
pub fn matching_text(folded: &str) -> KeyRange {
    let mut bytes = vec![b't'];
    open_text(&mut bytes, folded);
    KeyRange::prefix(&bytes)
}

/// The range of the identifiers of a type with a value, for `:of-type`.
#[must_use]
pub fn matching_of_type(system: &str, code: &str, value: &str) -> KeyRange {
    let mut bytes = vec![b'o'];
    of_type(&mut bytes, system, code, value);
    KeyRange::exactly(&bytes)
}

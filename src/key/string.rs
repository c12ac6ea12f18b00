//! Strings: `n folded exact`, so that one key answers starts-with, `:exact` and `:contains`.
//!
//! <https://hl7.org/fhir/R4/search.html#string>

use super::bytes::{Parts, open_text, text};
use super::fold::fold;
use super::range::{Bound, KeyRange, Step, Test};
use crate::fhir::tree::{Object, Value};

/// What the part of a string looks like.
pub const SHAPE: [Step; 2] = [Step::Bytes(1), Step::Texts(2)];

const NAME_PARTS: [&str; 5] = ["text", "family", "given", "prefix", "suffix"];
const ADDRESS_PARTS: [&str; 7] = ["text", "line", "city", "district", "state", "postalCode", "country"];

/// Adds the parts of a name or an address.
pub fn object_parts(out: &mut Parts, type_name: &str, object: &Object<'_>) {
    match type_name {
        "HumanName" => members(out, object, &NAME_PARTS),
        "Address" => members(out, object, &ADDRESS_PARTS),
        _ => {}
    }
}

/// Adds the part of a primitive.
pub fn parts(out: &mut Parts, value: &Value<'_>) {
    if let Some(text) = value.as_str() {
        string(out, text);
    }
}

fn members(out: &mut Parts, object: &Object<'_>, names: &[&str]) {
    for name in names {
        for value in object.get(name).map_or(&[][..], Value::items) {
            if let Some(value) = value.as_str() {
                string(out, value);
            }
        }
    }
}

fn string(out: &mut Parts, value: &str) {
    out.add(b'n', |bytes| {
        text(bytes, &fold(value));
        text(bytes, value);
    });
}

/// The range of the strings that start with this folded text.
#[must_use]
pub fn matching_start(folded: &str) -> KeyRange {
    starting(b'n', folded)
}

/// The range of the strings that are this one when they are folded.
#[must_use]
pub fn matching_folded(folded: &str) -> KeyRange {
    let mut bytes = vec![b'n'];
    text(&mut bytes, folded);
    KeyRange::prefix(&bytes)
}

/// The range of exactly this string.
#[must_use]
pub fn matching_exact(value: &str) -> KeyRange {
    let mut bytes = vec![b'n'];
    text(&mut bytes, &fold(value));
    text(&mut bytes, value);
    KeyRange::exactly(&bytes)
}

/// The range of the strings that contain this folded text.
#[must_use]
pub fn matching_part(folded: &str) -> KeyRange {
    containing(b'n', folded)
}

/// The range of the texts of a kind that start with this one.
#[must_use]
pub fn starting(kind: u8, text: &str) -> KeyRange {
    let mut bytes = vec![kind];
    open_text(&mut bytes, text);
    KeyRange::prefix(&bytes)
}

/// The range of the texts of a kind that contain this one.
#[must_use]
pub fn containing(kind: u8, text: &str) -> KeyRange {
    tested(kind, text, Test::Contains)
}

/// The range of the texts of a kind that end with this one.
#[must_use]
pub fn ending(kind: u8, text: &str) -> KeyRange {
    tested(kind, text, Test::EndsWith)
}

fn tested(kind: u8, text: &str, test: impl Fn(Box<[u8]>) -> Test) -> KeyRange {
    let mut bytes = Vec::new();
    open_text(&mut bytes, text);
    KeyRange::prefix(&[kind]).bounded(Bound { at: vec![Step::Bytes(1)], test: test(bytes.into()) })
}

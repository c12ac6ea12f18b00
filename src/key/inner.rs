//! Resources inside of another one: contained resources, and the first resource of a document or a message.
//!
//! Their keys are among those of the outer resource, behind `# type slot`, each text with its end. A reference to one of them
//! has the part `# type slot`. So one range finds the outer resources of those that meet a criterion, and several criteria can
//! be asked of the same one.
//!
//! <https://hl7.org/fhir/R4/search.html#contained>, <https://hl7.org/fhir/R4/bundle.html#search>

use super::bytes::{Parts, text};
use super::{KeyRange, prefix_of};
use crate::fhir::definitions;
use crate::fhir::tree::{Object, Value};
use std::fmt;

/// What the keys of inner resources start with, and the kind of the part of a reference to one.
const KIND: u8 = b'#';

/// Of the contained resources of one type, those after so many have no keys.
pub const SLOTS_MAX: u8 = 64;

/// Where an inner resource stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Slot {
    /// Among the contained resources of its type.
    Contained(u8),
    /// In the first entry of a Bundle.
    FirstEntry,
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Contained(position) => write!(f, "{position}"),
            Self::FirstEntry => f.write_str("entry"),
        }
    }
}

impl Slot {
    fn read(text: &str) -> Option<Self> {
        if text == "entry" { Some(Self::FirstEntry) } else { text.parse().ok().map(Self::Contained) }
    }
}

/// Names a resource inside of another one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Inner {
    /// Its type.
    pub type_name: Box<str>,
    /// Where it stands.
    pub slot: Slot,
}

impl Inner {
    /// What stands before its own keys. It is text, so that it can stand before a parameter's code, too.
    #[must_use]
    pub fn prefix(&self) -> String {
        format!("#{}\0{}\0", self.type_name, self.slot)
    }

    /// The range of references to it by a parameter of the outer resource, or of another inner one with its prefix.
    #[must_use]
    pub fn referred_by(&self, code: &str) -> KeyRange {
        KeyRange::exactly(&[&prefix_of(code)[..], self.prefix().as_bytes()].concat())
    }

    /// Adds the part of a reference to it.
    pub(super) fn add_part(&self, out: &mut Parts) {
        out.add(KIND, |bytes| {
            text(bytes, &self.type_name);
            text(bytes, &self.slot.to_string());
        });
    }
}

/// The range of the keys of all inner resources.
#[must_use]
pub fn all() -> KeyRange {
    KeyRange::prefix(&[KIND])
}

/// The range of the references by a parameter to inner resources of a type.
#[must_use]
pub fn referred_by(code: &str, type_name: &str) -> KeyRange {
    let mut prefix = [&prefix_of(code)[..], &[KIND]].concat();
    text(&mut prefix, type_name);
    KeyRange::prefix(&prefix)
}

/// The inner resource that a key is of.
#[must_use]
pub fn of_key(key: &[u8]) -> Option<Inner> {
    let mut texts = key.strip_prefix(&[KIND])?.split(|byte| *byte == 0).map(std::str::from_utf8);
    let (type_name, slot) = (texts.next()?.ok()?, texts.next()?.ok()?);
    Some(Inner { type_name: type_name.into(), slot: Slot::read(slot)? })
}

/// The inner resource that a key of a reference refers to; `code_len` is the length of the parameter's code.
#[must_use]
pub fn referred_in(key: &[u8], code_len: usize) -> Option<Inner> {
    of_key(key.get(code_len + 1..)?)
}

/// A resource and what stands in it.
#[derive(Debug, Clone)]
pub struct Held<'t> {
    /// Its name.
    pub inner: Inner,
    /// The resource.
    pub resource: &'t Object<'t>,
}

/// The resources inside of one.
#[must_use]
pub fn held<'t>(outer: &'t Object<'t>) -> Vec<Held<'t>> {
    let mut found: Vec<Held<'t>> = Vec::new();
    for resource in outer.get("contained").map(Value::items).unwrap_or_default().iter().filter_map(Value::as_object) {
        let Some(type_name) = resource.resource_type().filter(|name| definitions::r4().is_resource_type(name)) else {
            continue;
        };
        let before = found.iter().filter(|held| &*held.inner.type_name == type_name).count();
        if let Ok(position @ 0..SLOTS_MAX) = u8::try_from(before) {
            found
                .push(Held { inner: Inner { type_name: type_name.into(), slot: Slot::Contained(position) }, resource });
        }
    }
    found.extend(first_entry(outer));
    found
}

/// The Composition of a document, the MessageHeader of a message.
fn first_entry<'t>(outer: &'t Object<'t>) -> Option<Held<'t>> {
    let type_name = match (outer.resource_type()?, outer.str("type")?) {
        ("Bundle", "document") => "Composition",
        ("Bundle", "message") => "MessageHeader",
        _ => return None,
    };
    let resource = outer.get("entry")?.items().first()?.get("resource")?.as_object()?;
    let inner = Inner { type_name: type_name.into(), slot: Slot::FirstEntry };
    (resource.resource_type() == Some(type_name)).then_some(Held { inner, resource })
}

/// Where references are read: what they may be relative to.
#[derive(Debug, Clone, Copy)]
pub struct Home<'h> {
    /// The address of this server, without a slash at the end.
    pub base: Option<&'h str>,
    /// The resources inside of the one that is read.
    pub held: &'h [Held<'h>],
}

impl Home<'_> {
    /// The inner resource that `#id` means.
    #[must_use]
    pub fn local(&self, id: &str) -> Option<&Inner> {
        let is_meant = |held: &&Held<'_>| held.inner.slot != Slot::FirstEntry && held.resource.id() == Some(id);
        self.held.iter().find(is_meant).map(|held| &held.inner)
    }

    /// The name of this very inner resource.
    #[must_use]
    pub fn name_of(&self, resource: &Object<'_>) -> Option<&Inner> {
        let address = std::ptr::from_ref(resource).cast::<()>();
        let is_same = |held: &&Held<'_>| std::ptr::from_ref(held.resource).cast::<()>() == address;
        self.held.iter().find(is_same).map(|held| &held.inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::parse::parse;

    #[test]
    fn contained_resources_are_counted_by_type() {
        let many = vec![r#"{"resourceType":"Medication","id":"m"}"#; 70].join(",");
        let json = format!(
            r#"{{"resourceType":"MedicationRequest","contained":[{{"resourceType":"Patient","id":"p"}},{many},{{"resourceType":"Nothing"}}]}}"#
        );
        let tree = parse(json.as_bytes(), 64).unwrap();
        let held = held(tree.as_object().unwrap());
        assert_eq!(held.len(), 65);
        let last = &held.last().unwrap().inner;
        assert_eq!((&*last.type_name, last.slot), ("Medication", Slot::Contained(63)));
        assert_eq!(of_key(last.prefix().as_bytes()).as_ref(), Some(last));
        assert_eq!(referred_in(&last.referred_by("medication").from, 10).as_ref(), Some(last));
        assert!(referred_by("medication", "Medication").holds(&last.referred_by("medication").from));
    }

    #[test]
    fn only_documents_and_messages_have_a_first_entry() {
        let first = |kind: &str, of: &str| {
            let json = format!(
                r#"{{"resourceType":"Bundle","type":"{kind}","entry":[{{"resource":{{"resourceType":"{of}"}}}}]}}"#
            );
            let tree = parse(json.as_bytes(), 64).unwrap();
            held(tree.as_object().unwrap()).into_iter().map(|held| held.inner).collect::<Vec<_>>()
        };
        let composition = Inner { type_name: "Composition".into(), slot: Slot::FirstEntry };
        assert_eq!(first("document", "Composition"), [composition]);
        assert_eq!(first("message", "MessageHeader").len(), 1);
        assert!(first("message", "Composition").is_empty() && first("collection", "Composition").is_empty());
    }
}

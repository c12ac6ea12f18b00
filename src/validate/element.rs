//! Elements against their definitions: known, of the right type, as many as allowed.

use super::path::is_plain;
use super::{Check, Path, primitive};
use crate::fhir::definitions::{Element, Kind, Primitive, Type, TypeRef};
use crate::fhir::tree::{Object, Value};
use crate::fhir::xhtml;

/// A member of an object whose name is known: which element it holds, and as which type.
#[derive(Clone, Copy)]
struct Member<'r> {
    /// Without the underscore.
    name: &'r str,
    element: &'static Element,
    type_ref: &'static TypeRef,
    found: &'static Type,
}

impl<'r> Member<'r> {
    /// The member of a type by its name without an underscore, and the position of its element.
    fn named(name: &'r str, found: &'static Type) -> Option<(usize, Self)> {
        let (position, element, type_ref) = found.placed_element(name)?;
        Some((position, Self { name, element, type_ref, found: type_ref.definition()? }))
    }
}

/// Whether the object holds the element at this position under another name, too: `valueString` and `valueCode`.
/// A value and its sibling (`valueString`, `_valueString`) are one.
fn is_doubled(object: &Object<'_>, name: &str, position: usize, found: &Type) -> bool {
    let names = object.iter().map(|(other, _)| other.strip_prefix('_').unwrap_or(other));
    let mut others = names.filter(|other| *other != name);
    others.any(|other| found.placed_element(other).is_some_and(|(other, ..)| other == position))
}

impl<'r> Check<'r> {
    /// The members of one object of a known type. `has_value` tells that the object stands beside a primitive value
    /// (`_birthDate`), so that it may hold an `id` alone.
    pub(super) fn object(&mut self, object: &'r Object<'r>, found: &'static Type, has_value: bool, path: &Path<'_>) {
        if self.is_full() {
            return;
        }
        let is_resource = found.kind == Kind::Resource;
        if object.is_empty() {
            return self.issue("structure", "An object must not be empty.", path);
        }
        if !is_resource && !has_value && object.len() == 1 && object.get("id").is_some() {
            self.issue("invariant", "An element needs a value or content beside its `id` (ele-1).", path);
        }
        let (mut seen, mut doubled) = (0_u128, 0_u128);
        for (name, value) in object.iter() {
            if is_resource && name == "resourceType" {
                continue;
            }
            let plain = name.strip_prefix('_').unwrap_or(name);
            let Some((position, member)) = Member::named(plain, found) else {
                self.unknown(name, path);
                continue;
            };
            let (bit, here) = (bit(position), path.name(member.element.name));
            if seen & !doubled & bit != 0 && is_doubled(object, plain, position, found) {
                doubled |= bit;
                self.issue("structure", "An element that is a choice of types may be there only once.", &here);
            }
            seen |= bit;
            if plain.len() == name.len() {
                self.member(value, object, member, &here);
            } else {
                self.sibling(value, object, member, &here);
            }
        }
        self.required(found, seen, path);
    }

    fn unknown(&mut self, name: &str, path: &Path<'_>) {
        const UNKNOWN: &str = "There is no such element.";
        if is_plain(name) {
            self.issue("structure", UNKNOWN, &path.name(name));
        } else {
            self.issue("structure", "An element has a name that FHIR does not know.", path);
        }
    }

    fn required(&mut self, found: &'static Type, seen: u128, path: &Path<'_>) {
        let missing = found.required_elements() & !seen;
        if missing == 0 {
            return;
        }
        for (position, element) in found.elements.iter().enumerate() {
            if missing & bit(position) != 0 {
                self.issue("required", "This element is required.", &path.name(element.name));
            }
        }
    }

    /// A member with a value: `birthDate`, `name`.
    fn member(&mut self, value: &'r Value<'r>, object: &'r Object<'r>, member: Member<'r>, path: &Path<'_>) {
        match (member.element.max, value) {
            (Some(1), Value::Array(_)) => self.issue("structure", "This element may not be an array.", path),
            (Some(1), value) => self.item(value, member, path),
            (_, Value::Array(items)) => {
                self.count(items, member.element, path);
                let siblings = place_holders(items, object, member);
                for (n, item) in items.iter().enumerate() {
                    match siblings {
                        // A null is fine where the sibling has something at its place.
                        Some(siblings) if *item == Value::Null => {
                            if siblings.get(n).and_then(Value::as_object).is_none() {
                                self.issue("structure", UNPAIRED, &path.index(n));
                            }
                        }
                        _ => self.item(item, member, &path.index(n)),
                    }
                }
            }
            _ => self.issue("structure", "This element repeats and must be an array.", path),
        }
    }

    fn count(&mut self, items: &[Value<'_>], element: &Element, path: &Path<'_>) {
        if items.is_empty() {
            self.issue("structure", "An array must not be empty.", path);
        }
        let max = element.max.and_then(|max| usize::try_from(max).ok());
        if max.is_some_and(|max| items.len() > max) {
            self.issue("structure", "There are more values than the element may have.", path);
        }
    }

    /// What stands beside a primitive value: `_birthDate` with its `id` and extensions.
    fn sibling(&mut self, value: &'r Value<'r>, object: &'r Object<'r>, member: Member<'r>, path: &Path<'_>) {
        if member.found.primitive.is_none() {
            return self.issue(
                "structure",
                "Only a primitive element has a sibling that starts with an underscore.",
                path,
            );
        }
        let plain = object.get(member.name);
        match (member.element.max, value) {
            (Some(1), Value::Object(extra)) => self.object(extra, member.found, plain.is_some(), path),
            (Some(1), _) => self.issue("structure", "The sibling of a primitive element must be an object.", path),
            (_, Value::Array(items)) => {
                self.count(items, member.element, path);
                let values = plain.map(|plain| plain.as_array().unwrap_or_default());
                if values.is_some_and(|values| values.len() != items.len()) {
                    self.issue("structure", "An array of primitives and its sibling must be of the same length.", path);
                }
                for (n, item) in items.iter().enumerate() {
                    let has_value = values.and_then(|values| values.get(n)).is_some_and(|value| *value != Value::Null);
                    match item {
                        Value::Object(extra) => self.object(extra, member.found, has_value, &path.index(n)),
                        Value::Null if has_value => {}
                        Value::Null => self.issue("structure", UNPAIRED, &path.index(n)),
                        _ => self.issue(
                            "structure",
                            "The sibling of a primitive element must be an object.",
                            &path.index(n),
                        ),
                    }
                }
            }
            _ => self.issue("structure", "This element repeats and its sibling must be an array.", path),
        }
    }

    /// One value.
    fn item(&mut self, value: &'r Value<'r>, member: Member<'r>, path: &Path<'_>) {
        match (member.found.primitive, value) {
            (Some(kind), value) => self.primitive(kind, value, member.element, path),
            (None, Value::Object(object)) if member.type_ref.name == "Resource" => {
                self.inner_resource(object, member.element.name, path);
            }
            (None, Value::Object(object)) => {
                self.object(object, member.found, false, path);
                self.data_type_rules(object, member, path);
            }
            _ => self.issue("structure", "This element must be an object.", path),
        }
    }

    fn primitive(&mut self, kind: Primitive, value: &'r Value<'r>, element: &'static Element, path: &Path<'_>) {
        if let Err(problem) = primitive::check(kind, value) {
            return self.issue(problem.code, problem.message, path);
        }
        let Some(text) = value.as_str() else { return };
        match kind {
            Primitive::Code => self.bound_code(text, element, path),
            Primitive::Uri | Primitive::Url | Primitive::Canonical if text.starts_with('#') => self.scope.note(text),
            Primitive::Xhtml => {
                if let Err(message) = xhtml::check(text) {
                    self.issue("invariant", message, path);
                }
            }
            _ => {}
        }
    }

    /// Rules of a data type that its elements do not tell.
    fn data_type_rules(&mut self, object: &'r Object<'r>, member: Member<'r>, path: &Path<'_>) {
        match member.found.name {
            "Reference" => self.reference(object, member.type_ref, path),
            "Extension" => {
                let has_value = object.iter().any(|(name, _)| name.trim_start_matches('_').starts_with("value"));
                if has_value == object.get("extension").is_some() {
                    self.issue("invariant", "An extension has either a value or extensions (ext-1).", path);
                }
            }
            "CodeableConcept" | "Coding" | "Quantity" => self.bound_concept(object, member.element, path),
            _ => {}
        }
    }
}

/// What stands beside an array of primitives that has nulls (`_given` for `given`); `None` where there is no null to ask
/// it for. Looked up once for an array, since both the array and the object can be of any length.
fn place_holders<'r>(items: &[Value<'_>], object: &'r Object<'r>, member: Member<'_>) -> Option<&'r [Value<'r>]> {
    if member.found.primitive.is_none() || !items.contains(&Value::Null) {
        return None;
    }
    Some(object.get(&format!("_{}", member.name)).and_then(Value::as_array).unwrap_or_default())
}

const UNPAIRED: &str = "A null needs a counterpart: a value, or an id or extension at the same place of the sibling.";

/// No type has more than 128 elements (a test of the definitions holds that).
fn bit(position: usize) -> u128 {
    u32::try_from(position).ok().and_then(|position| 1_u128.checked_shl(position)).unwrap_or_default()
}

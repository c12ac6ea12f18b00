//! Steps from an item to its members, and from a primitive to its value.

use super::item::{Collection, Content, Item, Node};
use super::quantity::{Calendar, Quantity, Unit};
use super::temporal::Temporal;
use super::types;
use crate::fhir::definitions::{Kind, Primitive, Type, TypeRef};
use crate::fhir::tree::{Object, Value};
use rust_decimal::Decimal;
use std::borrow::Cow;

/// What UCUM is called in FHIR.
pub const UCUM: &str = "http://unitsofmeasure.org";

/// Adds the members of an item that are called `name` in FHIRPath: `value` for `valueQuantity`.
pub fn member<'t>(item: &Item<'t>, name: &str, out: &mut Collection<'t>) {
    match item {
        Item::Node(Node { content: Content::Object(object), definition, .. }) => match definition {
            Some(definition) => typed_member(object, definition, name, out),
            None => untyped_member(object, name, out),
        },
        Item::Node(Node { sibling: Some(sibling), definition: Some(definition), .. }) => {
            typed_member(sibling, definition, name, out);
        }
        Item::TypeInfo { namespace, .. } if name == "namespace" => out.push(Item::String(Cow::Borrowed(namespace))),
        Item::TypeInfo { name: type_name, .. } if name == "name" => out.push(Item::String(Cow::Borrowed(type_name))),
        _ => {}
    }
}

fn typed_member<'t>(object: &'t Object<'t>, definition: &'static Type, name: &str, out: &mut Collection<'t>) {
    let Some(element) = definition.element_named(name) else { return };
    if !element.is_choice {
        let definition = element.types.first().and_then(TypeRef::definition);
        return named(object, name, definition, out);
    }
    for (member, _) in object.iter() {
        let bare = member.strip_prefix('_').unwrap_or(member);
        if bare.starts_with(name)
            && let Some((found, type_ref)) = definition.element(bare)
            && found.name == name
        {
            return named(object, bare, type_ref.definition(), out);
        }
    }
}

/// Where the type of an object is not known: by the JSON name, or by one that goes on with the name of a type.
fn untyped_member<'t>(object: &'t Object<'t>, name: &str, out: &mut Collection<'t>) {
    let before = out.len();
    named(object, name, None, out);
    if out.len() > before {
        return;
    }
    for (member, _) in object.iter() {
        if let Some(definition) = member.strip_prefix(name).and_then(choice_type) {
            return named(object, member, Some(definition), out);
        }
    }
}

/// The type that the end of a choice's JSON name stands for: `Quantity`, or `string` for `String`.
fn choice_type(suffix: &str) -> Option<&'static Type> {
    let first = suffix.chars().next().filter(char::is_ascii_uppercase)?;
    let rest = suffix.get(1..)?;
    types::definition(suffix).or_else(|| types::definition(&format!("{}{rest}", first.to_ascii_lowercase())))
}

/// Adds the values of the JSON member `name`, and of its `_name` sibling where the type is primitive or not known.
fn named<'t>(object: &'t Object<'t>, name: &str, definition: Option<&'static Type>, out: &mut Collection<'t>) {
    let value = object.get(name);
    let sibling = match definition {
        Some(definition) if definition.kind != Kind::Primitive => None,
        _ => object.iter().find(|(member, _)| member.strip_prefix('_') == Some(name)).map(|(_, value)| value),
    };
    push_all(value, sibling, definition, out);
}

/// Adds a value, or the values of an array, each with its sibling.
fn push_all<'t>(
    value: Option<&'t Value<'t>>,
    sibling: Option<&'t Value<'t>>,
    definition: Option<&'static Type>,
    out: &mut Collection<'t>,
) {
    if value.and_then(Value::as_array).is_none() && sibling.and_then(Value::as_array).is_none() {
        return out.extend(node(value, sibling, definition));
    }
    let values = value.map(Value::items).unwrap_or_default();
    let siblings = sibling.map(Value::items).unwrap_or_default();
    for n in 0..values.len().max(siblings.len()) {
        out.extend(node(values.get(n), siblings.get(n), definition));
    }
}

fn node<'t>(
    value: Option<&'t Value<'t>>,
    sibling: Option<&'t Value<'t>>,
    definition: Option<&'static Type>,
) -> Option<Item<'t>> {
    let sibling = sibling.and_then(Value::as_object);
    let content = match value {
        Some(Value::Object(object)) => {
            let definition = match definition {
                // What stands in `contained` or `entry.resource` says itself what it is.
                Some(definition) if definition.kind != Kind::Resource => Some(definition),
                definition => object.resource_type().and_then(types::definition).or(definition),
            };
            return Some(Item::Node(Node { content: Content::Object(object), sibling, definition }));
        }
        Some(Value::Null) | None => Content::Absent,
        Some(primitive) => Content::Primitive(primitive),
    };
    (sibling.is_some() || !matches!(content, Content::Absent)).then_some(Item::Node(Node {
        content,
        sibling,
        definition,
    }))
}

/// Adds all members of an item.
pub fn children<'t>(item: &Item<'t>, out: &mut Collection<'t>) {
    let Item::Node(node) = item else { return };
    let (Some(object), false) = (node.object(), node.object().is_some_and(Object::is_empty)) else { return };
    for (name, value) in object.iter() {
        let (bare, is_sibling) = name.strip_prefix('_').map_or((name, false), |bare| (bare, true));
        if name == "resourceType" || (is_sibling && object.get(bare).is_some()) {
            continue;
        }
        let definition = node.definition.and_then(|definition| definition.element(bare));
        let definition = definition.and_then(|(_, type_ref)| type_ref.definition());
        if is_sibling {
            push_all(None, Some(value), definition, out);
        } else {
            named(object, name, definition, out);
        }
    }
}

impl<'t> Node<'t> {
    /// Where the members stand: of a primitive in its sibling.
    pub(super) const fn object(&self) -> Option<&'t Object<'t>> {
        match self.content {
            Content::Object(object) => Some(object),
            Content::Primitive(_) | Content::Absent => self.sibling,
        }
    }
}

/// The computed value of a primitive; anything else stays what it is. `None` for a primitive without a value.
pub fn value(item: Item<'_>) -> Option<Item<'_>> {
    let Item::Node(node) = item else { return Some(item) };
    let value = match node.content {
        Content::Object(_) => return Some(Item::Node(node)),
        Content::Absent => return None,
        Content::Primitive(value) => value,
    };
    let primitive = node.definition.and_then(|definition| definition.primitive);
    Some(match value {
        Value::Bool(value) => Item::Boolean(*value),
        Value::Number(text) => return number(text, primitive == Some(Primitive::Decimal)),
        Value::String(text) => {
            let temporal = match primitive {
                Some(Primitive::Date) => Temporal::date(text),
                Some(Primitive::DateTime | Primitive::Instant) => Temporal::date_time(text),
                Some(Primitive::Time) => Temporal::time(text),
                _ => None,
            };
            temporal.map_or_else(|| Item::String(Cow::Borrowed(text)), Item::Temporal)
        }
        Value::Null | Value::Array(_) | Value::Object(_) => return None,
    })
}

fn number<'t>(text: &str, is_decimal: bool) -> Option<Item<'t>> {
    if !is_decimal && let Ok(value) = text.parse() {
        return Some(Item::Integer(value));
    }
    decimal(text).map(Item::Decimal)
}

/// A decimal as FHIR writes it, with an exponent too.
pub fn decimal(text: &str) -> Option<Decimal> {
    text.parse().ok().or_else(|| Decimal::from_scientific(text).ok())
}

/// What an operator or function works with: a `Quantity` of FHIR as one of FHIRPath.
pub fn operand(item: Item<'_>) -> Item<'_> {
    match &item {
        Item::Node(node) => quantity(node).map_or(item, Item::Quantity),
        _ => item,
    }
}

/// Whether an item is a quantity of FHIRPath or of FHIR.
pub fn is_quantity(item: &Item<'_>) -> bool {
    match item {
        Item::Quantity(_) => true,
        Item::Node(node) => node.definition.is_some_and(types::is_quantity),
        _ => false,
    }
}

/// A `Quantity` of FHIR (or of a type derived from it) as one of FHIRPath.
/// <https://hl7.org/fhir/R4/fhirpath.html#quantity>
fn quantity<'t>(node: &Node<'t>) -> Option<Quantity<'t>> {
    let Content::Object(object) = node.content else { return None };
    if !types::is_quantity(node.definition?) || object.get("comparator").is_some() {
        return None;
    }
    let Some(Value::Number(text)) = object.get("value") else { return None };
    let code = object.str("code");
    let unit = match code.or_else(|| object.str("unit")) {
        None => Unit::Code(Cow::Borrowed("1")),
        Some(unit) if object.str("system") == Some(UCUM) && code.is_some() => match unit {
            "a" => Unit::Calendar(Calendar::Year),
            "mo" => Unit::Calendar(Calendar::Month),
            unit => Unit::Code(Cow::Borrowed(unit)),
        },
        Some(unit) => Unit::Code(Cow::Borrowed(unit)),
    };
    Some(Quantity { value: decimal(text)?, unit })
}

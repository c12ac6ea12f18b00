//! The `value` of an operation, as the JSON of the element that it becomes.

use super::place::append;
use super::{Applied, malformed, unprocessable};
use crate::fhir::definitions::{Element, Kind, Type, TypeRef};
use crate::fhir::tree::{Object, Value};
use crate::fhirpath::types::{self, derives};

/// How deep parts may stand inside each other.
const PART_DEPTH: usize = 32;

/// A value with the JSON name that it gets.
#[derive(Debug)]
pub struct Replacement<'a> {
    /// The JSON name: `valueQuantity` for a choice.
    pub name: String,
    /// The value.
    pub value: Option<Value<'a>>,
    /// The `_name` sibling of a primitive.
    pub sibling: Option<Value<'a>>,
}

/// The element of a type, by the name in `FHIRPath` (`value`) or in JSON (`valueQuantity`).
pub fn element_of(definition: &'static Type, name: &str) -> Option<&'static Element> {
    definition.element_named(name).or_else(|| definition.element(name).map(|(element, _)| element))
}

/// All JSON names that an element can have.
pub fn json_names(element: &Element) -> Vec<String> {
    if element.is_choice {
        element.types.iter().map(|type_ref| element.json_name(type_ref)).collect()
    } else {
        vec![element.name.to_owned()]
    }
}

/// What a part holds.
enum Given<'o, 'a> {
    /// `value[x]`, with the name of its type as JSON has it (`String`, `HumanName`), and its `_value[x]`.
    Typed(&'o str, Option<&'o Value<'a>>, Option<&'o Value<'a>>),
    /// `resource`.
    Resource(&'o Object<'a>),
    /// `part`: the elements of a type that has no name of its own.
    Parts(&'o [Value<'a>]),
}

fn given<'o, 'a>(part: &'o Object<'a>) -> Applied<Given<'o, 'a>> {
    if let Some(resource) = part.get("resource") {
        return resource
            .as_object()
            .map_or_else(|| malformed("`resource` is no resource"), |it| Ok(Given::Resource(it)));
    }
    if let Some(parts) = part.get("part") {
        return Ok(Given::Parts(parts.items()));
    }
    let suffix = |name: &'o str| name.strip_prefix("value").filter(|suffix| !suffix.is_empty());
    let value = part.iter().find_map(|(name, value)| suffix(name).map(|suffix| (suffix, value)));
    let sibling = part.iter().find_map(|(name, value)| suffix(name.strip_prefix('_')?).map(|suffix| (suffix, value)));
    match value.or(sibling) {
        Some((suffix, _)) => Ok(Given::Typed(suffix, value.map(|(_, it)| it), sibling.map(|(_, it)| it))),
        None => malformed("`value` has no value, parts or resource"),
    }
}

impl<'a> Replacement<'a> {
    /// The value that `part` gives to an element.
    pub fn read(part: &Object<'a>, element: &'static Element) -> Applied<Self> {
        Self::read_at(part, element, PART_DEPTH)
    }

    fn read_at(part: &Object<'a>, element: &'static Element, depth: usize) -> Applied<Self> {
        match given(part)? {
            Given::Typed(suffix, value, sibling) => {
                let fits = |type_ref: &&TypeRef| {
                    if element.is_choice {
                        element.json_name(type_ref).strip_prefix(element.name) == Some(suffix)
                    } else {
                        fits(suffix, type_ref.definition())
                    }
                };
                let Some(type_ref) = element.types.iter().find(fits) else {
                    return unprocessable("`value` is not of a type that the element may have");
                };
                let name = element.json_name(type_ref);
                Ok(Self { name, value: value.cloned(), sibling: sibling.cloned() })
            }
            Given::Resource(resource) => {
                let takes_resources = |ty: &Type| ty.kind == Kind::Resource;
                if !element.types.iter().filter_map(TypeRef::definition).any(takes_resources) {
                    return unprocessable("the element holds no resources");
                }
                Ok(Self { name: element.name.to_owned(), value: Some(resource.clone().into()), sibling: None })
            }
            Given::Parts(parts) => {
                let (Some(type_ref), false) = (element.types.first(), element.is_choice) else {
                    return unprocessable("a choice of types needs a `value[x]`, not parts");
                };
                let value = type_ref.definition().map(|definition| built(parts, definition, depth)).transpose()?;
                Ok(Self { name: element.name.to_owned(), value: value.map(Value::Object), sibling: None })
            }
        }
    }

    /// The value that `part` gives to an item of a list called `name`, whose items have a known type.
    pub fn of_type(part: &Object<'a>, name: &str, definition: Option<&'static Type>) -> Applied<Self> {
        let Some(definition) = definition else { return unprocessable("the type at `path` is not known") };
        let name = name.to_owned();
        match given(part)? {
            Given::Typed(suffix, value, sibling) if fits(suffix, Some(definition)) => {
                Ok(Self { name, value: value.cloned(), sibling: sibling.cloned() })
            }
            Given::Resource(resource) if definition.kind == Kind::Resource => {
                Ok(Self { name, value: Some(resource.clone().into()), sibling: None })
            }
            Given::Parts(parts) if definition.kind == Kind::Complex => {
                Ok(Self { name, value: Some(Value::Object(built(parts, definition, PART_DEPTH)?)), sibling: None })
            }
            _ => unprocessable("`value` is not of the type of the list"),
        }
    }
}

/// The object that parts describe, each an element of it.
fn built<'a>(parts: &[Value<'a>], definition: &'static Type, depth: usize) -> Applied<Object<'a>> {
    let Some(depth) = depth.checked_sub(1) else { return malformed("the parts are nested too deeply") };
    let mut object = Object::new();
    for part in parts.iter().filter_map(Value::as_object) {
        let Some(element) = part.str("name").and_then(|name| element_of(definition, name)) else {
            return unprocessable("a part of the value is no element of its type");
        };
        let new = Replacement::read_at(part, element, depth)?;
        append(&mut object, element.max != Some(1), new);
    }
    Ok(object)
}

/// Whether a value given as `value{suffix}` may stand where a type is wanted: of that type, of one derived from it, or of one that it is
/// derived from among the primitives (a `code` given as `valueString`).
fn fits(suffix: &str, wanted: Option<&'static Type>) -> bool {
    let Some(wanted) = wanted else { return false };
    let lower: String = suffix.chars().take(1).map(|c| c.to_ascii_lowercase()).chain(suffix.chars().skip(1)).collect();
    let Some(given) = types::definition(suffix).or_else(|| types::definition(&lower)) else { return false };
    derives(given, wanted)
        || (wanted.kind == Kind::Primitive && given.kind == Kind::Primitive && derives(wanted, given))
}

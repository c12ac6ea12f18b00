//! FHIRPath Patch: <https://hl7.org/fhir/R4/fhirpatch.html>.
//!
//! Each operation's path is evaluated over the tree as it is; what it finds is turned into a [`Place`], names and positions from the root,
//! by walking the tree to the very node. With the borrow gone, the tree is changed at that place.

mod place;
#[cfg(test)]
mod tests;
mod value;

use super::context::Context;
use super::item::{Collection, Item};
use super::{Expression, Node};
use crate::fhir::definitions::Type;
use crate::fhir::json_patch::{PatchError, PatchFailure};
use crate::fhir::tree::{Object, Value};
use place::{List, Place};
use std::borrow::Cow;
use std::cell::Cell;
use value::Replacement;

/// What one operation fails with.
struct Failure(PatchFailure, Cow<'static, str>);

type Applied<T = ()> = Result<T, Failure>;

fn malformed<T>(reason: impl Into<Cow<'static, str>>) -> Applied<T> {
    Err(Failure(PatchFailure::Malformed, reason.into()))
}

fn unprocessable<T>(reason: impl Into<Cow<'static, str>>) -> Applied<T> {
    Err(Failure(PatchFailure::Unprocessable, reason.into()))
}

/// Applies all operations of a `Parameters` resource, in order. `step_limit` is how many steps the path of each may take.
///
/// # Errors
/// Where the patch is malformed, or one of its operations fails; nothing of it is applied then.
pub fn apply<'a>(resource: Object<'a>, patch: &Object<'a>, step_limit: u32) -> Result<Object<'a>, PatchError> {
    let error = |operation, Failure(kind, reason)| PatchError { operation, kind, reason };
    if patch.resource_type() != Some("Parameters") {
        return Err(error(
            0,
            Failure(PatchFailure::Malformed, Cow::Borrowed("a FHIRPath Patch is a Parameters resource")),
        ));
    }
    let mut resource = resource;
    for (position, parameter) in patch.get("parameter").map(Value::items).unwrap_or_default().iter().enumerate() {
        let operation = Operation::read(parameter, step_limit).map_err(|failure| error(position, failure))?;
        operation.apply(&mut resource).map_err(|failure| error(position, failure))?;
    }
    Ok(resource)
}

/// The parts of one operation.
struct Operation<'o, 'a> {
    kind: &'o str,
    path: &'o str,
    name: Option<&'o str>,
    value: Option<&'o Object<'a>>,
    index: Option<usize>,
    source: Option<usize>,
    destination: Option<usize>,
    step_limit: u32,
}

impl<'o, 'a> Operation<'o, 'a> {
    fn read(parameter: &'o Value<'a>, step_limit: u32) -> Applied<Self> {
        let object = parameter.as_object().filter(|object| object.str("name") == Some("operation"));
        let Some(object) = object else { return malformed("every parameter is called `operation`") };
        let parts = || object.get("part").map(Value::items).unwrap_or_default().iter().filter_map(Value::as_object);
        let mut seen: Vec<&str> = Vec::new();
        for part in parts() {
            let name = part.str("name").unwrap_or_default();
            if !["type", "path", "name", "value", "index", "source", "destination"].contains(&name) {
                return malformed("a part of the operation is not known");
            }
            if seen.contains(&name) {
                return malformed("a part of the operation is there twice");
            }
            seen.push(name);
        }
        let part = |name: &str| parts().find(|part| part.str("name") == Some(name));
        let text = |name: &str, members: [&str; 2]| {
            part(name).and_then(|part| members.into_iter().find_map(|member| part.str(member)))
        };
        let number = |name: &str| match part(name) {
            None => Ok(None),
            Some(part) => match part.get("valueInteger") {
                Some(Value::Number(text)) if text.parse::<usize>().is_ok() => Ok(text.parse().ok()),
                _ => malformed("a position is not a `valueInteger` of 0 or more"),
            },
        };
        let Some(kind) = text("type", ["valueCode", "valueString"]) else { return malformed("`type` is missing") };
        let Some(path) = text("path", ["valueString", "valueString"]) else { return malformed("`path` is missing") };
        Ok(Self {
            kind,
            path,
            name: text("name", ["valueString", "valueId"]),
            value: part("value"),
            index: number("index")?,
            source: number("source")?,
            destination: number("destination")?,
            step_limit,
        })
    }

    fn apply(&self, resource: &mut Object<'a>) -> Applied {
        match self.kind {
            "add" => self.add(resource),
            "insert" => self.insert(resource),
            "delete" => self.delete(resource),
            "replace" => self.replace(resource),
            "move" => self.move_item(resource),
            _ => malformed("`type` is none of add, insert, delete, replace and move"),
        }
    }

    /// What the path finds: the places, and the definition of the type of each.
    fn places(&self, resource: &Object<'a>) -> Applied<Vec<(Place, Option<&'static Type>)>> {
        let expression = match Expression::compile(self.path) {
            Ok(expression) => expression,
            Err(error) => return malformed(format!("`path`: {error}")),
        };
        let root = Item::resource(resource);
        let context = Context { steps: Cell::new(self.step_limit), ..Context::new(&root) };
        let items: Collection = match expression.evaluate(&context, root.clone()) {
            Ok(items) => items,
            Err(error) => return unprocessable(format!("`path`: {error}")),
        };
        let mut places = Vec::with_capacity(items.len());
        for item in &items {
            let Some(node) = item.as_node() else { return unprocessable("`path` finds no element") };
            places.push((Self::place(resource, node)?, node.definition));
        }
        Ok(places)
    }

    fn place(resource: &Object<'_>, node: &Node<'_>) -> Applied<Place> {
        Place::of(resource, node).map_or_else(|| unprocessable("`path` finds no element of this resource"), Ok)
    }

    fn single(&self, resource: &Object<'a>) -> Applied<(Place, Option<&'static Type>)> {
        let mut places = self.places(resource)?;
        match (places.pop(), places.is_empty()) {
            (Some(place), true) => Ok(place),
            (None, _) => unprocessable("`path` finds nothing"),
            _ => unprocessable("`path` finds more than one element"),
        }
    }

    /// The one list whose items the path finds.
    fn list(&self, resource: &Object<'a>) -> Applied<(List, Option<&'static Type>)> {
        let places = self.places(resource)?;
        let Some((first, definition)) = places.first() else { return unprocessable("`path` finds nothing") };
        let Some(list) = first.list() else { return unprocessable("`path` finds no list") };
        if places.iter().any(|(place, _)| place.list().as_ref() != Some(&list)) {
            return unprocessable("`path` finds more than one list");
        }
        Ok((list, *definition))
    }

    fn value(&self) -> Applied<&'o Object<'a>> {
        self.value.map_or_else(|| malformed("`value` is missing"), Ok)
    }

    fn add(&self, resource: &mut Object<'a>) -> Applied {
        let Some(name) = self.name else { return malformed("`name` is missing") };
        let (place, definition) = self.single(resource)?;
        let Some(definition) = definition else { return unprocessable("the type at `path` is not known") };
        let Some(element) = value::element_of(definition, name) else {
            return unprocessable("the element at `path` has no element of that name");
        };
        let new = Replacement::read(self.value()?, element)?;
        let Some(target) = place.object_mut(resource) else { return unprocessable("`path` finds no element") };
        if element.max == Some(1) && value::json_names(element).iter().any(|name| place::is_present(target, name)) {
            return unprocessable("the element is there already and does not repeat");
        }
        place::append(target, element.max != Some(1), new);
        Ok(())
    }

    fn insert(&self, resource: &mut Object<'a>) -> Applied {
        let Some(index) = self.index else { return malformed("`index` is missing") };
        let (list, definition) = self.list(resource)?;
        let new = Replacement::of_type(self.value()?, &list.name, definition)?;
        if index > list.len(resource) {
            return unprocessable("`index` is beyond the end of the list");
        }
        list.insert(resource, index, new);
        Ok(())
    }

    fn delete(&self, resource: &mut Object<'a>) -> Applied {
        let mut places = self.places(resource)?;
        match (places.pop(), places.is_empty()) {
            (None, _) => Ok(()),
            (Some((place, _)), true) if place.is_root() => unprocessable("`path` finds the resource itself"),
            (Some((place, _)), true) => {
                place.remove(resource);
                Ok(())
            }
            _ => unprocessable("`path` finds more than one element"),
        }
    }

    fn replace(&self, resource: &mut Object<'a>) -> Applied {
        let (place, definition) = self.single(resource)?;
        let Some(name) = place.name() else { return unprocessable("`path` finds the resource itself") };
        let parent = place.parent_definition(resource);
        let new = match parent.and_then(|parent| value::element_of(parent, name)) {
            Some(element) => Replacement::read(self.value()?, element)?,
            None => Replacement::of_type(self.value()?, name, definition)?,
        };
        place.replace(resource, new);
        Ok(())
    }

    fn move_item(&self, resource: &mut Object<'a>) -> Applied {
        let (Some(source), Some(destination)) = (self.source, self.destination) else {
            return malformed("`source` or `destination` is missing");
        };
        let (list, _) = self.list(resource)?;
        let length = list.len(resource);
        if source >= length || destination >= length {
            return unprocessable("`source` or `destination` is beyond the end of the list");
        }
        list.move_item(resource, source, destination);
        Ok(())
    }
}

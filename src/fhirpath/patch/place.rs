//! Where an element stands, and changes there.

use super::value::Replacement;
use crate::fhir::definitions::Type;
use crate::fhir::tree::{Object, Value};
use crate::fhirpath::item::{Content, Node};
use crate::fhirpath::types;
use std::borrow::Cow;

/// One step from an object to an element: the JSON name, without `_`, and the position in its array.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Step {
    name: String,
    index: Option<usize>,
}

/// The steps from the root to an element. A primitive and its `_name` sibling are one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    steps: Vec<Step>,
}

/// An element that is an array: the object that has it, and its JSON name.
#[derive(Debug, PartialEq, Eq)]
pub struct List {
    parent: Place,
    /// The JSON name.
    pub name: String,
}

impl Place {
    /// Finds a node of the tree by its address in memory.
    pub fn of(root: &Object<'_>, node: &Node<'_>) -> Option<Self> {
        let mut steps = Vec::new();
        find(root, node, &mut steps).then_some(Self { steps })
    }

    /// Whether it is the resource itself.
    pub const fn is_root(&self) -> bool {
        self.steps.is_empty()
    }

    /// The JSON name of the element.
    pub fn name(&self) -> Option<&str> {
        self.steps.last().map(|step| step.name.as_str())
    }

    /// The list that the element is an item of.
    pub fn list(&self) -> Option<List> {
        let (last, parents) = self.steps.split_last()?;
        last.index.map(|_| List { parent: Self { steps: parents.to_vec() }, name: last.name.clone() })
    }

    /// The object that stands there; of a primitive its sibling, which is made where there is none.
    pub fn object_mut<'r, 'a>(&self, root: &'r mut Object<'a>) -> Option<&'r mut Object<'a>> {
        let mut object = root;
        for step in &self.steps {
            let is_primitive = !has_object(object, step);
            let name = if is_primitive { sibling_name(&step.name) } else { step.name.clone() };
            if is_primitive {
                make_sibling(object, step);
            }
            let member = object.get_mut(&name)?;
            object = match (member, step.index) {
                (Value::Array(items), Some(index)) => items.get_mut(index)?.as_object_mut()?,
                (value, _) => value.as_object_mut()?,
            };
        }
        Some(object)
    }

    /// The definition of the type of what contains the element.
    pub fn parent_definition(&self, root: &Object<'_>) -> Option<&'static Type> {
        let (_, parents) = self.steps.split_last()?;
        let mut object = root;
        let mut definition = types::definition(root.resource_type()?)?;
        for step in parents {
            definition = definition.element(&step.name)?.1.definition()?;
            let Some(value) = item(object, step) else { continue };
            object = value;
            if let Some(own) = object.resource_type().and_then(types::definition) {
                definition = own;
            }
        }
        Some(definition)
    }

    /// Takes the element out, and what would be empty without it.
    pub fn remove(&self, root: &mut Object<'_>) {
        let mut place = self.clone();
        let mut is_emptied = false;
        while let Some(last) = place.steps.pop() {
            let Some(parent) = place.object_mut(root) else { return };
            if is_emptied && has_primitive(parent, &last) {
                // Only the sibling is empty.
                remove_sibling(parent, &last);
            } else {
                remove_from(parent, &last.name, last.index);
            }
            is_emptied = parent.is_empty();
            if !is_emptied {
                return;
            }
        }
    }

    /// Puts another value in its place; the JSON name of a choice may change with it.
    pub fn replace<'a>(&self, root: &mut Object<'a>, new: Replacement<'a>) {
        let Some((last, parents)) = self.steps.split_last() else { return };
        let Some(parent) = (Self { steps: parents.to_vec() }).object_mut(root) else { return };
        let Replacement { name, value, sibling } = new;
        if let Some(index) = last.index {
            return set_item(parent, &last.name, index, value, sibling);
        }
        let sibling_name_before = sibling_name(&last.name);
        let position =
            parent.position(&last.name).or_else(|| parent.position(&sibling_name_before)).unwrap_or(usize::MAX);
        parent.remove(&last.name);
        parent.remove(&sibling_name_before);
        if let Some(sibling) = sibling {
            parent.insert_at(position, sibling_name(&name), sibling);
        }
        if let Some(value) = value {
            parent.insert_at(position, name, value);
        }
    }
}

impl List {
    fn array_mut<'r, 'a>(&self, root: &'r mut Object<'a>, name: &str) -> Option<&'r mut Vec<Value<'a>>> {
        match self.parent.object_mut(root)?.get_mut(name)? {
            Value::Array(items) => Some(items),
            _ => None,
        }
    }

    /// How many items it has.
    pub fn len(&self, root: &mut Object<'_>) -> usize {
        let values = self.array_mut(root, &self.name).map_or(0, |items| items.len());
        values.max(self.array_mut(root, &sibling_name(&self.name)).map_or(0, |items| items.len()))
    }

    /// Puts a value before the item at `index`.
    pub fn insert<'a>(&self, root: &mut Object<'a>, index: usize, new: Replacement<'a>) {
        let length = self.len(root);
        let Some(parent) = self.parent.object_mut(root) else { return };
        let mut insert = |name: String, value: Option<Value<'a>>| {
            if value.is_none() && parent.get(&name).is_none() {
                return;
            }
            let mut items = taken(parent, &name);
            items.resize(length, Value::Null);
            items.insert(index.min(length), value.unwrap_or(Value::Null));
            parent.set(name, Value::Array(items));
        };
        insert(self.name.clone(), new.value);
        insert(sibling_name(&self.name), new.sibling);
    }

    /// Moves an item; `destination` is its position afterwards.
    pub fn move_item(&self, root: &mut Object<'_>, source: usize, destination: usize) {
        let length = self.len(root);
        for name in [self.name.clone(), sibling_name(&self.name)] {
            let Some(items) = self.array_mut(root, &name) else { continue };
            items.resize(length, Value::Null);
            if source < length && destination < length {
                let item = items.remove(source);
                items.insert(destination, item);
            }
        }
    }
}

/// Adds an element that is not there, or an item at the end of a list.
pub fn append<'a>(target: &mut Object<'a>, repeats: bool, new: Replacement<'a>) {
    let Replacement { name, value, sibling } = new;
    if !repeats {
        if let Some(value) = value {
            target.set(name.clone(), value);
        }
        if let Some(sibling) = sibling {
            target.set(sibling_name(&name), sibling);
        }
        return;
    }
    let (mut values, mut siblings) = (taken(target, &name), taken(target, &sibling_name(&name)));
    let length = values.len().max(siblings.len());
    let (has_values, has_siblings) = (!values.is_empty() || value.is_some(), !siblings.is_empty() || sibling.is_some());
    if has_values {
        values.resize(length, Value::Null);
        values.push(value.unwrap_or(Value::Null));
        target.set(name.clone(), Value::Array(values));
    }
    if has_siblings {
        siblings.resize(length, Value::Null);
        siblings.push(sibling.unwrap_or(Value::Null));
        target.set(sibling_name(&name), Value::Array(siblings));
    }
}

/// Whether an object has a member, or its sibling.
pub fn is_present(object: &Object<'_>, name: &str) -> bool {
    object.get(name).is_some() || object.get(&sibling_name(name)).is_some()
}

fn sibling_name(name: &str) -> String {
    format!("_{name}")
}

/// The items of an array member, taken out of it; the member stays where it is.
fn taken<'a>(object: &mut Object<'a>, name: &str) -> Vec<Value<'a>> {
    match object.get_mut(name) {
        Some(Value::Array(items)) => std::mem::take(items),
        Some(value) => vec![std::mem::replace(value, Value::Null)],
        None => Vec::new(),
    }
}

/// Looks for a node below an object.
fn find(object: &Object<'_>, node: &Node<'_>, steps: &mut Vec<Step>) -> bool {
    if is_at(object, node) {
        return true;
    }
    object.iter().any(|(name, member)| {
        let bare = name.strip_prefix('_').unwrap_or(name);
        member.items().iter().enumerate().any(|(index, value)| {
            let index = member.as_array().map(|_| index);
            steps.push(Step { name: bare.to_owned(), index });
            let found = match (value, node.content) {
                (Value::Object(object), _) => find(object, node, steps),
                (value, Content::Primitive(wanted)) => same_address(value, wanted),
                _ => false,
            };
            if !found {
                steps.pop();
            }
            found
        })
    })
}

fn is_at(object: &Object<'_>, node: &Node<'_>) -> bool {
    match (node.content, node.sibling) {
        (Content::Object(wanted), _) => same_address(object, wanted),
        (Content::Absent, Some(sibling)) => same_address(object, sibling),
        _ => false,
    }
}

fn same_address<T>(a: &T, b: &T) -> bool {
    std::ptr::eq(a, b)
}

/// The object at a step, where there is one.
fn item<'r, 'a>(object: &'r Object<'a>, step: &Step) -> Option<&'r Object<'a>> {
    match (object.get(&step.name)?, step.index) {
        (Value::Array(items), Some(index)) => items.get(index)?.as_object(),
        (value, _) => value.as_object(),
    }
}

/// Whether a primitive with a value stands at a step.
fn has_primitive(object: &Object<'_>, step: &Step) -> bool {
    let value = match (object.get(&step.name), step.index) {
        (Some(Value::Array(items)), Some(index)) => items.get(index),
        (value, _) => value,
    };
    value.is_some_and(|value| !matches!(value, Value::Null | Value::Object(_)))
}

/// Removes the `_name` sibling at a step, and keeps the primitive.
fn remove_sibling(parent: &mut Object<'_>, step: &Step) {
    let name = sibling_name(&step.name);
    if let (Some(index), Some(Value::Array(items))) = (step.index, parent.get_mut(&name)) {
        if let Some(item) = items.get_mut(index) {
            *item = Value::Null;
        }
        if items.iter().any(|item| *item != Value::Null) {
            return;
        }
    }
    parent.remove(&name);
}

fn has_object(object: &Object<'_>, step: &Step) -> bool {
    item(object, step).is_some()
}

/// Makes the `_name` sibling of a primitive, as long as the array of the primitives, where it is not there.
fn make_sibling(object: &mut Object<'_>, step: &Step) {
    let name = sibling_name(&step.name);
    let Some(index) = step.index else {
        if object.get(&name).is_none() {
            object.set(name, Value::Object(Object::new()));
        }
        return;
    };
    let mut items = taken(object, &name);
    let length = items.len().max(index + 1);
    items.resize(length, Value::Null);
    if let Some(item) = items.get_mut(index)
        && *item == Value::Null
    {
        *item = Value::Object(Object::new());
    }
    object.set(name, Value::Array(items));
}

/// Removes a member, or an item of it, together with its sibling; arrays that hold nothing any more go too.
fn remove_from(parent: &mut Object<'_>, name: &str, index: Option<usize>) {
    for name in [name.to_owned(), sibling_name(name)] {
        if let (Some(index), Some(Value::Array(items))) = (index, parent.get_mut(&name)) {
            if index < items.len() {
                items.remove(index);
            }
            if !items.iter().all(|item| *item == Value::Null) {
                continue;
            }
        }
        parent.remove(&name);
    }
}

/// Sets an item of a list and its sibling.
fn set_item<'a>(
    parent: &mut Object<'a>,
    name: &str,
    index: usize,
    value: Option<Value<'a>>,
    sibling: Option<Value<'a>>,
) {
    for (name, new) in [(Cow::Borrowed(name), value), (Cow::Owned(sibling_name(name)), sibling)] {
        if new.is_none() && parent.get(&name).is_none() {
            continue;
        }
        let mut items = taken(parent, &name);
        let length = items.len().max(index + 1);
        items.resize(length, Value::Null);
        if let Some(item) = items.get_mut(index) {
            *item = new.unwrap_or(Value::Null);
        }
        if items.iter().all(|item| *item == Value::Null) {
            parent.remove(&name);
        } else {
            parent.set(name.into_owned(), Value::Array(items));
        }
    }
}

//! A walk over all strings of a resource, and where each stands.
//!
//! Types are looked up only where somebody asks: a walk that finds nothing of interest costs no look-up.

use super::definitions::{self, Kind, Type};
use super::tree::{Object, Value};
use std::borrow::Cow;
use std::cell::OnceCell;
use std::fmt;

/// Where a value stands in a resource.
#[derive(Debug)]
pub struct Place<'p> {
    parent: Option<&'p Place<'p>>,
    /// The name of the member; of the root, its resource type.
    member: &'p str,
    index: Option<usize>,
    /// The type named by the object's own `resourceType`, which counts only where a resource may stand.
    own: Option<&'static Type>,
    definition: OnceCell<Option<&'static Type>>,
}

impl<'p> Place<'p> {
    /// The place of a whole resource.
    pub(super) fn root(resource: &Object<'_>) -> Self {
        let own = own_type(resource);
        Place {
            parent: None,
            member: own.map_or("Resource", |it| it.name),
            index: None,
            own,
            definition: OnceCell::new(),
        }
    }

    fn child(&'p self, member: &'p str, index: Option<usize>, own: Option<&'static Type>) -> Self {
        Place { parent: Some(self), member, index, own, definition: OnceCell::new() }
    }

    /// The name of the JSON member.
    #[must_use]
    pub const fn member(&self) -> &str {
        self.member
    }

    /// The place of the object that holds this value.
    #[must_use]
    pub const fn parent(&self) -> Option<&Place<'p>> {
        self.parent
    }

    /// The type of the value; `None` where the definitions do not know the place.
    #[must_use]
    pub fn definition(&self) -> Option<&'static Type> {
        *self.definition.get_or_init(|| {
            let Some(parent) = self.parent else { return self.own };
            if self.member.starts_with('_') {
                return definitions::r4().type_named("Element");
            }
            let declared = parent.definition()?.element(self.member)?.1.definition()?;
            if declared.kind == Kind::Resource { self.own } else { Some(declared) }
        })
    }

    /// Whether this is the `reference` of a `Reference`.
    #[must_use]
    pub fn is_literal_reference(&self) -> bool {
        self.member == "reference" && self.parent.and_then(Place::definition).is_some_and(|it| it.name == "Reference")
    }
}

/// As a FHIRPath: `Patient.contact[0].name`, `Observation.value`.
impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(parent) = self.parent else { return f.write_str(self.member) };
        let name = self.member.strip_prefix('_').unwrap_or(self.member);
        let element = parent.definition().and_then(|definition| definition.element(name));
        write!(f, "{parent}.{}", element.map_or(name, |(element, _)| element.name))?;
        self.index.map_or(Ok(()), |index| write!(f, "[{index}]"))
    }
}

fn own_type(object: &Object<'_>) -> Option<&'static Type> {
    definitions::r4().type_named(object.resource_type()?)
}

/// Visits every string of a resource.
pub(super) fn strings<'v>(resource: &'v Object<'_>, visit: &mut dyn FnMut(&Place<'_>, &'v str)) {
    object_strings(resource, &Place::root(resource), visit);
}

fn object_strings<'v>(object: &'v Object<'_>, place: &Place<'_>, visit: &mut dyn FnMut(&Place<'_>, &'v str)) {
    for (member, value) in object.iter() {
        match value {
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    value_strings(item, place, member, Some(index), visit);
                }
            }
            single => value_strings(single, place, member, None, visit),
        }
    }
}

fn value_strings<'v>(
    value: &'v Value<'_>,
    parent: &Place<'_>,
    member: &str,
    index: Option<usize>,
    visit: &mut dyn FnMut(&Place<'_>, &'v str),
) {
    match value {
        Value::String(text) => visit(&parent.child(member, index, None), text),
        Value::Object(object) => object_strings(object, &parent.child(member, index, own_type(object)), visit),
        _ => {}
    }
}

/// Visits every string of a resource, to be changed.
pub(super) fn strings_mut(resource: &mut Object<'_>, visit: &mut dyn FnMut(&Place<'_>, &mut Cow<'_, str>)) {
    let place = Place::root(resource);
    object_strings_mut(resource, &place, visit);
}

fn object_strings_mut(
    object: &mut Object<'_>,
    place: &Place<'_>,
    visit: &mut dyn FnMut(&Place<'_>, &mut Cow<'_, str>),
) {
    for (member, value) in object.iter_mut() {
        match value {
            Value::Array(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    value_strings_mut(item, place, member, Some(index), visit);
                }
            }
            single => value_strings_mut(single, place, member, None, visit),
        }
    }
}

fn value_strings_mut(
    value: &mut Value<'_>,
    parent: &Place<'_>,
    member: &str,
    index: Option<usize>,
    visit: &mut dyn FnMut(&Place<'_>, &mut Cow<'_, str>),
) {
    match value {
        Value::String(text) => visit(&parent.child(member, index, None), text),
        Value::Object(object) => {
            let place = parent.child(member, index, own_type(object));
            object_strings_mut(object, &place, visit);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree;

    #[test]
    fn every_string_has_a_place_and_a_type() {
        let resource = tree!({
            "resourceType": "Observation",
            "valueString": "a",
            "_status": { "extension": [{ "url": "u", "valueUri": "v" }] },
            "contained": [{ "resourceType": "Patient", "link": [{ "other": { "reference": "r" } }] }],
            "component": [{ "code": { "text": "t" } }],
            "nonsense": { "deep": "x" }
        });
        let mut seen = Vec::new();
        strings(resource.as_object().unwrap(), &mut |place, text| {
            seen.push(format!("{place} {} {text}", place.definition().map_or("?", |it| it.name)));
        });
        assert_eq!(
            seen,
            [
                "Observation.resourceType ? Observation",
                "Observation.value string a",
                "Observation.status.extension[0].url uri u",
                "Observation.status.extension[0].value uri v",
                "Observation.contained[0].resourceType ? Patient",
                "Observation.contained[0].link[0].other.reference string r",
                "Observation.component[0].code.text string t",
                "Observation.nonsense.deep ? x",
            ]
        );
    }

    #[test]
    fn an_element_called_resource_type_is_no_resource() {
        let resource = tree!({
            "resourceType": "ExampleScenario",
            "instance": [{ "resourceId": "a", "resourceType": "Patient", "name": "n" }]
        });
        let mut types = Vec::new();
        strings(resource.as_object().unwrap(), &mut |place, _| {
            types.push(place.parent().and_then(Place::definition).map(|it| it.name));
        });
        assert_eq!(types.last(), Some(&Some("ExampleScenario.instance")));
    }
}

//! Parts of a resource: the views of `_summary` and the choice of `_elements`.
//!
//! <https://hl7.org/fhir/R4/search.html#summary>, <https://hl7.org/fhir/R4/search.html#elements>. What is shown in part
//! carries the tag `SUBSETTED`, so that nobody takes it for the whole and writes it back.

use super::parse::parse;
use super::write;
use crate::error::{Error, Result};
use super::definitions::{self, Kind, Type};
use super::meta::{add, change, meta};
use super::tree::{Object, Value};

const SUBSETTED_SYSTEM: &str = "http://terminology.hl7.org/CodeSystem/v3-ObservationValue";
const SUBSETTED_CODE: &str = "SUBSETTED";

/// The values of `_summary`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Summary {
    /// Only what the definitions mark as summary.
    True,
    /// Only the narrative, id, meta and mandatory top-level elements.
    Text,
    /// Everything but the narrative.
    Data,
    /// A search answers with the number of matches only. No view of a resource.
    Count,
    /// Everything.
    False,
}

impl Summary {
    /// Reads the value of the parameter; `None` for any other text.
    #[must_use]
    pub fn from_code(code: &str) -> Option<Self> {
        match code {
            "true" => Some(Self::True),
            "text" => Some(Self::Text),
            "data" => Some(Self::Data),
            "count" => Some(Self::Count),
            "false" => Some(Self::False),
            _ => None,
        }
    }
}

/// The value of `_elements`: names of top-level elements, each for one resource type or for all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Elements {
    chosen: Vec<(Option<Box<str>>, Box<str>)>,
}

impl Elements {
    /// Reads a list such as `identifier,Patient.name,value[x],valueQuantity`. Of a nested element (`name.family`) the
    /// top-level one is taken. `None` for a list without any name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let chosen: Vec<_> = text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(Self::name).collect();
        (!chosen.is_empty()).then_some(Self { chosen })
    }

    fn name(text: &str) -> (Option<Box<str>>, Box<str>) {
        let (type_name, path) = match text.split_once('.') {
            Some((first, rest)) if first.starts_with(|letter: char| letter.is_ascii_uppercase()) => {
                (Some(first.into()), rest)
            }
            _ => (None, text),
        };
        let element = path.split('.').next().unwrap_or_default();
        (type_name, element.strip_suffix("[x]").unwrap_or(element).into())
    }

    /// The first name that is no element of a type: of its own type where it has one, else of any of `types`.
    #[must_use]
    pub fn unknown_in(&self, types: &[&str]) -> Option<&str> {
        let has = |type_name: &str, element: &str| {
            let definition =
                definitions::r4().type_named(type_name).filter(|definition| definition.is_concrete_resource());
            definition
                .is_some_and(|it| it.element_named(element).or(it.element(element).map(|(found, _)| found)).is_some())
        };
        let known = |(type_name, element): &&(Option<Box<str>>, Box<str>)| match type_name {
            Some(type_name) => has(type_name, element),
            None => types.iter().any(|type_name| has(type_name, element)),
        };
        self.chosen.iter().find(|choice| !known(choice)).map(|(_, element)| &**element)
    }

    /// Whether any name applies to resources of this type; those to which none does are shown whole.
    fn apply_to(&self, type_name: &str) -> bool {
        self.chosen.iter().any(|(only, _)| only.as_deref().is_none_or(|only| only == type_name))
    }

    /// Whether an element (`value`) or its member (`valueQuantity`) is chosen.
    fn choose(&self, type_name: &str, element: &str, member: &str) -> bool {
        self.chosen.iter().any(|(only, name)| {
            only.as_deref().is_none_or(|only| only == type_name) && (&**name == element || &**name == member)
        })
    }
}

/// The part of each resource that a request asks for with `_summary` or `_elements`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// `_summary`, other than `false` and `count`.
    Summary(Summary),
    /// `_elements`.
    Elements(Elements),
}

impl Part {
    /// What the parameters of a URL ask for; `None` for whole resources.
    ///
    /// # Errors
    /// 400 for an unknown `_summary`, and for both parameters at once.
    pub fn from_query(query: &[(String, String)]) -> Result<Option<Self>> {
        let value = |name| query.iter().find(|(key, value)| key == name && !value.is_empty()).map(|(_, value)| value);
        let summary = match value("_summary") {
            None => None,
            Some(code) => match Summary::from_code(code) {
                Some(Summary::False | Summary::Count) => None,
                Some(summary) => Some(summary),
                None => {
                    let text = "_summary must be true, text, data, count or false.";
                    return Err(Error::invalid(text).at("_summary"));
                }
            },
        };
        let elements = value("_elements").and_then(|text| Elements::parse(text));
        match (summary, elements) {
            (Some(_), Some(_)) => Err(Error::invalid("_summary and _elements exclude each other.").at("_elements")),
            (Some(summary), None) => Ok(Some(Self::Summary(summary))),
            (None, elements) => Ok(elements.map(Self::Elements)),
        }
    }

    /// Reduces a resource to this part.
    pub fn apply(&self, resource: &mut Object<'_>) {
        match self {
            Self::Summary(summary) => summarize(resource, *summary),
            Self::Elements(elements) => select(resource, elements),
        }
    }

    /// Reduces a stored resource to this part.
    ///
    /// # Errors
    /// When the bytes are no JSON object, which stored bytes always are.
    pub fn apply_to_bytes(&self, bytes: &[u8]) -> Result<Vec<u8>> {
        let mut tree = parse(bytes, usize::MAX).map_err(Error::internal)?;
        let resource = tree.as_object_mut().ok_or_else(|| Error::internal("a stored resource that is no object"))?;
        self.apply(resource);
        Ok(write::to_vec(&tree))
    }
}

/// Reduces a resource to a view of `_summary` and marks it. [`Summary::False`] and [`Summary::Count`] leave it as it is.
pub fn summarize(resource: &mut Object<'_>, summary: Summary) {
    let Some(definition) = definition(resource) else { return };
    match summary {
        Summary::False | Summary::Count => return,
        Summary::True => keep_summary(resource, definition),
        Summary::Data => {
            resource.remove("text");
        }
        Summary::Text => resource.retain(|member, _| {
            let mandatory = definition.element(element_name(member)).is_some_and(|(element, _)| element.min > 0);
            mandatory || matches!(member, "resourceType" | "id" | "meta" | "text")
        }),
    }
    change(resource, |meta| add(meta, &mark()));
}

/// Reduces a resource to the chosen elements and marks it. Its type, id and meta stay, and so do mandatory elements and
/// those that modify the meaning of others.
pub fn select(resource: &mut Object<'_>, elements: &Elements) {
    let Some(definition) = definition(resource).filter(|definition| elements.apply_to(definition.name)) else { return };
    resource.retain(|member, _| {
        let name = element_name(member);
        matches!(member, "resourceType" | "id" | "meta")
            || definition.element(name).is_some_and(|(element, _)| {
                element.min > 0 || element.is_modifier || elements.choose(definition.name, element.name, name)
            })
    });
    change(resource, |meta| add(meta, &mark()));
}

/// Whether a resource says of itself that it is incomplete: an update with it would lose the rest.
#[must_use]
pub fn is_subsetted(resource: &Object<'_>) -> bool {
    let tags = meta(resource).and_then(|meta| meta.get("tag")).map(Value::items).unwrap_or_default();
    let is_mark =
        |tag: &Object<'_>| tag.str("system") == Some(SUBSETTED_SYSTEM) && tag.str("code") == Some(SUBSETTED_CODE);
    tags.iter().filter_map(Value::as_object).any(is_mark)
}

/// A `meta` with nothing but the tag `SUBSETTED`.
pub(super) fn mark() -> Object<'static> {
    let mut tag = Object::new();
    tag.set("system", SUBSETTED_SYSTEM.into());
    tag.set("code", SUBSETTED_CODE.into());
    let mut meta = Object::new();
    meta.set("tag", Value::Array(vec![tag.into()]));
    meta
}

fn definition(resource: &Object<'_>) -> Option<&'static Type> {
    definitions::r4().type_named(resource.resource_type()?).filter(|definition| definition.is_concrete_resource())
}

/// The member of the value beside which `_member` stands.
fn element_name(member: &str) -> &str {
    member.strip_prefix('_').unwrap_or(member)
}

/// Keeps, at every level, what is marked as summary, what is mandatory and what modifies. A type that marks nothing of its
/// own as summary (`Extension`, `Narrative`) is kept whole.
fn keep_summary(object: &mut Object<'_>, definition: &'static Type) {
    let marks = definition.elements.iter().any(|element| element.is_summary && element.name != "modifierExtension");
    if !marks {
        return;
    }
    object.retain(|member, _| {
        let shown = |element: &definitions::Element| element.is_summary || element.min > 0 || element.is_modifier;
        member == "resourceType" || definition.element(element_name(member)).is_some_and(|(element, _)| shown(element))
    });
    for (member, value) in object.iter_mut() {
        let type_ref = definition.element(member).map(|(_, type_ref)| type_ref);
        if let Some(inner) = type_ref.and_then(definitions::TypeRef::definition) {
            keep_summary_of_value(value, inner);
        }
    }
    object.retain(|_, value| !is_empty(value));
}

fn keep_summary_of_value(value: &mut Value<'_>, declared: &'static Type) {
    match value {
        Value::Array(items) => {
            for item in &mut *items {
                keep_summary_of_value(item, declared);
            }
            items.retain(|item| !is_empty(item));
        }
        Value::Object(object) => {
            let own = if declared.kind == Kind::Resource { definition(object) } else { Some(declared) };
            if let Some(own) = own {
                keep_summary(object, own);
            }
        }
        _ => {}
    }
}

fn is_empty(value: &Value<'_>) -> bool {
    match value {
        Value::Array(items) => items.is_empty(),
        Value::Object(object) => object.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree;

    fn members(resource: &Value<'_>) -> Vec<String> {
        resource.as_object().unwrap().iter().map(|(name, _)| name.to_owned()).collect()
    }

    fn sample() -> Value<'static> {
        tree!({
            "resourceType": "Observation", "id": "1",
            "meta": { "versionId": "2", "tag": [{ "code": "mine" }] },
            "text": { "status": "generated", "div": "<div/>" },
            "contained": [{ "resourceType": "Patient", "id": "p" }],
            "extension": [{ "url": "http://x", "valueBoolean": true }],
            "modifierExtension": [{ "url": "http://y", "valueBoolean": true }],
            "status": "final", "_status": { "extension": [{ "url": "http://z", "valueCode": "a" }] },
            "code": { "id": "c", "text": "Weight", "coding": [{ "system": "http://loinc.org", "code": "1" }], "extension": [{ "url": "http://x" }] },
            "subject": { "reference": "#p" },
            "valueQuantity": { "value": (1_u64), "unit": "kg" },
            "note": [{ "text": "hidden" }],
            "method": { "text": "hidden" },
            "component": [{ "code": { "text": "a" }, "interpretation": [{ "text": "hidden" }] }]
        })
    }

    fn summarized(summary: Summary) -> Value<'static> {
        let mut resource = sample();
        summarize(resource.as_object_mut().unwrap(), summary);
        resource
    }

    #[test]
    fn summary_shows_what_the_definitions_mark() {
        let resource = summarized(Summary::True);
        assert_eq!(
            members(&resource),
            [
                "resourceType",
                "id",
                "meta",
                "modifierExtension",
                "status",
                "_status",
                "code",
                "subject",
                "valueQuantity",
                "component"
            ]
        );
        assert_eq!(
            resource.get("code"),
            Some(&tree!({ "text": "Weight", "coding": [{ "system": "http://loinc.org", "code": "1" }] }))
        );
        assert_eq!(resource.get("component"), Some(&tree!([{ "code": { "text": "a" } }])));
        assert_eq!(resource.get("modifierExtension"), sample().get("modifierExtension"), "extensions are kept whole");
        assert!(is_subsetted(resource.as_object().unwrap()));
    }

    #[test]
    fn text_shows_the_narrative_and_what_is_mandatory() {
        let resource = summarized(Summary::Text);
        assert_eq!(members(&resource), ["resourceType", "id", "meta", "text", "status", "_status", "code"]);
        assert!(is_subsetted(resource.as_object().unwrap()));
    }

    #[test]
    fn data_hides_the_narrative_only() {
        let resource = summarized(Summary::Data);
        assert_eq!(members(&resource).len(), members(&sample()).len() - 1);
        assert!(resource.get("text").is_none() && is_subsetted(resource.as_object().unwrap()));
    }

    #[test]
    fn false_and_count_change_nothing() {
        assert_eq!(summarized(Summary::False), sample());
        assert_eq!(summarized(Summary::Count), sample());
        assert!(!is_subsetted(sample().as_object().unwrap()));
    }

    #[test]
    fn the_mark_is_added_once_and_keeps_other_tags() {
        let mut resource = summarized(Summary::Data);
        summarize(resource.as_object_mut().unwrap(), Summary::True);
        let tags = resource.get("meta").unwrap().get("tag").unwrap();
        assert_eq!(*tags, tree!([{ "code": "mine" }, { "system": (SUBSETTED_SYSTEM), "code": "SUBSETTED" }]));
    }

    fn selected(elements: &str) -> Vec<String> {
        let mut resource = sample();
        select(resource.as_object_mut().unwrap(), &Elements::parse(elements).unwrap());
        members(&resource)
    }

    #[test]
    fn elements_are_chosen_by_name_and_type() {
        let always = ["resourceType", "id", "meta", "modifierExtension", "status", "_status", "code"];
        let with = |more: &[&str]| {
            let mut all: Vec<_> = always.iter().map(ToString::to_string).collect();
            all.extend(more.iter().map(ToString::to_string));
            all
        };
        assert_eq!(selected("subject"), with(&["subject"]));
        assert_eq!(selected("value, note"), with(&["valueQuantity", "note"]));
        assert_eq!(selected("valueQuantity"), with(&["valueQuantity"]));
        assert_eq!(selected("value[x]"), with(&["valueQuantity"]));
        assert_eq!(selected("Observation.note.text,Patient.subject"), with(&["note"]));
        assert_eq!(selected("id"), always);
        assert_eq!(selected("Patient.name"), members(&sample()), "nothing is said of this type");
    }

    #[test]
    fn unknown_elements_are_found() {
        let unknown =
            |text: &str| Elements::parse(text).unwrap().unknown_in(&["Patient", "Observation"]).map(str::to_owned);
        assert_eq!(unknown("id,birthDate,valueQuantity,value[x],Encounter.status,name.family"), None);
        assert_eq!(unknown("birthDate,nonsense"), Some("nonsense".into()));
        assert_eq!(unknown("Patient.subject"), Some("subject".into()));
        assert_eq!(unknown("Nonsense.name"), Some("name".into()));
        assert_eq!(Elements::parse(" , "), None);
    }

    #[test]
    fn what_is_no_resource_is_left_alone() {
        let mut odd = tree!({ "resourceType": "Nonsense", "a": true });
        summarize(odd.as_object_mut().unwrap(), Summary::True);
        assert_eq!(odd, tree!({ "resourceType": "Nonsense", "a": true }));
        assert_eq!(Summary::from_code("data"), Some(Summary::Data));
        assert_eq!(Summary::from_code("yes"), None);
    }
}

//! Parts of a resource: the views of `_summary` and the choice of `_elements`.
//!
//! <https://hl7.org/fhir/R4/search.html#summary>, <https://hl7.org/fhir/R4/search.html#elements>. What is shown in part
//! carries the tag `SUBSETTED`, so that nobody takes it for the whole and writes it back.

#[cfg(test)]
mod tests;

use super::definitions::{self, Kind, Type};
use super::meta::{add, change, meta};
use super::tree::{Object, Value};
use super::{parse, write};
use crate::error::{Category, Error, Issue, Result};

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

/// The part of a resource that a query asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subset {
    /// `_summary`, but for `false` and `count`.
    Summary(Summary),
    /// `_elements`
    Elements(Elements),
}

impl Subset {
    /// Reads `_summary` and `_elements` from the parameters of a query, decoded; `None` where the whole is wanted. Empty
    /// parameters are ignored.
    ///
    /// # Errors
    /// 400 for another value of `_summary` than a view of a resource (a search looks for `count` before), for one of the two
    /// given twice, and where both ask for a part.
    pub fn from_query(query: &[(String, String)]) -> Result<Option<Self>> {
        let summary = match single(query, "_summary")? {
            None => Summary::False,
            Some(code) => match Summary::from_code(code) {
                Some(Summary::Count) => return Err(refused("_summary", "_summary=count is for searches only.")),
                Some(summary) => summary,
                None => return Err(refused("_summary", "_summary must be true, text, data, count or false.")),
            },
        };
        let elements = single(query, "_elements")?.and_then(Elements::parse);
        match (summary, elements) {
            (Summary::False, None) => Ok(None),
            (Summary::False, Some(elements)) => Ok(Some(Self::Elements(elements))),
            (summary, None) => Ok(Some(Self::Summary(summary))),
            _ => Err(refused("_elements", "_summary and _elements can't both choose the part to be shown.")),
        }
    }

    /// Checks that the chosen elements exist in the types that are asked for.
    ///
    /// # Errors
    /// 400 where one of them is unknown.
    pub fn check(&self, types: &[&str]) -> Result<()> {
        match self {
            Self::Elements(elements) if elements.unknown_in(types).is_some() => {
                Err(refused("_elements", "_elements names an element that does not exist."))
            }
            _ => Ok(()),
        }
    }

    /// Reduces a resource to the part and marks it.
    pub fn apply(&self, resource: &mut Object<'_>) {
        match self {
            Self::Summary(summary) => summarize(resource, *summary),
            Self::Elements(elements) => select(resource, elements),
        }
    }

    /// The same for the JSON of a stored resource.
    ///
    /// # Errors
    /// When the bytes are no resource: they are damaged.
    pub fn apply_to_bytes(&self, bytes: &[u8]) -> Result<Vec<u8>> {
        // What is stored was held to the limit of depth when it came in.
        let Value::Object(mut resource) = parse::parse(bytes, usize::MAX).map_err(Error::internal)? else {
            return Err(Error::internal("a stored resource is no JSON object"));
        };
        self.apply(&mut resource);
        let mut out = Vec::with_capacity(bytes.len());
        write::write_object(&resource, &mut out);
        Ok(out)
    }
}

/// The value of a parameter that may be given once; empty ones do not count.
fn single<'q>(query: &'q [(String, String)], name: &'static str) -> Result<Option<&'q str>> {
    let mut values =
        query.iter().filter(|(key, value)| key == name && !value.is_empty()).map(|(_, value)| value.as_str());
    match (values.next(), values.next()) {
        (first, None) => Ok(first),
        _ => Err(refused(name, "This parameter may be given once only.")),
    }
}

fn refused(parameter: &'static str, text: &'static str) -> Error {
    Error::from_issues(Category::Invalid, vec![Issue::error("invalid", text).at(format!("http.{parameter}"))])
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
/// own as summary (`Extension`, `Narrative`) is kept whole, and so is a value of which nothing would be left: it may be
/// mandatory, with an extension that says why it is absent.
fn keep_summary(object: &mut Object<'_>, definition: &'static Type) {
    let marks = definition.elements.iter().any(|element| element.is_summary && element.name != "modifierExtension");
    let shows = |member: &str| {
        let shown = |element: &definitions::Element| element.is_summary || element.min > 0 || element.is_modifier;
        member == "resourceType" || definition.element(element_name(member)).is_some_and(|(element, _)| shown(element))
    };
    if !marks || !object.iter().any(|(member, _)| shows(member)) {
        return;
    }
    object.retain(|member, _| shows(member));
    for (member, value) in object.iter_mut() {
        let type_ref = definition.element(member).map(|(_, type_ref)| type_ref);
        if let Some(inner) = type_ref.and_then(definitions::TypeRef::definition) {
            keep_summary_of_value(value, inner);
        }
    }
}

fn keep_summary_of_value(value: &mut Value<'_>, declared: &'static Type) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| keep_summary_of_value(item, declared)),
        Value::Object(object) => {
            let own = if declared.kind == Kind::Resource { definition(object) } else { Some(declared) };
            if let Some(own) = own {
                keep_summary(object, own);
            }
        }
        _ => {}
    }
}

//! From a resource to its search keys, by the FHIRPath expressions of the search parameters.

use super::bytes::Parts;
use super::composite::{self, Component};
use super::path::Branch;
use super::{KeyList, date, id_key, number, prefix_of, reference, string, token};
use crate::fhir::definitions::{self, ParamType, SearchParameter};
use crate::fhir::tree::{Object, Value};
use crate::fhirpath::{Content, Context, Hooks, Item, Node};
use rustc_hash::FxHashMap;
use std::sync::OnceLock;

/// Parameters that the store answers, or that are no index at all.
const NOT_INDEXED: [&str; 3] = ["_id", "_lastUpdated", "near"];

/// The search parameters of every type, compiled when a type is first met.
#[derive(Debug)]
pub struct Extractor {
    types: FxHashMap<&'static str, OnceLock<Vec<Parameter>>>,
    base: Option<Box<str>>,
}

/// A search parameter, compiled for one resource type.
#[derive(Debug)]
struct Parameter {
    /// What its keys start with.
    prefix: Vec<u8>,
    param_type: ParamType,
    branches: Vec<Branch>,
    components: Vec<Component>,
}

impl Extractor {
    /// An extractor with the official parameters. References that start with `base`, the address of this server without a
    /// slash at the end, are taken as relative ones.
    #[must_use]
    pub fn new(base: Option<&str>) -> Self {
        let types = definitions::r4().resource_types().iter().map(|name| (*name, OnceLock::new())).collect();
        Self { types, base: base.map(Into::into) }
    }

    /// The search keys of a resource, without those that its commit adds.
    #[must_use]
    pub fn keys(&self, resource: &Object<'_>) -> KeyList {
        let mut keys: Vec<Box<[u8]>> = resource.id().map(|id| id_key(id).into()).into_iter().collect();
        let Some((type_name, slot)) = resource.resource_type().and_then(|name| self.types.get_key_value(name)) else {
            return KeyList::new(keys);
        };
        let root = Item::resource(resource);
        let context = Context::new(&root).with_hooks(&TypesOfReferences);
        let mut parts = Parts::default();
        for parameter in slot.get_or_init(|| parameters(type_name)) {
            parts.clear();
            for branch in parameter.branches.iter().filter(|branch| branch.may_apply(resource)) {
                for item in branch.evaluate(&context, &root) {
                    self.add_parts(parameter, branch, &context, &item, &mut parts);
                }
            }
            keys.extend(parts.iter().map(|part| [&parameter.prefix, part].concat().into()));
        }
        KeyList::new(keys)
    }

    fn add_parts<'t>(
        &self,
        parameter: &'t Parameter,
        branch: &Branch,
        context: &Context<'t>,
        item: &Item<'t>,
        out: &mut Parts,
    ) {
        if parameter.param_type == ParamType::Composite {
            composite::parts(out, &parameter.components, context, item, self.base.as_deref());
        } else {
            item_parts(out, parameter.param_type, item, branch.implied_systems(), self.base.as_deref());
        }
    }
}

/// Adds the parts of one item that an expression gave.
pub(super) fn item_parts(
    out: &mut Parts,
    param_type: ParamType,
    item: &Item<'_>,
    implied: &[&str],
    base: Option<&str>,
) {
    let type_name = item.type_name().unwrap_or_default();
    match item {
        Item::Node(Node { content: Content::Primitive(value), .. }) => {
            value_parts(out, param_type, type_name, value, implied, base);
        }
        Item::Node(Node { content: Content::Object(object), .. }) => {
            object_parts(out, param_type, type_name, object, base);
        }
        Item::Boolean(value) => value_parts(out, param_type, "boolean", &Value::Bool(*value), implied, base),
        Item::String(text) => value_parts(out, param_type, "string", &Value::from(text.as_ref()), implied, base),
        _ => {}
    }
}

fn value_parts(
    out: &mut Parts,
    param_type: ParamType,
    type_name: &str,
    value: &Value<'_>,
    implied: &[&str],
    base: Option<&str>,
) {
    match param_type {
        ParamType::Token => token::parts(out, value, implied),
        ParamType::String => string::parts(out, value),
        ParamType::Date => date::parts(out, value),
        ParamType::Number => number::parts(out, type_name, value),
        ParamType::Reference => reference::parts(out, value, base),
        ParamType::Uri => value.as_str().into_iter().for_each(|uri| reference::uri_parts(out, uri)),
        ParamType::Quantity | ParamType::Composite | ParamType::Special => {}
    }
}

fn object_parts(out: &mut Parts, param_type: ParamType, type_name: &str, object: &Object<'_>, base: Option<&str>) {
    match param_type {
        ParamType::Token => token::object_parts(out, type_name, object),
        ParamType::String => string::object_parts(out, type_name, object),
        ParamType::Date => date::object_parts(out, type_name, object),
        ParamType::Number => number::object_parts(out, type_name, object),
        ParamType::Quantity => number::quantity_parts(out, type_name, object),
        ParamType::Reference => reference::object_parts(out, object, base),
        ParamType::Uri | ParamType::Composite | ParamType::Special => {}
    }
}

fn parameters(type_name: &'static str) -> Vec<Parameter> {
    let official = definitions::r4().search_parameters_of(type_name);
    official.filter(|found| is_indexed(found)).map(|found| compile(found, type_name)).collect()
}

/// Whether the extractor makes keys for a parameter.
#[must_use]
pub fn is_indexed(parameter: &SearchParameter) -> bool {
    !parameter.expression.is_empty()
        && parameter.param_type != ParamType::Special
        && !NOT_INDEXED.contains(&parameter.code)
}

fn compile(parameter: &SearchParameter, type_name: &str) -> Parameter {
    Parameter {
        prefix: prefix_of(parameter.code),
        param_type: parameter.param_type,
        branches: Branch::all_of(parameter.expression, type_name),
        components: parameter.components.iter().filter_map(|(url, text)| Component::compile(url, text)).collect(),
    }
}

/// Answers `resolve()` with nothing but the type that a reference's text tells: enough for `resolve() is Patient`.
struct TypesOfReferences;

static NO_MEMBERS: Object<'static> = Object::new();

impl Hooks for TypesOfReferences {
    fn resolve<'t>(&'t self, text: &str) -> Option<Item<'t>> {
        let mut segments = text.split('/').rev().skip_while(|segment| segment.is_empty());
        let (last, before) = (segments.next()?, segments.next()?);
        let name = if before == "_history" { segments.nth(1)? } else { before };
        let _id = last;
        let definition = definitions::r4().type_named(name).filter(|found| found.is_concrete_resource())?;
        Some(Item::Node(Node { content: Content::Object(&NO_MEMBERS), sibling: None, definition: Some(definition) }))
    }
}

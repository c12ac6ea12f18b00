//! From a resource to its search keys, by the FHIRPath expressions of the search parameters.

use super::bytes::Parts;
use super::composite::{self, Component};
use super::inner::{self, Held, Home};
use super::path::{Branch, meant};
use super::{KeyList, Parameters, date, id_key, near, number, prefix_of, reference, string, ties, token, words};
use crate::fhir::definitions::{self, ParamType, SearchParameter};
use crate::fhir::tree::{Object, Value};
use crate::fhirpath::{Content, Context, Hooks, Item, Node, STEP_LIMIT};
use rustc_hash::FxHashMap;
use std::sync::{Arc, LazyLock, OnceLock};

/// Parameters that the store answers, or that are no index at all.
const NOT_INDEXED: [&str; 3] = ["_id", "_lastUpdated", "near"];

/// What is compiled of each type, when it is first met.
type Types = FxHashMap<&'static str, OnceLock<Arc<Compiled>>>;

/// The official parameters: those of all tenants that have no others of a type.
static OFFICIAL: LazyLock<Types> = LazyLock::new(no_types);

/// The search parameters of every type, compiled when a type is first met.
#[derive(Debug)]
pub struct Extractor {
    types: Types,
    parameters: Arc<Parameters>,
    base: Option<Box<str>>,
    has_content: bool,
    /// The steps that the expressions of a tenant's parameters may take for one resource, all together.
    further_steps: u32,
}

/// The search parameters of one type.
#[derive(Debug, Default)]
struct Compiled {
    /// Where values come from, each once: `code` and `combo-code` share one.
    sources: Vec<Source>,
    parameters: Vec<Parameter>,
    /// How many of the sources are those of official parameters; they stand first.
    official: usize,
}

/// A search parameter of one type.
#[derive(Debug)]
struct Parameter {
    /// What its keys start with.
    prefix: Vec<u8>,
    /// Positions of its sources.
    sources: Vec<usize>,
    /// The key that tells that a resource has all keys of a further parameter.
    marker: Option<Box<[u8]>>,
}

/// An alternative of an expression, and how its items are read.
#[derive(Debug, PartialEq)]
struct Source {
    param_type: ParamType,
    branch: Branch,
    components: Vec<Component>,
}

impl Extractor {
    /// An extractor with the official parameters. References that start with `base`, the address of this server without a
    /// slash at the end, are taken as relative ones.
    #[must_use]
    pub fn new(base: Option<&str>) -> Self {
        Self::with(base, Arc::default())
    }

    /// The same with the parameters of a tenant.
    #[must_use]
    pub fn with(base: Option<&str>, parameters: Arc<Parameters>) -> Self {
        Self {
            types: no_types(),
            parameters,
            base: base.map(Into::into),
            has_content: false,
            further_steps: STEP_LIMIT,
        }
    }

    /// The same with a limit for the steps that the expressions of a tenant's parameters may take for one resource, all
    /// together. A parameter whose expression takes more than its share has no keys for the resource, nor its marker.
    #[must_use]
    pub fn with_further_steps(self, further_steps: u32) -> Self {
        Self { further_steps, ..self }
    }

    /// The same with the words of all texts, for `_content`, or without them.
    #[must_use]
    pub fn with_content(self, has_content: bool) -> Self {
        Self { has_content, ..self }
    }

    /// Whether the words of all texts are among the keys.
    #[must_use]
    pub const fn has_content(&self) -> bool {
        self.has_content
    }

    /// The search keys of a resource, without those that its commit adds.
    #[must_use]
    pub fn keys(&self, resource: &Object<'_>) -> KeyList {
        let held = inner::held(resource);
        let home = Home { base: self.base.as_deref(), held: &held };
        let mut keys = self.own_keys(resource, home, true);
        for Held { inner, resource } in &held {
            let prefix = inner.prefix();
            let own = self.own_keys(resource, home, false);
            keys.extend(own.iter().map(|key| [prefix.as_bytes(), key].concat().into()));
        }
        KeyList::new(keys)
    }

    /// The keys of one resource, without those of resources inside of it. An inner one has no keys of further parameters: the
    /// markers that tell which resources lack those stand for outer ones only.
    fn own_keys(&self, resource: &Object<'_>, home: Home<'_>, is_outer: bool) -> Vec<Box<[u8]>> {
        let mut keys: Vec<Box<[u8]>> = resource.id().map(|id| id_key(id).into()).into_iter().collect();
        let Some((type_name, slot)) = resource.resource_type().and_then(|name| self.types.get_key_value(name)) else {
            return keys;
        };
        let compiled = slot.get_or_init(|| Compiled::shared(&self.parameters, type_name));
        let root = Item::resource(resource);
        let wanted = if is_outer { compiled.sources.len() } else { compiled.official };
        let found = self.parts(compiled, wanted, resource, &root, home);
        for Parameter { prefix, sources, marker } in
            compiled.parameters.iter().filter(|one| is_outer || one.marker.is_none())
        {
            let parts: Option<Vec<&Parts>> = sources.iter().map(|source| found.get(*source)?.as_ref()).collect();
            for parts in parts.iter().flatten() {
                keys.extend(parts.iter().map(|part| [prefix, part].concat().into()));
            }
            keys.extend(marker.clone().filter(|_| parts.is_some()));
        }
        keys.extend(words::narrative_keys(resource));
        if self.has_content {
            keys.extend(words::content_keys(resource));
        }
        if *type_name == "Location" {
            let mut parts = Parts::default();
            near::parts(&mut parts, resource);
            keys.extend(parts.iter().map(|part| [&prefix_of(near::NEAR), part].concat().into()));
        }
        if is_outer {
            keys.extend(ties::keys(resource, self.base.as_deref()));
        }
        keys
    }

    /// What each of the first sources gives, so many as are wanted; `None` for those of further parameters that take too many
    /// steps.
    fn parts(
        &self,
        compiled: &Compiled,
        wanted: usize,
        resource: &Object<'_>,
        root: &Item<'_>,
        home: Home<'_>,
    ) -> Vec<Option<Parts>> {
        let context = Context::new(root).with_hooks(&TypesOfReferences);
        let mut left = self.further_steps;
        let parts = |(position, source): (usize, &Source)| {
            if !source.branch.may_apply(resource) {
                return Some(Parts::default());
            }
            // The official expressions take steps in proportion to the resource. The others share what there is, so that
            // one of them can't take it all.
            let is_official = position < compiled.official;
            let sharing = u32::try_from(compiled.sources.len() - position).unwrap_or(u32::MAX);
            let share = if is_official { u32::MAX } else { left / sharing };
            context.steps.set(share);
            let parts = source.parts(&context, root, home);
            let unused = context.steps.get();
            if !is_official {
                left -= share - unused;
            }
            (unused > 0).then_some(parts)
        };
        compiled.sources.iter().take(wanted).enumerate().map(parts).collect()
    }
}

/// All types, none of them met.
fn no_types() -> Types {
    definitions::r4().resource_types().iter().map(|name| (*name, OnceLock::new())).collect()
}

impl Compiled {
    /// The same for all who have no further parameters of the type.
    fn shared(parameters: &Parameters, type_name: &str) -> Arc<Self> {
        let compile = || Arc::new(Self::of(parameters, type_name));
        let official = OFFICIAL.get(type_name).filter(|_| parameters.further(type_name).is_empty());
        official.map_or_else(compile, |official| Arc::clone(official.get_or_init(compile)))
    }

    fn of(parameters: &Parameters, type_name: &str) -> Self {
        let mut compiled = Self::default();
        for parameter in definitions::r4().search_parameters_of(type_name) {
            compiled.add(parameter, type_name, None);
        }
        compiled.official = compiled.sources.len();
        for further in parameters.further(type_name) {
            compiled.add(further.definition(), type_name, Some(further.marker().into()));
        }
        compiled
    }

    fn add(&mut self, parameter: &SearchParameter, type_name: &str, marker: Option<Box<[u8]>>) {
        if is_indexed(parameter) {
            let sources = Branch::all_of(&meant(parameter), type_name).into_iter();
            let sources = sources.map(|branch| self.source(parameter, branch)).collect();
            self.parameters.push(Parameter { prefix: prefix_of(&parameter.code), sources, marker });
        }
    }

    /// The position of a source; it is added where it is new.
    fn source(&mut self, parameter: &SearchParameter, branch: Branch) -> usize {
        let components = Component::all_of(parameter);
        let source = Source { param_type: parameter.param_type, branch, components };
        if let Some(known) = self.sources.iter().position(|known| *known == source) {
            return known;
        }
        self.sources.push(source);
        self.sources.len() - 1
    }
}

impl Source {
    fn parts<'t>(&'t self, context: &Context<'t>, root: &Item<'t>, home: Home<'_>) -> Parts {
        let mut parts = Parts::default();
        for item in self.branch.evaluate(context, root) {
            if self.param_type == ParamType::Composite {
                composite::parts(&mut parts, &self.components, context, &item, home);
            } else {
                item_parts(&mut parts, self.param_type, &item, self.branch.implied_systems(), home);
            }
        }
        parts
    }
}

/// Adds the parts of one item that an expression gave.
pub(super) fn item_parts(out: &mut Parts, param_type: ParamType, item: &Item<'_>, implied: &[&str], home: Home<'_>) {
    let type_name = item.type_name().unwrap_or_default();
    match item {
        Item::Node(Node { content: Content::Primitive(value), .. }) => {
            value_parts(out, param_type, type_name, value, implied, home);
        }
        Item::Node(Node { content: Content::Object(object), .. }) if type_name == "Extension" => {
            extension_parts(out, param_type, object, home);
        }
        Item::Node(Node { content: Content::Object(object), .. }) => {
            object_parts(out, param_type, type_name, object, home);
        }
        Item::Boolean(value) => value_parts(out, param_type, "boolean", &Value::Bool(*value), implied, home),
        Item::String(text) => value_parts(out, param_type, "string", &Value::from(text.as_ref()), implied, home),
        _ => {}
    }
}

/// The parameters that extensions define mean the extension's value.
fn extension_parts(out: &mut Parts, param_type: ParamType, extension: &Object<'_>, home: Home<'_>) {
    let definition = definitions::r4().type_named("Extension");
    for (name, value) in extension.iter().filter(|(name, _)| name.starts_with("value")) {
        let type_name = definition.and_then(|found| found.element(name)).map_or("", |(_, type_ref)| type_ref.name);
        match value {
            Value::Object(object) => object_parts(out, param_type, type_name, object, home),
            primitive => value_parts(out, param_type, type_name, primitive, &[], home),
        }
    }
}

fn value_parts(
    out: &mut Parts,
    param_type: ParamType,
    type_name: &str,
    value: &Value<'_>,
    implied: &[&str],
    home: Home<'_>,
) {
    match param_type {
        ParamType::Token => token::parts(out, value, implied),
        ParamType::String => string::parts(out, value),
        ParamType::Date => date::parts(out, value),
        ParamType::Number => number::parts(out, type_name, value),
        ParamType::Reference => reference::parts(out, value, home),
        ParamType::Uri => value.as_str().into_iter().for_each(|uri| reference::uri_parts(out, uri)),
        ParamType::Quantity | ParamType::Composite | ParamType::Special => {}
    }
}

fn object_parts(out: &mut Parts, param_type: ParamType, type_name: &str, object: &Object<'_>, home: Home<'_>) {
    match param_type {
        ParamType::Token => token::object_parts(out, type_name, object),
        ParamType::String => string::object_parts(out, type_name, object),
        ParamType::Date => date::object_parts(out, type_name, object),
        ParamType::Number => number::object_parts(out, type_name, object),
        ParamType::Quantity => number::quantity_parts(out, type_name, object),
        ParamType::Reference if object.resource_type().is_some() => reference::inner_parts(out, object, home),
        ParamType::Reference => reference::object_parts(out, object, home),
        ParamType::Uri | ParamType::Composite | ParamType::Special => {}
    }
}

/// Whether the extractor makes keys for a parameter.
#[must_use]
pub fn is_indexed(parameter: &SearchParameter) -> bool {
    !parameter.expression.is_empty()
        && parameter.param_type != ParamType::Special
        && !NOT_INDEXED.contains(&&*parameter.code)
}

/// Answers `resolve()` with nothing but the type that a reference's text tells: enough for `resolve() is Patient`.
struct TypesOfReferences;

static NO_MEMBERS: Object<'static> = Object::new();

impl Hooks for TypesOfReferences {
    fn resolve<'t>(&'t self, text: &str) -> Option<Item<'t>> {
        let mut segments = text.split('/').rev().skip_while(|segment| segment.is_empty());
        let before = segments.nth(1)?;
        let name = if before == "_history" { segments.nth(1)? } else { before };
        let definition = definitions::r4().type_named(name).filter(|found| found.is_concrete_resource())?;
        Some(Item::Node(Node { content: Content::Object(&NO_MEMBERS), sibling: None, definition: Some(definition) }))
    }
}

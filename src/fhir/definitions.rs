//! The definitions of FHIR R4 as data: structures, bindings, search parameters, compartments.
//!
//! Distilled from the official package by `cargo run --example distil` into `profiles/` and `terminology/`, embedded in the
//! binary. Everything here is `'static` and read-only. Search parameters that a tenant adds are in the layer `key`.

mod read;
mod terminology;
#[cfg(test)]
mod tests;

pub use terminology::{CodeSystem, Concept, ValueSet};

use rustc_hash::FxHashMap;
use std::borrow::Cow;
use std::sync::LazyLock;

/// The definitions of FHIR R4 (4.0.1). The first call reads them, which takes a few milliseconds.
#[must_use]
pub fn r4() -> &'static Definitions {
    static R4: LazyLock<Definitions> = LazyLock::new(|| match read::r4() {
        Ok(definitions) => definitions,
        // The text is part of the binary, and a test reads all of it.
        Err(line) => unreachable!("a line of the embedded definitions can't be read: {line}"),
    });
    &R4
}

/// All definitions of one version of FHIR.
#[derive(Debug)]
pub struct Definitions {
    types: Vec<Type>,
    types_by_name: FxHashMap<&'static str, usize>,
    resource_types: Vec<&'static str>,
    search_parameters: Vec<SearchParameter>,
    search_parameters_by_base: FxHashMap<&'static str, Vec<usize>>,
    search_parameters_by_url: FxHashMap<&'static str, usize>,
    compartments: Vec<Compartment>,
    operations: Vec<Operation>,
}

impl Definitions {
    /// The type called `name`: `Patient`, `HumanName`, `Patient.contact`, `boolean`.
    #[must_use]
    pub fn type_named(&'static self, name: &str) -> Option<&'static Type> {
        self.types.get(*self.types_by_name.get(name)?)
    }

    /// All types, nested ones and abstract ones included.
    #[must_use]
    pub fn types(&'static self) -> &'static [Type] {
        &self.types
    }

    /// The names of the resource types that a resource can have, sorted.
    #[must_use]
    pub fn resource_types(&'static self) -> &'static [&'static str] {
        &self.resource_types
    }

    /// Whether a resource can have this type.
    #[must_use]
    pub fn is_resource_type(&'static self, name: &str) -> bool {
        self.type_named(name).is_some_and(Type::is_concrete_resource)
    }

    /// Whether `name` is the type `base` or one derived from it: `Age` is a `Quantity`, `code` a `string`,
    /// `Patient.contact` a `BackboneElement` and an `Element`.
    #[must_use]
    pub fn is_subtype_of(&'static self, name: &str, base: &str) -> bool {
        self.lineage(name).any(|ancestor| ancestor.name == base)
    }

    /// The type called `name`, then its base, and so on to the root.
    pub fn lineage(&'static self, name: &str) -> impl Iterator<Item = &'static Type> {
        std::iter::successors(self.type_named(name), |child| self.type_named(child.base?))
    }

    /// All search parameters, sorted by URL.
    #[must_use]
    pub fn search_parameters(&'static self) -> &'static [SearchParameter] {
        &self.search_parameters
    }

    /// The search parameters of a resource type: its own, then those of `DomainResource` and of `Resource`.
    pub fn search_parameters_of(&'static self, resource_type: &str) -> impl Iterator<Item = &'static SearchParameter> {
        let by_base = |base: &'static Type| self.search_parameters_by_base.get(base.name).into_iter().flatten();
        self.lineage(resource_type).flat_map(by_base).filter_map(|position| self.search_parameters.get(*position))
    }

    /// The search parameter of a resource type by its name in queries.
    #[must_use]
    pub fn search_parameter(&'static self, resource_type: &str, code: &str) -> Option<&'static SearchParameter> {
        self.search_parameters_of(resource_type).find(|parameter| parameter.code == code)
    }

    /// The search parameter with this canonical URL (without version).
    #[must_use]
    pub fn search_parameter_by_url(&'static self, url: &str) -> Option<&'static SearchParameter> {
        self.search_parameters.get(*self.search_parameters_by_url.get(url)?)
    }

    /// All compartments.
    #[must_use]
    pub fn compartments(&'static self) -> &'static [Compartment] {
        &self.compartments
    }

    /// The compartment of a resource type: `Patient`, `Practitioner`, `Encounter`, `Device`, `RelatedPerson`.
    #[must_use]
    pub fn compartment(&'static self, resource_type: &str) -> Option<&'static Compartment> {
        self.compartments.iter().find(|compartment| compartment.code == resource_type)
    }

    /// All operations.
    #[must_use]
    pub fn operations(&'static self) -> &'static [Operation] {
        &self.operations
    }

    /// The value set with this canonical URL (without version).
    #[must_use]
    pub fn value_set(&'static self, url: &str) -> Option<&'static ValueSet> {
        terminology::R4.value_set(url)
    }

    /// The code system with this canonical URL (without version).
    #[must_use]
    pub fn code_system(&'static self, url: &str) -> Option<&'static CodeSystem> {
        terminology::R4.code_system(url)
    }
}

/// What kind of type a [`Type`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `boolean`, `string`, `date` …
    Primitive,
    /// `HumanName`, `Quantity` … and the nested elements of resources and data types (`Patient.contact`).
    Complex,
    /// `Patient` …
    Resource,
}

/// One type: a resource type, a data type, or a nested element, which is named by its path (`Patient.contact`).
#[derive(Debug)]
pub struct Type {
    /// `Patient`, `HumanName`, `Patient.contact`.
    pub name: &'static str,
    /// What kind.
    pub kind: Kind,
    /// Whether nothing is of exactly this type (`Resource`, `DomainResource`, `Element` …).
    pub is_abstract: bool,
    /// `DomainResource` for `Patient`, `Quantity` for `Age`, `BackboneElement` or `Element` for nested ones.
    pub base: Option<&'static str>,
    /// All elements, inherited ones included, in the order of the definition. A primitive has only `id` and `extension`.
    pub elements: Vec<Element>,
    /// Which primitive this is; `None` for all other kinds.
    pub primitive: Option<Primitive>,
    /// Positions of an element and of one of its types, by the name of the JSON member: `valueQuantity`.
    by_json_name: FxHashMap<Box<str>, (usize, usize)>,
    /// Positions of elements by the name in FHIRPath: `value`.
    by_name: FxHashMap<&'static str, usize>,
    /// A bit for each position in [`Type::elements`] with a `min` above 0.
    required: u128,
}

impl Type {
    /// The element and the type that a JSON member of this name stands for: `valueQuantity` is the element `value` as a
    /// `Quantity`. An element that is no choice has one type. `_birthDate` is looked up as `birthDate`.
    #[must_use]
    pub fn element(&self, json_name: &str) -> Option<(&Element, &TypeRef)> {
        let (element, type_ref) = *self.by_json_name.get(json_name)?;
        let element = self.elements.get(element)?;
        Some((element, element.types.get(type_ref)?))
    }

    /// The element by its name in FHIRPath: `value` for `value[x]`.
    #[must_use]
    pub fn element_named(&self, name: &str) -> Option<&Element> {
        self.elements.get(*self.by_name.get(name)?)
    }

    /// The same two with the position of the element in [`Type::elements`].
    pub(crate) fn placed_element(&self, json_name: &str) -> Option<(usize, &Element, &TypeRef)> {
        let (position, type_ref) = *self.by_json_name.get(json_name)?;
        let element = self.elements.get(position)?;
        Some((position, element, element.types.get(type_ref)?))
    }

    /// A bit for each position in [`Type::elements`] whose element is required. No type has more than 128 elements.
    pub(crate) const fn required_elements(&self) -> u128 {
        self.required
    }

    /// Whether a resource can be of this type.
    #[must_use]
    pub fn is_concrete_resource(&self) -> bool {
        self.kind == Kind::Resource && !self.is_abstract
    }
}

/// The primitive types.
/// <https://hl7.org/fhir/R4/datatypes.html#primitive>
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Primitive {
    Base64Binary,
    Boolean,
    Canonical,
    Code,
    Date,
    DateTime,
    Decimal,
    Id,
    Instant,
    Integer,
    Markdown,
    Oid,
    PositiveInt,
    String,
    Time,
    UnsignedInt,
    Uri,
    Url,
    Uuid,
    Xhtml,
}

/// One element of a type.
#[derive(Debug, Clone)]
pub struct Element {
    /// The name as FHIRPath has it: `name`; `value` for `value[x]`.
    pub name: &'static str,
    /// Whether it is a choice of types (`value[x]`).
    pub is_choice: bool,
    /// The least number of values.
    pub min: u32,
    /// The greatest number of values; `None` for `*`.
    pub max: Option<u32>,
    /// The types it may have; a nested element (and a `contentReference`) has one: the nested [`Type`]'s name.
    pub types: Vec<TypeRef>,
    /// The canonical URL of the value set of a required binding, without version.
    pub required_binding: Option<&'static str>,
    /// `isSummary`: shown under `_summary=true`.
    pub is_summary: bool,
    /// `isModifier`.
    pub is_modifier: bool,
}

/// A type that an element may have.
#[derive(Debug, Clone)]
pub struct TypeRef {
    /// The name of the [`Type`].
    pub name: &'static str,
    /// For `Reference` and `canonical`: the resource types it may point to; empty for any.
    pub targets: Vec<&'static str>,
    /// Where the type stands among all.
    position: usize,
}

impl TypeRef {
    /// The type itself.
    #[must_use]
    pub fn definition(&self) -> Option<&'static Type> {
        r4().types.get(self.position)
    }
}

impl Element {
    /// The name of the JSON member that holds a value of one of the element's types: `valueQuantity`.
    #[must_use]
    pub fn json_name(&self, type_ref: &TypeRef) -> String {
        if !self.is_choice {
            return self.name.to_owned();
        }
        let mut letters = type_ref.name.chars();
        let first = letters.next().map(|letter| letter.to_ascii_uppercase());
        self.name.chars().chain(first).chain(letters).collect()
    }
}

/// `SearchParameter.type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum ParamType {
    Number,
    Date,
    String,
    Token,
    Reference,
    Composite,
    Quantity,
    Uri,
    Special,
}

impl ParamType {
    /// The code of <http://hl7.org/fhir/search-param-type>.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Number => "number",
            Self::Date => "date",
            Self::String => "string",
            Self::Token => "token",
            Self::Reference => "reference",
            Self::Composite => "composite",
            Self::Quantity => "quantity",
            Self::Uri => "uri",
            Self::Special => "special",
        }
    }
}

impl ParamType {
    /// The type that `SearchParameter.type` calls so.
    #[must_use]
    pub fn from_code(code: &str) -> Option<Self> {
        read::param_type_named(code)
    }
}

/// A search parameter: of the official definitions, or one that a tenant added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchParameter {
    /// The canonical URL.
    pub url: Cow<'static, str>,
    /// The name in a query: `birthdate`.
    pub code: Cow<'static, str>,
    /// The type.
    pub param_type: ParamType,
    /// The types it is defined on (`Resource` and `DomainResource` are not unfolded).
    pub base: Vec<&'static str>,
    /// The FHIRPath expression; empty for a few special ones.
    pub expression: Cow<'static, str>,
    /// The types a reference may point to.
    pub targets: Vec<&'static str>,
    /// The parts of a composite: the canonical URL of the part's definition, and its expression.
    pub components: Vec<(Cow<'static, str>, Cow<'static, str>)>,
}

/// A compartment.
/// <https://hl7.org/fhir/R4/compartmentdefinition.html>
#[derive(Debug)]
pub struct Compartment {
    /// The canonical URL.
    pub url: &'static str,
    /// The resource type that the compartment is around: `Patient`.
    pub code: &'static str,
    /// The resource types that can be in it, sorted, each with the search parameters that tie it to the compartment;
    /// the definitions write `{def}` for the very resource that the compartment is around.
    pub resources: Vec<(&'static str, Vec<&'static str>)>,
}

impl Compartment {
    /// The search parameters that tie a resource type to the compartment; empty for a type that can't be in it.
    #[must_use]
    pub fn params(&self, resource_type: &str) -> &[&'static str] {
        let found = self.resources.binary_search_by(|(name, _)| (*name).cmp(resource_type)).ok();
        found.and_then(|position| self.resources.get(position)).map_or(&[], |(_, params)| params)
    }
}

/// An operation of the official definitions.
#[derive(Debug)]
pub struct Operation {
    /// The canonical URL.
    pub url: &'static str,
    /// The name without `$`.
    pub code: &'static str,
    /// Which of `system`, `type` and `instance` it works on.
    pub levels: Vec<&'static str>,
    /// The resource types it is defined on; `Resource` for any.
    pub resources: Vec<&'static str>,
}

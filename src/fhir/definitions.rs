//! The definitions of FHIR R4 as data: structures, bindings, search parameters, compartments.
//!
//! Distilled from the official package by `cargo run --example distil` into `profiles/` and `terminology/`, embedded in the
//! binary. Everything here is `'static` and read-only. Search parameters that a tenant adds live in `search`'s registry.

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
    /// All elements, inherited ones included, in the order of the definition.
    pub elements: Vec<Element>,
}

/// One element of a type.
#[derive(Debug)]
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
#[derive(Debug)]
pub struct TypeRef {
    /// The name of the [`Type`].
    pub name: &'static str,
    /// For `Reference` and `canonical`: the resource types it may point to; empty for any.
    pub targets: Vec<&'static str>,
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

/// A search parameter of the official definitions.
#[derive(Debug)]
pub struct SearchParameter {
    /// The canonical URL.
    pub url: &'static str,
    /// The name in a query: `birthdate`.
    pub code: &'static str,
    /// The type.
    pub param_type: ParamType,
    /// The types it is defined on (`Resource` and `DomainResource` are not unfolded).
    pub base: Vec<&'static str>,
    /// The FHIRPath expression; empty for a few special ones.
    pub expression: &'static str,
    /// The types a reference may point to.
    pub targets: Vec<&'static str>,
    /// The parts of a composite: the canonical URL of the part's definition, and its expression.
    pub components: Vec<(&'static str, &'static str)>,
}

/// A value set with its codes, where these are enumerable from the embedded code systems.
#[derive(Debug)]
pub struct ValueSet {
    /// The canonical URL without version.
    pub url: &'static str,
    /// The codes (system, code), in order; `None` where the value set can't be enumerated from what is embedded
    /// (for example all of BCP-47 or of UCUM).
    pub codes: Option<Vec<(&'static str, &'static str)>>,
}

/// A code system's codes and hierarchy.
#[derive(Debug)]
pub struct CodeSystem {
    /// The canonical URL.
    pub url: &'static str,
    /// `CodeSystem.caseSensitive`.
    pub case_sensitive: Option<bool>,
    /// The concepts in order: code, display, and the position of the parent concept.
    pub concepts: Vec<Concept>,
}

/// A concept of a [`CodeSystem`].
#[derive(Debug)]
pub struct Concept {
    /// The code.
    pub code: &'static str,
    /// The name for people.
    pub display: &'static str,
    /// The position of its parent in [`CodeSystem::concepts`].
    pub parent: Option<usize>,
}

//! Types: names in expressions, `is` and `as`, and what definition an element has.
//!
//! <http://hl7.org/fhirpath/N1/#types>, <https://hl7.org/fhir/R4/fhirpath.html#types>.

use super::item::{Item, Node};
use super::temporal::TemporalKind;
use crate::fhir::definitions::{Kind, Type, r4};

/// The names of the types in the namespace `System`.
const SYSTEM: [&str; 9] = ["Boolean", "String", "Integer", "Decimal", "Date", "DateTime", "Time", "Quantity", "Any"];

/// A type as an expression names it, resolved.
#[derive(Debug, Clone, Copy)]
pub struct TypeSpecifier {
    /// The type of that name in `FHIR`.
    pub fhir: Option<&'static Type>,
    /// The type of that name in `System`.
    pub system: Option<&'static str>,
}

/// The definition of a FHIR type.
pub fn definition(name: &str) -> Option<&'static Type> {
    r4().type_named(name)
}

/// Whether a type is `Quantity` or derived from it.
pub fn is_quantity(ty: &'static Type) -> bool {
    ty.name == "Quantity" || ty.base == Some("Quantity")
}

/// Whether an item is of a FHIR type, or of one derived from it.
pub fn is_a(item: &Item<'_>, general: &Type) -> bool {
    item.as_node().and_then(|node| node.definition).is_some_and(|ty| derives(ty, general))
}

/// Whether `ty` is `general` or derived from it.
pub fn derives(ty: &'static Type, general: &Type) -> bool {
    // Most types have nothing derived from them.
    if !general.is_abstract && general.kind == Kind::Resource {
        return ty.name == general.name;
    }
    let mut next = Some(ty);
    while let Some(ty) = next {
        if ty.name == general.name {
            return true;
        }
        next = ty.base.and_then(definition);
    }
    false
}

impl TypeSpecifier {
    /// Resolves `[namespace,] name`. A name without namespace may be of both (`Quantity`).
    pub fn new(names: &[String]) -> Option<Self> {
        let system = |name: &str| SYSTEM.into_iter().find(|known| *known == name);
        let specifier = match names {
            [name] => Self { fhir: definition(name), system: system(name) },
            [namespace, name] if namespace == "FHIR" => Self { fhir: definition(name), system: None },
            // A FHIR type in the wrong namespace is a type that nothing has.
            [namespace, name] if namespace == "System" => {
                return Some(Self { fhir: None, system: system(name) });
            }
            _ => return None,
        };
        (specifier.fhir.is_some() || specifier.system.is_some()).then_some(specifier)
    }

    /// `is`: of this type or of one derived from it.
    pub fn is(&self, item: &Item<'_>) -> bool {
        match item {
            Item::Node(Node { definition: Some(ty), .. }) => self.fhir.is_some_and(|general| derives(ty, general)),
            Item::Node(_) => false,
            item => self.system.is_some_and(|name| name == "Any" || name == system_name(item)),
        }
    }

    /// `as` and `ofType()`: as [`Self::is`], but a `code` is no `string` here.
    pub fn of(&self, item: &Item<'_>) -> bool {
        match (item, self.fhir) {
            (Item::Node(Node { definition: Some(ty), .. }), Some(wanted)) if wanted.kind == Kind::Primitive => {
                ty.name == wanted.name
            }
            _ => self.is(item),
        }
    }
}

/// The name in `System` of a computed value's type.
pub const fn system_name(item: &Item<'_>) -> &'static str {
    match item {
        Item::Boolean(_) => "Boolean",
        Item::Integer(_) => "Integer",
        Item::Decimal(_) => "Decimal",
        Item::String(_) => "String",
        Item::Temporal(value) => match value.kind {
            TemporalKind::Date => "Date",
            TemporalKind::DateTime => "DateTime",
            TemporalKind::Time => "Time",
        },
        Item::Quantity(_) => "Quantity",
        Item::Node(_) | Item::TypeInfo { .. } => "Any",
    }
}

//! The static check: what can be said about an expression from the definitions alone, before anything is evaluated.
//!
//! <http://hl7.org/fhirpath/N1/#type-safety-and-strict-evaluation>. Wherever a type is not known, everything is allowed.

use super::ast::{AsForm, Call, Expr, Kind, Operator};
use super::error::CompileError;
use super::types::{self, TypeSpecifier, derives, system_name};
use crate::fhir::definitions::{Element, Type, TypeRef};

/// What is known about the value of a part.
#[derive(Debug, Clone)]
struct Known {
    /// The types that its items may have; `None` for any.
    types: Option<Vec<StaticType>>,
    /// Whether there may be more than one item.
    is_many: bool,
    /// Whether the order of the items is defined.
    is_ordered: bool,
}

#[derive(Debug, Clone, Copy)]
enum StaticType {
    Fhir(&'static Type),
    System(&'static str),
}

type Checked<T = Known> = Result<T, CompileError>;

/// Checks an expression whose input is a resource or element of one of some types.
pub fn check(expr: &Expr, inputs: Vec<&'static Type>) -> Checked<()> {
    let types = inputs.into_iter().map(StaticType::Fhir).collect();
    known(expr, &Known { types: Some(types), is_many: false, is_ordered: true }).map(drop)
}

impl Known {
    const ANY: Self = Self { types: None, is_many: true, is_ordered: true };

    fn one(of: StaticType) -> Self {
        Self { types: Some(vec![of]), is_many: false, is_ordered: true }
    }

    fn boolean() -> Self {
        Self::one(StaticType::System("Boolean"))
    }

    fn single(self) -> Self {
        Self { is_many: false, ..self }
    }

    fn merged(self, other: Self) -> Self {
        let types = self.types.zip(other.types).map(|(a, b)| [a, b].concat());
        Self { types, is_many: true, is_ordered: self.is_ordered && other.is_ordered }
    }
}

fn known(expr: &Expr, this: &Known) -> Checked {
    Ok(match &expr.kind {
        Kind::Empty => Known { types: Some(Vec::new()), is_many: false, is_ordered: true },
        Kind::Literal(item) => Known::one(StaticType::System(system_name(item))),
        Kind::This => this.clone(),
        Kind::Index => Known::one(StaticType::System("Integer")),
        Kind::Total | Kind::Variable(_) => Known::ANY,
        Kind::Type(ty) => of_type(ty, this, expr.at)?,
        Kind::Name(name) => member(this, name, expr.at)?,
        Kind::Member(focus, name) => member(&known(focus, this)?, name, expr.at)?,
        Kind::Indexer(focus, index) => {
            known(index, this)?;
            let focus = known(focus, this)?;
            ordered(&focus, expr.at)?;
            focus.single()
        }
        Kind::Call(call) => called(call, this, expr.at)?,
        Kind::Negate(operand) | Kind::Plus(operand) => known(operand, this)?,
        Kind::Binary(operator, left, right) => binary(*operator, known(left, this)?, known(right, this)?),
        Kind::Is(operand, _) => {
            known(operand, this)?;
            Known::boolean()
        }
        Kind::As(operand, specifier, form) => cast(&known(operand, this)?, *specifier, *form, expr.at)?,
    })
}

/// The input as a type that it may be of.
fn of_type(ty: &'static Type, this: &Known, at: usize) -> Checked {
    let may_be = |known: &StaticType| match known {
        StaticType::Fhir(known) => derives(known, ty) || derives(ty, known),
        StaticType::System(_) => false,
    };
    if this.types.as_ref().is_some_and(|known| !known.iter().any(may_be)) {
        return Err(CompileError::new(format!("the input is no `{}`", ty.name), at));
    }
    Ok(Known { types: Some(vec![StaticType::Fhir(ty)]), ..this.clone() })
}

fn element_types(element: &'static Element) -> impl Iterator<Item = StaticType> {
    element.types.iter().filter_map(TypeRef::definition).map(StaticType::Fhir)
}

fn member(focus: &Known, name: &str, at: usize) -> Checked {
    let Some(types) = &focus.types else { return Ok(Known::ANY) };
    let (mut found, mut repeats) = (Vec::new(), focus.is_many);
    let (mut is_open, mut is_element) = (types.is_empty(), types.is_empty());
    for ty in types {
        let StaticType::Fhir(ty) = ty else { continue };
        // What derives from an abstract type may have any element.
        is_open |= ty.is_abstract;
        if let Some(element) = ty.element_named(name) {
            is_element = true;
            repeats |= element.max != Some(1);
            found.extend(element_types(element));
        }
    }
    if !is_element && !is_open {
        let owner = types.iter().find_map(|ty| match ty {
            StaticType::Fhir(ty) => Some(ty.name),
            StaticType::System(_) => None,
        });
        return Err(CompileError::new(format!("`{}` has no element `{name}`", owner.unwrap_or("the value")), at));
    }
    let types = (!is_open).then_some(found);
    Ok(Known { types, is_many: repeats || is_open, is_ordered: focus.is_ordered })
}

fn ordered(focus: &Known, at: usize) -> Checked<()> {
    if focus.is_ordered { Ok(()) } else { Err(CompileError::new("the order of the items is not defined here", at)) }
}

fn binary(operator: Operator, left: Known, right: Known) -> Known {
    use Operator as O;
    match operator {
        O::Union => left.merged(right),
        O::Multiply | O::Divide | O::Div | O::Mod | O::Add | O::Subtract | O::Concatenate => Known::ANY.single(),
        _ => Known::boolean(),
    }
}

fn cast(operand: &Known, specifier: TypeSpecifier, form: AsForm, at: usize) -> Checked {
    if form == AsForm::Function && operand.is_many && operand.types.is_some() {
        return Err(CompileError::new("`as()` needs a single item; `ofType()` filters several", at));
    }
    let fhir = specifier.fhir.map(StaticType::Fhir);
    let types = fhir.into_iter().chain(specifier.system.map(StaticType::System)).collect();
    Ok(Known { types: Some(types), ..operand.clone() })
}

fn called(call: &Call, this: &Known, at: usize) -> Checked {
    let focus = match &call.focus {
        Some(focus) => known(focus, this)?,
        None => this.clone(),
    };
    let name = call.function.name;
    // The arguments of these are evaluated for each item of the focus.
    let is_each =
        matches!(name, "where" | "exists" | "all" | "select" | "repeat" | "sort" | "iif" | "trace" | "aggregate");
    let inner = if is_each { focus.clone().single() } else { this.clone() };
    let args = call.args.iter().map(|arg| known(arg, &inner)).collect::<Checked<Vec<_>>>()?;
    let mut args = args.into_iter();
    match name {
        "first" | "last" | "tail" | "skip" | "take" => ordered(&focus, at)?,
        "iif" => {
            let is_boolean = |ty: &StaticType| matches!(ty, StaticType::System("Boolean") | StaticType::Fhir(_));
            let criterion = args.next().and_then(|criterion| criterion.types);
            if criterion.is_some_and(|types| !types.is_empty() && !types.iter().any(is_boolean)) {
                return Err(CompileError::new("the criterion of `iif` is no truth value", at));
            }
        }
        _ => {}
    }
    Ok(match name {
        "first" | "last" | "single" => focus.single(),
        "where" | "tail" | "skip" | "take" | "distinct" | "trace" | "sort" | "intersect" | "exclude" => focus,
        "union" | "combine" => args.fold(focus, Known::merged),
        "select" => Known { is_many: true, ..args.next().unwrap_or(Known::ANY) },
        "children" | "descendants" => Known { is_ordered: false, ..Known::ANY },
        "extension" => {
            let types = types::definition("Extension").map(|ty| vec![StaticType::Fhir(ty)]);
            Known { types, is_many: true, is_ordered: true }
        }
        "empty" | "exists" | "all" | "not" | "allTrue" | "anyTrue" | "allFalse" | "anyFalse" | "hasValue" => {
            Known::boolean()
        }
        _ => Known::ANY,
    })
}

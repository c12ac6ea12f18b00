//! `lowBoundary()`, `highBoundary()`, `precision()` and `comparable()`, which later versions added.

use super::{Call, Function, function};
use crate::fhirpath::compare::as_quantity;
use crate::fhirpath::eval::{Evaluated, Evaluator};
use crate::fhirpath::item::Item;
use crate::fhirpath::quantity::Quantity;
use rust_decimal::{Decimal, RoundingStrategy};

/// The functions of this file.
pub const FUNCTIONS: &[Function] = &[
    function("lowBoundary", 0, 1, boundary),
    function("highBoundary", 0, 1, boundary),
    function("precision", 0, 0, precision),
    function("comparable", 1, 1, comparable),
];

/// How many decimals a boundary has where none are asked for.
const DEFAULT_DECIMALS: i32 = 8;

/// The least or greatest value that the input may stand for, as it was written.
fn boundary<'t>(e: &Evaluator<'_, 't>, call: Call<'_, 't>) -> Evaluated<'t> {
    let low = call.name == "lowBoundary";
    let digits = if call.args.is_empty() { None } else { call.integer(e, 0)? };
    let result = match call.input()? {
        None => None,
        Some(Item::Integer(value)) => of_decimal(value.into(), low, digits).map(Item::Decimal),
        Some(Item::Decimal(value)) => of_decimal(value, low, digits).map(Item::Decimal),
        Some(Item::Quantity(quantity)) => {
            of_decimal(quantity.value, low, digits).map(|value| Item::Quantity(Quantity { value, ..quantity }))
        }
        Some(Item::Temporal(value)) => value.boundary(low, digits).map(Item::Temporal),
        Some(_) => return Err(call.error(format!("`{}` needs a number, date or time", call.name))),
    };
    Ok(result.into_iter().collect())
}

fn of_decimal(value: Decimal, low: bool, decimals: Option<i32>) -> Option<Decimal> {
    let decimals = u32::try_from(decimals.unwrap_or(DEFAULT_DECIMALS)).ok()?;
    if decimals > Decimal::MAX_SCALE {
        return None;
    }
    // Half a unit of the last digit that was written.
    let half = Decimal::try_from_i128_with_scale(5, value.scale() + 1).ok()?;
    let (edge, strategy) = if low {
        (value.checked_sub(half)?, RoundingStrategy::ToNegativeInfinity)
    } else {
        (value.checked_add(half)?, RoundingStrategy::ToPositiveInfinity)
    };
    let mut edge = edge.round_dp_with_strategy(decimals, strategy);
    edge.rescale(decimals);
    Some(edge)
}

fn precision<'t>(_: &Evaluator<'_, 't>, call: Call<'_, 't>) -> Evaluated<'t> {
    let digits = match call.input()? {
        None => return Ok(Vec::new()),
        Some(Item::Integer(_)) => 0,
        Some(Item::Decimal(value)) => i32::try_from(value.scale()).unwrap_or(i32::MAX),
        Some(Item::Temporal(value)) => value.digits(),
        Some(_) => return Err(call.error("`precision` needs a number, date or time")),
    };
    Ok(vec![Item::Integer(digits)])
}

fn comparable<'t>(e: &Evaluator<'_, 't>, call: Call<'_, 't>) -> Evaluated<'t> {
    let (Some(a), Some(b)) = (call.input()?, call.value(e, 0)?) else { return Ok(Vec::new()) };
    match (as_quantity(&a), as_quantity(&b)) {
        (Some(a), Some(b)) => Ok(vec![Item::Boolean(a.is_comparable(&b))]),
        _ => Err(call.error("`comparable` needs quantities")),
    }
}

//! Mathematics: <http://hl7.org/fhirpath/N1/#math-1>. What is not a real number, or overflows, is nothing.

use super::{Call, Function, function};
use crate::fhirpath::compare::as_decimal;
use crate::fhirpath::error::EvalError;
use crate::fhirpath::eval::{Evaluated, Evaluator};
use crate::fhirpath::item::Item;
use crate::fhirpath::quantity::Quantity;
use rust_decimal::prelude::{FromPrimitive, ToPrimitive};
use rust_decimal::{Decimal, RoundingStrategy};

/// The functions of this file.
pub const FUNCTIONS: &[Function] = &[
    function("abs", 0, 0, abs),
    function("ceiling", 0, 0, ceiling),
    function("exp", 0, 0, exp),
    function("floor", 0, 0, floor),
    function("ln", 0, 0, ln),
    function("log", 1, 1, log),
    function("power", 1, 1, power),
    function("round", 0, 1, round),
    function("sqrt", 0, 0, sqrt),
    function("truncate", 0, 0, truncate),
];

/// The largest exponent that is multiplied out exactly.
const EXACT_EXPONENT: i32 = 1000;

fn as_number(call: &Call, item: Option<Item>) -> Result<Option<Decimal>, EvalError> {
    let Some(item) = item else { return Ok(None) };
    as_decimal(&item).map(Some).ok_or_else(|| call.error(format!("`{}` needs a number", call.name)))
}

fn number(call: &Call) -> Result<Option<Decimal>, EvalError> {
    as_number(call, call.input()?)
}

fn decimal<'t>(value: Option<Decimal>) -> Evaluated<'t> {
    Ok(value.map(Item::Decimal).into_iter().collect())
}

fn integer<'t>(value: Option<Decimal>) -> Evaluated<'t> {
    Ok(value.and_then(|value| value.to_i32()).map(Item::Integer).into_iter().collect())
}

/// A function of real numbers, with the precision of a double.
fn real<'t>(value: Option<Decimal>, of: impl Fn(f64) -> f64) -> Evaluated<'t> {
    decimal(value.and_then(|value| value.to_f64()).map(of).and_then(Decimal::from_f64))
}

fn abs<'t>(_: &Evaluator<'_, 't>, call: Call<'_, 't>) -> Evaluated<'t> {
    Ok(match call.input()? {
        Some(Item::Integer(value)) => value.checked_abs().map(Item::Integer).into_iter().collect(),
        Some(Item::Quantity(quantity)) => {
            vec![Item::Quantity(Quantity { value: quantity.value.abs(), ..quantity })]
        }
        other => return decimal(as_number(&call, other)?.map(|value| value.abs())),
    })
}

fn ceiling<'t>(_: &Evaluator<'_, 't>, call: Call<'_, 't>) -> Evaluated<'t> {
    integer(number(&call)?.map(|value| value.ceil()))
}

fn floor<'t>(_: &Evaluator<'_, 't>, call: Call<'_, 't>) -> Evaluated<'t> {
    integer(number(&call)?.map(|value| value.floor()))
}

fn truncate<'t>(_: &Evaluator<'_, 't>, call: Call<'_, 't>) -> Evaluated<'t> {
    integer(number(&call)?.map(|value| value.trunc()))
}

fn round<'t>(e: &Evaluator<'_, 't>, call: Call<'_, 't>) -> Evaluated<'t> {
    let places = if call.args.is_empty() { Some(0) } else { call.integer(e, 0)? };
    let (Some(value), Some(places)) = (number(&call)?, places) else { return Ok(Vec::new()) };
    let places = u32::try_from(places).map_err(|_| call.error("`round` needs a precision of 0 or more"))?;
    decimal(Some(value.round_dp_with_strategy(places.min(Decimal::MAX_SCALE), RoundingStrategy::MidpointAwayFromZero)))
}

fn exp<'t>(_: &Evaluator<'_, 't>, call: Call<'_, 't>) -> Evaluated<'t> {
    real(number(&call)?, f64::exp)
}

fn ln<'t>(_: &Evaluator<'_, 't>, call: Call<'_, 't>) -> Evaluated<'t> {
    real(number(&call)?, f64::ln)
}

fn sqrt<'t>(_: &Evaluator<'_, 't>, call: Call<'_, 't>) -> Evaluated<'t> {
    real(number(&call)?, f64::sqrt)
}

fn log<'t>(e: &Evaluator<'_, 't>, call: Call<'_, 't>) -> Evaluated<'t> {
    let base = as_number(&call, call.value(e, 0)?)?.and_then(|base| base.to_f64());
    base.map_or_else(|| Ok(Vec::new()), |base| real(number(&call)?, |value| value.log(base)))
}

fn power<'t>(e: &Evaluator<'_, 't>, call: Call<'_, 't>) -> Evaluated<'t> {
    let (input, exponent) = (call.input()?, call.value(e, 0)?);
    if let (Some(Item::Integer(base)), Some(Item::Integer(exponent))) = (&input, &exponent)
        && let Ok(exponent) = u32::try_from(*exponent)
    {
        return Ok(base.checked_pow(exponent).map(Item::Integer).into_iter().collect());
    }
    let (Some(base), Some(exponent)) = (as_number(&call, input)?, as_number(&call, exponent)?) else {
        return Ok(Vec::new());
    };
    match exponent.to_i32().filter(|whole| Decimal::from(*whole) == exponent && (0..EXACT_EXPONENT).contains(whole)) {
        Some(whole) => decimal((0..whole).try_fold(Decimal::ONE, |product, _| product.checked_mul(base))),
        None => real(Some(base), |base| base.powf(exponent.to_f64().unwrap_or(f64::NAN))),
    }
}

//! The operators of arithmetic and `&`: <http://hl7.org/fhirpath/N1/#math>, `#datetime-arithmetic`.
//!
//! Results that overflow and divisions by zero are nothing.

use super::ast::Operator;
use super::compare::{as_decimal, as_quantity};
use super::error::EvalError;
use super::eval::{Evaluated, TEXT_RESULT_LIMIT, singleton};
use super::item::{Collection, Item};
use super::navigate::operand;
use super::quantity::{Calendar, Quantity, Unit};
use super::temporal::Temporal;
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;
use std::borrow::Cow;

/// `-operand`.
pub fn negate(items: Collection<'_>, at: usize) -> Evaluated<'_> {
    let Some(item) = singleton(items, at)? else { return Ok(Vec::new()) };
    Ok(match operand(item) {
        Item::Integer(value) => value.checked_neg().map(Item::Integer).into_iter().collect(),
        Item::Decimal(value) => vec![Item::Decimal(-value)],
        Item::Quantity(quantity) => vec![Item::Quantity(Quantity { value: -quantity.value, ..quantity })],
        _ => return Err(EvalError::new("`-` needs a number or quantity", at)),
    })
}

/// `a operator b`.
pub fn calculate<'t>(operator: Operator, a: Option<Item<'t>>, b: Option<Item<'t>>, at: usize) -> Evaluated<'t> {
    if operator == Operator::Concatenate {
        let (a, b) = (a.unwrap_or(EMPTY_TEXT), b.unwrap_or(EMPTY_TEXT));
        return match (a, b) {
            (Item::String(a), Item::String(b)) => concatenate(a, &b, at),
            _ => Err(EvalError::new("`&` needs strings", at)),
        };
    }
    let (Some(a), Some(b)) = (a, b) else { return Ok(Vec::new()) };
    let result = match (operand(a), operand(b)) {
        (Item::Integer(a), Item::Integer(b)) => integers(operator, a, b),
        (Item::String(a), Item::String(b)) if operator == Operator::Add => return concatenate(a, &b, at),
        (Item::Temporal(a), Item::Quantity(b)) => moved(operator, &a, &b, at)?,
        (a, b) => match (as_decimal(&a), as_decimal(&b)) {
            (Some(a), Some(b)) => decimals(operator, a, b),
            _ => match (as_quantity(&a), as_quantity(&b)) {
                (Some(a), Some(b)) => quantities(operator, &a, &b, at)?,
                _ => return Err(EvalError::new("the operator is not defined for these types", at)),
            },
        },
    };
    Ok(result.into_iter().collect())
}

const EMPTY_TEXT: Item<'static> = Item::String(Cow::Borrowed(""));

fn concatenate<'t>(a: Cow<'t, str>, b: &str, at: usize) -> Evaluated<'t> {
    if a.len() + b.len() > TEXT_RESULT_LIMIT {
        return Err(EvalError::new("the resulting text is too long", at));
    }
    let mut text = a.into_owned();
    text.push_str(b);
    Ok(vec![Item::String(Cow::Owned(text))])
}

fn integers<'t>(operator: Operator, a: i32, b: i32) -> Option<Item<'t>> {
    match operator {
        Operator::Add => a.checked_add(b),
        Operator::Subtract => a.checked_sub(b),
        Operator::Multiply => a.checked_mul(b),
        Operator::Div => a.checked_div(b),
        Operator::Mod => a.checked_rem(b),
        operator => return decimals(operator, a.into(), b.into()),
    }
    .map(Item::Integer)
}

fn decimals<'t>(operator: Operator, a: Decimal, b: Decimal) -> Option<Item<'t>> {
    match operator {
        Operator::Add => a.checked_add(b),
        Operator::Subtract => a.checked_sub(b),
        Operator::Multiply => a.checked_mul(b),
        Operator::Divide => a.checked_div(b),
        Operator::Mod => a.checked_rem(b),
        Operator::Div => return a.checked_div(b)?.trunc().to_i32().map(Item::Integer),
        _ => None,
    }
    .map(Item::Decimal)
}

fn quantities<'t>(
    operator: Operator,
    a: &Quantity<'t>,
    b: &Quantity<'t>,
    at: usize,
) -> Result<Option<Item<'t>>, EvalError> {
    let result = match operator {
        Operator::Add => a.plus(b, false),
        Operator::Subtract => a.plus(b, true),
        Operator::Multiply => a.times(b),
        Operator::Divide => a.over(b),
        _ => return Err(EvalError::new("the operator is not defined for quantities", at)),
    };
    Ok(result.map(Item::Quantity))
}

/// A date or time moved by a duration.
fn moved<'t>(operator: Operator, time: &Temporal, by: &Quantity<'_>, at: usize) -> Result<Option<Item<'t>>, EvalError> {
    let amount = match operator {
        Operator::Add => by.value,
        Operator::Subtract => -by.value,
        _ => return Err(EvalError::new("the operator is not defined for dates and times", at)),
    };
    let unit = match &by.unit {
        Unit::Calendar(unit) => Some(*unit),
        Unit::Code(code) => Calendar::from_code(code).or_else(|| Calendar::from_keyword(code)),
    };
    let unit = unit.ok_or_else(|| EvalError::new("not a duration of the calendar", at))?;
    Ok(time.plus(amount, unit).map(Item::Temporal))
}

//! Conversions: <http://hl7.org/fhirpath/N1/#conversion>; and `type()`, `now()`, `today()`, `timeOfDay()`, `trace()`.

use super::{Call, Function, function};
use crate::fhirpath::compare::{as_decimal, as_quantity};
use crate::fhirpath::error::EvalError;
use crate::fhirpath::eval::{Evaluated, Evaluator};
use crate::fhirpath::item::{Item, Node};
use crate::fhirpath::quantity::{Calendar, Quantity, Unit};
use crate::fhirpath::temporal::Temporal;
use crate::fhirpath::types::system_name;
use rust_decimal::Decimal;
use std::borrow::Cow;

/// The functions of this file.
pub const FUNCTIONS: &[Function] = &[
    function("toBoolean", 0, 0, convert),
    function("toInteger", 0, 0, convert),
    function("toDecimal", 0, 0, convert),
    function("toString", 0, 0, convert),
    function("toDate", 0, 0, convert),
    function("toDateTime", 0, 0, convert),
    function("toTime", 0, 0, convert),
    function("toQuantity", 0, 1, convert),
    function("convertsToBoolean", 0, 0, converts),
    function("convertsToInteger", 0, 0, converts),
    function("convertsToDecimal", 0, 0, converts),
    function("convertsToString", 0, 0, converts),
    function("convertsToDate", 0, 0, converts),
    function("convertsToDateTime", 0, 0, converts),
    function("convertsToTime", 0, 0, converts),
    function("convertsToQuantity", 0, 1, converts),
    function("type", 0, 0, type_),
    function("now", 0, 0, now),
    function("today", 0, 0, today),
    function("timeOfDay", 0, 0, time_of_day),
    function("trace", 1, 2, trace),
];

fn convert<'t>(e: &Evaluator<'_, 't>, call: Call<'_, 't>) -> Evaluated<'t> {
    let Some(input) = call.input()? else { return Ok(Vec::new()) };
    Ok(converted(e, &call, input)?.into_iter().collect())
}

fn converts<'t>(e: &Evaluator<'_, 't>, call: Call<'_, 't>) -> Evaluated<'t> {
    let Some(input) = call.input()? else { return Ok(Vec::new()) };
    Ok(vec![Item::Boolean(converted(e, &call, input)?.is_some())])
}

/// The input as the type that the function's name ends with, where it can be that.
fn converted<'t>(e: &Evaluator<'_, 't>, call: &Call<'_, 't>, input: Item<'t>) -> Result<Option<Item<'t>>, EvalError> {
    let target = call.name.trim_start_matches("converts").trim_start_matches("To").trim_start_matches("to");
    Ok(match target {
        "Boolean" => to_boolean(&input).map(Item::Boolean),
        "Integer" => to_integer(&input).map(Item::Integer),
        "Decimal" => to_decimal(&input).map(Item::Decimal),
        "String" => to_text(input).map(Item::String),
        "Date" => to_temporal(&input, Temporal::to_date, Temporal::date_time),
        "DateTime" => to_temporal(&input, Temporal::to_date_time, Temporal::date_time),
        "Time" => to_temporal(&input, Temporal::to_time, Temporal::time),
        _ => {
            let quantity = to_quantity(&input);
            match (quantity, call.args.is_empty()) {
                (Some(quantity), false) => call.string(e, 0)?.and_then(|unit| in_unit(quantity, unit)),
                (quantity, _) => quantity,
            }
            .map(Item::Quantity)
        }
    })
}

fn to_boolean(item: &Item) -> Option<bool> {
    match item {
        Item::Boolean(value) => Some(*value),
        Item::String(text) => match text.to_ascii_lowercase().as_str() {
            "true" | "t" | "yes" | "y" | "1" | "1.0" => Some(true),
            "false" | "f" | "no" | "n" | "0" | "0.0" => Some(false),
            _ => None,
        },
        item => match as_decimal(item)? {
            one if one == Decimal::ONE => Some(true),
            zero if zero == Decimal::ZERO => Some(false),
            _ => None,
        },
    }
}

fn to_integer(item: &Item) -> Option<i32> {
    match item {
        Item::Integer(value) => Some(*value),
        Item::Boolean(value) => Some(i32::from(*value)),
        Item::String(text) => text.parse().ok(),
        _ => None,
    }
}

fn to_decimal(item: &Item) -> Option<Decimal> {
    match item {
        Item::Boolean(value) => Some(Decimal::from(u8::from(*value))),
        Item::String(text) => plain_decimal(text),
        item => as_decimal(item),
    }
}

/// `[+-]digits[.digits]`.
fn plain_decimal(text: &str) -> Option<Decimal> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if is_number(whole) && is_number(fraction) { text.parse().ok() } else { None }
}

fn to_text(item: Item<'_>) -> Option<Cow<'_, str>> {
    Some(match item {
        Item::String(text) => text,
        Item::Boolean(value) => Cow::Borrowed(if value { "true" } else { "false" }),
        Item::Integer(value) => Cow::Owned(value.to_string()),
        Item::Decimal(value) => Cow::Owned(value.to_string()),
        Item::Temporal(value) => Cow::Owned(value.to_string()),
        Item::Quantity(quantity) => Cow::Owned(quantity.to_string()),
        Item::Node(_) | Item::TypeInfo { .. } => return None,
    })
}

fn to_temporal<'t>(
    item: &Item,
    part: fn(Temporal) -> Option<Temporal>,
    parse: fn(&str) -> Option<Temporal>,
) -> Option<Item<'t>> {
    match item {
        Item::Temporal(value) => part(*value),
        Item::String(text) => part(parse(text)?),
        _ => None,
    }
    .map(Item::Temporal)
}

fn to_quantity<'t>(item: &Item<'t>) -> Option<Quantity<'t>> {
    match item {
        Item::Boolean(value) => Some(Quantity::unitless(Decimal::from(u8::from(*value)))),
        Item::String(text) => parse_quantity(text),
        item => as_quantity(item),
    }
}

/// `4`, `4.5 'mg'`, `4 days`.
fn parse_quantity<'t>(text: &str) -> Option<Quantity<'t>> {
    let end = text.find(|c: char| !matches!(c, '+' | '-' | '.' | '0'..='9')).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let value = plain_decimal(number)?;
    let unit = match unit.trim() {
        "" if unit.is_empty() => return Some(Quantity::unitless(value)),
        unit => match unit.strip_prefix('\'').and_then(|unit| unit.strip_suffix('\'')) {
            Some(code) => Unit::Code(Cow::Owned(code.to_owned())),
            None => Unit::Calendar(Calendar::from_keyword(unit)?),
        },
    };
    Some(Quantity { value, unit })
}

/// The quantity in another unit.
fn in_unit<'t>(quantity: Quantity<'t>, unit: Cow<'t, str>) -> Option<Quantity<'t>> {
    let unit = Calendar::from_keyword(&unit).map_or(Unit::Code(unit), Unit::Calendar);
    if unit == quantity.unit { Some(quantity) } else { quantity.converted(unit) }
}

fn type_<'t>(_: &Evaluator<'_, 't>, call: Call<'_, 't>) -> Evaluated<'t> {
    let info = |item: &Item| match item {
        Item::Node(Node { definition: Some(ty), .. }) => Some(Item::TypeInfo { namespace: "FHIR", name: ty.name }),
        Item::Node(_) => None,
        item => Some(Item::TypeInfo { namespace: "System", name: system_name(item) }),
    };
    Ok(call.focus.iter().filter_map(info).collect())
}

fn point<'t>(e: &Evaluator<'_, 't>, part: fn(Temporal) -> Option<Temporal>) -> Evaluated<'t> {
    let now = Temporal::from_micros(e.context.now.0);
    Ok(now.and_then(part).map(Item::Temporal).into_iter().collect())
}

fn now<'t>(e: &Evaluator<'_, 't>, _: Call<'_, 't>) -> Evaluated<'t> {
    point(e, Some)
}

fn today<'t>(e: &Evaluator<'_, 't>, _: Call<'_, 't>) -> Evaluated<'t> {
    point(e, Temporal::to_date)
}

fn time_of_day<'t>(e: &Evaluator<'_, 't>, _: Call<'_, 't>) -> Evaluated<'t> {
    point(e, Temporal::to_time)
}

fn trace<'t>(e: &Evaluator<'_, 't>, call: Call<'_, 't>) -> Evaluated<'t> {
    let name = call.string(e, 0)?.unwrap_or_default();
    if let Some(projection) = call.args.get(1) {
        for (index, item) in call.focus.iter().enumerate() {
            e.context.hooks.trace(&name, &e.eval(projection, &call.scope_of(item, index))?);
        }
    } else {
        e.context.hooks.trace(&name, &call.focus);
    }
    Ok(call.focus)
}

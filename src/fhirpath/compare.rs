//! Equality, equivalence and order: <http://hl7.org/fhirpath/N1/#equality>, `#comparison`.

use super::error::EvalError;
use super::eval::{Evaluator, UNIT_STEPS};
use super::item::{Collection, Content, Item, Node};
use super::navigate::{self, operand, value};
use super::quantity::Quantity;
use super::temporal::{Temporal, TemporalKind};
use crate::fhir::tree::{Object, Value};
use rust_decimal::{Decimal, RoundingStrategy};
use std::cmp::Ordering;

/// `=` of two collections, in order.
pub fn equal(e: &Evaluator, a: &[Item], b: &[Item], at: usize) -> Result<Option<bool>, EvalError> {
    if a.is_empty() || b.is_empty() {
        return Ok(None);
    }
    if a.len() != b.len() {
        return Ok(Some(false));
    }
    let mut answer = Some(true);
    for (a, b) in a.iter().zip(b) {
        match equal_items(e, a, b, at)? {
            Some(false) => return Ok(Some(false)),
            None => answer = None,
            Some(true) => {}
        }
    }
    Ok(answer)
}

/// `=` of two items; `None` where precision or units leave it open.
pub fn equal_items(e: &Evaluator, a: &Item, b: &Item, at: usize) -> Result<Option<bool>, EvalError> {
    e.step(1, at)?;
    if let (Item::Node(a), Item::Node(b)) = (a, b)
        && let (Some(a), Some(b)) = (a.object_content(), b.object_content())
    {
        return same_object(e, a, b, at, Sameness::Equal).map(Some);
    }
    let (a, b) = match (value(a.clone()), value(b.clone())) {
        (Some(a), Some(b)) => (operand(a), operand(b)),
        (None, None) => return same_siblings(e, a, b, at).map(Some),
        _ => return Ok(Some(false)),
    };
    Ok(match (&a, &b) {
        (Item::Boolean(a), Item::Boolean(b)) => Some(a == b),
        (Item::String(a), Item::String(b)) => {
            e.step_text(a.len().min(b.len()), at)?;
            Some(a == b)
        }
        (Item::Temporal(a), Item::Temporal(b)) if is_time(a) == is_time(b) => a.compare(b).map(Ordering::is_eq),
        (Item::TypeInfo { namespace, name }, Item::TypeInfo { namespace: of_b, name: name_of_b }) => {
            Some(namespace == of_b && name == name_of_b)
        }
        _ => match (as_decimal(&a), as_decimal(&b)) {
            (Some(a), Some(b)) => Some(a == b),
            _ => match (as_quantity(&a), as_quantity(&b)) {
                (Some(a), Some(b)) => {
                    e.step(UNIT_STEPS, at)?;
                    a.compare(&b).map(Ordering::is_eq)
                }
                _ => Some(false),
            },
        },
    })
}

/// `~` of two collections, in any order.
pub fn equivalent(e: &Evaluator, a: &[Item], b: &[Item], at: usize) -> Result<bool, EvalError> {
    if a.len() != b.len() {
        return Ok(false);
    }
    let mut open: Vec<&Item> = b.iter().collect();
    for a in a {
        let mut found = None;
        for (position, b) in open.iter().enumerate() {
            if equivalent_items(e, a, b, at)? {
                found = Some(position);
                break;
            }
        }
        match found {
            Some(position) => open.swap_remove(position),
            None => return Ok(false),
        };
    }
    Ok(true)
}

fn equivalent_items(e: &Evaluator, a: &Item, b: &Item, at: usize) -> Result<bool, EvalError> {
    e.step(1, at)?;
    let (a, b) = match (value(a.clone()), value(b.clone())) {
        (Some(a), Some(b)) => (operand(a), operand(b)),
        (None, None) => return same_siblings(e, a, b, at),
        _ => return Ok(false),
    };
    Ok(match (&a, &b) {
        (Item::Node(a), Item::Node(b)) => match (a.object_content(), b.object_content()) {
            (Some(a), Some(b)) => same_object(e, a, b, at, Sameness::Equivalent)?,
            _ => false,
        },
        (Item::String(a), Item::String(b)) => {
            e.step_text(a.len() + b.len(), at)?;
            plain_text(a) == plain_text(b)
        }
        (Item::Temporal(a), Item::Temporal(b)) => {
            a.precision == b.precision && a.compare(b).is_some_and(Ordering::is_eq)
        }
        _ => match (as_decimal(&a), as_decimal(&b)) {
            (Some(a), Some(b)) => same_rounded(a, b),
            _ => match (as_quantity(&a), as_quantity(&b)) {
                (Some(a), Some(b)) => {
                    e.step(UNIT_STEPS, at)?;
                    a.is_equivalent(&b)
                }
                _ => equal_items(e, &a, &b, at)? == Some(true),
            },
        },
    })
}

/// Text as equivalence sees it: in lower case, with single blanks.
fn plain_text(text: &str) -> String {
    let blank = |c: char| if c.is_whitespace() { ' ' } else { c };
    text.chars().map(blank).flat_map(char::to_lowercase).collect()
}

/// Equal in the precision of the less precise one, not counting trailing zeros.
fn same_rounded(a: Decimal, b: Decimal) -> bool {
    let places = a.normalize().scale().min(b.normalize().scale());
    let rounded = |value: Decimal| value.round_dp_with_strategy(places, RoundingStrategy::MidpointAwayFromZero);
    rounded(a) == rounded(b)
}

/// Which item is greater; `None` where precision or units leave it open.
///
/// # Errors
/// Where the two are of types without a common order.
pub fn order(a: &Item, b: &Item, at: usize) -> Result<Option<Ordering>, EvalError> {
    let (a, b) = (operand(a.clone()), operand(b.clone()));
    match (&a, &b) {
        (Item::String(a), Item::String(b)) => return Ok(Some(a.cmp(b))),
        (Item::Temporal(a), Item::Temporal(b)) if is_time(a) == is_time(b) => return Ok(a.compare(b)),
        _ => {}
    }
    if let (Some(a), Some(b)) = (as_decimal(&a), as_decimal(&b)) {
        return Ok(Some(a.cmp(&b)));
    }
    match (as_quantity(&a), as_quantity(&b)) {
        (Some(a), Some(b)) => Ok(a.compare(&b)),
        _ => Err(EvalError::new("the two sides have no common order", at)),
    }
}

fn is_time(value: &Temporal) -> bool {
    value.kind == TemporalKind::Time
}

/// A number as a decimal.
pub fn as_decimal(item: &Item) -> Option<Decimal> {
    match item {
        Item::Integer(value) => Some(Decimal::from(*value)),
        Item::Decimal(value) => Some(*value),
        _ => None,
    }
}

/// A quantity, or a number as one without unit.
pub fn as_quantity<'t>(item: &Item<'t>) -> Option<Quantity<'t>> {
    match item {
        Item::Quantity(quantity) => Some(quantity.clone()),
        item => as_decimal(item).map(Quantity::unitless),
    }
}

/// The items without those that equal an earlier one.
pub fn distinct<'t>(e: &Evaluator, items: Collection<'t>, at: usize) -> Result<Collection<'t>, EvalError> {
    let mut kept: Collection = Vec::with_capacity(items.len());
    for item in items {
        if !includes(e, &kept, &item, at)? {
            kept.push(item);
        }
    }
    Ok(kept)
}

/// Whether one of the items equals `item`.
pub fn includes(e: &Evaluator, items: &[Item], item: &Item, at: usize) -> Result<bool, EvalError> {
    for candidate in items {
        if equal_items(e, candidate, item, at)? == Some(true) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// `contains` and `in`: nothing where nothing is looked for.
pub fn contains(e: &Evaluator, items: &[Item], wanted: &[Item], at: usize) -> Result<Option<bool>, EvalError> {
    match wanted {
        [] => Ok(None),
        [wanted] => includes(e, items, wanted, at).map(Some),
        _ => Err(EvalError::new("expected a single item to look for", at)),
    }
}

#[derive(Clone, Copy)]
enum Sameness {
    Equal,
    Equivalent,
}

impl<'t> Node<'t> {
    const fn object_content(&self) -> Option<&'t Object<'t>> {
        match self.content {
            Content::Object(object) => Some(object),
            Content::Primitive(_) | Content::Absent => None,
        }
    }
}

/// Two primitives without values are the same where their siblings are.
fn same_siblings(e: &Evaluator, a: &Item, b: &Item, at: usize) -> Result<bool, EvalError> {
    match (a.as_node().and_then(|node| node.sibling), b.as_node().and_then(|node| node.sibling)) {
        (Some(a), Some(b)) => same_object(e, a, b, at, Sameness::Equal),
        _ => Ok(false),
    }
}

/// Objects with the same members, in whatever order they were sent.
fn same_object(e: &Evaluator, a: &Object, b: &Object, at: usize, how: Sameness) -> Result<bool, EvalError> {
    if std::ptr::eq(a, b) {
        return Ok(true);
    }
    if a.len() != b.len() {
        return Ok(false);
    }
    for (name, value) in a.iter() {
        match b.get(name) {
            Some(other) if same_value(e, value, other, at, how)? => {}
            _ => return Ok(false),
        }
    }
    Ok(true)
}

fn same_value(e: &Evaluator, a: &Value, b: &Value, at: usize, how: Sameness) -> Result<bool, EvalError> {
    e.step(1, at)?;
    e.step_text(a.as_str().map_or(0, str::len), at)?;
    Ok(match (a, b) {
        (Value::Object(a), Value::Object(b)) => same_object(e, a, b, at, how)?,
        (Value::Array(a), Value::Array(b)) => {
            if a.len() != b.len() {
                return Ok(false);
            }
            for (a, b) in a.iter().zip(b) {
                if !same_value(e, a, b, at, how)? {
                    return Ok(false);
                }
            }
            true
        }
        (Value::Number(a), Value::Number(b)) => match (navigate::decimal(a), navigate::decimal(b)) {
            (Some(a), Some(b)) if matches!(how, Sameness::Equivalent) => same_rounded(a, b),
            (Some(a), Some(b)) => a == b,
            _ => a == b,
        },
        (Value::String(a), Value::String(b)) if matches!(how, Sameness::Equivalent) => plain_text(a) == plain_text(b),
        (a, b) => a == b,
    })
}

//! Numbers and quantities.
//!
//! The part of a number is `x value low high`: the exact value, which the comparisons use, and the range that its written
//! precision implies, which equality uses. A range of numbers is `y low high` and `z high low`; a missing bound is infinite.
//! A quantity puts its unit before that: `q code system` as written and `k unit` in UCUM's base units.
//!
//! <https://hl7.org/fhir/R4/search.html#number>, <https://hl7.org/fhir/R4/search.html#quantity>

use super::Prefix;
use super::bytes::{Parts, text};
use super::decimal::{Decimal, Limit, sortable};
use super::range::{Bound, KeyRange, Step, Test, after_prefix};
use super::unit::{self, Base};
use crate::fhir::tree::{Object, Value};

/// What the part of a number looks like (that of a range of numbers has one text less, and stands only at the end).
pub const SHAPE: [Step; 2] = [Step::Bytes(1), Step::Texts(3)];

/// A number, or a range of them, as an element holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Amount {
    /// A value with the range that its precision implies.
    Point(Decimal, Decimal, Decimal),
    /// Everything between two limits.
    Range(Limit, Limit),
}

impl Amount {
    /// A number that was measured: its precision counts.
    #[must_use]
    pub const fn measured(value: Decimal) -> Self {
        let (low, high) = value.implied();
        Self::Point(value, low, high)
    }

    /// A number that was counted: it is exact.
    #[must_use]
    pub const fn counted(value: Decimal) -> Self {
        Self::Point(value, value, value)
    }

    /// A number with a `Quantity.comparator`.
    fn compared(value: Decimal, comparator: Option<&str>) -> Self {
        match comparator {
            Some("<" | "<=") => Self::Range(Limit::Least, Limit::At(value)),
            Some(">" | ">=") => Self::Range(Limit::At(value), Limit::Greatest),
            _ => Self::measured(value),
        }
    }

    fn map(self, change: impl Fn(Decimal) -> Option<Decimal>) -> Option<Self> {
        let limit = |limit| match limit {
            Limit::At(value) => change(value).map(Limit::At),
            other => Some(other),
        };
        Some(match self {
            Self::Point(value, low, high) => Self::Point(change(value)?, change(low)?, change(high)?),
            Self::Range(low, high) => Self::Range(limit(low)?, limit(high)?),
        })
    }
}

fn decimal(value: &Value<'_>) -> Option<Decimal> {
    match value {
        Value::Number(text) => Decimal::parse(text),
        _ => None,
    }
}

/// Adds the parts of a primitive.
pub fn parts(out: &mut Parts, type_name: &str, value: &Value<'_>) {
    let Some(value) = decimal(value) else { return };
    let is_counted = matches!(type_name, "integer" | "positiveInt" | "unsignedInt");
    amount_parts(out, &[], if is_counted { Amount::counted(value) } else { Amount::measured(value) });
}

/// Adds the parts of a `Range`, or of the value of a quantity.
pub fn object_parts(out: &mut Parts, type_name: &str, object: &Object<'_>) {
    let range = || of_range(object).map(|(amount, _)| amount);
    let amount = if type_name == "Range" { range() } else { of_quantity(object) };
    if let Some(amount) = amount {
        amount_parts(out, &[], amount);
    }
}

fn of_quantity(quantity: &Object<'_>) -> Option<Amount> {
    let value = quantity.get("value").and_then(decimal)?;
    Some(Amount::compared(value, quantity.str("comparator")))
}

/// The bounds of a `Range`, and one of its quantities, for the unit.
fn of_range<'r>(range: &'r Object<'r>) -> Option<(Amount, &'r Object<'r>)> {
    let bound = |name| range.get(name).and_then(Value::as_object);
    let value = |bound: Option<&Object<'_>>| bound.and_then(|bound| bound.get("value")).and_then(decimal);
    let (low, high) = (bound("low"), bound("high"));
    let (from, to) = (value(low), value(high));
    if from.is_none() && to.is_none() {
        return None;
    }
    let amount = Amount::Range(from.map_or(Limit::Least, Limit::At), to.map_or(Limit::Greatest, Limit::At));
    Some((amount, low.or(high)?))
}

/// Adds the parts of the element of a quantity parameter.
pub fn quantity_parts(out: &mut Parts, type_name: &str, object: &Object<'_>) {
    let found =
        if type_name == "Range" { of_range(object) } else { of_quantity(object).map(|amount| (amount, object)) };
    let Some((amount, quantity)) = found else { return };
    if type_name == "Money" {
        let currency = object.str("currency").unwrap_or_default();
        return amount_parts(out, &in_unit(currency, "urn:iso:std:iso:4217"), amount);
    }
    let (code, system) = (quantity.str("code"), quantity.str("system").unwrap_or_default());
    let name = quantity.str("unit");
    amount_parts(out, &in_unit(code.or(name).unwrap_or_default(), system), amount);
    if let (Some(code), Some(name)) = (code, name)
        && code != name
    {
        amount_parts(out, &in_unit(name, system), amount);
    }
    if system == unit::UCUM
        && let Some(base) = code.and_then(unit::base)
        && let Some(amount) = amount.map(|value| base.convert(value))
    {
        amount_parts(out, &in_base(&base), amount);
    }
}

fn in_unit(code: &str, system: &str) -> Vec<u8> {
    let mut start = vec![b'q'];
    text(&mut start, code);
    text(&mut start, system);
    start
}

fn in_base(base: &Base) -> Vec<u8> {
    let mut start = vec![b'k'];
    text(&mut start, &base.unit);
    start
}

fn amount_parts(out: &mut Parts, start: &[u8], amount: Amount) {
    let mut add = |kind: u8, limits: &[Limit]| {
        let bytes = limits.iter().fold([start, &[kind]].concat(), |mut bytes, limit| {
            sortable(&mut bytes, *limit);
            bytes
        });
        if let Some((first, rest)) = bytes.split_first() {
            out.add(*first, |bytes| bytes.extend_from_slice(rest));
        }
    };
    match amount {
        Amount::Point(value, low, high) => add(b'x', &[value, low, high].map(Limit::At)),
        Amount::Range(low, high) => {
            add(b'y', &[low, high]);
            add(b'z', &[high, low]);
        }
    }
}

/// The unit of a quantity in a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit<'q> {
    /// Any.
    Any,
    /// `||unit`: the code or the name.
    Named(&'q str),
    /// `|system|code`.
    Coded(&'q str, &'q str),
}

/// The ranges that hold the quantities for which `prefix` is true of `value` in this unit.
#[must_use]
pub fn quantity_matching(prefix: Prefix, value: Decimal, unit: Unit<'_>) -> Vec<KeyRange> {
    let written = number_matching(prefix, value);
    match unit {
        Unit::Any => {
            let shape = [Step::Bytes(1), Step::Texts(2)];
            written.into_iter().map(|range| KeyRange::prefix(b"q").then(&shape, range)).collect()
        }
        Unit::Named(name) => {
            let mut start = vec![b'q'];
            text(&mut start, name);
            let shape = [Step::Bytes(start.len()), Step::Texts(1)];
            written.into_iter().map(|range| KeyRange::prefix(&start).then(&shape, range)).collect()
        }
        Unit::Coded(system, code) => {
            if system == unit::UCUM
                && let Some(base) = unit::base(code)
                && let Some(ranges) = converted(prefix, value, &base)
            {
                return ranges;
            }
            let start = in_unit(code, system);
            written.into_iter().map(|range| range.under(&start)).collect()
        }
    }
}

fn converted(prefix: Prefix, value: Decimal, base: &Base) -> Option<Vec<KeyRange>> {
    let wanted = Wanted::of(value);
    let [exact, low, high] = [base.convert(wanted.exact)?, base.convert(wanted.low)?, base.convert(wanted.high)?];
    let [near_low, near_high] = [base.convert(wanted.near_low)?, base.convert(wanted.near_high)?];
    let wanted = Wanted { exact, low, high, near_low, near_high };
    let start = in_base(base);
    Some(wanted.matching(prefix).into_iter().map(|range| range.under(&start)).collect())
}

/// The ranges that hold the numbers for which `prefix` is true of `value`.
#[must_use]
pub fn number_matching(prefix: Prefix, value: Decimal) -> Vec<KeyRange> {
    Wanted::of(value).matching(prefix)
}

/// A number of a query with the ranges around it.
struct Wanted {
    exact: Decimal,
    low: Decimal,
    high: Decimal,
    near_low: Decimal,
    near_high: Decimal,
}

impl Wanted {
    const fn of(exact: Decimal) -> Self {
        let (low, high) = exact.implied();
        let (near_low, near_high) = exact.around();
        Self { exact, low, high, near_low, near_high }
    }

    fn matching(&self, prefix: Prefix) -> Vec<KeyRange> {
        let Self { exact, low, high, near_low, near_high } = *self;
        let (less, more) = (vec![up_to(b'x', exact)], vec![from_above(b'x', exact)]);
        let (starts_below, ends_above) = (vec![up_to(b'y', exact)], vec![from_above(b'z', exact)]);
        match prefix {
            Prefix::Eq => vec![
                within(b'x', low, high).bounded(at_least(1, low)).bounded(at_most(2, high)),
                within(b'y', low, high).bounded(at_most(1, high)),
            ],
            Prefix::Ne => vec![
                up_to(b'x', low),
                from_above(b'x', high),
                within(b'x', low, high).bounded(less_than(1, low)),
                within(b'x', low, high).bounded(more_than(2, high)),
                up_to(b'y', low),
                from_above(b'z', high),
            ],
            Prefix::Gt => [more, ends_above].concat(),
            Prefix::Lt => [less, starts_below].concat(),
            Prefix::Ge => [more, ends_above, exactly(exact)].concat(),
            Prefix::Le => [less, starts_below, exactly(exact)].concat(),
            Prefix::Sa => [more, vec![from_above(b'y', exact)]].concat(),
            Prefix::Eb => [less, vec![up_to(b'z', exact)]].concat(),
            Prefix::Ap => vec![
                within(b'x', near_low, near_high),
                up_to(b'x', near_low).bounded(at_least(2, near_low)),
                from_above(b'x', near_high).bounded(at_most(1, near_high)),
                up_through(b'y', near_high).bounded(at_least(1, near_low)),
            ],
        }
    }
}

fn bytes(kind: u8, number: Decimal) -> Vec<u8> {
    let mut bytes = vec![kind];
    sortable(&mut bytes, Limit::At(number));
    bytes
}

/// First limits below the number.
fn up_to(kind: u8, number: Decimal) -> KeyRange {
    KeyRange { from: [kind].into(), to: bytes(kind, number).into(), tail: None }
}

/// First limits up to the number, itself included.
fn up_through(kind: u8, number: Decimal) -> KeyRange {
    KeyRange::through(&[vec![kind], bytes(kind, number)])
}

/// First limits above the number.
fn from_above(kind: u8, number: Decimal) -> KeyRange {
    KeyRange { from: after_prefix(&bytes(kind, number)).into(), to: [kind + 1].into(), tail: None }
}

fn within(kind: u8, low: Decimal, high: Decimal) -> KeyRange {
    KeyRange::through(&[bytes(kind, low), bytes(kind, high)])
}

/// The number itself, and a range that is nothing but it.
fn exactly(number: Decimal) -> Vec<KeyRange> {
    vec![KeyRange::prefix(&bytes(b'x', number)), within(b'y', number, number).bounded(at_most(1, number))]
}

fn rest(number: Decimal) -> Vec<u8> {
    let mut bytes = Vec::new();
    sortable(&mut bytes, Limit::At(number));
    bytes
}

/// A bound on the limit that stands behind so many others.
fn bound(skip: usize, from: Vec<u8>, to: Vec<u8>) -> Bound {
    Bound { at: vec![Step::Bytes(1), Step::Texts(skip)], test: Test::Between(from.into(), to.into()) }
}

fn at_least(skip: usize, number: Decimal) -> Bound {
    bound(skip, rest(number), vec![u8::MAX])
}

fn more_than(skip: usize, number: Decimal) -> Bound {
    bound(skip, after_prefix(&rest(number)), vec![u8::MAX])
}

fn at_most(skip: usize, number: Decimal) -> Bound {
    bound(skip, Vec::new(), after_prefix(&rest(number)))
}

fn less_than(skip: usize, number: Decimal) -> Bound {
    bound(skip, Vec::new(), rest(number))
}

//! Quantities: a decimal with a UCUM unit or a calendar duration.
//!
//! <http://hl7.org/fhirpath/N1/#quantity>. Conversions are those of UCUM; calendar years and months convert to each other only.

use octofhir_ucum::{CanonicalUnit, Number, get_canonical_units, unit_divide, unit_multiply};
use rust_decimal::Decimal;
use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;

/// The longest UCUM code that is looked at, in bytes.
const UNIT_LIMIT: usize = 256;

/// A calendar duration, from the longest to the shortest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Calendar {
    Year,
    Month,
    Week,
    Day,
    Hour,
    Minute,
    Second,
    Millisecond,
}

/// The unit of a [`Quantity`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unit<'t> {
    /// `4 days`.
    Calendar(Calendar),
    /// `4 'd'`: a UCUM code, or any other text, which then equals only itself.
    Code(Cow<'t, str>),
}

/// `System.Quantity`.
#[derive(Debug, Clone)]
pub struct Quantity<'t> {
    /// The value; its scale is the precision that was written.
    pub value: Decimal,
    /// The unit.
    pub unit: Unit<'t>,
}

impl Calendar {
    /// The unit of a keyword, singular or plural.
    #[must_use]
    pub fn from_keyword(word: &str) -> Option<Self> {
        Some(match word.strip_suffix('s').unwrap_or(word) {
            "year" => Self::Year,
            "month" => Self::Month,
            "week" => Self::Week,
            "day" => Self::Day,
            "hour" => Self::Hour,
            "minute" => Self::Minute,
            "second" => Self::Second,
            "millisecond" => Self::Millisecond,
            _ => return None,
        })
    }

    /// The unit of a UCUM code of definite length; years and months of UCUM are means, and are not calendar durations.
    #[must_use]
    pub fn from_code(code: &str) -> Option<Self> {
        Some(match code {
            "wk" => Self::Week,
            "d" => Self::Day,
            "h" => Self::Hour,
            "min" => Self::Minute,
            "s" => Self::Second,
            "ms" => Self::Millisecond,
            _ => return None,
        })
    }

    const fn keyword(self) -> &'static str {
        match self {
            Self::Year => "year",
            Self::Month => "month",
            Self::Week => "week",
            Self::Day => "day",
            Self::Hour => "hour",
            Self::Minute => "minute",
            Self::Second => "second",
            Self::Millisecond => "millisecond",
        }
    }

    /// The nearest UCUM code.
    const fn code(self) -> &'static str {
        match self {
            Self::Year => "a",
            Self::Month => "mo",
            Self::Week => "wk",
            Self::Day => "d",
            Self::Hour => "h",
            Self::Minute => "min",
            Self::Second => "s",
            Self::Millisecond => "ms",
        }
    }

    /// Its length in milliseconds where a year has 365 days and a month 30.
    pub(super) const fn nominal_ms(self) -> i64 {
        const DAY: i64 = 86_400_000;
        match self {
            Self::Year => 365 * DAY,
            Self::Month => 30 * DAY,
            Self::Week => 7 * DAY,
            Self::Day => DAY,
            Self::Hour => 3_600_000,
            Self::Minute => 60_000,
            Self::Second => 1000,
            Self::Millisecond => 1,
        }
    }

    const fn is_indefinite(self) -> bool {
        matches!(self, Self::Year | Self::Month)
    }
}

impl Unit<'_> {
    /// The UCUM code, or the nearest one.
    #[must_use]
    pub fn code(&self) -> &str {
        match self {
            Self::Calendar(calendar) => calendar.code(),
            Self::Code(code) => code,
        }
    }

    /// The same, borrowing.
    pub(super) fn borrowed(&self) -> Unit<'_> {
        match self {
            Self::Calendar(calendar) => Unit::Calendar(*calendar),
            Self::Code(code) => Unit::Code(Cow::Borrowed(code)),
        }
    }
}

/// A UCUM number of a decimal.
fn number(value: Decimal) -> Option<Number> {
    Number::parse(&value.to_string())
}

/// A decimal of a UCUM number, which may have an exponent.
fn decimal(number: Number) -> Option<Decimal> {
    let text = number.to_string();
    text.parse().ok().or_else(|| Decimal::from_scientific(&text).ok()).map(|value: Decimal| value.normalize())
}

fn in_canonical(value: Decimal, unit: &CanonicalUnit) -> Option<Number> {
    number(value)?.checked_mul(unit.factor)?.checked_add(unit.offset)
}

impl<'t> Quantity<'t> {
    /// A quantity without unit (`'1'`).
    #[must_use]
    pub const fn unitless(value: Decimal) -> Self {
        Self { value, unit: Unit::Code(Cow::Borrowed("1")) }
    }

    /// Which is greater; `None` where the units have different dimensions or are not known.
    #[must_use]
    pub fn compare(&self, other: &Self) -> Option<Ordering> {
        if self.unit == other.unit {
            return Some(self.value.cmp(&other.value));
        }
        if let (Unit::Calendar(a), Unit::Calendar(b)) = (&self.unit, &other.unit)
            && a.is_indefinite()
            && b.is_indefinite()
        {
            let months = |value: Decimal, unit: Calendar| {
                value.checked_mul(Decimal::from(if unit == Calendar::Year { 12 } else { 1 }))
            };
            return Some(months(self.value, *a)?.cmp(&months(other.value, *b)?));
        }
        let indefinite = |unit: &Unit<'_>| matches!(unit, Unit::Calendar(calendar) if calendar.is_indefinite());
        if indefinite(&self.unit) || indefinite(&other.unit) {
            return None;
        }
        let (a, b) = (self.canonical()?, other.canonical()?);
        let difference = in_canonical(self.value, &a)?.checked_sub(in_canonical(other.value, &b)?)?;
        Some(if a.unit != b.unit {
            return None;
        } else if difference.is_zero() {
            Ordering::Equal
        } else if difference.is_negative() {
            Ordering::Less
        } else {
            Ordering::Greater
        })
    }

    /// Whether the two have units of the same dimension.
    #[must_use]
    pub fn is_comparable(&self, other: &Self) -> bool {
        self.unit == other.unit
            || matches!((self.canonical(), other.canonical()), (Some(a), Some(b)) if a.unit == b.unit)
    }

    /// Equal after rounding both to the coarser of the two precisions.
    #[must_use]
    pub fn is_equivalent(&self, other: &Self) -> bool {
        let (Some(a), Some(b)) = (self.canonical(), other.canonical()) else {
            let places = self.value.scale().min(other.value.scale());
            return self.unit == other.unit && self.value.round_dp(places) == other.value.round_dp(places);
        };
        if a.unit != b.unit {
            return false;
        }
        let step = |quantity: &Self, unit: &CanonicalUnit| {
            number(Decimal::new(1, quantity.value.scale().min(28))).and_then(|step| step.checked_mul(unit.factor))
        };
        let (Some(step_a), Some(step_b)) = (step(self, &a), step(other, &b)) else { return false };
        let (coarse, scale) = match step_a.checked_sub(step_b) {
            Some(difference) if difference.is_negative() => (&b, other.value.scale()),
            Some(_) => (&a, self.value.scale()),
            None => return false,
        };
        let rounded = |quantity: &Self, unit: &CanonicalUnit| {
            let value = in_canonical(quantity.value, unit)?.checked_sub(coarse.offset)?.checked_div(coarse.factor)?;
            Some(decimal(value)?.round_dp(scale))
        };
        matches!((rounded(self, &a), rounded(other, &b)), (Some(a), Some(b)) if a == b)
    }

    /// The sum (or, negated, the difference) in the finer of the two units.
    #[must_use]
    pub fn plus(&self, other: &Self, negate: bool) -> Option<Self> {
        let signed = |value: Decimal| if negate { -value } else { value };
        if self.unit == other.unit {
            let value = self.value.checked_add(signed(other.value))?;
            return Some(Self { value, unit: self.unit.clone() });
        }
        let (a, b) = (self.canonical()?, other.canonical()?);
        if a.unit != b.unit || !a.offset.is_zero() || !b.offset.is_zero() {
            return None;
        }
        let finer_is_other = b.factor.checked_sub(a.factor)?.is_negative();
        let (fine, unit) = if finer_is_other { (&b, &other.unit) } else { (&a, &self.unit) };
        let sum = in_canonical(self.value, &a)?.checked_add(in_canonical(signed(other.value), &b)?)?;
        Some(Self { value: decimal(sum.checked_div(fine.factor)?)?, unit: unit.clone() })
    }

    /// The same in another unit, where that has the same dimension.
    #[must_use]
    pub fn converted(&self, unit: Unit<'t>) -> Option<Self> {
        let from = self.canonical()?;
        let to = get_canonical_units(unit.code()).ok().filter(|to| to.unit == from.unit)?;
        let value = in_canonical(self.value, &from)?.checked_sub(to.offset)?.checked_div(to.factor)?;
        Some(Self { value: decimal(value)?, unit })
    }

    /// The product.
    #[must_use]
    pub fn times(&self, other: &Self) -> Option<Self> {
        let unit = unit_multiply(self.code()?, other.code()?).ok()?.expression;
        Some(Self { value: self.value.checked_mul(other.value)?, unit: Unit::Code(Cow::Owned(unit)) })
    }

    /// The quotient; `None` for a division by zero.
    #[must_use]
    pub fn over(&self, other: &Self) -> Option<Self> {
        let unit = if self.unit == other.unit {
            String::from("1")
        } else {
            unit_divide(self.code()?, other.code()?).ok()?.expression
        };
        Some(Self { value: self.value.checked_div(other.value)?, unit: Unit::Code(Cow::Owned(unit)) })
    }

    fn canonical(&self) -> Option<CanonicalUnit> {
        get_canonical_units(self.code()?).ok()
    }

    /// The UCUM code, unless it is too long to be looked at.
    fn code(&self) -> Option<&str> {
        Some(self.unit.code()).filter(|code| code.len() <= UNIT_LIMIT)
    }
}

impl fmt::Display for Quantity<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.unit {
            Unit::Calendar(calendar) => {
                let plural = if self.value == Decimal::ONE { "" } else { "s" };
                write!(f, "{} {}{plural}", self.value, calendar.keyword())
            }
            Unit::Code(code) => write!(f, "{} '{code}'", self.value),
        }
    }
}

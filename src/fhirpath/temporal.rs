//! Dates, date-times and times with the precision they were written in.
//!
//! <http://hl7.org/fhirpath/N1/#date>, `#datetime`, `#time`; arithmetic: `#datetime-arithmetic`.

use super::quantity::Calendar;
use jiff::civil;
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;
use std::cmp::Ordering;
use std::fmt;

/// Which of the three types a [`Temporal`] has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TemporalKind {
    /// `System.Date`.
    Date,
    /// `System.DateTime`.
    DateTime,
    /// `System.Time`.
    Time,
}

/// The last part that was written; fractions of a second count as seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Precision {
    Year,
    Month,
    Day,
    Hour,
    Minute,
    Second,
}

/// A date, date-time or time. Parts that were not written have their least value.
#[derive(Debug, Clone, Copy)]
pub struct Temporal {
    /// Its type.
    pub kind: TemporalKind,
    /// How much of it was written.
    pub precision: Precision,
    /// How many digits of the fraction of a second were written.
    pub fraction_digits: u8,
    /// The offset from UTC in minutes, where one was written.
    pub offset: Option<i16>,
    local: civil::DateTime,
}

/// The widest offsets there are, in minutes: what a missing one may stand for.
const EARLIEST_OFFSET: i16 = 14 * 60;
const LATEST_OFFSET: i16 = -12 * 60;

impl Temporal {
    /// Parses `YYYY[-MM[-DD]]`.
    #[must_use]
    pub fn date(text: &str) -> Option<Self> {
        let mut parser = Parts { rest: text };
        let (date, precision) = parser.date()?;
        parser.end()?;
        Some(Self::new(TemporalKind::Date, precision, date.to_datetime(civil::Time::midnight())))
    }

    /// Parses `hh[:mm[:ss[.f…]]]`.
    #[must_use]
    pub fn time(text: &str) -> Option<Self> {
        let mut parser = Parts { rest: text };
        let (time, precision, fraction_digits) = parser.time()?;
        parser.end()?;
        let local = civil::Date::new(1, 1, 1).ok()?.to_datetime(time);
        Some(Self { fraction_digits, ..Self::new(TemporalKind::Time, precision, local) })
    }

    /// Parses a date, alone or followed by `T` and a time with or without an offset (`Z`, `+hh:mm`).
    #[must_use]
    pub fn date_time(text: &str) -> Option<Self> {
        let mut parser = Parts { rest: text };
        let (date, precision) = parser.date()?;
        let midnight = date.to_datetime(civil::Time::midnight());
        let mut value = Self::new(TemporalKind::DateTime, precision, midnight);
        if parser.eat('T') && !parser.rest.is_empty() {
            if precision != Precision::Day {
                return None;
            }
            let (time, precision, fraction_digits) = parser.time()?;
            let offset = if parser.rest.is_empty() { None } else { Some(parser.offset()?) };
            value = Self { precision, fraction_digits, offset, local: date.to_datetime(time), ..value };
        }
        parser.end()?;
        Some(value)
    }

    /// A point in time, in UTC with milliseconds.
    #[must_use]
    pub fn from_micros(micros: i64) -> Option<Self> {
        let time = jiff::Timestamp::from_microsecond(micros - micros.rem_euclid(1000)).ok()?;
        let local = jiff::tz::Offset::UTC.to_datetime(time);
        let value = Self::new(TemporalKind::DateTime, Precision::Second, local);
        Some(Self { fraction_digits: 3, offset: Some(0), ..value })
    }

    const fn new(kind: TemporalKind, precision: Precision, local: civil::DateTime) -> Self {
        Self { kind, precision, fraction_digits: 0, offset: None, local }
    }

    /// The date part, with at most the precision of a day.
    #[must_use]
    pub fn to_date(self) -> Option<Self> {
        let precision = self.precision.min(Precision::Day);
        let midnight = self.local.date().to_datetime(civil::Time::midnight());
        (self.kind != TemporalKind::Time).then(|| Self::new(TemporalKind::Date, precision, midnight))
    }

    /// The time part.
    #[must_use]
    pub fn to_time(self) -> Option<Self> {
        let local = civil::Date::new(1, 1, 1).ok()?.to_datetime(self.local.time());
        (self.precision >= Precision::Hour).then_some(Self { kind: TemporalKind::Time, offset: None, local, ..self })
    }

    /// The same as a `DateTime`, unless it is a time.
    #[must_use]
    pub fn to_date_time(self) -> Option<Self> {
        (self.kind != TemporalKind::Time).then_some(Self { kind: TemporalKind::DateTime, ..self })
    }

    /// Which comes first; `None` where precision or a missing offset leaves that open.
    ///
    /// A time is comparable with times only.
    #[must_use]
    pub fn compare(&self, other: &Self) -> Option<Ordering> {
        if (self.kind == TemporalKind::Time) != (other.kind == TemporalKind::Time) {
            return None;
        }
        match (self.offset, other.offset) {
            (None, None) => self.compare_parts(other),
            (Some(_), Some(_)) => self.in_utc().compare_parts(&other.in_utc()),
            _ => self.compare_ranges(other),
        }
    }

    fn compare_parts(&self, other: &Self) -> Option<Ordering> {
        let shared = self.precision.min(other.precision);
        for (part, a, b) in [
            (Precision::Year, i32::from(self.local.year()), i32::from(other.local.year())),
            (Precision::Month, self.local.month().into(), other.local.month().into()),
            (Precision::Day, self.local.day().into(), other.local.day().into()),
            (Precision::Hour, self.local.hour().into(), other.local.hour().into()),
            (Precision::Minute, self.local.minute().into(), other.local.minute().into()),
            (Precision::Second, self.local.second().into(), other.local.second().into()),
            (Precision::Second, self.local.subsec_nanosecond(), other.local.subsec_nanosecond()),
        ] {
            if part <= shared && a != b {
                return Some(a.cmp(&b));
            }
        }
        (self.precision == other.precision).then_some(Ordering::Equal)
    }

    /// Where one side lacks an offset, only ranges that can't overlap under any offset decide.
    fn compare_ranges(&self, other: &Self) -> Option<Ordering> {
        let (low, high) = (self.in_zone(EARLIEST_OFFSET), self.last().in_zone(LATEST_OFFSET));
        let (other_low, other_high) = (other.in_zone(EARLIEST_OFFSET), other.last().in_zone(LATEST_OFFSET));
        if high.local < other_low.local {
            Some(Ordering::Less)
        } else if low.local > other_high.local {
            Some(Ordering::Greater)
        } else {
            None
        }
    }

    fn in_zone(self, offset: i16) -> Self {
        Self { offset: Some(self.offset.unwrap_or(offset)), ..self }.in_utc()
    }

    fn in_utc(self) -> Self {
        let minutes = i64::from(self.offset.unwrap_or(0));
        let local = self.local.saturating_sub(jiff::Span::new().minutes(minutes));
        Self { local, ..self }
    }

    /// The last millisecond of what was written.
    fn last(self) -> Self {
        let mut local = self.local;
        let date = local.date();
        let date = match self.precision {
            Precision::Year => date.last_of_year(),
            Precision::Month => date.last_of_month(),
            _ => date,
        };
        let (hour, minute, second) = (local.hour(), local.minute(), local.second());
        let nanos = if self.fraction_digits == 0 { 999_000_000 } else { local.subsec_nanosecond() };
        let time = match self.precision {
            Precision::Year | Precision::Month | Precision::Day => (23, 59, 59, 999_000_000),
            Precision::Hour => (hour, 59, 59, 999_000_000),
            Precision::Minute => (hour, minute, 59, 999_000_000),
            Precision::Second => (hour, minute, second, nanos),
        };
        if let Ok(time) = civil::Time::new(time.0, time.1, time.2, time.3) {
            local = date.to_datetime(time);
        }
        Self { local, ..self }
    }

    /// How many digits were written: 4 for a year, 17 for milliseconds; of a time 2 to 9.
    #[must_use]
    pub fn digits(&self) -> i32 {
        let whole = match self.precision {
            Precision::Year => 4,
            Precision::Month => 6,
            Precision::Day => 8,
            Precision::Hour => 10,
            Precision::Minute => 12,
            Precision::Second => 14,
        };
        whole + i32::from(self.fraction_digits) - if self.kind == TemporalKind::Time { 8 } else { 0 }
    }

    /// The least (`low`) or greatest value that this may stand for, written with `digits` digits
    /// (as [`Self::digits`] counts them).
    #[must_use]
    pub fn boundary(&self, low: bool, digits: Option<i32>) -> Option<Self> {
        let (most, shift) = match self.kind {
            TemporalKind::Date => (8, 0),
            TemporalKind::DateTime => (17, 0),
            TemporalKind::Time => (9, 8),
        };
        let digits = digits.unwrap_or(most);
        let (precision, fraction_digits) = match digits + shift {
            4 => (Precision::Year, 0),
            6 => (Precision::Month, 0),
            8 => (Precision::Day, 0),
            10 => (Precision::Hour, 0),
            12 => (Precision::Minute, 0),
            14 => (Precision::Second, 0),
            17 => (Precision::Second, 3),
            _ => return None,
        };
        if digits > most || digits < 2 || (self.kind == TemporalKind::Time && precision < Precision::Hour) {
            return None;
        }
        let edge = if low { *self } else { self.last() };
        let unknown = if low { EARLIEST_OFFSET } else { LATEST_OFFSET };
        let offset = match self.kind {
            TemporalKind::DateTime if precision >= Precision::Hour => Some(self.offset.unwrap_or(unknown)),
            _ => None,
        };
        Some(Self { precision, fraction_digits, offset, ..edge })
    }

    /// This plus (or, for a negative amount, minus) a duration, in the precision of this.
    ///
    /// Fractions of anything above a second are dropped. `None` where the result is no date of the years 1 to 9999, or where a
    /// time is to be moved by more than hours.
    #[must_use]
    pub fn plus(&self, amount: Decimal, unit: Calendar) -> Option<Self> {
        let (amount, unit) = self.in_own_precision(amount, unit);
        let whole = amount.trunc().to_i64()?;
        let span = jiff::Span::new();
        let nanos = |scale: i64| (amount * Decimal::from(scale)).trunc().to_i64();
        let span = match unit {
            Calendar::Year => span.try_years(whole).ok()?,
            Calendar::Month => span.try_months(whole).ok()?,
            Calendar::Week => span.try_weeks(whole).ok()?,
            Calendar::Day => span.try_days(whole).ok()?,
            Calendar::Hour => span.try_hours(whole).ok()?,
            Calendar::Minute => span.try_minutes(whole).ok()?,
            Calendar::Second => span.try_nanoseconds(nanos(1_000_000_000)?).ok()?,
            Calendar::Millisecond => span.try_nanoseconds(nanos(1_000_000)?).ok()?,
        };
        let local = if self.kind == TemporalKind::Time {
            if unit < Calendar::Hour {
                return None;
            }
            self.local.date().to_datetime(self.local.time().wrapping_add(span))
        } else {
            self.local.checked_add(span).ok()?
        };
        if !(1..=9999).contains(&local.year()) {
            return None;
        }
        let fraction_digits = self.fraction_digits.max(if local.subsec_nanosecond() == 0 { 0 } else { 3 });
        Some(Self { fraction_digits, local, ..*self })
    }

    /// A duration finer than this value's precision, in whole units of that precision.
    fn in_own_precision(&self, amount: Decimal, unit: Calendar) -> (Decimal, Calendar) {
        let finest = match self.precision {
            Precision::Year => Calendar::Year,
            Precision::Month => Calendar::Month,
            Precision::Day => Calendar::Day,
            Precision::Hour => Calendar::Hour,
            Precision::Minute => Calendar::Minute,
            Precision::Second => Calendar::Millisecond,
        };
        if unit <= finest {
            return (amount, unit);
        }
        let per = |calendar: Calendar| Decimal::from(calendar.nominal_ms());
        let converted = if finest == Calendar::Year && unit == Calendar::Month {
            amount / Decimal::from(12)
        } else {
            amount.checked_mul(per(unit)).map_or(Decimal::ZERO, |ms| ms / per(finest))
        };
        (converted, finest)
    }
}

impl fmt::Display for Temporal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let local = &self.local;
        if self.kind != TemporalKind::Time {
            write!(f, "{:04}", local.year())?;
            if self.precision >= Precision::Month {
                write!(f, "-{:02}", local.month())?;
            }
            if self.precision >= Precision::Day {
                write!(f, "-{:02}", local.day())?;
            }
            if self.precision >= Precision::Hour {
                f.write_str("T")?;
            }
        }
        if self.precision >= Precision::Hour {
            write!(f, "{:02}", local.hour())?;
        }
        if self.precision >= Precision::Minute {
            write!(f, ":{:02}", local.minute())?;
        }
        if self.precision >= Precision::Second {
            write!(f, ":{:02}", local.second())?;
        }
        if self.fraction_digits > 0 {
            let digits = format!("{:09}", local.subsec_nanosecond());
            write!(f, ".{}", digits.get(..usize::from(self.fraction_digits)).unwrap_or(&digits))?;
        }
        match self.offset {
            Some(0) => f.write_str("Z"),
            Some(offset) => {
                let sign = if offset < 0 { '-' } else { '+' };
                write!(f, "{sign}{:02}:{:02}", offset.abs() / 60, offset.abs() % 60)
            }
            None => Ok(()),
        }
    }
}

/// The text that is left to parse.
struct Parts<'a> {
    rest: &'a str,
}

impl Parts<'_> {
    fn eat(&mut self, c: char) -> bool {
        self.rest.strip_prefix(c).inspect(|rest| self.rest = rest).is_some()
    }

    fn end(&self) -> Option<()> {
        self.rest.is_empty().then_some(())
    }

    fn number(&mut self, digits: usize) -> Option<i16> {
        let text = self.rest.get(..digits).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
        self.rest = self.rest.get(digits..)?;
        text.parse().ok()
    }

    fn two(&mut self) -> Option<i8> {
        self.number(2).and_then(|number| i8::try_from(number).ok())
    }

    fn date(&mut self) -> Option<(civil::Date, Precision)> {
        let year = self.number(4)?;
        let (mut month, mut day, mut precision) = (1, 1, Precision::Year);
        if self.eat('-') {
            (month, precision) = (self.two()?, Precision::Month);
            if self.eat('-') {
                (day, precision) = (self.two()?, Precision::Day);
            }
        }
        Some((civil::Date::new(year, month, day).ok()?, precision))
    }

    fn time(&mut self) -> Option<(civil::Time, Precision, u8)> {
        let hour = self.two()?;
        let (mut minute, mut second, mut nanos, mut digits) = (0, 0, 0, 0);
        let mut precision = Precision::Hour;
        if self.eat(':') {
            (minute, precision) = (self.two()?, Precision::Minute);
            if self.eat(':') {
                // FHIR allows a leap second, which no calendar arithmetic knows.
                (second, precision) = (self.two()?, Precision::Second);
                second = if second == 60 { 59 } else { second };
                if self.eat('.') {
                    (nanos, digits) = self.fraction()?;
                }
            }
        }
        Some((civil::Time::new(hour, minute, second, nanos).ok()?, precision, digits))
    }

    /// A fraction of a second: nanoseconds, and how many digits were written (of at most nine that are kept).
    fn fraction(&mut self) -> Option<(i32, u8)> {
        let length = self.rest.bytes().take_while(u8::is_ascii_digit).count();
        let kept = self.rest.get(..length.min(9))?;
        self.rest = self.rest.get(length..)?;
        let digits = u8::try_from(kept.len()).ok().filter(|digits| *digits > 0)?;
        Some((kept.parse::<i32>().ok()? * 10_i32.pow(9 - u32::from(digits)), digits))
    }

    /// An offset from UTC, in minutes.
    fn offset(&mut self) -> Option<i16> {
        if self.eat('Z') {
            return Some(0);
        }
        let sign = if self.eat('+') {
            1
        } else if self.eat('-') {
            -1
        } else {
            return None;
        };
        let hours = self.number(2)?;
        let minutes = if self.eat(':') { self.number(2)? } else { return None };
        (hours <= 14 && minutes < 60).then_some(sign * (hours * 60 + minutes))
    }
}

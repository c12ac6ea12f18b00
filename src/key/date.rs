//! Dates of any precision as ranges of moments.
//!
//! A key is `l low high`; a value longer than a day has `h high low` beside it. So every comparison reads one narrow range:
//! what ends after a moment either starts at most a day before it, or is among the long ones. What a comparison asks for is a
//! [`Window`]; where there is one date only, several comparisons are the window that theirs have in common.
//!
//! <https://hl7.org/fhir/R4/search.html#date>

use super::Prefix;
use super::bytes::{Parts, moment};
use super::range::{Bound, KeyRange, Step, Test};
use crate::clock::Micros;
use crate::fhir::tree::{Object, Value};
use jiff::civil;
use jiff::tz::Offset;

const DAY: i64 = 86_400_000_000;
/// What a date part of a key looks like: the kind and two moments.
pub const SHAPE: [Step; 1] = [Step::Bytes(17)];

/// A range of moments, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The first microsecond.
    pub low: i64,
    /// The last microsecond.
    pub high: i64,
}

impl Span {
    /// All of time.
    pub const ALWAYS: Self = Self { low: i64::MIN, high: i64::MAX };

    /// Reads a `date`, `dateTime` or `instant`, and what a query may leave out of one (the seconds, the time zone, which is
    /// UTC then). `None` where it is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (date, time) = text.split_once('T').map_or((text, None), |(date, time)| (date, Some(time)));
        let mut parts = date.split('-');
        let year = number(parts.next()?, 4)?;
        let (month, day) = (parts.next(), parts.next());
        if parts.next().is_some() || year == 0 {
            return None;
        }
        let first = civil::Date::new(
            i16::try_from(year).ok()?,
            month.map_or(Some(1), |text| number(text, 2))?.try_into().ok()?,
            day.map_or(Some(1), |text| number(text, 2))?.try_into().ok()?,
        );
        let first = first.ok()?;
        if let Some(time) = time {
            day?;
            return Self::with_time(first, time);
        }
        let (start, days) = (civil_micros(first), |days: i16| i64::from(days) * DAY - 1);
        Some(match (month, day) {
            (_, Some(_)) => Self { low: start, high: start.saturating_add(days(1)) },
            (Some(_), None) => Self { low: start, high: start.saturating_add(days(i16::from(first.days_in_month()))) },
            (None, None) => Self { low: start, high: start.saturating_add(days(first.days_in_year())) },
        })
    }

    fn with_time(date: civil::Date, text: &str) -> Option<Self> {
        let (time, offset_s) = zone(text)?;
        let mut parts = time.splitn(3, ':');
        let (hour, minute) = (number(parts.next()?, 2)?, number(parts.next()?, 2)?);
        let (second, micros, width) = match parts.next() {
            None => (0, 0, 60_000_000),
            Some(text) => seconds(text)?,
        };
        if hour > 23 || minute > 59 || second > 60 {
            return None;
        }
        let of_day = ((hour * 60 + minute) * 60 + second - offset_s) * 1_000_000 + micros;
        let low = civil_micros(date).saturating_add(of_day);
        Some(Self { low, high: low.saturating_add(width - 1) })
    }

    /// The range of a `Period`: a missing bound is infinite.
    #[must_use]
    pub fn of_period(period: &Object<'_>) -> Option<Self> {
        let bound = |name| period.str(name).and_then(Self::parse);
        let (start, end) = (bound("start"), bound("end"));
        if start.is_none() && end.is_none() {
            return None;
        }
        Some(Self { low: start.map_or(i64::MIN, |start| start.low), high: end.map_or(i64::MAX, |end| end.high) })
    }

    /// The range of a `Timing`: its outer limits.
    #[must_use]
    pub fn of_timing(timing: &Object<'_>) -> Option<Self> {
        let events = timing.get("event").map_or(&[][..], Value::items);
        let bounds = timing.get("repeat").and_then(|repeat| repeat.get("boundsPeriod")).and_then(Value::as_object);
        let events = events.iter().filter_map(|event| event.as_str().and_then(Self::parse));
        events
            .chain(bounds.and_then(Self::of_period))
            .reduce(|a, b| Self { low: a.low.min(b.low), high: a.high.max(b.high) })
    }

    /// What both have in common.
    fn and(self, other: Self) -> Option<Self> {
        let (low, high) = (self.low.max(other.low), self.high.min(other.high));
        (low <= high).then_some(Self { low, high })
    }

    /// The same, wider by a tenth of its distance from `now`: for `ap`.
    #[must_use]
    pub fn around(self, now: Micros) -> Self {
        let widen = |bound: i64| now.0.saturating_sub(bound).saturating_abs() / 10;
        Self { low: self.low.saturating_sub(widen(self.low)), high: self.high.saturating_add(widen(self.high)) }
    }
}

fn civil_micros(date: civil::Date) -> i64 {
    Offset::UTC
        .to_timestamp(date.to_datetime(civil::Time::midnight()))
        .map_or(i64::MAX, jiff::Timestamp::as_microsecond)
}

fn number(text: &str, digits: usize) -> Option<i64> {
    let plain = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
    if plain { text.parse().ok() } else { None }
}

/// The seconds, the microseconds, and how many microseconds the written precision covers.
fn seconds(text: &str) -> Option<(i64, i64, i64)> {
    let (whole, fraction) = text.split_once('.').map_or((text, None), |(whole, fraction)| (whole, Some(fraction)));
    let second = number(whole, 2)?;
    let Some(fraction) = fraction else { return Some((second, 0, 1_000_000)) };
    if fraction.is_empty() || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let kept = fraction.get(..fraction.len().min(6))?;
    let width = 10_i64.pow(u32::try_from(6 - kept.len()).ok()?);
    Some((second, kept.parse::<i64>().ok()? * width, width))
}

/// Splits the time zone off: the rest, and the offset in seconds.
fn zone(text: &str) -> Option<(&str, i64)> {
    if let Some(time) = text.strip_suffix('Z') {
        return Some((time, 0));
    }
    let Some(at) = text.rfind(['+', '-']) else { return Some((text, 0)) };
    let (hours, minutes) = text.get(at + 1..)?.split_once(':')?;
    let (hours, minutes) = (number(hours, 2)?, number(minutes, 2)?);
    let offset = (hours * 60 + minutes) * 60;
    if hours > 14 || minutes > 59 {
        return None;
    }
    Some((text.get(..at)?, if text.get(at..=at)? == "-" { -offset } else { offset }))
}

/// Adds the parts of a `Period` or `Timing`.
pub fn object_parts(out: &mut Parts, type_name: &str, object: &Object<'_>) {
    let span = if type_name == "Timing" { Span::of_timing(object) } else { Span::of_period(object) };
    if let Some(span) = span {
        span_parts(out, span);
    }
}

/// Adds the parts of a primitive.
pub fn parts(out: &mut Parts, value: &Value<'_>) {
    if let Some(span) = value.as_str().and_then(Span::parse) {
        span_parts(out, span);
    }
}

fn span_parts(out: &mut Parts, span: Span) {
    let mut add = |kind, first, second| {
        out.add(kind, |bytes| {
            moment(bytes, Micros(first));
            moment(bytes, Micros(second));
        });
    };
    add(b'l', span.low, span.high);
    if span.high.saturating_sub(span.low) >= DAY {
        add(b'h', span.high, span.low);
    }
}

/// Dates that start in one range of moments and end in another; all bounds are included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    starts: Span,
    ends: Span,
}

impl Window {
    /// All dates.
    pub const ALWAYS: Self = Self { starts: Span::ALWAYS, ends: Span::ALWAYS };

    const fn starting(low: i64, high: i64) -> Self {
        Self { starts: Span { low, high }, ..Self::ALWAYS }
    }

    const fn ending(low: i64, high: i64) -> Self {
        Self { ends: Span { low, high }, ..Self::ALWAYS }
    }

    /// The dates for which `prefix` is true of `span`: those in any of the windows.
    #[must_use]
    pub fn matching(prefix: Prefix, span: Span, now: Micros) -> Vec<Self> {
        let inside = Self { starts: span, ends: span };
        let starts_before = span.low.checked_sub(1).map(|before| Self::starting(i64::MIN, before));
        let ends_before = span.low.checked_sub(1).map(|before| Self::ending(i64::MIN, before));
        let starts_after = span.high.checked_add(1).map(|after| Self::starting(after, i64::MAX));
        let ends_after = span.high.checked_add(1).map(|after| Self::ending(after, i64::MAX));
        let windows = match prefix {
            Prefix::Eq => [Some(inside), None],
            Prefix::Ne => [starts_before, ends_after],
            Prefix::Gt => [ends_after, None],
            Prefix::Lt => [starts_before, None],
            Prefix::Ge => [ends_after, Some(inside)],
            Prefix::Le => [starts_before, Some(inside)],
            Prefix::Sa => [starts_after, None],
            Prefix::Eb => [ends_before, None],
            Prefix::Ap => [Some(Self::overlapping(span.around(now))), None],
        };
        windows.into_iter().flatten().collect()
    }

    /// The dates that have a moment in common with `span`.
    #[must_use]
    pub const fn overlapping(span: Span) -> Self {
        Self { starts: Span { low: i64::MIN, high: span.high }, ends: Span { low: span.low, high: i64::MAX } }
    }

    /// The dates in both windows, where there can be any.
    #[must_use]
    pub fn and(self, other: Self) -> Option<Self> {
        let starts = self.starts.and(other.starts)?;
        let ends = self.ends.and(other.ends)?;
        (starts.low <= ends.high).then_some(Self { starts, ends })
    }

    /// The ranges that hold these dates: the short ones by where they start, the long ones by where they end, if that is the
    /// narrower range.
    #[must_use]
    pub fn ranges(self) -> Vec<KeyRange> {
        let Self { starts, ends } = self;
        let last = starts.high.min(ends.high);
        let is_open = ends.low <= starts.low && ends.high == i64::MAX;
        let by_start = |from| {
            let range = first(b'l', from, last);
            if is_open { range } else { range.bounded(rest(ends.low, ends.high)) }
        };
        let earliest = ends.low.saturating_sub(DAY);
        if earliest <= starts.low {
            return vec![by_start(starts.low)];
        }
        let by_end = first(b'h', ends.low, ends.high);
        let is_any_start = starts == Span::ALWAYS;
        let by_end = if is_any_start { by_end } else { by_end.bounded(rest(starts.low, starts.high)) };
        vec![by_start(earliest), by_end]
    }

    /// The range that holds those of these dates that are a single moment.
    #[must_use]
    pub fn moments(self) -> Option<KeyRange> {
        self.starts.and(self.ends).map(|moments| first(b'l', moments.low, moments.high))
    }
}

/// The ranges that hold the dates for which `prefix` is true of `span`.
#[must_use]
pub fn matching(prefix: Prefix, span: Span, now: Micros) -> Vec<KeyRange> {
    Window::matching(prefix, span, now).into_iter().flat_map(Window::ranges).collect()
}

fn first(kind: u8, from: i64, to: i64) -> KeyRange {
    let ends = [from, to].map(|time| {
        let mut bytes = vec![kind];
        moment(&mut bytes, Micros(time));
        bytes
    });
    KeyRange::through(&ends)
}

fn rest(from: i64, to: i64) -> Bound {
    let [from, to] = [from, to].map(|time| {
        let mut bytes = Vec::new();
        moment(&mut bytes, Micros(time));
        bytes
    });
    Bound { at: vec![Step::Bytes(9)], test: Test::through(&[from, to]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(text: &str) -> Option<(String, String)> {
        Span::parse(text).map(|span| (Micros(span.low).to_instant(), Micros(span.high).to_instant()))
    }

    #[test]
    fn precision_decides_the_range() {
        let cases = [
            ("2012", "2012-01-01T00:00:00.000000Z", "2012-12-31T23:59:59.999999Z"),
            ("2012-02", "2012-02-01T00:00:00.000000Z", "2012-02-29T23:59:59.999999Z"),
            ("1969-07-20", "1969-07-20T00:00:00.000000Z", "1969-07-20T23:59:59.999999Z"),
            ("2013-01-14T10:00", "2013-01-14T10:00:00.000000Z", "2013-01-14T10:00:59.999999Z"),
            ("2013-01-14T10:00:05-05:00", "2013-01-14T15:00:05.000000Z", "2013-01-14T15:00:05.999999Z"),
            ("2013-01-14T10:00:05.25+01:00", "2013-01-14T09:00:05.250000Z", "2013-01-14T09:00:05.259999Z"),
        ];
        for (text, low, high) in cases {
            assert_eq!(span(text), Some((low.into(), high.into())), "{text}");
        }
    }

    #[test]
    fn what_is_no_date_is_refused() {
        let texts =
            ["", "12", "2012-13", "2012-02-30", "2012-1-1", "2012-01-01T", "2012-01-01T25:00", "2012T10:00", "0000"];
        for text in texts.into_iter().chain([
            "2012-01-01T10",
            "2012-01-01T10:00:00.",
            "2012-01-01T10:00+15:00",
            "abc",
            "2012-01-01-01",
        ]) {
            assert_eq!(Span::parse(text), None, "{text}");
        }
    }
}

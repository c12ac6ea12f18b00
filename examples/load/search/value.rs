//! What an element holds, read plainly: texts, codes, spans of time, amounts, references. And the comparisons of
//! <https://hl7.org/fhir/R4/search.html#prefix>. Shares no code with the server's search.

use jiff::civil::Date;
use jiff::tz::Offset;
use pharos::fhir::tree::Value;
use rust_decimal::Decimal;
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

type Tree = Value<'static>;

/// The parts of a `HumanName`, an `Address`, or a string.
pub fn texts(value: &Tree) -> Vec<&str> {
    const PARTS: [&str; 10] =
        ["text", "family", "given", "prefix", "suffix", "line", "city", "district", "state", "postalCode"];
    if let Some(text) = value.as_str() {
        return vec![text];
    }
    let parts = PARTS.iter().chain(&["country"]).filter_map(|name| value.get(name));
    parts.flat_map(Value::items).filter_map(Value::as_str).collect()
}

/// Without case, accents, punctuation and extra blanks.
pub fn folded(text: &str) -> String {
    let plain: String = text
        .nfkd()
        .filter(|char| !is_combining_mark(*char))
        .filter(|char| char.is_alphanumeric() || char.is_whitespace())
        .flat_map(char::to_lowercase)
        .collect();
    plain.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A code with its system. A `code` has a system that is not written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code<'v> {
    pub system: Option<&'v str>,
    pub text: &'v str,
    /// Whether the system can be told from the element.
    pub has_system: bool,
}

/// The codes of a primitive, `Coding`, `CodeableConcept`, `Identifier` or `ContactPoint`.
pub fn codes(value: &Tree) -> Vec<Code<'_>> {
    match value {
        Value::String(code) => vec![Code { system: None, text: code, has_system: false }],
        Value::Bool(value) => {
            vec![Code { system: None, text: if *value { "true" } else { "false" }, has_system: false }]
        }
        Value::Object(object) => {
            if let Some(codings) = object.get("coding") {
                return codings.items().iter().flat_map(codes).collect();
            }
            let system = object.str("system");
            let has_system = system.is_none_or(|system| system.contains(':'));
            let text = object.str("code").or_else(|| object.str("value"));
            text.map(|text| Code { system, text, has_system }).into_iter().collect()
        }
        _ => Vec::new(),
    }
}

/// `Type/id` of a reference to a resource of this server.
pub fn reference(value: &Tree) -> Option<&str> {
    let text = value.get("reference").and_then(Value::as_str)?;
    let is_local = text.matches('/').count() == 1 && text.starts_with(|first: char| first.is_ascii_uppercase());
    is_local.then_some(text)
}

/// A span of time: the first and the last microsecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    pub low: i64,
    pub high: i64,
}

const DAY: i64 = 86_400_000_000;

impl Span {
    /// A `date`, `dateTime` or `instant`.
    pub fn parse(text: &str) -> Option<Self> {
        if text.contains('T') {
            let low = text.parse::<jiff::Timestamp>().ok()?.as_microsecond();
            let fraction =
                text.split_once('.').map_or(0, |(_, rest)| rest.bytes().take_while(u8::is_ascii_digit).count());
            let width = 10_i64.pow(6_u32.saturating_sub(u32::try_from(fraction).ok()?));
            return Some(Self { low, high: low + width - 1 });
        }
        let mut parts = text.split('-');
        let year: i16 = parts.next()?.parse().ok()?;
        let month: Option<i8> = parts.next().map(|part| part.parse().ok()).map_or(Some(None), |part| part.map(Some))?;
        let day: Option<i8> = parts.next().map(|part| part.parse().ok()).map_or(Some(None), |part| part.map(Some))?;
        let first = Date::new(year, month.unwrap_or(1), day.unwrap_or(1)).ok()?;
        let days = match (month, day) {
            (_, Some(_)) => 1,
            (Some(_), None) => i64::from(first.days_in_month()),
            (None, None) => i64::from(first.days_in_year()),
        };
        let low = Offset::UTC.to_timestamp(first.to_datetime(jiff::civil::Time::midnight())).ok()?.as_microsecond();
        Some(Self { low, high: low + days * DAY - 1 })
    }

    /// Of an element; `None` also for what is not read here (`Timing`).
    pub fn of(value: &Tree) -> Option<Self> {
        if let Some(text) = value.as_str() {
            return Self::parse(text);
        }
        let bound = |name| value.get(name).and_then(Value::as_str).map(Self::parse);
        match (bound("start"), bound("end")) {
            (None, None) | (Some(None), _) | (_, Some(None)) => None,
            (start, end) => Some(Self {
                low: start.flatten().map_or(i64::MIN, |start| start.low),
                high: end.flatten().map_or(i64::MAX, |end| end.high),
            }),
        }
    }

    /// Whether `prefix` is true of this span in a query and that of a resource; `None` where the specification leaves it open.
    pub fn compare(self, prefix: &str, found: Self, now: i64) -> Option<bool> {
        let within = self.low <= found.low && found.high <= self.high;
        Some(match prefix {
            "ne" => !within,
            "gt" => found.high > self.high,
            "lt" => found.low < self.low,
            "ge" => found.high > self.high || within,
            "le" => found.low < self.low || within,
            "sa" => found.low > self.high,
            "eb" => found.high < self.low,
            "ap" => {
                let meets = |span: Self| found.low <= span.high && span.low <= found.high;
                let slack = |bound: i64| now.saturating_sub(bound).saturating_abs() / 9 + DAY;
                let wide = Self { low: self.low - slack(self.low), high: self.high + slack(self.high) };
                return if meets(self) { Some(true) } else { (!meets(wide)).then_some(false) };
            }
            _ => within,
        })
    }
}

/// A number with the range that its written precision implies, and its unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Amount<'v> {
    pub value: Decimal,
    half: Decimal,
    pub unit: Option<(&'v str, &'v str)>,
}

impl<'v> Amount<'v> {
    pub fn parse(text: &str, unit: Option<(&'v str, &'v str)>) -> Option<Self> {
        let value = text.parse::<Decimal>().ok()?;
        Some(Self { value, half: Decimal::new(5, value.scale() + 1), unit })
    }

    /// Of a `Quantity` or a number; `None` for anything else.
    pub fn of(value: &'v Tree) -> Option<Self> {
        if let Value::Number(text) = value {
            return Self::parse(text, None);
        }
        let Some(Value::Number(number)) = value.get("value") else { return None };
        if value.get("comparator").is_some() {
            return None;
        }
        let text = |name| value.get(name).and_then(Value::as_str);
        Self::parse(number, text("system").zip(text("code")))
    }

    /// See [`Span::compare`].
    pub fn compare(&self, prefix: &str, found: &Self) -> Option<bool> {
        match (self.unit, found.unit) {
            (Some(wanted), Some(unit)) if wanted == unit => {}
            // Perhaps of another unit of the same measure.
            (Some((wanted, _)), Some((system, _))) if wanted == system => return None,
            (Some(_), _) => return Some(false),
            (None, _) => {}
        }
        let ends = |amount: &Self| (amount.value - amount.half, amount.value + amount.half);
        let ((low, high), (from, to)) = (ends(self), ends(found));
        let within = low <= from && to <= high;
        Some(match prefix {
            "ne" => !within,
            "gt" | "sa" => found.value > self.value,
            "lt" | "eb" => found.value < self.value,
            "ge" => found.value >= self.value,
            "le" => found.value <= self.value,
            "ap" => {
                let distance = (found.value - self.value).abs();
                let tenth = self.value.abs() / Decimal::TEN;
                let slack = tenth + self.half + found.half;
                return if distance <= tenth { Some(true) } else { (distance > slack).then_some(false) };
            }
            _ => within,
        })
    }
}

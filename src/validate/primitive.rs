//! The formats of primitive types, by hand since they run for every value of every write.
//! <https://hl7.org/fhir/R4/datatypes.html#primitive>; a test compares them with the regexes there.

use crate::fhir::definitions::Primitive;
use crate::fhir::tree::Value;

/// The length of a `string`, in bytes, may not be more.
const STRING_MAX: usize = 1024 * 1024;

/// Why a value is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) code: &'static str,
    pub(super) message: &'static str,
}

const fn kind(message: &'static str) -> Problem {
    Problem { code: "structure", message }
}

const fn format(message: &'static str) -> Problem {
    Problem { code: "value", message }
}

/// Whether a JSON value is one of this primitive type.
pub(super) fn check(primitive: Primitive, value: &Value<'_>) -> Result<(), Problem> {
    match (primitive, value) {
        (_, Value::Null) => Err(kind("A null is allowed only as a place holder in an array of primitives.")),
        (Primitive::Boolean, Value::Bool(_)) | (Primitive::Decimal, Value::Number(_)) => Ok(()),
        (Primitive::Boolean, _) => Err(kind("This element must be true or false.")),
        (Primitive::Integer, Value::Number(text)) => integer(text, i32::MIN),
        (Primitive::UnsignedInt, Value::Number(text)) => integer(text, 0),
        (Primitive::PositiveInt, Value::Number(text)) => integer(text, 1),
        (Primitive::Decimal | Primitive::Integer | Primitive::UnsignedInt | Primitive::PositiveInt, _) => {
            Err(kind("This element must be a number."))
        }
        (_, Value::String(text)) if text.is_empty() => Err(format("A string must not be empty.")),
        (primitive, Value::String(text)) => string(primitive, text),
        _ => Err(kind("This element must be a string.")),
    }
}

fn string(primitive: Primitive, text: &str) -> Result<(), Problem> {
    let (is_fine, message) = match primitive {
        Primitive::String | Primitive::Markdown => return free_text(text),
        Primitive::Code => (is_code(text), "A code has no blanks at its ends and only single ones inside."),
        Primitive::Id => (is_id(text), "An id has 1 to 64 letters, digits, `-` and `.`."),
        Primitive::Uri | Primitive::Url | Primitive::Canonical => (is_uri(text), "A URI must not have blanks."),
        Primitive::Oid => (is_oid(text), "An OID is written as `urn:oid:` and numbers with dots between them."),
        Primitive::Uuid => {
            (is_uuid(text), "A UUID is written as `urn:uuid:` and small hexadecimal digits, 8-4-4-4-12.")
        }
        Primitive::Date => (is_date(text), "A date is YYYY, YYYY-MM or YYYY-MM-DD, and exists."),
        Primitive::DateTime => (
            is_date_time(text),
            "A dateTime is a date that exists, and if it has a time, seconds and a time zone with it.",
        ),
        Primitive::Instant => {
            (is_instant(text), "An instant is a date that exists, a time with seconds, and a time zone.")
        }
        Primitive::Time => (is_time(text), "A time is hh:mm:ss, maybe with a fraction of a second."),
        Primitive::Base64Binary => (is_base64(text), "This is not base64."),
        // Its content is checked as a narrative; numbers and booleans are no strings.
        Primitive::Xhtml => (true, ""),
        _ => (false, "This element must not be a string."),
    };
    if is_fine { Ok(()) } else { Err(format(message)) }
}

fn integer(text: &str, min: i32) -> Result<(), Problem> {
    match text.parse::<i32>() {
        Ok(number) if number >= min => Ok(()),
        _ => Err(format(match min {
            1 => "This element must be an integer from 1 to 2147483647.",
            0 => "This element must be an integer from 0 to 2147483647.",
            _ => "This element must be an integer from -2147483648 to 2147483647.",
        })),
    }
}

fn free_text(text: &str) -> Result<(), Problem> {
    if text.len() > STRING_MAX {
        return Err(Problem { code: "too-long", message: "A string may be at most 1 MiB long." });
    }
    if text.bytes().all(|byte| byte.is_ascii_whitespace()) {
        return Err(format("A string must have more than blanks."));
    }
    if text.bytes().any(|byte| matches!(byte, b'\x0b' | b'\x0c')) {
        return Err(format("A string must not have form feeds or vertical tabs."));
    }
    Ok(())
}

pub(super) fn is_code(text: &str) -> bool {
    // Blank before the first letter, too, so that one at the start counts as a second.
    let mut was_blank = true;
    for byte in text.bytes() {
        let is_blank = is_blank(byte);
        if is_blank && was_blank {
            return false;
        }
        was_blank = is_blank;
    }
    !was_blank
}

const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\x0b' | b'\x0c' | b'\r')
}

pub(super) fn is_id(text: &str) -> bool {
    matches!(text.len(), 1..=64) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
}

pub(super) fn is_uri(text: &str) -> bool {
    !text.bytes().any(is_blank)
}

pub(super) fn is_oid(text: &str) -> bool {
    let Some((first, rest)) = text.strip_prefix("urn:oid:").and_then(|text| text.split_once('.')) else { return false };
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let is_arc = |part: &str| is_number(part) && (part == "0" || !part.starts_with('0'));
    matches!(first, "0" | "1" | "2") && rest.split('.').all(is_arc)
}

pub(super) fn is_uuid(text: &str) -> bool {
    let Some(text) = text.strip_prefix("urn:uuid:") else { return false };
    let is_right = |(n, byte): (usize, u8)| match n {
        8 | 13 | 18 | 23 => byte == b'-',
        _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
    };
    text.len() == 36 && text.bytes().enumerate().all(is_right)
}

fn is_base64(text: &str) -> bool {
    let (mut letters, mut padding) = (0_usize, 0_usize);
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'+' | b'/' if padding == 0 => letters += 1,
            b'=' => padding += 1,
            byte if is_blank(byte) => {}
            _ => return false,
        }
    }
    letters > 0 && padding <= 2 && (letters + padding) % 4 == 0
}

/// The bytes of a date or time that are yet to be read.
struct Cursor<'t>(&'t [u8]);

impl Cursor<'_> {
    fn eat(&mut self, byte: u8) -> bool {
        match self.0.split_first() {
            Some((first, rest)) if *first == byte => {
                self.0 = rest;
                true
            }
            _ => false,
        }
    }

    /// A number of exactly so many digits.
    fn number(&mut self, digits: usize) -> Option<u32> {
        let (number, rest) = self.0.split_at_checked(digits)?;
        self.0 = rest;
        number.iter().try_fold(0, |value, byte| byte.is_ascii_digit().then(|| value * 10 + u32::from(byte - b'0')))
    }

    const fn is_at_end(&self) -> bool {
        self.0.is_empty()
    }

    /// How many of year, month and day there are; `None` where they are no date.
    fn date(&mut self) -> Option<u32> {
        let year = self.number(4).filter(|year| *year > 0)?;
        if !self.eat(b'-') {
            return Some(1);
        }
        let month = self.number(2).filter(|month| matches!(month, 1..=12))?;
        if !self.eat(b'-') {
            return Some(2);
        }
        let day = self.number(2)?;
        (1..=days(year, month)).contains(&day).then_some(3)
    }

    /// Hours, minutes, seconds (60 for a leap second) and their fraction.
    fn time(&mut self) -> Option<()> {
        self.number(2).filter(|hour| *hour < 24)?;
        self.eat(b':').then_some(())?;
        self.number(2).filter(|minute| *minute < 60)?;
        self.eat(b':').then_some(())?;
        self.number(2).filter(|second| *second <= 60)?;
        if self.eat(b'.') {
            let digits = self.0.iter().take_while(|byte| byte.is_ascii_digit()).count();
            self.0 = self.0.get(digits..).filter(|_| digits > 0)?;
        }
        Some(())
    }

    /// `Z`, or hours and minutes up to 14:00.
    fn zone(&mut self) -> Option<()> {
        if self.eat(b'Z') {
            return Some(());
        }
        (self.eat(b'+') || self.eat(b'-')).then_some(())?;
        let hours = self.number(2)?;
        self.eat(b':').then_some(())?;
        let minutes = self.number(2).filter(|minutes| *minutes < 60)?;
        (hours < 14 || (hours == 14 && minutes == 0)).then_some(())
    }
}

const fn days(year: u32, month: u32) -> u32 {
    match month {
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

pub(super) fn is_date(text: &str) -> bool {
    let mut cursor = Cursor(text.as_bytes());
    cursor.date().is_some() && cursor.is_at_end()
}

pub(super) fn is_date_time(text: &str) -> bool {
    let mut cursor = Cursor(text.as_bytes());
    match cursor.date() {
        Some(3) if cursor.eat(b'T') => cursor.time().is_some() && cursor.zone().is_some() && cursor.is_at_end(),
        Some(_) => cursor.is_at_end(),
        None => false,
    }
}

pub(super) fn is_instant(text: &str) -> bool {
    text.contains('T') && is_date_time(text)
}

pub(super) fn is_time(text: &str) -> bool {
    let mut cursor = Cursor(text.as_bytes());
    cursor.time().is_some() && cursor.is_at_end()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use regex::Regex;

    /// The regexes of R4 for the types whose format is more than a few letters, made to match whole texts.
    fn regex_of(primitive: Primitive) -> Regex {
        let date = "([0-9]([0-9]([0-9][1-9]|[1-9]0)|[1-9]00)|[1-9]000)(-(0[1-9]|1[0-2])(-(0[1-9]|[1-2][0-9]|3[0-1])";
        let time = r"([01][0-9]|2[0-3]):[0-5][0-9]:([0-5][0-9]|60)(\.[0-9]+)?";
        let zone = r"(Z|(\+|-)((0[0-9]|1[0-3]):[0-5][0-9]|14:00))";
        let text = match primitive {
            Primitive::Date => format!("{date})?)?"),
            Primitive::DateTime => format!("{date}(T{time}{zone})?)?)?"),
            Primitive::Instant => format!("{date})(T{time}{zone}))"),
            Primitive::Time => time.to_owned(),
            Primitive::Id => r"[A-Za-z0-9\-\.]{1,64}".to_owned(),
            Primitive::Oid => r"urn:oid:[0-2](\.(0|[1-9][0-9]*))+".to_owned(),
            Primitive::Uuid => "urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}".to_owned(),
            Primitive::Code => r"[^ \t\n\x0B\f\r]+([ \t\n\x0B\f\r][^ \t\n\x0B\f\r]+)*".to_owned(),
            Primitive::Uri => r"[^ \t\n\x0B\f\r]+".to_owned(),
            _ => unreachable!("no such case below"),
        };
        Regex::new(&format!("^(?:{text})$")).unwrap()
    }

    const COMPARED: [Primitive; 9] = [
        Primitive::Date,
        Primitive::DateTime,
        Primitive::Instant,
        Primitive::Time,
        Primitive::Id,
        Primitive::Oid,
        Primitive::Uuid,
        Primitive::Code,
        Primitive::Uri,
    ];

    /// Texts that are nearly right: valid ones with a few letters changed, taken out or put in.
    fn nearly() -> impl Strategy<Value = String> {
        let whole = prop::sample::select(vec![
            "2024-02-28T23:59:60.125+14:00",
            "1999-12-28T00:00:00Z",
            "2000-01",
            "2015",
            "12:30:59.1",
            "urn:oid:2.16.840.0.1",
            "urn:uuid:c757873d-ec9a-4326-a141-556f43239520",
            "final b",
            "a-b.C9",
        ]);
        let edits =
            prop::collection::vec((0_usize..48, prop::sample::select(b"0123456789-:.TZ+ aF\t".to_vec()), 0..3), 0..4);
        (whole, edits).prop_map(|(whole, edits)| {
            let mut bytes = whole.as_bytes().to_vec();
            for (at, byte, edit) in edits {
                let at = at % bytes.len().max(1);
                match edit {
                    0 => bytes.insert(at, byte),
                    1 if !bytes.is_empty() => bytes[at] = byte,
                    _ if !bytes.is_empty() => drop(bytes.remove(at)),
                    _ => {}
                }
            }
            String::from_utf8(bytes).unwrap()
        })
    }

    #[test]
    fn hand_checks_agree_with_the_regexes() {
        let regexes = COMPARED.map(|primitive| (primitive, regex_of(primitive)));
        let is_real_day = |text: &str| jiff::civil::Date::strptime("%Y-%m-%d", text.get(..10).unwrap_or("")).is_ok();
        proptest!(ProptestConfig::with_cases(5000), |(text in nearly())| {
            for (primitive, regex) in &regexes {
                let dated = matches!(primitive, Primitive::Date | Primitive::DateTime | Primitive::Instant);
                let expected = regex.is_match(&text) && (!dated || text.len() < 10 || is_real_day(&text));
                let found = check(*primitive, &Value::from(text.as_str())).is_ok();
                prop_assert_eq!(found, expected, "{:?} {:?}", primitive, text);
            }
        });
    }

    #[test]
    fn dates_exist() {
        for text in ["2024-02-29", "2000-02-29", "1900-02-28", "2023-12-31", "0001-01-01"] {
            assert!(is_date(text), "{text}");
        }
        for text in ["2023-02-29", "1900-02-29", "2024-13", "2024-00-01", "2024-04-31", "0000", "2024-1-1", "2024-", ""]
        {
            assert!(!is_date(text), "{text}");
        }
        assert!(
            !is_instant("2024-02-29") && !is_instant("2024-02-29T12:00:00") && is_instant("2024-02-29T12:00:00-05:00")
        );
        assert!(
            !is_date_time("2024-02T12:00:00Z") && !is_date_time("2024-02-29T12:00Z") && !is_date_time("2024-02-29T")
        );
    }

    #[test]
    fn numbers_stay_in_their_bounds() {
        let fine = |primitive, text: &str| check(primitive, &Value::Number(text.into())).is_ok();
        assert!(
            fine(Primitive::Integer, "-2147483648") && fine(Primitive::Integer, "0") && fine(Primitive::Integer, "-0")
        );
        assert!(
            !fine(Primitive::Integer, "2147483648")
                && !fine(Primitive::Integer, "1.0")
                && !fine(Primitive::Integer, "1e1")
        );
        assert!(fine(Primitive::UnsignedInt, "0") && !fine(Primitive::UnsignedInt, "-1"));
        assert!(fine(Primitive::PositiveInt, "1") && !fine(Primitive::PositiveInt, "0"));
        assert!(
            fine(Primitive::Decimal, "-1.50e-3") && !fine(Primitive::Boolean, "1") && !fine(Primitive::String, "1")
        );
    }

    #[test]
    fn texts() {
        let fine = |primitive, text: &str| check(primitive, &Value::from(text)).is_ok();
        assert!(fine(Primitive::String, " a\n") && !fine(Primitive::String, " \n") && !fine(Primitive::String, ""));
        assert!(!fine(Primitive::String, "a\u{c}") && !fine(Primitive::Decimal, "1.0"));
        let long = "a".repeat(STRING_MAX);
        assert!(fine(Primitive::String, &long) && !fine(Primitive::String, &(long + "a")));
        for text in ["QQ==", "QUI=", "QUJD", "QU JD\nQUJD"] {
            assert!(fine(Primitive::Base64Binary, text), "{text}");
        }
        for text in ["Q", "QQ=", "=QQQ", "Q===", "QQ=Q", "====", "Q*==", " "] {
            assert!(!fine(Primitive::Base64Binary, text), "{text}");
        }
    }
}

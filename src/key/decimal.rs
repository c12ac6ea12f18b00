//! Decimals: exact, with the range that their written precision implies, in bytes that sort as numbers.

use super::bytes::END;

/// More digits than this are cut off: nothing in a resource is measured so finely.
const MAX_DIGITS: u32 = 36;
/// Greater magnitudes than ten to this power count as infinite, smaller ones as zero.
const MAX_EXPONENT: i32 = 8000;

/// An exact decimal, `mantissa × 10^exponent`, that remembers how precisely it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decimal {
    /// All written digits, with the sign.
    pub mantissa: i128,
    /// The power of ten of the last written digit.
    pub exponent: i32,
}

/// One end of a range of numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// Below every number.
    Least,
    /// A number.
    At(Decimal),
    /// Above every number.
    Greatest,
}

impl Decimal {
    /// Reads a number as JSON or a query writes it; `None` where it is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (number, power) = text.split_once(['e', 'E']).map_or(Some((text, 0)), |(number, power)| {
            let digits = power.strip_prefix(['+', '-']).unwrap_or(power);
            let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
            let clamped = if power.starts_with('-') { -2 * MAX_EXPONENT } else { 2 * MAX_EXPONENT };
            plain.then(|| (number, power.parse().unwrap_or(clamped).clamp(-2 * MAX_EXPONENT, 2 * MAX_EXPONENT)))
        })?;
        let unsigned = number.strip_prefix(['-', '+']).unwrap_or(number);
        let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, "0"));
        if whole.is_empty() || fraction.is_empty() {
            return None;
        }
        let fraction = if unsigned.contains('.') { fraction } else { "" };
        let mut value = Self { mantissa: 0, exponent: power };
        for (index, digit) in whole.chars().chain(fraction.chars()).enumerate() {
            let is_fraction = index >= whole.len();
            value.add_digit(i128::from(digit.to_digit(10)?), is_fraction);
        }
        if number.starts_with('-') {
            value.mantissa = -value.mantissa;
        }
        Some(value)
    }

    fn add_digit(&mut self, digit: i128, is_fraction: bool) {
        if self.mantissa < 10_i128.pow(MAX_DIGITS - 1) {
            self.mantissa = self.mantissa * 10 + digit;
            self.exponent -= i32::from(is_fraction);
        } else {
            self.exponent = self.exponent.saturating_add(i32::from(!is_fraction));
        }
    }

    /// The nearest floating-point number.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "the nearest one is meant")]
    pub fn to_f64(self) -> f64 {
        self.mantissa as f64 * 10_f64.powi(self.exponent)
    }

    /// The range that the written precision implies: half a unit of the last digit to both sides.
    #[must_use]
    pub const fn implied(self) -> (Self, Self) {
        let (mantissa, exponent) = (self.mantissa.saturating_mul(10), self.exponent.saturating_sub(1));
        (
            Self { mantissa: mantissa.saturating_sub(5), exponent },
            Self { mantissa: mantissa.saturating_add(5), exponent },
        )
    }

    /// The range of a tenth of the value to both sides, for `ap`.
    #[must_use]
    pub const fn around(self) -> (Self, Self) {
        let exponent = self.exponent.saturating_sub(1);
        let tenth = self.mantissa.saturating_abs();
        let whole = self.mantissa.saturating_mul(10);
        (
            Self { mantissa: whole.saturating_sub(tenth), exponent },
            Self { mantissa: whole.saturating_add(tenth), exponent },
        )
    }
}

/// Appends a limit in bytes that sort as numbers do and end in [`END`], which they do not hold elsewhere.
pub fn sortable(out: &mut Vec<u8>, limit: Limit) {
    match limit {
        Limit::Least => out.push(1),
        Limit::Greatest => out.push(5),
        Limit::At(number) => finite(out, number),
    }
    out.push(END);
}

/// A sign byte; the power of ten of the first digit; the digits in pairs. Those of negative numbers are turned over.
fn finite(out: &mut Vec<u8>, number: Decimal) {
    let mut digits = number.mantissa.unsigned_abs().to_string();
    let power = number.exponent.saturating_add(i32::try_from(digits.len()).unwrap_or(0)) - 1;
    digits.truncate(digits.trim_end_matches('0').len());
    if digits.is_empty() || power < -MAX_EXPONENT {
        return out.push(3);
    }
    let negative = number.mantissa < 0;
    if power > MAX_EXPONENT {
        return out.push(if negative { 1 } else { 5 });
    }
    out.push(if negative { 2 } else { 4 });
    let start = out.len();
    let biased = power + 8192;
    out.extend([biased >> 7, biased & 0x7F].map(|half| u8::try_from(half + 0x40).unwrap_or(u8::MAX)));
    for pair in digits.as_bytes().chunks(2) {
        let tens = pair.first().map_or(0, |digit| digit - b'0');
        let units = pair.get(1).map_or(0, |digit| digit - b'0');
        out.push(tens * 10 + units + 1);
    }
    if negative {
        out.iter_mut().skip(start).for_each(|byte| *byte = u8::MAX - *byte);
        out.push(u8::MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bytes(text: &str) -> Vec<u8> {
        let mut out = Vec::new();
        sortable(&mut out, Limit::At(Decimal::parse(text).unwrap()));
        out
    }

    #[test]
    fn bytes_sort_as_numbers_and_ignore_precision() {
        let sorted =
            ["-1e9000", "-1e20", "-10.5", "-10", "-1", "-0.5", "-1e-30", "0", "1e-7000", "0.001", "0.01", "1", "1.1"];
        let more = ["9", "10", "10.0000001", "99", "100", "1e20", "1e7000"];
        let all: Vec<_> = sorted.iter().chain(&more).map(|text| bytes(text)).collect();
        assert!(all.is_sorted_by(|a, b| a < b));
        assert!(all.iter().all(|bytes| bytes.iter().position(|byte| *byte == END) == Some(bytes.len() - 1)));
        assert_eq!(bytes("1.00"), bytes("1"));
        assert_eq!(bytes("100e-2"), bytes("0.1E1"));
        assert_eq!(bytes("-0.00"), bytes("0"));
    }

    #[test]
    fn precision_implies_a_range() {
        let range = |text: &str| {
            let (low, high) = Decimal::parse(text).unwrap().implied();
            [low, high].map(|limit| (limit.mantissa, limit.exponent))
        };
        assert_eq!(range("100"), [(995, -1), (1005, -1)]);
        assert_eq!(range("100.00"), [(99995, -3), (100_005, -3)]);
        assert_eq!(range("1e2"), [(5, 1), (15, 1)]);
        assert_eq!(range("0"), [(-5, -1), (5, -1)]);
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for text in ["", "abc", "1.", ".5", "1e", "1e+", "--1", "1,5", "0x1", "1 ", "e5", "1.2.3", "١"] {
            assert_eq!(Decimal::parse(text), None, "{text}");
        }
        assert!(Decimal::parse(&"9".repeat(5000)).is_some());
    }

    proptest! {
        #[test]
        fn order_is_that_of_the_numbers(a in -1_000_000_i64..1_000_000, b in -1_000_000_i64..1_000_000, scale in 0_u32..9) {
            let text = |n: i64| format!("{n}e-{scale}");
            prop_assert_eq!(bytes(&text(a)).cmp(&bytes(&text(b))), a.cmp(&b));
        }
    }
}

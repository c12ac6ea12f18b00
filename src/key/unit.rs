//! Units of measure in UCUM's base units, so that 5.4 mg/dL and 0.054 g/L meet.
//!
//! <https://ucum.org/ucum>

use super::decimal::Decimal;
use octofhir_ucum::Number;
use rustc_hash::FxHashMap;
use std::sync::{Arc, LazyLock, RwLock};

/// The system of UCUM's codes.
pub const UCUM: &str = "http://unitsofmeasure.org";
/// So many units are remembered; what comes after is worked out each time.
const MAX_REMEMBERED: usize = 4096;
/// Longer codes are no units.
const MAX_CODE_LEN: usize = 100;

/// How a unit is expressed in base units: `value × factor + offset` of `unit`.
#[derive(Debug)]
pub struct Base {
    /// The base units.
    pub unit: String,
    factor: Number,
    offset: Number,
}

type Remembered = FxHashMap<Box<str>, Option<Arc<Base>>>;

static REMEMBERED: LazyLock<RwLock<Remembered>> = LazyLock::new(RwLock::default);

/// The base units of a UCUM code; `None` where it is none, or has no linear way there (`[pH]`).
#[must_use]
pub fn base(code: &str) -> Option<Arc<Base>> {
    if let Ok(remembered) = REMEMBERED.read()
        && let Some(known) = remembered.get(code)
    {
        return known.clone();
    }
    if code.len() > MAX_CODE_LEN {
        return None;
    }
    let found = octofhir_ucum::get_canonical_units(code).ok();
    let found = found.map(|base| Arc::new(Base { unit: base.unit, factor: base.factor, offset: base.offset }));
    if let Ok(mut remembered) = REMEMBERED.write()
        && remembered.len() < MAX_REMEMBERED
    {
        remembered.insert(code.into(), found.clone());
    }
    found
}

impl Base {
    /// The same amount in base units; `None` where it does not fit.
    #[must_use]
    pub fn convert(&self, value: Decimal) -> Option<Decimal> {
        let number = match i64::try_from(value.mantissa) {
            Ok(mantissa) => Number::from_i64(mantissa).checked_mul(Number::power_of_ten(value.exponent))?,
            Err(_) => Number::parse(&format!("{}e{}", value.mantissa, value.exponent))?,
        };
        let (mantissa, exponent) = number.checked_mul(self.factor)?.checked_add(self.offset)?.to_integer_and_exponent();
        Some(Decimal { mantissa, exponent })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_base(text: &str, code: &str) -> (String, i128, i32) {
        let base = base(code).unwrap();
        let value = base.convert(Decimal::parse(text).unwrap()).unwrap();
        (base.unit.clone(), value.mantissa, value.exponent)
    }

    #[test]
    fn the_same_amount_is_the_same_in_base_units() {
        assert_eq!(in_base("5.4", "mg/dL"), in_base("0.054", "g/L"));
        assert_eq!(in_base("1.85", "m"), in_base("185", "cm"));
        assert_eq!(in_base("37", "Cel"), in_base("310.15", "K"));
        assert_eq!(in_base("-40", "[degF]"), in_base("-40", "Cel"));
        assert!(base("no such unit").is_none() && base("[pH]").is_none());
    }
}

//! Required bindings. <https://hl7.org/fhir/R4/terminologies.html#required>
//!
//! A value set that can't be enumerated from what is embedded (MIME types, currencies, UCUM) is not checked here.

use super::{Check, Path};
use crate::fhir::definitions::{self, Element, ValueSet};
use crate::fhir::tree::{Object, Value};

impl Check<'_> {
    pub(super) fn bound_code(&mut self, code: &str, element: &'static Element, path: &Path<'_>) {
        if value_set(element).and_then(|value_set| value_set.contains_code(code)) == Some(false) {
            self.not_in_value_set(element, path);
        }
    }

    /// A `CodeableConcept`, whose codings need one in the value set, if there are any; a `Coding`; a `Quantity`.
    pub(super) fn bound_concept(&mut self, object: &Object<'_>, element: &'static Element, path: &Path<'_>) {
        let Some(value_set) = value_set(element) else { return };
        let is_in = |coding: &Object<'_>| {
            let (system, code) = (coding.str("system").unwrap_or_default(), coding.str("code").unwrap_or_default());
            value_set.contains(system, code) != Some(false)
        };
        let is_fine = match object.get("coding") {
            Some(codings) => codings.items().iter().filter_map(Value::as_object).any(is_in),
            None => object.get("code").is_none() || is_in(object),
        };
        if !is_fine {
            self.not_in_value_set(element, path);
        }
    }

    fn not_in_value_set(&mut self, element: &Element, path: &Path<'_>) {
        let url = element.required_binding.unwrap_or_default();
        self.issue("code-invalid", format!("The code is not in the required value set {url}."), path);
    }
}

fn value_set(element: &Element) -> Option<&'static ValueSet> {
    definitions::r4().value_set(element.required_binding?)
}

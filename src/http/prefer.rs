//! The header `Prefer`.
//!
//! RFC 7240; <https://hl7.org/fhir/R4/http.html#ops>, <https://hl7.org/fhir/R4/search.html#errors>,
//! <https://hl7.org/fhir/R4/async.html>.

use crate::config::Handling;
use crate::interaction::Return;

/// The preferences of a request that the server knows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Prefer {
    /// `return=…`
    pub returning: Option<Return>,
    /// `handling=…`
    pub handling: Option<Handling>,
    /// `respond-async`
    pub respond_async: bool,
}

impl Prefer {
    /// Reads all `Prefer` headers of a request. The first mention of a preference counts; unknown ones are ignored, as RFC
    /// 7240 says. Clients separate preferences with commas and, wrongly, with semicolons: both are understood.
    pub fn parse<'h>(headers: impl IntoIterator<Item = &'h str>) -> Self {
        let mut prefer = Self::default();
        for preference in headers.into_iter().flat_map(|header| header.split([',', ';'])) {
            let (name, value) = preference.split_once('=').unwrap_or((preference, ""));
            let value = value.trim().trim_matches('"').to_ascii_lowercase();
            match name.trim().to_ascii_lowercase().as_str() {
                "return" => prefer.returning = prefer.returning.or_else(|| returning(&value)),
                "handling" => prefer.handling = prefer.handling.or_else(|| handling(&value)),
                "respond-async" => prefer.respond_async = true,
                _ => {}
            }
        }
        prefer
    }
}

fn returning(value: &str) -> Option<Return> {
    match value {
        "minimal" => Some(Return::Minimal),
        "representation" => Some(Return::Representation),
        "operationoutcome" => Some(Return::OperationOutcome),
        _ => None,
    }
}

fn handling(value: &str) -> Option<Handling> {
    match value {
        "strict" => Some(Handling::Strict),
        "lenient" => Some(Handling::Lenient),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn preferences_are_read_in_every_spelling() {
        let all = Prefer {
            returning: Some(Return::OperationOutcome),
            handling: Some(Handling::Lenient),
            respond_async: true,
        };
        assert_eq!(Prefer::parse(["return=OperationOutcome, handling=lenient, respond-async"]), all);
        assert_eq!(Prefer::parse(["return=OperationOutcome; handling=lenient", "respond-async"]), all);
        assert_eq!(Prefer::parse(["RETURN = \"operationoutcome\" ,Handling=Lenient;Respond-Async"]), all);
    }

    #[test]
    fn the_first_counts_and_the_unknown_is_ignored() {
        let prefer = Prefer::parse(["wait=10, return=minimal", "return=representation, handling=odd"]);
        assert_eq!(prefer, Prefer { returning: Some(Return::Minimal), ..Prefer::default() });
        assert_eq!(Prefer::parse([]), Prefer::default());
        assert_eq!(Prefer::parse([""]), Prefer::default());
    }
}

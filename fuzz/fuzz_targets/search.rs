//! The query of a search: reading it ends with a query or an error, and the `self` link of a query asks for the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pharos::search::{self, Handling, Options, Query, Registry};

/// A few types that have between them parameters of every kind; `None` searches over all types.
const TYPES: [Option<&str>; 6] =
    [Some("Observation"), Some("Patient"), Some("ValueSet"), Some("RiskAssessment"), Some("Encounter"), None];

fuzz_target!(|input: (u8, bool, &str)| {
    let (choice, is_strict, text) = input;
    let type_name = TYPES[usize::from(choice) % TYPES.len()];
    let handling = if is_strict { Handling::Strict } else { Handling::Lenient };
    let options = Options { handling, base: Some("http://127.0.0.1:8080/fhir".into()), ..Options::default() };
    let pairs: Vec<_> = form_urlencoded::parse(text.as_bytes()).into_owned().collect();
    let registry = Registry::default();
    let Ok(query) = search::parse(&registry, type_name, &pairs, &options) else { return };

    let strict = Options { handling: Handling::Strict, ..options };
    let again = search::parse(&registry, type_name, search::self_pairs(&query), &strict);
    assert!(again.is_ok_and(|again| same(&query, &again)));
});

fn same(query: &Query, again: &Query) -> bool {
    query.targets == again.targets
        && query.sort == again.sort
        && query.count == again.count
        && query.includes == again.includes
        && again.dropped.is_empty()
}

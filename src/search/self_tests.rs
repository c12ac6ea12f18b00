//! What the fuzz target `search` holds, over random queries: the parameters of the `self` link make the same query again.

use super::tests::options;
use super::*;
use proptest::prelude::*;

/// A few types that have between them parameters of every kind; `None` searches over all types.
const TYPES: [Option<&str>; 6] =
    [Some("Observation"), Some("Patient"), Some("ValueSet"), Some("RiskAssessment"), Some("Encounter"), None];

/// Reads a query, and the parameters of its `self` link, which must be good where the query is.
fn is_the_same_again(type_name: Option<&str>, handling: Handling, pairs: &[(String, String)]) -> bool {
    let registry = Registry::default();
    let Ok(query) = parse(&registry, type_name, pairs, &Options { handling, ..options() }) else { return true };
    let strict = Options { handling: Handling::Strict, ..options() };
    parse(&registry, type_name, self_pairs(&query), &strict).is_ok_and(|again| {
        query.targets == again.targets
            && query.sort == again.sort
            && query.count == again.count
            && query.includes == again.includes
            && again.dropped.is_empty()
    })
}

fn name() -> impl Strategy<Value = String> {
    let known = [
        "_id",
        "_lastUpdated",
        "_sort",
        "_count",
        "_include",
        "_revinclude",
        "_has:Observation:subject:code",
        "_filter",
        "_text",
        "_type",
        "_total",
        "_summary",
        "_elements",
        "_contained",
        "name",
        "name:exact",
        "name:contains",
        "birthdate",
        "identifier",
        "identifier:of-type",
        "code",
        "code:not",
        "code:in",
        "value-quantity",
        "code-value-quantity",
        "subject",
        "subject:Patient.name",
        "patient.identifier",
        "subject:identifier",
        "date",
        "url",
        "url:below",
        "probability",
        "gender:missing",
        "near",
        "class",
    ];
    prop_oneof![8 => prop::sample::select(known.to_vec()).prop_map(str::to_owned), 1 => "[a-z_:.-]{0,12}", 1 => any::<String>()]
}

fn value() -> impl Strategy<Value = String> {
    let known = [
        "2020-02-29",
        "ge2020",
        "ap1.50",
        "5.40|http://unitsofmeasure.org|mg",
        "http://loinc.org|8867-4",
        "a,b\\,c",
        "Patient/p",
        "true",
        "-date,_id",
        "Observation:subject",
        "Patient:*",
        "name eq \"x\" and not (gender eq male)",
        "Encounter,Patient",
        "$",
        "0",
        "|",
        "--",
    ];
    prop_oneof![6 => prop::sample::select(known.to_vec()).prop_map(str::to_owned), 2 => "[a-z0-9:.,|$%\\\\-]{0,9}", 2 => any::<String>()]
}

#[test]
fn a_query_that_the_fuzzer_found_makes_itself_again() {
    let pairs = [("name".to_owned(), "\u{1}\0\0He%".to_owned())];
    for type_name in TYPES {
        for handling in [Handling::Strict, Handling::Lenient] {
            assert!(is_the_same_again(type_name, handling, &pairs), "{type_name:?} {handling:?}");
        }
    }
}

proptest! {
    #[test]
    fn a_query_makes_itself_again(
        type_name in prop::sample::select(TYPES.to_vec()), is_strict in any::<bool>(), pairs in prop::collection::vec((name(), value()), 0..4),
    ) {
        let handling = if is_strict { Handling::Strict } else { Handling::Lenient };
        prop_assert!(is_the_same_again(type_name, handling, &pairs));
    }
}

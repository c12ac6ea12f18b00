use super::super::date::{self, Span};
use super::super::expr::Expr;
use super::super::{Extractor, Prefix, prefix_of, reference, string, token, words};
use super::*;
use crate::clock::Micros;
use crate::fhir::parse::parse;
use proptest::prelude::*;

fn blind() -> Blind {
    Blind::new(hidden_by_default(), b"a key for tests")
}

fn keys(json: &str) -> KeyList {
    let tree = parse(json.as_bytes(), 64).unwrap();
    Extractor::new(Some("http://localhost/fhir")).with_content(true).keys(tree.as_object().unwrap())
}

fn under(code: &str, range: KeyRange) -> KeyRange {
    range.under(&prefix_of(code))
}

/// Whether the postings answer as the keys do: none is missed, and where they say all, none is too many.
fn agrees(type_name: &str, keys: &KeyList, range: &KeyRange) -> bool {
    let (blind, held) = (blind(), keys.any_in(range));
    let postings = blind.postings(type_name, keys);
    match blind.cover(type_name, range) {
        None => postings.any_in(range) == held,
        Some(cover) => {
            let found = cover.postings.iter().any(|range| postings.any_in(range));
            if cover.is_exact { found == held } else { found || !held }
        }
    }
}

const PERSON: &str = r#"{"resourceType":"Patient","id":"p","gender":"male","birthDate":"1980-05-17",
    "identifier":[{"system":"urn:mrn","value":"MRN-4711","type":{"text":"Chart"}}],
    "name":[{"family":"Müller-Lüdenscheidt","given":["Jo"]}],"telecom":[{"system":"phone","value":"5550815"}],
    "address":[{"line":["Elm Street 5"],"city":"Springwood"}],
    "text":{"status":"generated","div":"<div>Patient Muellerina of Springwood</div>"},
    "generalPractitioner":[{"reference":"Practitioner/d","display":"Doctor Whoever","identifier":{"value":"NPI-99"}}]}"#;

#[test]
fn nothing_that_identifies_is_left() {
    let with_inner = PERSON.replace("Patient\",\"id\"", "Patient\",\"x\":1,\"id\"");
    let outer =
        format!(r##"{{"resourceType":"Claim","id":"c","contained":[{with_inner}],"patient":{{"reference":"#p"}}}}"##);
    for (type_name, json) in [("Patient", PERSON), ("Claim", &outer)] {
        let (plain, postings) = (keys(json), blind().postings(type_name, &keys(json)));
        let texts =
            |list: &KeyList| list.iter().map(|key| String::from_utf8_lossy(key).to_lowercase()).collect::<String>();
        let (plain, postings) = (texts(&plain), texts(&postings));
        let names = ["ller", "jo\0", "4711", "555", "elm street", "springwood", "whoever", "npi-99"];
        for name in names {
            assert!(plain.contains(name), "{type_name}: {name}");
            assert!(!postings.contains(name), "{type_name}: {name}");
        }
        assert!(postings.contains("male") && postings.contains("practitioner"), "what tells nobody stays");
    }
    let born = keys(PERSON).in_range(&KeyRange::prefix(b"birthdate\0")).next().unwrap().to_vec();
    assert!(
        !blind().postings("Patient", &keys(PERSON)).iter().any(|key| key.windows(8).any(|part| *part == born[11..19]))
    );
}

#[test]
fn another_key_type_or_code_makes_other_hashes() {
    let (one, other) = (blind(), Blind::new(hidden_by_default(), b"another key"));
    let hashes = |blind: &Blind, type_name: &str, code: &str| {
        let list = KeyList::new(vec![under(code, string::matching_exact("Ann")).from]);
        blind.postings(type_name, &list).iter().map(|key| key[code.len() + 1..].to_vec()).collect::<BTreeSet<_>>()
    };
    let all = [
        hashes(&one, "Patient", "name"),
        hashes(&one, "Patient", "given"),
        hashes(&one, "Person", "name"),
        hashes(&other, "Patient", "name"),
    ];
    assert_eq!(all.each_ref().map(BTreeSet::len), [6; 4], "one for all, three starts, the folded text, the whole");
    assert_eq!(all.iter().flatten().collect::<BTreeSet<_>>().len(), 24);
}

#[test]
fn what_is_asked_exactly_is_answered_by_postings_alone() {
    let exact = |code: &str, range: KeyRange| blind().cover("Patient", &under(code, range)).map(|cover| cover.is_exact);
    assert_eq!(exact("name", string::matching_start("mul")), Some(true));
    assert_eq!(exact("name", string::matching_start("mullerl")), Some(false), "longer than what has marks");
    assert_eq!(exact("name", string::matching_folded("muller")), Some(true));
    assert_eq!(exact("identifier", token::matching_code(None, "x")), Some(true));
    assert_eq!(exact("identifier", token::matching_system("urn:mrn")), Some(true));
    assert_eq!(exact("gender", token::matching_code(None, "male")), None);
    assert_eq!(exact("general-practitioner", reference::matching_resource("Practitioner", "d")), None);
    assert_eq!(exact("general-practitioner", reference::matching_identifier(None, "npi-99")), Some(true));
    assert_eq!(exact("_text", words::matching("spri", true)), Some(false));
    assert_eq!(exact("_id", KeyRange::exactly(b"ip")), None);
    let missing =
        |code: &str| blind().cover("Patient", &KeyRange::prefix(&prefix_of(code))).map(|cover| cover.is_exact);
    assert_eq!((missing("name"), missing("general-practitioner")), (Some(true), Some(true)));
    assert!(blind().hides("Patient", b"birthdate\0l") && !blind().hides("Observation", b"date\0l"));
    assert!(!blind().hides("Observation", b"code\0t") && blind().hides("Observation", b"subject\0t"));
}

#[test]
fn of_the_ledger_is_hidden_who_acted_from_where_and_both_forms_are_looked_at() {
    let hidden: Vec<_> =
        ["agent-name\0n", "address\0n", "altid\0c", "entity-name\0e", "agent\0i", "agent\0t", "source\0t"].into();
    assert!(hidden.iter().all(|start| blind().hides(LEDGER, start.as_bytes())));
    let plain =
        ["agent\0r", "entity\0r", "patient\0r", "type\0c", "subtype\0c", "date\0l", "_lastUpdated\0", "policy\0u"];
    assert!(!plain.iter().any(|start| blind().hides(LEDGER, start.as_bytes())));
    let range = under("agent-name", string::matching_start("mul"));
    let cover = blind().cover(LEDGER, &range).unwrap();
    assert_eq!((cover.postings.len(), cover.postings.contains(&range), cover.is_exact), (2, true, true));
    let left = blind().plain_of_ledger();
    let is_left = |key: &str| left.iter().any(|range| range.holds(key.as_bytes()));
    assert!(hidden.iter().all(|start| is_left(start)) && !plain.iter().any(|start| is_left(start)));
    assert!(!is_left("agent-name\0~hash"));

    let without = Blind::new([("Patient".into(), ["name".into()].into())].into(), b"a key");
    assert!(
        !hidden.iter().any(|start| without.hides(LEDGER, start.as_bytes())) && without.plain_of_ledger().is_empty()
    );
    let listed = Blind::new([(LEDGER.into(), ["date".into(), "agent".into()].into())].into(), b"a key");
    assert!(
        !listed.hides(LEDGER, b"date\0l") && !listed.hides(LEDGER, b"agent\0r") && listed.hides(LEDGER, b"agent\0i")
    );
}

#[test]
fn uris_are_hidden_where_they_are_listed_and_references_never() {
    let listed = ["instantiates-uri", "url", "based-on"].map(Box::from);
    let hidden = [("ServiceRequest".into(), listed.into())].into();
    let blind = Blind::new(hidden, b"a key");
    let json = r#"{"resourceType":"ServiceRequest","id":"s","url":"http://e.x","instantiatesUri":["http://example.org/p/1"],
        "basedOn":[{"reference":"http://elsewhere.example/CarePlan/1","display":"Quill"}],"subject":{"reference":"Patient/p"}}"#;
    let keys = keys(json);
    let plain: Vec<_> = blind.postings("ServiceRequest", &keys).iter().map(<[u8]>::to_vec).collect();
    let has = |text: &str| plain.iter().any(|key| memchr::memmem::find(key, text.as_bytes()).is_some());
    assert!(!has("example.org/p/1") && !has("quill") && has("elsewhere.example"), "{plain:?}");
    let url = |uri: &str| under("instantiates-uri", reference::matching_uri(uri));
    let below = under("instantiates-uri", KeyRange::prefix(b"uhttp://example.org/p"));
    let whole = |code: &str| KeyRange::prefix(&prefix_of(code));
    for range in [
        url("http://example.org/p/1"),
        url("http://example.org/p/2"),
        below,
        whole("instantiates-uri"),
        whole("based-on"),
    ] {
        let cover = blind.cover("ServiceRequest", &range);
        let is_found = cover.is_none_or(|cover| {
            let found = cover.postings.iter().any(|range| plain.iter().any(|key| range.holds(key)));
            if cover.is_exact { found } else { found && keys.any_in(&range) }
        });
        assert_eq!(is_found, keys.any_in(&range), "{range:?}");
    }
    assert!(blind.hides("ServiceRequest", b"instantiates-uri\0") && !blind.hides("ServiceRequest", b"based-on\0"));
}

fn text() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(vec!["a", "b", "ä", "é", "\u{1}", " ", "日"]), 0..9)
        .prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn postings_answer_as_keys_do(
        names in prop::collection::vec(text(), 0..4), asked in text(), born in -200_000_i64..40_000, other in -200_000_i64..40_000,
        prefix in prop::sample::select(vec![Prefix::Eq, Prefix::Ne, Prefix::Gt, Prefix::Lt, Prefix::Ge, Prefix::Le, Prefix::Sa, Prefix::Eb, Prefix::Ap]),
        precision in prop::sample::select(vec![4, 7, 10]),
    ) {
        let day = |days: i64, len: usize| Micros(days * 86_400_000_000).to_instant()[..len].to_owned();
        let list = |names: &[String]| names.iter().map(|name| format!("{name:?}").replace("\\u{1}", "\\u0001")).collect::<Vec<_>>().join(",");
        let identifiers = names.iter().map(|name| format!(r#"{{"system":"urn:s","value":{}}}"#, list(std::slice::from_ref(name))));
        let json = format!(
            r#"{{"resourceType":"Patient","id":"p","birthDate":"{}","name":[{{"given":[{}]}}],"identifier":[{}]}}"#,
            day(born, precision), list(&names), identifiers.collect::<Vec<_>>().join(","),
        );
        let keys = keys(&json);
        let folded = super::super::fold::fold(&asked);
        let mut ranges = vec![
            under("given", string::matching_start(&folded)),
            under("given", string::matching_exact(&asked)),
            under("given", string::matching_folded(&folded)),
            under("given", string::starting(b'n', &folded).bounded(string::containing(b'n', "a").tail.unwrap().bounds()[0].clone())),
            under("identifier", token::matching_code(None, &asked)),
            under("identifier", token::matching_code(Some("urn:s"), &asked)),
            under("identifier", string::starting(b'c', &asked)),
            under("identifier", token::matching_system("urn:s")),
            KeyRange::prefix(b"given\0"),
            KeyRange::prefix(b"given\0n"),
            KeyRange { from: b"given\0nab".as_slice().into(), to: b"given\0nb".as_slice().into(), tail: None },
        ];
        let span = Span::parse(&day(other, precision)).unwrap();
        ranges.extend(date::matching(prefix, span, Micros(0)).into_iter().map(|range| under("birthdate", range)));
        for range in &ranges {
            prop_assert!(agrees("Patient", &keys, range), "{json} {:?}", Expr::Keys(range.clone()));
        }
    }
}

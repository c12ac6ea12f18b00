use super::*;
use crate::fhir::write;
use proptest::prelude::*;

fn round(text: &str) -> String {
    String::from_utf8(write::to_vec(&parse(text.as_bytes(), 64).unwrap())).unwrap()
}

#[test]
fn numbers_strings_and_order_survive() {
    let text = r#"{"z":1.00,"a":[-0,1E5,1e-07],"s":"é\u0000\"\\/","n":null,"t":true}"#;
    assert_eq!(round(text), text);
    assert_eq!(round(r#"{ "p" : "\ud83d\ude00\/" }"#), r#"{"p":"😀/"}"#);
}

#[test]
fn refusals_name_the_place() {
    let cases: [(&[u8], &str, (usize, usize)); 17] = [
        (b"{\"a\":1,\n \"a\":2}", "duplicate member", (2, 2)),
        (b"{\"a\":1,\"\\u0061\":2}", "duplicate member", (1, 8)),
        (b"{} x", "text after the end of the JSON value", (1, 4)),
        (b"\"\xff\"", "invalid UTF-8", (1, 2)),
        (b"[[[[1]]]]", "nested too deeply", (1, 4)),
        (b"[[],{},[[{}]]]", "nested too deeply", (1, 10)),
        (b"01", "text after the end of the JSON value", (1, 2)),
        (b"1.", "malformed number", (1, 3)),
        (b"-", "malformed number", (1, 2)),
        (b"\"\\ud800\"", "lone surrogate", (1, 8)),
        (b"\"\\udc00\"", "lone surrogate", (1, 8)),
        (b"\"\n\"", "control character in a string", (1, 2)),
        (b"\"abc", "string without an end", (1, 5)),
        (b"", "unexpected end of the JSON text", (1, 1)),
        (b"{\"a\" 1}", "expected `:`", (1, 6)),
        (b"[1,]", "unexpected character", (1, 4)),
        (b"\xef\xbb\xbf\xef\xbb\xbf{}", "unexpected character", (1, 1)),
    ];
    for (bytes, reason, (line, column)) in cases {
        let error = parse(bytes, 3).unwrap_err();
        assert_eq!((error.reason, error.line, error.column), (reason, line, column));
    }
}

#[test]
fn one_byte_order_mark_is_passed_over() {
    assert_eq!(parse(b"\xef\xbb\xbf[1]", 3), parse(b"[1]", 3));
}

#[test]
fn objects_have_a_limit_and_duplicates_are_found_up_to_it() {
    let object = |members: usize, last: &str| {
        let members = (0..members).map(|n| format!("\"m{n}\":0,")).collect::<Vec<_>>().concat();
        format!("{{{members}\"{last}\":0}}")
    };
    let reason = |text: String| parse(text.as_bytes(), 3).err().map(|error| error.reason);
    assert_eq!(reason(object(MOST_MEMBERS - 1, "x")), None);
    assert_eq!(reason(object(MOST_MEMBERS, "x")), Some("too many members in one object"));
    for members in [1, FEW_MEMBERS - 1, FEW_MEMBERS, FEW_MEMBERS + 1, MOST_MEMBERS - 1] {
        assert_eq!(reason(object(members, "m0")), Some("duplicate member"));
        assert_eq!(reason(object(members, &format!("m{}", members - 1))), Some("duplicate member"));
    }
}

/// Both parsers must agree, but for what only ours refuses (duplicates, depth, size) and what only theirs refuses
/// (numbers that no `f64` holds, a byte order mark).
fn agrees_with_serde_json(bytes: &[u8]) {
    match (parse(bytes, 100), serde_json::from_slice::<serde_json::Value>(bytes)) {
        (Ok(ours), Ok(theirs)) => {
            assert_same(&ours, &theirs);
            let written = write::to_vec(&ours);
            assert_eq!(parse(&written, 100).as_ref(), Ok(&ours));
            assert_eq!(parse(&write::to_vec_pretty(&ours), 100).as_ref(), Ok(&ours));
        }
        (Ok(_), Err(theirs)) => {
            let message = theirs.to_string();
            assert!(message.starts_with("number out of range") || bytes.starts_with(b"\xef\xbb\xbf"), "{message}");
        }
        (Err(ours), Ok(_)) => {
            let known = ["duplicate member", "nested too deeply", "too many members in one object"];
            assert!(known.contains(&ours.reason), "{ours}");
        }
        (Err(_), Err(_)) => {}
    }
}

fn assert_same(ours: &Value<'_>, theirs: &serde_json::Value) {
    match (ours, theirs) {
        (Value::Null, serde_json::Value::Null) => {}
        (Value::Bool(ours), serde_json::Value::Bool(theirs)) => assert_eq!(ours, theirs),
        (Value::Number(ours), serde_json::Value::Number(theirs)) => {
            assert_eq!(&serde_json::from_str::<serde_json::Number>(ours).unwrap(), theirs);
        }
        (Value::String(ours), serde_json::Value::String(theirs)) => assert_eq!(ours, theirs),
        (Value::Array(ours), serde_json::Value::Array(theirs)) => {
            assert_eq!(ours.len(), theirs.len());
            ours.iter().zip(theirs).for_each(|(ours, theirs)| assert_same(ours, theirs));
        }
        (Value::Object(ours), serde_json::Value::Object(theirs)) => {
            assert_eq!(ours.len(), theirs.len());
            ours.iter().for_each(|(name, member)| assert_same(member, theirs.get(name).unwrap()));
        }
        (ours, theirs) => panic!("{} is not {theirs}", ours.kind()),
    }
}

/// JSON texts, mostly valid, with every kind of blank, escape and number form.
fn json_text() -> impl Strategy<Value = String> {
    let number = r"-?(0|[1-9][0-9]{0,20})(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?";
    let string = r#""([ -!#-\[\]-~é😀]|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4}|\\ud8[0-9a-f]{2}\\udc[0-9A-F]{2}){0,12}""#;
    let leaf = prop_oneof![Just("null".to_owned()), Just("true".into()), Just("false".into()), number, string];
    leaf.prop_recursive(6, 48, 6, move |inner| {
        let blank = r"[ \n\r\t]{0,12}";
        let item = (blank, inner.clone(), blank).prop_map(|(before, item, after)| before + &item + &after);
        let member = (blank, string, blank, item.clone())
            .prop_map(|(before, name, after, item)| format!("{before}{name}{after}:{item}"));
        prop_oneof![
            prop::collection::vec(item, 0..6).prop_map(|items| format!("[{}]", items.join(","))),
            prop::collection::vec(member, 0..6).prop_map(|members| format!("{{{}}}", members.join(","))),
        ]
    })
}

/// A change of one byte at a place: a fraction of the length, so that it fits every text.
fn mutation() -> impl Strategy<Value = (u16, u8, Option<u8>)> {
    let byte = prop_oneof![
        prop::sample::select(b"{}[]:,\"\\ \n0123456789-+.eEutfn\x00\x1f\x7f\x80\xc3".to_vec()),
        any::<u8>()
    ];
    (any::<u16>(), 0..3_u8, prop::option::weighted(0.9, byte))
}

fn mutate(bytes: &mut Vec<u8>, (place, width, byte): (u16, u8, Option<u8>)) {
    let at = bytes.len() * usize::from(place) / 0x1_0000;
    let end = (at + usize::from(width)).min(bytes.len());
    bytes.splice(at..end, byte);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn agrees_on_json(text in json_text()) {
        agrees_with_serde_json(text.as_bytes());
    }

    #[test]
    fn agrees_on_broken_json(text in json_text(), mutations in prop::collection::vec(mutation(), 1..6)) {
        let mut bytes = text.into_bytes();
        for mutation in mutations {
            mutate(&mut bytes, mutation);
            agrees_with_serde_json(&bytes);
        }
    }

    #[test]
    fn agrees_on_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        agrees_with_serde_json(&bytes);
    }
}

//! The checks over resources that this project did not write. What is refused is told in `docs/validation.md`.

use super::super::*;
use crate::fhir::examples::r4_package;
use crate::fhir::{parse, write};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::io::Read;
use std::path::PathBuf;
use std::sync::LazyLock;

/// JSON without blanks between its tokens, and each string with the escapes that `serde_json` gives it.
fn minified(json: &[u8]) -> String {
    let text = std::str::from_utf8(json).unwrap().trim_start_matches('\u{feff}');
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(first) = rest.chars().next() {
        if first != '"' {
            if !first.is_ascii_whitespace() {
                out.push(first);
            }
            rest = &rest[first.len_utf8()..];
            continue;
        }
        let mut strings = serde_json::Deserializer::from_str(rest).into_iter::<String>();
        out += &serde_json::to_string(&strings.next().unwrap().unwrap()).unwrap();
        rest = &rest[strings.byte_offset()..];
    }
    out
}

#[test]
fn all_examples_survive_parsing_and_writing() {
    for (name, bytes) in r4_package().unwrap_or_default() {
        let value = parse::parse(&bytes, 64).unwrap_or_else(|error| panic!("{name}: {error}"));
        let written = write::to_vec(&value);
        assert_eq!(minified(&written), minified(&bytes), "{name}");
        assert_eq!(parse::parse(&written, 64).unwrap(), value, "{name}");
    }
}

/// The rows of the table in `docs/validation.md` are just what the checks say, positions in lists left out.
#[test]
fn examples_that_are_refused_are_documented() {
    let Some(examples) = r4_package() else { return };
    let started = std::time::Instant::now();
    let mut refused = BTreeSet::new();
    for (name, bytes) in &examples {
        let value = parse::parse(bytes, 64).unwrap();
        for issue in structure(value.as_object().unwrap()) {
            let path = issue.expression.unwrap_or_default();
            let names = path.split('[').map(|part| part.split_once(']').map_or(part, |(_, rest)| rest));
            refused.insert(format!("| {name} | {} | {} |", names.collect::<String>(), issue.diagnostics));
        }
    }
    println!("{} examples in {:?}", examples.len(), started.elapsed());
    let rows =
        include_str!("../../../docs/validation.md").lines().skip_while(|line| *line != "| example | element | issue |");
    let documented: BTreeSet<String> =
        rows.skip(2).take_while(|line| line.starts_with('|')).map(str::to_owned).collect();
    assert_eq!(refused, documented);
}

/// `PHAROS_SYNTHEA`: a folder of gzipped transaction Bundles.
#[test]
fn no_record_of_synthea_is_refused() {
    let Some(path) = std::env::var_os("PHAROS_SYNTHEA") else {
        println!("skipped: PHAROS_SYNTHEA does not name a folder of gzipped Bundles");
        return;
    };
    let (mut resources, mut bytes_all) = (0, 0);
    let mut time = std::time::Duration::ZERO;
    for entry in std::fs::read_dir(PathBuf::from(path)).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "gz") {
            continue;
        }
        let mut bytes = Vec::new();
        flate2::read::GzDecoder::new(std::fs::File::open(&path).unwrap()).read_to_end(&mut bytes).unwrap();
        let bundle = parse::parse(&bytes, 64).unwrap();
        let started = std::time::Instant::now();
        let issues = structure(bundle.as_object().unwrap());
        time += started.elapsed();
        assert!(issues.is_empty(), "{}: {issues:?}", path.display());
        resources += bundle.get("entry").map_or(0, |entries| entries.items().len());
        bytes_all += bytes.len();
    }
    println!("{resources} resources of {bytes_all} bytes in {time:?}");
    assert!(resources > 0);
}

/// Resources with a bit of everything, to be damaged.
const SOUND: [&str; 3] = [
    r##"{"resourceType":"Patient","id":"a","meta":{"profile":["http://example.org/p"]},"text":{"status":"generated",
      "div":"<div xmlns=\"http://www.w3.org/1999/xhtml\"><p>Eve</p></div>"},"contained":[{"resourceType":"Organization",
      "id":"o","name":"O"}],"name":[{"given":["Eve",null],"_given":[null,{"extension":[{"url":"http://example.org/e",
      "valueQuantity":{"value":1.50,"unit":"kg"}}]}]}],"birthDate":"1990-01-01","_birthDate":{"id":"b"},
      "multipleBirthInteger":2,"managingOrganization":{"reference":"#o"}}"##,
    r#"{"resourceType":"Bundle","type":"transaction","entry":[{"fullUrl":"urn:uuid:b4a4ed76-1a7b-4a0f-9a5e-0d6d0a2a7d5b",
      "resource":{"resourceType":"Observation","status":"final","code":{"coding":[{"system":"http://loinc.org","code":"1-8"}]},
      "subject":{"reference":"Patient?identifier=a|b"},"effectiveDateTime":"2020-01-01T00:00:00Z",
      "component":[{"code":{"text":"a"},"valueString":"b"}]},"request":{"method":"POST","url":"Observation"}}]}"#,
    r#"{"resourceType":"Questionnaire","status":"draft","item":[{"linkId":"1","type":"group","item":[{"linkId":"2",
      "type":"choice","answerOption":[{"valueCoding":{"code":"a"},"initialSelected":true}],"enableWhen":[{"question":"1",
      "operator":"=","answerInteger":3}],"enableBehavior":"all"}]}]}"#,
];

/// Changes the `at`th value or member below: drops, doubles, retypes, renames, or wraps it.
fn damage(value: &mut Value<'static>, at: &mut usize, how: u8) {
    if *at == 0 {
        *value = match how % 8 {
            0 => Value::Null,
            1 => Value::Array(vec![value.clone(), value.clone()]),
            2 => Value::Object(Object::from_iter([("_x".into(), value.clone())])),
            3 => Value::from(String::new()),
            4 => Value::from(u64::MAX),
            5 => Value::Array(Vec::new()),
            6 => Value::from("#\u{e9}:/?/_history/".to_owned()),
            _ => Value::Object(Object::new()),
        };
    }
    let Some(next) = at.checked_sub(1) else {
        *at = usize::MAX;
        return;
    };
    *at = next;
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| damage(item, at, how)),
        Value::Object(object) => {
            let names: Vec<String> = object.iter().map(|(name, _)| name.to_owned()).collect();
            for name in names {
                if *at == 0 && how >= 8 {
                    let member = object.remove(&name).unwrap();
                    match how % 4 {
                        0 => {}
                        1 => object.set(format!("_{name}"), member),
                        2 => object.set(format!("{name}String"), member),
                        _ => {
                            object.set(format!("_{name}"), member.clone());
                            object.set(name.trim_start_matches('_').to_owned(), member);
                        }
                    }
                    *at = usize::MAX;
                } else if let Some(member) = object.get_mut(&name) {
                    damage(member, at, how);
                }
            }
        }
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn damaged_resources_never_panic(which in 0_usize..3, damages in prop::collection::vec((0_usize..80, 0_u8..16), 1..4)) {
        let mut value = parse::parse(SOUND[which].as_bytes(), 64).unwrap().into_owned();
        prop_assert_eq!(structure(value.as_object().unwrap()), vec![]);
        for (mut at, how) in damages {
            damage(&mut value, &mut at, how);
        }
        if let Some(object) = value.as_object() {
            for issue in structure(object) {
                prop_assert!(issue.expression.is_some());
            }
        }
    }

    /// The same with the examples of HL7, where they are at hand.
    #[test]
    fn damaged_examples_never_panic(which in any::<prop::sample::Index>(), damages in prop::collection::vec((0_usize..200, 0_u8..16), 1..6)) {
        static EXAMPLES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
            let small = |bytes: &Vec<u8>| bytes.len() < 10_000;
            r4_package().unwrap_or_default().into_values().filter(small).collect()
        });
        if !EXAMPLES.is_empty() {
            let mut value = parse::parse(&EXAMPLES[which.index(EXAMPLES.len())], 64).unwrap().into_owned();
            for (mut at, how) in damages {
                damage(&mut value, &mut at, how);
            }
            value.as_object().map(structure);
        }
    }
}

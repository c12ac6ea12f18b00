//! HL7's test suite for FHIRPath (`tests-fhir-r4.xml`), driven from `$PHAROS_CONFORMANCE`.
//!
//! Every case must pass but those in [`DIFFERENT`], which `docs/fhirpath.md` explains.

use pharos::clock::Micros;
use pharos::fhir::parse::parse;
use pharos::fhirpath::{Context, Expression, Item};
use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};
use std::collections::HashMap;
use std::path::PathBuf;

/// The cases that do not come out as the suite has them.
const DIFFERENT: [&str; 9] = [
    "testPlusDate19",
    "LowBoundaryDecimal15",
    "HighBoundaryDecimal15",
    "HighBoundaryDecimal16",
    "HighBoundaryDateTimeMillisecond1",
    "HighBoundaryDateTimeMillisecond3",
    "testFHIRPathIsFunction8",
    "testFHIRPathIsFunction9",
    "testFHIRPathIsFunction10",
];

/// 2026-01-02T03:04:05Z.
const NOW: Micros = Micros(1_767_323_045_000_000);

/// One case of the suite.
#[derive(Debug, Default)]
struct Case {
    name: String,
    input: Option<String>,
    expression: String,
    invalid: Option<String>,
    predicate: bool,
    ordered: bool,
    outputs: Vec<(String, String)>,
}

#[test]
fn hl7_suite() {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/conformance");
    let folder = std::env::var("PHAROS_CONFORMANCE").unwrap_or_else(|_| default.to_owned());
    let folder = PathBuf::from(folder).join("fhirpath");
    let Ok(suite) = std::fs::read_to_string(folder.join("tests-fhir-r4.xml")) else {
        println!("skipped: there is no FHIRPath suite in {}", folder.display());
        return;
    };
    let mut inputs = HashMap::new();
    let (mut passed, mut failed, mut surprises) = (0, 0, Vec::new());
    for case in cases(&suite) {
        let input = case.input.as_ref().map(|name| {
            let read = || {
                let path = folder.join("input").join(name).with_extension("json");
                std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
            };
            &*inputs.entry(name.clone()).or_insert_with(read)
        });
        let result = run(&case, input.map_or(&b"{\"resourceType\":\"Basic\"}"[..], Vec::as_slice));
        let expected_to_differ = DIFFERENT.contains(&case.name.as_str());
        match &result {
            Ok(()) => passed += 1,
            Err(_) => failed += 1,
        }
        match result {
            Ok(()) if expected_to_differ => {
                surprises.push(format!("{}: passes, but is listed as different", case.name));
            }
            Err(reason) if !expected_to_differ => {
                surprises.push(format!("{}: {reason}\n    {}", case.name, case.expression));
            }
            _ => {}
        }
    }
    println!("FHIRPath suite: {passed} passed, {failed} failed");
    assert!(surprises.is_empty(), "{} surprises:\n{}", surprises.len(), surprises.join("\n"));
    assert!(passed > 900, "the suite is not whole");
}

/// Evaluates a case and compares.
fn run(case: &Case, input: &[u8]) -> Result<(), String> {
    let tree = parse(input, 64).map_err(|error| error.to_string())?;
    let root = Item::resource(tree.as_object().ok_or("not a resource")?);
    let compiled = match (Expression::compile(&case.expression), case.invalid.as_deref()) {
        (Err(_), Some(_)) => return Ok(()),
        (Ok(_), Some("syntax")) => return Err("compiles, but is not valid".to_owned()),
        (compiled, _) => compiled.map_err(|error| error.to_string())?,
    };
    let type_name = tree.as_object().and_then(|object| object.resource_type()).unwrap_or_default();
    match (compiled.check(&[type_name]), case.invalid.is_some()) {
        (Err(_), true) => return Ok(()),
        (Err(error), false) => return Err(format!("the static check fails: {error}")),
        (Ok(()), _) => {}
    }
    let context = Context::new(&root).at(NOW);
    let result = compiled.evaluate(&context, root.clone());
    let items = match (result, case.invalid.is_some()) {
        (Err(_), true) => return Ok(()),
        (Ok(_), true) => return Err("evaluates, but is not valid".to_owned()),
        (result, _) => result.map_err(|error| error.to_string())?,
    };
    let mut actual: Vec<String> = items.iter().map(text).collect();
    if case.predicate {
        actual = vec![(!items.is_empty()).to_string()];
    }
    let mut expected: Vec<String> = case.outputs.iter().map(|(kind, output)| expected_text(kind, output)).collect();
    if !case.ordered {
        actual.sort();
        expected.sort();
    }
    if actual == expected { Ok(()) } else { Err(format!("expected {expected:?}, got {actual:?}")) }
}

/// The text of an item, for comparing it.
fn text(item: &Item) -> String {
    match item {
        Item::Boolean(value) => value.to_string(),
        Item::Integer(value) => value.to_string(),
        Item::Decimal(value) => value.to_string(),
        Item::String(text) => text.to_string(),
        Item::Temporal(value) => value.to_string(),
        Item::Quantity(value) => value.to_string(),
        Item::TypeInfo { namespace, name } => format!("{namespace}.{name}"),
        Item::Node(node) => match node.primitive() {
            Some(value) => String::from_utf8(pharos::fhir::write::to_vec(value)).unwrap().trim_matches('"').to_owned(),
            None => format!("an element of type {:?}", node.type_name()),
        },
    }
}

fn expected_text(kind: &str, output: &str) -> String {
    match kind {
        "date" | "dateTime" | "time" | "" => output.strip_prefix("@T").or(output.strip_prefix('@')).unwrap_or(output),
        _ => output,
    }
    .to_owned()
}

/// Reads the suite.
fn cases(suite: &str) -> Vec<Case> {
    let mut reader = Reader::from_str(suite);
    let (mut cases, mut case) = (Vec::new(), Case::default());
    let (mut text, mut kind) = (String::new(), String::new());
    loop {
        match reader.read_event().unwrap() {
            Event::Start(start) | Event::Empty(start) if start.local_name().as_ref() == "test" => {
                case = Case {
                    name: attribute(&start, "name").unwrap_or_default(),
                    input: attribute(&start, "inputfile"),
                    predicate: attribute(&start, "predicate").as_deref() == Some("true"),
                    ordered: attribute(&start, "ordered").as_deref() != Some("false"),
                    ..Case::default()
                };
            }
            Event::Start(start) => {
                text.clear();
                match start.local_name().as_ref() {
                    "expression" => case.invalid = attribute(&start, "invalid"),
                    "output" => kind = attribute(&start, "type").unwrap_or_default(),
                    _ => {}
                }
            }
            Event::Text(part) => text.push_str(&part),
            Event::CData(part) => text.push_str(&part),
            Event::GeneralRef(part) => {
                if let Some(c) = part.resolve_char_ref().unwrap() {
                    text.push(c);
                } else {
                    let name: &str = &part;
                    text.push_str(quick_xml::escape::resolve_xml_entity(name).expect("a known entity"));
                }
            }
            Event::End(end) => match end.local_name().as_ref() {
                "expression" => case.expression = std::mem::take(&mut text),
                "output" => case.outputs.push((std::mem::take(&mut kind), std::mem::take(&mut text))),
                "test" => cases.push(std::mem::take(&mut case)),
                _ => {}
            },
            Event::Eof => return cases,
            _ => {}
        }
    }
}

fn attribute(element: &BytesStart, name: &str) -> Option<String> {
    let attribute = element.try_get_attribute(name).unwrap()?;
    Some(attribute.normalized_value(quick_xml::XmlVersion::Implicit1_0).unwrap().into_owned())
}

use super::*;
use crate::fhir::definitions::{Kind, Primitive, Type, r4};
use crate::fhir::parse::parse;
use crate::fhir::tree::{Object, Value};
use proptest::prelude::*;
use std::borrow::Cow;

const PATIENT: &str = r##"{"resourceType":"Patient","id":"p","active":true,
    "contained":[{"resourceType":"Organization","id":"o","name":"Org"}],
    "name":[{"use":"official","family":"Du","given":["Ann",null],"_given":[null,{"extension":[{"url":"u","valueString":"five"}]}]},
            {"use":"usual","given":["Bo"]}],
    "telecom":[{"system":"phone","value":"1"},{"system":"email","value":"a@b"}],
    "birthDate":"1970-03","deceasedDateTime":"2020-01-01T10:00:00+01:00",
    "generalPractitioner":[{"reference":"Practitioner/1"},{"reference":"https://example.org/fhir/Organization/2/_history/3"},
                           {"reference":"urn:uuid:0","type":"PractitionerRole"},{"reference":"#o"}],
    "multipleBirthInteger":2}"##;

/// Evaluates over the patient, and writes each item as text.
fn evaluate(text: &str) -> Result<Vec<String>, String> {
    let tree = parse(PATIENT.as_bytes(), 64).unwrap();
    let root = Item::resource(tree.as_object().unwrap());
    let expression = Expression::compile(text).map_err(|error| error.to_string())?;
    let items = expression.evaluate(&Context::new(&root), root.clone()).map_err(|error| error.to_string())?;
    Ok(items.iter().map(|item| item.as_str().map_or_else(|| format!("{item:?}"), str::to_owned)).collect())
}

fn is_true(text: &str) {
    assert_eq!(evaluate(text), Ok(vec!["Boolean(true)".to_owned()]), "{text}");
}

#[test]
fn paths_follow_choices_siblings_and_types() {
    assert_eq!(evaluate("Patient.name.given").unwrap().len(), 3);
    assert_eq!(evaluate("name.given.extension('u').value").unwrap(), ["five"]);
    assert_eq!(evaluate("Resource.id | DomainResource.id | Observation.id").unwrap(), ["p"]);
    assert_eq!(evaluate("Patient.telecom.where(system='email').value").unwrap(), ["a@b"]);
    assert_eq!(evaluate("contained.name").unwrap(), ["Org"]);
    is_true("Patient.deceased is dateTime and Patient.deceased.ofType(boolean).empty()");
    is_true("Patient.multipleBirth + 1 = 3 and Patient.birthDate < @1970-04 and name.given.count() = 3");
    is_true("deceased = @2020-01-01T09:00:00Z and (birthDate = @1970-03-02).empty()");
    is_true("descendants().where($this is HumanName).count() = 2");
}

#[test]
fn the_type_of_a_reference_is_told_without_resolving_it() {
    assert_eq!(evaluate("generalPractitioner.where(resolve() is Practitioner).reference").unwrap(), ["Practitioner/1"]);
    assert_eq!(evaluate("generalPractitioner.where(resolve() is Organization)").unwrap().len(), 2);
    assert_eq!(evaluate("generalPractitioner.where(resolve() is PractitionerRole)").unwrap().len(), 1);
    assert_eq!(evaluate("generalPractitioner.resolve().name").unwrap(), ["Org"]);
}

#[test]
fn errors_name_the_position() {
    let at = |text: &str| Expression::compile(text).unwrap_err().at;
    assert_eq!((at("name."), at("a b"), at("nope()"), at("1 is Nope"), at("'a")), (6, 3, 1, 6, 1));
    assert!(evaluate("name.given.single()").unwrap_err().ends_with("at position 12"));
    let check = |text: &str| Expression::compile(text).unwrap().check(&["Patient"]);
    assert!(check("Patient.name.given.where($this = 'x')").is_ok());
    assert_eq!(check("Patient.name.giv").unwrap_err().to_string(), "`HumanName` has no element `giv` at position 14");
}

#[test]
fn hostile_expressions_end() {
    let deep = "(".repeat(10_000) + "1";
    assert!(Expression::compile(&deep).unwrap_err().to_string().contains("too deeply"));
    assert!(Expression::compile(&format!("1{}", "+1".repeat(10_000))).unwrap_err().to_string().contains("too deeply"));
    assert!(Expression::compile(&"-".repeat(10_000)).is_err());
    assert!(Expression::compile(&"a".repeat(TEXT_LIMIT + 1)).is_err());
    assert!(Expression::compile(r"'x'.matches('\\d{1000}{1000}')").is_err());
    let nested = format!("{}active{}", "exists(".repeat(190), ")".repeat(190));
    assert!(evaluate(&nested).is_ok());
    let steps = |text: &str| assert!(evaluate(text).unwrap_err().contains("too "), "{text}");
    steps(
        "(1|2|3|4|5|6|7|8|9).aggregate($total & $total & $total & $total & $total & $total & $total & $total, 'aaaaaaaaaaaa')",
    );
    steps("repeat($this.toString() & '1')");
    steps(&format!("descendants(){}", ".select(%resource.descendants())".repeat(8)));
    steps(&format!("'aaaaaaaaaaaaaaaaaaaaaaaa'{}", ".replace('a', 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa')".repeat(20)));
}

#[test]
fn long_texts_count_by_their_length() {
    let family = "a".repeat(1 << 20);
    let text = PATIENT.replace("\"Du\"", &format!("\"{family}\""));
    let tree = parse(text.as_bytes(), 64).unwrap();
    let root = Item::resource(tree.as_object().unwrap());
    for test in [
        "family.contains('b')",
        "family.matches('b')",
        "family & 'b'",
        "family = family",
        "family ~ 'b'",
        "family < 'b'",
    ] {
        let each = "descendants().select(%resource.descendants().select(%resource.name.where(family.exists())";
        let expression = Expression::compile(&format!("{each}.select({test})))")).unwrap();
        let context = Context::new(&root);
        let error = expression.evaluate(&context, root.clone()).unwrap_err();
        assert!(error.reason.contains("too many steps") && context.steps.get() == 0, "{test}: {error}");
    }
}

#[test]
fn codes_and_narratives_are_told_from_the_embedded_definitions() {
    let text = r#"{"resourceType":"Observation","status":"final",
        "text":{"status":"generated","div":"<div xmlns=\"http://www.w3.org/1999/xhtml\">x</div>"},
        "code":{"coding":[{"system":"http://example.org/c","code":"x"},
            {"system":"http://terminology.hl7.org/CodeSystem/v3-RoleCode","code":"_AgentRoleType"}]},
        "category":[{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/v3-RoleCode","code":"AMENDER"}]},
            {"coding":[{"system":"http://snomed.info/sct","code":"1"}]}],
        "method":{"coding":[{"system":"http://snomed.info/sct","code":"2"}]},
        "interpretation":[{"coding":[{"system":"http://example.org/d","code":"x"}]}]}"#;
    let tree = parse(text.as_bytes(), 64).unwrap();
    let root = Item::resource(tree.as_object().unwrap());
    let evaluate = |text: &str| {
        let expression = Expression::compile(text).unwrap();
        let items = expression.evaluate(&Context::new(&root), root.clone()).map_err(|error| error.to_string())?;
        Ok::<_, String>(items.first().and_then(Item::as_bool))
    };
    let yes = [
        "status.memberOf('http://hl7.org/fhir/ValueSet/observation-status')",
        "status.memberOf('http://hl7.org/fhir/ValueSet/observation-status|4.0.1')",
        "category[0].memberOf('http://terminology.hl7.org/ValueSet/v3-RoleCode')",
        "code.subsumes(category[0]) and category[0].subsumedBy(code) and method.subsumes(method)",
        "category[0].subsumes(code).not() and category[0].coding.subsumes(category[0].coding)",
        "text.`div`.htmlChecks() and text.status.htmlChecks().not()",
        "conformsTo('http://hl7.org/fhir/StructureDefinition/Observation')",
        "code.conformsTo('http://hl7.org/fhir/StructureDefinition/Quantity').not()",
    ];
    for text in yes {
        assert_eq!(evaluate(text), Ok(Some(true)), "{text}");
    }
    assert_eq!(evaluate("status.memberOf('http://hl7.org/fhir/ValueSet/administrative-gender')"), Ok(Some(false)));
    assert_eq!(evaluate("code.subsumes(interpretation)"), Ok(None), "they share no code system");
    let unknown = [
        "status.memberOf('http://example.org/none')",
        "category[1].subsumes(method)",
        "status.subsumes(status)",
        "conformsTo('http://example.org/none')",
    ];
    for text in unknown {
        assert!(evaluate(text).unwrap_err().contains("can't be answered here"), "{text}");
    }
}

/// How many samples there are of each type.
const VARIANTS: usize = 12;

/// A resource or element with a value in every element, `depth` levels deep. Where there is a choice, each variant takes the next.
fn sample(ty: &Type, variant: usize, depth: usize) -> Object<'static> {
    fn nth<T>(items: &[T], n: usize) -> Option<&T> {
        items.get(n % items.len().max(1))
    }
    let mut object = Object::new();
    if ty.kind == Kind::Resource {
        object.set("resourceType", Value::String(Cow::Borrowed(ty.name)));
    }
    for element in
        ty.elements.iter().filter(|element| !["contained", "extension", "modifierExtension"].contains(&element.name))
    {
        let type_ref = nth(&element.types, variant).unwrap();
        let definition = type_ref.definition().unwrap();
        let value = match (definition.primitive, definition.name) {
            (Some(Primitive::Code), "code") if element.name == "system" => {
                (*nth(&["phone", "email"], variant).unwrap()).into()
            }
            (Some(Primitive::Code), "code") if element.name == "type" => {
                let types = ["composed-of", "depends-on", "derived-from", "predecessor", "successor"];
                (*nth(&types, variant).unwrap()).into()
            }
            (Some(primitive), _) => primitive_sample(primitive),
            (None, _) if depth == 0 => continue,
            (None, "Resource") => {
                Object::from_iter([(Cow::Borrowed("resourceType"), Value::from("Composition"))]).into()
            }
            (None, "Reference") => {
                let target = nth(&type_ref.targets, variant).copied().unwrap_or("Patient");
                Object::from_iter([(Cow::Borrowed("reference"), Value::from(format!("{target}/1")))]).into()
            }
            (None, _) => sample(definition, variant, depth - 1).into(),
        };
        let value = if element.max == Some(1) { value } else { Value::Array(vec![value]) };
        object.set(element.json_name(type_ref), value);
    }
    object
}

fn primitive_sample(primitive: Primitive) -> Value<'static> {
    match primitive {
        Primitive::Boolean => true.into(),
        Primitive::Integer | Primitive::PositiveInt | Primitive::UnsignedInt => 3_u64.into(),
        Primitive::Decimal => Value::Number(Cow::Borrowed("1.50")),
        Primitive::Date => "2020-02-03".into(),
        Primitive::DateTime | Primitive::Instant => "2020-02-03T04:05:06Z".into(),
        Primitive::Time => "04:05:06".into(),
        _ => "text".into(),
    }
}

#[test]
fn every_official_search_parameter_compiles_fits_its_type_and_finds_something() {
    let (mut compiled, mut evaluated, mut nothing) = (0, 0, Vec::new());
    for parameter in r4().search_parameters().iter().filter(|parameter| !parameter.expression.is_empty()) {
        let expression =
            Expression::compile(&parameter.expression).unwrap_or_else(|e| panic!("{}: {e}", parameter.url));
        for (_, part) in &parameter.components {
            Expression::compile(part).unwrap_or_else(|e| panic!("{}: {part}: {e}", parameter.url));
        }
        expression.check(&parameter.base).unwrap_or_else(|e| panic!("{}: {e}", parameter.url));
        compiled += 1 + parameter.components.len();
        let mut found = 0;
        for name in r4().resource_types() {
            if found > 0 || !parameter.base.iter().any(|base| r4().is_subtype_of(name, base)) {
                continue;
            }
            for object in (0..VARIANTS).map(|variant| sample(r4().type_named(name).unwrap(), variant, 5)) {
                let root = Item::resource(&object);
                let items = expression.evaluate(&Context::new(&root), root.clone());
                found += items.unwrap_or_else(|e| panic!("{}: {e}", parameter.url)).len();
                evaluated += 1;
                if found > 0 {
                    break;
                }
            }
        }
        // The samples have no extensions.
        if found == 0 && !parameter.expression.contains("xtension(") {
            nothing.push(format!("{}: {}", parameter.url, parameter.expression));
        }
    }
    println!("{compiled} expressions compiled, {evaluated} evaluations");
    assert_eq!(nothing, Vec::<String>::new());
}

/// Words that expressions are made of, so that a good part of the random ones compile.
fn words() -> impl Strategy<Value = String> {
    let word = prop::sample::select(vec![
        "Patient",
        "name",
        "given",
        "birthDate",
        "deceased",
        "telecom",
        "descendants()",
        "children()",
        "repeat(children())",
        "where(",
        "select(",
        "exists(",
        "all(",
        "iif(",
        "aggregate(",
        "sort(",
        ")",
        "(",
        "[",
        "]",
        "{}",
        ".",
        ".",
        ".",
        ".",
        ",",
        "|",
        "+",
        "-",
        "*",
        "/",
        "div",
        "mod",
        "&",
        "=",
        "~",
        "<",
        ">=",
        "and",
        "or",
        "implies",
        "in",
        "contains",
        "is",
        "as",
        "HumanName",
        "System.Quantity",
        "1",
        "0",
        "2147483647",
        "1.50",
        "9999999999.99",
        "'a'",
        "'(a+)+$'",
        "4 days",
        "1 'mg'",
        "1 'a'",
        "@2020-02-29",
        "@9999-12-31T23:59:59.999+14:00",
        "@T10:30",
        "$this",
        "$index",
        "$total",
        "%resource",
        "%ucum",
        "toString()",
        "toQuantity()",
        "toInteger()",
        "lowBoundary()",
        "highBoundary(3)",
        "replace('a', 'bb')",
        "matches(",
        "replaceMatches(",
        "substring(1)",
        "skip(1)",
        "power(",
        "log(",
        "sqrt()",
        "round(2)",
        "join(',')",
        "split('')",
        "combine(",
        "first()",
        "type()",
        "resolve()",
        "extension('u')",
        "not()",
        "count()",
        "now()",
        "encode('base64')",
        "decode('hex')",
    ]);
    prop::collection::vec(word, 1..24).prop_map(|words| words.concat_spaced())
}

trait Spaced {
    fn concat_spaced(&self) -> String;
}

impl Spaced for Vec<&str> {
    /// With blanks where two words would run together.
    fn concat_spaced(&self) -> String {
        self.iter().fold(String::new(), |mut text, word| {
            if !matches!(*word, "." | ")" | "[") && !text.ends_with(['.', '(']) {
                text.push(' ');
            }
            text.push_str(word);
            text
        })
    }
}

proptest! {
    #[test]
    fn random_text_never_panics(text in "\\PC{0,80}") {
        let _ = evaluate(&text);
    }

    #[test]
    fn random_symbols_never_panic(text in "[@%$'`a-c0-9T:.+()|&=~!<>{}\\[\\],/*\\\\ u-]{0,60}") {
        let _ = evaluate(&text);
    }

    #[test]
    fn random_expressions_never_panic(text in words()) {
        let compiled = Expression::compile(&text);
        if let Ok(expression) = &compiled {
            let _ = expression.check(&["Patient"]);
        }
        let _ = evaluate(&text);
    }
}

use super::apply;
use crate::fhir::json_patch::{PatchError, PatchFailure};
use crate::fhir::parse::parse;
use crate::fhir::tree::Object;
use crate::fhir::write;

const PATIENT: &str = r#"{"resourceType":"Patient","active":true,"name":[{"given":["A","B"],"_given":[null,{"id":"g"}]},{"family":"C"}],"birthDate":"1970-01-01","_birthDate":{"extension":[{"url":"u","valueString":"x"}]},"deceasedBoolean":false,"contact":[{"gender":"male"}]}"#;

fn object(text: &str) -> Object<'static> {
    parse(text.as_bytes(), 64).unwrap().into_owned().as_object().unwrap().clone()
}

/// Applies one operation, given as `type`, `path` and further parts.
fn patched(kind: &str, path: &str, more: &str) -> Result<String, PatchError> {
    let quoted = |plain: &str| String::from_utf8(write::to_vec(&plain.into())).unwrap();
    let comma = if more.is_empty() { "" } else { "," };
    let parameters = format!(
        r#"{{"resourceType":"Parameters","parameter":[{{"name":"operation","part":[
            {{"name":"type","valueCode":{}}},{{"name":"path","valueString":{}}}{comma}{more}]}}]}}"#,
        quoted(kind),
        quoted(path)
    );
    let mut out = Vec::new();
    write::write_object(&apply(object(PATIENT), &object(&parameters), 10_000)?, &mut out);
    Ok(String::from_utf8(out).unwrap())
}

/// The patient after a change of its text.
fn changed(from: &str, to: &str) -> String {
    assert!(PATIENT.contains(from), "{from}");
    PATIENT.replacen(from, to, 1)
}

const NAME: &str = r#"{"name":"name","valueString":"#;

#[test]
fn add_appends_to_lists_and_sets_what_is_not_there() {
    let cases = [
        (r#""gender"},{"name":"value","valueCode":"male"}"#, r#","gender":"male"}"#),
        (
            r#""maritalStatus"},{"name":"value","valueCodeableConcept":{"text":"M"}}"#,
            r#","maritalStatus":{"text":"M"}}"#,
        ),
        (r#""multipleBirth"},{"name":"value","valueInteger":2}"#, r#","multipleBirthInteger":2}"#),
        (r#""multipleBirthInteger"},{"name":"value","valueInteger":2}"#, r#","multipleBirthInteger":2}"#),
        (
            r#""communication"},{"name":"value","part":[{"name":"language","valueCodeableConcept":{"text":"L"}},{"name":"preferred","valueBoolean":true}]}"#,
            r#","communication":[{"language":{"text":"L"},"preferred":true}]}"#,
        ),
    ];
    for (more, end) in cases {
        let expected = format!("{}{end}", PATIENT.strip_suffix('}').unwrap());
        assert_eq!(patched("add", "Patient", &format!("{NAME}{more}")).unwrap(), expected);
    }
    let more = format!(r#"{NAME}"given"}},{{"name":"value","valueString":"Z"}}"#);
    let expected = changed(r#""A","B"],"_given":[null,{"id":"g"}]"#, r#""A","B","Z"],"_given":[null,{"id":"g"},null]"#);
    assert_eq!(patched("add", "Patient.name[0]", &more).unwrap(), expected);
    let more = format!(r#"{NAME}"extension"}},{{"name":"value","valueExtension":{{"url":"v"}}}}"#);
    let expected = changed(r#""valueString":"x"}]"#, r#""valueString":"x"},{"url":"v"}]"#);
    assert_eq!(patched("add", "Patient.birthDate", &more).unwrap(), expected);
    let expected = PATIENT.replace(r#""male"}]}"#, r#""male"}],"_active":{"extension":[{"url":"v"}]}}"#);
    assert_eq!(patched("add", "Patient.active", &more).unwrap(), expected);
}

#[test]
fn parts_of_a_value_keep_choices_siblings_and_nested_parts() {
    let more = format!(
        r#"{NAME}"extension"}},{{"name":"value","part":[{{"name":"url","valueUri":"u"}},
            {{"name":"extension","part":[{{"name":"url","valueUri":"v"}},{{"name":"value","valueString":"x","_valueString":{{"id":"i"}}}}]}}]}}"#
    );
    let added = patched("add", "Patient", &more).unwrap();
    assert!(
        added.ends_with(
            r#""extension":[{"url":"u","extension":[{"url":"v","valueString":"x","_valueString":{"id":"i"}}]}]}"#
        ),
        "{added}"
    );
}

#[test]
fn insert_moves_what_follows() {
    let more =
        |index: usize| format!(r#"{{"name":"index","valueInteger":{index}}},{{"name":"value","valueString":"Z"}}"#);
    let expected = changed(r#""A","B"],"_given":[null,{"id":"g"}]"#, r#""A","Z","B"],"_given":[null,null,{"id":"g"}]"#);
    assert_eq!(patched("insert", "Patient.name[0].given", &more(1)).unwrap(), expected);
    assert!(patched("insert", "Patient.name[0].given", &more(2)).unwrap().contains(r#"["A","B","Z"]"#));
    assert_eq!(patched("insert", "Patient.name[0].given", &more(3)).unwrap_err().kind, PatchFailure::Unprocessable);
    assert_eq!(patched("insert", "Patient.birthDate", &more(0)).unwrap_err().kind, PatchFailure::Unprocessable);
    assert_eq!(patched("insert", "Patient.photo", &more(0)).unwrap_err().kind, PatchFailure::Unprocessable);
}

#[test]
fn delete_takes_siblings_and_emptied_parents_along() {
    let cases = [
        (
            "Patient.birthDate",
            r#""birthDate":"1970-01-01","_birthDate":{"extension":[{"url":"u","valueString":"x"}]},"#,
            "",
        ),
        ("Patient.birthDate.extension", r#","_birthDate":{"extension":[{"url":"u","valueString":"x"}]}"#, ""),
        ("Patient.name[0].given[0]", r#""A","B"],"_given":[null,{"id":"g"}]"#, r#""B"],"_given":[{"id":"g"}]"#),
        ("Patient.name[0].given[1]", r#""A","B"],"_given":[null,{"id":"g"}]"#, r#""A"]"#),
        ("Patient.name.where(family = 'C')", r#",{"family":"C"}"#, ""),
        ("Patient.contact.gender", r#","contact":[{"gender":"male"}]"#, ""),
        ("Patient.deceased", r#""deceasedBoolean":false,"#, ""),
        ("Patient.photo", "", ""),
    ];
    for (path, from, to) in cases {
        assert_eq!(patched("delete", path, "").unwrap(), changed(from, to), "{path}");
    }
    for path in ["Patient.name", "Patient", "1", "Patient.name.given.first() + 'x'"] {
        assert_eq!(patched("delete", path, "").unwrap_err().kind, PatchFailure::Unprocessable, "{path}");
    }
}

#[test]
fn replace_keeps_the_place_and_names_choices_anew() {
    let cases = [
        ("Patient.active", r#""valueBoolean":false"#, r#""active":true"#, r#""active":false"#),
        ("Patient.deceased", r#""valueDateTime":"2020""#, r#""deceasedBoolean":false"#, r#""deceasedDateTime":"2020""#),
        ("Patient.name[1]", r#""valueHumanName":{"text":"T"}"#, r#"{"family":"C"}"#, r#"{"text":"T"}"#),
        ("Patient.name[0].given[0]", r#""valueString":"Z""#, r#""A","B""#, r#""Z","B""#),
        ("Patient.contact[0].gender", r#""valueString":"other""#, r#""gender":"male""#, r#""gender":"other""#),
        (
            "Patient.contact[0]",
            r#""part":[{"name":"name","part":[{"name":"text","valueString":"T"}]}]"#,
            r#"{"gender":"male"}"#,
            r#"{"name":{"text":"T"}}"#,
        ),
        (
            "Patient.birthDate",
            r#""valueDate":"1980""#,
            r#""1970-01-01","_birthDate":{"extension":[{"url":"u","valueString":"x"}]}"#,
            r#""1980""#,
        ),
    ];
    for (path, value, from, to) in cases {
        let more = format!(r#"{{"name":"value",{value}}}"#);
        assert_eq!(patched("replace", path, &more).unwrap(), changed(from, to), "{path}");
    }
    for (path, value) in [
        ("Patient.name", r#""valueHumanName":{}"#),
        ("Patient.active", r#""valueString":"yes""#),
        ("Patient.photo", r#""valueString":"x""#),
    ] {
        let more = format!(r#"{{"name":"value",{value}}}"#);
        assert_eq!(patched("replace", path, &more).unwrap_err().kind, PatchFailure::Unprocessable, "{path}");
    }
}

#[test]
fn move_takes_an_item_to_its_new_position() {
    let more = |from: usize, to: usize| {
        format!(r#"{{"name":"source","valueInteger":{from}}},{{"name":"destination","valueInteger":{to}}}"#)
    };
    let expected = changed(r#""A","B"],"_given":[null,{"id":"g"}]"#, r#""B","A"],"_given":[{"id":"g"},null]"#);
    assert_eq!(patched("move", "Patient.name[0].given", &more(0, 1)).unwrap(), expected);
    assert_eq!(patched("move", "Patient.name[0].given", &more(0, 2)).unwrap_err().kind, PatchFailure::Unprocessable);
}

#[test]
fn malformed_patches_are_told_apart() {
    let cases = [
        ("make", "Patient", ""),
        ("add", "Patient", ""),
        ("add", "Patient", r#"{"name":"name","valueString":"active"}"#),
        ("insert", "Patient.name", r#"{"name":"index","valueInteger":-1}"#),
        ("delete", "Patient..name", ""),
        ("delete", "Patient", r#"{"name":"what","valueString":"x"}"#),
        ("replace", "Patient.active", r#"{"name":"value"}"#),
    ];
    for (kind, path, more) in cases {
        let error = patched(kind, path, more).unwrap_err();
        assert_eq!((error.operation, error.kind), (0, PatchFailure::Malformed), "{kind} {path}: {error}");
    }
    let taken = r#"{"name":"name","valueString":"deceased"},{"name":"value","valueDateTime":"2020"}"#;
    assert_eq!(patched("add", "Patient", taken).unwrap_err().kind, PatchFailure::Unprocessable);
    assert_eq!(apply(object(PATIENT), &object(PATIENT), 10_000).unwrap_err().kind, PatchFailure::Malformed);
}

#[test]
fn a_path_may_take_only_so_many_steps() {
    let patch = r#"{"resourceType":"Parameters","parameter":[{"name":"operation","part":[
        {"name":"type","valueCode":"delete"},{"name":"path","valueString":"Patient.descendants().where(false)"}]}]}"#;
    let applied = |steps| apply(object(PATIENT), &object(patch), steps).map(drop).map_err(|error| error.kind);
    assert_eq!(applied(10_000), Ok(()));
    assert_eq!(applied(3), Err(PatchFailure::Unprocessable));
}

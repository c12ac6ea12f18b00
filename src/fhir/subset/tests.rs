use super::*;
use crate::tree;

fn members(resource: &Value<'_>) -> Vec<String> {
    resource.as_object().unwrap().iter().map(|(name, _)| name.to_owned()).collect()
}

fn sample() -> Value<'static> {
    tree!({
        "resourceType": "Observation", "id": "1",
        "meta": { "versionId": "2", "tag": [{ "code": "mine" }] },
        "text": { "status": "generated", "div": "<div/>" },
        "contained": [{ "resourceType": "Patient", "id": "p" }],
        "extension": [{ "url": "http://x", "valueBoolean": true }],
        "modifierExtension": [{ "url": "http://y", "valueBoolean": true }],
        "status": "final", "_status": { "extension": [{ "url": "http://z", "valueCode": "a" }] },
        "code": { "id": "c", "text": "Weight", "coding": [{ "system": "http://loinc.org", "code": "1" }], "extension": [{ "url": "http://x" }] },
        "subject": { "reference": "#p" },
        "valueQuantity": { "value": (1_u64), "unit": "kg" },
        "note": [{ "text": "hidden" }],
        "method": { "text": "hidden" },
        "component": [{ "code": { "text": "a" }, "interpretation": [{ "text": "hidden" }] }]
    })
}

fn summarized(summary: Summary) -> Value<'static> {
    let mut resource = sample();
    summarize(resource.as_object_mut().unwrap(), summary);
    resource
}

#[test]
fn summary_shows_what_the_definitions_mark() {
    let resource = summarized(Summary::True);
    assert_eq!(
        members(&resource),
        [
            "resourceType",
            "id",
            "meta",
            "modifierExtension",
            "status",
            "_status",
            "code",
            "subject",
            "valueQuantity",
            "component"
        ]
    );
    assert_eq!(
        resource.get("code"),
        Some(&tree!({ "text": "Weight", "coding": [{ "system": "http://loinc.org", "code": "1" }] }))
    );
    assert_eq!(resource.get("component"), Some(&tree!([{ "code": { "text": "a" } }])));
    assert_eq!(resource.get("modifierExtension"), sample().get("modifierExtension"), "extensions are kept whole");
    assert!(is_subsetted(resource.as_object().unwrap()));
}

#[test]
fn a_mandatory_element_keeps_the_reason_of_its_absence() {
    let reason = tree!({ "extension": [{ "url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason", "valueCode": "unknown" }] });
    let mut resource = tree!({ "resourceType": "Observation", "status": "final", "code": (reason.clone()) });
    summarize(resource.as_object_mut().unwrap(), Summary::True);
    assert_eq!(resource.get("code"), Some(&reason));
}

#[test]
fn text_shows_the_narrative_and_what_is_mandatory() {
    let resource = summarized(Summary::Text);
    assert_eq!(members(&resource), ["resourceType", "id", "meta", "text", "status", "_status", "code"]);
    assert!(is_subsetted(resource.as_object().unwrap()));
}

#[test]
fn data_hides_the_narrative_only() {
    let resource = summarized(Summary::Data);
    assert_eq!(members(&resource).len(), members(&sample()).len() - 1);
    assert!(resource.get("text").is_none() && is_subsetted(resource.as_object().unwrap()));
}

#[test]
fn false_and_count_change_nothing() {
    assert_eq!(summarized(Summary::False), sample());
    assert_eq!(summarized(Summary::Count), sample());
    assert!(!is_subsetted(sample().as_object().unwrap()));
}

#[test]
fn the_mark_is_added_once_and_keeps_other_tags() {
    let mut resource = summarized(Summary::Data);
    summarize(resource.as_object_mut().unwrap(), Summary::True);
    let tags = resource.get("meta").unwrap().get("tag").unwrap();
    assert_eq!(*tags, tree!([{ "code": "mine" }, { "system": (SUBSETTED_SYSTEM), "code": "SUBSETTED" }]));
}

fn selected(elements: &str) -> Vec<String> {
    let mut resource = sample();
    select(resource.as_object_mut().unwrap(), &Elements::parse(elements).unwrap());
    members(&resource)
}

#[test]
fn elements_are_chosen_by_name_and_type() {
    let always = ["resourceType", "id", "meta", "modifierExtension", "status", "_status", "code"];
    let with = |more: &[&str]| {
        let mut all: Vec<_> = always.iter().map(ToString::to_string).collect();
        all.extend(more.iter().map(ToString::to_string));
        all
    };
    assert_eq!(selected("subject"), with(&["subject"]));
    assert_eq!(selected("value, note"), with(&["valueQuantity", "note"]));
    assert_eq!(selected("valueQuantity"), with(&["valueQuantity"]));
    assert_eq!(selected("value[x]"), with(&["valueQuantity"]));
    assert_eq!(selected("Observation.note.text,Patient.subject"), with(&["note"]));
    assert_eq!(selected("id"), always);
    assert_eq!(selected("Patient.name"), members(&sample()), "nothing is said of this type");
}

#[test]
fn unknown_elements_are_found() {
    let unknown =
        |text: &str| Elements::parse(text).unwrap().unknown_in(&["Patient", "Observation"]).map(str::to_owned);
    assert_eq!(unknown("id,birthDate,valueQuantity,value[x],Encounter.status,name.family"), None);
    assert_eq!(unknown("birthDate,nonsense"), Some("nonsense".into()));
    assert_eq!(unknown("Patient.subject"), Some("subject".into()));
    assert_eq!(unknown("Nonsense.name"), Some("name".into()));
    assert_eq!(Elements::parse(" , "), None);
}

fn query(text: &str) -> Vec<(String, String)> {
    text.split('&').filter_map(|pair| pair.split_once('=')).map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
}

#[test]
fn a_query_asks_for_a_part_or_for_the_whole() {
    let part = |text: &str| Subset::from_query(&query(text));
    assert_eq!(part("name=a").unwrap(), None);
    assert_eq!(part("_summary=false&_elements=").unwrap(), None);
    assert_eq!(part("_summary=text").unwrap(), Some(Subset::Summary(Summary::Text)));
    let chosen = part("_summary=false&_elements=id,name").unwrap().unwrap();
    assert!(chosen.check(&["Patient"]).is_ok());
    assert_eq!(chosen.check(&["Observation"]).unwrap_err().category, Category::Invalid);
    for wrong in ["_summary=yes", "_summary=count", "_summary=true&_elements=id", "_summary=true&_summary=data"] {
        assert_eq!(part(wrong).unwrap_err().category, Category::Invalid, "{wrong}");
    }
}

#[test]
fn the_part_of_stored_bytes_keeps_their_numbers() {
    let bytes = br#"{"resourceType":"Observation","id":"1","status":"final","code":{"text":"a"},"valueQuantity":{"value":1.00},"note":[{"text":"b"}]}"#;
    let part = Subset::from_query(&query("_elements=value")).unwrap().unwrap();
    assert_eq!(
        String::from_utf8(part.apply_to_bytes(bytes).unwrap()).unwrap(),
        concat!(
            r#"{"resourceType":"Observation","id":"1","meta":{"tag":[{"system":"http://terminology.hl7.org/CodeSystem/v3-ObservationValue","#,
            r#""code":"SUBSETTED"}]},"status":"final","code":{"text":"a"},"valueQuantity":{"value":1.00}}"#
        )
    );
    assert_eq!(part.apply_to_bytes(b"[]").unwrap_err().category, Category::Internal);
}

#[test]
fn what_is_no_resource_is_left_alone() {
    let mut odd = tree!({ "resourceType": "Nonsense", "a": true });
    summarize(odd.as_object_mut().unwrap(), Summary::True);
    assert_eq!(odd, tree!({ "resourceType": "Nonsense", "a": true }));
    assert_eq!(Summary::from_code("data"), Some(Summary::Data));
    assert_eq!(Summary::from_code("yes"), None);
}

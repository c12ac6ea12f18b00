//! The parameters that have a way of their own: words, `_filter`, `_list`, `near`; and orders over several types.

use super::memory::Memory;
use super::tests::{all_pages, options, pairs, query, refusal, sample, wrong};
use super::*;

#[test]
fn words() {
    let mut memory = Memory::default();
    for (id, div, note) in [
        ("c1", "Bone <b>metastases</b>", "seen by Dr. Müller"),
        ("c2", "Liver&#160;metastases", "second opinion"),
        ("c3", "Fracture of a bone", "healed"),
    ] {
        memory.put(&format!(
            r#"{{"resourceType":"Condition","id":"{id}","text":{{"status":"generated","div":"<div>{div}</div>"}},
                "note":[{{"text":"{note}"}}],"subject":{{"reference":"Patient/x"}}}}"#
        ));
    }
    memory.put(r#"{"resourceType":"Condition","id":"c4","subject":{"display":"Liver"}}"#);
    let cases = [
        ("Condition", "_text=bone", "c1 c3"),
        ("Condition", "_text=bone metastases", "c1"),
        ("Condition", "_text=BONE,liver", "c1 c2 c3"),
        ("Condition", "_text=(bone OR liver) and metastases", "c1 c2"),
        ("Condition", "_text=bone not metastases", "c3"),
        ("Condition", "_text=meta*", "c1 c2"),
        ("Condition", "_text=meta", ""),
        ("Condition", "_text=muller", ""),
        ("Condition", "_content=muller", "c1"),
        ("Condition", "_content=liver", "c2 c4"),
        ("Condition", "_content=liver|healed&_text=fracture", "c3"),
    ];
    assert_eq!(wrong(&memory, &cases), Vec::<String>::new());
    assert!(refusal("Condition", "_text=(bone").contains("`_text`"));
    assert!(refusal("Condition", &format!("_text={}", "bone ".repeat(501))).contains("too many words"));
    assert!(refusal("Condition", "_text:exact=bone").contains("`_text:exact`"));
    let without = Options { has_content: false, ..options() };
    let error = parse(&Registry::default(), Some("Condition"), &pairs("_content=bone"), &without).unwrap_err();
    assert!(error.issues[0].diagnostics.contains("`_content`"));
}

#[test]
fn filters() {
    let memory = sample();
    let cases = [
        ("Patient", "_filter=name co \"EN\"", "p1"),
        ("Patient", "_filter=name co \"rie\"", "p1"),
        ("Patient", "_filter=family sw obr and not (given eq peter)", "p1"),
        ("Patient", "_filter=family ew IEN or family ew dor", "p1 p2"),
        ("Patient", "_filter=family eq \"o'brien\"", "p1"),
        ("Patient", "_filter=family eq \"o'bri\"", ""),
        ("Patient", "_filter=family ne obrien", "p2"),
        ("Patient", "_filter=gender ne male", "p1"),
        ("Patient", "_filter=gender eq http://hl7.org/fhir/administrative-gender|male", "p2"),
        ("Patient", "_filter=gender in http://hl7.org/fhir/ValueSet/administrative-gender", "p1 p2"),
        ("Patient", "_filter=gender sw fe", "p1"),
        ("Patient", "_filter=gender ew ale", "p1 p2"),
        ("Patient", "_filter=gender pr false", "p3"),
        ("Patient", "_filter=gender pr true and birthdate ge 1980-06", "p2"),
        ("Patient", "_filter=birthdate eq 1980", "p1 p2"),
        ("Patient", "_filter=birthdate po 1980-05-17T12:00Z", "p1"),
        ("Patient", "_filter=birthdate po 1980-06-30", "p2"),
        ("Patient", "_filter=birthdate sa 1980-05", "p2"),
        ("Patient", "_filter=_id eq p3 or _id eq p1", "p1 p3"),
        ("Patient", "_filter=gender eq male or name co pan and _id ne p2", "p3"),
        ("Patient", "_filter=gender eq male or (name co pan and _id ne p2)", "p2 p3"),
        ("Patient", "_filter=general-practitioner re Practitioner/d1", "p1"),
        ("Patient", "_filter=general-practitioner.name sw who", "p1"),
        ("Patient", "_filter=link.gender eq female", "p2"),
        ("Patient", "_filter=link[name co brien].birthdate lt 1981", "p2"),
        ("Patient", "_filter=link[name co nobody].birthdate lt 1981", ""),
        ("Observation", "_filter=subject.name co \"obra\"", "o2"),
        ("Observation", "_filter=subject:Patient.name co \"obra\"", "o2"),
        (
            "Observation",
            "_filter=code eq http://loinc.org|29463-7 and value-quantity gt 80|http://unitsofmeasure.org|kg",
            "o2",
        ),
        ("Observation", "_filter=date po 2020-02-10", "o2"),
        ("Observation", "_filter=date po 2020", "o1 o2"),
        ("Observation", "subject=p1&_filter=not (status eq amended) and date lt 2021", "o1"),
        ("Patient", "_has:Observation:subject:_filter=date lt 2021 and status eq final", "p1"),
        ("Observation", "subject._filter=gender eq male", "o2"),
    ];
    assert_eq!(wrong(&memory, &cases), Vec::<String>::new());
    for (text, named) in [
        ("name", "`_filter`"),
        ("colour eq red", "`colour`"),
        ("birthdate co 19", "`co`"),
        ("birthdate gt soon", "`birthdate`"),
        ("name gt x", "`gt`"),
        ("name zz x", "`zz`"),
        ("gender pr maybe", "`pr`"),
        ("name.given eq x", "`_filter`"),
        ("general-practitioner:Colour.name eq x", "`_filter`"),
    ] {
        let refusal = refusal("Patient", &format!("_filter={text}"));
        assert!(refusal.contains(named), "{text}: {refusal}");
    }
    let many = vec!["name co x"; 65].join(" and ");
    assert!(refusal("Patient", &format!("_filter={many}")).contains("64"));
    let chain = "link.".repeat(50) + "name eq x";
    assert!(refusal("Patient", &format!("_filter={chain}")).contains("too many steps"));
}

#[test]
fn lists() {
    let mut memory = sample();
    memory.put(
        r#"{"resourceType":"List","id":"l1","status":"current","mode":"working","entry":[
            {"item":{"reference":"Patient/p1"}},{"item":{"reference":"Patient/p3"}},{"item":{"reference":"Observation/o1"}}]}"#,
    );
    let cases = [
        ("Patient", "_list=l1", "p1 p3"),
        ("Patient", "_list=l1&gender=female", "p1"),
        ("Patient", "_list=l2,l1", "p1 p3"),
        ("Observation", "_list=l1", "o1"),
        ("Observation", "_list=l2", ""),
    ];
    assert_eq!(wrong(&memory, &cases), Vec::<String>::new());
    assert!(refusal("Patient", "_list=$current-problems").contains("`_list`"));
}

#[test]
fn near_a_place() {
    let mut memory = Memory::default();
    for (id, latitude, longitude) in [
        ("london", "51.5074", "-0.1278"),
        ("paris", "48.8566", "2.3522"),
        ("fiji", "-16.5", "179.99"),
        ("samoa", "-16.5", "-179.99"),
    ] {
        memory.put(&format!(
            r#"{{"resourceType":"Location","id":"{id}","position":{{"latitude":{latitude},"longitude":{longitude}}}}}"#
        ));
    }
    memory.put(r#"{"resourceType":"Location","id":"nowhere","name":"Nowhere"}"#);
    let cases = [
        ("Location", "near=51.5|-0.1", "london"),
        ("Location", "near=51.5|-0.1|1|km", ""),
        ("Location", "near=51.5|-0.1|3|km", "london"),
        ("Location", "near=51.5|-0.1|3000|m", "london"),
        ("Location", "near=51.5|-0.1|2|[mi_i]", "london"),
        ("Location", "near=51.5074|-0.1278|343|km", "london"),
        ("Location", "near=51.5074|-0.1278|344|km", "london paris"),
        ("Location", "near=51.5074|-0.1278|20100|km", "london paris fiji samoa"),
        ("Location", "near=-16.5|180|2|km", "fiji samoa"),
        ("Location", "near=51.5|-0.1|3|km,48.9|2.3|9|km", "london paris"),
        ("Location", "near:missing=true", "nowhere"),
        ("Location", "near=51.5|-0.1|400|km&_sort=-_id", "paris london"),
    ];
    assert_eq!(wrong(&memory, &cases), Vec::<String>::new());
    for text in ["near=x|y", "near=51.5", "near=91|0", "near=0|0|1|kg", "near=0|0|-1|km", "near:not=0|0"] {
        assert!(refusal("Location", text).contains("near"), "{text}");
    }
    assert!(refusal("Patient", "near=51.5|-0.1").contains("`near`"));
    assert!(refusal("Location", &format!("near={}", vec!["0|0|500|km"; 100].join(","))).contains("too many"));
}

/// The ids of a search over several types, page by page.
fn over_types(memory: &Memory, text: &str) -> String {
    let query = parse(&Registry::default(), None, &pairs(text), &options()).unwrap();
    all_pages(memory, &query).concat().join(" ")
}

#[test]
fn orders_over_several_types() {
    let memory = sample();
    for pages in ["", "&_count=1", "&_count=3"] {
        let sorted = |text: &str| over_types(&memory, &format!("_type=Observation,Patient,Practitioner&{text}{pages}"));
        assert_eq!(sorted("_sort=-_lastUpdated"), "o3 o2 o1 d1 p3 p2 p1");
        assert_eq!(sorted("_sort=_id"), "d1 o1 o2 o3 p1 p2 p3");
        assert_eq!(sorted("_sort=-_id&_lastUpdated=gt1970-01-01T00:00:02Z"), "p3 o3 o2 o1 d1");
        assert_eq!(over_types(&memory, &format!("_type=Patient,Practitioner&_sort=gender,-_id{pages}")), "p1 p2 d1 p3");
        assert_eq!(over_types(&memory, &format!("_sort=_lastUpdated{pages}")), "p1 p2 p3 d1 o1 o2 o3 v1 r1");
    }
    assert!(
        parse(&Registry::default(), None, &pairs("_type=Patient,Observation&_sort=birthdate"), &options()).is_err()
    );
}

#[test]
fn everything_that_refers_is_included() {
    let memory = sample();
    let page = run(&memory.records(), &query("Patient", "_id=p1&_revinclude=*"), None, &Budget::default()).unwrap();
    let mut ids: Vec<_> = page.included.iter().map(|version| &*version.id).collect();
    ids.sort_unstable();
    assert_eq!(ids, ["o1", "o3", "p2", "v1"]);
}

#[test]
fn canonical_references_have_a_hierarchy() {
    let mut memory = Memory::default();
    memory.put(
        r#"{"resourceType":"CarePlan","id":"c","status":"active","intent":"plan","subject":{"reference":"Patient/x"},
            "instantiatesCanonical":["http://example.org/plans/PlanDefinition/7|2.1.0"]}"#,
    );
    let cases = [
        ("CarePlan", "instantiates-canonical=http://example.org/plans/PlanDefinition/7", "c"),
        ("CarePlan", "instantiates-canonical:below=http://example.org/plans/PlanDefinition/7|2", "c"),
        ("CarePlan", "instantiates-canonical:below=http://example.org/plans/PlanDefinition/7|3", ""),
        ("CarePlan", "instantiates-canonical:below=http://example.org/plans", "c"),
        ("CarePlan", "instantiates-canonical:above=http://example.org/plans/PlanDefinition/7/more", "c"),
    ];
    assert_eq!(wrong(&memory, &cases), Vec::<String>::new());
    assert!(refusal("CarePlan", "subject:below=Patient/x").contains("`subject:below`"));
}

#[test]
fn a_page_explains_itself() {
    let memory = sample();
    let plan = |text: &str| {
        let page = run(&memory.records(), &query("Observation", text), None, &Budget::default()).unwrap();
        (page.plan.join("\n"), page.steps)
    };
    assert_eq!(plan("status=final").0, "");
    let (text, steps) = plan("status=final,amended&date=ge2020&subject.name=obrien&_explain=true");
    assert!(text.contains("status (2 ranges)") && text.contains("subject:Patient (name)"), "{text}");
    assert!(!text.contains("obrien"), "{text}");
    let read: u64 =
        text.split(|char: char| !char.is_ascii_digit()).filter_map(|n| n.parse::<u64>().ok()).rev().take(2).sum();
    assert_eq!(read, steps, "{text}");
}

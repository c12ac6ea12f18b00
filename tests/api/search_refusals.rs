//! Searches that are refused, each with the parameter that is to blame: <https://hl7.org/fhir/R4/search.html#errors>. In bounded
//! time and memory, whatever is sent.

use crate::support::Server;
use serde_json::json;
use std::time::{Duration, Instant};

/// Far above what any of these may take.
const SOON: Duration = Duration::from_secs(10);

fn with_observation() -> Server {
    let server = Server::start();
    let quantity = json!({"value": 5, "unit": "mg", "system": "http://unitsofmeasure.org", "code": "mg"});
    let observation = json!({
        "resourceType": "Observation", "id": "o", "status": "final", "code": {"text": "(a+)+$ [x-y] .*"},
        "subject": {"reference": "Patient/p"}, "effectiveDateTime": "2020-05-10", "valueQuantity": quantity
    });
    server.put("/Observation/o").json(observation).expect(201);
    server
        .put("/Patient/p")
        .json(json!({"resourceType": "Patient", "id": "p", "name": [{"family": "(a+)+$ [x-y] .*"}]}))
        .expect(201);
    server
}

#[test]
fn wrong_values_are_refused_by_name() {
    let server = with_observation();
    let cases = [
        ("Observation", "date", "ge2020-13"),
        ("Observation", "date", "2020-02-30"),
        ("Observation", "date", "soon"),
        ("Observation", "date", "zz2020"),
        ("Observation", "_lastUpdated", "yesterday"),
        ("Observation", "value-quantity", "abc"),
        ("Observation", "value-quantity", "5|x"),
        ("Observation", "code-value-quantity", "a"),
        ("Observation", "code-value-quantity", "a$b"),
        ("Observation", "subject:missing", "maybe"),
        ("Observation", "code", "a|b|c"),
        ("Observation", "identifier:of-type", "a|b"),
        ("RiskAssessment", "probability", "half"),
        ("Location", "near", "north"),
        ("Patient", "_count", "-1"),
        ("Patient", "_count", "many"),
        ("Patient", "_total", "some"),
        ("Patient", "_summary", "some"),
        ("Patient", "_elements", "colour"),
        ("Patient", "_include", "Patient"),
        ("Patient", "_include", "Patient:birthdate"),
        ("Patient", "_revinclude", "Observation:colour"),
        ("Patient", "_sort", "colour"),
        ("Patient", "_filter", "name zz x"),
        ("Patient", "_list", "$current-problems"),
        ("Patient", "_list", "$current-allergies"),
        ("Patient", "_query", "everybody"),
        ("Patient", "_type", "Patient"),
        ("Patient", "_text", "(a"),
        ("Patient", "_has:Observation:subject", "x"),
        ("Patient", "_has:Observation:code:code", "x"),
        ("Patient", "_has:Nothing:subject:code", "x"),
        ("Patient", "name:sounds", "x"),
        ("Patient", "colour", "red"),
    ];
    for (type_name, name, value) in cases {
        let value = value.replace('|', "%7C").replace('$', "%24").replace(' ', "%20");
        let started = Instant::now();
        let answer = server.get(&format!("/{type_name}?{name}={value}")).expect(400);
        let base = name.split(':').next().unwrap();
        let said = [answer.outcome().diagnostics(), answer.outcome().expressions()].concat().join(" ");
        assert!(said.contains(base), "{name}={value}: {answer}");
        assert!(started.elapsed() < SOON);
    }
    // What is refused stays so under lenient handling, but for names that are not known.
    server.get("/Observation?date=ge2020-13").header("Prefer", "handling=lenient").expect(400).says("`date`");
    server.get("/Observation?colour=red").header("Prefer", "handling=lenient").expect(200);
}

#[test]
fn chains_are_short_and_through_references() {
    let server = with_observation();
    for name in ["code.name", "status.x", "subject.birthdate.year", "value-quantity.code", "subject:Nothing.name"] {
        let head = name.split(['.', ':']).next().unwrap();
        server.get(&format!("/Observation?{name}=x")).expect(400).says(head);
    }
    let started = Instant::now();
    for name in
        ["link.".repeat(500) + "name", "_has:Patient:link:".repeat(500) + "name", "subject.".repeat(500) + "name"]
    {
        let form = format!("{name}=x");
        let type_name = if name.starts_with("subject") { "Observation" } else { "Patient" };
        let answer = server.post(&format!("/{type_name}/_search")).form(&form).expect(400);
        assert!(answer.outcome().diagnostics()[0].contains(&name[..20]), "{answer}");
        assert!(answer.bytes().len() < 2_000);
    }
    let filter = "link.".repeat(500) + "name%20eq%20x";
    server.post("/Patient/_search").form(&format!("_filter={filter}")).expect(400).says("_filter");
    let filter = "(".repeat(5_000) + "name%20eq%20x";
    server.post("/Patient/_search").form(&format!("_filter={filter}")).expect(400).says("_filter");
    assert!(started.elapsed() < SOON);
}

#[test]
fn many_values_and_parameters_are_refused() {
    let server = with_observation();
    let values = vec!["x"; 10_000].join(",");
    let started = Instant::now();
    for name in ["code", "code:not", "subject", "_id", "family:contains", "_filter"] {
        let type_name = if name.starts_with("family") { "Patient" } else { "Observation" };
        let answer = server.post(&format!("/{type_name}/_search")).form(&format!("{name}={values}")).expect(400);
        let base = name.split(':').next().unwrap();
        assert!(answer.outcome().diagnostics()[0].contains(base), "{answer}");
    }
    let many = vec!["code=x"; 1_000].join("&");
    server.post("/Observation/_search").form(&many).expect(400).issue("too-costly").says("limits.search_clauses");
    let includes = vec!["_include=Observation:subject"; 1_000].join("&");
    server.post("/Observation/_search").form(&includes).expect(400).issue("too-costly");
    assert!(started.elapsed() < SOON);
}

#[test]
fn text_that_looks_like_a_pattern_is_text() {
    let server = with_observation();
    let ids = |query: &str| server.get(query).expect(200).ids();
    assert_eq!(ids("/Patient?family:exact=(a%2B)%2B%24%20[x-y]%20.*"), ["p"]);
    assert_eq!(ids("/Observation?code:text=(a%2B)%2B%24"), ["o"]);
    for text in [".*", "^", "(a%2B)%2B%24z", "[a-z]", "%25", "_", "a{1,99999}"] {
        // Punctuation is left out of what is compared; nothing that is left has a meaning of its own.
        let answer = server.get(&format!("/Patient?family:exact={text}")).expect(200);
        assert!(answer.ids().is_empty(), "{text}");
        let answer = server.get(&format!("/Patient?family:contains={text}")).send();
        assert!(matches!(answer.status(), 200 | 400), "{answer}");
    }
    let long = "a%2B".repeat(20_000);
    let started = Instant::now();
    server.post("/Patient/_search").form(&format!("family:contains={long}")).expect(400).says("family");
    assert!(started.elapsed() < SOON);
}

#[test]
fn altered_cursors_are_refused() {
    let server = with_observation();
    for id in ["a", "b", "c"] {
        server.put(&format!("/Patient/{id}")).json(json!({"resourceType": "Patient", "id": id})).expect(201);
    }
    let next = server.get("/Patient?_count=2").expect(200).link("next").unwrap();
    assert_eq!(server.get(&next).expect(200).ids().len(), 2);
    let (start, cursor) = next.split_once("_cursor=").unwrap();
    let mut altered: Vec<String> =
        vec!["x".into(), "%00".into(), cursor[1..].into(), format!("{cursor}A"), "A".repeat(5_000)];
    for at in (0..cursor.len()).step_by(7) {
        let other = if cursor.as_bytes()[at] == b'A' { "B" } else { "A" };
        altered.push(format!("{}{other}{}", &cursor[..at], &cursor[at + 1..]));
    }
    for cursor in altered {
        server.get(&format!("{start}_cursor={cursor}")).expect(400).about("_cursor");
    }
}

#[test]
fn a_search_that_takes_too_long_ends_with_a_clear_answer() {
    let server = Server::with(|config| config.limits.search_steps = 50);
    let entry = |number: usize| {
        let patient = json!({"resourceType": "Patient", "name": [{"family": format!("F{number}")}]});
        json!({"request": {"method": "POST", "url": "Patient"}, "resource": patient})
    };
    let bundle = json!({"resourceType": "Bundle", "type": "batch", "entry": (0..300).map(entry).collect::<Vec<_>>()});
    server.post("").json(bundle).expect(200);
    for query in [
        "family:contains=9x",
        "family=f&_total=accurate",
        "_has:Patient:link:family:contains=x",
        "name:contains=z&_sort=family",
    ] {
        let answer =
            server.get(&format!("/Patient?{query}")).expect(503).issue("too-costly").says("limits.search_steps");
        assert_eq!(answer.outcome().severities(), ["error"], "{query}");
    }
    assert_eq!(server.get("/Patient?_count=2").expect(200).ids().len(), 2);
}

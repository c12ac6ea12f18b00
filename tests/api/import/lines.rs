//! What becomes of the lines of an input.

use super::{counts, import, lines, local, manifest, patient, server, upload};
use crate::support::{Server, Source};
use serde_json::json;

#[test]
fn bad_lines_are_told_with_their_numbers_and_the_rest_is_stored() {
    let server = Server::with(|config| {
        local(config);
        config.limits.body_bytes = 10_000;
    });
    let long = json!({"resourceType": "Patient", "id": "long", "name": [{"family": "x".repeat(20_000)}]}).to_string();
    let text = [
        patient("a").to_string(),
        "{\"resourceType\": \"Patient\", ".into(),
        String::new(),
        "[]".into(),
        json!({"resourceType": "Patient", "id": "bad", "gender": "secret-word"}).to_string(),
        json!({"resourceType": "Observation", "id": "o", "status": "final", "code": {"text": "x"}}).to_string(),
        json!({"resourceType": "Pacient"}).to_string(),
        json!({"resourceType": "Patient", "id": "../x"}).to_string(),
        long,
        json!({"id": "none"}).to_string(),
        json!({"resourceType": "Patient", "id": "part", "meta": {"tag": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue", "code": "SUBSETTED"}]}}).to_string(),
        patient("z").to_string(),
    ];
    let source = Source::of([("/p", text.join("\n"))]);
    let imported = import(&server, &manifest(&[("Patient", &source.url("/p"))]));
    assert_eq!(counts(&imported), [(2, 0)]);
    let notes = imported.notes();
    let numbers: Vec<_> = notes.iter().map(|note| note.split(':').next().unwrap()).collect();
    let expected = ["Line 2", "Line 4", "Line 5", "Line 6", "Line 7", "Line 8", "Line 9", "Line 10", "Line 11"];
    assert_eq!(numbers, expected, "{notes:?}");
    assert!(notes[6].contains("limits.body_bytes"), "{notes:?}");
    assert!(!notes.concat().contains("secret-word"), "a value of somebody's record is in no message: {notes:?}");
    let fault = &imported.lines("error")[2];
    assert_eq!(fault["issue"][0]["expression"], json!(["Patient.gender"]));
    let error = &imported.manifest["error"][0];
    assert_eq!(
        (&error["type"], &error["count"], &error["inputUrl"]),
        (&json!("OperationOutcome"), &json!(9), &json!(source.url("/p")))
    );
    let mut ids = server.get("/Patient").expect(200).ids();
    ids.sort_unstable();
    assert_eq!(ids, ["a", "z"]);
}

#[test]
fn what_is_there_just_so_is_left_and_the_last_line_of_an_id_counts() {
    let server = server();
    let first = lines(&[patient("a"), patient("b")]);
    assert_eq!(counts(&upload(&server, "", &first)), [(2, 0)]);
    assert_eq!(counts(&upload(&server, "", &first)), [(2, 2)]);
    assert_eq!(server.get("/Patient/a").expect(200).version(), "1");
    server.delete("/Patient/b").expect(204);
    let male = |id: &str| json!({"resourceType": "Patient", "id": id, "gender": "male"});
    let other = json!({"resourceType": "Patient", "id": "a", "gender": "other"});
    assert_eq!(counts(&upload(&server, "", &lines(&[male("a"), other, male("b"), male("a")]))), [(4, 0)]);
    let stored = server.get("/Patient/a").expect(200);
    assert_eq!((stored.version().as_str(), stored.at("/gender")), ("4", json!("male")));
    // What came before stays in the history; what was deleted is there again.
    assert_eq!(server.get("/Patient/b").expect(200).version(), "3");
    // As by an update, labels stay.
    let tag = json!({"system": "urn:t", "code": "x"});
    let parameters =
        json!({"resourceType": "Parameters", "parameter": [{"name": "meta", "valueMeta": {"tag": [tag]}}]});
    server.post("/Patient/a/$meta-add").json(parameters).expect(200);
    assert_eq!(counts(&upload(&server, "", &lines(&[male("a")]))), [(1, 1)]);
    upload(&server, "", &lines(&[patient("a")]));
    assert_eq!(server.get("/Patient/a").expect(200).at("/meta/tag"), json!([tag]));
}

#[test]
fn by_identifier_as_a_conditional_update() {
    let server = server();
    let with = |values: &[&str], gender: &str| {
        let identifiers: Vec<_> = values.iter().map(|value| json!({"system": "urn:mrn", "value": value})).collect();
        let mut made = json!({"resourceType": "Patient", "gender": gender});
        if !values.is_empty() {
            made["identifier"] = identifiers.into();
        }
        made
    };
    let text = lines(&[with(&["1"], "male"), with(&["2,x"], "male"), with(&["1"], "female"), with(&[], "other")]);
    assert_eq!(counts(&upload(&server, "?match=identifier", &text)), [(4, 0)]);
    let found = server.get("/Patient?identifier=urn:mrn|1").expect(200);
    assert_eq!(found.resources()[0]["gender"], "female");
    let id = found.ids().concat();
    assert_eq!(server.get("/Patient?_summary=count").expect(200).at("/total"), 3);
    // The same again: what has no identifier has nothing to be known by.
    let again = upload(
        &server,
        "?match=identifier",
        &lines(&[with(&["1"], "female"), with(&["2,x"], "male"), with(&[], "other")]),
    );
    assert_eq!(counts(&again), [(3, 2)]);
    let mut own = with(&["1"], "male");
    own["id"] = json!("another");
    let refused = upload(&server, "?match=identifier", &lines(&[with(&["1", "2,x"], "male"), own.clone()]));
    assert_eq!(counts(&refused), [(0, 0)]);
    assert!(
        refused.notes()[0].contains("several") && refused.notes()[1].contains("another id"),
        "{:?}",
        refused.notes()
    );
    own["id"] = json!(id);
    assert_eq!(counts(&upload(&server, "?match=identifier", &lines(&[own]))), [(1, 0)]);
    assert_eq!(server.get(&format!("/Patient/{id}")).expect(200).at("/gender"), "male");
}

#[test]
fn conditional_references_become_the_one_match() {
    let server = server();
    let practitioner = |id: &str, npi: &str| json!({"resourceType": "Practitioner", "id": id, "identifier": [{"system": "urn:npi", "value": npi}]});
    let encounter = |id: &str, npi: &str| {
        let reference = format!("Practitioner?identifier=urn:npi|{npi}");
        json!({"resourceType": "Encounter", "id": id, "status": "finished", "class": {"code": "AMB"}, "participant": [{"individual": {"reference": reference}}]})
    };
    upload(&server, "", &lines(&[practitioner("there", "1")]));
    let text = lines(&[
        encounter("a", "1"),
        practitioner("new", "2"),
        encounter("b", "2"),
        encounter("c", "3"),
        practitioner("twin", "2"),
        encounter("d", "2"),
        encounter("e", "1"),
    ]);
    let imported = upload(&server, "", &text);
    assert_eq!(counts(&imported), [(5, 0)]);
    let notes = imported.notes();
    assert!(notes.len() == 2 && notes[0].starts_with("Line 4: ") && notes[1].starts_with("Line 6: "), "{notes:?}");
    let participant =
        |id: &str| server.get(&format!("/Encounter/{id}")).expect(200).at("/participant/0/individual/reference");
    assert_eq!(["a", "b", "e"].map(participant), ["Practitioner/there", "Practitioner/new", "Practitioner/there"]);
    assert_eq!(counts(&upload(&server, "", &lines(&[encounter("a", "1")]))), [(1, 1)]);
}

#[test]
fn without_validation_any_elements_are_taken() {
    let server = server();
    let odd = lines(&[json!({"resourceType": "Patient", "id": "odd", "gender": 7, "shoeSize": 42})]);
    assert_eq!(counts(&upload(&server, "", &odd)), [(0, 0)]);
    assert_eq!(counts(&upload(&server, "?validation=none", &odd)), [(1, 0)]);
    assert_eq!(server.get("/Patient/odd").expect(200).at("/shoeSize"), 42);
    let bad = "{\"resourceType\":\"Patient\",\"id\":\"a b\"}\n{\"resourceType\":\"Nothing\"}\n";
    let refused = upload(&server, "?validation=none", bad);
    assert_eq!((counts(&refused), refused.notes().len()), (vec![(0, 0)], 2));
}

#[test]
fn search_parameters_work_from_their_line_on() {
    let server = server();
    let parameter = |id: &str| {
        json!({
            "resourceType": "SearchParameter", "id": id, "url": format!("urn:x:{id}"), "name": "shoe", "status": "active",
            "description": "x", "code": "shoe", "base": ["Patient"], "type": "string",
            "expression": "Patient.extension.where(url='urn:shoe').value"
        })
    };
    let imported = upload(&server, "", &lines(&[parameter("one"), parameter("two")]));
    assert_eq!((counts(&imported), imported.notes().len()), (vec![(1, 0)], 1), "two of one code");
    let shoe =
        json!({"resourceType": "Patient", "id": "p", "extension": [{"url": "urn:shoe", "valueString": "large"}]});
    upload(&server, "", &lines(&[shoe]));
    assert_eq!(server.get("/Patient?shoe=large").expect(200).ids(), ["p"]);
}

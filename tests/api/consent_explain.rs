//! `Patient/[id]/$consent-explain`.

use crate::consent::{ACT_REASON, actor, consent};
use crate::support::{Answer, Person, Server};
use serde_json::{Value, json};

/// The texts of a part, in order, wherever it stands.
fn parts(value: &Value, name: &str) -> Vec<String> {
    let Some(items) = value["part"].as_array().or_else(|| value["parameter"].as_array()) else { return Vec::new() };
    let text = |item: &Value| {
        let mut members = item.as_object().unwrap().iter().filter(|(name, _)| name.starts_with("value"));
        let value = members.next().map(|(_, value)| value.clone()).unwrap_or_default();
        value["reference"].as_str().or_else(|| value.as_str()).unwrap_or_default().to_owned()
    };
    items.iter().filter(|item| item["name"] == name).map(text).collect()
}

fn first(answer: &Answer) -> Value {
    answer.at("/parameter/0").clone()
}

fn observation(id: &str, label: &str) -> Value {
    json!({
        "resourceType": "Observation", "id": id, "status": "final", "code": {"text": "x"}, "subject": {"reference": "Patient/eve"},
        "meta": {"security": [{"system": "http://terminology.hl7.org/CodeSystem/v3-Confidentiality", "code": label}]}
    })
}

#[test]
fn the_deciding_provision_is_named_and_why_others_do_not_match() {
    let server = Server::guarded();
    let admin = server.as_system("system/*.cruds");
    admin.put("/Patient/eve").json(json!({"resourceType": "Patient", "id": "eve"})).expect(201);
    for (id, label) in [("n", "N"), ("r", "R")] {
        admin.put(&format!("/Observation/{id}")).json(observation(id, label)).expect(201);
    }
    let restricted = json!({"type": "deny", "securityLabel": [{"system": "http://terminology.hl7.org/CodeSystem/v3-Confidentiality", "code": "R"}]});
    let doctor = json!({"type": "permit", "actor": [actor("Practitioner/p")], "provision": [restricted]});
    let research = json!({"type": "permit", "purpose": [{"system": ACT_REASON, "code": "HRESCH"}]});
    admin.put("/Consent/c").json(consent("c", "eve", "OPTOUT", &[research, doctor])).expect(201);
    let officer = Person { roles: &["Compliance Officer"], ..Person::default() };
    let officer = server.as_user("user/*.rs", &officer);
    let ask = |query: &str| officer.get(&format!("/Patient/eve/$consent-explain?{query}"));

    let found = first(&ask("recipient=Practitioner/p&purpose=TREAT").expect(200));
    assert_eq!(parts(&found, "decision"), ["part"], "{found}");
    let found = first(&ask("recipient=Practitioner/other&purpose=TREAT").expect(200));
    assert_eq!(parts(&found, "decision"), ["deny"]);
    assert_eq!(
        (parts(&found, "decidedBy"), parts(&found, "element")),
        (vec!["Consent/c".into()], vec!["Consent.policyRule".into()])
    );
    let provisions = found["part"].as_array().unwrap().iter().find(|part| part["name"] == "consent").unwrap().clone();
    let unmet: Vec<_> = provisions["part"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|part| part["name"] == "provision")
        .map(|part| parts(part, "unmet"))
        .collect();
    assert_eq!(unmet[1..3], [vec!["purpose".to_owned()], vec!["actor".to_owned()]], "{provisions}");
    let found = first(&ask("recipient=Practitioner/other&purpose=HRESCH").expect(200));
    assert_eq!(
        (parts(&found, "decision"), parts(&found, "element")),
        (vec!["permit".into()], vec!["Consent.provision.provision[0]".into()])
    );
    // Who may not read the observation may not ask about it.
    ask("recipient=Practitioner/p&resource=Observation/n").expect(404);

    let keeper = Person { fhir_user: Some("Practitioner/p"), roles: &["Clinical Director"], ..Person::default() };
    let keeper = server.as_user("user/*.rs user/Consent.u", &keeper);
    let path = "/Patient/eve/$consent-explain?recipient=Practitioner/p&purpose=TREAT&resource=Observation/n";
    let found = first(&keeper.get(path).expect(200));
    assert_eq!(
        (parts(&found, "decision"), parts(&found, "element")),
        (vec!["permit".into()], vec!["Consent.provision.provision[1]".into()])
    );
    // The restricted one is not to be seen by this doctor, who may not ask about it either.
    keeper.get(&path.replace("/n", "/r")).expect(404);
    keeper.get("/Observation/n").expect(200);
    keeper.get("/Observation/r").expect(404);
}

#[test]
fn who_may_ask_and_what() {
    let server = Server::guarded();
    let admin = server.as_system("system/*.cruds");
    admin.put("/Patient/eve").json(json!({"resourceType": "Patient", "id": "eve"})).expect(201);
    let found = first(&admin.get("/Patient/eve/$consent-explain").expect(200));
    assert_eq!(
        (parts(&found, "decision"), parts(&found, "setting")),
        (vec!["permit".into()], vec!["consent.without".into()])
    );
    admin.put("/Consent/c").json(consent("c", "eve", "OPTOUT", &[])).expect(201);
    let path = "/Patient/eve/$consent-explain?recipient=Practitioner/p";
    // Who does not manage consents does not see all of them.
    server.as_system("system/*.rs").get(path).expect(404);
    server.as_system("system/Patient.rs").get(path).expect(403);
    let eve = Person { fhir_user: Some("Patient/eve"), roles: &["Patient"], patient: Some("eve"), ..Person::default() };
    let eve = server.as_user("patient/*.rs", &eve);
    assert_eq!(parts(&first(&eve.get(path).expect(200)), "decision"), ["deny"]);
    eve.get("/Patient/ada/$consent-explain").expect(404);
    assert_eq!(
        parts(&first(&eve.get("/Patient/eve/$consent-explain?recipient=Patient/eve").expect(200)), "decision"),
        ["permit"]
    );
    for wrong in ["recipient=x", "purpose=NOTHING", "action=eat", "resource=Foo/1", "colour=red"] {
        admin.get(&format!("/Patient/eve/$consent-explain?{wrong}")).expect(400);
    }
    admin.get("/Patient/eve/$consent-explain?resource=Patient/none").expect(404);
    let body = json!({"resourceType": "Parameters", "parameter": [
        {"name": "recipient", "valueReference": {"reference": "Practitioner/p"}},
        {"name": "action", "valueCode": "correct"}
    ]});
    let found = first(&admin.post("/Patient/eve/$consent-explain").json(body).expect(200));
    assert_eq!(parts(&found, "decision"), ["deny"]);
}

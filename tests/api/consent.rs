//! Patients' consents: who cannot see what, by every path.

mod routes;

use crate::support::{Client, Person, Server};
use serde_json::{Value, json};

pub const ACT_CODE: &str = "http://terminology.hl7.org/CodeSystem/v3-ActCode";
pub const ACT_REASON: &str = "http://terminology.hl7.org/CodeSystem/v3-ActReason";
pub const PARTICIPATION: &str = "http://terminology.hl7.org/CodeSystem/v3-ParticipationType";

/// A Consent with a base rule and exceptions to it.
pub fn consent(id: &str, patient: &str, base: &str, exceptions: &[Value]) -> Value {
    let mut made = json!({
        "resourceType": "Consent", "id": id, "status": "active",
        "scope": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/consentscope", "code": "patient-privacy"}]},
        "category": [{"coding": [{"system": "http://loinc.org", "code": "59284-0"}]}],
        "patient": {"reference": format!("Patient/{patient}")},
        "policyRule": {"coding": [{"system": ACT_CODE, "code": base}]},
        "provision": {}
    });
    if exceptions.is_empty() {
        made.as_object_mut().unwrap().remove("provision");
    } else {
        made["provision"]["provision"] = exceptions.into();
    }
    made
}

pub fn actor(reference: &str) -> Value {
    json!({"role": {"coding": [{"system": PARTICIPATION, "code": "PRCP"}]}, "reference": {"reference": reference}})
}

/// Two patients with an observation each, a practitioner of an organisation and one of another.
fn hospital(server: &Server) -> Client {
    let admin = server.as_system("system/*.cruds");
    for id in ["eve", "ada"] {
        admin
            .put(&format!("/Patient/{id}"))
            .json(json!({"resourceType": "Patient", "id": id, "name": [{"family": id}]}))
            .expect(201);
        let observation = json!({
            "resourceType": "Observation", "id": format!("of-{id}"), "status": "final", "effectiveDateTime": "2020-05-01",
            "code": {"coding": [{"system": "http://loinc.org", "code": "8867-4"}]}, "subject": {"reference": format!("Patient/{id}")}
        });
        admin.put(&format!("/Observation/of-{id}")).json(observation).expect(201);
    }
    for id in ["a", "b"] {
        admin
            .put(&format!("/Organization/{id}"))
            .json(json!({"resourceType": "Organization", "id": id, "name": id}))
            .expect(201);
        admin.put(&format!("/Practitioner/{id}")).json(json!({"resourceType": "Practitioner", "id": id})).expect(201);
        let role = json!({
            "resourceType": "PractitionerRole", "id": id, "practitioner": {"reference": format!("Practitioner/{id}")},
            "organization": {"reference": format!("Organization/{id}")}, "code": [{"coding": [{"system": "urn:role", "code": "nurse"}]}]
        });
        admin.put(&format!("/PractitionerRole/{id}")).json(role).expect(201);
    }
    admin
}

fn clinician(server: &Server, practitioner: &str) -> Client {
    let reference = format!("Practitioner/{practitioner}");
    let person = Person { fhir_user: Some(&reference), roles: &["Clinical Director"], ..Person::default() };
    server.as_user("user/*.cruds", &person)
}

fn ids(client: &Client, path: &str) -> Vec<String> {
    let found = client.get(path).expect(200);
    let entries = found.at("/entry").as_array().cloned().unwrap_or_default();
    entries.iter().map(|entry| entry["resource"]["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn who_opts_out_is_not_seen_and_who_says_nothing_is() {
    let server = Server::guarded();
    let admin = hospital(&server);
    let doctor = clinician(&server, "a");
    assert_eq!(ids(&doctor, "/Observation?_total=accurate"), ["of-eve", "of-ada"]);
    admin.put("/Consent/c").json(consent("c", "eve", "OPTOUT", &[])).expect(201);
    assert_eq!(ids(&doctor, "/Observation"), ["of-ada"]);
    assert_eq!(doctor.get("/Observation?_summary=count").expect(200).at("/total"), 1);
    doctor.get("/Observation/of-eve").expect(404);
    doctor.get("/Patient/eve").expect(404);
    doctor.get("/Observation/of-eve/_history/1").expect(404);
    doctor.get("/Patient/ada").expect(200);
    assert_eq!(ids(&doctor, "/Observation?subject:Patient.name=eve"), [""; 0]);
    assert_eq!(ids(&doctor, "/Patient?_has:Observation:patient:code=8867-4"), ["ada"]);
    doctor.get("/Observation?_explain=true").expect(403);
}

#[test]
fn a_consent_counts_from_the_next_request_on_and_a_revoked_one_no_longer() {
    let server = Server::guarded();
    let admin = hospital(&server);
    let doctor = clinician(&server, "a");
    for _ in 0..20 {
        admin.put("/Consent/c").json(consent("c", "eve", "OPTOUT", &[])).send();
        doctor.get("/Observation/of-eve").expect(404);
        let mut revoked = consent("c", "eve", "OPTOUT", &[]);
        revoked["status"] = "inactive".into();
        admin.put("/Consent/c").json(revoked).expect(200);
        doctor.get("/Observation/of-eve").expect(200);
    }
    admin.put("/Consent/c").json(consent("c", "eve", "OPTOUT", &[])).expect(200);
    admin.delete("/Consent/c").expect(204);
    doctor.get("/Observation/of-eve").expect(200);
}

#[test]
fn exceptions_are_for_organisations_roles_and_persons() {
    let server = Server::guarded();
    let admin = hospital(&server);
    let (of_a, of_b) = (clinician(&server, "a"), clinician(&server, "b"));
    let sees = |client: &Client| client.get("/Observation/of-eve").send().status() == 200;
    let named = |reference: &str, kind: &str| json!({"type": kind, "actor": [actor(reference)]});
    let cases = [
        ("OPTOUT", named("Organization/a", "permit"), (true, false)),
        ("OPTIN", named("Organization/a", "deny"), (false, true)),
        ("OPTOUT", named("Practitioner/b", "permit"), (false, true)),
        ("OPTIN", named("PractitionerRole/b", "deny"), (true, false)),
        ("OPTIN", named("Device/x", "deny"), (true, true)),
        ("OPTOUT", json!({"type": "permit", "purpose": [{"system": ACT_REASON, "code": "TREAT"}]}), (true, true)),
        ("OPTOUT", json!({"type": "permit", "purpose": [{"system": ACT_REASON, "code": "HRESCH"}]}), (false, false)),
        ("OPTIN", json!({"type": "deny", "purpose": [{"system": ACT_REASON, "code": "HRESCH"}]}), (true, true)),
        (
            "OPTOUT",
            json!({"type": "permit", "actor": [{"role": {"coding": [{"system": "urn:role", "code": "nurse"}]}, "reference": {"display": "any"}}]}),
            (true, true),
        ),
        (
            "OPTIN",
            json!({"type": "deny", "actor": [{"role": {"coding": [{"system": "urn:pharos:role", "code": "Clinical Director"}]}, "reference": {"display": "any"}}]}),
            (false, false),
        ),
    ];
    for (base, exception, expected) in cases {
        admin.put("/Consent/c").json(consent("c", "eve", base, std::slice::from_ref(&exception))).send();
        assert_eq!((sees(&of_a), sees(&of_b)), expected, "{base} {exception}");
    }
}

#[test]
fn what_is_not_understood_permits_nothing() {
    let server = Server::guarded();
    let admin = hospital(&server);
    let doctor = clinician(&server, "a");
    let modifier = || json!([{"url": "urn:x", "valueBoolean": true}]);
    let with = |place: &str, value: Value| {
        let mut made = consent("c", "eve", "OPTIN", &[json!({"type": "permit"})]);
        let (parent, name) = place.rsplit_once('/').unwrap();
        made.pointer_mut(parent).unwrap()[name] = value;
        made
    };
    let rules = json!([{"system": ACT_CODE, "code": "OPTIN"}, {"system": ACT_CODE, "code": "OPTOUT"}]);
    let cases = [
        with("/modifierExtension", modifier()),
        with("/provision/provision/0/modifierExtension", modifier()),
        with("/provision/actor", json!([actor("Practitioner/b")])),
        with("/policyRule/coding", rules),
        with("/provision/provision", json!([{"type": "permit"}, {"type": "deny"}])),
        with("/provision/provision", json!([{"actor": [actor("Practitioner/b")]}])),
        with("/provision/period", json!({"start": "2025", "end": "2024"})),
        // A base rule that is not known: the setting.
        consent("c", "eve", "GRANTORCHOICE", &[]),
        // Contradictory Consents: the most restrictive wins.
        consent("d", "eve", "OPTOUT", &[]),
    ];
    doctor.get("/Observation/of-eve").expect(200);
    for made in cases {
        admin.put(&format!("/Consent/{}", made["id"].as_str().unwrap())).json(&made).send();
        assert_eq!(doctor.get("/Observation/of-eve").send().status(), 404, "{made}");
        admin.put("/Consent/c").json(consent("c", "eve", "OPTIN", &[])).send();
        assert_eq!(doctor.get("/Observation/of-eve").send().status() == 200, made["id"] == "c", "{made}");
    }
}

#[test]
fn a_consent_counts_while_it_is_in_force() {
    let server = Server::guarded();
    let admin = hospital(&server);
    let doctor = clinician(&server, "a");
    // The clock of the tests starts in January 2026.
    for (period, status) in [
        (json!({"start": "2025-01-01", "end": "2027"}), 404),
        (json!({"end": "2025-12-31"}), 200),
        (json!({"start": "2026-02"}), 200),
        (json!({"start": "2026-01"}), 404),
    ] {
        let mut made = consent("c", "eve", "OPTOUT", &[]);
        made["provision"] = json!({"period": period});
        admin.put("/Consent/c").json(made).send();
        doctor.get("/Observation/of-eve").expect(status);
    }
}

#[test]
fn patients_see_their_own_and_an_emergency_opens_what_is_closed() {
    let server = Server::guarded();
    let admin = hospital(&server);
    admin.put("/Consent/c").json(consent("c", "eve", "OPTOUT", &[])).expect(201);
    let own = Person { fhir_user: Some("Patient/eve"), roles: &["Patient"], patient: Some("eve"), ..Person::default() };
    let eve = server.as_user("patient/*.rs", &own);
    assert_eq!(ids(&eve, "/Observation"), ["of-eve"]);
    eve.get("/Consent/c").expect(200);
    let provider =
        |reason| Person { fhir_user: Some("Practitioner/a"), roles: &["Provider"], patient: None, break_glass: reason };
    let scopes = "user/*.rs";
    server.as_user(scopes, &provider(None)).get("/Observation/of-eve").expect(404);
    server.as_user(scopes, &provider(Some("found unconscious"))).get("/Observation/of-eve").expect(200);
}

#[test]
fn who_must_not_see_can_not_change_and_may_create_elsewhere() {
    let server = Server::guarded();
    let admin = hospital(&server);
    admin.put("/Consent/c").json(consent("c", "eve", "OPTOUT", &[])).expect(201);
    let of = |id: &str, patient: &str| json!({"resourceType": "Observation", "id": id, "status": "final", "code": {"text": "x"}, "subject": {"reference": format!("Patient/{patient}")}});
    admin.put("/Observation/new").json(of("new", "ada")).expect(201);
    admin.put("/Observation/other").json(of("other", "eve")).expect(403);
    admin.put("/Observation/of-eve").json(of("of-eve", "eve")).expect(404);
    admin.put("/Observation/of-eve").json(of("of-eve", "ada")).expect(404);
    admin.put("/Observation/of-ada").json(of("of-ada", "eve")).expect(403);
    admin.post("/Observation").json(of("x", "eve")).expect(403);
    admin.post("/Observation").header("If-None-Exist", "_id=x").json(of("x", "ada")).expect(403);
    admin.delete("/Observation/of-eve").expect(204);
    let doctor = clinician(&server, "a");
    admin.delete("/Consent/c").expect(204);
    doctor.get("/Observation/of-eve").expect(200);
}

#[test]
fn patients_have_to_opt_in_where_the_setting_says_so() {
    let server = Server::with(|config| {
        config.insecure_open = false;
        config.consent.without = pharos::config::Rule::Deny;
    });
    let doctor = clinician(&server, "a");
    let admin = server.as_system("system/*.cruds");
    admin.put("/Patient/eve").json(json!({"resourceType": "Patient", "id": "eve"})).expect(403);
    admin.put("/Consent/c").json(consent("c", "eve", "OPTIN", &[])).expect(201);
    admin.put("/Patient/eve").json(json!({"resourceType": "Patient", "id": "eve"})).expect(201);
    doctor.get("/Patient/eve").expect(200);
    admin.delete("/Consent/c").expect(204);
    doctor.get("/Patient/eve").expect(404);
}

#[test]
fn a_consent_for_a_deleted_patient_harms_nothing() {
    let server = Server::guarded();
    let admin = hospital(&server);
    let doctor = clinician(&server, "a");
    admin.delete("/Patient/eve").expect(204);
    doctor.get("/Patient/eve").expect(410);
    admin.put("/Consent/c").json(consent("c", "eve", "OPTOUT", &[])).expect(201);
    doctor.get("/Patient/eve").expect(404);
    assert_eq!(ids(&doctor, "/Patient"), ["ada"]);
}

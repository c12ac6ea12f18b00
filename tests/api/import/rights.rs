//! Who may import what, and what the ledger says of it.

use super::{begin, counts, import, lines, local, manifest, patient, upload};
use crate::consent::{actor, consent};
use crate::support::{Server, Source, job_path};
use serde_json::{Value, json};

fn guarded() -> Server {
    Server::with(|config| {
        local(config);
        config.insecure_open = false;
    })
}

#[test]
fn scopes_must_let_all_of_a_type_be_created_and_changed() {
    let server = guarded();
    let source = Source::of([("/p", lines(&[patient("a")]))]);
    let url = source.url("/p");
    let wanted = manifest(&[("Patient", &url)]);
    server.post("/$import").json(&wanted).expect(401);
    for scopes in [
        "system/*.rs",
        "system/Patient.c",
        "system/Patient.urs",
        "system/Observation.cruds",
        "system/Patient.cu?gender=male",
    ] {
        server.as_system(scopes).post("/$import").json(&wanted).expect(403).issue("forbidden");
    }
    server.as_system("system/*.rs").post("/$import").body("application/fhir+ndjson", "").expect(403);
    let mut by_identifier = wanted.clone();
    by_identifier["match"] = json!("identifier");
    let client = server.as_system("system/Patient.cu");
    client.post("/$import").json(&by_identifier).expect(403);
    assert_eq!(counts(&import(&client, &wanted)), [(1, 0)]);
    let finder = server.as_system("system/Patient.cus");
    assert_eq!(counts(&import(&finder, &by_identifier)), [(1, 1)]);
    // Each line is looked at where no type is named.
    let organization = json!({"resourceType": "Organization", "id": "o", "name": "O"});
    let ledger = json!({"resourceType": "AuditEvent", "id": "x"});
    let mixed = upload(&client, "?validation=none", &lines(&[patient("b"), organization, ledger]));
    assert_eq!(counts(&mixed), [(1, 0)]);
    assert!(mixed.notes()[0].starts_with("Line 2: The granted scopes"), "{:?}", mixed.notes());
    assert!(mixed.notes()[1].contains("AuditEvents"), "{:?}", mixed.notes());
    // Only who asked sees it.
    let path = &mixed.path;
    let file = mixed.urls("error", None).concat();
    for other in [server.as_system("system/Patient.cu"), server.as_system("system/*.cruds")] {
        other.get(path).expect(404);
        other.get(&file).expect(404);
        other.delete(path).expect(404);
    }
    client.get(&file).expect(200);
    client.get(&format!("{path}/1.input.ndjson")).expect(404);
}

#[test]
fn no_manifest_is_asked_for_on_behalf_of_who_may_not_import() {
    let server = guarded();
    let source = Source::of([
        ("/manifest", json!({"output": [{"type": "Patient", "url": "/p"}]}).to_string()),
        ("/p", lines(&[patient("a")])),
    ]);
    let wanted = json!({"exportUrl": source.url("/manifest"), "exportType": "static"});
    for scopes in ["system/*.rs", "system/Patient.c"] {
        server.as_system(scopes).post("/$import").json(&wanted).expect(403).issue("forbidden");
    }
    server.post("/$import").json(&wanted).expect(401);
    assert_eq!(source.asked("/manifest"), 0);
    assert_eq!(counts(&import(&server.as_system("system/Patient.cu"), &wanted)), [(1, 0)]);
    assert_eq!(source.asked("/manifest"), 1);
}

#[test]
fn a_patient_who_opted_out_is_not_written_over() {
    let server = guarded();
    let admin = server.as_registered("system/*.cruds", Some("Organization/y"), &[]);
    upload(&admin, "", &lines(&[patient("eve"), patient("ada")]));
    let deny = json!({"type": "deny", "actor": [actor("Organization/x")]});
    admin.put("/Consent/c").json(consent("c", "eve", "OPTIN", &[deny])).expect(201);
    let narrow = server.as_registered("system/Patient.cu system/Observation.cu", Some("Organization/x"), &[]);
    let male = |id: &str| json!({"resourceType": "Patient", "id": id, "gender": "male"});
    let imported = upload(&narrow, "", &lines(&[male("eve"), male("ada"), male("new")]));
    assert_eq!(counts(&imported), [(2, 0)]);
    assert!(imported.notes()[0].starts_with("Line 1:"), "{:?}", imported.notes());
    assert_eq!(admin.get("/Patient/eve").expect(200).version(), "1");
    assert_eq!(admin.get("/Patient/ada").expect(200).at("/gender"), "male");
    let refused = narrow.get("/Patient/eve").send();
    assert!([403, 404].contains(&refused.status()), "{refused}");
}

#[test]
fn the_ledger_has_the_kick_off_and_each_commit_with_its_patients() {
    let server = guarded();
    let admin = server.as_system("system/*.cruds");
    let client = server.as_system("system/Patient.cu");
    let source = Source::of([("/p?token=secret-token", lines(&[patient("a"), patient("b")]))]);
    let begun = begin(&client, &manifest(&[("Patient", &source.url("/p?token=secret-token"))]));
    let path = job_path(&client, &begun);
    client.exported(&begun);
    client.get(&path).expect(200);
    let of = |patient: &str| {
        admin.get(&format!("/AuditEvent?patient=Patient/{patient}&subtype=import")).expect(200).resources()
    };
    let (a, b) = (of("a"), of("b"));
    assert_eq!((a.len(), b.len()), (1, 1));
    assert_eq!(a[0]["recorded"], b[0]["recorded"], "one commit for both");
    let all = admin.get("/AuditEvent?subtype=import").expect(200).resources();
    assert_eq!(all.len(), 4, "the kick-off, the commit, and its patients one by one");
    let who = |event: &Value| event["agent"][0]["who"].clone();
    assert!(all.iter().all(|event| who(event) == who(&a[0])), "{all:?}");
    assert!(!serde_json::to_string(&all).unwrap().contains("secret-token"));
}

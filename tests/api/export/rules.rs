//! What is refused, what is left out and told, and who may ask.

use super::{fill, observation, patient, put};
use crate::support::{Person, Server, job_path};
use serde_json::{Value, json};

#[test]
fn what_can_not_be_meant_is_refused_by_name() {
    let server = Server::start();
    fill(&server);
    let cases = [
        ("/$export?_outputFormat=csv", "_outputFormat"),
        ("/$export?_type=Pacient", "_type"),
        ("/$export?_type=Patient,Nothing", "_type"),
        ("/Patient/$export?_type=Organization", "_type"),
        ("/Group/ab/$export?_type=Patient,Organization", "_type"),
        ("/$export?_since=yesterday", "_since"),
        ("/$export?_since=2026-01-01", "_since"),
        ("/$export?_since=2099-01-01T00:00:00Z", "_since"),
        ("/$export?_since=2020-01-01T00:00:00Z&_since=2021-01-01T00:00:00Z", "_since"),
        ("/$export?_since=2020-01-02T00:00:00Z&_until=2020-01-01T00:00:00Z", "_until"),
        ("/$export?_until=never", "_until"),
        ("/$export?_elements=Patient.shoeSize", "_elements"),
        ("/$export?_typeFilter=Patient", "_typeFilter"),
        ("/$export?_type=Patient&_typeFilter=Observation%3Fstatus%3Dfinal", "_typeFilter"),
        ("/$export?_typeFilter=Observation%3Fno-such%3Dx", "_typeFilter"),
        ("/$export?_typeFilter=Observation%3Fdate%3Dyesterday", "_typeFilter"),
        ("/$export?_typeFilter=Observation%3F_include%3DObservation:subject", "_typeFilter"),
        ("/$export?_typeFilter=Observation%3F_sort%3Ddate", "_typeFilter"),
        ("/$export?_typeFilter=Observation%3F_count%3D5", "_typeFilter"),
        ("/$export?includeAssociatedData=Everything", "includeAssociatedData"),
        ("/$export?organizeOutputBy=Pacient", "organizeOutputBy"),
        ("/$export?organizeOutputBy=AuditEvent", "organizeOutputBy"),
        ("/$export?organizeOutputBy=Patient&organizeOutputBy=Group", "organizeOutputBy"),
        ("/$export?allowPartialManifests=perhaps", "allowPartialManifests"),
        ("/Patient/$export?patient=Patient/a", "patient"),
        ("/$export?unheard=of", "unheard"),
    ];
    for (path, name) in cases {
        server.get(path).expect(400).about(name);
    }
    let many = "T,".repeat(10_000);
    let body = json!({"resourceType": "Parameters", "parameter": [{"name": "_type", "valueString": many}]});
    server.post("/$export").json(body).expect(400).about("_type");
    server.head("/$export").expect(405);
    server.get("/Group/none/$export").expect(404);
    server.get("/Observation/$export").expect(404);
    let entry = json!({"request": {"method": "GET", "url": "$export"}});
    for kind in ["batch", "transaction"] {
        let bundle = json!({"resourceType": "Bundle", "type": kind, "entry": [entry]});
        let answer = server.post("/").json(bundle).send();
        assert!(answer.text().contains("request of its own"), "{answer}");
    }
    assert!(server.app().jobs.list(pharos::tenant::TenantId::DEFAULT).unwrap().is_empty(), "nothing was begun");
}

#[test]
fn all_three_names_of_the_format_are_taken() {
    let server = Server::start();
    for format in ["application/fhir%2Bndjson", "application/fhir+ndjson", "application/ndjson", "ndjson"] {
        server.export(&format!("/$export?_outputFormat={format}&allowPartialManifests=true"));
    }
}

#[test]
fn where_handling_is_lenient_what_is_left_out_is_told() {
    let server = Server::start();
    fill(&server);
    let query = "_type=Patient,Organization,Nothing&organizeOutputBy=Pacient&unheard=of&includeAssociatedData=x\
                 &_typeFilter=Patient%3Fno-such%3Dx&_typeFilter=Observation%3Fstatus%3Dfinal";
    let request = server.get(&format!("/Patient/$export?{query}"));
    let begun = request.header("Prefer", "respond-async, handling=lenient").expect(202);
    let exported = server.exported(&begun);
    assert_eq!(exported.names(), ["Patient/a", "Patient/b", "Patient/c"]);
    let notes = exported.notes().join("\n");
    for name in
        ["Nothing", "Organization", "organizeOutputBy", "unheard", "includeAssociatedData", "no-such", "Observation"]
    {
        assert!(notes.contains(name), "{name} in {notes}");
    }
    assert_eq!(exported.manifest["error"][0]["type"], "OperationOutcome");
    // A format that there is not stays an error.
    server.get("/$export?_outputFormat=csv").header("Prefer", "handling=lenient").expect(400);
}

#[test]
fn scopes_decide_what_is_exported() {
    let server = Server::guarded();
    fill(&server.as_system("system/*.cruds"));
    server.get("/$export").expect(401);
    let reader = server.as_system("system/Patient.rs system/Group.rs");
    assert_eq!(reader.export("/$export").names(), ["Group/ab", "Patient/a", "Patient/b", "Patient/c"]);
    reader.get("/$export?_type=Observation").expect(403);
    let lenient = reader.get("/$export?_type=Observation,Patient").header("Prefer", "handling=lenient").expect(202);
    let lenient = reader.exported(&lenient);
    assert_eq!((lenient.names().len(), lenient.notes().len()), (3, 1));
    let restricted = server.as_system("system/Patient.rs?_id=b system/Observation.rs?subject=Patient/c");
    assert_eq!(restricted.export("/Patient/$export").names(), ["Observation/of-c", "Patient/b"]);
    // A filter sees of other types only what could be searched for itself.
    let blind = server.as_system("system/Observation.rs");
    blind.get("/$export?_typeFilter=Observation%3Fsubject%3APatient.gender%3Dfemale").expect(403);
    server.as_system("system/Patient.c").get("/$export").expect(403);
    blind.get("/$export?organizeOutputBy=Patient").expect(403);
    // Clients seldom ask for a scope of Group: who may see all patients may have them by a Group.
    let patients = server.as_system("system/Patient.rs");
    assert_eq!(patients.export("/Group/ab/$export").names(), ["Patient/a", "Patient/b"]);
    for scopes in ["system/Observation.rs", "system/Patient.rs?_id=a"] {
        server.as_system(scopes).get("/Group/ab/$export").expect(403);
    }
    server.as_system("system/Patient.rs system/Group.rs?_id=other").get("/Group/ab/$export").expect(404);
}

#[test]
fn nobody_else_sees_a_job_or_its_files() {
    let server = Server::guarded();
    let client = server.as_system("system/*.cruds");
    fill(&client);
    let exported = client.export("/$export?_type=Patient");
    let file = exported.urls("output", None).remove(0);
    let other = server.as_system("system/*.cruds");
    for path in [&exported.path, &file] {
        other.get(path).expect(404).issue("not-found");
        server.get(path).expect(401);
    }
    other.delete(&exported.path).expect(404);
    let admin = server.as_user("admin user/*.cruds", &Person { roles: &["Admin"], ..Person::default() });
    admin.get(&exported.path).expect(200);
    admin.get(&file).expect(403);
    for name in ["2.Patient.ndjson", "1.Patient.ndjson.who", "..", "%2e%2e%2fdata", "1.Patient.ndjson%00", ""] {
        let answer = client.get(&format!("{}/{name}", exported.path)).send();
        assert!([200, 404].contains(&answer.status()) && !answer.text().contains("Family"), "{name}: {answer}");
    }
    client.get(&file).expect(200);
}

#[test]
fn consent_narrows_an_export() {
    let server = Server::guarded();
    let admin = server.as_system("system/*.cruds");
    fill(&admin);
    let consent = json!({
        "resourceType": "Consent", "id": "no", "status": "active", "patient": {"reference": "Patient/b"},
        "scope": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/consentscope", "code": "patient-privacy"}]},
        "category": [{"coding": [{"system": "http://loinc.org", "code": "59284-0"}]}],
        "policyRule": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "OPTOUT"}]}
    });
    put(&admin, &consent);
    let reader = server.as_system("system/*.rs");
    let names = reader.export("/$export").names();
    assert!(
        names.contains(&"Patient/a".to_owned())
            && !names.iter().any(|name| name.ends_with("/b") || name.ends_with("of-b")),
        "{names:?}"
    );
    assert!(!names.contains(&"Group/ab".to_owned()), "it tells of b, too");
    let of_group = reader.export("/Group/ab/$export").names();
    assert_eq!(of_group, ["Observation/of-a", "Patient/a"], "the others are not held up by it");
}

#[test]
fn a_tenant_has_only_so_many_and_polling_has_a_limit() {
    let server = Server::with(|config| config.limits.jobs_per_tenant = 1);
    server.app().jobs.stop();
    let begun = server.get("/$export").expect(202);
    let refused = server.get("/$export").expect(429).says("limits.jobs_per_tenant");
    assert!(refused.header("retry-after").is_some());
    let path = job_path(&server, &begun);
    let first = server.get(&path).expect(202);
    assert_eq!((first.header("x-progress"), first.header("retry-after")), (Some("waiting"), Some("1")));
    let late = (0..30).map(|_| server.get(&path).send()).find(|answer| answer.status() == 429).unwrap();
    assert!(late.header("retry-after").is_some() && late.text().contains("too often"), "{late}");
    server.delete(&path).expect(202);
    server.get(&path).expect(404).issue("not-found");
    server.get("/$export").expect(202);
}

#[test]
fn the_ledger_has_the_kick_off_and_each_file_with_its_patients() {
    let server = Server::guarded();
    let client = server.as_system("system/*.cruds");
    fill(&client);
    let begun = client.get("/$export?_type=Observation&_typeFilter=Observation%3Fsubject%3DPatient%2Fa,Observation%3Fsubject%3DPatient%2Fb").expect(202);
    let exported = client.exported(&begun);
    exported.lines("output");
    let auditor = server
        .as_user("user/AuditEvent.rs user/Patient.rs", &Person { roles: &["Compliance Officer"], ..Person::default() });
    let events = |query: &str| auditor.get(&format!("/AuditEvent?{query}")).expect(200).resources();
    let kick_off =
        events("subtype=urn:pharos:audit|export&type=http://terminology.hl7.org/CodeSystem/audit-event-type|rest");
    println!("{kick_off:#?}");
    let told = |patient: &str| {
        let found =
            events(&format!("patient=Patient/{patient}&type=http://dicom.nema.org/resources/ontology/DCM|110106"));
        found.len()
    };
    assert_eq!((told("a"), told("b"), told("c")), (1, 1, 0));
    let queries = |event: &Value| event["entity"].to_string();
    let files = events("type=http://dicom.nema.org/resources/ontology/DCM|110106");
    assert!(files.iter().any(|event| queries(event).contains("_jobs")) || !files.is_empty(), "{files:#?}");
    // Whoever only asks how long it is, gets nothing.
    client.head(&exported.urls("output", None)[0]).expect(200);
    assert_eq!(told("a"), 1);
}

#[test]
fn patients_may_be_named_in_a_body() {
    let server = Server::start();
    fill(&server);
    let post = |path: &str, ids: &[&str], prefer: &str| {
        let parameter =
            |id: &&str| json!({"name": "patient", "valueReference": {"reference": format!("Patient/{id}")}});
        let parameters: Vec<_> = ids.iter().map(parameter).collect();
        let body = json!({"resourceType": "Parameters", "parameter": parameters});
        server.post(path).header("Prefer", prefer).json(body).send()
    };
    let named = server.exported(&post("/Patient/$export", &["a"], "respond-async").status_is(202));
    assert_eq!(named.names(), ["Group/ab", "Observation/of-a", "Patient/a"]);
    post("/Patient/$export", &["a", "nobody"], "").status_is(400).about("patient");
    post("/Group/ab/$export", &["c"], "").status_is(400).about("patient");
    post("/$export", &["a"], "").status_is(400).about("patient");
    let lenient = post("/Group/ab/$export", &["b", "c"], "handling=lenient").status_is(202);
    let lenient = server.exported(&lenient);
    assert_eq!(lenient.names(), ["Group/ab", "Observation/of-b", "Patient/b"]);
    assert!(lenient.notes()[0].starts_with("1 of the patients"));
    put(&server, &patient("d"));
    put(&server, &observation("of-d", "d"));
}

//! What a token reaches, over every path that gives data out or takes it in.

use crate::support::{Client, Person, Server};
use pharos::auth::records::{Authorization, Client as Registered, User};
use serde_json::{Value, json};

fn patient(id: &str) -> Value {
    json!({"resourceType": "Patient", "id": id, "name": [{"family": format!("Family-{id}")}]})
}

fn observation(id: &str, patient: &str, category: &str) -> Value {
    json!({
        "resourceType": "Observation", "id": id, "status": "final",
        "category": [{"coding": [{"system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": category}]}],
        "code": {"coding": [{"system": "http://loinc.org", "code": "1234-5"}]},
        "subject": {"reference": format!("Patient/{patient}")},
        "performer": [{"reference": "Practitioner/doc"}]
    })
}

/// Patients a and b; of each a laboratory and a vital sign; a practitioner.
fn filled() -> (Server, Client) {
    let server = Server::guarded();
    let all = server.as_system("system/*.cruds");
    all.put("/Practitioner/doc").json(json!({"resourceType": "Practitioner", "id": "doc"})).expect(201);
    for id in ["a", "b"] {
        all.put(&format!("/Patient/{id}")).json(patient(id)).expect(201);
        for category in ["laboratory", "vital-signs"] {
            let own = format!("{id}-{category}");
            all.put(&format!("/Observation/{own}")).json(observation(&own, id, category)).expect(201);
        }
    }
    (server, all)
}

fn of_patient(id: &str) -> Person<'_> {
    Person { fhir_user: None, roles: &["Clinical Director"], patient: Some(id), break_glass: None }
}

#[test]
fn without_a_good_token_there_is_nothing_but_the_capabilities() {
    let server = Server::guarded();
    server.get("/metadata").expect(200);
    for path in ["/Patient", "/Patient/a", "/_history", "/Patient/a/$everything"] {
        let answer = server.get(path).expect(401).issue("login");
        assert!(answer.header("www-authenticate").unwrap().starts_with("Bearer realm="));
    }
    for token in ["", "x", "a.b.c", "eyJhbGciOiJub25lIn0.e30."] {
        let answer = server.bearing(token).get("/Patient").expect(401);
        assert!(answer.header("www-authenticate").unwrap().starts_with("Bearer realm="));
    }
    server.get("/Patient").header("Authorization", "Basic dTpw").expect(401);
    let good = server.token("system/*.cruds", None);
    server.bearing(&good).get("/Patient").expect(200);
    let at = good.len() - 10;
    let other = if good[at..].starts_with('A') { 'B' } else { 'A' };
    let altered = format!("{}{other}{}", &good[..at], &good[at + 1..]);
    let answer = server.bearing(&altered).get("/Patient").expect(401);
    assert!(answer.header("www-authenticate").unwrap().contains("error=\"invalid_token\""));
}

#[test]
fn what_no_scope_covers_is_403_with_a_challenge() {
    let (server, _) = filled();
    let reader = server.as_system("system/Observation.r");
    reader.get("/Observation/a-laboratory").expect(200);
    reader.get("/Observation/a-laboratory/_history").expect(200);
    let forbidden = [
        ("GET", "/Observation"),
        ("GET", "/Observation/_history"),
        ("GET", "/Patient/a"),
        ("GET", "/Patient/nobody"),
        ("GET", "/Patient/a/_history/1"),
        ("DELETE", "/Observation/a-laboratory"),
        ("GET", "/Patient/a/$everything"),
        ("GET", "/Observation/$lastn"),
        ("GET", "/$reindex"),
        ("DELETE", "/Observation?status=final"),
    ];
    for (method, path) in forbidden {
        let answer = reader.request(method, path).expect(403).issue("forbidden");
        assert!(answer.header("www-authenticate").unwrap().contains("insufficient_scope"), "{method} {path}");
    }
    reader.post("/Observation").json(observation("x", "a", "laboratory")).expect(403);
    reader.put("/Observation/a-laboratory").json(observation("a-laboratory", "a", "laboratory")).expect(403);
}

#[test]
fn a_patient_token_sees_one_record_and_the_directory() {
    let (server, _) = filled();
    let app = server.as_user("patient/*.rs", &of_patient("a"));
    app.get("/Patient/a").expect(200);
    assert_eq!(app.get("/Patient").expect(200).ids(), ["a"]);
    let found = app.get("/Observation?_total=accurate&_sort=_id").expect(200);
    assert_eq!((found.ids(), found.at("/total")), (vec!["a-laboratory".into(), "a-vital-signs".into()], json!(2)));
    assert_eq!(app.get("/Observation?_summary=count").expect(200).at("/total"), json!(2));
    app.get("/Practitioner/doc").expect(200);
    // What is not to be seen is answered as what is not there.
    for (hidden, absent) in [
        ("/Patient/b", "/Patient/x"),
        ("/Observation/b-laboratory", "/Observation/x"),
        ("/Patient/b/_history", "/Patient/x/_history"),
        ("/Patient/b/_history/1", "/Patient/x/_history/1"),
        ("/Patient/b/$everything", "/Patient/x/$everything"),
    ] {
        assert_eq!(app.get(hidden).expect(404).text(), app.get(absent).expect(404).text(), "{hidden}");
    }
    for empty in [
        "/Patient?_id=b",
        "/Patient/b/Observation",
        "/Observation?subject:Patient.name=Family-b",
        "/Observation?subject=Patient/b",
        "/Patient?_has:Observation:subject:_id=b-laboratory",
        "/Patient?_filter=name eq Family-b".replace(' ', "%20").as_str(),
    ] {
        let answer = app.get(&format!("{empty}{}_total=accurate", if empty.contains('?') { "&" } else { "?" }));
        let answer = answer.expect(200);
        assert_eq!((answer.ids(), answer.at("/total")), (Vec::<String>::new(), json!(0)), "{empty}");
    }
    // What is left out of a set is not told by asking for the rest of it.
    assert_eq!(app.get("/Patient?_id:not=a").expect(200).ids(), Vec::<String>::new());
    let everything = app.get("/Patient/a/$everything").expect(200);
    assert!(everything.ids().iter().all(|id| id.starts_with('a') || id == "doc"), "{:?}", everything.ids());
}

#[test]
fn includes_and_chains_stop_where_the_grant_does() {
    let (server, _) = filled();
    let app = server.as_user("patient/Observation.rs patient/Patient.r", &of_patient("a"));
    let answer = app.get("/Observation?_include=Observation:subject&_include=Observation:performer").expect(200);
    let mut ids = answer.ids();
    ids.sort();
    assert_eq!(ids, ["a", "a-laboratory", "a-vital-signs"], "no Practitioner");
    app.get("/Observation?subject:Patient.name=Family-a").expect(403);
    app.get("/Observation?performer:Practitioner._id=doc").expect(403);
    app.get("/Observation?subject.name=Family-a").expect(403).issue("forbidden");
    let all = server.as_user("user/Patient.rs user/Observation.rs?category=laboratory", &of_patient("a"));
    let revinclude = all.get("/Patient?_id=b&_revinclude=Observation:subject").expect(200);
    assert_eq!(revinclude.ids(), ["b", "b-laboratory"]);
    assert_eq!(
        all.get("/Patient?_has:Observation:patient:category=vital-signs").expect(200).ids(),
        Vec::<String>::new()
    );
}

#[test]
fn a_search_restriction_counts_for_every_interaction() {
    let (server, whole) = filled();
    let app = server.as_system("system/Observation.cruds?category=laboratory");
    app.get("/Observation/a-laboratory").expect(200);
    app.get("/Observation/a-vital-signs").expect(404);
    let mut ids = app.get("/Observation").expect(200).ids();
    ids.sort();
    assert_eq!(ids, ["a-laboratory", "b-laboratory"]);
    // Neither what is submitted nor what is stored may lie outside.
    app.post("/Observation").json(observation("n", "a", "vital-signs")).expect(403);
    app.post("/Observation").json(observation("n", "a", "laboratory")).expect(201);
    app.put("/Observation/a-laboratory").json(observation("a-laboratory", "a", "vital-signs")).expect(403);
    app.put("/Observation/a-vital-signs").json(observation("a-vital-signs", "a", "laboratory")).expect(404);
    app.put("/Observation/new").json(observation("new", "a", "laboratory")).expect(404);
    let patch = json!([{"op": "replace", "path": "/status", "value": "amended"}]);
    let patched =
        |id: &str| app.patch(&format!("/Observation/{id}")).body("application/json-patch+json", patch.to_string());
    patched("a-vital-signs").expect(404);
    patched("a-laboratory").expect(200);
    // A condition tells nothing of what is not to be seen.
    let conditional = |id: &str| {
        let request = app.put(&format!("/Observation/{id}")).header("If-None-Match", "*");
        request.json(observation(id, "a", "laboratory")).send().text().to_owned()
    };
    assert_eq!(conditional("a-vital-signs"), conditional("absent"));
    app.delete("/Observation/a-vital-signs").expect(204);
    whole.get("/Observation/a-vital-signs").expect(200);
    app.delete("/Observation/a-laboratory").expect(204);
    app.get("/Observation/a-laboratory").expect(410);
    whole.get("/Observation/a-laboratory").expect(410);
    let create = app.post("/Observation").header("If-None-Exist", "code=1234-5");
    create.json(observation("n", "a", "laboratory")).expect(403);
    app.delete("/Observation?code=1234-5").expect(403);
    app.put("/Observation?code=1234-5").json(observation("n", "a", "laboratory")).expect(403);
}

#[test]
fn an_old_version_is_seen_by_its_own_keys_and_the_current_ones() {
    let (server, whole) = filled();
    // Once a laboratory value of a, now a vital sign; and the other way round.
    whole.put("/Observation/a-laboratory").json(observation("a-laboratory", "a", "vital-signs")).expect(200);
    whole.put("/Observation/b-vital-signs").json(observation("b-vital-signs", "b", "laboratory")).expect(200);
    let app = server.as_system("system/Observation.rs?category=laboratory");
    app.get("/Observation/a-laboratory/_history/1").expect(404);
    app.get("/Observation/b-vital-signs/_history/1").expect(404);
    app.get("/Observation/b-vital-signs/_history/2").expect(200);
    let history = app.get("/Observation/b-vital-signs/_history").expect(200);
    assert_eq!(history.at("/entry").as_array().unwrap().len(), 1);
    assert_eq!(history.at("/total"), Value::Null);
    let of_type = app.get("/Observation/_history").expect(200);
    assert_eq!(of_type.ids(), ["b-vital-signs", "b-laboratory"]);
    let of_all = app.get("/_history").expect(200);
    assert_eq!(of_all.ids(), ["b-vital-signs", "b-laboratory"]);
    // A deletion is told to those who could have read the last version.
    whole.delete("/Observation/b-laboratory").expect(204);
    whole.delete("/Observation/a-vital-signs").expect(204);
    app.get("/Observation/b-laboratory").expect(410);
    app.get("/Observation/a-vital-signs").expect(404);
}

#[test]
fn entries_of_bundles_reach_no_further_than_requests() {
    let (server, whole) = filled();
    let app = server.as_user("patient/Observation.rs", &of_patient("a"));
    let entry = |method: &str, url: &str| json!({"request": {"method": method, "url": url}});
    let bundle = |kind: &str, entries: Vec<Value>| json!({"resourceType": "Bundle", "type": kind, "entry": entries});
    let batch = app.post("").json(bundle(
        "batch",
        vec![
            entry("GET", "Observation/a-laboratory"),
            entry("GET", "Observation/b-laboratory"),
            entry("GET", "Patient/a"),
            entry("DELETE", "Observation/a-laboratory"),
            entry("GET", "Observation?subject=Patient/b"),
        ],
    ));
    let batch = batch.expect(200);
    let statuses: Vec<_> = (0..5).map(|at| batch.at(&format!("/entry/{at}/response/status"))).collect();
    assert_eq!(statuses, ["200 OK", "404", "403", "403", "200 OK"]);
    assert_eq!(batch.at("/entry/4/resource/total"), json!(0));
    app.post("").json(bundle("transaction", vec![entry("DELETE", "Observation/b-laboratory")])).expect(403);
    let writer = server.as_user("patient/Observation.cud", &of_patient("a"));
    let put = |id: &str, whose: &str| json!({"request": {"method": "PUT", "url": format!("Observation/{id}")}, "resource": observation(id, whose, "laboratory")});
    writer.post("").json(bundle("transaction", vec![put("a-laboratory", "b")])).expect(403);
    writer.post("").json(bundle("transaction", vec![put("b-laboratory", "a")])).expect(404);
    writer.post("").json(bundle("transaction", vec![put("a-laboratory", "a")])).expect(200);
    let both = bundle("transaction", vec![entry("DELETE", "Observation/b-laboratory"), put("a-laboratory", "a")]);
    writer.post("").json(both).expect(200);
    whole.get("/Observation/b-laboratory").expect(200);
}

#[test]
fn a_binary_is_seen_with_what_it_belongs_to() {
    let (server, whole) = filled();
    let binary = |id: &str, context: Option<&str>| {
        let mut binary = json!({"resourceType": "Binary", "id": id, "contentType": "text/plain", "data": "aGk="});
        if let Some(context) = context {
            binary["securityContext"] = json!({"reference": context});
        }
        whole.put(&format!("/Binary/{id}")).json(binary).expect(201);
    };
    binary("of-a", Some("Patient/a"));
    binary("of-b", Some("Patient/b"));
    binary("attached", None);
    binary("free", None);
    let document = json!({
        "resourceType": "DocumentReference", "id": "d", "status": "current",
        "subject": {"reference": "Patient/a"}, "content": [{"attachment": {"url": "Binary/attached"}}]
    });
    whole.put("/DocumentReference/d").json(document).expect(201);
    let app = server.as_user("patient/*.rs", &of_patient("a"));
    for (id, status) in [("of-a", 200), ("of-b", 404), ("attached", 200), ("free", 404)] {
        app.get(&format!("/Binary/{id}")).expect(status);
    }
    // Attaching a Binary would open it to whoever may see the document, so nobody attaches what they can't read.
    let writer = server.as_user("patient/*.cruds", &of_patient("a"));
    let attach = |id: &str| {
        let content = json!([{"attachment": {"url": format!("Binary/{id}")}}]);
        let document = json!({"resourceType": "DocumentReference", "status": "current", "subject": {"reference": "Patient/a"}, "content": content});
        writer.post("/DocumentReference").json(document).send()
    };
    assert_eq!(attach("free").status_is(403).text(), attach("absent").status_is(403).text());
    attach("attached").status_is(201);
    let without_documents = server.as_user("patient/Binary.rs patient/Patient.rs", &of_patient("a"));
    for (id, status) in [("of-a", 200), ("of-b", 404), ("attached", 404), ("free", 404)] {
        without_documents.get(&format!("/Binary/{id}")).expect(status);
    }
    let only_binaries = server.as_system("system/Binary.rs");
    for (id, status) in [("of-a", 404), ("of-b", 404), ("attached", 200), ("free", 200)] {
        only_binaries.get(&format!("/Binary/{id}")).expect(status);
    }
}

#[test]
fn a_role_limits_what_a_client_was_granted() {
    let (server, whole) = filled();
    let doc = Person { fhir_user: Some("Practitioner/doc"), roles: &["Provider"], ..Person::default() };
    let app = server.as_user("user/*.cruds", &doc);
    assert_eq!(app.get("/Patient").expect(200).ids(), Vec::<String>::new(), "no patient is this provider's own");
    app.get("/Patient/a").expect(404);
    app.get("/Claim").expect(403);
    let team = json!({
        "resourceType": "CareTeam", "id": "team", "status": "active", "subject": {"reference": "Patient/a"},
        "participant": [{"member": {"reference": "Practitioner/doc"}}]
    });
    whole.put("/CareTeam/team").json(team).expect(201);
    let mut own = patient("b");
    own["generalPractitioner"] = json!([{"reference": "Practitioner/doc"}]);
    assert_eq!(app.get("/Patient").expect(200).ids(), ["a"]);
    app.get("/Observation/a-laboratory").expect(200);
    app.get("/Observation/b-laboratory").expect(404);
    whole.put("/Patient/b").json(own).expect(200);
    app.get("/Observation/b-laboratory").expect(200);
    whole.delete("/CareTeam/team").expect(204);
    app.get("/Observation/a-laboratory").expect(404);
    let emergency = Person { break_glass: Some("found unconscious"), ..doc.clone() };
    server.as_user("user/*.rs", &emergency).get("/Observation/a-laboratory").expect(200);
    let without_role = Person { roles: &[], ..doc.clone() };
    server.as_user("user/*.rs", &without_role).get("/Observation/b-laboratory").expect(403);
    let unknown_role = Person { roles: &["Wizard"], ..doc };
    server.as_user("user/*.rs", &unknown_role).get("/Observation/b-laboratory").expect(403);
}

#[test]
fn patients_and_those_who_care_for_them_see_their_own() {
    let (server, whole) = filled();
    let related =
        json!({"resourceType": "RelatedPerson", "id": "mum", "active": true, "patient": {"reference": "Patient/a"}});
    whole.put("/RelatedPerson/mum").json(&related).expect(201);
    let own = Person { fhir_user: Some("Patient/a"), roles: &["Patient"], ..Person::default() };
    let carer = Person { fhir_user: Some("RelatedPerson/mum"), roles: &["Caregiver"], ..Person::default() };
    for app in [server.as_user("user/*.rs", &own), server.as_user("user/*.rs", &carer)] {
        assert_eq!(app.get("/Patient").expect(200).ids(), ["a"]);
        app.get("/Observation/a-laboratory").expect(200);
        app.get("/Observation/b-laboratory").expect(404);
    }
    let mut former = related;
    former["active"] = json!(false);
    whole.put("/RelatedPerson/mum").json(former).expect(200);
    server.as_user("user/*.rs", &carer).get("/Observation/a-laboratory").expect(404);
}

#[test]
fn what_a_token_rests_on_counts_at_once() {
    let (server, _) = filled();
    let ids = |kind: &'static str| {
        let kept = server.app().auth.keeper.list(pharos::tenant::TenantId::DEFAULT, kind, "", None, 100).unwrap();
        kept.into_iter().map(|kept| kept.id.to_string()).collect::<Vec<_>>()
    };
    let person = of_patient("a");
    let app = server.as_user("patient/*.rs", &person);
    app.get("/Patient/a").expect(200);
    server.forget::<Authorization>(&ids("authorization")[0]);
    app.get("/Patient/a").expect(401);
    let app = server.as_user("patient/*.rs", &person);
    app.get("/Patient/a").expect(200);
    for id in ids("user") {
        server.forget::<User>(&id);
    }
    app.get("/Patient/a").expect(401);
    let app = server.as_system("system/*.rs");
    app.get("/Patient/a").expect(200);
    for id in ids("client") {
        server.forget::<Registered>(&id);
    }
    app.get("/Patient/a").expect(401);
}

#[test]
fn how_a_page_was_found_is_for_those_who_see_everything() {
    let (server, whole) = filled();
    whole.get("/Observation?_explain=true").expect(200);
    for scopes in ["system/*.rs", "system/Observation.rs?category=laboratory"] {
        server.as_system(scopes).get("/Observation?_explain=true").expect(403).issue("forbidden");
    }
}

#[test]
fn a_restriction_for_binary_holds_for_attachments_too() {
    let (server, whole) = filled();
    for id in ["one", "two"] {
        let context = json!({"reference": "Patient/a"});
        let binary =
            json!({"resourceType": "Binary", "id": id, "contentType": "text/plain", "securityContext": context});
        whole.put(&format!("/Binary/{id}")).json(binary).expect(201);
    }
    let app = server.as_system("system/Binary.r?_id=one system/Patient.r");
    app.get("/Binary/one").expect(200);
    app.get("/Binary/two").expect(404);
}

#[test]
fn a_role_that_ended_makes_nobody_an_own_patient() {
    let (server, whole) = filled();
    let role = |id: &str, who: &str, active: bool| {
        let practitioner = json!({"reference": format!("Practitioner/{who}")});
        let role =
            json!({"resourceType": "PractitionerRole", "id": id, "active": active, "practitioner": practitioner});
        assert!(whole.put(&format!("/PractitionerRole/{id}")).json(role).send().status() < 300);
    };
    role("ended", "doc", false);
    role("others", "other", true);
    let mut own = patient("a");
    own["generalPractitioner"] =
        json!([{"reference": "PractitionerRole/ended"}, {"reference": "PractitionerRole/others"}]);
    whole.put("/Patient/a").json(own).expect(200);
    let doc = Person { fhir_user: Some("Practitioner/doc"), roles: &["Provider"], ..Person::default() };
    let app = server.as_user("user/*.rs", &doc);
    app.get("/Observation/a-laboratory").expect(404);
    role("ended", "doc", true);
    app.get("/Observation/a-laboratory").expect(200);
}

#[test]
fn letters_of_client_and_role_include_nothing_that_neither_gives_alone() {
    let (server, _) = filled();
    let reader = pharos::auth::records::Role {
        name: "Reader".into(),
        scopes: pharos::auth::scope::Scopes::parse("user/Observation.rs user/Patient.s"),
        own_patients: false,
        break_glass: false,
        is_admin: false,
        purpose_of_use: Vec::new(),
    };
    server.keep("Reader", &reader);
    let person = Person { roles: &["Reader"], ..Person::default() };
    let app = server.as_user("user/Observation.rs user/Patient.r", &person);
    app.get("/Patient/a").expect(403);
    let found = app.get("/Observation?_id=a-laboratory&_include=Observation:subject").expect(200);
    assert_eq!(found.ids(), ["a-laboratory"]);
}

#[test]
fn whether_a_reference_leads_somewhere_is_told_of_what_is_seen_only() {
    let server = Server::with(|config| {
        config.insecure_open = false;
        config.check_references = true;
    });
    let whole = server.as_system("system/*.cruds");
    for id in ["a", "b"] {
        whole.put(&format!("/Patient/{id}")).json(patient(id)).expect(201);
    }
    let app = server.as_system("system/Encounter.c system/Patient.rs?_id=a");
    let make = |id: &str| {
        let subject = json!({"reference": format!("Patient/{id}")});
        app.post("/Encounter").json(
            json!({"resourceType": "Encounter", "status": "planned", "class": {"code": "AMB"}, "subject": subject}),
        )
    };
    make("a").expect(201);
    assert_eq!(make("b").expect(422).text(), make("x").expect(422).text());
}

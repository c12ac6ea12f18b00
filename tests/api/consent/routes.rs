//! Every way in which data goes out: each route, each interaction and each operation, with a request that shows what a patient's
//! consent hides, once there is none. What is new has to be added here, or these tests fail.

use super::{clinician, consent, hospital};
use crate::support::{Answer, Client, Server};
use pharos::audit::Trail;
use pharos::auth::records::User;
use pharos::config::Handling;
use pharos::fhir::definitions::Operation;
use pharos::interaction::call::{Call, Target, Verb};
use pharos::interaction::condition::Conditions;
use pharos::interaction::{Request, perform};
use pharos::tenant::TenantId;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Stands in all that is about Eve, and nowhere else.
const MARK: &str = "mark.of.eve";

/// A method, an address, and a body.
type Probe = (&'static str, &'static str, Option<Value>);

fn get(path: &'static str) -> Probe {
    ("GET", path, None)
}

/// Requests for each interaction. All of them show the mark to who may see it, or change what has it.
fn interactions() -> Vec<Probe> {
    let eve = || json!({"resourceType": "Patient", "id": "eve", "name": [{"family": MARK}]});
    let language = || Some(json!([{"op": "add", "path": "/language", "value": "en"}]));
    let entry = |method: &str, url: &str| json!({"request": {"method": method, "url": url}});
    let bundle = |kind: &str| {
        let entries = [entry("GET", "Patient/eve"), entry("GET", "Observation?subject=Patient/eve")];
        Some(json!({"resourceType": "Bundle", "type": kind, "entry": entries}))
    };
    vec![
        get("/metadata"),
        get("/Patient/eve"),
        ("HEAD", "/Patient/eve", None),
        get("/Observation/of-eve"),
        get("/Binary/of-eve"),
        get("/Binary/loose-of-eve"),
        get("/Patient/eve/_history/2"),
        get("/Patient/eve/_history"),
        get("/Observation/_history"),
        get("/_history"),
        get("/Patient"),
        get("/Patient?_sort=-family&_count=1"),
        get("/Patient?_id=eve&_elements=name"),
        get("/Observation?_summary=count&subject=Patient/eve"),
        get("/Observation?subject:Patient.family=mark"),
        get("/Organization?_has:Observation:performer:subject=Patient/eve&_revinclude=Observation:performer"),
        get("/Observation?_include=Observation:subject"),
        get("/Practitioner?_revinclude=Patient:general-practitioner"),
        get("/Observation?_filter=subject%20re%20Patient/eve"),
        get("/Practitioner?_contained=both"),
        get("/?_type=Patient,Observation"),
        ("POST", "/Patient/_search", None),
        ("POST", "/_search", Some(json!({"_lastUpdated": "gt2000"}))),
        get("/Patient/eve/Observation"),
        get("/Patient/eve/*"),
        ("PUT", "/Patient/eve", Some(eve())),
        ("PATCH", "/Patient/eve", language()),
        (
            "POST",
            "/Observation",
            Some(
                json!({"resourceType": "Observation", "status": "final", "code": {"text": MARK}, "subject": {"reference": "Patient/eve"}}),
            ),
        ),
        (
            "PUT",
            "/Observation?_id=of-eve",
            Some(
                json!({"resourceType": "Observation", "status": "final", "code": {"text": MARK}, "subject": {"reference": "Patient/eve"}}),
            ),
        ),
        ("PATCH", "/Patient?family=mark", language()),
        ("POST", "/", bundle("batch")),
        ("POST", "/", bundle("transaction")),
        ("DELETE", "/Observation?subject=Patient/eve", None),
        ("DELETE", "/Observation/of-eve", None),
    ]
}

/// Requests for an operation on one level, for a type.
fn of_operation(operation: &Operation, level: &str) -> Vec<Probe> {
    match (operation.code, level) {
        ("export", "system") => vec![get("/$export")],
        ("export", "type") => vec![get("/Patient/$export")],
        ("export", "instance") => vec![get("/Group/some/$export")],
        ("everything", "type") => vec![get("/Patient/$everything")],
        ("everything", "instance") if operation.resources == ["Patient"] => vec![get("/Patient/eve/$everything")],
        ("everything", "instance") => vec![get("/Encounter/of-eve/$everything")],
        ("lastn", "type") => vec![get("/Observation/$lastn?patient=Patient/eve&code=8867-4")],
        ("docref", "type") => vec![get("/DocumentReference/$docref?patient=eve")],
        ("meta", "system") => vec![get("/$meta")],
        ("meta", "type") => vec![get("/Patient/$meta")],
        ("meta", "instance") => vec![get("/Patient/eve/$meta")],
        ("meta-add" | "meta-delete", "instance") => {
            let meta = json!({"tag": [{"system": "urn:t", "code": MARK}]});
            let body = json!({"resourceType": "Parameters", "parameter": [{"name": "meta", "valueMeta": meta}]});
            let path = if operation.code == "meta-add" {
                "/Patient/eve/$meta-add"
            } else {
                "/Observation/of-eve/$meta-delete"
            };
            vec![("POST", path, Some(body))]
        }
        // It tells of Consents, to who manages them; tests/api/consent_explain.rs has more.
        ("consent-explain", "instance") => vec![get("/Patient/eve/$consent-explain?resource=Observation/of-eve")],
        // They answer with numbers and hashes; and what erases, for administrators, with the names of what it left.
        ("import" | "reindex", "system") | ("purge", "instance") | ("verify", "type") => Vec::new(),
        (other, level) => panic!("what does ${other} on {level} give out, and which request shows it?"),
    }
}

/// The number of an interaction; one that is new does not compile.
const fn number(call: &Call) -> usize {
    match call {
        Call::Capabilities => 0,
        Call::Read { .. } => 1,
        Call::Vread { .. } => 2,
        Call::Create { .. } => 3,
        Call::Update { .. } => 4,
        Call::Patch { .. } => 5,
        Call::Delete { .. } => 6,
        Call::ConditionalUpdate { .. } => 7,
        Call::ConditionalPatch { .. } => 8,
        Call::ConditionalDelete { .. } => 9,
        Call::Search { .. } => 10,
        Call::CompartmentSearch { .. } => 11,
        Call::History { target: Target::System } => 12,
        Call::History { target: Target::Type(_) } => 13,
        Call::History { target: Target::Instance(..) } => 14,
        Call::Bundle => 15,
        Call::Operation { .. } => 16,
        Call::Job { .. } => 17,
        Call::JobFile { .. } => 18,
    }
}

/// Without those of a job, which tells how far it is, and nothing of patients; and of its files, which are had with `$export`.
const NUMBERS: usize = 17;

fn fill(server: &Server) -> Client {
    let admin = hospital(server);
    let of_eve = json!({"reference": "Patient/eve"});
    let meta = json!({"tag": [{"system": "urn:t", "code": MARK}]});
    let binary = |context: Value| json!({"resourceType": "Binary", "contentType": "text/plain", "data": "bWFyay5vZi5ldmU=", "securityContext": context});
    for (path, mut body) in [
        ("Patient/eve", json!({"name": [{"family": MARK}], "generalPractitioner": [{"reference": "Practitioner/a"}]})),
        (
            "Observation/of-eve",
            json!({
                "status": "final", "code": {"coding": [{"system": "http://loinc.org", "code": "8867-4"}], "text": MARK}, "subject": of_eve,
                "effectiveDateTime": "2020-05-01", "performer": [{"reference": "Organization/a"}, {"reference": "#in"}],
                "contained": [{"resourceType": "Practitioner", "id": "in", "name": [{"text": MARK}]}]
            }),
        ),
        ("Encounter/of-eve", json!({"status": "finished", "class": {"code": "AMB"}, "subject": of_eve})),
        (
            "Group/some",
            json!({"type": "person", "actual": true, "name": MARK, "member": [{"entity": {"reference": "Patient/eve"}}]}),
        ),
        ("Binary/of-eve", binary(of_eve.clone())),
        ("Binary/loose-of-eve", json!({"contentType": "text/plain", "data": "bWFyay5vZi5ldmU="})),
        (
            "DocumentReference/of-eve",
            json!({
                "status": "current", "type": {"coding": [{"system": "http://loinc.org", "code": "34133-9"}]}, "subject": of_eve,
                "content": [{"attachment": {"url": "Binary/loose-of-eve", "title": MARK}}]
            }),
        ),
    ] {
        let (type_name, id) = path.split_once('/').unwrap();
        body["resourceType"] = type_name.into();
        body["id"] = id.into();
        body["meta"] = meta.clone();
        admin.put(&format!("/{path}")).json(body).send();
    }
    admin
}

fn ask(client: &Client, (method, path, body): &Probe) -> Answer {
    let request = client.request(method, path);
    if path.contains("$export") {
        return exported(client, request.send());
    }
    match body {
        Some(Value::Object(fields)) if path.ends_with("_search") => {
            let (name, value) = fields.iter().next().unwrap();
            request.form(&format!("{name}={}", value.as_str().unwrap())).send()
        }
        None if *method == "POST" => request.form("").send(),
        Some(patch @ Value::Array(_)) => request.body("application/json-patch+json", patch.to_string()).send(),
        Some(body) => request.json(body).send(),
        None => request.send(),
    }
}

/// The file of an export that has the mark, or its manifest.
fn exported(client: &Client, begun: Answer) -> Answer {
    if begun.status() != 202 {
        return begun;
    }
    let exported = client.exported(&begun);
    let mut files = exported.urls("output", None).into_iter().map(|url| client.get(&url).expect(200));
    let marked = files.find(|file| file.text().contains(MARK));
    marked.unwrap_or(exported.answer)
}

/// Whether an answer tells that Eve is there.
fn shows(probe: &Probe, answer: &Answer) -> bool {
    let has_mark = answer.text().contains(MARK) || answer.text().contains("bWFyay5vZi5ldmU=");
    let counts = probe.1.contains("_summary=count") && answer.at("/total") != 0;
    let is_found = probe.0 == "HEAD" && answer.status() == 200;
    let changes = ["PUT", "PATCH", "POST"].contains(&probe.0) && [200, 201].contains(&answer.status());
    let explains = probe.1.contains("$consent-explain") && answer.status() == 200;
    has_mark || counts || is_found || explains || (changes && !probe.1.contains("_search") && !is_bundle(probe))
}

fn is_bundle(probe: &Probe) -> bool {
    probe.1 == "/"
}

fn probes() -> Vec<Probe> {
    let mut probes = interactions();
    for operation in pharos::operation::built() {
        for level in &operation.levels {
            probes.splice(0..0, of_operation(operation, level));
        }
    }
    probes
}

#[test]
fn nothing_that_is_given_out_is_given_out_against_consent() {
    let (open, closed) = (Server::guarded(), Server::guarded());
    let (_, admin) = (fill(&open), fill(&closed));
    admin.put("/Consent/c").json(consent("c", "eve", "OPTOUT", &[])).expect(201);
    let (sees, does_not) = (clinician(&open, "a"), clinician(&closed, "a"));
    let mut silent = Vec::new();
    for probe in probes() {
        // A first look, so that the second one shows what the change does.
        let shown = ask(&sees, &probe);
        // What is counted, and what is not of patients, shows nothing in the open either.
        if !shows(&probe, &shown) && probe.0 != "DELETE" && probe.1 != "/metadata" {
            silent.push(format!("{} {}: {shown}", probe.0, probe.1));
        }
        let hidden = ask(&does_not, &probe);
        let is_told = shows(&probe, &hidden) || hidden.text().contains("of-eve");
        assert!(!is_told, "{} {} tells of Eve: {hidden}", probe.0, probe.1);
    }
    assert!(silent.is_empty(), "these show nothing, whatever is consented to:\n{}", silent.join("\n"));
    admin.delete("/Consent/c").expect(204);
    does_not.get("/Observation/of-eve").expect(200);
}

#[test]
fn every_interaction_and_operation_is_asked_for() {
    let mut asked = BTreeSet::new();
    for (method, path, _) in probes() {
        let verb = Verb::parse(method).unwrap();
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let segments: Vec<_> = path.trim_matches('/').split('/').filter(|part| !part.is_empty()).collect();
        let call = Call::parse(verb, &segments).unwrap_or_else(|error| panic!("{method} {path}?{query}: {error:?}"));
        asked.insert(number(&call));
    }
    assert_eq!(asked, (0..NUMBERS).collect());
}

#[test]
fn every_route_is_known() {
    let files = ["src/http/routes.rs", "src/http/pages/routes.rs"];
    let text: String = files.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect();
    let named = regex::Regex::new(r#""(/[^"]*)""#).unwrap();
    let found: BTreeSet<&str> = named.captures_iter(&text).map(|found| found.get(1).unwrap().as_str()).collect();
    // Below these the interactions stand, and the page that shows patients to choose from: see the other tests. `/audit` shows the
    // ledger, to who may read it: docs/consent.md says that no consent hides it from them.
    let with_data = ["/fhir", "/patient", "/consent"];
    let without = [
        "/.well-known/openid-configuration",
        "/.well-known/smart-configuration",
        "/account",
        "/admin/{what:.*}",
        "/apps",
        "/audit",
        "/auth",
        "/authorize",
        "/code",
        "/emergency",
        "/health/live",
        "/health/ready",
        "/introspect",
        "/jobs",
        "/keys",
        "/launch",
        "/metrics",
        "/password",
        "/register",
        "/revoke",
        "/setup",
        "/sign-in",
        "/sign-out",
        "/style.css",
        "/t/{tenant}/auth",
        "/token",
        "/upstream/{name}",
        "/upstream/{name}/callback",
        "/userinfo",
    ];
    let known: BTreeSet<&str> = with_data.into_iter().chain(without).collect();
    assert_eq!(found, known, "a route is new: does it give out data of patients, and does it ask for their consent?");
}

#[test]
fn pages_show_only_patients_who_consent() {
    let server = Server::guarded();
    let admin = fill(&server);
    let user: User = serde_json::from_value(json!({
        "id": "u", "username": "u", "name": "u", "fhir_user": "Practitioner/a", "roles": ["Clinical Director"]
    }))
    .unwrap();
    let patients = || {
        let grant = server.app().patients_of(TenantId::DEFAULT, &user, false).unwrap();
        let context = server.app().context(grant.0, Arc::new(Trail::none())).unwrap();
        let request = Request {
            verb: Verb::Get,
            call: Call::Search { type_name: Some("Patient".into()) },
            query: Vec::new(),
            conditions: Conditions::default(),
            prefer: None,
            handling: Handling::Strict,
            body: None,
            provenance: None,
            respond_async: false,
        };
        let answer = crate::support::tokens::block_on(perform(&context, request)).unwrap();
        String::from_utf8(answer.body.unwrap()).unwrap()
    };
    assert!(patients().contains(MARK));
    admin.put("/Consent/c").json(consent("c", "eve", "OPTOUT", &[])).expect(201);
    assert!(!patients().contains(MARK) && patients().contains("ada"));
}

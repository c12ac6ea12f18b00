//! Nobody in one tenant learns of another: random requests of tenant A against the data of tenant B, which has the same ids.
//!
//! Every resource of B says `b-secret` in each text, has further ids, and belongs to a server whose base, `/t/b/fhir`, no answer of A may
//! name unless the request did. What is written goes to A; at the end B is as it was.

use crate::support::server::is_on_mongodb;
use crate::support::{Answer, Client, Person, Server};
use pharos::tenant::TenantId;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};
use std::cell::Cell;
use std::time::{Duration, Instant};

const A: TenantId = TenantId(1);
const B: TenantId = TenantId(2);
const ALL: &str = "system/*.cruds";

/// How many requests are tried: fewer on MongoDB, where the stand-in reads all of a collection for each range, and many ranges make a search.
fn cases() -> u32 {
    if is_on_mongodb() { 60 } else { 600 }
}

/// Ids that both have, and two that B alone has.
const IDS: [&str; 4] = ["one", "two", "b1", "b2"];

struct World {
    server: Server,
    a: Client,
    b: Client,
    token_of_b: String,
    /// Cursors, jobs and links that B got.
    links_of_b: Vec<String>,
    job_of_b: String,
    /// The ids of B's clients and users.
    who_of_b: Vec<String>,
}

fn fill(client: &Client, text: &str, ids: &[&str]) {
    for id in ids {
        let named = json!([{ "system": "urn:s", "value": format!("{text}-{id}") }]);
        let patient = json!({ "resourceType": "Patient", "id": id, "identifier": named, "active": true,
            "name": [{ "family": text, "given": [text] }], "gender": "female", "birthDate": "1980-01-02" });
        let subject = json!({ "reference": format!("Patient/{id}"), "display": text });
        let observation = json!({ "resourceType": "Observation", "id": id, "identifier": named, "status": "final",
            "category": [{ "coding": [{ "code": "vital-signs" }] }], "code": { "coding": [{ "code": "c", "display": text }], "text": text },
            "subject": subject, "effectiveDateTime": "2020-01-01", "valueString": text });
        for resource in [patient, observation] {
            let path = format!("/{}/{id}", resource["resourceType"].as_str().unwrap());
            for status in [201, 200] {
                client.put(&path).json(&resource).expect(status);
            }
        }
    }
}

impl World {
    fn new() -> Self {
        let server = Server::guarded();
        for name in ["a", "b"] {
            let given = json!({ "name": name });
            crate::support::tokens::block_on(server.app().create_tenant(&given, None)).unwrap();
        }
        let root = server.base().trim_end_matches("/fhir").to_owned();
        let person = Person { roles: &["Admin"], ..Person::default() };
        let client = |tenant, name: &str, scopes, person| {
            let token = server.token_in(tenant, scopes, person);
            (Client::bearing(format!("{root}/t/{name}/fhir"), &token), token)
        };
        let (a, _) = client(A, "a", ALL, None);
        let (b, token_of_b) = client(B, "b", ALL, None);
        fill(&a, "a-own", &["one", "two"]);
        fill(&b, "b-secret", &IDS);
        b.delete("/Observation/b2").expect(204);
        let parameter = json!({ "resourceType": "SearchParameter", "id": "secret", "url": "https://b.example/b-secret", "name": "secret",
            "status": "active", "description": "b-secret", "code": "secret", "base": ["Patient"], "type": "string",
            "expression": "Patient.name.family" });
        b.put("/SearchParameter/secret").json(parameter).expect(201);
        let mut links_of_b = Vec::new();
        for path in ["/Patient?_count=1", "/_history?_count=1", "/Patient/one/$everything?_count=1"] {
            links_of_b.push(b.get(path).expect(200).link("next").unwrap());
        }
        let purge = json!({ "resourceType": "Parameters" });
        let (admin_b, _) = client(B, "b", "admin", Some(&person));
        b.put("/Patient/goes").json(json!({ "resourceType": "Patient", "id": "goes" })).expect(201);
        let asked = admin_b.post("/Patient/goes/$purge").header("Prefer", "respond-async").json(purge).expect(202);
        let job_of_b = asked.header("content-location").unwrap().rsplit('/').next().unwrap().to_owned();
        // It ends before anybody looks.
        let ended = server.app().jobs.wait(B, &job_of_b, Duration::from_mins(1));
        assert!(crate::support::tokens::block_on(ended).unwrap().unwrap().state.is_ended());
        let keeper = server.app().store().keeper();
        let kept = ["client", "user"].map(|kind| keeper.list(B, kind, "", None, 100).unwrap());
        let who_of_b = kept.concat().iter().map(|kept| kept.id.to_string()).collect();
        Self { server, a, b, token_of_b, links_of_b, job_of_b, who_of_b }
    }

    /// All that B has, in one text.
    fn all_of_b(&self) -> String {
        let mut pages = Vec::new();
        let mut next = Some("/_history?_count=500".to_owned());
        while let Some(link) = next {
            let page = self.b.get(&link).expect(200);
            next = page.link("next");
            pages.push(page.resources().iter().map(Value::to_string).collect::<String>());
        }
        pages.concat()
    }

    fn send(client: &Client, asked: &Asked) -> Answer {
        let request = client.request(asked.method, &asked.path);
        let request = match &asked.if_none_exist {
            Some(criteria) => request.header("If-None-Exist", criteria),
            None => request,
        };
        match &asked.body {
            Body::None => request.send(),
            Body::Form(form) => request.form(form).send(),
            Body::Json(json) => request.json(json).send(),
        }
    }
}

#[derive(Debug, Clone)]
enum Body {
    None,
    Form(String),
    Json(Value),
}

#[derive(Debug, Clone)]
struct Asked {
    method: &'static str,
    path: String,
    body: Body,
    if_none_exist: Option<String>,
}

fn get(path: String) -> Asked {
    Asked { method: "GET", path, body: Body::None, if_none_exist: None }
}

fn id() -> impl Strategy<Value = &'static str> {
    prop::sample::select(IDS.to_vec())
}

fn type_name() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["Patient", "Observation"])
}

/// What is looked for: B's texts, by every kind of parameter.
fn criteria() -> impl Strategy<Value = String> {
    let patient = prop::sample::select(vec![
        "name=b-secret",
        "name:contains=secret",
        "name:exact=b-secret",
        "family=b-secret",
        "identifier=urn:s|b-secret-b1",
        "identifier=b-secret-one",
        "_id=b1",
        "_id=one,b1,b2",
        "birthdate=1980",
        "gender=female",
        "_has:Observation:subject:code=c",
        "_has:Observation:subject:_id=b1",
        "_text=secret",
        "_sort=-family",
        "_lastUpdated=gt2000",
        "_filter=name%20eq%20%22b-secret%22",
        "_revinclude=Observation:subject",
        "_summary=count",
        "_total=accurate",
        "_explain=true&name=b-secret",
        "_count=2&_sort=_id",
        "secret=b-secret",
        "organization.name=b-secret",
        "",
    ]);
    let observation = prop::sample::select(vec![
        "subject:Patient.name=b-secret",
        "patient.identifier=b-secret-b1",
        "subject=Patient/b1",
        "patient=b1",
        "code=c",
        "code:text=secret",
        "value-string=b-secret",
        "_include=Observation:subject",
        "_include=*",
        "subject.gender=female",
        "identifier=b-secret-b1",
        "category=vital-signs&_sort=-date",
        "date=2020",
        "combo-code=c",
        "_id=b2",
        "subject:Patient._id=b1",
    ]);
    prop_oneof![
        patient.prop_map(|query| format!("Patient?{query}")),
        observation.prop_map(|query| format!("Observation?{query}")),
    ]
}

fn bundle(kind: &'static str, entries: &[Value]) -> Asked {
    let body = json!({ "resourceType": "Bundle", "type": kind, "entry": entries });
    Asked { method: "POST", path: String::new(), body: Body::Json(body), if_none_exist: None }
}

fn request(method: &str, url: &str) -> Value {
    json!({ "request": { "method": method, "url": url } })
}

/// A resource that names what only B has.
fn pointing(to: &str) -> Value {
    json!({ "resourceType": "Observation", "status": "final", "code": { "text": "a-own" }, "subject": { "reference": to } })
}

fn reads() -> impl Strategy<Value = Asked> {
    prop_oneof![
        4 => (type_name(), id()).prop_map(|(name, id)| get(format!("/{name}/{id}"))),
        3 => (type_name(), id(), 1..4_u32).prop_map(|(name, id, n)| get(format!("/{name}/{id}/_history/{n}"))),
        3 => (type_name(), id()).prop_map(|(name, id)| get(format!("/{name}/{id}/_history"))),
        1 => type_name().prop_map(|name| get(format!("/{name}/_history?_since=2000-01-01"))),
        1 => Just(get("/_history?_count=200".into())),
        9 => criteria().prop_map(|criteria| get(format!("/{criteria}"))),
        3 => criteria().prop_map(|criteria| {
            let (name, form) = criteria.split_once('?').unwrap();
            Asked { method: "POST", path: format!("/{name}/_search"), body: Body::Form(form.into()), if_none_exist: None }
        }),
        1 => Just(get("/?_type=Patient,Observation,SearchParameter&_id=one,b1,secret".into())),
        2 => id().prop_map(|id| get(format!("/Patient/{id}/$everything"))),
        2 => id().prop_map(|id| get(format!("/Patient/{id}/Observation"))),
        1 => id().prop_map(|id| get(format!("/Patient/{id}/*"))),
        1 => id().prop_map(|id| get(format!("/Observation/$lastn?patient={id}&category=vital-signs"))),
        1 => id().prop_map(|id| get(format!("/Patient/{id}/$meta"))),
        1 => Just(get("/metadata".into())),
        1 => Just(get("/AuditEvent?_count=100".into())),
        1 => id().prop_map(|id| get(format!("/AuditEvent?patient={id}"))),
        1 => Just(get("/AuditEvent/$verify".into())),
        1 => Just(get("/SearchParameter/secret".into())),
    ]
}

fn bundles() -> impl Strategy<Value = Asked> {
    prop_oneof![
        2 => prop::collection::vec(reads(), 1..6).prop_map(|all| {
            let entries = all.iter().filter(|asked| asked.method == "GET").map(|asked| request("GET", asked.path.trim_start_matches('/')));
            bundle("batch", &entries.collect::<Vec<_>>())
        }),
        1 => (type_name(), id()).prop_map(|(name, id)| bundle("batch", &[
            request("GET", &format!("../../b/fhir/{name}/{id}")),
            request("GET", &format!("/t/b/fhir/{name}/{id}")),
            request("GET", &format!("{name}/{id}")),
        ])),
        1 => id().prop_map(|id| {
            let conditional = json!({ "resource": pointing(&format!("Patient?identifier=urn:s|b-secret-{id}")),
                "request": { "method": "POST", "url": "Observation" } });
            bundle("transaction", &[conditional])
        }),
    ]
}

fn writes() -> impl Strategy<Value = Asked> {
    let with = |method, path: String, body| Asked { method, path, body, if_none_exist: None };
    prop_oneof![
        2 => criteria().prop_map(move |criteria| with("DELETE", format!("/{}", safe(&criteria)), Body::None)),
        1 => id().prop_map(move |id| with("DELETE", format!("/Observation/{id}"), Body::None)),
        2 => id().prop_map(|id| Asked {
            if_none_exist: Some(format!("identifier=urn:s|b-secret-{id}")),
            ..Asked { method: "POST", path: "/Patient".into(), body: Body::Json(json!({ "resourceType": "Patient" })), if_none_exist: None }
        }),
        1 => id().prop_map(move |id| {
            let body = json!({ "resourceType": "Patient", "gender": "other" });
            with("PUT", format!("/Patient?identifier=urn:s|b-secret-{id}"), Body::Json(body))
        }),
        1 => id().prop_map(move |id| with("POST", "/Observation".into(), Body::Json(pointing(&format!("Patient/{id}"))))),
        1 => id().prop_map(move |id| {
            let patch = json!([{ "op": "replace", "path": "/status", "value": "amended" }]);
            with("PATCH", format!("/Observation/{id}"), Body::Json(patch))
        }),
    ]
}

/// Criteria that match nothing in A, so that a conditional delete finds B's resources or none.
fn safe(criteria: &str) -> String {
    let (name, _) = criteria.split_once('?').unwrap();
    format!("{name}?identifier=urn:s|b-secret-b1")
}

/// What of an answer is B's: a resource, an address, a client or a person, or how many there are.
fn told_of_b(world: &World, asked: &Asked, answer: &Answer) -> Option<String> {
    let text = String::from_utf8_lossy(answer.bytes());
    if let Some(who) = world.who_of_b.iter().find(|who| text.contains(&format!("\"{who}\""))) {
        return Some(format!("{who} in {text}"));
    }
    let json: Value = serde_json::from_str(&text).unwrap_or_default();
    let looks_for_b =
        asked.path.contains("b-secret") || matches!(&asked.body, Body::Form(form) if form.contains("b-secret"));
    if looks_for_b && json["total"].as_u64().is_some_and(|total| total > 0) {
        return Some(format!("a count: {text}"));
    }
    resource_of_b(&json).map(Value::to_string)
}

/// A resource of B, wherever it stands. What quotes is left out: the ledger and outcomes have what A itself asked.
fn resource_of_b(json: &Value) -> Option<&Value> {
    match json {
        Value::Array(items) => items.iter().find_map(resource_of_b),
        Value::Object(members) => {
            let kind = members.get("resourceType").and_then(Value::as_str).unwrap_or_default();
            if members.get("fullUrl").is_some_and(|url| url.to_string().contains("/t/b/")) {
                return Some(json);
            }
            match kind {
                "AuditEvent" | "OperationOutcome" => None,
                "" | "Bundle" | "Parameters" => members.values().find_map(resource_of_b),
                _ => json.to_string().contains("b-secret").then_some(json),
            }
        }
        _ => None,
    }
}

#[test]
fn requests_of_one_tenant_find_nothing_of_another() {
    let (world, cases) = (World::new(), cases());
    let before = world.all_of_b();
    assert!(before.matches("b-secret").count() > 40, "B has something to hide");
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    let (found, seen, started) = (Cell::new(0_u32), Cell::new(0_u32), Instant::now());
    let asked = prop_oneof![7 => reads(), 1 => bundles(), 2 => writes()];
    let result = runner.run(&asked, |asked| {
        let answer = World::send(&world.a, &asked);
        prop_assert!(answer.status() < 500, "{asked:?}: {answer}");
        let told = told_of_b(&world, &asked, &answer);
        prop_assert!(told.is_none(), "{asked:?} tells {told:?}");
        found.set(found.get() + u32::from(answer.status() == 200));
        // The same asked of B, to know that there is something to find, and that it would be noticed.
        if asked.method == "GET" {
            let told = told_of_b(&world, &asked, &World::send(&world.b, &asked));
            seen.set(seen.get() + u32::from(told.is_some()));
        }
        Ok(())
    });
    result.unwrap();
    let (found, seen) = (found.get(), seen.get());
    println!("{cases} requests of A: {found} answered with 200; {seen} found B's data in B; {:?}", started.elapsed());
    assert!(found > cases / 6 && seen > cases / 6, "most ask for something that is there: {found}, {seen}");
    assert_eq!(world.all_of_b(), before, "B is as it was");
}

#[test]
fn what_one_tenant_was_given_opens_nothing_in_another() {
    let world = World::new();
    let root = world.server.base().trim_end_matches("/fhir").to_owned();
    // Links with B's cursors, at A's base and at B's.
    for link in &world.links_of_b {
        let at_a = link.replace("/t/b/", "/t/a/");
        world.a.get(&at_a).expect(400);
        world.a.get(link).expect(401);
        world.b.get(link).expect(200);
    }
    world.a.get(&format!("/_jobs/{}", world.job_of_b)).expect(404);
    world.a.delete(&format!("/_jobs/{}", world.job_of_b)).expect(404);
    let with_b = Client::bearing(world.a.base(), &world.token_of_b);
    for path in
        ["/Patient/one", "/Patient", "/_history", "/Patient/one/$everything", "/AuditEvent", "/AuditEvent/$verify"]
    {
        let answer = with_b.get(path).expect(401);
        assert!(!answer.text().contains("b-secret"), "{answer}");
    }
    with_b.post("").json(json!({ "resourceType": "Bundle", "type": "batch", "entry": [] })).expect(401);
    // An administrator of A asks about B's token.
    let person = Person { roles: &["Admin"], ..Person::default() };
    let admin_a = Client::bearing(format!("{root}/t/a/auth"), &world.server.token_in(A, "admin", Some(&person)));
    let told = admin_a.post("/introspect").form(&format!("token={}", world.token_of_b)).expect(200);
    assert_eq!(told.json(), json!({ "active": false }));
    let users = admin_a.get("/admin/users?count=1000").expect(200).text().to_owned();
    let clients = admin_a.get("/admin/clients?count=1000").expect(200).text().to_owned();
    assert!(world.who_of_b.len() > 2);
    for who in &world.who_of_b {
        assert!(!users.contains(who) && !clients.contains(who), "{who}");
    }
    let jobs = admin_a.get("/admin/jobs").expect(200).at("/jobs").as_array().unwrap().len();
    assert_eq!(jobs, 0);
    admin_a.get(&format!("/admin/jobs/{}", world.job_of_b)).expect(404);
}

/// The 50th and the 95th of a hundred.
fn percentiles(mut took: Vec<Duration>) -> (Duration, Duration) {
    took.sort_unstable();
    (took[took.len() / 2], took[took.len() * 95 / 100])
}

/// How many times longer B's reads may take, on median, while A sends all that it can.
const SLOWER: u32 = 5;

#[test]
fn the_flood_of_one_tenant_does_not_slow_another() {
    let world = World::new();
    let limits = json!({ "limits": { "requests_per_s": 20 } });
    crate::support::tokens::block_on(world.server.app().configure_tenant("a", None, &limits, None)).unwrap();
    let read = || {
        let started = Instant::now();
        world.b.get("/Patient/one").expect(200);
        started.elapsed()
    };
    let sample = || (0..200).map(|_| read()).collect::<Vec<_>>();
    sample();
    let (alone, alone_95) = percentiles(sample());
    let is_over = std::sync::atomic::AtomicBool::new(false);
    let refused = std::sync::atomic::AtomicU32::new(0);
    let (flooded, flooded_95) = std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                use std::sync::atomic::Ordering::Relaxed;
                let client = world.a.clone();
                while !is_over.load(Relaxed) {
                    let status = client.get("/Observation?subject:Patient.name:contains=o&_include=*").send().status();
                    refused.fetch_add(u32::from(status == 429), Relaxed);
                }
            });
        }
        // The ten seconds' worth that who was quiet has at once.
        let deadline = Instant::now() + Duration::from_secs(30);
        while refused.load(std::sync::atomic::Ordering::Relaxed) < 100 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
        // What else the machine does meanwhile is no matter of A's.
        let flooded = (0..3).map(|_| percentiles(sample())).min().unwrap();
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
        flooded
    });
    let refused = refused.into_inner();
    println!(
        "reads of B: median {alone:?}, 95 % {alone_95:?} alone; {flooded:?}, {flooded_95:?} while A sends; {refused} refused"
    );
    assert!(refused >= 100, "{refused}");
    assert!(flooded < alone.max(Duration::from_millis(1)) * SLOWER, "{flooded:?} and not {alone:?}");
}

#[test]
fn the_export_of_one_tenant_is_nothing_to_another() {
    let world = World::new();
    let of_b = world.b.export("/$export");
    let files = of_b.urls("output", None);
    assert!(!files.is_empty() && files.iter().all(|url| url.starts_with(world.b.base())), "{files:?}");
    for url in files {
        let answer = world.a.get(&url.replace("/t/b/", "/t/a/")).expect(404);
        assert!(!answer.text().contains("b-secret"));
        world.a.get(&url).expect(401);
        world.b.get(&url).expect(200);
    }
    world.a.get(&of_b.path).expect(404);
    world.a.delete(&of_b.path).expect(404);
    let of_a = world.a.export("/$export");
    let lines = of_a.lines("output");
    assert!(!lines.is_empty() && !lines.iter().any(|line| line.to_string().contains("b-secret")));
    world.b.get(&of_b.path).expect(200);
}

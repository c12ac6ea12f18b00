//! Tenants: their addresses, their administration, their limits, and their end.

use crate::support::browser::Browser;
use crate::support::{Answer, Client, Person, Process, Server, free_address};
use pharos::auth::grant::Grant;
use pharos::jobs::State as JobState;
use pharos::retention::tenant as erasure;
use pharos::store::Rid;
use pharos::tenant::{State, TenantId};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const ALL: &str = "system/*.cruds";

/// A server that asks for tokens, and its administrator at `/auth/admin`.
struct House {
    server: Server,
    admin: Client,
}

impl House {
    fn start() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut pharos::config::Config)) -> Self {
        let server = Server::with(|config| {
            config.insecure_open = false;
            change(config);
        });
        let token = server.token("admin", Some(&Person { roles: &["Admin"], ..Person::default() }));
        let root = server.base().trim_end_matches("/fhir").to_owned();
        let admin = Client::bearing(format!("{root}/auth/admin"), &token);
        Self { server, admin }
    }

    fn root(&self) -> &str {
        self.server.base().trim_end_matches("/fhir")
    }

    fn create(&self, given: &Value) -> Answer {
        self.admin.post("/tenants").body("application/json", given.to_string()).expect(201)
    }

    /// A tenant of this name, and a client there that may do everything.
    fn tenant(&self, name: &str) -> (TenantId, Client) {
        let number = self.create(&json!({ "name": name })).at("/number").as_u64().unwrap();
        let tenant = TenantId(u32::try_from(number).unwrap());
        (tenant, self.client(tenant, name, ALL))
    }

    fn client(&self, tenant: TenantId, name: &str, scopes: &str) -> Client {
        Client::bearing(format!("{}/t/{name}/fhir", self.root()), &self.server.token_in(tenant, scopes, None))
    }

    fn act(&self, path: &str) -> Answer {
        self.admin.post(path).send()
    }
}

fn patient(family: &str) -> Value {
    json!({ "resourceType": "Patient", "name": [{ "family": family }] })
}

#[test]
fn all_that_is_said_of_a_tenant_is_of_its_base() {
    let house = House::start();
    let made = house.create(&json!({ "name": "acme", "display_name": "Acme Clinics", "region": "eu-west" }));
    let base = format!("{}/t/acme/fhir", house.root());
    assert_eq!(made.at("/base"), base);
    assert_eq!(made.header("location").unwrap(), format!("{}/auth/admin/tenants/acme", house.root()));
    let acme = house.client(TenantId(1), "acme", ALL);

    let anybody = Client::new(base.clone());
    let smart = anybody.get("/.well-known/smart-configuration").expect(200);
    assert_eq!(
        (smart.at("/issuer"), smart.at("/token_endpoint")),
        (json!(base), json!(format!("{}/t/acme/auth/token", house.root())))
    );
    assert_eq!(anybody.get("/.well-known/openid-configuration").expect(200).at("/issuer"), base);
    assert_eq!(anybody.get("/metadata").expect(200).at("/implementation/url"), base);

    let made = acme.post("/Patient").json(patient("Everywoman")).expect(201);
    assert!(made.header("location").unwrap().starts_with(&format!("{base}/Patient/")), "{made}");
    acme.post("/Patient").json(patient("Everyman")).expect(201);
    let page = acme.get("/Patient?_count=1").expect(200);
    assert!(page.link("next").unwrap().starts_with(&base) && page.link("self").unwrap().starts_with(&base), "{page}");
    assert_eq!(acme.get(&page.link("next").unwrap()).expect(200).resources().len(), 1);
    let text = acme.get("/_history").expect(200).text().to_owned() + page.text();
    assert!(!text.contains(&format!("\"{}", house.server.base())), "nothing is of the default tenant's: {text}");

    // A reference by the tenant's own base is one within, that by the base of another is not.
    let id = made.id();
    for (reference, found) in
        [(format!("{base}/Patient/{id}"), 1), (format!("{}/Patient/{id}", house.server.base()), 0)]
    {
        let seen = json!({ "resourceType": "Observation", "status": "final", "code": { "text": "x" },
            "subject": { "reference": reference } });
        let seen = acme.post("/Observation").json(seen).expect(201).id();
        assert_eq!(acme.get(&format!("/Observation?_id={seen}&subject=Patient/{id}")).expect(200).ids().len(), found);
    }
    let house_client = house.server.as_system(ALL);
    house_client.get(&format!("/Patient/{id}")).expect(404);
    assert_eq!(house_client.get("/Patient").expect(200).resources(), Vec::<Value>::new());
    Client::bearing(format!("{}/t/default/fhir", house.root()), &house.server.token(ALL, None))
        .get("/Patient")
        .expect(200);
}

#[test]
fn a_token_is_good_in_its_own_tenant_only() {
    let house = House::start();
    let ((_, a), (_, b)) = (house.tenant("a"), house.tenant("b"));
    for client in [&a, &b] {
        client.put("/Patient/p").json(json!({ "resourceType": "Patient", "id": "p" })).expect(201);
    }
    let of_a = house.server.token_in(TenantId(1), ALL, None);
    let own = house.server.token(ALL, None);
    for (path, token) in [("/t/b/fhir", &of_a), ("/fhir", &of_a), ("/t/a/fhir", &own)] {
        let elsewhere = Client::bearing(format!("{}{path}", house.root()), token);
        let refused = elsewhere.get("/Patient/p").expect(401).issue("security");
        assert!(refused.header("www-authenticate").unwrap().contains("invalid_token"));
        let form = format!("token={token}");
        let auth = Client::bearing(format!("{}{}", house.root(), path.replace("/fhir", "/auth")), token);
        auth.post("/introspect").form(&form).expect(401);
        auth.get("/userinfo").expect(401);
        auth.get("/admin/users").expect(401);
    }
    a.get("/Patient/p").expect(200);
}

#[test]
fn what_is_no_name_is_no_tenant() {
    let house = House::start();
    house.tenant("acme");
    let root = Client::new(house.root());
    let long = "a".repeat(6_000);
    for name in [
        "none",
        "Acme",
        "ACME",
        "acme.",
        "%61cme",
        "acme%00",
        "%2e",
        "%2e%2e",
        "%2e%2e%2ffhir",
        "acme%2ffhir",
        "1",
        "0",
        "a--b",
        "-acme",
        "acm%C3%A9",
        "%D0%B0cme",
        "acme;x=1",
        "acme%20",
        &long,
    ] {
        for path in
            ["fhir/metadata", "fhir/Patient", "auth/keys", "auth/sign-in", "fhir/.well-known/smart-configuration"]
        {
            let status = root.get(&format!("/t/{name}/{path}")).send().status();
            assert_eq!(status, 404, "/t/{name}/{path}");
        }
    }
    root.get(&format!("/t/{}/fhir/metadata", "a".repeat(10_000))).expect(404);
    let raw = |path: &str| root.raw(format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes());
    for path in [
        "/t/../fhir/metadata",
        "/t//fhir/metadata",
        "/t/./fhir/metadata",
        "/t/acme/../fhir/metadata",
        "/t/acme/%2e%2e/default/fhir/metadata",
        "/t",
        "/t/",
        "/t/acme",
        "/t/acme/",
        "/t/acme/fhirx",
        "/T/acme/fhir/metadata",
        "/t/acme//fhir/metadata",
    ] {
        let answer = raw(path);
        assert!(answer.starts_with("HTTP/1.1 404 "), "{path}: {}", answer.lines().next().unwrap_or_default());
    }
    let answer = root.raw(b"GET /t/acm\xc3\xa9/fhir/metadata HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
    root.get("/t/acme/fhir/metadata").expect(200);
}

#[test]
fn a_suspended_tenant_answers_nobody_and_a_resumed_one_as_before() {
    let house = House::start();
    let (_, acme) = house.tenant("acme");
    let (_, other) = house.tenant("other");
    acme.put("/Patient/p").json(json!({ "resourceType": "Patient", "id": "p" })).expect(201);
    assert_eq!(house.act("/tenants/acme/suspend").status_is(200).at("/state"), "suspended");
    let refused = acme.get("/Patient/p").expect(403).issue("suppressed");
    assert_eq!(refused.header("www-authenticate"), None);
    acme.get("/metadata").expect(403);
    let auth = Client::new(format!("{}/t/acme/auth", house.root()));
    for path in ["/keys", "/sign-in", "/style.css"] {
        auth.get(path).expect(403);
    }
    other.get("/Patient/p").expect(404);
    house.server.as_system(ALL).get("/Patient").expect(200);
    assert_eq!(house.act("/tenants/acme/resume").status_is(200).at("/state"), "active");
    acme.get("/Patient/p").expect(200);

    let noted = acme.get("/AuditEvent?_sort=_id").expect(200).text().to_owned();
    for change in ["created", "suspended", "resumed"] {
        assert!(noted.contains(change), "{change}: {noted}");
    }
    let house_ledger = house.server.as_system(ALL).get("/AuditEvent?_count=100").expect(200).text().to_owned();
    assert!(house_ledger.contains("POST tenants/acme/suspend"), "{house_ledger}");
}

#[test]
fn a_deleted_tenant_is_erased_but_for_its_ledger() {
    let house = House::start();
    let (tenant, acme) = house.tenant("acme");
    let (other, rest) = house.tenant("other");
    for client in [&acme, &rest] {
        for n in 0..30 {
            let family = if n % 2 == 0 { "Everywoman" } else { "Everyman" };
            client
                .put(&format!("/Patient/p{n}"))
                .json(json!({ "resourceType": "Patient", "id": format!("p{n}"), "name": [{ "family": family }] }))
                .expect(201);
        }
        client.put("/Patient/p1").json(json!({ "resourceType": "Patient", "id": "p1" })).expect(200);
        client.delete("/Patient/p2").expect(204);
    }
    let on = json!({ "reason": "a case" }).to_string();
    let admin = house.server.token_in(tenant, "admin", Some(&Person { roles: &["Admin"], ..Person::default() }));
    let of_acme = Client::bearing(format!("{}/t/acme/auth/admin", house.root()), &admin);
    of_acme.put("/holds/Patient/p1").body("application/json", on).expect(200);
    house.admin.delete("/tenants/acme").expect(409);
    acme.get("/Patient/p1").expect(200);
    of_acme.delete("/holds/Patient/p1").expect(204);

    assert_eq!(house.admin.delete("/tenants/acme").expect(202).at("/state"), "deleted");
    acme.get("/Patient/p1").expect(410).issue("deleted");
    Client::new(format!("{}/t/acme/auth", house.root())).get("/keys").expect(410);
    let deadline = Instant::now() + Duration::from_mins(1);
    while house.admin.get("/tenants/acme").expect(200).at("/erasure/state") != "done" {
        assert!(Instant::now() < deadline, "not erased");
        std::thread::sleep(Duration::from_millis(50));
    }
    let app = house.server.app();
    let left = |tenant: TenantId| {
        let records = app.store().open(&Grant::unrestricted(tenant)).unwrap();
        let resources = records.view().resources(Rid(0)).count();
        let log = records.view().log_back(None, (pharos::clock::Micros(i64::MAX), 0)).count();
        let keeper = app.store().keeper();
        let kept = ["client", "user", "authorization", "key", "setup"]
            .map(|kind| keeper.list(tenant, kind, "", None, 9).unwrap().len());
        (resources, log, kept.iter().sum::<usize>())
    };
    assert_eq!(left(tenant), (0, 0, 0));
    assert_eq!(app.jobs.get(tenant, erasure::KIND).unwrap().unwrap().state, JobState::Done);
    let deleted = app.tenants().of(tenant).tenant.clone();
    let exports = app.exports.folder_of_tenant(tenant);
    std::fs::create_dir_all(exports.join("job")).unwrap();
    crate::support::tokens::block_on(app.sweep_exports(tenant)).unwrap();
    assert!(!exports.exists(), "files of exports go with their tenant");
    for again in [false, true] {
        crate::support::tokens::block_on(app.finish_deletions(again)).unwrap();
        assert!(app.is_destroyed(&deleted));
        assert!(!app.is_destroyed(&app.tenants().of(other).tenant));
        assert_eq!(left(tenant), (0, 0, 0));
        assert_eq!(house.admin.get("/tenants/acme").expect(200).at("/erasure/state"), "done");
    }
    assert_eq!((left(other).0, left(other).1 > 30, left(other).2 > 0), (30, true, true), "the other has all");
    rest.get("/Patient/p1/_history/1").expect(200);
    let verified = crate::support::tokens::block_on(app.ledger.verify(tenant, None)).unwrap();
    assert!(verified.chain.is_sound() && verified.chain.head.next > 30, "{verified:?}");

    house.admin.post("/tenants").body("application/json", json!({ "name": "acme" }).to_string()).expect(409);
    for action in ["suspend", "resume", "set-up-code"] {
        house.act(&format!("/tenants/acme/{action}")).status_is(410);
    }
    house.admin.put("/tenants/acme").body("application/json", "{}").expect(410);
    house.admin.delete("/tenants/acme").expect(410);
    assert_eq!(house.create(&json!({ "name": "third" })).at("/number"), 3);
}

#[test]
fn tenants_are_administered_in_the_default_tenant_by_administrators() {
    let house = House::start();
    let (tenant, _) = house.tenant("acme");
    let root = house.root();
    Client::new(format!("{root}/auth/admin")).get("/tenants").expect(401);
    let user = house.server.token("admin", Some(&Person { roles: &["Provider"], ..Person::default() }));
    Client::bearing(format!("{root}/auth/admin"), &user).get("/tenants").expect(403);
    let own = house.server.token_in(tenant, "admin", Some(&Person { roles: &["Admin"], ..Person::default() }));
    let own = Client::bearing(format!("{root}/t/acme/auth/admin"), &own);
    own.get("/users").expect(200);
    for path in ["/tenants", "/tenants/acme", "/tenants/default"] {
        own.get(path).expect(404);
    }
    own.post("/tenants").body("application/json", r#"{"name":"b"}"#).expect(404);
    own.delete("/tenants/acme").expect(404);

    let shown = house.admin.get("/tenants/acme").expect(200);
    assert_eq!(
        (shown.at("/number"), shown.at("/limits"), shown.header("etag")),
        (json!(1), json!({}), Some("W/\"1\""))
    );
    let put = |body: &Value, version: &str| {
        house.admin.put("/tenants/acme").header("If-Match", version).body("application/json", body.to_string())
    };
    let body = json!({ "display_name": "Acme", "limits": { "requests_per_s": 5 } });
    assert_eq!(put(&body, "W/\"1\"").expect(200).at("/limits/requests_per_s"), 5);
    put(&body, "W/\"1\"").expect(412);
    let refused = put(&json!({ "limits": { "requests_per_s": "x7531" } }), "*").expect(400);
    assert!(refused.text().contains("/limits/requests_per_s") && !refused.text().contains("7531"), "{refused}");
    house.admin.post("/tenants").body("application/json", "{").expect(400);
    house.admin.get("/tenants/none").expect(404);
    house.act("/tenants/acme/dance").status_is(404);
    house.admin.get("/tenants/acme/suspend").expect(405);
    house.act("/tenants/default/suspend").status_is(409);
    house.admin.delete("/tenants/default").expect(409);
    for name in ["b", "c", "d"] {
        house.create(&json!({ "name": name }));
    }
    let first = house.admin.get("/tenants?count=2").expect(200);
    assert_eq!((first.at("/tenants/1/name"), first.at("/next")), (json!("acme"), json!("acme")));
    let second = house.admin.get("/tenants?count=3&after=acme").expect(200);
    assert_eq!((second.at("/tenants/2/name"), second.at("/next")), (json!("d"), Value::Null));
}

#[test]
fn the_first_administrator_of_a_tenant_signs_in_there_and_nowhere_else() {
    let house = House::start();
    let made = house.create(&json!({ "name": "acme" }));
    house.tenant("other");
    let code = made.at("/set_up/code").as_str().unwrap().to_owned();
    assert_eq!(made.at("/set_up/page"), format!("{}/t/acme/auth/setup", house.root()));
    let browser = Browser::of(house.server.base(), "/t/acme/auth");
    let page = browser.open("/t/acme/auth/setup").status_is(200);
    let fields =
        [("code", &*code), ("username", "ada"), ("new", "correct horse battery"), ("again", "correct horse battery")];
    let apps = browser.submit(&page, "setup", &fields).status_is(200);
    assert!(apps.text().contains("Signed in as <strong>ada"), "{apps}");
    let cookie = browser.cookie("pharos.acme").expect("the cookie of the tenant");
    assert_eq!(browser.cookie("pharos"), None);
    // The same cookie, under any name, is nobody's elsewhere.
    for path in ["/auth/apps", "/t/other/auth/apps"] {
        let root = Client::new(house.root());
        let cookies = format!("pharos.acme={cookie}; pharos={cookie}; pharos.other={cookie}");
        let sent = root.get(path).header("Cookie", &cookies).expect(303);
        assert_eq!(sent.header("location"), Some("sign-in"), "{path}");
    }
    Client::new(house.root()).get("/t/other/auth/setup").expect(200);
    house.act("/tenants/acme/set-up-code").status_is(200);
    let again = Browser::of(house.server.base(), "/t/other/auth");
    let page = again.open("/t/other/auth/setup");
    again.submit(&page, "setup", &fields).status_is(422);
}

#[test]
fn a_tenant_has_its_own_search_parameters_and_clients() {
    let house = House::start();
    let ((_, a), (_, b)) = (house.tenant("a"), house.tenant("b"));
    let parameter = json!({ "resourceType": "SearchParameter", "id": "shoe", "url": "https://a.example/shoe", "name": "shoe",
        "status": "active", "description": "x", "code": "shoe", "base": ["Patient"], "type": "string",
        "expression": "Patient.extension.where(url='https://a.example/shoe').value" });
    a.put("/SearchParameter/shoe").json(parameter).expect(201);
    a.get("/Patient?shoe=x").expect(200);
    b.get("/Patient?shoe=x").expect(400);
    house.server.as_system(ALL).get("/Patient?shoe=x").expect(400);
    let root = house.root();
    let admin = house.server.token_in(TenantId(1), "admin", Some(&Person { roles: &["Admin"], ..Person::default() }));
    let of_a = Client::bearing(format!("{root}/t/a/auth/admin"), &admin);
    let app = json!({ "client_name": "App", "token_endpoint_auth_method": "client_secret_basic", "grant_types": ["authorization_code"],
        "redirect_uris": ["https://app.example.org/after"], "origins": ["https://app.example.org"] });
    of_a.put("/clients/app").body("application/json", app.to_string()).expect(201);
    house.admin.get("/clients/app").expect(404);
    let asks = |path: &str| {
        let root = Client::new(root);
        root.get(path)
            .header("Origin", "https://app.example.org")
            .send()
            .header("access-control-allow-origin")
            .map(str::to_owned)
    };
    assert_eq!(asks("/t/a/fhir/Patient").as_deref(), Some("https://app.example.org"));
    assert_eq!((asks("/t/b/fhir/Patient"), asks("/fhir/Patient")), (None, None));
}

#[test]
fn each_tenant_has_its_own_limits() {
    let house = House::with(|config| config.limits.jobs_per_tenant = 5);
    house.create(&json!({ "name": "a", "limits": { "requests_per_s": 2, "jobs": 1 } }));
    house.create(&json!({ "name": "b" }));
    let (a, b) = (house.client(TenantId(1), "a", ALL), house.client(TenantId(2), "b", ALL));
    let (begin, mut answered) = (Instant::now(), 0);
    let refusal = loop {
        let answer = a.get("/Patient/none").send();
        if answer.status() == 429 {
            break answer;
        }
        answer.status_is(404);
        answered += 1;
        assert!(answered < 2_000, "no limit");
    };
    refusal.issue("throttled");
    // A machine that is slow is given more in the meantime.
    let given = 20.0 + 2.0 * begin.elapsed().as_secs_f64();
    assert!(
        (20.0..=given + 1.0).contains(&f64::from(answered)),
        "ten seconds' worth at once, then the rate: {answered}"
    );
    for _ in 0..40 {
        b.get("/Patient/none").expect(404);
    }
    let submit = |tenant| {
        let new =
            pharos::jobs::New { kind: "waits", owner: pharos::auth::agent::Agent::server(), parameters: json!(null) };
        crate::support::tokens::block_on(house.server.app().jobs.submit(tenant, new))
            .map_err(|error| error.category.status())
    };
    house.act("/tenants/a/suspend").status_is(200);
    submit(TenantId(1)).unwrap();
    assert_eq!(submit(TenantId(1)).err(), Some(429));
    submit(TenantId(2)).unwrap();
}

#[test]
fn a_tenant_stores_no_more_than_its_limit() {
    let house = House::start();
    house.create(&json!({ "name": "a", "limits": { "storage_bytes": 4_000 } }));
    house.tenant("b");
    let (a, b) = (house.client(TenantId(1), "a", ALL), house.client(TenantId(2), "b", ALL));
    let write = |client: &Client, n: u32| {
        let mut random = u64::from(n);
        let mut letter = || {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            char::from(b'a' + u8::try_from((random >> 33) % 26).unwrap())
        };
        // What can't be compressed to much less.
        let text: String = (0..400).map(|_| letter()).collect();
        client
            .put(&format!("/Patient/p{n}"))
            .json(json!({ "resourceType": "Patient", "id": format!("p{n}"), "name": [{ "family": text }] }))
            .send()
    };
    let written = (0..40).take_while(|n| write(&a, *n).status() == 201).count();
    assert!((5..40).contains(&written), "{written}");
    write(&a, 99).status_is(507).issue("too-costly").says("4000 bytes");
    a.get("/Patient/p1").expect(200);
    a.delete("/Patient/p1").expect(204);
    let bundle = json!({ "resourceType": "Bundle", "type": "transaction", "entry": [
        { "resource": patient("x"), "request": { "method": "POST", "url": "Patient" } },
        { "resource": patient("y"), "request": { "method": "POST", "url": "Patient" } } ] });
    write(&b, 1).status_is(201);
    b.post("").json(&bundle).expect(200);
    let body = json!({ "limits": { "storage_bytes": 1_000_000 } }).to_string();
    house.admin.put("/tenants/a").body("application/json", body).expect(200);
    write(&a, 99).status_is(201);
}

#[test]
fn the_command_line_and_the_metrics_know_tenants_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let store = format!("file:{}", folder.path().join("data").display());
    // The ledger's entries name the server, and so does their index: all commands have to call it the same.
    let address = free_address();
    let url = format!("http://{address}");
    let run = |arguments: &[&str]| {
        let process = Process::start(arguments.iter().copied().chain(["--store", &store, "--public-url", &url]));
        let is_good = process.wait().success();
        // What it said is passed on by another thread.
        std::thread::sleep(Duration::from_millis(100));
        (is_good, process.said())
    };
    let (made, said) = run(&["tenant", "create", "acme", "--display-name", "Acme", "--jobs", "3"]);
    assert!(made && said.contains("/t/acme/fhir") && said.contains("enter the code"), "{said}");
    assert!(!run(&["tenant", "create", "Acme"]).0 && !run(&["tenant", "create", "acme"]).0);
    let (set, said) = run(&["tenant", "set", "acme", "--region", "eu", "--jobs", "0"]);
    assert!(set && said.contains("\"region\": \"eu\"") && said.contains("\"display_name\": \"Acme\""), "{said}");
    assert!(run(&["user", "add", "ada", "--role", "Admin", "--tenant", "acme"]).0);
    assert!(run(&["user", "list"]).1.trim().is_empty());
    assert!(!run(&["user", "list", "--tenant", "none"]).0 && !run(&["user", "list", "--tenant", "1"]).0);
    let bundle = folder.path().join("bundle.json");
    let entry = json!({ "resource": patient("Everywoman"), "request": { "method": "POST", "url": "Patient" } });
    std::fs::write(&bundle, json!({ "resourceType": "Bundle", "type": "transaction", "entry": [entry] }).to_string())
        .unwrap();
    assert!(run(&["load", bundle.to_str().unwrap(), "--tenant", "acme"]).0);
    assert!(run(&["tenant", "suspend", "acme"]).0 && run(&["tenant", "list"]).1.contains("acme\t1\tsuspended\tAcme"));
    assert!(run(&["tenant", "resume", "acme"]).0);

    let settings = folder.path().join("pharos.toml");
    let checkpoints = folder.path().join("checkpoints");
    std::fs::write(&settings, format!("[audit]\nenabled = true\ncheckpoint_file = \"{}\"\n", checkpoints.display()))
        .unwrap();
    let server = Process::start([
        "serve",
        "--insecure-open",
        "--config",
        settings.to_str().unwrap(),
        "--store",
        &store,
        "--listen",
        &address.to_string(),
    ]);
    server.lines_until("serving");
    let acme = Client::new(format!("http://{address}/t/acme/fhir"));
    assert_eq!(acme.get("/Patient").expect(200).resources().len(), 1);
    Client::new(format!("http://{address}/fhir")).get("/Patient").expect(200);
    Client::new(format!("http://{address}/t/nobody-{}/fhir", "x".repeat(30))).get("/Patient").expect(404);
    let metrics = Client::new(format!("http://{address}")).get("/metrics").expect(200).text().to_owned();
    for tenant in ["acme", "default", ""] {
        assert!(metrics.contains(&format!("pharos_requests_total{{tenant=\"{tenant}\"")), "{tenant}: {metrics}");
    }
    assert!(!metrics.contains("nobody"), "only names that somebody gave: {metrics}");
    server.terminate();
    assert!(server.wait().success());
    let signed = std::fs::read_to_string(&checkpoints).unwrap();
    let lanes = crate::support::smart::claims(&signed.lines().last().unwrap().into())["lanes"].clone();
    let of: Vec<_> = lanes.as_array().unwrap().iter().map(|lane| lane["tenant"].as_u64().unwrap()).collect();
    assert_eq!(of, [0, 1], "a checkpoint is over the ledgers of all tenants");

    assert!(!run(&["tenant", "delete", "acme", "--really", "other"]).0);
    let (deleted, said) = run(&["tenant", "delete", "acme", "--really", "acme"]);
    assert!(deleted && said.contains("acme is deleted"), "{said}");
    assert!(run(&["audit", "verify", "--tenant", "acme"]).0, "its ledger stays");
    assert!(!run(&["load", bundle.to_str().unwrap(), "--tenant", "acme"]).0);
    assert!(run(&["check"]).0);
}

#[test]
fn a_tenant_has_its_own_rules_of_retention() {
    let house = House::start();
    let rule = json!([{ "types": ["Patient"], "what": "old-versions", "keep_days": 0, "then": "purge" }]);
    house.create(&json!({ "name": "a", "retention": rule }));
    house.create(&json!({ "name": "b" }));
    for (tenant, name, left) in [(TenantId(1), "a", 1), (TenantId(2), "b", 2)] {
        let client = house.client(tenant, name, ALL);
        for status in [201, 200] {
            let version = json!({ "resourceType": "Patient", "id": "p", "active": status == 200 });
            client.put("/Patient/p").json(version).expect(status);
        }
        let person = Person { roles: &["Admin"], ..Person::default() };
        let token = house.server.token_in(tenant, "admin", Some(&person));
        let admin = Client::bearing(format!("{}/t/{name}/auth/admin", house.root()), &token);
        assert_eq!(admin.get("/retention").expect(200).at("/own_rules").as_array().unwrap().len(), 2 - left);
        let job = admin.post("/retention").expect(202).id();
        let ended = house.server.app().jobs.wait(tenant, &job, Duration::from_mins(1));
        assert_eq!(crate::support::tokens::block_on(ended).unwrap().unwrap().state, JobState::Done);
        assert_eq!(client.get("/Patient/p/_history").expect(200).resources().len(), left, "{name}");
    }
}

#[test]
fn a_deletion_that_was_interrupted_is_finished() {
    let house = House::start();
    let (tenant, acme) = house.tenant("acme");
    acme.put("/Patient/p").json(json!({ "resourceType": "Patient", "id": "p" })).expect(201);
    let app = house.server.app();
    // As far as it comes where the power goes right after the tenant is marked.
    crate::support::tokens::block_on(app.tenants().set_state("acme", None, State::Deleted, None)).unwrap();
    assert!(app.erasure_of(&app.tenants().of(tenant).tenant).unwrap().is_none());
    crate::support::tokens::block_on(app.finish_deletions(true)).unwrap();
    let ended = crate::support::tokens::block_on(app.jobs.wait(tenant, erasure::KIND, Duration::from_mins(1)));
    assert_eq!(ended.unwrap().unwrap().state, JobState::Done);
    let records = app.store().open(&Grant::unrestricted(tenant)).unwrap();
    assert_eq!(records.view().resources(Rid(0)).count(), 0);
    assert!(app.store().keeper().list(tenant, "client", "", None, 9).unwrap().is_empty());
}

#[test]
fn an_export_of_one_tenant_is_imported_into_another() {
    let house = House::start();
    let ((_, one), (_, other)) = (house.tenant("one"), house.tenant("other"));
    for id in ["a", "b", "c"] {
        let patient = json!({"resourceType": "Patient", "id": id, "name": [{"family": id}], "multipleBirthInteger": 2});
        one.put(&format!("/Patient/{id}")).json(patient).expect(201);
    }
    let exported = one.export("/$export");
    let text: String =
        exported.urls("output", None).iter().map(|url| one.get(url).expect(200).text().to_owned()).collect();
    let imported = other.exported(&other.post("/$import").body("application/fhir+ndjson", text).expect(202));
    assert_eq!(imported.manifest["output"][0]["count"], 3);
    one.get(&imported.path).expect(404);
    let plain = |exported: &crate::support::Exported| {
        let mut lines = exported.lines("output");
        for line in &mut lines {
            line.as_object_mut().unwrap().remove("meta");
        }
        lines
    };
    assert_eq!(plain(&other.export("/$export")), plain(&exported));
    house.server.as_system(ALL).get("/Patient/a").expect(404);
}

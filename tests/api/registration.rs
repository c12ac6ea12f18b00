//! `POST /auth/register` and `/auth/admin/clients`, as clients and administrators see them.

use crate::support::smart::{REDIRECT, Smart, basic, claims};
use crate::support::{Client, Person, Server};
use pharos::config::{Config, Registration};
use serde_json::{Value, json};

const JSON: &str = "application/json";

/// A server with this setting; its client at the root, without and with an administrator's token.
fn house(change: impl FnOnce(&mut Config)) -> (Server, Client, Client) {
    let server = Server::with(|config| {
        config.insecure_open = false;
        change(config);
    });
    let token = server.token("admin", Some(&Person { roles: &["Admin"], ..Person::default() }));
    let root = server.base().trim_end_matches("/fhir").to_owned();
    let (anyone, admin) = (Client::new(root.clone()), Client::bearing(root, &token));
    (server, anyone, admin)
}

fn metadata(scope: &str) -> Vec<u8> {
    serde_json::to_vec(&json!({ "client_name": "Growth", "redirect_uris": [REDIRECT], "scope": scope })).unwrap()
}

#[test]
fn registration_is_for_administrators_unless_said_otherwise() {
    let (server, anyone, admin) = house(|_| {});
    let register = |by: &Client| by.post("/auth/register").body(JSON, metadata("patient/*.rs make_launch")).send();
    let refused = register(&anyone).oauth_error(401, "invalid_token");
    refused.header_is("www-authenticate", "Bearer realm=\"pharos\"");
    let other = Client::bearing(
        anyone.base(),
        &server.token("admin", Some(&Person { roles: &["Provider"], ..Person::default() })),
    );
    register(&other).oauth_error(403, "insufficient_scope");

    let answer = register(&admin).status_is(201);
    assert_eq!(answer.at("/scope"), "patient/*.rs make_launch");
    assert!(answer.at("/client_secret").as_str().unwrap().len() >= 43, "{answer}");
    answer.header_is("cache-control", "no-store").header_is("pragma", "no-cache");

    admin.post("/auth/register").body(JSON, "{").send().oauth_error(400, "invalid_request");
    admin.post("/auth/register").form("client_name=x").send().oauth_error(400, "invalid_request");
    admin
        .post("/auth/register")
        .body(JSON, "{\"redirect_uris\": [\"http://a.org/\"]}")
        .send()
        .oauth_error(400, "invalid_redirect_uri");
    admin.post("/auth/register").body(JSON, vec![b' '; 65 << 10]).send().oauth_error(400, "invalid_request");
    admin.get("/auth/register").send().status_is(405).header_is("allow", "POST");

    let (_server, anyone, admin) = house(|config| config.auth.registration = Registration::Off);
    register(&anyone).oauth_error(403, "access_denied");
    register(&admin).oauth_error(403, "access_denied");
}

#[test]
fn open_registration_is_narrow_and_slow() {
    let (_server, anyone, admin) = house(|config| config.auth.registration = Registration::Open);
    let register = |by: &Client, scope| by.post("/auth/register").body(JSON, metadata(scope)).send();
    let wide = "openid admin make_launch introspect system/*.rs patient/*.rs";
    assert_eq!(register(&anyone, wide).status_is(201).at("/scope"), "openid patient/*.rs");
    register(&anyone, "admin").oauth_error(400, "invalid_client_metadata");
    let slowed = (0..20).map(|_| register(&anyone, "patient/*.rs")).find(|answer| answer.status() != 201).unwrap();
    let slowed = slowed.oauth_error(429, "slow_down");
    assert!((1..=60).contains(&slowed.header("retry-after").unwrap().parse::<u32>().unwrap()), "{slowed}");
    // An administrator does not wait, and gets what was asked.
    assert_eq!(register(&admin, wide).status_is(201).at("/scope"), wide);
}

#[test]
fn administrators_manage_clients() {
    let (_server, anyone, admin) = house(|_| {});
    let given = |scope: &str| json!({ "client_name": "Growth", "redirect_uris": [REDIRECT], "scope": scope });
    anyone.get("/auth/admin/clients").send().status_is(401);
    let put = |scope: &str, header: (&str, &str)| {
        admin.put("/auth/admin/clients/growth").header(header.0, header.1).json(given(scope)).send()
    };
    put("patient/*.rs", ("If-Match", "W/\"3\"")).status_is(412);
    let added = put("patient/*.rs", ("If-None-Match", "*")).status_is(201).header_is("etag", "W/\"1\"");
    let secret = added.at("/client_secret").as_str().unwrap().to_owned();
    put("patient/*.rs", ("If-None-Match", "*")).status_is(412);
    let replaced = put("openid patient/*.rs", ("If-Match", "W/\"1\"")).status_is(200).header_is("etag", "W/\"2\"");
    assert_eq!((replaced.json().get("client_secret"), replaced.at("/scope")), (None, json!("openid patient/*.rs")));
    assert_eq!(put("nonsense", ("X-A", "b")).status_is(400).at("/error"), "invalid");

    // Its secret is good until another takes its place, and is read by nobody.
    let is_known = |secret: &str| {
        let form = anyone.post("/auth/introspect").form("token=x").header("Authorization", &basic("growth", secret));
        form.send().status() == 200
    };
    assert!(is_known(&secret) && !admin.get("/auth/admin/clients/growth").expect(200).to_string().contains(&secret));
    let next = admin.post("/auth/admin/clients/growth/rotate-secret").expect(200);
    let next = next.header_is("cache-control", "no-store").at("/client_secret").as_str().unwrap().to_owned();
    assert!(!is_known(&secret) && is_known(&next));
    admin.post("/auth/admin/clients/growth/disable").header("If-Match", "W/\"1\"").expect(412);
    admin.post("/auth/admin/clients/growth/disable").expect(204);
    assert!(!is_known(&next));
    assert_eq!(admin.get("/auth/admin/clients/growth").expect(200).at("/disabled"), json!(true));
    admin.post("/auth/admin/clients/growth/enable").expect(204);
    assert!(is_known(&next));
    admin.get("/auth/admin/clients/growth/enable").expect(405);
    admin.post("/auth/admin/clients/growth/promote").expect(404);

    let posted = admin.post("/auth/admin/clients").json(given("patient/*.rs")).expect(201);
    let id = posted.at("/client_id").as_str().unwrap().to_owned();
    posted.header_is("location", &format!("{}/auth/admin/clients/{id}", anyone.base()));
    let list = |query: &str| admin.get(&format!("/auth/admin/clients{query}")).expect(200).json();
    let page = list("?count=1");
    let rest = list(&format!("?after={}", page["next"].as_str().unwrap()));
    let ids = |page: &Value| {
        page["clients"].as_array().unwrap().iter().map(|one| one["client_id"].clone()).collect::<Vec<_>>()
    };
    let all = [ids(&page), ids(&rest)].concat();
    assert!(all.contains(&json!("growth")) && all.contains(&json!(id)) && rest.get("next").is_none(), "{all:?}");

    admin.delete("/auth/admin/clients/growth").header("If-Match", "W/\"1\"").expect(412);
    admin.delete("/auth/admin/clients/growth").expect(204);
    admin.delete("/auth/admin/clients/growth").expect(404);
    admin.post("/auth/admin/clients/growth/rotate-secret").expect(404);
    assert!(!is_known(&next));
}

#[test]
fn administrators_rotate_the_keys() {
    let smart = Smart::start();
    smart.public("app", "openid patient/*.rs");
    let token = smart.server.token("admin", Some(&Person { roles: &["Admin"], ..Person::default() }));
    let admin = Client::bearing(smart.root.base(), &token);
    let kids = || {
        let set = smart.get("/auth/keys").expect(200).json();
        set["keys"].as_array().unwrap().iter().map(|key| key["kid"].clone()).collect::<Vec<_>>()
    };
    let before = smart.tokens("app", "openid patient/*.rs");
    let old = kids();
    smart.post("/auth/admin/keys/rotate").expect(401);
    admin.get("/auth/admin/keys/rotate").expect(405);
    admin.post("/auth/admin/keys/rotate").json(json!({ "drop_old": "yes" })).expect(400);
    admin.post("/auth/admin/keys/rotate").expect(204);
    assert!(kids().len() == 2 * old.len() && old.iter().all(|kid| kids().contains(kid)), "{:?}", kids());
    let reads = |tokens: &Value| {
        let client = Client::bearing(smart.base(), tokens["access_token"].as_str().unwrap());
        client.get("/Observation").send().status()
    };
    let after = smart.tokens("app", "openid patient/*.rs");
    assert_eq!((reads(&before), reads(&after)), (200, 200));
    assert_eq!(claims(&after["id_token"])["aud"], "app");

    // A key that became known: with it goes the token that asks for it.
    admin.post("/auth/admin/keys/rotate").json(json!({ "drop_old": true })).expect(204);
    assert!(kids().len() == old.len() && !old.iter().any(|kid| kids().contains(kid)), "{:?}", kids());
    assert_eq!((reads(&before), reads(&after), reads(&smart.tokens("app", "openid patient/*.rs"))), (401, 401, 200));
}

//! Access tokens of trusted issuers. A second server plays the issuer.

use crate::support::tokens::block_on;
use crate::support::{Client, Person, Server};
use pharos::auth::records::{AccessClaims, Role};
use pharos::auth::scope::Scopes;
use pharos::config::Config;
use pharos::tenant::TenantId;
use serde_json::{Value, json};

const TENANT: TenantId = TenantId::DEFAULT;

/// A server that trusts an issuer, whose entry has these further settings.
fn trusting(issuer: &Server, further: &Value, change: impl FnOnce(&mut Config)) -> Server {
    let mut entry = json!({"issuer": issuer.base()});
    entry.as_object_mut().unwrap().extend(further.as_object().unwrap().clone());
    let server = Server::with(|config| {
        config.insecure_open = false;
        config.auth.fetch_private = true;
        config.auth.fetch_hosts = vec!["127.0.0.1".into()];
        config.auth.trusted_issuers = vec![serde_json::from_value(entry).unwrap()];
        change(config);
    });
    let all = server.as_system("system/*.cruds");
    for id in ["a", "b"] {
        all.put(&format!("/Patient/{id}")).json(json!({"resourceType": "Patient", "id": id})).expect(201);
        let subject = json!({"reference": format!("Patient/{id}")});
        let observation = json!({"resourceType": "Observation", "id": id, "status": "final", "code": {"text": "x"}, "subject": subject});
        all.put(&format!("/Observation/{id}")).json(observation).expect(201);
    }
    server
}

/// What the issuer says in a token for a server.
fn claims(issuer: &Server, server: &Server, further: &Value) -> Value {
    let now = server.app().auth.now_s();
    let mut claims = json!({
        "iss": issuer.base(), "aud": server.base(), "sub": "somebody", "azp": "app", "iat": now, "exp": now + 300,
        "scope": "openid user/*.cruds patient/*.rs system/*.cruds"
    });
    claims.as_object_mut().unwrap().extend(further.as_object().unwrap().clone());
    claims
}

/// A token of type `JWT`, as many issuers make them.
pub fn signed(by: &Server, claims: &Value) -> String {
    block_on(by.app().auth.sign_id(TENANT, claims)).unwrap()
}

fn bearing(issuer: &Server, server: &Server, further: &Value) -> Client {
    server.bearing(&signed(issuer, &claims(issuer, server, further)))
}

#[test]
fn a_token_of_a_trusted_issuer_gives_what_scopes_and_roles_give() {
    let issuer = Server::guarded();
    let rules = json!({"claims": {"roles": "/realm_access/roles", "role_names": {"doctor": "Clinical Director", "boss": "Admin"}}});
    let server = trusting(&issuer, &rules, |_| {});

    let doctor = bearing(&issuer, &server, &json!({"realm_access": {"roles": ["doctor", "singer"]}}));
    assert_eq!(doctor.get("/Patient?_sort=_id").expect(200).ids(), ["a", "b"]);
    doctor
        .post("/Observation")
        .json(json!({"resourceType": "Observation", "status": "final", "code": {"text": "y"}}))
        .expect(201);
    doctor.get("/AuditEvent").expect(403);
    let reader = bearing(&issuer, &server, &json!({"realm_access": {"roles": ["doctor"]}, "scope": "user/Patient.rs"}));
    reader.get("/Patient/a").expect(200);
    reader.get("/Observation/a").expect(403);
    let in_context = json!({"realm_access": {"roles": ["doctor"]}, "scope": ["patient/*.rs"], "patient": "a"});
    let in_context = bearing(&issuer, &server, &in_context);
    assert_eq!(in_context.get("/Observation").expect(200).ids(), ["a"]);
    // Roles that nothing leads to are none, nor is the name of a role here one there.
    bearing(&issuer, &server, &json!({"realm_access": {"roles": ["Clinical Director", "singer"]}}))
        .get("/Patient")
        .expect(403);
    bearing(&issuer, &server, &json!({})).get("/Patient").expect(403);

    // A client acts for itself where nothing speaks of a person.
    let service = bearing(&issuer, &server, &json!({"sub": "app", "scope": "system/Patient.rs user/*.rs"}));
    assert_eq!(service.get("/Patient?_sort=_id").expect(200).ids(), ["a", "b"]);
    service.get("/Observation").expect(403);
    bearing(&issuer, &server, &json!({"sub": "app", "scope": "user/*.rs"})).get("/Patient").expect(403);

    // What an administrator of the issuer may do here ends before the administration.
    let boss = signed(
        &issuer,
        &claims(&issuer, &server, &json!({"realm_access": {"roles": ["boss"]}, "scope": "admin user/*.cruds"})),
    );
    server.bearing(&boss).get("/ValueSet").expect(200);
    let root = Client::bearing(server.base().trim_end_matches("/fhir"), &boss);
    root.get("/auth/admin/users").expect(403);
}

#[test]
fn a_token_with_a_type_of_its_own_is_taken_and_patients_see_themselves() {
    let issuer = Server::guarded();
    let server = trusting(&issuer, &json!({"roles": ["Patient"]}), |_| {});
    let now = server.app().auth.now_s();
    let says = |fhir_user: &str| AccessClaims {
        iss: issuer.base().into(),
        aud: server.base().into(),
        sub: "somebody".into(),
        client_id: "app".into(),
        scope: Scopes::parse("user/*.rs"),
        iat: now,
        exp: now + 300,
        jti: "1".into(),
        sid: None,
        tenant: 7,
        patient: None,
        encounter: None,
        fhir_user: Some(fhir_user.into()),
    };
    let seen = |fhir_user: &str| {
        let token = block_on(issuer.app().auth.sign_access(TENANT, &says(fhir_user))).unwrap();
        server.bearing(&token).get("/Observation").expect(200).ids()
    };
    assert_eq!(seen("Patient/a"), ["a"]);
    assert_eq!(seen(&format!("{}/Patient/b", server.base())), ["b"]);
    // The same id elsewhere is somebody else.
    assert_eq!(seen(&format!("{}/Patient/a", issuer.base())), Vec::<String>::new());
}

#[test]
fn a_token_that_is_not_for_here_is_refused() {
    let (issuer, stranger) = (Server::guarded(), Server::guarded());
    let rules = json!({"roles": ["Clinical Director"], "claims": {"tenant": "organizationId"}});
    let server = trusting(&issuer, &rules, |_| {});
    let refused = |token: &str| {
        let answer = server.bearing(token).get("/Patient/a").expect(401);
        assert!(answer.header("www-authenticate").unwrap().contains("invalid_token"));
    };
    let own = json!({"organizationId": "default"});
    let good = claims(&issuer, &server, &own);
    let with = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        claims
    };
    let token = signed(&issuer, &good);
    server.bearing(&token).get("/Patient/a").expect(200);
    server.bearing(&signed(&issuer, &with("aud", json!(["other", server.base()])))).get("/Patient/a").expect(200);

    let now = server.app().auth.now_s();
    for (name, value) in [
        ("aud", json!(issuer.base())),
        ("aud", json!([])),
        ("aud", json!(format!("{}/", server.base()))),
        ("iss", json!(stranger.base())),
        ("iss", json!(format!("{}/", issuer.base()))),
        ("iss", json!(server.base())),
        ("exp", json!(now - 31)),
        ("exp", json!("never")),
        ("nbf", json!(now + 120)),
        ("iat", json!(now + 120)),
        ("sub", json!("")),
        ("nonce", json!("of an ID token")),
        ("cnf", json!({"jkt": "bound"})),
        ("organizationId", json!("other")),
        ("organizationId", json!(null)),
    ] {
        let claims = with(name, value.clone());
        assert_eq!(claims[name], value);
        refused(&signed(&issuer, &claims));
    }
    refused(&signed(&stranger, &good));
    let parts: Vec<&str> = token.split('.').collect();
    let other = signed(&issuer, &with("sub", json!("else")));
    let other: Vec<&str> = other.split('.').collect();
    refused(&format!("{}.{}.{}", parts[0], other[1], parts[2]));
    refused(&format!("eyJhbGciOiJub25lIiwidHlwIjoiYXQrand0In0.{}.", parts[1]));
    refused(&format!("eyJhbGciOiJub25lIiwidHlwIjoiYXQrand0In0.{}.{}", parts[1], parts[2]));
    // The server's own tokens are no better for it.
    server
        .as_user("user/*.rs", &Person { roles: &["Clinical Director"], ..Person::default() })
        .get("/Patient/a")
        .expect(200);
}

#[test]
fn an_issuer_gives_no_more_than_its_scopes() {
    let issuer = Server::guarded();
    let most = json!({"scopes": "user/Patient.rs system/Patient.r", "roles": ["Clinical Director"]});
    let server = trusting(&issuer, &most, |_| {});
    let person = bearing(&issuer, &server, &json!({}));
    person.get("/Patient/a").expect(200);
    person.delete("/Patient/a").expect(403);
    person.get("/Observation/a").expect(403);
    let service = bearing(&issuer, &server, &json!({"sub": "app"}));
    service.get("/Patient/a").expect(200);
    service.get("/Patient").expect(403);
}

#[test]
fn keys_come_from_allowed_hosts_and_go_when_they_go_there() {
    let issuer = Server::guarded();
    let elsewhere = trusting(&issuer, &json!({}), |config| config.auth.fetch_hosts = vec!["issuer.example.org".into()]);
    bearing(&issuer, &elsewhere, &json!({"sub": "app"})).get("/Patient/a").expect(401);
    let public_only = trusting(&issuer, &json!({}), |config| config.auth.fetch_private = false);
    bearing(&issuer, &public_only, &json!({"sub": "app"})).get("/Patient/a").expect(401);
    let nowhere = trusting(&issuer, &json!({"jwks_uri": "http://127.0.0.1:1/keys"}), |_| {});
    bearing(&issuer, &nowhere, &json!({"sub": "app"})).get("/Patient/a").expect(503);

    let server = trusting(&issuer, &json!({}), |config| config.auth.fetch_cache_s = 1);
    let service = bearing(&issuer, &server, &json!({"sub": "app"}));
    service.get("/Patient/a").expect(200);
    block_on(issuer.app().auth.rotate_keys(TENANT, true)).unwrap();
    // Each look moves the clock a millisecond.
    let clock = &server.app().auth.clock;
    let wait = || (0..11_000).for_each(|_| _ = clock.now());
    wait();
    service.get("/Patient/a").expect(401);
    wait();
    bearing(&issuer, &server, &json!({"sub": "app"})).get("/Patient/a").expect(200);
}

#[test]
fn a_role_that_changes_here_changes_what_a_token_gives() {
    let issuer = Server::guarded();
    let server = trusting(&issuer, &json!({"roles": ["Clerk"]}), |_| {});
    let role = |scopes| Role {
        name: "Clerk".into(),
        scopes: Scopes::parse(scopes),
        own_patients: false,
        break_glass: false,
        is_admin: false,
        purpose_of_use: Vec::new(),
    };
    server.keep("Clerk", &role("user/Patient.rs"));
    let clerk = bearing(&issuer, &server, &json!({}));
    clerk.get("/Patient/a").expect(200);
    server.keep("Clerk", &role("user/Observation.rs"));
    clerk.get("/Patient/a").expect(403);
    clerk.get("/Observation/a").expect(200);
    server.forget::<Role>("Clerk");
    clerk.get("/Observation/a").expect(403);
}

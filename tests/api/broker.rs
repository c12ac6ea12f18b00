//! Identities of others: tokens of trusted issuers, and signing in through another provider. A second server plays the other side.

use crate::support::tokens::block_on;
use crate::support::{Answer, Client, Person, Server};
use pharos::auth::records::{AccessClaims, Role};
use pharos::auth::scope::Scopes;
use pharos::config::Config;
use pharos::tenant::TenantId;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

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
fn signed(by: &Server, claims: &Value) -> String {
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
    for _ in 0..11_000 {
        let _later = clock.now();
    }
    service.get("/Patient/a").expect(401);
    for _ in 0..11_000 {
        let _later = clock.now();
    }
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

/// A provider: discovery, keys and token endpoint. The keys are those of a server, and what the ID token says is up to the test.
struct Provider {
    keys: Server,
    address: String,
    /// What the token endpoint answers next.
    says: Arc<Mutex<Value>>,
    /// The forms that it was sent, with their `Authorization`.
    asked: Arc<Mutex<Vec<(String, String)>>>,
}

impl Provider {
    fn start() -> Self {
        let keys = Server::guarded();
        let jwks = block_on(keys.app().auth.jwks(TENANT)).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let (says, asked) = (Arc::new(Mutex::new(json!({}))), Arc::new(Mutex::new(Vec::new())));
        let (issuer, answers, heard) = (address.clone(), Arc::clone(&says), Arc::clone(&asked));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let lines = reader.by_ref().lines().map(Result::unwrap).take_while(|line| !line.is_empty());
                let lines: Vec<String> = lines.collect();
                let header = |name: &str| {
                    let of = |line: &String| {
                        line.to_lowercase().starts_with(name).then(|| line[name.len()..].trim().to_owned())
                    };
                    lines.iter().find_map(of).unwrap_or_default()
                };
                let mut form = vec![0; header("content-length:").parse().unwrap_or(0)];
                reader.read_exact(&mut form).unwrap();
                let body = match lines[0].split(' ').nth(1).unwrap() {
                    "/.well-known/openid-configuration" => json!({
                        "issuer": issuer, "authorization_endpoint": format!("{issuer}/authorize?tenant=x"),
                        "token_endpoint": format!("{issuer}/token"), "jwks_uri": format!("{issuer}/keys"),
                        "authorization_response_iss_parameter_supported": true
                    }),
                    "/keys" => jwks.clone(),
                    "/token" => {
                        heard.lock().unwrap().push((String::from_utf8(form).unwrap(), header("authorization:")));
                        answers.lock().unwrap().clone()
                    }
                    other => panic!("{other}"),
                };
                let (status, body) = (if body.get("error").is_some() { 400 } else { 200 }, body.to_string());
                let head = format!("HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nConnection: close\r\n");
                let _ = write!(stream, "{head}Content-Length: {}\r\n\r\n{body}", body.len());
            }
        });
        Self { keys, address, says, asked }
    }

    /// A server whose users may sign in here, as `main`, and a second time as `other`.
    fn server(&self, further: &Value) -> Server {
        let entry = |name: &str| {
            let mut entry = json!({
                "name": name, "title": "Main Clinic", "issuer": self.address, "client_id": "pharos", "client_secret": "s:cret",
                "scopes": ["profile"], "roles": ["Provider"]
            });
            entry.as_object_mut().unwrap().extend(further.as_object().unwrap().clone());
            serde_json::from_value(entry).unwrap()
        };
        Server::with(|config| {
            config.insecure_open = false;
            config.auth.fetch_private = true;
            config.auth.fetch_hosts = vec!["127.0.0.1".into()];
            config.auth.providers = vec![entry("main"), entry("other")];
        })
    }

    /// From now on codes open this ID token.
    fn gives(&self, id_token: &str) {
        *self.says.lock().unwrap() = json!({"access_token": "x", "token_type": "Bearer", "id_token": id_token});
    }
}

/// A browser that was sent to the provider.
struct Journey {
    root: Client,
    cookie: String,
    asked: BTreeMap<String, String>,
}

impl Journey {
    fn begin(server: &Server, query: &str) -> Self {
        let root = Client::new(server.base().trim_end_matches("/fhir"));
        let answer = root.get(&format!("/auth/upstream/main{query}")).expect(303);
        let cookie = answer.header("set-cookie").unwrap();
        assert!(cookie.starts_with("pharos-upstream=") && cookie.contains("HttpOnly; SameSite=Lax"), "{cookie}");
        let address = url::Url::parse(answer.header("location").unwrap()).unwrap();
        let asked = address.query_pairs().map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
        Self { cookie: cookie.split(';').next().unwrap().to_owned(), root, asked }
    }

    /// A good ID token for it, with changes.
    fn id_token(&self, provider: &Provider, further: &Value) -> Value {
        let now = provider.keys.app().auth.now_s();
        let mut claims = json!({
            "iss": provider.address, "aud": "pharos", "sub": "248289761001", "name": "Eve Everywoman", "iat": now,
            "exp": now + 300, "nonce": self.asked["nonce"], "organizationId": "default"
        });
        claims.as_object_mut().unwrap().extend(further.as_object().unwrap().clone());
        claims
    }

    /// Comes back with this answer, which has the `state` and `iss` where it does not say otherwise.
    fn back(&self, provider: &Provider, name: &str, answer: &[(&str, &str)]) -> Answer {
        let mut query = form_urlencoded::Serializer::new(String::new());
        let defaults = [("state", self.asked["state"].as_str()), ("iss", provider.address.as_str()), ("code", "c0de")];
        let missing = defaults.iter().filter(|(name, _)| !answer.iter().any(|(own, _)| own == name));
        query.extend_pairs(missing.chain(answer).filter(|(_, value)| !value.is_empty()));
        let path = format!("/auth/upstream/{name}/callback?{}", query.finish());
        self.root.get(&path).header("Cookie", &format!("a=b; {}", self.cookie)).send()
    }
}

#[test]
fn who_signs_in_at_a_provider_is_signed_in_here() {
    let provider = Provider::start();
    let rules = json!({"claims": {"tenant": "organizationId", "role_names": {"billing": "Billing"}}});
    let server = provider.server(&rules);
    let journey = Journey::begin(&server, "?pending=p%201");
    let asked = |name: &str| journey.asked[name].as_str();
    assert_eq!((asked("response_type"), asked("client_id"), asked("tenant")), ("code", "pharos", "x"));
    assert_eq!((asked("scope"), asked("code_challenge_method")), ("openid profile", "S256"));
    let root = server.base().trim_end_matches("/fhir");
    assert_eq!(asked("redirect_uri"), format!("{root}/auth/upstream/main/callback"));

    let person = json!({"roles": ["billing", "Admin"], "fhirUser": "Practitioner/eve"});
    provider.gives(&signed(&provider.keys, &journey.id_token(&provider, &person)));
    let answer = journey.back(&provider, "main", &[]).status_is(303);
    assert_eq!(answer.header("location"), Some("../../consent?pending=p+1"));
    let session =
        answer.header("set-cookie").unwrap().split(';').next().unwrap().strip_prefix("pharos=").unwrap().to_owned();
    let (user, session) = block_on(server.app().auth.session(TENANT, &session)).unwrap().unwrap();
    assert_eq!((user.username.as_str(), user.name.as_str()), ("main:248289761001", "Eve Everywoman"));
    assert_eq!(
        (user.roles.join(" "), user.fhir_user.as_deref()),
        ("Provider Billing".into(), Some("Practitioner/eve"))
    );
    assert!(!session.second_factor && user.password.is_none());
    let (form, authorization) = provider.asked.lock().unwrap()[0].clone();
    assert!(
        authorization.starts_with("Basic ") && form.contains("code=c0de") && form.contains("code_verifier="),
        "{form}"
    );

    // The answer is good once.
    journey.back(&provider, "main", &[]).status_is(400);
    assert_eq!(provider.asked.lock().unwrap().len(), 1);

    // The next time it is the same user, as the provider says then.
    let journey = Journey::begin(&server, "");
    provider.gives(&signed(&provider.keys, &journey.id_token(&provider, &json!({"name": "Eve Else"}))));
    assert_eq!(journey.back(&provider, "main", &[]).status_is(303).header("location"), Some("../../apps"));
    let (again, _) = server.app().auth.user(TENANT, &user.id).unwrap().unwrap();
    assert_eq!((again.name.as_str(), again.roles.join(" ").as_str()), ("Eve Else", "Provider"));
    assert_eq!(again.fhir_user, user.fhir_user);
    assert_eq!(server.app().auth.users(TENANT, None, 9).unwrap().len(), 1);

    // An account that is switched off stays so.
    block_on(server.app().auth.change_user(TENANT, &user.id, None, |user| user.disabled = true)).unwrap();
    let journey = Journey::begin(&server, "");
    provider.gives(&signed(&provider.keys, &journey.id_token(&provider, &json!({}))));
    let answer = journey.back(&provider, "main", &[]).status_is(403);
    assert_eq!(answer.header("set-cookie"), None);
}

#[test]
fn an_answer_that_is_not_of_this_attempt_signs_nobody_in() {
    let provider = Provider::start();
    let server = provider.server(&json!({}));
    let other = Journey::begin(&server, "");
    let refused = |status: u16, name: &str, answer: &[(&str, &str)]| {
        let journey = Journey::begin(&server, "");
        provider.gives(&signed(&provider.keys, &journey.id_token(&provider, &json!({}))));
        let answer = journey.back(&provider, name, answer).status_is(status);
        assert_eq!(answer.header("set-cookie"), None);
    };
    refused(400, "main", &[("state", "")]);
    refused(400, "main", &[("state", "made up")]);
    refused(400, "main", &[("state", &other.asked["state"])]);
    refused(400, "other", &[]);
    refused(404, "nobody", &[]);
    refused(403, "main", &[("iss", "https://evil.example.org")]);
    refused(403, "main", &[("iss", "")]);
    refused(403, "main", &[("code", "")]);
    refused(403, "main", &[("error", "access_denied")]);
    assert!(provider.asked.lock().unwrap().is_empty(), "no code was shown to anybody");
    other.root.get("/auth/upstream/nobody").expect(404);
    // A token endpoint that refuses.
    let journey = Journey::begin(&server, "");
    *provider.says.lock().unwrap() = json!({"error": "invalid_grant"});
    journey.back(&provider, "main", &[]).status_is(403);
    assert!(server.app().auth.users(TENANT, None, 9).unwrap().is_empty());
}

#[test]
fn an_id_token_that_is_not_for_this_attempt_signs_nobody_in() {
    let provider = Provider::start();
    let server = provider.server(&json!({"claims": {"tenant": "organizationId"}}));
    let now = provider.keys.app().auth.now_s();
    let refused = |make: &dyn Fn(&Journey) -> String| {
        let journey = Journey::begin(&server, "");
        provider.gives(&make(&journey));
        let answer = journey.back(&provider, "main", &[]).status_is(403);
        assert_eq!(answer.header("set-cookie"), None);
    };
    for further in [
        json!({"aud": "another"}),
        json!({"aud": ["pharos", "another"]}),
        json!({"azp": "another"}),
        json!({"iss": "https://evil.example.org"}),
        json!({"exp": now - 31}),
        json!({"nonce": "another"}),
        json!({"nonce": null}),
        json!({"sub": ""}),
        json!({"organizationId": "other"}),
        json!({"organizationId": null}),
    ] {
        refused(&|journey| signed(&provider.keys, &journey.id_token(&provider, &further)));
    }
    let stranger = Server::guarded();
    refused(&|journey| signed(&stranger, &journey.id_token(&provider, &json!({}))));
    refused(&|journey| {
        let token = signed(&provider.keys, &journey.id_token(&provider, &json!({})));
        format!("eyJhbGciOiJub25lIn0.{}.", token.split('.').nth(1).unwrap())
    });
    assert!(server.app().auth.users(TENANT, None, 9).unwrap().is_empty());
    // The same with nothing changed.
    let journey = Journey::begin(&server, "");
    provider.gives(&signed(&provider.keys, &journey.id_token(&provider, &json!({"aud": ["pharos"]}))));
    journey.back(&provider, "main", &[]).status_is(303);
}

//! Signing in through another provider: one that the test plays, and a second server.

use crate::support::browser::Browser;
use crate::support::smart::{SECRET, Smart};
use crate::support::tokens::block_on;
use crate::support::{Answer, Client, Server};
use crate::trusted_issuers::signed;
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use pharos::auth::user::NewUser;
use pharos::tenant::TenantId;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

const TENANT: TenantId = TenantId::DEFAULT;

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

    let proof = form_urlencoded::parse(form.as_bytes()).find(|(name, _)| name == "code_verifier").unwrap().1;
    let proof = digest(&SHA256, proof.as_bytes());
    assert_eq!(URL_SAFE_NO_PAD.encode(proof), journey.asked["code_challenge"]);

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

/// The whole way, with a second Pharos as the provider.
#[test]
fn a_server_of_the_same_kind_signs_people_in() {
    const PASSWORD: &str = "tin otter paints slowly";
    let upstream = Smart::start();
    let new = NewUser {
        username: "paula".into(),
        name: "Dr. Paula".into(),
        roles: vec!["Provider".into()],
        password: Some(PASSWORD.into()),
        ..NewUser::default()
    };
    let paula = block_on(upstream.server.app().auth.add_user(TENANT, new)).unwrap();
    let issuer = upstream.base().to_owned();
    let provider = json!({
        "name": "main", "title": "Main Clinic", "issuer": issuer, "client_id": "pharos", "client_secret": SECRET,
        "scopes": ["profile"], "roles": ["Provider"]
    });
    let server = Server::with(|config| {
        config.insecure_open = false;
        config.auth.fetch_private = true;
        config.auth.fetch_hosts = vec!["127.0.0.1".into()];
        config.auth.providers = vec![serde_json::from_value(provider).unwrap()];
    });
    let mut client = upstream.confidential("pharos", "openid profile");
    let root = server.base().trim_end_matches("/fhir").to_owned();
    client.redirect_uris = vec![format!("{root}/auth/upstream/main/callback")];
    upstream.server.keep("pharos", &client);

    let (here, there) = (Browser::new(server.base()), Browser::new(&issuer));
    let page = here.open("/auth/sign-in").status_is(200);
    assert!(page.text().contains(r#"href="upstream/main""#), "{}", page.text());
    let away = here.step("GET", "/auth/upstream/main", None).status_is(303);
    let away = away.header("location").unwrap().strip_prefix(issuer.trim_end_matches("/fhir")).unwrap().to_owned();
    // SMART wants to know the server that an app is for; OpenID Connect has no word for it.
    let page = there.open(&format!("{away}&aud={issuer}")).status_is(200);
    let page = there.submit(&page, "sign-in", &[("username", "paula"), ("password", PASSWORD)]).status_is(200);
    let fields = [("scope:openid", "all"), ("scope:profile", "all"), ("decision", "allow")];
    let back = there.submit_only(&page, "consent", &fields);
    let back = back.header("location").unwrap().strip_prefix(&root).unwrap().to_owned();
    let arrived = here.step("GET", &back, None).status_is(303);
    assert_eq!(arrived.header("location"), Some("../../apps"));
    let name = format!("main:{}", paula.id);
    assert!(here.open("/auth/apps").status_is(200).text().contains(&name));
    assert_eq!(server.app().auth.users(TENANT, None, 9).unwrap()[0].0.username, name);
    assert!(there.cookie("pharos").is_some() && there.cookie("pharos") != here.cookie("pharos"));
    here.step("GET", &back, None).status_is(400);
}

//! Users and roles: the administration over HTTP, and `pharos user`.

use crate::support::{Client, Process, Request, Server, free_address};
use pharos::auth::keeper::Expect;
use pharos::auth::records::{self, AccessClaims, Authorization, Client as App, ClientProof, LaunchContext, User};
use pharos::auth::scope::Scopes;
use pharos::auth::server::Server as Authority;
use pharos::auth::sign_in::{Refusal, SignedIn, Step};
use pharos::auth::user::NewUser;
use pharos::clock::SystemClock;
use pharos::config::Auth;
use pharos::store::Store;
use pharos::store::embedded::{Embedded, Options};
use pharos::tenant::TenantId;
use serde_json::{Value, json};
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

const TENANT: TenantId = TenantId::DEFAULT;
const PASSWORD: &str = "tin otter paints slowly";
const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A server that asks for tokens.
struct House {
    server: Server,
    client: Client,
}

impl House {
    fn open() -> Self {
        let server = Server::with(|config| config.insecure_open = false);
        let client = Client::new(server.base().trim_end_matches("/fhir"));
        Self { server, client }
    }

    fn add(&self, username: &str, roles: &[&str]) -> User {
        let new = NewUser {
            username: username.into(),
            roles: roles.iter().map(|role| (*role).to_owned()).collect(),
            password: Some(PASSWORD.into()),
            ..NewUser::default()
        };
        block_on(self.server.app().auth.add_user(TENANT, new)).unwrap()
    }

    /// An access token of a user who granted these scopes to an app.
    fn token(&self, user: &User, scopes: &str) -> String {
        let auth = &self.server.app().auth;
        let client = App {
            client_id: "console".into(),
            name: "Console".into(),
            proof: ClientProof::None,
            redirect_uris: Vec::new(),
            launch_url: None,
            origins: Vec::new(),
            grant_types: vec!["authorization_code".into()],
            scopes: Scopes::parse(scopes),
            about: serde_json::Map::new(),
            created: 0,
            disabled: false,
            purpose_of_use: Vec::new(),
            recipient: None,
        };
        let authorization: Authorization = serde_json::from_value(json!({
            "id": format!("{}~1", user.id), "client_id": "console", "user": user.id, "scopes": scopes,
            "context": LaunchContext::default(), "created": 0, "auth_time": 0,
        }))
        .unwrap();
        let keep = vec![
            records::put("console", &client, Expect::Any, None).unwrap(),
            records::put(&authorization.id, &authorization, Expect::Any, None).unwrap(),
        ];
        block_on(auth.keeper.keep(TENANT, keep)).unwrap();
        let now = auth.now_s();
        let claims = AccessClaims {
            iss: auth.base(TENANT),
            aud: auth.base(TENANT),
            sub: user.id.clone(),
            client_id: "console".into(),
            scope: Scopes::parse(scopes),
            iat: now,
            exp: now + 300,
            jti: format!("{}-{scopes}", user.id),
            sid: Some(authorization.id),
            tenant: 0,
            patient: None,
            encounter: None,
            fhir_user: None,
        };
        block_on(auth.sign_access(TENANT, &claims)).unwrap()
    }

    fn admin(&self) -> (User, String) {
        let root = self.add("root", &["Admin"]);
        let token = self.token(&root, "admin");
        (root, token)
    }

    fn sign_in(&self, username: &str, password: &str) -> Result<Step, Refusal> {
        block_on(self.server.app().auth.sign_in(TENANT, username, password, HERE))
    }

    fn signed_in(&self, username: &str, password: &str) -> SignedIn {
        match self.sign_in(username, password).unwrap() {
            Step::SignedIn(signed_in) => *signed_in,
            step => panic!("{step:?}"),
        }
    }

    fn is_live(&self, signed_in: &SignedIn) -> bool {
        block_on(self.server.app().auth.session(TENANT, &signed_in.cookie)).unwrap().is_some()
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn by<'c>(request: Request<'c>, token: &str) -> Request<'c> {
    request.header("Authorization", &format!("Bearer {token}"))
}

#[test]
fn only_an_administrators_token_for_it_administers() {
    let house = House::open();
    let (root, token) = house.admin();
    let list = || house.client.get("/auth/admin/users");
    let nobody = list().expect(401);
    assert_eq!((nobody.header("www-authenticate"), nobody.header("cache-control")), (Some("Bearer"), Some("no-store")));
    by(list(), "x").expect(401);
    by(list(), &token).expect(200);

    let all = house.token(&root, "user/*.cruds openid");
    let refused = by(list(), &all).expect(403);
    assert!(refused.header("www-authenticate").unwrap().contains("insufficient_scope"));
    let nurse = house.add("nurse", &["Clinical Director"]);
    let nurse_token = house.token(&nurse, "admin");
    by(list(), &nurse_token).expect(403);

    // What roles give is looked at with each request.
    let give = |roles: Value| {
        let path = format!("/auth/admin/users/{}", nurse.id);
        by(house.client.put(&path).json(json!({ "username": "nurse", "roles": roles })), &token).expect(200);
    };
    give(json!(["Admin"]));
    by(list(), &nurse_token).expect(200);
    give(json!(["Billing"]));
    by(list(), &nurse_token).expect(403);
}

#[test]
fn an_open_server_is_not_open_to_be_administered() {
    let server = Server::start();
    Client::new(server.base().trim_end_matches("/fhir")).get("/auth/admin/users").expect(401);
}

#[test]
fn a_user_is_added_changed_and_removed() {
    let house = House::open();
    let (_, token) = house.admin();
    let new = json!({
        "username": "Marie", "name": "Marie Curie", "roles": ["Provider"], "fhir_user": "Practitioner/m", "password": PASSWORD,
    });
    let added = by(house.client.post("/auth/admin/users").json(&new), &token).expect(201);
    let path = added.location(house.client.base());
    assert!(!added.text().contains("argon2") && !added.text().contains(PASSWORD));
    assert_eq!(added.at("/must_change_password"), true);
    assert!(matches!(house.sign_in("marie", PASSWORD), Ok(Step::ChangePassword { .. })));

    by(house.client.post("/auth/admin/users").json(json!({"username": "MARIE", "roles": []})), &token).expect(409);
    let found = by(house.client.get("/auth/admin/users?username=marie"), &token).expect(200);
    assert_eq!(found.at("/users/0/id"), added.at("/id"));

    let change = json!({"username": "marie", "roles": ["Provider"], "disabled": true});
    let version = by(house.client.get(&path), &token).expect(200).header("etag").unwrap().to_owned();
    let put = |tag: &str| by(house.client.put(&path).header("If-Match", tag).json(&change), &token).send();
    put("W/\"99\"").status_is(412);
    assert_eq!(put(&version).status_is(200).at("/disabled"), true);
    put(&version).status_is(412);
    assert!(matches!(house.sign_in("marie", PASSWORD), Err(Refusal::Wrong)));

    by(house.client.delete(&path), &token).expect(204);
    by(house.client.get(&path), &token).expect(404);
    by(house.client.request("PATCH", &path), &token).expect(405);
}

#[test]
fn what_does_not_fit_is_refused_without_repeating_it() {
    let house = House::open();
    let (_, token) = house.admin();
    let cases = [
        (400, json!({"username": "eve"}), ""),
        (400, json!({"username": "eve", "roles": [], "password": 7531}), "/password"),
        (400, json!({"username": "eve", "roles": [], "id": "7531"}), ""),
        (422, json!({"username": "eve", "roles": ["Wizard"]}), "roles"),
        (422, json!({"username": "eve", "roles": [], "fhir_user": "Observation/1"}), "fhir_user"),
        (422, json!({"username": "eve", "roles": [], "password": "short7531"}), "password"),
    ];
    for (status, body, member) in cases {
        let answer = by(house.client.post("/auth/admin/users").json(&body), &token).expect(status);
        assert_eq!(answer.at("/member"), member, "{body}");
        assert!(!answer.text().contains("7531"), "{}", answer.text());
    }
}

#[test]
fn passwords_second_factors_and_locks_are_reset() {
    let house = House::open();
    let (_, token) = house.admin();
    let eve = house.add("eve", &["Provider"]);
    for _ in 0..10 {
        assert!(matches!(house.sign_in("eve", "not the password"), Err(Refusal::Wrong)));
    }
    assert!(matches!(house.sign_in("eve", PASSWORD), Err(Refusal::Wait { .. })));
    let part = |name: &str| format!("/auth/admin/users/{}/{name}", eve.id);
    by(house.client.delete(&part("lock")), &token).expect(204);
    house.signed_in("eve", PASSWORD);

    let auth = &house.server.app().auth;
    let enrolled = auth.change_user(TENANT, &eve.id, None, |user| user.totp = Some("GEZDGNBVGY3TQOJQ".into()));
    block_on(enrolled).unwrap();
    assert!(matches!(house.sign_in("eve", PASSWORD), Ok(Step::SecondFactor { .. })));
    by(house.client.delete(&part("second-factor")), &token).expect(204);
    let session = house.signed_in("eve", PASSWORD);

    let other = json!({"password": "green kettle under stars"});
    by(house.client.put(&part("password")).json(&other), &token).expect(204);
    assert!(!house.is_live(&session));
    assert!(matches!(house.sign_in("eve", "green kettle under stars"), Ok(Step::ChangePassword { .. })));
    by(house.client.put(&part("password")).json(json!({"password": "password12345678"})), &token).expect(422);
    by(house.client.get(&part("password")), &token).expect(405);
    by(house.client.get(&part("secrets")), &token).expect(404);
}

#[test]
fn the_last_administrator_can_not_be_removed_or_switched_off() {
    let house = House::open();
    let (root, token) = house.admin();
    let path = format!("/auth/admin/users/{}", root.id);
    by(house.client.delete(&path), &token).expect(409);
    for change in [
        json!({"username": "root", "roles": ["Admin"], "disabled": true}),
        json!({"username": "root", "roles": ["Billing"]}),
    ] {
        by(house.client.put(&path).json(change), &token).expect(409);
    }
    by(house.client.get(&path), &token).expect(200);
}

#[test]
fn a_custom_role_is_made_of_scopes_that_mean_something() {
    let house = House::open();
    let (_, token) = house.admin();
    let put = |name: &str, scopes: &str| {
        by(house.client.put(&format!("/auth/admin/roles/{name}")).json(json!({ "scopes": scopes })), &token).send()
    };
    let lab = "user/Observation.rs?category=laboratory";
    put("Lab", lab).status_is(201).header_is("etag", "W/\"1\"");
    put("Lab", lab).status_is(200).header_is("etag", "W/\"2\"");
    let listed = by(house.client.get("/auth/admin/roles"), &token).expect(200);
    let names = listed.at("/roles").as_array().unwrap().iter().map(|role| role["name"].clone()).collect::<Vec<_>>();
    assert_eq!((names.len(), &names[7]), (8, &json!("Lab")));
    for scopes in ["user/Observation.rs?colour=red", "patient/Observation.rs", "user/Elephant.r", "openid"] {
        assert_eq!(put("Odd", scopes).status_is(422).at("/member"), "scopes", "{scopes}");
    }
    put("Patient", lab).status_is(409);
    let eve = house.add("eve", &["Lab"]);
    by(house.client.delete("/auth/admin/roles/Lab"), &token).expect(409);
    by(house.client.delete(&format!("/auth/admin/users/{}", eve.id)), &token).expect(204);
    by(house.client.delete("/auth/admin/roles/Lab"), &token).expect(204);
    by(house.client.get("/auth/admin/roles/Lab"), &token).expect(404);
}

/// How many counts of failed attempts there are in the store of a folder, after `first`.
fn failures(folder: &Path, first: impl AsyncFnOnce(&Authority)) -> usize {
    let store = Store::new(Arc::new(Embedded::open(Options::at(folder.join("data")), Arc::new(SystemClock)).unwrap()));
    let auth = Authority::new(store.keeper(), Arc::new(SystemClock), Auth::default(), "https://pharos.example.org");
    block_on(first(&auth));
    let found = store.keeper().list(TENANT, "attempt", "", None, 10).unwrap().len();
    store.close().unwrap();
    found
}

#[test]
fn a_command_that_fails_lifts_no_lock() {
    let folder = tempfile::tempdir().unwrap();
    let before = failures(folder.path(), async |auth| {
        assert!(auth.sign_in(TENANT, "nobody", "wrong", HERE).await.is_err());
    });
    assert_eq!(before, 2, "of the account and of the address");
    let (good, _, said) = command(folder.path(), &["enable", "nobody"], "");
    assert!(!good && said.contains("there is no user nobody"), "{said}");
    assert_eq!(failures(folder.path(), async |_| {}), before);
}

/// `pharos user …` on the store of a folder: whether it went well, what it printed, what it complained of.
fn command(folder: &Path, arguments: &[&str], input: &str) -> (bool, String, String) {
    let store = format!("file:{}", folder.join("data").display());
    let mut child = Command::new(env!("CARGO_BIN_EXE_pharos"))
        .arg("user")
        .args(arguments)
        .args(["--store", &store])
        .env("RUST_LOG", "error")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // One that is refused may not read it.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.success(), text(output.stdout), text(output.stderr))
}

#[test]
fn the_command_line_manages_users_and_invents_no_default_password() {
    let folder = tempfile::tempdir().unwrap();
    let good = |arguments: &[&str], input: &str| {
        let (good, printed, said) = command(folder.path(), arguments, input);
        assert!(good, "{said}");
        printed
    };
    let bad = |arguments: &[&str], input: &str| {
        let (good, _, said) = command(folder.path(), arguments, input);
        assert!(!good);
        said
    };
    let first = good(&["add", "root", "--role", "Admin", "--name", "The Root"], "");
    let second = good(&["set-password", "root"], "");
    let made = |text: &str| text.trim().rsplit(' ').next().unwrap().to_owned();
    assert!(made(&first).len() == 29 && made(&first) != made(&second), "{first}");
    assert!(bad(&["add", "ROOT"], "").contains("Another user has this user name"));
    assert!(bad(&["add", "eve", "--password-stdin"], "short\n").contains("15 characters"));
    assert!(bad(&["add", "eve", "--role", "Wizard"], "").contains("Wizard"));
    good(
        &["add", "eve", "--role", "Provider", "--fhir-user", "Practitioner/e", "--password-stdin"],
        "tin otter paints slowly\n",
    );
    let shown = good(&["role", "eve", "--add", "Billing", "--remove", "Provider"], "");
    assert!(shown.contains("roles: Billing\n") && shown.contains("to be changed: no\n"), "{shown}");
    assert!(good(&["disable", "eve"], "").contains("disabled: yes"));
    assert_eq!(good(&["list"], ""), "eve\tBilling\tdisabled\nroot\tAdmin\n");
    assert!(good(&["enable", "eve"], "").contains("disabled: no"));
    assert!(good(&["reset-totp", "eve"], "").contains("second factor: no"));
    assert!(bad(&["disable", "root"], "").contains("No administrator would be left"));
    assert!(bad(&["show", "nobody"], "").contains("there is no user nobody"));
    assert!(good(&["show", "root"], "").contains("to be changed: yes"));
}

#[test]
fn the_first_start_tells_a_code_until_there_is_an_administrator() {
    let folder = tempfile::tempdir().unwrap();
    let store = format!("file:{}", folder.path().join("data").display());
    let start = || {
        let address = free_address().to_string();
        let process = Process::start(["serve", "--store", &store, "--listen", &address]);
        let lines = process.lines_until("serving FHIR R4");
        // Once it answers, it also hears that it should stop.
        Client::new(format!("http://{address}")).get("/health/live").expect(200);
        process.terminate();
        assert!(process.wait().success());
        lines.join("\n")
    };
    let code = |lines: &str| lines.split("enter the code ").nth(1).map(|rest| rest[..29].to_owned());
    let (first, second) = (start(), start());
    assert!(first.contains("/auth/setup"), "{first}");
    assert!(code(&first).is_some() && code(&second).is_some() && code(&first) != code(&second));
    let (added, _, said) = command(folder.path(), &["add", "root", "--role", "Admin"], "");
    assert!(added, "{said}");
    assert_eq!(code(&start()), None);
}

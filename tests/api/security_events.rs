//! What is no request for data stands in the ledger too: sign-ins, tokens, authorizations, administration, the server itself. And
//! nothing secret does.

use crate::authorize::{House, PASSWORD, SCOPES, allow};
use crate::support::browser::Browser;
use crate::support::smart::{SECRET, Smart, TENANT, basic, text};
use crate::support::tokens::{Person, block_on};
use crate::support::{Answer, Client, Process, Server, free_address};
use pharos::audit::form::AuditEvents;
use pharos::audit::{Event, Record};
use pharos::auth::user::NewUser;
use pharos::clock::SystemClock;
use pharos::config::Registration;
use pharos::store::Store;
use pharos::store::embedded::{Embedded, Options};
use pharos::store::fault::{Faulty, Odds};
use serde_json::{Value, json};
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering;

const BAD_PASSWORD: &str = "wooden cups of nine kings";

/// The AuditEvents that a search finds, in order, each as `type subtypes action outcome: user, client, name: what is said`. All come
/// from here.
pub fn events(server: &Server, query: &str) -> Vec<String> {
    let officer = Person { roles: &["Compliance Officer"], ..Person::default() };
    let client = server.as_user("user/AuditEvent.rs", &officer);
    let found = client.get(&format!("/AuditEvent?{query}&_sort=date&_count=200")).expect(200).resources();
    found.iter().map(brief).collect()
}

fn brief(event: &Value) -> String {
    let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let subtypes = event["subtype"].as_array().unwrap().iter().map(|code| code["code"].as_str().unwrap());
    let agents = event["agent"].as_array().unwrap();
    assert_eq!(agents[0]["network"]["address"], "127.0.0.1", "{event}");
    let person = agents
        .iter()
        .find(|agent| agent["type"]["coding"][0]["system"].as_str().unwrap().ends_with("ParticipationType"));
    let of = |agent: Option<&Value>| agent.and_then(|agent| agent["altId"].as_str()).unwrap_or("-").to_owned();
    let named = event["entity"].as_array().into_iter().flatten().find_map(|entity| entity["name"].as_str());
    format!(
        "{} {} {} {}: {}, {}, {}: {}",
        text("/type/code"),
        subtypes.collect::<Vec<_>>().join("+"),
        text("/action"),
        text("/outcome"),
        of(person),
        of(agents.first()),
        named.unwrap_or("-"),
        text("/outcomeDesc")
    )
}

/// Fails where the ledger holds one of these.
pub fn hides(server: &Server, secrets: &[&str]) {
    block_on(server.app().store().settled()).unwrap();
    let mut all = Vec::new();
    for block in server.app().store().ledger(TENANT, 0, true).unwrap() {
        block.unwrap().entries.unwrap().iter().for_each(|entry| all.extend_from_slice(&entry.bytes));
    }
    let all = String::from_utf8_lossy(&all);
    assert!(all.len() > 1_000, "there is something to look through");
    for secret in secrets {
        assert!(secret.len() > 5 && !all.contains(secret), "{secret} is in the ledger");
    }
}

fn add(server: &Server, username: &str, role: &str) -> String {
    let new = NewUser {
        username: username.into(),
        roles: vec![role.to_owned()],
        password: Some(PASSWORD.into()),
        ..NewUser::default()
    };
    block_on(server.app().auth.add_user(TENANT, new)).unwrap().id
}

#[test]
fn sign_ins_sign_outs_and_lockouts() {
    let smart = Smart::with(|config| config.auth.lockout_failures = 3);
    let nora = add(&smart.server, "nora", "Provider");
    let browser = Browser::new(smart.base());
    let page = browser.open("/auth/sign-in");
    let sign_in = |username: &str, password: &str| {
        browser.submit(&page, "sign-in", &[("username", username), ("password", password)])
    };
    sign_in("nora", BAD_PASSWORD).status_is(401);
    sign_in("a password typed as a name", PASSWORD).status_is(401);
    let apps = sign_in("Nora", PASSWORD).status_is(200);
    browser.submit(&apps, "sign-out", &[]);
    let page = browser.open("/auth/sign-in");
    for status in [401, 401, 401, 429] {
        let fields = [("username", "nora"), ("password", BAD_PASSWORD)];
        browser.submit(&page, "sign-in", &fields).status_is(status);
    }
    let wrong = format!("110114 110122 E 4: {nora}, -, -: HTTP 401: password: not right");
    assert_eq!(
        events(&smart.server, "type=110114&subtype=110122"),
        [
            wrong.clone(),
            "110114 110122 E 4: -, -, -: HTTP 401: password: not right".to_owned(),
            format!("110114 110122 E 0: {nora}, -, -: password"),
            wrong.clone(),
            wrong.clone(),
            wrong,
        ]
    );
    assert_eq!(events(&smart.server, "subtype=110123"), [format!("110114 110123 E 0: {nora}, -, -: ")]);
    let lockout =
        format!("110113 110122+lockout E 4: {nora}, -, -: HTTP 429: password: not looked at after too many failures");
    assert_eq!(events(&smart.server, "subtype=lockout"), [lockout]);
    hides(&smart.server, &[PASSWORD, BAD_PASSWORD, "typed as a name"]);
}

#[test]
fn the_first_administrator_and_what_people_change_of_their_account() {
    let smart = Smart::start();
    let code = block_on(smart.server.app().auth.new_set_up_code(TENANT)).unwrap().unwrap();
    let browser = Browser::new(smart.base());
    let page = browser.open("/auth/setup");
    let fields = |code| [("code", code), ("username", "root"), ("new", PASSWORD), ("again", PASSWORD)];
    browser.submit(&page, "setup", &fields("AAAA-BBBB")).status_is(422);
    let account = browser.submit(&page, "setup", &fields(&code)).status_is(200);
    let other = "four kites over the mill";
    let change = |old| [("old", old), ("new", other), ("again", other), ("do", "password")];
    browser.submit(&account, "account", &change(BAD_PASSWORD)).status_is(401);
    let account = browser.submit(&account, "account", &change(PASSWORD)).status_is(200);
    let enrolling = browser.submit(&account, "account", &[("do", "enrol")]).status_is(200);
    let secret =
        enrolling.text().split("name=\"secret\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    browser.submit(&enrolling, "account", &[("code", "000000"), ("do", "confirm")]).status_is(401);

    let root = smart.server.app().auth.user_by_name(TENANT, "root").unwrap().unwrap().id;
    assert_eq!(
        events(&smart.server, "type=110113"),
        [
            "110113 110137+user U 4: -, -, -: HTTP 401: the code of the first start: not right".to_owned(),
            format!("110113 110137+user U 0: {root}, -, {root}: the first administrator"),
            format!("110113 110137+account U 4: {root}, -, -: HTTP 401: old password: not right"),
            format!("110113 110137+account U 0: {root}, -, -: another password"),
            format!("110113 110137+account U 4: {root}, -, -: HTTP 401: code: not right"),
        ]
    );
    assert_eq!(
        events(&smart.server, "subtype=110122"),
        [format!("110114 110122 E 0: {root}, -, -: the first administrator")]
    );
    hides(&smart.server, &[PASSWORD, BAD_PASSWORD, other, &code, "AAAA-BBBB", &secret]);
}

#[test]
fn authorizations_and_emergencies() {
    let house = House::start();
    let server = &house.smart.server;
    let page = house.sign_in(&house.ask(&[]), "paula");
    let pending = page.text().split("emergency?pending=").nth(1).unwrap().split('"').next().unwrap();
    let form = house.browser.open(&format!("/auth/emergency?pending={pending}"));
    let reason = [("reason", "Found unconscious."), ("decision", "begin")];
    let page = house.browser.submit(&form, "emergency", &reason);
    let page = house.browser.submit(&page, "emergency", &[("decision", "end")]);
    assert!(page.text().contains("Choose a patient"));
    let page = house.browser.submit(&form, "emergency", &reason);
    let page = house.browser.submit(&page, "patient", &[("patient", "bob")]);
    let tokens = house.tokens(&allow(&house, &page, "patient/Patient.rs"));
    server.bearing(&text(&tokens, "access_token")).get("/Patient/bob").expect(200);
    let page = house.ask(&[]);
    let page = house.browser.submit(&page, "patient", &[("patient", "amy")]);
    house.browser.submit_only(&page, "consent", &[("decision", "deny")]).status_is(303);
    let apps = house.browser.open("/auth/apps");
    house.browser.submit(&apps, "apps", &[]).status_is(200);

    let paula = server.app().auth.user_by_name(TENANT, "paula").unwrap().unwrap().id;
    let begun = format!("110113 110127+emergency E 0: {paula}, app, -: ");
    assert_eq!(events(server, "subtype=110127"), [begun.clone(), begun]);
    assert_eq!(events(server, "subtype=110138"), [format!("110113 110138 E 0: {paula}, app, -: ")]);
    assert_eq!(
        events(server, "subtype=authorization"),
        [
            format!("110113 authorization+emergency E 0: {paula}, app, -: allowed: patient/Patient.rs launch/patient"),
            format!("110113 authorization E 4: {paula}, app, -: HTTP 403: denied: {SCOPES}"),
        ]
    );
    assert_eq!(events(server, "subtype=authorization&patient=Patient/bob").len(), 1, "it says for whom");
    assert_eq!(
        events(server, "subtype=revocation"),
        [format!("110114 revocation E 0: {paula}, -, app: ended by the user")]
    );
    let tokens_given = events(server, "subtype=ITI-71");
    assert_eq!(
        tokens_given,
        [format!(
            "110114 ITI-71+emergency E 0: {paula}, app, -: authorization_code: patient/Patient.rs launch/patient"
        )]
    );
    // All that was done in the emergency is found by one code, with the reason; the picker's look at the patient among it.
    let all = events(server, "subtype=emergency");
    assert!(all.iter().any(|event| event.starts_with("rest read+emergency R 0")) && all.len() >= 6, "{all:?}");
    let officer = Person { roles: &["Compliance Officer"], ..Person::default() };
    let read =
        server.as_user("user/AuditEvent.rs", &officer).get("/AuditEvent?subtype=emergency&subtype=110127").expect(200);
    assert_eq!(read.resources()[0]["purposeOfEvent"][0]["text"], "Found unconscious.");
    hides(server, &[PASSWORD, &text(&tokens, "access_token"), &house.browser.cookie("pharos").unwrap()]);
}

#[test]
fn tokens_given_refused_used_twice_and_revoked() {
    let smart = Smart::start();
    smart.public("app", "offline_access patient/*.rs");
    smart.confidential("service", "system/*.rs");
    let (code, _) = smart.code("app", "offline_access patient/Patient.rs");
    let tokens = smart.exchange("app", &code).expect(200).json();
    let first = text(&tokens, "refresh_token");
    let second = smart.refresh("app", &first).expect(200).json();
    smart.refresh("app", &first).oauth_error_status(400);
    smart.exchange("app", "no such code").oauth_error_status(400);
    smart.exchange("app", &code).oauth_error_status(400);
    let own = smart.own_token("service", "system/Patient.rs");
    let form = [("grant_type", "client_credentials"), ("scope", "system/*.rs")];
    let wrong = "the secret of another client altogether";
    smart.form("token", &form).header("Authorization", &basic("service", wrong)).expect(401);
    smart.form("token", &form).header("Authorization", &basic("a secret as a name", SECRET)).expect(401);
    let by_service = |endpoint, token: &str| {
        smart.form(endpoint, &[("token", token)]).header("Authorization", &basic("service", SECRET)).send()
    };
    by_service("revoke", &own).status_is(200);
    by_service("revoke", "of nobody").status_is(200);
    by_service("introspect", &own).status_is(200);
    smart.form("introspect", &[("token", &own), ("client_id", "app")]).expect(401);

    let token =
        |subtypes: &str, outcome: &str, who: &str, said: &str| format!("{subtypes} E {outcome}: {who}, -: {said}");
    let scopes = "offline_access patient/Patient.rs";
    assert_eq!(
        events(&smart.server, "subtype=ITI-71"),
        [
            token("110114 ITI-71", "0", "eve, app", &format!("authorization_code: {scopes}")),
            token("110114 ITI-71", "0", "eve, app", &format!("refresh_token: {scopes}")),
            token(
                "110113 ITI-71+reuse",
                "4",
                "eve, app",
                "HTTP 400: refresh_token: invalid_grant: The refresh token was used before. All that came from it is revoked."
            ),
            token(
                "110114 ITI-71",
                "4",
                "-, app",
                "HTTP 400: authorization_code: invalid_grant: The code is not good, or not for this client, redirect_uri and \
                 code_verifier."
            ),
            token(
                "110113 ITI-71+reuse",
                "4",
                "eve, app",
                "HTTP 400: authorization_code: invalid_grant: The code was used before. All that came from it is revoked."
            ),
            token("110114 ITI-71", "0", "-, service", "client_credentials: system/Patient.rs"),
            token("110114 ITI-71", "4", "-, service", &no_client()),
            token("110114 ITI-71", "4", "-, -", &no_client()),
        ]
    );
    assert_eq!(
        events(&smart.server, "subtype=revocation"),
        [
            "110114 revocation E 0: -, service, -: an access token",
            "110114 revocation E 0: -, service, -: a token that is not known"
        ]
    );
    let refused = "HTTP 401: invalid_client: The client is not known, or its proof is not good.";
    assert_eq!(events(&smart.server, "subtype=ITI-102"), [format!("110114 ITI-102 E 4: -, app, -: {refused}")]);
    let all = [&tokens, &second].map(|tokens| (text(tokens, "access_token"), text(tokens, "refresh_token")));
    let secrets = all.iter().flat_map(|(access, refresh)| [access.as_str(), refresh.as_str()]);
    let others = [code.as_str(), own.as_str(), wrong, SECRET, "no such code", "a secret as a name", "of nobody"];
    hides(&smart.server, &secrets.chain(others).collect::<Vec<_>>());
}

fn no_client() -> String {
    "HTTP 401: no grant_type: invalid_client: The client is not known, or its proof is not good.".to_owned()
}

impl crate::support::Request<'_> {
    fn oauth_error_status(self, status: u16) -> Answer {
        self.send().oauth_error(status, "invalid_grant")
    }
}

#[test]
fn what_administrators_change_and_who_is_not_one() {
    let server = Server::with(|config| {
        config.insecure_open = false;
        config.auth.registration = Registration::Admin;
    });
    let root = server.base().trim_end_matches("/fhir").to_owned();
    let anyone = Client::new(root.clone());
    let token = |role: &str| server.token("admin", Some(&Person { roles: &[role], ..Person::default() }));
    let (admin, nurse) = (Client::bearing(root.clone(), &token("Admin")), Client::bearing(root, &token("Provider")));
    anyone.get("/auth/admin/users").expect(401);
    nurse.get("/auth/admin/users/u1").expect(403);
    nurse.put("/auth/admin/roles/Lab").json(json!({"scopes": "user/*.cruds"})).expect(403);
    admin.get("/auth/admin/users").expect(200);
    let user = json!({"username": "nora", "roles": ["Billing"], "password": PASSWORD});
    let id = admin.post("/auth/admin/users").json(&user).expect(201).at("/id").as_str().unwrap().to_owned();
    let other = json!({"password": "four kites over the mill"});
    admin.put(&format!("/auth/admin/users/{id}/password")).json(&other).expect(204);
    let changed = json!({"username": "nora", "roles": ["Admin"], "disabled": true});
    admin.put(&format!("/auth/admin/users/{id}")).json(&changed).expect(200);
    admin.put(&format!("/auth/admin/users/{id}")).json(json!({"username": "nora", "roles": ["Wizard"]})).expect(422);
    admin.put("/auth/admin/roles/Lab").json(json!({"scopes": "user/Observation.rs"})).expect(201);
    let metadata =
        json!({"client_name": "App", "redirect_uris": ["https://app.example.org/"], "scope": "patient/*.rs"});
    let secret = admin.put("/auth/admin/clients/app").json(&metadata).expect(201).at("/client_secret");
    let another = admin.post("/auth/admin/clients/app/rotate-secret").expect(200).at("/client_secret");
    admin.post("/auth/admin/keys/rotate").expect(204);
    admin.delete(&format!("/auth/admin/users/{id}")).expect(204);
    let register =
        |client: &Client| client.post("/auth/register").body("application/json", metadata.to_string()).send();
    register(&nurse).status_is(403);
    let registered = register(&admin).status_is(201);

    let all = events(&server, "type=110113");
    let of = |start: &str, part: &str| {
        let found = all.iter().filter(|event| event.starts_with(start) && event.contains(part)).collect::<Vec<_>>();
        assert_eq!(found.len(), 1, "{start} … {part} in {all:#?}");
    };
    of("110113 110137+user U 4: -, -, -: HTTP 401: GET users;", "administrator's access token");
    of("110113 110137+user U 4: ", ", u1: HTTP 403: GET users/u1; This needs an access token with the scope admin");
    of("110113 110136+role U 4: ", ", Lab: HTTP 403: PUT roles/Lab;");
    of("110113 110137+user U 0: ", &format!(", {id}: POST users; username: \"nora\""));
    of("110113 110137+user U 0: ", &format!(", {id}: PUT users/{id}/password"));
    of("110113 110137+user U 0: ", "roles: [\"Admin\"]; disabled: true;");
    of("110113 110137+user U 4: ", "HTTP 422: PUT users");
    of("110113 110136+role U 0: ", ", Lab: PUT roles/Lab; name: \"Lab\"; scopes: \"user/Observation.rs\"");
    of("110113 110129+client U 0: ", ", app: PUT clients/app; scope: \"patient/*.rs\"");
    of("110113 110129+client U 0: ", ", app: POST clients/app/rotate-secret");
    of("110113 110129+keys U 0: ", ", -: POST keys/rotate");
    of("110113 110137+user U 0: ", &format!(", {id}: DELETE users/{id}"));
    of("110113 110129+client U 4: ", "HTTP 403: insufficient_scope");
    let made = registered.at("/client_id");
    of(
        "110113 110129+client U 0: ",
        &format!(", {}: registered: authorization_code: patient/*.rs", made.as_str().unwrap()),
    );
    assert_eq!(all.len(), 14, "reads are not told: {all:#?}");
    let secrets =
        [&secret, &another, &registered.at("/client_secret")].map(|secret| secret.as_str().unwrap().to_owned());
    let secrets = secrets.iter().map(String::as_str).chain([PASSWORD, "four kites over the mill"]);
    hides(&server, &secrets.collect::<Vec<_>>());
}

#[test]
fn what_can_not_be_recorded_does_not_happen() {
    let mut is_deaf = Arc::default();
    let server = Server::over(
        |config| config.insecure_open = false,
        |inner| {
            let faulty = Faulty::new(inner, 0, Odds::default());
            is_deaf = Arc::clone(&faulty.is_deaf);
            Arc::new(faulty)
        },
    );
    add(&server, "nora", "Provider");
    let browser = Browser::new(server.base());
    let page = browser.open("/auth/sign-in");
    is_deaf.store(true, Ordering::Relaxed);
    for password in [PASSWORD, BAD_PASSWORD] {
        let answer =
            browser.submit_only(&page, "sign-in", &[("username", "nora"), ("password", password)]).status_is(503);
        assert!(answer.header("set-cookie").is_none());
    }
    let sessions = server.app().auth.keeper.list(TENANT, "session", "", None, 9).unwrap();
    assert!(sessions.is_empty(), "nobody was signed in");
    let root = server.base().trim_end_matches("/fhir").to_owned();
    let form = "grant_type=client_credentials&client_id=x";
    let refused = Client::new(root.clone()).post("/auth/token").form(form).send();
    refused.oauth_error(503, "temporarily_unavailable");
    let token = server.token("admin", Some(&Person { roles: &["Admin"], ..Person::default() }));
    Client::bearing(root, &token).post("/auth/admin/keys/rotate").expect(503);
    is_deaf.store(false, Ordering::Relaxed);
    browser.submit(&page, "sign-in", &[("username", "nora"), ("password", PASSWORD)]).status_is(200);
}

#[test]
fn the_command_line_and_the_server_itself() {
    let folder = tempfile::tempdir().unwrap();
    let store = format!("file:{}", folder.path().join("data").display());
    let run = |arguments: &[&str], input: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pharos"));
        command.args(arguments).args(["--store", &store]).env("RUST_LOG", "error");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{arguments:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    run(&["user", "add", "nora", "--role", "Admin", "--password-stdin"], &format!("{PASSWORD}\n"));
    run(&["user", "role", "nora", "--add", "Billing"], "");
    run(&["user", "list"], "");
    let added = ["client", "add", "--id", "app", "--name", "App", "--redirect-uri", "https://app.example.org/"];
    run(&[&added[..], &["--auth-method", "client_secret_basic"]].concat(), "");
    let secret = run(&["client", "rotate-secret", "app"], "").trim().to_owned();
    run(&["keys", "rotate"], "");
    let address = free_address().to_string();
    let process = Process::start(["serve", "--store", &store, "--listen", &address]);
    process.lines_until("serving FHIR R4");
    Client::new(format!("http://{address}")).get("/health/live").expect(200);
    process.terminate();
    assert!(process.wait().success());

    let mut options = Options::at(folder.path().join("data"));
    options.form = Arc::new(AuditEvents::new("http://127.0.0.1:8080/fhir"));
    let store = Store::new(Arc::new(Embedded::open(options, Arc::new(SystemClock)).unwrap()));
    let blocks = store.ledger(TENANT, 0, true).unwrap();
    let entries = blocks.flat_map(|block| block.unwrap().entries.unwrap()).collect::<Vec<_>>();
    let all = entries.iter().map(|entry| Record::read(entry).unwrap());
    let (unwrapped, told): (Vec<_>, Vec<_>) = all.partition(|record| record.shape.event == Event::Unwrapping);
    let what =
        told.iter().map(|record| (record.shape.event.clone(), record.content.note.as_deref().unwrap_or_default()));
    let what = what.map(|(event, note)| (event, note.split(';').next().unwrap().to_owned())).collect::<Vec<_>>();
    let by_hand = |what: &'static str, note: &str| (Event::Administration(what.into()), note.to_owned());
    assert_eq!(
        what,
        [
            by_hand("user", "pharos user add"),
            by_hand("user", "pharos user role"),
            by_hand("client", "pharos client add"),
            by_hand("client", "pharos client rotate-secret"),
            by_hand("keys", "pharos keys rotate"),
            (Event::Start, String::new()),
            (Event::Stop, String::new()),
        ]
    );
    // Each command opens the store: its own key each time, and the tenant's from the second time on.
    let names = unwrapped.iter().map(|record| record.shape.name.as_deref().unwrap()).collect::<Vec<_>>();
    assert_eq!(names[..3], ["key 1 of the store", "key 1 of tenant 0", "key 1 of the store"]);
    assert_eq!(names.len(), 1 + 6 * 2);
    assert!(unwrapped.iter().all(|record| record.content.note.as_deref().unwrap().contains(", by local:")));
    let is_operator = |record: &Record<'_>| record.shape.agent.name.as_deref() == Some("operator at the command line");
    assert!(told[..5].iter().all(is_operator) && !told[5..].iter().any(is_operator));
    assert!(told[1].content.note.as_deref().unwrap().contains("roles: Admin, Billing"));
    let bytes = entries.iter().flat_map(|entry| entry.bytes.to_vec()).collect::<Vec<_>>();
    let all = String::from_utf8_lossy(&bytes);
    assert!(secret.len() > 20 && !all.contains(&secret) && !all.contains(PASSWORD));
    store.close().unwrap();
}

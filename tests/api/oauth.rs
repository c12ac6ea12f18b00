//! The endpoints of the authorization server, and what attackers try at them.

use crate::support::smart::{REDIRECT, SECRET, Smart, TENANT, USER, VERIFIER, basic, claims, text};
use crate::support::tokens::block_on;
use pharos::auth::records::{Authorization, Client, Launch, LaunchContext, User, get};
use pharos::auth::secret::hash;
use pharos::auth::witness::Deed;
use serde_json::{Value, json};

const ALL: &str = "launch/patient openid fhirUser offline_access online_access patient/*.rs user/*.cruds make_launch";

#[test]
fn a_code_becomes_tokens_with_their_context() {
    let smart = Smart::start();
    smart.public("app", ALL);
    let context = json!({
        "patient": "p1", "encounter": "e1", "intent": "reconcile-medications", "need_patient_banner": false,
        "smart_style_url": "https://ehr.example.org/style.json", "fhirContext": [{"reference": "ImagingStudy/9"}]
    });
    let scopes = "openid fhirUser launch/patient offline_access patient/*.read";
    let (code, _) = smart.code_in("app", scopes, serde_json::from_value(context.clone()).unwrap());
    let answer = smart.exchange("app", &code).expect(200);
    let tokens = answer.json();
    assert_eq!(
        (&tokens["token_type"], &tokens["expires_in"], &tokens["scope"]),
        (&json!("Bearer"), &json!(300), &json!(scopes))
    );
    for (name, value) in context.as_object().unwrap() {
        assert_eq!(&tokens[name], value, "{name}");
    }
    answer.header_is("cache-control", "no-store").header_is("pragma", "no-cache");

    let id = claims(&tokens["id_token"]);
    let fhir_user = format!("{}/Practitioner/eve", smart.base());
    assert_eq!((&id["iss"], &id["sub"], &id["aud"]), (&json!(smart.base()), &json!(USER), &json!("app")));
    assert_eq!((&id["nonce"], &id["fhirUser"]), (&json!("n-1"), &json!(fhir_user)));
    assert!(id["auth_time"].is_i64() && id["exp"].as_i64() > id["iat"].as_i64(), "{id}");
    let access = claims(&tokens["access_token"]);
    assert_eq!((&access["iss"], &access["aud"]), (&json!(smart.base()), &json!(smart.base())));
    assert_eq!(
        (&access["client_id"], &access["patient"], &access["scope"]),
        (&json!("app"), &json!("p1"), &json!(scopes))
    );

    let again = smart.refresh("app", &text(&tokens, "refresh_token")).expect(200).json();
    assert_eq!((&again["scope"], &again["patient"]), (&json!(scopes), &json!("p1")));
    assert_eq!(claims(&again["id_token"])["nonce"], Value::Null);
}

#[test]
fn only_what_was_granted_is_answered() {
    let smart = Smart::start();
    smart.public("app", ALL);
    let tokens = smart.tokens("app", "patient/*.rs");
    assert!(tokens.get("id_token").is_none() && tokens.get("refresh_token").is_none(), "{tokens}");
    assert_eq!(claims(&tokens["access_token"])["fhirUser"], Value::Null);

    let mut no_refresh = smart.public("short", ALL);
    no_refresh.grant_types = vec!["authorization_code".into()];
    smart.server.keep("short", &no_refresh);
    let tokens = smart.tokens("short", "patient/*.rs offline_access");
    assert_eq!(tokens["scope"], "patient/*.rs");
    assert!(tokens.get("refresh_token").is_none(), "{tokens}");
}

#[test]
fn a_code_used_twice_revokes_what_came_from_it() {
    let smart = Smart::start();
    smart.public("app", ALL);
    let (code, _) = smart.code("app", "patient/*.rs offline_access");
    let tokens = smart.exchange("app", &code).expect(200).json();
    assert!(smart.is_active(&text(&tokens, "access_token")));
    smart.exchange("app", &code).send().oauth_error(400, "invalid_grant");
    assert!(!smart.is_active(&text(&tokens, "access_token")));
    smart.refresh("app", &text(&tokens, "refresh_token")).send().oauth_error(400, "invalid_grant");
}

#[test]
fn a_code_is_for_its_client_redirect_uri_and_verifier_alone() {
    let smart = Smart::start();
    smart.public("app", ALL);
    smart.public("thief", ALL);
    let (code, _) = smart.code("app", "patient/*.rs");
    let send = |changed: &str, value: Option<&str>| {
        let mut fields = vec![
            ("grant_type", "authorization_code"),
            ("code", code.as_str()),
            ("redirect_uri", REDIRECT),
            ("client_id", "app"),
            ("code_verifier", VERIFIER),
        ];
        fields.retain(|(name, _)| *name != changed);
        fields.extend(value.map(|value| (changed, value)));
        smart.form("token", &fields).send()
    };
    send("client_id", Some("thief")).oauth_error(400, "invalid_grant");
    send("client_id", Some("nobody")).oauth_error(401, "invalid_client");
    send("client_id", None).oauth_error(401, "invalid_client");
    for uri in [
        "https://app.example.org/after/",
        "https://app.example.org/after?",
        "https://app.example.org/after#x",
        "https://app.example.org/After",
        "https://APP.example.org/after",
        "https://app.example.org:443/after",
        "https://app.example.org/after/../after",
        "https://app.example.org%2fafter",
        "http://app.example.org/after",
        "https://app.example.org.evil.example/after",
    ] {
        send("redirect_uri", Some(uri)).oauth_error(400, "invalid_grant");
        // Or the tenth would have to wait.
        smart.tokens("app", "patient/*.rs");
    }
    send("redirect_uri", None).oauth_error(400, "invalid_request");
    // Without a verifier, with the challenge as one (plain), with another, with one that is too short.
    send("code_verifier", None).oauth_error(400, "invalid_request");
    send("code_verifier", Some("")).oauth_error(400, "invalid_request");
    for verifier in [crate::support::smart::CHALLENGE, "another-verifier-another-verifier-another-verifier", "short"] {
        send("code_verifier", Some(verifier)).oauth_error(400, "invalid_grant");
    }
    send("code", Some("guessed")).oauth_error(400, "invalid_grant");
    assert!(smart.is_active(&text(&send("code_verifier", Some(VERIFIER)).status_is(200).json(), "access_token")));
}

#[test]
fn of_racing_exchanges_exactly_one_wins() {
    let smart = Smart::start();
    smart.public("app", ALL);
    let won = |ask: &(dyn Fn() -> u16 + Sync)| {
        std::thread::scope(|scope| {
            let racers = (0..8).map(|_| scope.spawn(ask)).collect::<Vec<_>>();
            racers.into_iter().map(|racer| racer.join().unwrap()).filter(|status| *status == 200).count()
        })
    };
    for _ in 0..5 {
        let (code, _) = smart.code("app", "patient/*.rs offline_access");
        assert_eq!(won(&|| smart.exchange("app", &code).send().status()), 1);

        let token = text(&smart.tokens("app", "patient/*.rs offline_access"), "refresh_token");
        assert_eq!(won(&|| smart.refresh("app", &token).send().status()), 1);
        smart.refresh("app", &token).send().oauth_error(400, "invalid_grant");
        // The losers were failures; a success forgives them.
        smart.tokens("app", "patient/*.rs");
    }
}

#[test]
fn a_refresh_token_is_good_once_and_its_replay_revokes_all() {
    let smart = Smart::start();
    smart.public("app", ALL);
    smart.public("thief", ALL);
    let first = smart.tokens("app", "patient/*.rs offline_access");
    let old = text(&first, "refresh_token");
    smart.refresh("thief", &old).send().oauth_error(400, "invalid_grant");
    let second = smart.refresh("app", &old).expect(200).json();
    let third = smart.refresh("app", &text(&second, "refresh_token")).expect(200).json();
    assert!(smart.is_active(&text(&first, "access_token")) && smart.is_active(&text(&third, "access_token")));

    smart.refresh("app", &old).send().oauth_error(400, "invalid_grant");
    for tokens in [&first, &second, &third] {
        assert!(!smart.is_active(&text(tokens, "access_token")));
    }
    smart.refresh("app", &text(&third, "refresh_token")).send().oauth_error(400, "invalid_grant");
}

/// The npm package `fhirclient` refreshes so.
#[test]
fn a_public_client_need_not_say_who_it_is_to_refresh() {
    let smart = Smart::start();
    smart.public("app", ALL);
    let refresh =
        |token: &str| smart.form("token", &[("grant_type", "refresh_token"), ("refresh_token", token)]).send();
    let first = smart.tokens("app", "patient/*.rs offline_access");
    let old = text(&first, "refresh_token");
    let second = refresh(&old).status_is(200).json();
    assert_eq!(claims(&second["access_token"])["client_id"], "app");
    assert!(smart.is_active(&text(&second, "access_token")));

    refresh("nobody's").oauth_error(400, "invalid_grant");
    refresh(&old).oauth_error(400, "invalid_grant");
    assert!(!smart.is_active(&text(&second, "access_token")), "a replay revokes all");
    refresh(&text(&second, "refresh_token")).oauth_error(400, "invalid_grant");

    smart.confidential("site", ALL);
    let code = smart.code("site", "patient/*.rs offline_access").0;
    let tokens = smart.exchange("site", &code).header("Authorization", &basic("site", SECRET)).expect(200).json();
    refresh(&text(&tokens, "refresh_token")).oauth_error(401, "invalid_client");
}

#[test]
fn a_forged_refresh_token_revokes_nothing() {
    let smart = Smart::start();
    smart.public("app", ALL);
    let token = text(&smart.tokens("app", "patient/*.rs offline_access"), "refresh_token");
    let (id, rest) = token.split_once('.').unwrap();
    let secret = rest.split_once('.').unwrap().1;
    for forged in [
        format!("{id}.1.{}", hash("guess")),
        format!("{id}.2.{secret}"),
        format!("{id}.0.{secret}"),
        format!("{id}.{secret}"),
        format!("{id}.1."),
        "..".to_owned(),
        format!("{}.1.x", "a".repeat(1000)),
    ] {
        smart.refresh("app", &forged).send().oauth_error(400, "invalid_grant");
    }
    smart.refresh("app", &token).expect(200);
}

#[test]
fn a_refresh_may_ask_for_less_and_not_for_more() {
    let smart = Smart::start();
    smart.public("app", ALL);
    let tokens = smart.tokens("app", "patient/Observation.rs patient/Patient.r offline_access openid");
    let token = text(&tokens, "refresh_token");
    let ask = |token: &str, scope: &str| {
        let fields =
            [("grant_type", "refresh_token"), ("refresh_token", token), ("client_id", "app"), ("scope", scope)];
        smart.form("token", &fields).send()
    };
    for more in [
        "patient/*.rs",
        "patient/Observation.cruds",
        "patient/Observation.write",
        "patient/Condition.r",
        "user/Observation.rs",
        "system/Observation.rs",
        "patient/Patient.r fhirUser",
        "patient/Patient.r everything",
    ] {
        ask(&token, more).oauth_error(400, "invalid_scope");
    }
    let less = ask(&token, "patient/Observation.rs?category=laboratory patient/Observation.read").status_is(200).json();
    assert_eq!(less["scope"], "patient/Observation.rs?category=laboratory patient/Observation.read");
    assert!(less.get("id_token").is_none());
    let again = smart.refresh("app", &text(&less, "refresh_token")).expect(200).json();
    assert_eq!(again["scope"], tokens["scope"]);
}

#[test]
fn online_access_ends_with_the_session_and_offline_access_does_not() {
    let smart = Smart::start();
    smart.public("app", ALL);
    for (scope, status) in [("online_access", 400), ("offline_access", 200)] {
        let (code, session) = smart.code("app", &format!("patient/*.rs {scope}"));
        let tokens = smart.exchange("app", &code).expect(200).json();
        let tokens = smart.refresh("app", &text(&tokens, "refresh_token")).expect(200).json();
        smart.sign_out(&session);
        smart.refresh("app", &text(&tokens, "refresh_token")).expect(status);
    }
}

#[test]
fn what_is_taken_from_client_or_user_ends_their_tokens() {
    let smart = Smart::start();
    let mut client = smart.public("app", ALL);
    let tokens = smart.tokens("app", "patient/*.rs user/*.cruds offline_access");
    client.scopes = pharos::auth::scope::Scopes::parse("patient/*.rs offline_access");
    smart.server.keep("app", &client);
    let tokens = smart.refresh("app", &text(&tokens, "refresh_token")).expect(200).json();
    assert_eq!(tokens["scope"], "patient/*.rs offline_access");

    let mut user = smart.user(USER, &[]);
    user.disabled = true;
    smart.server.keep(USER, &user);
    assert!(!smart.is_active(&text(&tokens, "access_token")));
    smart.refresh("app", &text(&tokens, "refresh_token")).send().oauth_error(400, "invalid_grant");
    smart.user(USER, &[]);
    assert!(smart.is_active(&text(&tokens, "access_token")));

    client.disabled = true;
    smart.server.keep("app", &client);
    assert!(!smart.is_active(&text(&tokens, "access_token")));
    smart.refresh("app", &text(&tokens, "refresh_token")).send().oauth_error(401, "invalid_client");
    smart.server.forget::<Client>("app");
    assert!(!smart.is_active(&text(&tokens, "access_token")));
    smart.public("app", ALL);
    smart.server.forget::<User>(USER);
    assert!(!smart.is_active(&text(&tokens, "access_token")));
}

#[test]
fn a_client_for_itself_gets_system_scopes_and_no_more() {
    let smart = Smart::start();
    smart.confidential("service", "system/*.rs system/Patient.cruds patient/*.rs openid offline_access launch");
    smart.public("app", "system/*.rs");
    let ask = |scope: &str| {
        let fields = [("grant_type", "client_credentials"), ("scope", scope)];
        smart.form("token", &fields).header("Authorization", &basic("service", SECRET)).send()
    };
    let answer = ask("system/Observation.read system/Condition.cruds patient/*.rs openid offline_access unknown");
    let tokens = answer.status_is(200).header_is("cache-control", "no-store").json();
    assert_eq!(tokens["scope"], "system/Observation.read system/Condition.rs");
    assert!(tokens.get("refresh_token").is_none() && tokens.get("id_token").is_none(), "{tokens}");
    let access = claims(&tokens["access_token"]);
    assert_eq!((&access["sub"], &access["client_id"]), (&json!("service"), &json!("service")));
    for none in ["patient/*.rs", "user/*.rs", "openid launch", "make_launch introspect", "", "system/Nothing.rs"] {
        ask(none).oauth_error(400, "invalid_scope");
    }

    let public = [("grant_type", "client_credentials"), ("scope", "system/*.rs"), ("client_id", "app")];
    smart.form("token", &public).send().oauth_error(400, "unauthorized_client");
    let mut service = smart.confidential("service", "system/*.rs");
    service.grant_types = vec!["authorization_code".into()];
    smart.server.keep("service", &service);
    ask("system/*.rs").oauth_error(400, "unauthorized_client");
}

#[test]
fn a_secret_is_taken_by_basic_and_by_form_and_has_to_be_right() {
    let smart = Smart::start();
    smart.confidential("service", "system/*.rs");
    let own = [("grant_type", "client_credentials"), ("scope", "system/*.rs")];
    let with = |more: &[(&'static str, &'static str)]| smart.form("token", &[&own[..], more].concat());
    with(&[("client_id", "service"), ("client_secret", SECRET)]).expect(200);
    with(&[]).header("Authorization", &basic("service", SECRET)).expect(200);

    with(&[("client_id", "service"), ("client_secret", "wrong")]).send().oauth_error(401, "invalid_client");
    with(&[("client_id", "service")]).send().oauth_error(401, "invalid_client");
    with(&[]).send().oauth_error(401, "invalid_client");
    for header in [basic("service", "wrong"), basic("nobody", SECRET), "Basic !".to_owned(), "Basic".to_owned() + " "] {
        let answer = with(&[]).header("Authorization", &header).send().oauth_error(401, "invalid_client");
        answer.header_is("www-authenticate", "Basic realm=\"pharos\"");
    }
}

#[test]
fn a_request_that_is_no_form_is_refused() {
    let smart = Smart::start();
    smart.public("app", ALL);
    let post = |content_type: &str, body: &str| smart.post("/auth/token").body(content_type, body).send();
    let form = "application/x-www-form-urlencoded";
    post("application/json", r#"{"grant_type": "client_credentials"}"#).oauth_error(400, "invalid_request");
    post("text/plain", "grant_type=client_credentials").oauth_error(400, "invalid_request");
    post(form, "client_id=app").oauth_error(400, "invalid_request");
    post(form, "client_id=app&grant_type=password&username=a&password=b").oauth_error(400, "unsupported_grant_type");
    post(form, "client_id=app&client_id=app&grant_type=refresh_token").oauth_error(400, "invalid_request");
    post(form, "client_id=app&scope=a&scope=b&grant_type=refresh_token").oauth_error(400, "invalid_request");
    post(form, "client_id=app&grant_type=refresh_token&refresh_token=%ff").oauth_error(400, "invalid_request");
    let large = format!("client_id=app&grant_type=refresh_token&refresh_token={}", "a".repeat(70_000));
    post(form, &large).oauth_error(400, "invalid_request");
    post(&format!("{form}; charset=UTF-8"), "client_id=app&grant_type=refresh_token&refresh_token=x")
        .oauth_error(400, "invalid_grant");
    for method in ["GET", "PUT", "DELETE", "OPTIONS"] {
        smart.request(method, "/auth/token").send().oauth_error(405, "invalid_request").header_is("allow", "POST");
    }
    smart.get("/auth/nothing").expect(404);
}

#[test]
fn who_fails_again_and_again_has_to_wait() {
    let smart = Smart::start();
    smart.confidential("service", "system/*.rs");
    let ask = |id: &str, secret: &str| {
        let own = [("grant_type", "client_credentials"), ("scope", "system/*.rs")];
        smart.form("token", &own).header("Authorization", &basic(id, secret)).send()
    };
    for _ in 0..10 {
        ask("service", "wrong").oauth_error(401, "invalid_client");
    }
    let answer = ask("service", SECRET).oauth_error(429, "slow_down");
    assert!(answer.header("retry-after").unwrap().parse::<u32>().unwrap() >= 1);
    smart.confidential("other", "system/*.rs");
    ask("other", SECRET).status_is(200);
}

#[test]
fn a_token_is_introspected_by_those_it_concerns() {
    let smart = Smart::start();
    smart.confidential("service", ALL);
    smart.confidential("stranger", "system/*.rs");
    smart.confidential("gateway", "introspect");
    let context = json!({"patient": "p1", "encounter": "e1", "intent": "x", "fhirContext": [{"reference": "Task/1"}]});
    let scopes = "openid fhirUser patient/*.rs offline_access";
    let (code, _) = smart.code_in("service", scopes, serde_json::from_value(context.clone()).unwrap());
    let exchange = smart.exchange("service", &code).header("Authorization", &basic("service", SECRET));
    let tokens = exchange.expect(200).json();
    let token = text(&tokens, "access_token");
    let ask = |id: &str, token: &str| {
        let form = smart.form("introspect", &[("token", token), ("token_type_hint", "refresh_token")]);
        form.header("Authorization", &basic(id, SECRET)).expect(200).header_is("cache-control", "no-store").json()
    };
    for id in ["service", "gateway"] {
        let about = ask(id, &token);
        assert_eq!(
            (&about["active"], &about["scope"], &about["client_id"]),
            (&json!(true), &json!(scopes), &json!("service"))
        );
        assert_eq!(
            (&about["sub"], &about["iss"], &about["aud"]),
            (&json!(USER), &json!(smart.base()), &json!(smart.base()))
        );
        assert_eq!(about["fhirUser"], format!("{}/Practitioner/eve", smart.base()));
        assert!(about["exp"].as_i64() > about["iat"].as_i64());
        for (name, value) in context.as_object().unwrap() {
            assert_eq!(&about[name], value);
        }
        let refresh = ask(id, &text(&tokens, "refresh_token"));
        assert_eq!((&refresh["active"], &refresh["client_id"]), (&json!(true), &json!("service")));
    }
    let inactive = json!({"active": false});
    assert_eq!(ask("stranger", &token), inactive);
    assert_eq!(ask("stranger", &text(&tokens, "refresh_token")), inactive);
    assert_eq!(ask("service", "garbage"), inactive);
    assert_eq!(ask("service", &text(&tokens, "id_token")), inactive);
    assert_eq!(ask("service", &format!("{}x", &token[..token.len() - 5])), inactive);

    smart.public("app", ALL);
    smart.form("introspect", &[("token", &token), ("client_id", "app")]).send().oauth_error(401, "invalid_client");
    smart.form("introspect", &[("token", &token)]).send().oauth_error(401, "invalid_client");
    smart
        .form("introspect", &[])
        .header("Authorization", &basic("service", SECRET))
        .send()
        .oauth_error(400, "invalid_request");
    block_on(smart.server.app().auth.revoke_authorization(TENANT, &sid(&token), Deed::Asked)).unwrap();
    assert_eq!(ask("service", &token), inactive);
}

#[test]
fn an_administrator_introspects_with_the_scope_of_one() {
    let smart = Smart::start();
    smart.public("app", "admin user/*.rs patient/*.rs");
    let other = text(&smart.tokens("app", "patient/*.rs"), "access_token");
    let ask = |token: &str| {
        smart.form("introspect", &[("token", &other)]).header("Authorization", &format!("Bearer {token}")).send()
    };
    let token = text(&smart.tokens("app", "user/*.rs admin"), "access_token");
    ask(&token).oauth_error(403, "insufficient_scope");
    smart.user(USER, &["Admin"]);
    assert_eq!(ask(&token).status_is(200).at("/active"), true);
    ask(&text(&smart.tokens("app", "user/*.rs"), "access_token")).oauth_error(403, "insufficient_scope");
    ask("garbage").oauth_error(401, "invalid_token");
}

fn sid(token: &str) -> String {
    text(&claims(&json!(token)), "sid")
}

#[test]
fn a_client_revokes_its_own_tokens() {
    let smart = Smart::start();
    smart.public("app", ALL);
    smart.public("other", ALL);
    smart.confidential("service", "system/*.rs");
    let revoke = |id: &str, token: &str| smart.form("revoke", &[("token", token), ("client_id", id)]).send();
    let first = smart.tokens("app", "patient/*.rs offline_access");
    let token = text(&first, "access_token");

    revoke("other", &token).oauth_error(400, "invalid_grant");
    revoke("other", &text(&first, "refresh_token")).oauth_error(400, "invalid_grant");
    let search = || smart.get("/fhir/Observation").header("Authorization", &format!("Bearer {token}")).send();
    search().status_is(200);
    // An access token alone.
    revoke("app", &token).status_is(200);
    assert!(!smart.is_active(&token));
    search().status_is(401);
    let second = smart.refresh("app", &text(&first, "refresh_token")).expect(200).json();
    assert!(smart.is_active(&text(&second, "access_token")));
    // With a refresh token, an old one too, all.
    revoke("app", &text(&first, "refresh_token")).status_is(200);
    assert!(!smart.is_active(&text(&second, "access_token")));
    smart.refresh("app", &text(&second, "refresh_token")).send().oauth_error(400, "invalid_grant");

    for unknown in ["garbage", &token, &text(&first, "refresh_token"), "a.1.b"] {
        revoke("app", unknown).status_is(200);
    }
    revoke("app", "").oauth_error(400, "invalid_request");
    revoke("nobody", &token).oauth_error(401, "invalid_client");

    let own = smart.own_token("service", "system/*.rs");
    assert!(smart.is_active(&own));
    revoke("service", &own).oauth_error(401, "invalid_client");
    smart.form("revoke", &[("token", &own)]).header("Authorization", &basic("service", SECRET)).expect(200);
    assert!(!smart.is_active(&own));
}

#[test]
fn userinfo_says_who_the_user_is() {
    let smart = Smart::start();
    smart.public("app", "openid fhirUser profile patient/*.rs");
    smart.confidential("service", "system/*.rs");
    let ask = |token: &str| smart.get("/auth/userinfo").header("Authorization", &format!("Bearer {token}")).send();
    let with = |scopes: &str| text(&smart.tokens("app", scopes), "access_token");
    let fhir_user = format!("{}/Practitioner/eve", smart.base());
    let whole = json!({"sub": USER, "name": "Eve Everywoman", "fhirUser": fhir_user});
    assert_eq!(ask(&with("openid profile")).status_is(200).json(), whole);
    assert_eq!(ask(&with("openid fhirUser")).status_is(200).json(), json!({"sub": USER, "fhirUser": fhir_user}));
    assert_eq!(ask(&with("openid patient/*.rs")).status_is(200).json(), json!({"sub": USER}));
    let token = with("openid");
    smart.post("/auth/userinfo").header("Authorization", &format!("bearer {token}")).expect(200);

    let challenge = "Bearer realm=\"pharos\"";
    let refused = ask(&with("patient/*.rs")).oauth_error(403, "insufficient_scope");
    refused.header_is("www-authenticate", &format!("{challenge}, error=\"insufficient_scope\""));
    ask(&smart.own_token("service", "system/*.rs")).oauth_error(403, "insufficient_scope");
    let refused = smart.get("/auth/userinfo").send().oauth_error(401, "invalid_token");
    refused.header_is("www-authenticate", challenge);
    let id_token = text(&smart.tokens("app", "openid"), "id_token");
    for bad in ["garbage", &id_token, &format!("{token}x"), &token.replace('.', "")] {
        let refused = ask(bad).oauth_error(401, "invalid_token");
        refused.header_is("www-authenticate", &format!("{challenge}, error=\"invalid_token\""));
    }
    smart.get(&format!("/auth/userinfo?access_token={token}")).send().oauth_error(401, "invalid_token");
    smart.server.forget::<Authorization>(&sid(&token));
    ask(&token).oauth_error(401, "invalid_token");
}

#[test]
fn a_front_end_makes_a_launch() {
    let smart = Smart::start();
    smart.public("portal", "make_launch user/*.rs");
    smart.confidential("ehr", "make_launch system/*.rs");
    smart.public("app", "launch patient/*.rs");
    let make = |token: &str, document: &Value| {
        let request = smart.post("/auth/launch").header("Authorization", &format!("Bearer {token}"));
        request.body("application/json", document.to_string()).send()
    };
    let user = text(&smart.tokens("portal", "make_launch"), "access_token");
    let context = json!({
        "patient": "p1", "encounter": "e1", "intent": "x", "need_patient_banner": true,
        "smart_style_url": "https://ehr.example.org/style.json", "fhirContext": [{"reference": "Task/1", "role": "r"}]
    });
    let mut document = context.clone();
    document["client_id"] = "app".into();
    let made = make(&user, &document).status_is(200).header_is("cache-control", "no-store").json();
    let handle = text(&made, "launch");
    let iss = form_urlencoded::byte_serialize(smart.base().as_bytes()).collect::<String>();
    assert_eq!(made["url"], format!("https://app.example.org/launch?a=b&iss={iss}&launch={handle}"));
    let kept =
        |handle: &str| get::<Launch>(&*smart.server.app().auth.keeper, TENANT, &hash(handle)).unwrap().unwrap().0;
    let context: LaunchContext = serde_json::from_value(context).unwrap();
    assert_eq!(kept(&handle), Launch { client_id: Some("app".into()), user: Some(USER.into()), context });

    // A service, for whoever signs in, for any app.
    let own = smart.own_token("ehr", "make_launch");
    let made = make(&own, &json!({"patient": "p1"})).status_is(200).json();
    assert!(made.get("url").is_none());
    assert_eq!(kept(&text(&made, "launch")).user, None);

    let weak = smart.own_token("ehr", "system/*.rs");
    make(&weak, &json!({"patient": "p1"})).oauth_error(403, "insufficient_scope");
    make("garbage", &json!({"patient": "p1"})).oauth_error(401, "invalid_token");
    smart.post("/auth/launch").body("application/json", "{}").send().oauth_error(401, "invalid_token");
    for bad in [
        json!([]),
        json!({"patient": "Patient/p1"}),
        json!({"patient": 1}),
        json!({"need_patient_banner": "yes"}),
        json!({"smart_style_url": "javascript:alert(1)"}),
        json!({"user": "somebody"}),
        json!({"fhirContext": {"reference": "Task/1"}}),
        json!({"fhirContext": [{"role": "launch"}]}),
        json!({"fhirContext": [{"reference": "Patient/p1"}]}),
        json!({"fhirContext": [{"reference": "https://other.example.org/Task/1"}]}),
        json!({"client_id": "nobody"}),
        json!({"client_id": "portal"}),
    ] {
        make(&own, &bad).oauth_error(400, "invalid_request");
    }
    let text = smart.post("/auth/launch").header("Authorization", &format!("Bearer {own}")).body("text/plain", "{}");
    text.send().oauth_error(400, "invalid_request");
}

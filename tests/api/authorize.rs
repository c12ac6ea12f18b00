//! From an app's request to its token, as a browser and its user go the way; and what attackers try on it.

use crate::support::browser::Browser;
use crate::support::smart::{CHALLENGE, REDIRECT, Smart};
use crate::support::tokens::block_on;
use crate::support::{Answer, Client};
use pharos::auth::records::{Authorization, Launch, LaunchContext, User};
use pharos::auth::secret::hash;
use pharos::auth::user::NewUser;
use pharos::tenant::TenantId;
use serde_json::{Value, json};

pub const PASSWORD: &str = "tin otter paints slowly";
pub const SCOPES: &str =
    "launch/patient openid fhirUser offline_access patient/Patient.rs patient/Observation.rs patient/Condition.rs";
const CATEGORY: &str = "http://terminology.hl7.org/CodeSystem/observation-category";

pub struct House {
    pub smart: Smart,
    pub browser: Browser,
}

impl House {
    /// Amy is Paula's patient, Bob is not.
    pub fn start() -> Self {
        Self::of(Smart::start())
    }

    pub fn of(smart: Smart) -> Self {
        let data = smart.server.as_system("system/*.cruds");
        for (id, given, doctor) in [("amy", "Amy", "Practitioner/paula"), ("bob", "Bob", "Practitioner/other")] {
            let practitioner = json!([{ "reference": doctor }]);
            let patient = json!({
                "resourceType": "Patient", "id": id, "name": [{ "family": "Shaw", "given": [given] }], "birthDate": "1987-02-20",
                "generalPractitioner": practitioner
            });
            data.put(&format!("/Patient/{id}")).json(patient).expect(201);
            for (kind, category) in
                [("Observation", "laboratory"), ("Observation", "vital-signs"), ("Condition", "problem")]
            {
                let mut resource = json!({
                    "resourceType": kind, "id": format!("{id}-{category}"), "subject": { "reference": format!("Patient/{id}") },
                    "category": [{ "coding": [{ "system": CATEGORY, "code": category }] }], "code": { "text": "something" }
                });
                if kind == "Observation" {
                    resource["status"] = "final".into();
                }
                data.put(&format!("/{kind}/{id}-{category}")).json(resource).expect(201);
            }
        }
        let house = Self { browser: Browser::new(smart.base()), smart };
        house.add("paula", "Practitioner/paula", "Provider");
        house.add("amy", "Patient/amy", "Patient");
        house.smart.public("app", &format!("launch {SCOPES} patient/*.cruds user/*.rs online_access"));
        house
    }

    pub fn add(&self, username: &str, fhir_user: &str, role: &str) -> User {
        let new = NewUser {
            username: username.into(),
            name: format!("Dr. {username}"),
            fhir_user: Some(fhir_user.into()),
            roles: vec![role.into()],
            password: Some(PASSWORD.into()),
            ..NewUser::default()
        };
        block_on(self.smart.server.app().auth.add_user(TenantId::DEFAULT, new)).unwrap()
    }

    /// The query of a good request, with other values for some parameters; an empty one takes the parameter away.
    fn query(&self, others: &[(&str, &str)]) -> String {
        let base = self.smart.base().to_owned();
        let usual = [
            ("response_type", "code"),
            ("client_id", "app"),
            ("redirect_uri", REDIRECT),
            ("scope", SCOPES),
            ("state", "s t&te"),
            ("aud", &base),
            ("code_challenge", CHALLENGE),
            ("code_challenge_method", "S256"),
        ];
        let other = |name: &str| others.iter().find(|(own, _)| *own == name).map(|(_, value)| *value);
        let kept = usual.map(|(name, value)| (name, other(name).unwrap_or(value)));
        let further = others.iter().filter(|(name, _)| !usual.iter().any(|(own, _)| own == name)).copied();
        let all = kept.into_iter().chain(further).filter(|(_, value)| !value.is_empty());
        form_urlencoded::Serializer::new(String::new()).extend_pairs(all).finish()
    }

    pub fn ask(&self, others: &[(&str, &str)]) -> Answer {
        self.browser.open(&format!("/auth/authorize?{}", self.query(others)))
    }

    /// What a request is answered with at once.
    fn answer(&self, others: &[(&str, &str)]) -> Answer {
        self.browser.step("GET", &format!("/auth/authorize?{}", self.query(others)), None)
    }

    pub fn sign_in(&self, page: &Answer, username: &str) -> Answer {
        self.browser.submit(page, "sign-in", &[("username", username), ("password", PASSWORD)])
    }

    /// Paula asks for an app and chooses Amy: the page for consent.
    pub fn at_consent(&self, others: &[(&str, &str)]) -> Answer {
        let page = self.sign_in(&self.ask(others), "paula");
        let found = self.browser.submit(&page, "patient", &[("name", "am sha"), ("decision", "search")]);
        self.browser.submit(&found, "patient", &[("patient", "amy")])
    }

    /// The token of what the app is sent back with.
    pub fn tokens(&self, answer: &Answer) -> Value {
        let sent = sent(answer);
        self.smart.exchange("app", &sent["code"]).expect(200).json()
    }

    fn bearing(&self, tokens: &Value) -> Client {
        self.smart.server.bearing(tokens["access_token"].as_str().unwrap())
    }
}

/// The parameters with which the browser is sent to the app.
fn sent(answer: &Answer) -> std::collections::BTreeMap<String, String> {
    let location = answer.header("location").unwrap_or_else(|| panic!("no redirect: {}", answer.text()));
    let query = location.strip_prefix(&format!("{REDIRECT}?")).unwrap_or_else(|| panic!("not to the app: {location}"));
    form_urlencoded::parse(query.as_bytes()).into_owned().collect()
}

fn all_of(scopes: &str) -> Vec<(String, &'static str)> {
    scopes.split(' ').map(|scope| (format!("scope:{scope}"), "all")).collect()
}

/// Says yes to these scopes.
pub fn allow(house: &House, page: &Answer, scopes: &str) -> Answer {
    let ticked = all_of(scopes);
    let mut fields = ticked.iter().map(|(name, value)| (name.as_str(), *value)).collect::<Vec<_>>();
    fields.push(("decision", "allow"));
    house.browser.submit_only(page, "consent", &fields)
}

#[test]
fn an_app_gets_a_token_for_the_patient_that_its_user_chose() {
    let house = House::start();
    let page = house.ask(&[]).status_is(200);
    assert!(page.text().contains("Sign in") && page.text().contains("app"), "{}", page.text());
    let page = house.sign_in(&page, "paula");
    assert!(page.text().contains("Choose a patient"), "{}", page.text());
    assert!(!page.text().contains("Shaw"), "nobody is shown before being looked for");
    let found = house.browser.submit(&page, "patient", &[("name", "Shaw"), ("decision", "search")]);
    assert!(found.text().contains("Amy Shaw") && !found.text().contains("Bob"), "{}", found.text());
    let page = house.browser.submit(&found, "patient", &[("patient", "amy")]);
    assert!(
        page.text().contains("About Amy Shaw") && page.text().contains("Conditions and diagnoses"),
        "{}",
        page.text()
    );

    let answer = allow(&house, &page, SCOPES).status_is(303);
    let sent = sent(&answer);
    assert_eq!((sent["state"].as_str(), sent["iss"].as_str()), ("s t&te", house.smart.base()));
    let tokens = house.tokens(&answer);
    assert_eq!(tokens["patient"], "amy");
    assert!(tokens["refresh_token"].is_string() && tokens["id_token"].is_string(), "{tokens}");
    let app = house.bearing(&tokens);
    app.get("/Patient/amy").expect(200);
    app.get("/Patient/bob").expect(404);
    assert_eq!(app.get("/Observation").expect(200).ids().len(), 2);

    // The page is used up, and the app is in the list until its access is ended there.
    let again = allow(&house, &page, SCOPES);
    assert_eq!((again.status(), again.header("location")), (400, None));
    let apps = house.browser.open("/auth/apps").status_is(200);
    assert!(apps.text().contains("Conditions and diagnoses: read (one patient)"), "{}", apps.text());
    house.browser.submit(&apps, "apps", &[]);
    app.get("/Patient/amy").expect(401);
    assert!(house.browser.open("/auth/apps").text().contains("No app has access"));
}

#[test]
fn what_is_declined_is_refused_and_the_rest_is_given() {
    let house = House::start();
    let page = house.at_consent(&[]);
    let tokens = house.tokens(&allow(&house, &page, "patient/Patient.rs patient/Observation.rs"));
    assert_eq!(tokens["scope"], "patient/Patient.rs patient/Observation.rs launch/patient");
    assert!(tokens["refresh_token"].is_null() && tokens["id_token"].is_null());
    let app = house.bearing(&tokens);
    app.get("/Observation?patient=amy").expect(200);
    app.get("/Patient/amy").expect(200);
    let refused = app.get("/Condition?patient=amy").expect(403);
    assert!(refused.header("www-authenticate").unwrap().contains("insufficient_scope"));

    // Nothing ticked is no consent; no is told to the app.
    let page = house.at_again(&[]);
    assert_eq!(allow(&house, &page, "patient/Goal.rs").status(), 422);
    let answer = house.browser.submit_only(&page, "consent", &[("decision", "deny")]);
    assert_eq!((sent(&answer)["error"].as_str(), sent(&answer)["state"].as_str()), ("access_denied", "s t&te"));
    assert_eq!(sent(&answer)["iss"], house.smart.base());
}

impl House {
    /// The same for a browser in which Paula is signed in.
    fn at_again(&self, others: &[(&str, &str)]) -> Answer {
        let page = self.ask(others);
        self.browser.submit(&page, "patient", &[("patient", "amy")])
    }
}

#[test]
fn a_type_can_be_narrowed_to_categories() {
    let house = House::start();
    let page = house.at_consent(&[("scope", "patient/Observation.rs patient/Condition.read")]);
    let laboratory = format!("scope:patient/Observation.rs?category={CATEGORY}|laboratory");
    let fields = [("scope:patient/Observation.rs", "some"), (&*laboratory, "all"), ("decision", "allow")];
    let tokens = house.tokens(&house.browser.submit_only(&page, "consent", &fields));
    assert_eq!(tokens["scope"], laboratory.trim_start_matches("scope:"));
    let app = house.bearing(&tokens);
    assert_eq!(app.get("/Observation").expect(200).ids(), ["amy-laboratory"]);
    app.get("/Observation/amy-vital-signs").expect(404);
}

#[test]
fn what_the_role_does_not_give_can_not_be_granted() {
    let house = House::start();
    let scopes = "patient/Observation.cruds patient/Claim.rs patient/Patient.rs";
    let page = house.at_consent(&[("scope", scopes)]);
    assert!(page.text().contains("Claims: read (one patient)"), "{}", page.text());
    let granted = "patient/Observation.crus patient/Claim.rs patient/Observation.cruds";
    let tokens = house.tokens(&allow(&house, &page, granted));
    assert_eq!(tokens["scope"], "patient/Observation.crus");
}

#[test]
fn patients_are_their_own_patient() {
    let house = House::start();
    let page = house.sign_in(&house.ask(&[]), "amy");
    assert!(page.text().contains("About Amy Shaw"), "{}", page.text());
    let other = house.browser.submit(&page, "consent", &[("decision", "x")]);
    assert_eq!(other.status(), 400);
    let tokens = house.tokens(&allow(&house, &page, SCOPES));
    assert_eq!(tokens["patient"], "amy");
    house.bearing(&tokens).get("/Patient/bob").expect(404);
}

#[test]
fn forms_of_others_are_not_taken() {
    let house = House::start();
    let page = house.ask(&[]);
    for csrf in ["", "x"] {
        let fields = [("csrf", csrf), ("username", "paula"), ("password", PASSWORD)];
        assert_eq!(house.browser.submit_only(&page, "sign-in", &fields).status(), 403, "{csrf:?}");
    }
    // The token of another browser is none here.
    let other = Browser::new(house.smart.base());
    other.open("/auth/sign-in");
    assert_eq!(other.submit_only(&page, "sign-in", &[("username", "paula"), ("password", PASSWORD)]).status(), 403);
    assert_eq!(other.cookie("pharos"), None);

    let page = house.sign_in(&page, "paula");
    for csrf in ["", "x"] {
        for (action, value) in [("patient", "amy"), ("sign-out", "")] {
            let answer = house.browser.submit_only(&page, action, &[("csrf", csrf), ("patient", value)]);
            assert_eq!((answer.status(), answer.header("location")), (403, None), "{action}");
        }
    }
    let page = house.browser.submit(&page, "patient", &[("patient", "amy")]);
    let answer = house.browser.submit_only(&page, "consent", &[("csrf", "x"), ("decision", "allow")]);
    assert_eq!((answer.status(), answer.header("location")), (403, None));
    assert_eq!(house.browser.open("/auth/apps").status(), 200, "still signed in");
}

#[test]
fn pages_can_not_be_framed_and_are_not_kept() {
    let house = House::start();
    let mut pages = vec![house.ask(&[])];
    pages.push(house.sign_in(&pages[0], "paula"));
    pages.push(house.browser.submit(&pages[1], "patient", &[("patient", "amy")]));
    pages.extend(
        ["apps", "account", "setup", "consent?pending=x"].map(|page| house.browser.open(&format!("/auth/{page}"))),
    );
    for page in &pages {
        let policy = page.header("content-security-policy").unwrap();
        for part in ["default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'self'"] {
            assert!(policy.contains(part), "{policy}");
        }
        assert_eq!(page.header("x-frame-options"), Some("DENY"));
        assert_eq!(page.header("referrer-policy"), Some("no-referrer"));
        assert_eq!(page.header("cache-control"), Some("no-store"));
        assert!(!page.text().contains("<script") && !page.text().contains("style="), "{}", page.text());
    }
    let lead =
        |page: &Answer| page.header("content-security-policy").unwrap().contains("'self' https://app.example.org;");
    assert!(lead(&pages[2]) && !lead(&pages[0]) && !lead(&pages[3]));
    let cookie = house.browser.cookie("pharos").unwrap();
    assert!(!pages.iter().any(|page| page.text().contains(&cookie)));
}

#[test]
fn nothing_is_sent_to_an_address_that_is_not_registered() {
    let house = House::start();
    let tricks = [
        "",
        "https://evil.example.org/after",
        "https://app.example.org/after/",
        "https://app.example.org/after?x=1",
        "https://app.example.org/after#x",
        "https://app.example.org/after/../evil",
        "https://APP.example.org/after",
        "http://app.example.org/after",
        "https://app.example.org:443/after",
        "https://app.example.org@evil.example.org/after",
        "https://app.example.org/after%00",
        "//app.example.org/after",
        "javascript:alert(1)",
    ];
    for uri in tricks {
        let answer = house.answer(&[("redirect_uri", uri), ("response_type", "token")]);
        assert_eq!((answer.status(), answer.header("location")), (400, None), "{uri}");
    }
    for client in ["", "nobody", &"x".repeat(300)] {
        let answer = house.answer(&[("client_id", client)]);
        assert_eq!((answer.status(), answer.header("location")), (400, None), "{client}");
    }
    let twice = format!("/auth/authorize?{}&redirect_uri=https%3A%2F%2Fevil.example.org", house.query(&[]));
    assert_eq!(house.browser.step("GET", &twice, None).status(), 400);
    let mut off = house.smart.public("off", SCOPES);
    off.disabled = true;
    house.smart.server.keep("off", &off);
    assert_eq!(house.answer(&[("client_id", "off")]).status(), 400);
}

#[test]
fn the_app_hears_what_is_wrong_with_its_request() {
    let house = House::start();
    let cases: [(&[(&str, &str)], &str); 16] = [
        (&[("response_type", "token")], "unsupported_response_type"),
        (&[("response_type", "")], "invalid_request"),
        (&[("code_challenge", "")], "invalid_request"),
        (&[("code_challenge_method", "")], "invalid_request"),
        (&[("code_challenge_method", "plain")], "invalid_request"),
        (&[("code_challenge", "short")], "invalid_request"),
        (&[("aud", "")], "invalid_request"),
        (&[("aud", "https://evil.example.org/fhir")], "invalid_request"),
        (&[("resource", "https://evil.example.org/fhir")], "invalid_target"),
        (&[("scope", "")], "invalid_scope"),
        (&[("scope", "system/*.rs")], "invalid_scope"),
        (&[("scope", "admin")], "invalid_scope"),
        (&[("launch", "x")], "invalid_request"),
        (&[("launch", "x"), ("scope", "launch openid")], "invalid_request"),
        (&[("prompt", "none")], "interaction_required"),
        (&[("request", "x")], "request_not_supported"),
    ];
    for (others, error) in cases {
        let answer = house.answer(others).status_is(303);
        let sent = sent(&answer);
        let found = (sent["error"].as_str(), sent["state"].as_str(), sent["iss"].as_str());
        assert_eq!(found, (error, "s t&te", house.smart.base()), "{others:?}");
    }
    let slash = format!("{}/", house.smart.base());
    assert!(house.ask(&[("aud", &slash)]).text().contains("Sign in"));
    let posted = house.browser.step("POST", "/auth/authorize", Some(&house.query(&[])));
    assert!(posted.status_is(303).header("location").unwrap().starts_with("consent?pending="));
}

#[test]
fn a_launch_is_for_the_user_who_made_it() {
    let house = House::start();
    let eve = house.add("erik", "Practitioner/paula", "Provider");
    let context =
        LaunchContext { patient: Some("amy".into()), encounter: Some("e1".into()), ..LaunchContext::default() };
    let launch = Launch { client_id: Some("app".into()), user: Some(eve.id), context };
    house.smart.server.keep(&hash("the-handle"), &launch);
    let asked = [("launch", "the-handle"), ("scope", "launch patient/Patient.rs")];
    let page = house.sign_in(&house.ask(&asked), "paula");
    assert_eq!(page.status(), 403);
    assert!(!page.text().contains("Amy"), "{}", page.text());
    let denied = house.browser.submit_only(&page, "consent", &[("decision", "allow")]);
    assert_eq!((denied.status(), denied.header("location")), (403, None));

    house.browser.submit(&page, "sign-out", &[]);
    let page = house.sign_in(&house.ask(&asked), "erik");
    assert!(page.text().contains("Amy Shaw") && !page.text().contains("Choose another"), "{}", page.text());
    let other = house.browser.step("GET", "/auth/patient?pending=x", None);
    assert_eq!(other.status(), 400);
    let tokens = house.tokens(&allow(&house, &page, "patient/Patient.rs"));
    assert_eq!((&tokens["patient"], &tokens["encounter"]), (&json!("amy"), &json!("e1")));

    let mut other = house.smart.public("other", "launch patient/Patient.rs");
    other.redirect_uris = vec![REDIRECT.into()];
    let answer = house.answer(&[asked[0], asked[1], ("client_id", "other")]);
    assert_eq!(sent(&answer)["error"], "invalid_request");
}

#[test]
fn a_session_ends_without_use_and_at_sign_out() {
    let house = House::of(Smart::with(|config| config.auth.session_inactivity_s = 120));
    let page = house.at_consent(&[]);
    // The clock of a test moves a millisecond at each look.
    for _ in 0..121_000 {
        let _ = house.smart.server.app().auth.now_s();
    }
    let page = house.browser.submit(&page, "consent", &[("decision", "allow"), ("scope:openid", "all")]);
    assert!(page.text().contains("name=\"password\""), "{}", page.text());

    let page = house.sign_in(&page, "paula");
    let cookie = house.browser.cookie("pharos").unwrap();
    let page = house.browser.submit(&page, "sign-out", &[]);
    assert!(page.text().contains("You are signed out"), "{}", page.text());
    assert_eq!(house.browser.cookie("pharos"), None);
    let stolen = Client::new(house.smart.base().trim_end_matches("/fhir"));
    stolen.get("/auth/apps").header("Cookie", &format!("pharos={cookie}")).expect(303);
}

#[test]
fn prompt_asks_for_a_new_sign_in() {
    let house = House::start();
    house.at_consent(&[]);
    for _ in 0..2_000 {
        let _ = house.smart.server.app().auth.now_s();
    }
    let page = house.ask(&[("prompt", "login")]);
    assert!(page.text().contains("name=\"password\""), "{}", page.text());
    assert!(house.sign_in(&page, "paula").text().contains("Choose a patient"));
    assert!(house.ask(&[("max_age", "600")]).text().contains("Choose a patient"));
}

#[test]
fn emergency_access_needs_a_role_and_a_reason() {
    let house = House::start();
    let page = house.sign_in(&house.ask(&[]), "paula");
    let refused = house.browser.submit(&page, "patient", &[("patient", "bob")]);
    assert_eq!(refused.status(), 422);
    let pending = page.text().split("emergency?pending=").nth(1).unwrap().split('"').next().unwrap();
    let form = house.browser.open(&format!("/auth/emergency?pending={pending}"));
    assert_eq!(house.browser.submit(&form, "emergency", &[("reason", "short"), ("decision", "begin")]).status(), 422);
    let reason = [("reason", "Found unconscious."), ("decision", "begin")];
    let page = house.browser.submit(&form, "emergency", &reason);
    assert!(page.text().contains("Emergency access."), "{}", page.text());
    let page = house.browser.submit(&page, "patient", &[("patient", "bob")]);
    let tokens = house.tokens(&allow(&house, &page, "patient/Patient.rs"));
    house.bearing(&tokens).get("/Patient/bob").expect(200);
    let apps = house.browser.open("/auth/apps").text().to_owned();
    let id = apps.split("name=\"id\" value=\"").nth(1).unwrap().split('"').next().unwrap();
    let auth = &house.smart.server.app().auth;
    let kept = pharos::auth::records::get::<Authorization>(&*auth.keeper, TenantId::DEFAULT, id).unwrap().unwrap().0;
    assert_eq!(kept.break_glass.as_deref(), Some("Found unconscious."));

    house.browser.forget();
    let page = house.sign_in(&house.ask(&[]), "amy");
    assert!(!page.text().contains("emergency"), "{}", page.text());
    let pending = page.text().split("name=\"pending\" value=\"").nth(1).unwrap().split('"').next().unwrap();
    assert_eq!(house.browser.open(&format!("/auth/emergency?pending={pending}")).status(), 403);
}

#[test]
fn an_account_is_set_up_and_a_password_has_to_be_changed() {
    let house = House::start();
    let auth = &house.smart.server.app().auth;
    assert_eq!(house.browser.open("/auth/setup").status(), 404, "no code was made");
    let code = block_on(auth.new_set_up_code(TenantId::DEFAULT)).unwrap().unwrap();
    let page = house.browser.open("/auth/setup");
    let good = [("username", "root"), ("new", PASSWORD), ("again", PASSWORD)];
    let wrong = [("code", "AAAAA"), good[0], good[1], good[2]];
    assert_eq!(house.browser.submit(&page, "setup", &wrong).status(), 422);
    let page = house.browser.submit(&page, "setup", &[("code", &code), good[0], good[1], good[2]]);
    assert!(page.text().contains("Signed in as <strong>root"), "{}", page.text());
    assert_eq!(house.browser.open("/auth/setup").status(), 404);
    let page = house.browser.submit(&page, "account", &[("do", "enrol")]);
    assert!(page.text().contains("<svg class=\"qr\"") && page.text().contains("otpauth://totp/"), "{}", page.text());
    assert_eq!(house.browser.submit(&page, "account", &[("code", "000000"), ("do", "confirm")]).status(), 401);

    let user = house.add("temp", "Practitioner/temp", "Provider");
    block_on(auth.change_user(TenantId::DEFAULT, &user.id, None, |user| user.must_change_password = true)).unwrap();
    house.browser.forget();
    let page = house.sign_in(&house.browser.open("/auth/sign-in"), "temp");
    assert!(page.text().contains("Choose a new password") && house.browser.cookie("pharos").is_none());
    let differs = [("new", "green kettle under stars"), ("again", "green kettle under star")];
    assert_eq!(house.browser.submit(&page, "password", &differs).status(), 422);
    assert_eq!(house.browser.submit(&page, "password", &[good[1], good[2]]).status(), 422, "the same");
    let page = house.browser.submit(&page, "password", &[differs[0], ("again", differs[0].1)]);
    assert!(page.text().contains("Your apps"), "{}", page.text());
}

#[test]
fn who_can_not_sign_in_is_told_the_same() {
    let house = House::start();
    let page = house.ask(&[]);
    let mut texts = Vec::new();
    for username in ["paula", "nobody"] {
        let fields = [("username", username), ("password", "wrong")];
        let answer = house.browser.submit(&page, "sign-in", &fields).status_is(401);
        texts.push(answer.text().replace(username, ""));
    }
    assert_eq!(texts[0], texts[1]);
    assert!(house.browser.cookie("pharos").is_none());
    let script = [("username", "\"><script>"), ("password", "x")];
    assert!(!house.browser.submit(&page, "sign-in", &script).text().contains("<script>"));
}

//! `/auth/audit`: who sees it, what it counts, and what it gives out as a file.

use crate::support::browser::Browser;
use crate::support::smart::Smart;
use crate::support::tokens::{Person, block_on};
use crate::support::{Answer, Server};
use pharos::audit::{Event, Record};
use pharos::auth::agent::Agent;
use pharos::auth::user::NewUser;
use pharos::tenant::TenantId;
use regex::Regex;
use serde_json::{Value, json};
use std::borrow::Cow;

const TENANT: TenantId = TenantId::DEFAULT;
const PASSWORD: &str = "green stairs hum 31 psalms";

/// The day on which the clock of the tests stands.
const TODAY: &str = "2026-01-02";

fn add(server: &Server, username: &str, role: &str) {
    let new = NewUser {
        username: username.into(),
        name: format!("The {role}"),
        roles: vec![role.to_owned()],
        password: Some(PASSWORD.into()),
        ..NewUser::default()
    };
    block_on(server.app().auth.add_user(TENANT, new)).unwrap();
}

/// A browser in which somebody with a role is signed in.
fn signed_in(server: &Server, username: &str, role: &str) -> Browser {
    add(server, username, role);
    let browser = Browser::new(server.base());
    let page = browser.open("/auth/sign-in");
    browser.submit(&page, "sign-in", &[("username", username), ("password", PASSWORD)]).status_is(200);
    browser
}

/// Records what an agent did; `change` says more.
fn note(server: &Server, event: Event, agent: Agent, change: impl FnOnce(&mut Record<'_>)) {
    let mut record = Record::of(event, Cow::Owned(agent));
    change(&mut record);
    block_on(server.app().ledger.note(TENANT, record)).unwrap();
}

fn person(user: &str) -> Agent {
    Agent { user: Some(user.into()), name: Some(format!("Name of {user}").into()), ..Agent::client("app") }
}

fn read(server: &Server, user: &str, patient: &str, status: u16) {
    note(server, Event::Interaction("read".into()), person(user), |record| {
        record.shape.status = status;
        record.content.target = Some(format!("Observation/of-{patient}").into());
        if status < 400 {
            record.content.patients = vec![patient.into()];
        }
    });
}

/// The number above a word.
fn figure(page: &Answer, word: &str) -> u64 {
    let found = Regex::new(&format!("<dt>{word}</dt><dd>([0-9]+)</dd>")).unwrap();
    found.captures(page.text()).unwrap_or_else(|| panic!("no {word} in {page}"))[1].parse().unwrap()
}

/// The texts of a table's rows, which stands in the section with this id.
fn rows(page: &Answer, id: &str) -> Vec<String> {
    let text = page.text();
    let section = text.split(&format!("<section aria-labelledby=\"{id}\">")).nth(1).unwrap();
    let section = section.split("</section>").next().unwrap();
    let body = section.split("<tbody>").nth(1).map_or("", |rest| rest.split("</tbody>").next().unwrap());
    let (tags, spaces) = (Regex::new("<[^>]*>").unwrap(), Regex::new(r"\s+").unwrap());
    let plain = |row: &str| spaces.replace_all(&tags.replace_all(row, " "), " ").trim().to_owned();
    body.split("</tr>").map(plain).filter(|row| !row.is_empty()).collect()
}

#[test]
fn it_is_for_administrators_and_compliance_officers() {
    let server = Server::guarded();
    for (username, role, status) in [
        ("olive", "Compliance Officer", 200),
        ("root", "Admin", 200),
        ("grace", "Clinical Director", 403),
        ("pat", "Patient", 403),
        ("carl", "Caregiver", 403),
        ("bill", "Billing", 403),
        ("prue", "Provider", 403),
    ] {
        let browser = signed_in(&server, username, role);
        browser.open("/auth/audit").status_is(status);
        let apps = browser.open("/auth/apps");
        assert_eq!(apps.text().contains("href=\"audit\""), status == 200, "{role}");
        let form = form_urlencoded::Serializer::new(String::new()).append_pair("csrf", &csrf(&apps)).finish();
        for act in ["csv", "ndjson", "verify"] {
            browser.step("POST", "/auth/audit", Some(&format!("{form}&do={act}"))).status_is(status);
        }
    }
    let browser = Browser::new(server.base());
    assert!(browser.open("/auth/audit").text().contains("<h1>Sign in</h1>"));
    // Those who were refused stand in it too.
    let client = server.as_user("user/AuditEvent.rs", &Person { roles: &["Compliance Officer"], ..Person::default() });
    let refused = client.get("/AuditEvent?outcome=4&entity-name:missing=true&_count=100").expect(200).resources();
    assert_eq!(refused.len(), 20, "a view, two files and a verification, of five people");
}

fn csrf(page: &Answer) -> String {
    let token = Regex::new("name=\"csrf\" value=\"([^\"]+)\"").unwrap();
    token.captures(page.text()).unwrap()[1].to_owned()
}

#[test]
fn a_form_needs_the_token_of_its_session() {
    let server = Server::guarded();
    let browser = signed_in(&server, "olive", "Compliance Officer");
    for form in ["do=csv", "do=verify&csrf=x", "patient=p1"] {
        browser.step("POST", "/auth/audit", Some(form)).status_is(403);
    }
    browser.step("PUT", "/auth/audit", None).status_is(405);
}

#[test]
fn it_counts_by_patient_by_user_and_over_time() {
    let server = Server::guarded();
    for _ in 0..3 {
        read(&server, "u1", "p1", 200);
    }
    read(&server, "u2", "p1", 200);
    read(&server, "u2", "p2", 200);
    read(&server, "u2", "p2", 403);
    read(&server, "u2", "p3", 404);
    let emergency = Agent { emergency: Some("unconscious <b>".into()), ..person("u1") };
    note(&server, Event::Interaction("read".into()), emergency, |record| {
        record.content.patients = vec!["p3".into()];
    });
    let browser = signed_in(&server, "olive", "Compliance Officer");
    let page = browser.open("/auth/audit").status_is(200);
    let counts = ["accesses", "refusals", "in an emergency", "failed sign-ins"].map(|word| figure(&page, word));
    assert_eq!(counts, [6, 1, 1, 0]);
    let patients = rows(&page, "by-patient");
    assert_eq!(patients.len(), 3, "{patients:?}");
    assert!(patients[0].starts_with("p1 : who has seen this record 4 0 2026-01-02"), "{patients:?}");
    assert!(patients[0].ends_with("Name of u2") && patients[2].contains("p3 : who has seen this record 1 1"));
    let users = rows(&page, "by-user");
    assert!(users[0].starts_with("u1 : what this user did Name of u1 4 0 1") && users[1].contains("Name of u2 2 1 0"));
    let emergencies = rows(&page, "emergencies");
    assert!(emergencies.len() == 1 && emergencies[0].contains("Name of u1 unconscious &#60;b&#62; read p3 done app"));
    assert!(rows(&page, "refusals").len() == 1 && rows(&page, "refusals")[0].contains("refused (403)"));
    // One day has no hours: the usual week is shown by the day.
    let plotted = rows(&page, "accesses");
    assert_eq!((plotted.len(), plotted[6].as_str()), (7, "2026-01-02 6 1"));
    assert!(page.text().contains("6 accesses in all. The most in one day: 6, 2026-01-02."));

    let hours = browser.submit(&page, "audit", &[("from", TODAY), ("to", TODAY), ("do", "show")]);
    let plotted = rows(&hours, "accesses");
    assert_eq!((plotted.len(), plotted[3].as_str()), (24, "2026-01-02 03:00 6 1"));
}

#[test]
fn it_shows_what_was_asked_for() {
    let server = Server::guarded();
    read(&server, "u1", "p1", 200);
    read(&server, "u2", "p1", 200);
    read(&server, "u2", "p2", 403);
    note(&server, Event::Interaction("search-type".into()), person("u1"), |record| {
        record.content.query = Some("Patient?name=a%20b".into());
        record.content.patients = vec!["p1".into(), "p9".into()];
    });
    let browser = signed_in(&server, "olive", "Compliance Officer");
    let page = browser.open("/auth/audit");
    assert_eq!(rows(&page, "by-patient").len(), 2);
    let ask = |fields: &[(&str, &str)]| browser.submit(&page, "audit", &[&[("do", "show")], fields].concat());
    let seen = ask(&[("patient", "p1")]).status_is(200);
    assert!(seen.text().contains("<h1>Who has seen the record of patient p1</h1>"));
    assert_eq!((figure(&seen, "accesses"), rows(&seen, "by-user").len()), (3, 3), "u1, u2, and olive who looked");
    let patients = rows(&seen, "by-patient");
    assert!(patients.len() == 1 && patients[0].starts_with("p1 : who has seen this record 3 0"), "{patients:?}");
    assert!(seen.text().contains("Patient?name=a b"), "as it was meant");
    assert_eq!(figure(&ask(&[("patient", "Patient/p1"), ("user", "u1")]), "accesses"), 2);
    assert_eq!(figure(&ask(&[("user", "u2"), ("outcome", "refused")]), "entries"), 1);
    assert_eq!(figure(&ask(&[("client", "app")]), "entries"), 4);
    assert_eq!(figure(&ask(&[("client", "another")]), "entries"), 0);
    assert!(figure(&ask(&[("user", "olive")]), "entries") > 5, "a user by name");
    assert_eq!(figure(&ask(&[("from", "2025-12-01"), ("to", "2025-12-31")]), "entries"), 0);
    for (name, value) in [("from", "tomorrow"), ("to", "2025-01-01"), ("from", "2020-01-01")] {
        let wrong = ask(&[(name, value)]).status_is(422);
        assert!(wrong.text().contains("role=\"alert\"") && !wrong.text().contains("<dt>entries</dt>"));
    }
    // What is asked for is recorded as a search, with the patients whose entries were shown.
    let client = server.as_user("user/AuditEvent.rs", &Person { roles: &["Compliance Officer"], ..Person::default() });
    let looks =
        client.get("/AuditEvent?agent-name=The%20Compliance&subtype=search-type&_count=200").expect(200).resources();
    let has = |is: &dyn Fn(&Value) -> bool| {
        looks.iter().filter(|look| look["entity"].as_array().unwrap().iter().any(is)).count()
    };
    assert_eq!(has(&|entity| entity["query"].is_string()), 8, "each view");
    assert!(has(&|entity| entity["what"]["reference"] == "Patient/p1") >= 4);
    assert!(has(&|entity| entity["what"]["reference"] == "Patient/p9") >= 2);
}

/// The lines of a file.
fn file(browser: &Browser, page: &Answer, act: &str, patient: &str) -> Vec<String> {
    let answer = browser.submit(page, "audit", &[("do", act), ("patient", patient)]).status_is(200);
    assert!(
        answer
            .header("content-disposition")
            .unwrap()
            .starts_with("attachment; filename=\"audit-2025-12-27-2026-01-02.")
    );
    assert!(answer.header("content-security-policy").unwrap().contains("default-src 'none'"));
    answer.text().lines().map(str::to_owned).collect()
}

#[test]
fn entries_leave_as_files_and_each_part_is_recorded() {
    let server = Server::guarded();
    for _ in 0..1_500 {
        read(&server, "u1", "p1", 200);
    }
    note(&server, Event::Interaction("read".into()), Agent { name: Some("=2+3".into()), ..person("u2") }, |record| {
        record.content.patients = vec!["p2".into()];
        record.content.note = Some("says \"no\", twice".into());
    });
    let browser = signed_in(&server, "olive", "Compliance Officer");
    let page = browser.open("/auth/audit");
    let lines = file(&browser, &page, "csv", "p2");
    assert!(lines[0].starts_with("id,recorded,event,status,user,name,"), "{}", lines[0]);
    let own = lines.iter().find(|line| line.contains("u2")).unwrap();
    assert!(own.contains(",u2,'=2+3,,app,") && own.ends_with("\"says \"\"no\"\", twice\""), "{own}");

    let events = file(&browser, &page, "ndjson", "p1");
    let events = events.iter().map(|line| serde_json::from_str::<Value>(line).unwrap()).collect::<Vec<_>>();
    let reads = events.iter().filter(|event| event["subtype"][0]["code"] == "read").collect::<Vec<_>>();
    assert_eq!(reads.len(), 1_500, "all of two parts, each once");
    assert_eq!(reads[0]["entity"][0]["what"]["reference"], "Patient/p1");
    let numbers = events.iter().map(|event| event["id"].as_str().unwrap().parse::<u64>().unwrap());
    assert!(numbers.is_sorted());

    let client = server.as_user("user/AuditEvent.rs", &Person { roles: &["Compliance Officer"], ..Person::default() });
    // As the resource is read, so it stands in the file.
    let id = reads[0]["id"].as_str().unwrap();
    let mut as_read = client.get(&format!("/AuditEvent/{id}")).expect(200).json();
    for added in ["versionId", "lastUpdated"] {
        as_read["meta"].as_object_mut().unwrap().remove(added);
    }
    assert_eq!(as_read, *reads[0]);
    let exports = client.get("/AuditEvent?type=110106&_sort=date").expect(200).resources();
    let told = exports.iter().filter_map(|export| export["outcomeDesc"].as_str()).collect::<Vec<_>>();
    assert_eq!(told[0], format!("{} entries of the ledger as csv", lines.len() - 1));
    assert_eq!(told[1], "1000 entries of the ledger as ndjson");
    assert_eq!(told.len(), 3);
    let about =
        |patient: &str| client.get(&format!("/AuditEvent?type=110106&patient={patient}")).expect(200).resources().len();
    assert_eq!((about("p1"), about("p2")), (3, 2), "the second part of the second file tells of the first file");
}

#[test]
fn the_chain_is_verified_at_the_push_of_a_button() {
    let server = Server::guarded();
    read(&server, "u1", "p1", 200);
    let browser = signed_in(&server, "olive", "Compliance Officer");
    let page = browser.open("/auth/audit");
    let verified = browser.submit(&page, "audit", &[("do", "verify")]).status_is(200);
    assert!(verified.text().contains("The chain is whole:") && verified.text().contains("There is no checkpoint yet"));
    let app = server.app();
    let made = app.ledger.signer().make(app.store(), &[TENANT], app.auth.clock.now());
    block_on(made).unwrap().unwrap();
    let verified = browser.submit(&page, "audit", &[("do", "verify")]).status_is(200);
    assert!(verified.text().contains("The last checkpoint is number 1, of 2026-01-02 03:04"));
    let client = server.as_user("user/AuditEvent.rs", &Person { roles: &["Compliance Officer"], ..Person::default() });
    let told = client.get("/AuditEvent?type=110101").expect(200).resources();
    assert!(told.len() == 2 && told[0]["outcomeDesc"].as_str().unwrap().starts_with("The chain is whole:"));
}

#[test]
fn texts_of_the_ledger_are_texts_on_the_page() {
    let smart = Smart::start();
    let agent = Agent { user: Some("<script>".into()), name: Some("<img src=x>".into()), ..Agent::client("\"><b>") };
    note(&smart.server, Event::Interaction("read".into()), agent, |record| {
        record.content.query = Some("Patient?name=<i>".into());
        record.content.patients = vec!["<p1>".into()];
    });
    let browser = signed_in(&smart.server, "olive", "Compliance Officer");
    let page = browser.open("/auth/audit");
    for bad in ["<script", "<img", "<b>", "<i>", "<p1>", "style="] {
        assert!(!page.text().contains(bad), "{bad}");
    }
    let asked = json!({ "csp": page.header("content-security-policy") });
    assert_eq!(
        asked["csp"],
        "default-src 'none'; style-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    );
    assert_eq!(page.header("cache-control"), Some("no-store"));
}

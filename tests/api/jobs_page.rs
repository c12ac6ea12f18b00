//! `/auth/jobs`: who sees it, what it shows, and cancelling.

use crate::support::browser::Browser;
use crate::support::smart::Smart;
use crate::support::tokens::block_on;
use crate::support::{Server, job_path};
use pharos::auth::user::NewUser;
use pharos::jobs::State;
use pharos::tenant::TenantId;
use serde_json::json;

const TENANT: TenantId = TenantId::DEFAULT;
const PASSWORD: &str = "green stairs hum 31 psalms";

fn signed_in(server: &Server, username: &str, role: &str) -> Browser {
    let new = NewUser {
        username: username.into(),
        name: format!("The {role}"),
        roles: vec![role.to_owned()],
        password: Some(PASSWORD.into()),
        ..NewUser::default()
    };
    block_on(server.app().auth.add_user(TENANT, new)).unwrap();
    let browser = Browser::new(server.base());
    let page = browser.open("/auth/sign-in");
    browser.submit(&page, "sign-in", &[("username", username), ("password", PASSWORD)]).status_is(200);
    browser
}

#[test]
fn it_is_for_administrators() {
    let smart = Smart::start();
    for (user, role) in [("p", "Provider"), ("c", "Compliance Officer")] {
        let browser = signed_in(&smart.server, user, role);
        browser.open("/auth/jobs").status_is(403);
        assert!(!browser.open("/auth/apps").text().contains("href=\"jobs\""));
    }
    let admin = signed_in(&smart.server, "root", "Admin");
    assert!(admin.open("/auth/apps").text().contains("href=\"jobs\""));
    assert!(admin.open("/auth/jobs").status_is(200).text().contains("Nothing is under way."));
    let stranger = Browser::new(smart.server.base());
    assert!(stranger.open("/auth/jobs").text().contains("Sign in"));
}

#[test]
fn jobs_are_shown_and_can_be_cancelled() {
    let smart = Smart::start();
    let server = &smart.server;
    let client = server.as_system("system/*.cruds");
    client.put("/Patient/secret-id").json(json!({"resourceType": "Patient", "id": "secret-id"})).expect(201);
    client.export("/$export?_type=Patient&_typeFilter=Patient%3F_id%3Dsecret-id");
    server.app().jobs.stop();
    let path = job_path(&client, &client.get("/$export").expect(202));
    let browser = signed_in(server, "root", "Admin");
    let page = browser.open("/auth/jobs").status_is(200);
    let text = page.text();
    assert!(text.contains("waiting") && text.contains("http-equiv=\"refresh\""), "{text}");
    assert!(text.contains(">done<") && !text.contains("secret-id"), "{text}");
    assert!(!browser.open("/auth/jobs?still=1").text().contains("http-equiv"));

    let id = path.rsplit('/').next().unwrap();
    let forged = format!("id={id}&csrf=other");
    browser.step("POST", "/auth/jobs", Some(&forged)).status_is(403);
    let after = browser.submit(&page, "jobs", &[("id", id)]).status_is(200);
    assert!(after.text().contains("The job is cancelled.") && after.text().contains(">cancelled<"));
    assert_eq!(server.app().jobs.get(TENANT, id).unwrap().unwrap().state, State::Cancelled);
    browser.submit(&browser.open("/auth/apps"), "sign-out", &[]).status_is(200);
    let other = signed_in(server, "p", "Provider");
    other.step("POST", "/auth/jobs", Some(&format!("id={id}"))).status_is(403);
}

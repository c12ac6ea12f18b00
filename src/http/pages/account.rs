//! `/auth/account`: the password and the second factor of somebody who is signed in.

use super::sign_in::{Attempt, Shown, of_account, refused};
use super::{Answer, Person, Visit, Who, enter, html};
use crate::audit::Event;
use crate::auth::totp::Enrolment;
use actix_web::http::StatusCode;
use askama::Template;

#[derive(Template)]
#[template(path = "account.html")]
struct Account<'a> {
    who: Option<Who>,
    csrf: &'a str,
    least: u32,
    has_password: bool,
    has_second_factor: bool,
    enrolment: Option<Shown<'a>>,
    note: Option<&'static str>,
    /// What is wrong with the form of this name.
    error: Option<(&'static str, String)>,
}

/// The forms.
pub async fn show(visit: Visit) -> Answer {
    let person = visit.person().await?;
    page(&visit, &person, StatusCode::OK, None, None)
}

/// Changes the password, or sets up a second factor in two steps. Either ends all other sessions.
pub async fn change(visit: Visit) -> Answer {
    let person = visit.person().await?;
    match visit.field("do") {
        "password" => password(&visit, &person).await,
        "confirm" => confirm(&visit, &person).await,
        _ => {
            let enrolment = visit.auth().enrol_totp(visit.tenant, &person.user).await?;
            page(&visit, &person, StatusCode::OK, Some(&enrolment), None)
        }
    }
}

async fn password(visit: &Visit, person: &Person) -> Answer {
    let (old, new) = (visit.field("old"), visit.field("new"));
    let again = |status, text| page(visit, person, status, None, Some(("password", text)));
    if new != visit.field("again") {
        return again(StatusCode::UNPROCESSABLE_ENTITY, "The two passwords are not the same.".to_owned());
    }
    let server = visit.recording(of_account);
    match server.change_password(visit.tenant, &person.session, old, new, visit.from()).await {
        Ok(signed_in) => Ok(enter(visit, &signed_in.cookie, "account?done=password")),
        Err(refusal) => {
            let attempt = Attempt { event: Event::Account, by: "old password", user: Some(&person.user) };
            refused(visit, attempt, refusal, "The old password is not right.", again).await
        }
    }
}

async fn confirm(visit: &Visit, person: &Person) -> Answer {
    let enrolment = Enrolment { secret: visit.field("secret").to_owned(), url: visit.field("url").to_owned() };
    let server = visit.recording(of_account);
    match server.confirm_totp(visit.tenant, &person.user, visit.field("code"), visit.from()).await {
        Ok(signed_in) => Ok(enter(visit, &signed_in.cookie, "account?done=second-factor")),
        Err(refusal) => {
            let attempt = Attempt { event: Event::Account, by: "code", user: Some(&person.user) };
            let wrong = "The code is not right. Try the one that is shown now.";
            let again = |status, text| page(visit, person, status, Some(&enrolment), Some(("code", text)));
            refused(visit, attempt, refusal, wrong, again).await
        }
    }
}

fn page(
    visit: &Visit,
    person: &Person,
    status: StatusCode,
    enrolment: Option<&Enrolment>,
    error: Option<(&'static str, String)>,
) -> Answer {
    let note = match visit.field("done") {
        "password" => Some("Your password is changed. You are signed out everywhere else."),
        "second-factor" => Some("The authenticator app is set up. You are signed out everywhere else."),
        _ => None,
    };
    let page = Account {
        who: Some(person.who()),
        csrf: &person.session.csrf,
        least: visit.auth().config.password_characters,
        has_password: person.user.password.is_some(),
        has_second_factor: person.user.totp.is_some(),
        enrolment: enrolment.map(|enrolment| Shown::of(&enrolment.secret, &enrolment.url)),
        note,
        error,
    };
    html(status, &page)
}

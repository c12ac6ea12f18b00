//! `/auth/setup`: the first administrator.

use super::{Answer, Failure, Visit, Who, enter, html, with_cookie};
use crate::audit::{Event, Record};
use crate::auth::agent::Agent;
use crate::auth::sign_in::Refusal;
use crate::auth::witness::Deed;
use actix_web::http::StatusCode;
use askama::Template;
use std::borrow::Cow;

#[derive(Template)]
#[template(path = "setup.html")]
struct Setup<'a> {
    who: Option<Who>,
    csrf: &'a str,
    username: &'a str,
    least: u32,
    error: Option<String>,
}

/// The form, where there is no administrator yet.
pub async fn show(visit: Visit) -> Answer {
    if !visit.auth().is_to_be_set_up(visit.tenant)? {
        let text = "There is an administrator already, or the code of the first start is no longer good. Who runs the \
                    server gets a new code by starting it again.";
        return Err(Failure::page(404, "Nothing to set up", text));
    }
    form(&visit, StatusCode::OK, None)
}

fn form(visit: &Visit, status: StatusCode, error: Option<String>) -> Answer {
    let (csrf, cookie) = visit.guard()?;
    let least = visit.auth().config.password_characters;
    with_cookie(
        html(status, &Setup { who: None, csrf: &csrf, username: visit.field("username"), least, error })?,
        cookie.as_deref(),
    )
}

/// Makes the first administrator, who is signed in by it.
pub async fn set_up(visit: Visit) -> Answer {
    visit.guard()?;
    let (code, username, password) = (visit.field("code"), visit.field("username"), visit.field("new"));
    let again = |text: String| form(&visit, StatusCode::UNPROCESSABLE_ENTITY, Some(text));
    if password != visit.field("again") {
        return again("The two passwords are not the same.".to_owned());
    }
    let made = |agent| Record::of(Event::Administration("user".into()), Cow::Owned(agent));
    let server = visit.recording(move |deed| {
        let record = match deed {
            Deed::User(user) => made(Agent::user(user)).named(user.id.clone()),
            Deed::SignIn(user) => Record::of(Event::SignIn, Cow::Owned(Agent::user(user))),
            _ => return None,
        };
        Some(record.saying("the first administrator"))
    });
    match server.set_up(visit.tenant, code, username, password).await {
        Ok(signed_in) => Ok(enter(&visit, &signed_in.cookie, "account")),
        Err(Refusal::Expired | Refusal::Wrong) => {
            let status = StatusCode::UNAUTHORIZED.as_u16();
            visit.record(made(Agent::default()).ended(status).saying("the code of the first start: not right")).await?;
            again("The code is not the one, or no longer good.".to_owned())
        }
        Err(Refusal::Password(weakness)) => again(weakness.to_string()),
        Err(Refusal::Failed(error)) if error.category.status() == 422 => {
            again(error.issues.first().map_or_else(String::new, |issue| issue.diagnostics.to_string()))
        }
        Err(Refusal::Failed(error)) => Err(error.into()),
        Err(Refusal::Wait { retry_after_s }) => again(format!("Wait {retry_after_s} seconds and try again.")),
    }
}

//! `/auth/sign-in`, `/auth/code`, `/auth/password`, `/auth/sign-out`

use super::{Answer, Failure, TENANT, Visit, Who, at, enter, go_to, html, with_cookie};
use crate::auth::records::{self, Client};
use crate::auth::sign_in::{Refusal, Step};
use crate::auth::totp::Enrolment;
use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{RETRY_AFTER, SET_COOKIE};
use askama::Template;

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignIn<'a> {
    who: Option<Who>,
    csrf: &'a str,
    pending: Option<&'a str>,
    /// The app that asks.
    client: Option<String>,
    username: &'a str,
    error: Option<String>,
    note: Option<&'static str>,
    providers: Vec<Provider<'a>>,
}

struct Provider<'a> {
    title: &'a str,
    address: String,
}

#[derive(Template)]
#[template(path = "code.html")]
struct Code<'a> {
    who: Option<Who>,
    csrf: &'a str,
    pending: Option<&'a str>,
    ticket: &'a str,
    error: Option<String>,
    enrolment: Option<Shown<'a>>,
}

/// The second factor as it is shown to be set up.
pub(super) struct Shown<'a> {
    pub(super) url: &'a str,
    pub(super) secret: String,
    pub(super) picture: Option<Picture>,
}

/// A QR code: the side in modules with its margin, and the path that fills the dark ones.
pub(super) struct Picture {
    pub(super) side: i32,
    pub(super) path: String,
}

#[derive(Template)]
#[template(path = "password.html")]
struct Password<'a> {
    who: Option<Who>,
    csrf: &'a str,
    pending: Option<&'a str>,
    ticket: &'a str,
    least: u32,
    error: Option<String>,
}

/// The form.
pub async fn show(visit: Visit) -> Answer {
    let note = (visit.field("out") == "1").then_some("You are signed out.");
    form(&visit, StatusCode::OK, None, note)
}

fn form(visit: &Visit, status: StatusCode, error: Option<String>, note: Option<&'static str>) -> Answer {
    let (csrf, cookie) = visit.guard()?;
    let pending = visit.form.get("pending");
    let providers = visit.auth().config.providers.iter().map(|provider| Provider {
        title: &provider.title,
        address: at(&format!("upstream/{}", provider.name), pending),
    });
    let page = SignIn {
        who: None,
        csrf: &csrf,
        pending,
        client: client_name(visit, pending)?,
        username: visit.field("username"),
        error,
        note,
        providers: providers.collect(),
    };
    with_cookie(html(status, &page)?, cookie.as_deref())
}

/// The name of the app on whose behalf somebody signs in.
fn client_name(visit: &Visit, pending: Option<&str>) -> Result<Option<String>, Failure> {
    let Some(id) = pending else { return Ok(None) };
    let (pending, _) = visit.auth().waiting(TENANT, id)?.ok_or_else(Failure::over)?;
    let client = records::get::<Client>(&*visit.auth().keeper, TENANT, &pending.client_id)?;
    Ok(client.map(|(client, _)| client.name))
}

/// Name and password.
pub async fn sign_in(visit: Visit) -> Answer {
    visit.guard()?;
    let (username, password) = (visit.field("username"), visit.field("password"));
    match visit.auth().sign_in(TENANT, username, password, visit.from()).await {
        Ok(step) => next(&visit, &step),
        Err(refusal) => refused(&visit, refusal, "The name or the password is not right.", |status, text| {
            form(&visit, status, Some(text), None)
        }),
    }
}

/// The code of the authenticator app.
pub async fn code(visit: Visit) -> Answer {
    let (csrf, _) = visit.guard()?;
    let (ticket, code) = (visit.field("ticket"), visit.field("code"));
    match visit.auth().second_factor(TENANT, ticket, code, visit.from()).await {
        Ok(step) => next(&visit, &step),
        Err(refusal) => {
            refused(&visit, refusal, "The code is not right. Try the one that is shown now.", |status, text| {
                let secret = visit.form.get("secret").zip(visit.form.get("url"));
                let enrolment = secret.map(|(secret, url)| Shown::of(secret, url));
                let pending = visit.form.get("pending");
                html(status, &Code { who: None, csrf: &csrf, pending, ticket, error: Some(text), enrolment })
            })
        }
    }
}

/// A new password, where the old one has to go.
pub async fn password(visit: Visit) -> Answer {
    let (csrf, _) = visit.guard()?;
    let (ticket, new) = (visit.field("ticket"), visit.field("new"));
    let again = |status: StatusCode, text: String| password_form(&visit, &csrf, ticket, status, Some(text));
    if new != visit.field("again") {
        return again(StatusCode::UNPROCESSABLE_ENTITY, "The two passwords are not the same.".to_owned());
    }
    match visit.auth().choose_password(TENANT, ticket, new).await {
        Ok(step) => next(&visit, &step),
        Err(refusal) => refused(&visit, refusal, "", again),
    }
}

fn password_form(visit: &Visit, csrf: &str, ticket: &str, status: StatusCode, error: Option<String>) -> Answer {
    let least = visit.auth().config.password_characters;
    html(status, &Password { who: None, csrf, pending: visit.form.get("pending"), ticket, least, error })
}

/// Ends the session.
pub async fn sign_out(visit: Visit) -> Answer {
    if let Some(person) = visit.somebody().await? {
        visit.auth().sign_out(TENANT, &person.cookie).await?;
    }
    let pending = visit.form.get("pending");
    let mut response = go_to(&pending.map_or_else(|| "sign-in?out=1".to_owned(), |_| at("sign-in", pending)));
    let cookie = visit.auth().clear_cookie();
    let cookie = cookie.parse().map_err(|_| Failure::internal("a cookie that is none"))?;
    response.headers_mut().insert(SET_COOKIE, cookie);
    Ok(response)
}

/// The page of the next step.
fn next(visit: &Visit, step: &Step) -> Answer {
    let pending = visit.form.get("pending");
    let (csrf, _) = visit.guard()?;
    match step {
        Step::SignedIn(signed_in) => {
            let address = if pending.is_some() { at("consent", pending) } else { at("apps", None) };
            Ok(enter(visit, &signed_in.cookie, &address))
        }
        Step::SecondFactor { ticket } => {
            html(StatusCode::OK, &Code { who: None, csrf: &csrf, pending, ticket, error: None, enrolment: None })
        }
        Step::EnrolSecondFactor { ticket, enrolment: Enrolment { secret, url } } => {
            let enrolment = Some(Shown::of(secret, url));
            html(StatusCode::OK, &Code { who: None, csrf: &csrf, pending, ticket, error: None, enrolment })
        }
        Step::ChangePassword { ticket } => password_form(visit, &csrf, ticket, StatusCode::OK, None),
    }
}

/// The form again, with what is wrong with it, or another page.
pub(super) fn refused(
    visit: &Visit,
    refusal: Refusal,
    wrong: &str,
    again: impl FnOnce(StatusCode, String) -> Answer,
) -> Answer {
    match refusal {
        Refusal::Wrong => again(StatusCode::UNAUTHORIZED, wrong.to_owned()),
        Refusal::Password(weakness) => again(StatusCode::UNPROCESSABLE_ENTITY, weakness.to_string()),
        Refusal::Wait { retry_after_s } => {
            let minutes = retry_after_s.div_ceil(60).max(1);
            let text = format!("There were too many failures. Wait {minutes} minutes and try again.");
            let mut response: HttpResponse = again(StatusCode::TOO_MANY_REQUESTS, text)?;
            response.headers_mut().insert(RETRY_AFTER, retry_after_s.into());
            Ok(response)
        }
        Refusal::Expired => {
            let text = "That took too long. Sign in again.".to_owned();
            form(visit, StatusCode::BAD_REQUEST, Some(text), None)
        }
        Refusal::Failed(error) => Err(error.into()),
    }
}

impl<'a> Shown<'a> {
    pub(super) fn of(secret: &str, url: &'a str) -> Self {
        let groups = secret.as_bytes().chunks(4).map(String::from_utf8_lossy);
        Self { url, secret: groups.collect::<Vec<_>>().join(" "), picture: Picture::of(url) }
    }

    /// The secret as the form carries it.
    pub(super) fn plain(&self) -> String {
        self.secret.replace(' ', "")
    }
}

impl Picture {
    /// Light modules around it, as the standard wants.
    const MARGIN: i32 = 4;

    fn of(text: &str) -> Option<Self> {
        use std::fmt::Write;
        let code = qrcodegen::QrCode::encode_text(text, qrcodegen::QrCodeEcc::Medium).ok()?;
        let mut path = String::new();
        for y in 0..code.size() {
            for x in (0..code.size()).filter(|x| code.get_module(*x, y)) {
                // Writing to a String can't fail.
                let _ = write!(path, "M{},{}h1v1h-1z", x + Self::MARGIN, y + Self::MARGIN);
            }
        }
        Some(Self { side: code.size() + 2 * Self::MARGIN, path })
    }
}

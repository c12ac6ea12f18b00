//! `/auth/sign-in`, `/auth/code`, `/auth/password`, `/auth/sign-out`

use super::{Answer, Failure, Visit, Who, at, enter, go_to, html, with_cookie};
use crate::audit::{Event, Record};
use crate::auth::agent::Agent;
use crate::auth::records::{self, Client, User};
use crate::auth::server::Server;
use crate::auth::sign_in::{Refusal, Step};
use crate::auth::totp::Enrolment;
use crate::auth::witness::Deed;
use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{RETRY_AFTER, SET_COOKIE};
use askama::Template;
use std::borrow::Cow;

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
    let providers = visit.auth().providers(visit.tenant).into_iter().map(|provider| Provider {
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
    let (pending, _) = visit.auth().waiting(visit.tenant, id)?.ok_or_else(Failure::over)?;
    let client = records::get::<Client>(&*visit.auth().keeper, visit.tenant, &pending.client_id)?;
    Ok(client.map(|(client, _)| client.name))
}

/// Name and password.
pub async fn sign_in(visit: Visit) -> Answer {
    visit.guard()?;
    let (username, password) = (visit.field("username"), visit.field("password"));
    match signing_in(&visit, "password").sign_in(visit.tenant, username, password, visit.from()).await {
        Ok(step) => next(&visit, &step),
        Err(refusal) => {
            let user = visit.auth().user_by_name(visit.tenant, username)?;
            let attempt = Attempt { event: Event::SignIn, by: "password", user: user.as_ref() };
            let wrong = "The name or the password is not right.";
            refused(&visit, attempt, refusal, wrong, |status, text| form(&visit, status, Some(text), None)).await
        }
    }
}

/// The code of the authenticator app.
pub async fn code(visit: Visit) -> Answer {
    let (csrf, _) = visit.guard()?;
    let (ticket, code) = (visit.field("ticket"), visit.field("code"));
    match signing_in(&visit, "password and code").second_factor(visit.tenant, ticket, code, visit.from()).await {
        Ok(step) => next(&visit, &step),
        Err(refusal) => {
            let user = visit.auth().user_of_ticket(visit.tenant, ticket)?;
            let attempt = Attempt { event: Event::SignIn, by: "code", user: user.as_ref() };
            let wrong = "The code is not right. Try the one that is shown now.";
            let again = |status, text| {
                let secret = visit.form.get("secret").zip(visit.form.get("url"));
                let enrolment = secret.map(|(secret, url)| Shown::of(secret, url));
                let pending = visit.form.get("pending");
                html(status, &Code { who: None, csrf: &csrf, pending, ticket, error: Some(text), enrolment })
            };
            refused(&visit, attempt, refusal, wrong, again).await
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
    let server = signing_in(&visit, "password, which was changed");
    match server.choose_password(visit.tenant, ticket, new).await {
        Ok(step) => next(&visit, &step),
        Err(refusal) => {
            let attempt = Attempt { event: Event::Account, by: "ticket", user: None };
            refused(&visit, attempt, refusal, "", again).await
        }
    }
}

fn password_form(visit: &Visit, csrf: &str, ticket: &str, status: StatusCode, error: Option<String>) -> Answer {
    let least = visit.auth().config.password_characters;
    html(status, &Password { who: None, csrf, pending: visit.form.get("pending"), ticket, least, error })
}

/// Ends the session.
pub async fn sign_out(visit: Visit) -> Answer {
    if let Some(person) = visit.somebody().await? {
        let agent = Agent::user(&person.user);
        let server = visit.recording(move |_| Some(Record::of(Event::SignOut, Cow::Owned(agent.clone()))));
        server.sign_out(visit.tenant, &person.cookie).await?;
    }
    let pending = visit.form.get("pending");
    let mut response = go_to(&pending.map_or_else(|| "sign-in?out=1".to_owned(), |_| at("sign-in", pending)));
    let cookie = visit.auth().clear_cookie(visit.tenant);
    let cookie = cookie.parse().map_err(|_| Failure::internal("a cookie that is none"))?;
    response.headers_mut().insert(SET_COOKIE, cookie);
    Ok(response)
}

/// The server that signs somebody in, who has proven who it is by `by`, and records that with the session.
fn signing_in(visit: &Visit, by: &'static str) -> Server {
    visit.recording(move |deed| match deed {
        Deed::SignIn(user) => Some(Record::of(Event::SignIn, Cow::Owned(Agent::user(user))).saying(by)),
        other => of_account(other),
    })
}

/// The record of what somebody changed of their own account.
pub(super) fn of_account(deed: &Deed<'_>) -> Option<Record<'static>> {
    let (user, what) = match deed {
        Deed::Password(user) => (user, "another password"),
        Deed::SecondFactor(user) => (user, "a second factor"),
        _ => return None,
    };
    Some(Record::of(Event::Account, Cow::Owned(Agent::user(user))).saying(what))
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

/// What somebody tried to prove.
pub(super) struct Attempt<'a> {
    /// What for.
    pub(super) event: Event,
    /// By what.
    pub(super) by: &'static str,
    /// The account, where there is one.
    pub(super) user: Option<&'a User>,
}

impl Attempt<'_> {
    /// The record of an attempt that proved nothing; `None` for what was no attempt.
    fn record(&self, refusal: &Refusal) -> Option<Record<'static>> {
        let (event, status, why) = match refusal {
            Refusal::Wrong => (self.event.clone(), StatusCode::UNAUTHORIZED, "not right"),
            Refusal::Wait { .. } => {
                (Event::Lockout, StatusCode::TOO_MANY_REQUESTS, "not looked at after too many failures")
            }
            Refusal::Expired | Refusal::Password(_) | Refusal::Failed(_) => return None,
        };
        let agent = self.user.map_or_else(Agent::default, Agent::user);
        let note = format!("{}: {why}", self.by);
        Some(Record::of(event, Cow::Owned(agent)).ended(status.as_u16()).saying(note))
    }
}

/// The form again, with what is wrong with it, or another page.
pub(super) async fn refused(
    visit: &Visit,
    attempt: Attempt<'_>,
    refusal: Refusal,
    wrong: &str,
    again: impl FnOnce(StatusCode, String) -> Answer,
) -> Answer {
    if let Some(record) = attempt.record(&refusal) {
        visit.record(record).await?;
    }
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

def sub(path, old, new, count=1):
    s=open(path).read()
    assert old in s, (path, old)
    s=s.replace(old,new,count)
    open(path,'w').write(s)
sub('src/auth/token_tests.rs','use super::token::TokenAnswer;','use super::token::{Told, TokenAnswer};')
sub('src/http/mod.rs','mod guard;\n','mod guard;\nmod ledger;\n')
p='src/http/oauth.rs'
sub(p,'''        let result = async {
            let form = form(&request, payload, &shared).await?;
            as_client(&request, &shared, &form, async |server, client| server.token(TENANT, &client, &form).await).await
        };
        private(result.await, &request)
''','''        let mut told = Told::default();
        let result = async {
            let form = form(&request, payload, &shared).await?;
            let answer = async |server: &Server, client, told: &mut Told| server.token(TENANT, &client, &form, told).await;
            as_client(&request, &shared, &form, &mut told, answer).await
        };
        let result = result.await;
        private(shared.token_asked(&request, told, result).await, &request)
''')
sub(p,'''        let result = async {
            let form = form(&request, payload, &shared).await?;
            let server = &shared.app.auth;
            if has_bearer(&request) {
                let admin = shared.app.authorize_admin(TENANT, Some(bearer(&request)?)).await;
                admin.map_err(|error| OAuthError::of_bearer(&error))?;
                return server.introspect(TENANT, &Asker::Admin, &form);
            }
            let answer = async |server: &Server, client| server.introspect(TENANT, &Asker::client(client)?, &form);
            as_client(&request, &shared, &form, answer).await
        };
        private(result.await, &request)
''','''        let mut told = Told::default();
        let result = async {
            let form = form(&request, payload, &shared).await?;
            let server = &shared.app.auth;
            if has_bearer(&request) {
                let mut agent = Arc::default();
                let admin = shared.app.authorize_admin(TENANT, Some(bearer(&request)?), &mut agent).await;
                told.agent = Arc::unwrap_or_clone(agent);
                admin.map_err(|error| OAuthError::of_bearer(&error))?;
                return server.introspect(TENANT, &Asker::Admin, &form);
            }
            let answer =
                async |server: &Server, client, _: &mut Told| server.introspect(TENANT, &Asker::client(client)?, &form);
            as_client(&request, &shared, &form, &mut told, answer).await
        };
        let result = result.await;
        private(shared.introspection_asked(&request, told.agent, result).await, &request)
''')
sub(p,'''        let result = async {
            let form = form(&request, payload, &shared).await?;
            as_client(&request, &shared, &form, async |server, client| server.revoke(TENANT, &client, &form).await)
                .await
        };
        match result.await {''','''        let mut told = Told::default();
        let result = async {
            let form = form(&request, payload, &shared).await?;
            let answer = async |server: &Server, client, told: &mut Told| server.revoke(TENANT, &client, &form, told).await;
            as_client(&request, &shared, &form, &mut told, answer).await
        };
        let result = result.await;
        match shared.revocation_asked(&request, told, result).await {''')
sub(p,'''    let result = async {
        let app = &shared.app;
        let by =''','''    let mut agent = Arc::default();
    let result = async {
        let app = &shared.app;
        let by =''')
sub(p,'''                let admin = app.authorize_admin(TENANT, Some(bearer(&request)?));
''','''                let admin = app.authorize_admin(TENANT, Some(bearer(&request)?), &mut agent);
''')
sub(p,'''    match result.await {
        Ok(registered) =>''','''    let result = result.await;
    match shared.registration_asked(&request, &agent, result).await {
        Ok(registered) =>''')
sub(p,'''/// Lets an authenticated client in, unless it failed too often of late.
async fn as_client<T>(
    request: &HttpRequest,
    shared: &Shared,
    form: &Form,
    answer: impl AsyncFnOnce(&Server, crate::auth::records::Client) -> Answer<T>,
) -> Answer<T> {''','''/// Lets an authenticated client in, unless it failed too often of late. `told` hears which it says to be, if that is one.
async fn as_client<T>(
    request: &HttpRequest,
    shared: &Shared,
    form: &Form,
    told: &mut Told,
    answer: impl AsyncFnOnce(&Server, crate::auth::records::Client, &mut Told) -> Answer<T>,
) -> Answer<T> {''')
sub(p,'''    let key = server.slowing.key(''','''    if server.enabled_client(TENANT, &name)?.is_some() {
        told.agent = Agent::client(&name);
    }
    let key = server.slowing.key(''')
sub(p,'''        answer(server, client).await
''','''        answer(server, client, told).await
''')
sub(p,'''use crate::auth::client::Credentials;''','''use crate::auth::agent::Agent;
use crate::auth::client::Credentials;''')
sub(p,'''use crate::auth::server::Server;
''','''use crate::auth::server::Server;
use crate::auth::token::Told;
''')
sub(p,'''use serde::Serialize;
''','''use serde::Serialize;
use std::sync::Arc;
''')

p='src/http/admin.rs'
sub(p,'''    match answer(&request, payload, &shared).await {
        Ok(answer) => {''','''    let mut agent = Arc::default();
    let result = answer(&request, payload, &shared, &mut agent).await;
    match recorded(&request, &shared, &agent, result).await {
        Ok(answer) => {''')
sub(p,'''async fn answer(request: &HttpRequest, payload: web::Payload, shared: &Shared) -> Result<Answer> {
    let (app, headers, tenant) = (&*shared.app, request.headers(), TenantId::DEFAULT);
    app.authorize_admin(tenant, bearer(headers)?.as_deref()).await?;''','''/// What says how something is set up, and is no secret.
const TOLD: [&str; 16] = [
    "username",
    "name",
    "fhir_user",
    "roles",
    "disabled",
    "must_change_password",
    "has_password",
    "has_second_factor",
    "scopes",
    "own_patients",
    "break_glass",
    "is_admin",
    "scope",
    "grant_types",
    "redirect_uris",
    "token_endpoint_auth_method",
];

/// The longest text from a URL that is recorded, in characters.
const LONGEST_NAME: usize = 255;

/// Records what was changed, or refused to somebody who may not.
async fn recorded(
    request: &HttpRequest,
    shared: &Shared,
    agent: &Agent,
    result: Result<Answer>,
) -> Result<Answer> {
    let status = result.as_ref().map_or_else(|error| error.category.status(), |answer| answer.status.as_u16());
    let is_read = [Method::GET, Method::HEAD].contains(request.method());
    if is_read && ![401, 403].contains(&status) {
        return result;
    }
    let path = segments(request.path()).unwrap_or_default();
    let path = path.iter().skip(2).map(String::as_str).collect::<Vec<_>>();
    let (what, id) = match path[..] {
        ["users", ref id @ ..] => ("user", id.first()),
        ["clients", ref id @ ..] => ("client", id.first()),
        ["roles", ref id @ ..] => ("role", id.first()),
        ["keys", ..] => ("keys", None),
        _ => ("other", None),
    };
    let body = result.as_ref().ok().and_then(|answer| answer.body.as_ref());
    let made = || body.and_then(|body| body.get("id").or_else(|| body.get("client_id"))).and_then(Value::as_str);
    let name = id.copied().or_else(made).map(|name| name.chars().take(LONGEST_NAME).collect::<String>());
    let mut note = format!("{} {}", request.method(), path.join("/")).chars().take(LONGEST_NAME).collect::<String>();
    match &result {
        Ok(_) => {
            let members = TOLD.iter().filter_map(|name| Some((name, body?.get(name)?)));
            note.extend(members.map(|(name, value)| format!("; {name}: {value}")));
        }
        Err(error) => note.extend(error.issues.iter().map(|issue| format!("; {}", issue.diagnostics))),
    }
    let mut record = Record::of(Event::Administration(what.into()), Cow::Borrowed(agent)).ended(status).saying(note);
    if let Some(name) = name {
        record = record.named(name);
    }
    shared.record(request, record).await?;
    result
}

async fn answer(
    request: &HttpRequest,
    payload: web::Payload,
    shared: &Shared,
    agent: &mut Arc<Agent>,
) -> Result<Answer> {
    let (app, headers, tenant) = (&*shared.app, request.headers(), TenantId::DEFAULT);
    app.authorize_admin(tenant, bearer(headers)?.as_deref(), agent).await?;''')
sub(p,'''use crate::app::App;
''','''use crate::app::App;
use crate::audit::{Event, Record};
use crate::auth::agent::Agent;
''')
sub(p,'''use actix_web::http::StatusCode;
''','''use actix_web::http::{Method, StatusCode};
''')
sub(p,'''use serde_json::{Value, json};
''','''use serde_json::{Value, json};
use std::borrow::Cow;
use std::sync::Arc;
''')

# pages
p='src/http/pages.rs'
sub(p,'''    fn field(&self, name''','''    /// Records an event, before it is answered.
    async fn record(&self, record: Record<'_>) -> Result<(), Failure> {
        Ok(self.shared.record(&self.request, record).await?)
    }

    fn field(&self, name''')
sub(p,'''use super::{Shared, address, oauth};
''','''use super::{Shared, address, oauth};
use crate::audit::Record;
''')
p='src/http/pages/sign_in.rs'
sub(p,'''        Ok(step) => next(&visit, &step),
        Err(refusal) => refused(&visit, refusal, "The name or the password is not right.", |status, text| {
            form(&visit, status, Some(text), None)
        }),
    }''','''        Ok(step) => next(&visit, &step, "password").await,
        Err(refusal) => {
            let user = visit.auth().user_by_name(TENANT, username)?;
            let attempt = Attempt { event: Event::SignIn, by: "password", user: user.as_ref() };
            let wrong = "The name or the password is not right.";
            refused(&visit, attempt, refusal, wrong, |status, text| form(&visit, status, Some(text), None)).await
        }
    }''')
sub(p,'''        Ok(step) => next(&visit, &step),
        Err(refusal) => {
            refused(&visit, refusal, "The code is not right. Try the one that is shown now.", |status, text| {
                let secret''','''        Ok(step) => next(&visit, &step, "password and code").await,
        Err(refusal) => {
            let user = visit.auth().user_of_ticket(TENANT, ticket)?;
            let attempt = Attempt { event: Event::SignIn, by: "code", user: user.as_ref() };
            let wrong = "The code is not right. Try the one that is shown now.";
            let again = |status, text| {
                let secret''')
sub(p,'''error: Some(text), enrolment })
            })
        }''','''error: Some(text), enrolment })
            };
            refused(&visit, attempt, refusal, wrong, again).await
        }''')
sub(p,'''    match visit.auth().choose_password(TENANT, ticket, new).await {
        Ok(step) => next(&visit, &step),
        Err(refusal) => refused(&visit, refusal, "", again),
    }''','''    match visit.auth().choose_password(TENANT, ticket, new).await {
        Ok(step) => {
            if let Step::SignedIn(signed_in) = &step {
                let agent = Agent::user(&signed_in.user);
                visit.record(Record::of(Event::Account, Cow::Owned(agent)).saying(ANOTHER_PASSWORD)).await?;
            }
            next(&visit, &step, "password, which was changed").await
        }
        Err(refusal) => {
            let attempt = Attempt { event: Event::Account, by: "ticket", user: None };
            refused(&visit, attempt, refusal, "", again).await
        }
    }''')
sub(p,'''    if let Some(person) = visit.somebody().await? {
        visit.auth().sign_out(TENANT, &person.cookie).await?;
    }''','''    if let Some(person) = visit.somebody().await? {
        visit.auth().sign_out(TENANT, &person.cookie).await?;
        visit.record(Record::of(Event::SignOut, Cow::Owned(Agent::user(&person.user)))).await?;
    }''')
sub(p,'''/// The page of the next step.
fn next(visit: &Visit, step: &Step) -> Answer {
    let pending = visit.form.get("pending");
    let (csrf, _) = visit.guard()?;
    match step {
        Step::SignedIn(signed_in) => {
''','''/// The page of the next step, after what was proven by `by`.
async fn next(visit: &Visit, step: &Step, by: &'static str) -> Answer {
    let pending = visit.form.get("pending");
    let (csrf, _) = visit.guard()?;
    match step {
        Step::SignedIn(signed_in) => {
            let agent = Agent::user(&signed_in.user);
            visit.record(Record::of(Event::SignIn, Cow::Owned(agent)).saying(by)).await?;
''')
sub(p,'''/// The form again, with what is wrong with it, or another page.
pub(super) fn refused(
    visit: &Visit,
    refusal: Refusal,
    wrong: &str,
    again: impl FnOnce(StatusCode, String) -> Answer,
) -> Answer {
    match refusal {''','''/// What somebody tried to prove.
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
            Refusal::Wait { .. } => (Event::Lockout, StatusCode::TOO_MANY_REQUESTS, "not looked at after too many failures"),
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
    match refusal {''')
sub(p,'''use crate::auth::records::{self, Client};
use crate::auth::sign_in''','''use crate::audit::{Event, Record};
use crate::auth::agent::Agent;
use crate::auth::records::{self, Client, User};
use crate::auth::sign_in''')
sub(p,'''use askama::Template;
''','''use askama::Template;
use std::borrow::Cow;

/// What the ledger says of a password that somebody chose.
pub(super) const ANOTHER_PASSWORD: &str = "another password";
''')
p='src/auth/sign_in.rs'
sub(p,'''    fn ticket(&self, tenant''','''    /// The account that a ticket is for, where it is still good.
    ///
    /// # Errors
    /// When the store fails.
    pub fn user_of_ticket(&self, tenant: TenantId, ticket: &str) -> Result<Option<User>, Error> {
        match self.ticket(tenant, ticket) {
            Ok((user, _)) => Ok(Some(user)),
            Err(Refusal::Failed(error)) => Err(error),
            Err(_) => Ok(None),
        }
    }

    fn ticket(&self, tenant''')
p='src/http/pages/account.rs'
sub(p,'''use super::sign_in::{Shown, refused};
''','''use super::sign_in::{ANOTHER_PASSWORD, Attempt, Shown, refused};
''')
sub(p,'''        Ok(signed_in) => Ok(enter(visit, &signed_in.cookie, "account?done=password")),
        Err(refusal) => refused(visit, refusal, "The old password is not right.", again),
    }''','''        Ok(signed_in) => {
            changed(visit, person, ANOTHER_PASSWORD).await?;
            Ok(enter(visit, &signed_in.cookie, "account?done=password"))
        }
        Err(refusal) => {
            let attempt = Attempt { event: Event::Account, by: "old password", user: Some(&person.user) };
            refused(visit, attempt, refusal, "The old password is not right.", again).await
        }
    }''')
sub(p,'''        Ok(signed_in) => Ok(enter(visit, &signed_in.cookie, "account?done=second-factor")),
        Err(refusal) => {
            let wrong = "The code is not right. Try the one that is shown now.";
            refused(visit, refusal, wrong, |status, text| {
                page(visit, person, status, Some(&enrolment), Some(("code", text)))
            })
        }
    }
}
''','''        Ok(signed_in) => {
            changed(visit, person, "a second factor").await?;
            Ok(enter(visit, &signed_in.cookie, "account?done=second-factor"))
        }
        Err(refusal) => {
            let attempt = Attempt { event: Event::Account, by: "code", user: Some(&person.user) };
            let wrong = "The code is not right. Try the one that is shown now.";
            let again = |status, text| page(visit, person, status, Some(&enrolment), Some(("code", text)));
            refused(visit, attempt, refusal, wrong, again).await
        }
    }
}

/// Records what somebody changed of their account.
async fn changed(visit: &Visit, person: &Person, what: &'static str) -> Result<(), Failure> {
    visit.record(Record::of(Event::Account, Cow::Owned(Agent::user(&person.user))).saying(what)).await
}
''')
sub(p,'''use super::{Answer, Person, TENANT, Visit, Who, enter, html};
''','''use super::{Answer, Failure, Person, TENANT, Visit, Who, enter, html};
use crate::audit::{Event, Record};
use crate::auth::agent::Agent;
''')
sub(p,'''use askama::Template;
''','''use askama::Template;
use std::borrow::Cow;
''')
p='src/http/pages/setup.rs'
sub(p,'''    match visit.auth().set_up(TENANT, code, username, password).await {
        Ok(signed_in) => Ok(enter(&visit, &signed_in.cookie, "account")),
        Err(Refusal::Expired | Refusal::Wrong) => again(''','''    let made = |agent| Record::of(Event::Administration("user".into()), Cow::Owned(agent));
    match visit.auth().set_up(TENANT, code, username, password).await {
        Ok(signed_in) => {
            let agent = Agent::user(&signed_in.user);
            let note = "the first administrator";
            visit.record(made(agent.clone()).named(signed_in.user.id.clone()).saying(note)).await?;
            visit.record(Record::of(Event::SignIn, Cow::Owned(agent)).saying(note)).await?;
            Ok(enter(&visit, &signed_in.cookie, "account"))
        }
        Err(Refusal::Expired | Refusal::Wrong) => {
            let status = StatusCode::UNAUTHORIZED.as_u16();
            visit.record(made(Agent::default()).ended(status).saying("the code of the first start: not right")).await?;
            again(''')
sub(p,'''"The code is not the one, or no longer good.".to_owned()),
''','''"The code is not the one, or no longer good.".to_owned())
        }
''')
sub(p,'''use crate::auth::sign_in::Refusal;
''','''use crate::audit::{Event, Record};
use crate::auth::agent::Agent;
use crate::auth::sign_in::Refusal;
''')
sub(p,'''use askama::Template;
''','''use askama::Template;
use std::borrow::Cow;
''')
p='src/http/pages/journey.rs'
sub(p,'''        return deny(visit, id, pending).await;
    }
    let page''','''        return deny(visit, id, pending, person).await;
    }
    let page''')
sub(p,'''pub(super) async fn deny(visit: &Visit, id: &str, pending: &Pending) -> Answer {
    Ok(super::go_to(&visit.auth().deny(TENANT, id, pending).await?))
}
''','''pub(super) async fn deny(visit: &Visit, id: &str, pending: &Pending, person: &Person) -> Answer {
    let address = visit.auth().deny(TENANT, id, pending).await?;
    let record = decision(pending, person, None).ended(StatusCode::FORBIDDEN.as_u16());
    visit.record(record.saying(format!("denied: {}", pending.scopes))).await?;
    Ok(super::go_to(&address))
}

/// The record of what somebody decides about an app's request, or asks for with it.
pub(super) fn decision(pending: &Pending, person: &Person, emergency: Option<&str>) -> Record<'static> {
    let agent = Agent {
        client: Some(pending.client_id.as_str().into()),
        emergency: emergency.map(Into::into),
        ..Agent::user(&person.user)
    };
    Record::of(Event::Authorization, Cow::Owned(agent))
}
''')
sub(p,'''use crate::auth::records::{self, Client, Pending};
''','''use crate::audit::{Event, Record};
use crate::auth::agent::Agent;
use crate::auth::records::{self, Client, Pending};
''')
sub(p,'''use askama::Template;
''','''use askama::Template;
use std::borrow::Cow;
''')
sub('src/http/pages/patient.rs','return deny(&visit, &journey.id, &journey.pending).await;','return deny(&visit, &journey.id, &journey.pending, &journey.person).await;')
p='src/http/pages/consent.rs'
sub(p,'"deny" => deny(&visit, &journey.id, &journey.pending).await,','"deny" => deny(&visit, &journey.id, &journey.pending, &journey.person).await,')
sub(p,'''    let consent = authorization::Consent {''','''    let patient = context.patient.as_ref().map(|id| format!("Patient/{id}"));
    let break_glass = if journey.is_emergency(visit)? { pending.break_glass.clone() } else { None };
    let mut record = decision(pending, person, break_glass.as_deref()).saying(format!("allowed: {scopes}"));
    record.content.target = patient.map(Into::into);
    let consent = authorization::Consent {''')
sub(p,'''        break_glass: if journey.is_emergency(visit)? { pending.break_glass.clone() } else { None },
    };
    match auth.issue_code(TENANT, consent).await {
        Ok(code) => Ok(''','''        break_glass,
    };
    let issued = auth.issue_code(TENANT, consent).await;
    visit.record(record.ended(issued.as_ref().err().map_or(200, OAuthError::status))).await?;
    match issued {
        Ok(code) => Ok(''')
sub(p,'''use super::journey::{Journey, deny, journey};''','''use super::journey::{Journey, decision, deny, journey};''')
sub(p,'''use crate::auth::consent::{context_of, wants_patient};
''','''use crate::auth::consent::{context_of, wants_patient};
use crate::auth::error::OAuthError;
''')
p='src/http/pages/emergency.rs'
sub(p,'''    if visit.field("decision") == "end" {
        journey''','''    if visit.field("decision") == "end" {
        let mut record = decision(&journey.pending, &journey.person, None);
        record.shape.event = Event::EmergencyEnd;
        visit.record(record).await?;
        journey''')
sub(p,'''    } else if REASON.contains(&reason.chars().count()) {
''','''    } else if REASON.contains(&reason.chars().count()) {
        // Recorded before it is in force.
        let mut record = decision(&journey.pending, &journey.person, Some(reason));
        record.shape.event = Event::Emergency;
        visit.record(record).await?;
''')
sub(p,'''use super::journey::{Journey, journey};''','''use super::journey::{Journey, decision, journey};''')
sub(p,'''use actix_web::http::StatusCode;''','''use crate::audit::Event;
use actix_web::http::StatusCode;''')
p='src/http/pages/apps.rs'
sub(p,'''    visit.auth().revoke_authorization(TENANT, id).await?;
''','''    let auth = visit.auth();
    let own = records::get::<Authorization>(&*auth.keeper, TENANT, id)?.map(|(own, _)| own);
    auth.revoke_authorization(TENANT, id).await?;
    let agent = Agent { authorization: Some(id.into()), ..Agent::user(&person.user) };
    let mut record = Record::of(Event::Revocation, Cow::Owned(agent)).saying("ended by the user");
    if let Some(own) = own {
        record = record.named(own.client_id);
    }
    visit.record(record).await?;
''')
sub(p,'''use crate::auth::keeper::Keeper;
use crate::auth::records::{self, Authorization, Client, Record};''','''use crate::audit::{Event, Record};
use crate::auth::agent::Agent;
use crate::auth::keeper::Keeper;
use crate::auth::records::{self, Authorization, Client, Record as _};''')
sub(p,'''use askama::Template;
''','''use askama::Template;
use std::borrow::Cow;
''')
p='src/http/pages/upstream.rs'
sub(p,'''    let arrival = arrival.map_err(|error| failure(&name, error))?;
    let pending = arrival''','''    let arrival = match arrival {
        Ok(arrival) => arrival,
        Err(error) => {
            if let Some((status, why)) = refusal(&error) {
                visit.record(signed_in(&name, Agent::default()).ended(status).saying(why)).await?;
            }
            return Err(failure(&name, error));
        }
    };
    visit.record(signed_in(&name, Agent::user(&arrival.signed_in.user))).await?;
    let pending = arrival''')
sub(p,'''/// The page for what went wrong. The''','''/// The record of a sign-in through a provider.
fn signed_in(provider: &str, agent: Agent) -> Record<'_> {
    Record::of(Event::SignIn, Cow::Owned(agent)).named(provider).saying("another provider")
}

/// What the ledger says of a sign-in that failed: a status and why, where it is the one who tried.
const fn refusal(error: &UpstreamError) -> Option<(u16, &'static str)> {
    match error {
        UpstreamError::Refused(_) => Some((403, "another provider: what it answered lets nobody in")),
        UpstreamError::Expired => Some((400, "another provider: not begun in this browser, or too late")),
        UpstreamError::Unknown | UpstreamError::Unreachable(_) | UpstreamError::Failed(_) => None,
    }
}

/// The page for what went wrong. The''')
sub(p,'''use crate::auth::upstream::UpstreamError;
''','''use crate::audit::{Event, Record};
use crate::auth::agent::Agent;
use crate::auth::upstream::UpstreamError;
''')
sub(p,'''use actix_web::web::Path;
''','''use actix_web::web::Path;
use std::borrow::Cow;
''')

//! The endpoints of the authorization server that speak JSON: forms in, RFC 6749's answers out.

use super::ledger::{of_registration, of_revocation, of_token};
use super::request::text;
use super::tenant::split;
use super::{Shared, address, body, cors, negotiate};
use crate::audit::{Event, Record};
use crate::auth::agent::Agent;
use crate::auth::client::Credentials;
use crate::auth::error::OAuthError;
use crate::auth::form::{FORM_BYTES, Form};
use crate::auth::introspect::Asker;
use crate::auth::registration::Registrant;
use crate::auth::token::Told;
use crate::auth::witness::Deed;
use crate::config::{Limits, Registration};
use crate::error::Error;
use crate::tenant::TenantId;
use actix_web::http::StatusCode;
use actix_web::http::header::{
    ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, PRAGMA, RETRY_AFTER, VARY, WWW_AUTHENTICATE,
    X_CONTENT_TYPE_OPTIONS,
};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder, web};
use serde::Serialize;
use std::borrow::Cow;
use std::sync::Arc;

/// How long what is for everybody may be held, in seconds.
const PUBLIC_MAX_AGE_S: u32 = 300;

pub(super) type Answer<T> = Result<T, OAuthError>;

/// The tenant of a request, which `guard` has found.
type Of = web::ReqData<TenantId>;

/// `POST /auth/token`
pub async fn token(request: HttpRequest, payload: web::Payload, shared: web::Data<Shared>, tenant: Of) -> HttpResponse {
    let tenant = *tenant;
    let answering = async {
        let mut told = Told::default();
        let witness = shared.witness(&request, tenant, |deed| match deed {
            Deed::Token(told, answer) => Some(of_token(told, Ok(answer))),
            Deed::Reuse(told, error) => Some(of_token(told, Err(error))),
            _ => None,
        });
        let result = async {
            let form = form(&request, payload, &shared).await?;
            let server = shared.app.auth.recording(&witness);
            let answer = async |client, told: &mut Told| server.token(tenant, &client, &form, told).await;
            as_client(&request, &shared, tenant, &form, &mut told, answer).await
        };
        let result = result.await;
        private(shared.token_asked(&request, &told, &witness, result).await, &request)
    };
    cors::around(&request, &shared, answering).await
}

/// `POST /auth/introspect`
pub async fn introspect(
    request: HttpRequest,
    payload: web::Payload,
    shared: web::Data<Shared>,
    tenant: Of,
) -> HttpResponse {
    let tenant = *tenant;
    let answering = async {
        let mut told = Told::default();
        let result = async {
            let form = form(&request, payload, &shared).await?;
            let server = &shared.app.auth;
            if has_bearer(&request) {
                let mut agent = Arc::default();
                let admin = shared.app.authorize_admin(tenant, Some(bearer(&request)?), &mut agent).await;
                told.agent = Arc::unwrap_or_clone(agent);
                admin.map_err(|error| OAuthError::of_bearer(&error))?;
                return server.introspect(tenant, &Asker::Admin, &form);
            }
            let answer = async |client, _: &mut Told| server.introspect(tenant, &Asker::client(client)?, &form);
            as_client(&request, &shared, tenant, &form, &mut told, answer).await
        };
        let result = result.await;
        private(shared.introspection_asked(&request, told.agent, result).await, &request)
    };
    cors::around(&request, &shared, answering).await
}

/// `POST /auth/revoke`
pub async fn revoke(
    request: HttpRequest,
    payload: web::Payload,
    shared: web::Data<Shared>,
    tenant: Of,
) -> HttpResponse {
    let tenant = *tenant;
    let answering = async {
        let mut told = Told::default();
        let witness = shared.witness(&request, tenant, |deed| match deed {
            Deed::Revocation(told) => Some(of_revocation(told, None)),
            _ => None,
        });
        let result = async {
            let form = form(&request, payload, &shared).await?;
            let server = shared.app.auth.recording(&witness);
            let answer = async |client, told: &mut Told| server.revoke(tenant, &client, &form, told).await;
            as_client(&request, &shared, tenant, &form, &mut told, answer).await
        };
        let result = result.await;
        match shared.revocation_asked(&request, &told, &witness, result).await {
            Ok(()) => start(StatusCode::OK).finish(),
            Err(error) => refuse(&error, &request),
        }
    };
    cors::around(&request, &shared, answering).await
}

/// `GET` and `POST /auth/userinfo`
pub async fn userinfo(request: HttpRequest, shared: web::Data<Shared>, tenant: Of) -> HttpResponse {
    let tenant = *tenant;
    let answering = async {
        let mut agent = Agent::default();
        let result = bearer(&request).and_then(|token| shared.app.auth.userinfo(tenant, token, &mut agent));
        private(shared.asked(&request, Event::UserInfo, agent, result).await, &request)
    };
    cors::around(&request, &shared, answering).await
}

/// `POST /auth/launch`
pub async fn launch(
    request: HttpRequest,
    payload: web::Payload,
    shared: web::Data<Shared>,
    tenant: Of,
) -> HttpResponse {
    let tenant = *tenant;
    let answering = async {
        let mut agent = Agent::default();
        let witness = shared.witness(&request, tenant, |deed| match deed {
            Deed::Launch(agent) => Some(Record::of(Event::Launch, Cow::Owned((*agent).clone()))),
            _ => None,
        });
        let result = async {
            let token = bearer(&request)?;
            let document = document(&request, payload, &shared).await?;
            shared.app.auth.recording(&witness).make_launch(tenant, token, &document, &mut agent).await
        };
        let result = match result.await {
            Ok(made) if witness.has_told() => Ok(made),
            result => shared.asked(&request, Event::Launch, agent, result).await,
        };
        private(result, &request)
    };
    cors::around(&request, &shared, answering).await
}

/// `POST /auth/register`: RFC 7591.
pub async fn register(
    request: HttpRequest,
    payload: web::Payload,
    shared: web::Data<Shared>,
    tenant: Of,
) -> HttpResponse {
    let tenant = *tenant;
    let mut agent = Arc::default();
    let result = async {
        let app = &shared.app;
        let by = match app.config.auth.registration {
            Registration::Open if !has_bearer(&request) => {
                let counted = app.count_registration(address::of(&request, &app.config.trusted_proxies));
                counted
                    .map_err(|wait_s| OAuthError::slow_down("Too many clients are registered from here.", wait_s))?;
                Registrant::Anyone
            }
            Registration::Off => Registrant::Anyone,
            Registration::Open | Registration::Admin => {
                let admin = app.authorize_admin(tenant, Some(bearer(&request)?), &mut agent);
                admin.await.map_err(|error| OAuthError::of_bearer(&error))?;
                Registrant::Admin
            }
        };
        let given = document(&request, payload, &shared).await?;
        let given = serde_json::from_slice(&given).map_err(|_| OAuthError::request("The body is not JSON."))?;
        let agent = Arc::clone(&agent);
        let witness = shared.witness(&request, tenant, move |deed| match deed {
            Deed::Client(client) => Some(of_registration(client, Agent::clone(&agent))),
            _ => None,
        });
        app.auth.recording(&witness).register(tenant, &given, by).await
    };
    let result = result.await;
    match shared.registration_asked(&request, &agent, result).await {
        Ok(registered) => start(StatusCode::CREATED).json(registered.to_json()),
        Err(error) => refuse(&error, &request),
    }
}

/// `GET /auth/keys`: the JWK Set.
pub async fn keys(request: HttpRequest, shared: web::Data<Shared>, tenant: Of) -> HttpResponse {
    let tenant = *tenant;
    let answering = async { public(shared.app.auth.jwks(tenant).await, &request) };
    cors::around(&request, &shared, answering).await
}

/// `GET {base}/.well-known/smart-configuration`
pub fn smart_configuration(request: &HttpRequest, shared: &Shared, tenant: TenantId) -> HttpResponse {
    public(Ok(shared.app.auth.smart_configuration(tenant)), request)
}

/// `GET {base}/.well-known/openid-configuration`
pub fn openid_configuration(request: &HttpRequest, shared: &Shared, tenant: TenantId) -> HttpResponse {
    public(Ok(shared.app.auth.openid_configuration(tenant)), request)
}

/// Any other method; and the preflights of browsers.
pub async fn not_allowed(request: HttpRequest, shared: web::Data<Shared>) -> HttpResponse {
    let answering = async {
        let allow = match split(request.path()).1 {
            "/auth/keys" => "GET, HEAD",
            "/auth/userinfo" => "GET, POST",
            _ => "POST",
        };
        let mut response = refuse(&OAuthError::request("The endpoint does not have this method."), &request);
        *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
        response.headers_mut().insert(ALLOW, actix_web::http::header::HeaderValue::from_static(allow));
        response
    };
    cors::around(&request, &shared, answering).await
}

/// Lets an authenticated client in, unless it failed too often of late. `told` hears which it says to be, if that is one.
async fn as_client<T>(
    request: &HttpRequest,
    shared: &Shared,
    tenant: TenantId,
    form: &Form,
    told: &mut Told,
    answer: impl AsyncFnOnce(crate::auth::records::Client, &mut Told) -> Answer<T>,
) -> Answer<T> {
    let server = &*shared.app.auth;
    let header = text(request.headers(), AUTHORIZATION).map_err(|error| unread(&error))?;
    let credentials = Credentials::of(header, |name| form.get(name).map(str::to_owned));
    let credentials = server.named_by_refresh(tenant, credentials, form);
    let name = credentials.as_ref().ok().and_then(Credentials::named).unwrap_or_default();
    if server.enabled_client(tenant, &name)?.is_some() {
        told.agent = Agent::client(&name);
    }
    let key = server.slowing.key(tenant, &name, address::of(request, &shared.app.config.trusted_proxies));
    server.slowing.check(key, server.now_s())?;
    let result = async {
        let client = server.authenticate(tenant, &credentials?).await?;
        answer(client, told).await
    };
    let result = result.await;
    server.slowing.note(key, server.now_s(), &result);
    result
}

/// The form that a request carries, and nothing but a form.
pub(super) async fn form(request: &HttpRequest, payload: web::Payload, shared: &Shared) -> Answer<Form> {
    let is_form = negotiate::require(Some(content_type(request)?), &[negotiate::BodyFormat::Form]);
    is_form.map_err(|_| OAuthError::request("The Content-Type has to be application/x-www-form-urlencoded."))?;
    Form::parse(&read(request, payload, shared).await?)
}

/// A body of JSON.
async fn document(request: &HttpRequest, payload: web::Payload, shared: &Shared) -> Answer<Vec<u8>> {
    if !content_type(request)?.starts_with("application/json") {
        return Err(OAuthError::request("The Content-Type has to be application/json."));
    }
    read(request, payload, shared).await
}

async fn read(request: &HttpRequest, payload: web::Payload, shared: &Shared) -> Answer<Vec<u8>> {
    let limits = Limits { body_bytes: FORM_BYTES, ..shared.app.config.limits.clone() };
    body::read(request.headers(), payload, &limits).await.map_err(|error| unread(&error))
}

fn content_type(request: &HttpRequest) -> Answer<&str> {
    Ok(text(request.headers(), CONTENT_TYPE).map_err(|error| unread(&error))?.unwrap_or_default())
}

/// A request that could not be read is the client's fault, and said in OAuth's words.
fn unread(error: &Error) -> OAuthError {
    let text = error.issues.first().map_or_else(String::new, |issue| issue.diagnostics.to_string());
    OAuthError::request(text)
}

fn has_bearer(request: &HttpRequest) -> bool {
    scheme(request).is_some_and(|scheme| scheme.eq_ignore_ascii_case("Bearer"))
}

fn scheme(request: &HttpRequest) -> Option<&str> {
    request.headers().get(AUTHORIZATION)?.to_str().ok()?.split(' ').next()
}

/// The access token of a request: RFC 6750 section 2.1. It is taken from the header alone.
fn bearer(request: &HttpRequest) -> Answer<&str> {
    let header = text(request.headers(), AUTHORIZATION).map_err(|error| unread(&error))?;
    let token = header.filter(|_| has_bearer(request)).and_then(|value| value.split_once(' ')).map(|(_, token)| token);
    token.ok_or_else(|| OAuthError::new("invalid_token", NO_TOKEN))
}

const NO_TOKEN: &str = "This needs an access token.";

/// What is for the one who asks alone.
fn private<T: Serialize>(result: Answer<T>, request: &HttpRequest) -> HttpResponse {
    match result {
        Ok(answer) => start(StatusCode::OK).json(answer),
        Err(error) => refuse(&error, request),
    }
}

/// What is for everybody.
fn public<T: Serialize>(result: Answer<T>, request: &HttpRequest) -> HttpResponse {
    match result {
        Ok(answer) => HttpResponse::Ok()
            .insert_header((CACHE_CONTROL, format!("public, max-age={PUBLIC_MAX_AGE_S}")))
            .insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"))
            .insert_header((VARY, "origin"))
            .json(answer),
        Err(error) => refuse(&error, request),
    }
}

fn start(status: StatusCode) -> HttpResponseBuilder {
    let mut builder = HttpResponse::build(status);
    builder.insert_header((CACHE_CONTROL, "no-store")).insert_header((PRAGMA, "no-cache"));
    builder.insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff")).insert_header((VARY, "origin"));
    builder
}

/// What RFC 6749 section 5.2 answers.
#[derive(Serialize)]
struct Refusal<'a> {
    error: &'static str,
    error_description: &'a str,
}

/// The answer to a request that is refused.
pub(super) fn refuse(error: &OAuthError, request: &HttpRequest) -> HttpResponse {
    if let Some(log) = &error.log {
        tracing::warn!(code = error.code, log, "a request to the authorization server failed");
    }
    let mut builder = start(StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR));
    if let Some(challenge) = challenge(error, request) {
        builder.insert_header((WWW_AUTHENTICATE, challenge));
    }
    if let Some(seconds) = error.retry_after_s {
        builder.insert_header((RETRY_AFTER, seconds));
    }
    builder.json(Refusal { error: error.code, error_description: &error.description })
}

/// `WWW-Authenticate`: in the scheme that was tried, and without an error where nothing was.
fn challenge(error: &OAuthError, request: &HttpRequest) -> Option<String> {
    match error.code {
        "invalid_client" => {
            scheme(request)?.eq_ignore_ascii_case("Basic").then(|| r#"Basic realm="pharos""#.to_owned())
        }
        "invalid_token" if !has_bearer(request) => Some(r#"Bearer realm="pharos""#.to_owned()),
        "invalid_token" | "insufficient_scope" => Some(format!(r#"Bearer realm="pharos", error="{}""#, error.code)),
        _ => None,
    }
}

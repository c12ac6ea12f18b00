//! The administration of tenants, users, roles, clients, keys, jobs, retention and legal holds: JSON under `/auth/admin`, for access tokens with the scope `admin` of administrators.
//!
//! An answer has no secret, but the one that it makes: a client's is shown once. `ETag` is the version, and a change with `If-Match` of another one is refused.

mod bodies;
mod clients;
mod holds;
mod jobs;
mod keys;
mod retention;
mod roles;
mod tenants;
mod users;

use super::request::{bearer, text};
use super::tenant::split;
use super::{Shared, body, tenant};
use crate::app::App;
use crate::audit::{Event, Record};
use crate::auth::agent::Agent;
use crate::auth::registration::metadata;
use crate::auth::server::Server;
use crate::auth::tenants::described;
use crate::auth::witness::{Deed, Witness};
use crate::config::Limits;
use crate::error::{Category, Error, Result};
use crate::interaction::call::{method_not_allowed, segments};
use crate::interaction::condition::EntityTags;
use crate::tenant::TenantId;
use actix_web::http::header::{
    CACHE_CONTROL, ETAG, HeaderMap, IF_MATCH, IF_NONE_MATCH, LOCATION, PRAGMA, RETRY_AFTER, WWW_AUTHENTICATE,
};
use actix_web::http::{Method, StatusCode};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder, web};
use serde_json::{Value, json};
use std::borrow::Cow;
use std::sync::Arc;

/// The largest body, in bytes.
pub const BODY_BYTES: usize = 1 << 20;

/// The entries of a page, and the most that `count` can ask for.
const PAGE: usize = 100;
const MOST: usize = 1_000;

/// What is answered where all went well.
struct Answer {
    status: StatusCode,
    version: Option<u64>,
    location: Option<String>,
    body: Option<Value>,
}

impl Answer {
    /// 204.
    const fn nothing() -> Self {
        Self { status: StatusCode::NO_CONTENT, version: None, location: None, body: None }
    }

    /// 200 with a body.
    const fn of(body: Value, version: Option<u64>) -> Self {
        Self { status: StatusCode::OK, version, location: None, body: Some(body) }
    }
}

/// A request that is authorized.
struct Call<'r> {
    app: &'r App,
    tenant: TenantId,
    agent: Arc<Agent>,
    /// Who records what is changed.
    witness: Arc<Witness>,
    method: &'r str,
    query: Vec<(String, String)>,
    /// The version that has to be there: 0 for nothing.
    version: Option<u64>,
    body: Vec<u8>,
}

impl Call<'_> {
    /// The authorization server, which records what it changes for this request.
    fn auth(&self) -> Server {
        self.app.auth.recording(&self.witness)
    }

    /// A parameter of the URL.
    fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }
}

/// Everything below `/auth/admin/`.
pub async fn admin(request: HttpRequest, payload: web::Payload, shared: web::Data<Shared>) -> HttpResponse {
    let (mut agent, mut witness) = (Arc::default(), None);
    let result = answer(&request, payload, &shared, (&mut agent, &mut witness)).await;
    let has_told = witness.is_some_and(|witness| witness.has_told());
    match recorded(&request, &shared, &agent, (result, has_told)).await {
        Ok(answer) => {
            let mut response = HttpResponseBuilder::new(answer.status);
            response.insert_header((CACHE_CONTROL, "no-store")).insert_header((PRAGMA, "no-cache"));
            if let Some(version) = answer.version {
                response.insert_header((ETAG, format!("W/\"{version}\"")));
            }
            if let Some(location) = answer.location {
                response.insert_header((LOCATION, location));
            }
            match answer.body {
                Some(body) => response.json(body),
                None => response.finish(),
            }
        }
        Err(error) => refused(&error),
    }
}

/// What says how something is set up, and is no secret.
const TOLD: [&str; 22] = [
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
    "display_name",
    "region",
    "state",
    "limits",
    "identity_providers",
    "trusted_issuers",
];

/// The longest text from a URL that is recorded, in characters.
const LONGEST_NAME: usize = 255;

/// What a request to administer is, for the ledger.
struct Told {
    /// Of what kind it changes something.
    what: &'static str,
    /// What it changes, where the URL says so.
    name: Option<String>,
    /// What was asked.
    note: String,
}

impl Told {
    fn of(request: &HttpRequest) -> Self {
        let path = segments(split(request.path()).1).unwrap_or_default();
        let path = path.iter().skip(2).map(String::as_str).collect::<Vec<_>>();
        let (what, id) = match path[..] {
            ["holds", ..] => ("hold", None),
            ["jobs", ref id @ ..] => ("job", id.first()),
            ["retention"] => ("retention", None),
            ["users", ref id @ ..] => ("user", id.first()),
            ["clients", ref id @ ..] => ("client", id.first()),
            ["roles", ref id @ ..] => ("role", id.first()),
            ["keys", ..] => ("keys", None),
            ["tenants", ref id @ ..] => ("tenant", id.first()),
            _ => ("other", None),
        };
        let note = format!("{} {}", request.method(), path.join("/"));
        let cut = |text: &str| text.chars().take(LONGEST_NAME).collect();
        Self { what, name: id.copied().map(cut), note: cut(&note) }
    }

    /// What is recorded of it; `members` is how what it changed is set up then.
    fn record<'a>(&self, agent: Cow<'a, Agent>, members: Option<&Value>) -> Record<'a> {
        let mut note = self.note.clone();
        let told = TOLD.iter().filter_map(|name| Some((name, members?.get(name)?)));
        note.extend(told.map(|(name, value)| format!("; {name}: {value}")));
        let record = Record::of(Event::Administration(self.what.into()), agent).saying(note);
        let made =
            || ["id", "client_id", "name"].iter().find_map(|name| members?.get(name)?.as_str().map(str::to_owned));
        match self.name.clone().or_else(made) {
            Some(name) => record.named(name),
            None => record,
        }
    }
}

/// How what is changed is set up then.
fn members(deed: &Deed<'_>) -> Option<Value> {
    match deed {
        Deed::User(user) => Some(users::shown(user)),
        Deed::Client(client) => Some(metadata(client)),
        Deed::Role(role) => Some(roles::shown(role)),
        Deed::Tenant(tenant, _) => Some(described(tenant).into()),
        _ => None,
    }
}

/// Records what was refused to somebody who may not, or went wrong, and what was done without a change of a record.
async fn recorded(
    request: &HttpRequest,
    shared: &Shared,
    agent: &Agent,
    (result, has_told): (Result<Answer>, bool),
) -> Result<Answer> {
    let status = result.as_ref().map_or_else(|error| error.category.status(), |answer| answer.status.as_u16());
    let is_read = [Method::GET, Method::HEAD].contains(request.method());
    let told = Told::of(request);
    // A hold is recorded with the commit that sets or lifts it.
    let is_told = result.is_ok() && (has_told || told.what == "hold");
    if is_told || (is_read && ![401, 403].contains(&status)) {
        return result;
    }
    let body = result.as_ref().ok().and_then(|answer| answer.body.as_ref());
    let mut record = told.record(Cow::Borrowed(agent), body).ended(status);
    if let (Err(error), Some(note)) = (&result, &mut record.content.note) {
        note.to_mut().extend(error.issues.iter().map(|issue| format!("; {}", issue.diagnostics)));
    }
    shared.record(request, record).await?;
    result
}

async fn answer(
    request: &HttpRequest,
    payload: web::Payload,
    shared: &Shared,
    (agent, witness): (&mut Arc<Agent>, &mut Option<Arc<Witness>>),
) -> Result<Answer> {
    let (app, headers, tenant) = (&*shared.app, request.headers(), tenant::of(request)?);
    let bearer = app.authorize_admin(tenant, bearer(headers)?.as_deref(), agent).await?;
    let (told, by) = (Told::of(request), Arc::clone(&bearer.agent));
    let recording = shared
        .witness(request, tenant, move |deed| Some(told.record(Cow::Owned((*by).clone()), members(deed).as_ref())));
    let path = segments(split(request.path()).1)?;
    let path = path.iter().skip(2).map(String::as_str).collect::<Vec<_>>();
    let call = Call {
        app,
        tenant,
        agent: Arc::clone(&bearer.agent),
        witness: Arc::clone(witness.insert(recording)),
        method: request.method().as_str(),
        query: form_urlencoded::parse(request.query_string().as_bytes()).into_owned().collect(),
        version: version(headers)?,
        body: body::read(headers, payload, &Limits { body_bytes: BODY_BYTES, ..app.config.limits.clone() }).await?,
    };
    match path[..] {
        ["users"] => users::all(&call).await,
        ["users", id] => users::one(&call, id).await,
        ["users", id, part] => users::part(&call, id, part).await,
        ["clients"] => clients::all(&call).await,
        ["clients", id] => clients::one(&call, id).await,
        ["clients", id, action] => clients::act(&call, id, action).await,
        ["holds"] => holds::all(&call),
        ["holds", type_name, id] => holds::one(&call, type_name, id).await,
        ["jobs"] => jobs::all(&call),
        ["jobs", id] => jobs::one(&call, id).await,
        ["retention"] => retention::retention(&call).await,
        ["keys"] => keys::all(&call),
        ["keys", "rotate"] => {
            let begins = async || {
                let mut told = Told::of(request);
                told.note.push_str("; begins");
                shared.record(request, told.record(Cow::Borrowed(&call.agent), None)).await
            };
            keys::rotate(&call, begins).await
        }
        ["keys", "reseal"] => keys::reseal(&call).await,
        ["roles"] => roles::all(&call),
        ["roles", name] => roles::one(&call, name).await,
        ["tenants"] => tenants::all(&call).await,
        ["tenants", name] => tenants::one(&call, name).await,
        ["tenants", name, action] => tenants::act(&call, name, action).await,
        _ => Err(nothing()),
    }
}

/// The version that `If-Match` asks for; 0 for `If-None-Match: *`.
fn version(headers: &HeaderMap) -> Result<Option<u64>> {
    let one = |tags: EntityTags| match tags {
        EntityTags::Any => Ok(None),
        EntityTags::Versions(versions) => match versions[..] {
            [version] => Ok(Some(version)),
            _ => Err(Error::invalid("If-Match must name one version.")),
        },
    };
    match (text(headers, IF_MATCH)?, text(headers, IF_NONE_MATCH)?) {
        (Some(tags), _) => EntityTags::parse("If-Match", tags).and_then(one),
        (None, Some("*")) => Ok(Some(0)),
        (None, Some(_)) => Err(Error::invalid("If-None-Match can be * only.")),
        (None, None) => Ok(None),
    }
}

/// The page of a list: the id before it, and how many entries it has.
fn page<'c>(call: &'c Call<'_>) -> Result<(Option<&'c str>, usize)> {
    let count = call.parameter("count").map_or(Ok(PAGE), str::parse);
    let count = count.map_err(|_| Error::invalid("count must be a number.").at("count"))?.clamp(1, MOST);
    Ok((call.parameter("after"), count))
}

fn nothing() -> Error {
    Error::new(Category::NotFound, "not-found", "There is nothing at this URL.")
}

fn not_allowed() -> Error {
    method_not_allowed()
}

/// An error, in the form that all endpoints under `/auth` have.
fn refused(error: &Error) -> HttpResponse {
    if let Some(log) = &error.log {
        tracing::warn!(category = ?error.category, log, "an administrator's request failed");
    }
    let status = StatusCode::from_u16(error.category.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = HttpResponseBuilder::new(status);
    response.insert_header((CACHE_CONTROL, "no-store")).insert_header((PRAGMA, "no-cache"));
    match error.category {
        Category::Unauthenticated => {
            response.insert_header((WWW_AUTHENTICATE, "Bearer"));
        }
        Category::Forbidden => {
            response.insert_header((WWW_AUTHENTICATE, "Bearer error=\"insufficient_scope\", scope=\"admin\""));
        }
        _ => {}
    }
    if let Some(seconds) = error.retry_after_s {
        response.insert_header((RETRY_AFTER, seconds));
    }
    let first = error.issues.first();
    let mut body = json!({
        "error": first.map_or("exception", |issue| issue.code),
        "error_description": first.map_or("", |issue| &issue.diagnostics),
    });
    if let (Some(members), Some(member)) = (body.as_object_mut(), first.and_then(|issue| issue.expression.as_deref())) {
        members.insert("member".to_owned(), member.into());
    }
    response.json(body)
}

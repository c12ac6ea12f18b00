//! The way of one request: the file to read first.

use crate::app::App;
use crate::audit::Trail;
use crate::audit::record::Content;
use crate::clock::Micros;
use crate::config::Handling;
use crate::error::{Category, Error, Result};
use crate::fhir::binary;
use crate::fhir::parse::parse;
use crate::fhir::tree::Value;
use crate::fhir::{outcome, write};
use crate::interaction::call::{Call, Verb};
use crate::interaction::condition::Conditions;
use crate::interaction::{self, Answer, Download, Made, Request, Return, Status};
use crate::tenant::TenantId;
use std::net::IpAddr;
use std::sync::Arc;

/// A request as it arrived, in plain types. `http/request.rs` makes it.
#[derive(Debug)]
pub struct Incoming {
    /// The tenant that the path names.
    pub tenant: TenantId,
    /// The method.
    pub verb: Verb,
    /// What the path and the method ask for.
    pub call: Call,
    /// The parameters of the URL and of a form.
    pub query: Vec<(String, String)>,
    /// The address that it comes from.
    pub from: IpAddr,
    /// The bearer token of `Authorization`.
    pub token: Option<String>,
    /// What must hold.
    pub conditions: Conditions,
    /// `Prefer: return=`.
    pub prefer: Option<Return>,
    /// `Prefer: respond-async`.
    pub respond_async: bool,
    /// `Prefer: handling=`, or the setting.
    pub handling: Handling,
    /// The body.
    pub body: Body,
    /// `X-Provenance`.
    pub provenance: Option<Vec<u8>>,
    /// How the answer is written.
    pub shape: Shape,
}

/// How an answer is written.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// The media type of a resource.
    pub content_type: &'static str,
    /// Whether it is indented.
    pub pretty: bool,
    /// Whether a Binary is answered as what it holds.
    pub raw_binary: bool,
}

impl Default for Shape {
    fn default() -> Self {
        Self { content_type: FHIR_JSON, pretty: false, raw_binary: false }
    }
}

/// The body of a request.
#[derive(Debug)]
pub enum Body {
    /// None, or a form whose parameters are in the query.
    None,
    /// JSON: a resource or a patch.
    Json(Vec<u8>),
    /// NDJSON.
    Lines(Vec<u8>),
    /// What is sent as a Binary: the content, or the resource in JSON.
    Binary {
        /// The media type.
        content_type: String,
        /// `X-Security-Context`.
        security_context: Option<String>,
        /// The bytes.
        bytes: Vec<u8>,
    },
}

/// What goes back. `http/response.rs` sends it.
#[derive(Debug)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// The media type of the body.
    pub content_type: String,
    /// The version for `ETag`.
    pub version: Option<u64>,
    /// `Last-Modified`.
    pub last_modified: Option<Micros>,
    /// `WWW-Authenticate`, of a 401 or 403 (RFC 6750 section 3).
    pub www_authenticate: Option<&'static str>,
    /// `Allow`, of a 405.
    pub allow: Option<String>,
    /// `Location`.
    pub location: Option<String>,
    /// `Content-Location`.
    pub content_location: Option<String>,
    /// `X-Progress`.
    pub progress: Option<String>,
    /// `Retry-After`, in seconds.
    pub retry_after_s: Option<u32>,
    /// `Expires`.
    pub expires: Option<Micros>,
    /// The body, empty for none.
    pub body: Vec<u8>,
    /// A file to be sent as the body.
    pub download: Option<Download>,
}

/// `application/fhir+json` in UTF-8.
pub const FHIR_JSON: &str = "application/fhir+json; charset=utf-8";

/// Serves one request. Whatever happens, there is a reply.
pub async fn serve(app: &App, incoming: &Incoming) -> Reply {
    let trail = Arc::new(app.ledger.trail(incoming.call.event(), Some(incoming.from)));
    let result = run(app, incoming, &trail).await;
    let about = |content: &mut Content<'static>| interaction::tell(&incoming.call, &incoming.query, content);
    let result = app.ledger.close(incoming.tenant, &trail, result, about).await;
    match result.and_then(|answer| Reply::from_answer(answer, incoming)) {
        Ok(reply) => reply,
        Err(error) => Reply::from_error(&error, incoming.shape),
    }
}

async fn run(app: &App, incoming: &Incoming, trail: &Arc<Trail>) -> Result<Answer> {
    let token = incoming.token.as_deref();
    let grant = app.authorize(incoming.tenant, &incoming.call, token, incoming.from, trail).await?;
    let context = app.context(grant, Arc::clone(trail))?;
    let depth = context.limits.json_depth;
    let request = Request {
        verb: incoming.verb,
        call: incoming.call.clone(),
        query: incoming.query.clone(),
        conditions: incoming.conditions.clone(),
        prefer: incoming.prefer,
        respond_async: incoming.respond_async,
        handling: incoming.handling,
        body: incoming.body.to_tree(&incoming.call, depth)?,
        provenance: incoming.provenance.as_deref().map(|bytes| json(bytes, depth)).transpose()?,
    };
    interaction::perform(&context, request).await
}

fn json(bytes: &[u8], depth: usize) -> Result<Value<'_>> {
    parse(bytes, depth).map_err(|error| Error::new(Category::Invalid, "structure", error.to_string()))
}

impl Body {
    fn to_tree(&self, call: &Call, depth: usize) -> Result<Option<Value<'_>>> {
        match self {
            Self::None => Ok(None),
            Self::Json(bytes) => json(bytes, depth).map(Some),
            Self::Lines(bytes) => match str::from_utf8(bytes) {
                Ok(text) => Ok(Some(Value::String(text.into()))),
                Err(_) => Err(Error::invalid("The body is not in UTF-8.")),
            },
            Self::Binary { content_type, security_context, bytes } => {
                // What says to be JSON has to be JSON. It is content like any other, unless it is a Binary itself.
                if content_type.to_ascii_lowercase().contains("json") {
                    let tree = json(bytes, depth)?;
                    if tree.get("resourceType").and_then(Value::as_str) == Some("Binary") {
                        return Ok(Some(tree));
                    }
                }
                let id = if let Call::Update { id, .. } = call { Some(id.as_str()) } else { None };
                Ok(Some(binary::resource(id, content_type, security_context.as_deref(), bytes)))
            }
        }
    }
}

/// How a client hears what it lacks.
fn challenge(error: &Error) -> Option<&'static str> {
    match (error.category, error.issues.first().map(|issue| issue.code)) {
        (Category::Unauthenticated, Some("login")) => Some("Bearer realm=\"fhir\""),
        (Category::Unauthenticated, _) => Some("Bearer realm=\"fhir\", error=\"invalid_token\""),
        (Category::Forbidden, _) => Some("Bearer realm=\"fhir\", error=\"insufficient_scope\""),
        _ => None,
    }
}

impl Reply {
    fn from_answer(answer: Answer, incoming: &Incoming) -> Result<Self> {
        let status = match answer.status {
            Status::Ok => 200,
            Status::Created => 201,
            Status::Accepted => 202,
            Status::NoContent => 204,
            Status::NotModified => 304,
        };
        let shape = incoming.shape;
        let mut content_type = shape.content_type.to_owned();
        let mut body = match answer.body {
            None if !answer.issues.is_empty() => write::to_vec(&outcome::outcome(&answer.issues)),
            body => body.unwrap_or_default(),
        };
        let (mut expires, mut download) = (None, None);
        match answer.made {
            // It is no resource: https://hl7.org/fhir/uv/bulkdata/export.html#response---complete-status
            Some(Made::Manifest(json, until)) => {
                (content_type, body, expires) = ("application/json".to_owned(), json, until);
            }
            Some(Made::File(file)) => download = Some(file),
            None => {}
        }
        if shape.raw_binary && !body.is_empty() {
            (content_type, body) = binary::content(&body)?;
        } else if shape.pretty && !body.is_empty() {
            let tree = parse(&body, usize::MAX).map_err(Error::internal)?;
            body = write::to_vec_pretty(&tree);
        }
        Ok(Self {
            status,
            content_type,
            version: answer.version.map(|(version, _)| version),
            last_modified: answer.version.map(|(_, time)| time),
            www_authenticate: None,
            allow: None,
            location: answer.location,
            retry_after_s: answer.pending.as_ref().map(|pending| pending.retry_after_s),
            content_location: answer.pending.as_ref().and_then(|pending| pending.content_location.clone()),
            progress: answer.pending.and_then(|pending| pending.progress),
            expires,
            body,
            download,
        })
    }

    /// The reply to a request that failed: an OperationOutcome.
    #[must_use]
    pub fn from_error(error: &Error, shape: Shape) -> Self {
        if let Some(log) = &error.log {
            tracing::warn!(category = ?error.category, log, "a request failed");
        }
        let outcome = outcome::outcome(&error.issues);
        Self {
            status: error.category.status(),
            content_type: shape.content_type.to_owned(),
            version: error.version,
            last_modified: None,
            www_authenticate: challenge(error),
            allow: None,
            location: None,
            content_location: None,
            progress: None,
            retry_after_s: error.retry_after_s,
            expires: None,
            body: if shape.pretty { write::to_vec_pretty(&outcome) } else { write::to_vec(&outcome) },
            download: None,
        }
    }
}

//! An actix request as an [`Incoming`], and the one handler of everything below a FHIR base.

use super::negotiate::{self, BodyFormat};
use super::prefer::Prefer;
use super::response::{REQUEST_ID, send};
use super::{Shared, body};
use crate::error::{Category, Error, Result};
use crate::interaction::call::{Call, Verb};
use crate::interaction::condition::{Conditions, EntityTags, parse_http_date};
use crate::interaction::criteria::pairs;
use crate::serve::{Body, Incoming, Reply, serve};
use crate::tenant::TenantId;
use actix_web::http::header::{self, AsHeaderName, HeaderMap};
use actix_web::{HttpRequest, HttpResponse, web};
use futures_util::FutureExt;
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

/// Requests with a body up to this size are served where they arrive; greater ones, and all that may search, go to the
/// blocking pool, so that they never hold up their neighbours.
const INLINE_BYTES: usize = 64 << 10;

/// Serves a request under a FHIR base.
pub async fn fhir(request: HttpRequest, payload: web::Payload, shared: web::Data<Shared>) -> HttpResponse {
    let started = Instant::now();
    let request_id = request_id(&request, &shared);
    let (code, reply) = match incoming(&request, payload, &shared).await {
        Ok(incoming) => (incoming.call.code(), within_time(&shared, incoming).await),
        Err(error) => ("none", Reply::from_error(&error, false)),
    };
    let status = reply.status.to_string();
    metrics::counter!("pharos_requests_total", "interaction" => code, "status" => status).increment(1);
    metrics::histogram!("pharos_request_seconds", "interaction" => code).record(started.elapsed().as_secs_f64());
    tracing::debug!(
        request_id,
        interaction = code,
        status = reply.status,
        micros = started.elapsed().as_micros(),
        "served"
    );
    send(reply, Some(&request_id))
}

/// Serves within `limits.request_timeout_ms`. A panic is a 500, not a lost connection.
async fn within_time(shared: &web::Data<Shared>, incoming: Incoming) -> Reply {
    let limit = Duration::from_millis(shared.app.config.limits.request_timeout_ms);
    let pretty = incoming.pretty;
    let failed = |error: Error| Reply::from_error(&error, pretty);
    let panicked = || failed(Error::internal("a request panicked"));
    let reply = if runs_inline(shared, &incoming) {
        let serving = AssertUnwindSafe(serve(&shared.app, &incoming)).catch_unwind();
        tokio::time::timeout(limit, serving).await.map(|reply| reply.unwrap_or_else(|_| panicked()))
    } else {
        let (app, handle) = (shared.app.clone(), tokio::runtime::Handle::current());
        let serving = tokio::task::spawn_blocking(move || handle.block_on(serve(&app, &incoming)));
        tokio::time::timeout(limit, serving).await.map(|reply| reply.unwrap_or_else(|_| panicked()))
    };
    reply.unwrap_or_else(|_| {
        let text = "The request took longer than limits.request_timeout_ms allows. A change may have been made or not.";
        failed(Error::new(Category::Timeout, "timeout", text))
    })
}

fn runs_inline(shared: &Shared, incoming: &Incoming) -> bool {
    let short = match &incoming.call {
        Call::Capabilities | Call::Read { .. } | Call::Vread { .. } => true,
        Call::Create { .. } => incoming.conditions.if_none_exist.is_none(),
        Call::Update { .. } | Call::Patch { .. } | Call::Delete { .. } => true,
        _ => false,
    };
    let small = match &incoming.body {
        Body::None => true,
        Body::Json(bytes) | Body::Binary { bytes, .. } => bytes.len() <= INLINE_BYTES,
    };
    short && small && shared.app.store().is_local()
}

async fn incoming(request: &HttpRequest, payload: web::Payload, shared: &Shared) -> Result<Incoming> {
    let config = &shared.app.config;
    let headers = request.headers();
    let uri = request.uri();
    if uri.path().len() + uri.query().map_or(0, str::len) > config.limits.url_bytes {
        return Err(Error::new(Category::UriTooLong, "too-long", "The URL is longer than limits.url_bytes allows."));
    }
    let verb = Verb::parse(request.method().as_str())
        .ok_or_else(|| Error::new(Category::MethodNotAllowed, "not-supported", "FHIR has no such method."))?;
    let path = segments(uri.path())?;
    let path: Vec<&str> = path.iter().skip(1).map(String::as_str).collect();
    let call = Call::parse(verb, &path)?;
    let mut query = pairs(uri.query().unwrap_or_default());
    let format = query.iter().find(|(name, _)| name == "_format").map(|(_, value)| value.as_str());
    let accept = all(headers, header::ACCEPT);
    let raw_binary = is_raw_binary(&call, accept.as_deref(), format);
    if !raw_binary {
        negotiate::accepted(accept.as_deref(), format)?;
    }
    let pretty =
        query.iter().find(|(name, _)| name == "_pretty").map_or(Ok(false), |(_, value)| negotiate::pretty(value))?;
    let prefer = all(headers, "Prefer").map(|text| Prefer::parse([text.as_str()])).unwrap_or_default();
    let body = read_body(request, payload, shared, &call, verb, &mut query).await?;
    Ok(Incoming {
        tenant: TenantId::DEFAULT,
        verb,
        conditions: conditions(headers)?,
        call,
        query,
        prefer: prefer.returning,
        handling: prefer.handling.unwrap_or(config.handling),
        body,
        provenance: text(headers, "X-Provenance").map(|text| text.as_bytes().to_vec()),
        pretty,
        raw_binary,
    })
}

async fn read_body(
    request: &HttpRequest,
    payload: web::Payload,
    shared: &Shared,
    call: &Call,
    verb: Verb,
    query: &mut Vec<(String, String)>,
) -> Result<Body> {
    if matches!(verb, Verb::Get | Verb::Head | Verb::Delete) {
        return Ok(Body::None);
    }
    let headers = request.headers();
    let content_type = text(headers, header::CONTENT_TYPE);
    let format = negotiate::body_format(content_type);
    let is_binary =
        matches!(call, Call::Create { type_name } | Call::Update { type_name, .. } if type_name == "Binary");
    let is_search = matches!(call, Call::Search { .. } | Call::CompartmentSearch { .. });
    if format.is_err() && !is_binary && !(is_search && content_type.is_none()) {
        let bytes = body::is_announced(headers);
        // An operation may be called by POST without a body, and then without a content type.
        if bytes || !matches!(call, Call::Operation { .. }) {
            format?;
        }
        return Ok(Body::None);
    }
    let bytes = body::read(headers, payload, &shared.app.config.limits).await?;
    match format {
        Ok(BodyFormat::Form) => {
            let form = std::str::from_utf8(&bytes).map_err(|_| Error::invalid("The form is not in UTF-8."))?;
            query.extend(form_urlencoded::parse(form.as_bytes()).into_owned());
            Ok(Body::None)
        }
        Ok(_) if is_search => Err(Error::new(
            Category::UnsupportedMediaType,
            "not-supported",
            "The parameters of a search are sent as application/x-www-form-urlencoded.",
        )),
        Ok(_) if bytes.is_empty() => Ok(Body::None),
        Ok(_) => Ok(Body::Json(bytes)),
        Err(_) if is_search => Ok(Body::None),
        Err(_) => Ok(Body::Binary {
            content_type: content_type.unwrap_or("application/octet-stream").to_owned(),
            security_context: text(headers, "X-Security-Context").map(str::to_owned),
            bytes,
        }),
    }
}

/// A Binary is answered as what it holds unless a FHIR format is asked for by name.
fn is_raw_binary(call: &Call, accept: Option<&str>, format: Option<&str>) -> bool {
    let binary = matches!(call, Call::Read { type_name, .. } | Call::Vread { type_name, .. } if type_name == "Binary");
    let names_json = |accept: &str| accept.to_ascii_lowercase().contains("json") || accept.contains("fhir");
    binary && format.is_none() && !accept.is_some_and(names_json)
}

fn conditions(headers: &HeaderMap) -> Result<Conditions> {
    let tags = |name: &'static str| all(headers, name).map(|text| EntityTags::parse(name, &text)).transpose();
    Ok(Conditions {
        if_match: tags("If-Match")?,
        if_none_match: tags("If-None-Match")?,
        if_modified_since: text(headers, header::IF_MODIFIED_SINCE).and_then(parse_http_date),
        if_none_exist: text(headers, "If-None-Exist").map(str::to_owned),
    })
}

/// The decoded segments of a path. A single slash at the end is allowed, an empty segment elsewhere is not.
fn segments(path: &str) -> Result<Vec<String>> {
    let path = path.strip_prefix('/').unwrap_or(path);
    let path = path.strip_suffix('/').unwrap_or(path);
    let decode = |segment: &str| {
        let text = percent_encoding::percent_decode_str(segment).decode_utf8();
        match text {
            Ok(text) if !text.is_empty() => Ok(text.into_owned()),
            Ok(_) => Err(Error::not_found()),
            Err(_) => Err(Error::invalid("The path is not in UTF-8.")),
        }
    };
    path.split('/').map(decode).collect()
}

/// The header, where it is there once and is text.
fn text(headers: &HeaderMap, name: impl AsHeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// All headers of a name, as one list.
fn all(headers: &HeaderMap, name: impl AsHeaderName) -> Option<String> {
    let values: Vec<&str> = headers.get_all(name).filter_map(|value| value.to_str().ok()).collect();
    (!values.is_empty()).then(|| values.join(", "))
}

/// The client's request id, where it is short and plain; else a new one.
fn request_id(request: &HttpRequest, shared: &Shared) -> String {
    let plain = |id: &&str| {
        (1..=128).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    text(request.headers(), REQUEST_ID).filter(plain).map_or_else(|| shared.app.new_id(), str::to_owned)
}

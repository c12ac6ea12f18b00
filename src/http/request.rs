//! An actix request as an [`Incoming`], and the one handler of everything below a FHIR base.

use super::prefer::Prefer;
use super::response::{REQUEST_ID, send};
use super::{Shared, address, content, download, negotiate, series};
use crate::error::{Category, Error, Result};
use crate::interaction::call::{Call, Verb, allowed, method_not_allowed, segments};
use crate::interaction::condition::{Conditions, EntityTags, parse_http_date};
use crate::interaction::criteria::pairs;
use crate::serve::{Body, Incoming, Reply, Shape, serve};
use crate::tenant::TenantId;
use actix_web::http::header::{self, AsHeaderName, HeaderMap, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, web};
use futures_util::FutureExt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Requests with a body up to this size are served where they arrive; greater ones, and all that may search, go to the
/// blocking pool, so that they never hold up their neighbours.
const INLINE_BYTES: usize = 64 << 10;

/// Serves a request under a FHIR base. A panic is a 500, not a lost connection.
pub async fn fhir(request: HttpRequest, payload: web::Payload, shared: web::Data<Shared>) -> HttpResponse {
    let started = Instant::now();
    let request_id = request_id(&request, &shared);
    shared.look_up_tenants().await;
    let (registered, path) = match shared.tenant_at(request.path()) {
        Ok(found) => found,
        Err(error) => {
            let error = shared.refused(&request, error).await;
            series::record(None, "none", error.category.status(), started.elapsed());
            let reply = Reply { www_authenticate: None, ..Reply::from_error(&error, Shape::default()) };
            return send(reply, Some(&request_id));
        }
    };
    let target = (registered.id(), path);
    let answering = AssertUnwindSafe(answer(&request, target, payload, &shared)).catch_unwind().await;
    let (code, mut reply) = answering.unwrap_or_else(|_| ("none", panicked(Shape::default())));
    if reply.status == Category::MethodNotAllowed.status() {
        reply.allow = below_base(path).ok().map(|path| allowed(&strs(&path)));
    }
    series::record(Some(&registered.tenant), code, reply.status, started.elapsed());
    tracing::debug!(
        request_id,
        interaction = code,
        status = reply.status,
        micros = started.elapsed().as_micros(),
        "served"
    );
    match reply.download.take() {
        Some(file) => download::send(&request, file, &request_id).await,
        None => send(reply, Some(&request_id)),
    }
}

/// The name of the interaction, for the metrics, and what to answer.
async fn answer(
    request: &HttpRequest,
    target: (TenantId, &str),
    payload: web::Payload,
    shared: &Shared,
) -> (&'static str, Reply) {
    match incoming(request, target, payload, shared).await {
        Ok(incoming) => {
            let limit = Duration::from_millis(shared.app.config.limits.request_timeout_ms);
            let (code, shape) = (incoming.call.code(), incoming.shape);
            let inline = runs_inline(shared, &incoming);
            let app = Arc::clone(&shared.app);
            (code, within_time(limit, inline, shape, async move { serve(&app, &incoming).await }).await)
        }
        Err(error) => {
            let error = shared.refused(request, error).await;
            let pretty = pairs(request.query_string()).iter().any(|pair| pair.0 == "_pretty" && pair.1 == "true");
            ("none", Reply::from_error(&error, Shape { pretty, ..Shape::default() }))
        }
    }
}

/// Serves within a time limit, here or on the blocking pool. A panic is a 500. What is given up has done all of its
/// change or nothing: a commit is one step.
async fn within_time(
    limit: Duration,
    inline: bool,
    shape: Shape,
    serving: impl Future<Output = Reply> + Send + 'static,
) -> Reply {
    let done = if inline {
        let serving = AssertUnwindSafe(serving).catch_unwind();
        tokio::time::timeout(limit, serving).await.map(|reply| reply.unwrap_or_else(|_| panicked(shape)))
    } else {
        let handle = tokio::runtime::Handle::current();
        let serving = tokio::task::spawn_blocking(move || handle.block_on(serving));
        tokio::time::timeout(limit, serving).await.map(|reply| reply.unwrap_or_else(|_| panicked(shape)))
    };
    done.unwrap_or_else(|_| {
        let text = "The request took longer than limits.request_timeout_ms allows. A change may have been made or not.";
        Reply::from_error(&Error::new(Category::Timeout, "timeout", text), shape)
    })
}

fn panicked(shape: Shape) -> Reply {
    Reply::from_error(&Error::internal("a request panicked"), shape)
}

/// A FHIRPath Patch may take its time, so no patch is served where it arrives.
fn runs_inline(shared: &Shared, incoming: &Incoming) -> bool {
    let short = match &incoming.call {
        Call::Capabilities | Call::Read { .. } | Call::Vread { .. } | Call::Update { .. } | Call::Delete { .. } => true,
        Call::Create { .. } => incoming.conditions.if_none_exist.is_none(),
        _ => false,
    };
    let small = match &incoming.body {
        Body::None => true,
        Body::Json(bytes) | Body::Lines(bytes) | Body::Binary { bytes, .. } => bytes.len() <= INLINE_BYTES,
    };
    short && small && shared.app.store().is_local()
}

/// `path` is what follows the tenant.
async fn incoming(
    request: &HttpRequest,
    (tenant, path): (TenantId, &str),
    payload: web::Payload,
    shared: &Shared,
) -> Result<Incoming> {
    let config = &shared.app.config;
    let headers = request.headers();
    let uri = request.uri();
    let query = uri.query().unwrap_or_default();
    if uri.path().len() + query.len() > config.limits.url_bytes {
        return Err(Error::new(Category::UriTooLong, "too-long", "The URL is longer than limits.url_bytes allows."));
    }
    if percent_encoding::percent_decode_str(query).decode_utf8().is_err() {
        return Err(Error::invalid("The query of the URL is not in UTF-8."));
    }
    let verb = Verb::parse(request.method().as_str()).ok_or_else(method_not_allowed)?;
    let call = Call::parse(verb, &strs(&below_base(path)?))?;
    let mut query = pairs(query);
    let shape = shape(headers, &call, &query)?;
    let prefer = all(headers, "Prefer").map(|text| Prefer::parse([text.as_str()])).unwrap_or_default();
    let conditions = conditions(headers)?;
    let provenance = text(headers, "X-Provenance")?.map(|text| text.as_bytes().to_vec());
    let body = content::read(headers, payload, &config.limits, (verb, &call), &mut query).await?;
    Ok(Incoming {
        tenant,
        from: address::of(request, &config.trusted_proxies),
        token: bearer(headers)?,
        verb,
        conditions,
        call,
        query,
        prefer: prefer.returning,
        respond_async: prefer.respond_async,
        handling: prefer.handling.unwrap_or(config.handling),
        body,
        provenance,
        shape,
    })
}

/// The token of `Authorization: Bearer`. Any other scheme is no proof here.
pub(super) fn bearer(headers: &HeaderMap) -> Result<Option<String>> {
    let Some(text) = text(headers, header::AUTHORIZATION)? else { return Ok(None) };
    match text.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(Some(token.trim().to_owned())),
        _ => Err(Error::new(Category::Unauthenticated, "login", "Only bearer tokens are taken.")),
    }
}

fn shape(headers: &HeaderMap, call: &Call, query: &[(String, String)]) -> Result<Shape> {
    let value = |name: &str| query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    let accept = all(headers, header::ACCEPT);
    let pretty = value("_pretty").map_or(Ok(false), negotiate::pretty)?;
    if matches!(call, Call::JobFile { .. }) {
        return Ok(Shape { pretty, ..Shape::default() });
    }
    let asks_for_part = value("_summary").or_else(|| value("_elements")).is_some();
    if !asks_for_part && is_raw_binary(call, accept.as_deref(), value("_format")) {
        return Ok(Shape { pretty, raw_binary: true, ..Shape::default() });
    }
    let accepted = negotiate::accepted(accept.as_deref(), value("_format"))?;
    Ok(Shape { content_type: accepted.content_type(), pretty, raw_binary: false })
}

/// A Binary is answered as what it holds unless a FHIR format is asked for by name.
fn is_raw_binary(call: &Call, accept: Option<&str>, format: Option<&str>) -> bool {
    let binary = matches!(call, Call::Read { type_name, .. } | Call::Vread { type_name, .. } if type_name == "Binary");
    let names_json = |accept: &str| accept.to_ascii_lowercase().contains("json") || accept.contains("fhir");
    binary && format.is_none() && !accept.is_some_and(names_json)
}

fn conditions(headers: &HeaderMap) -> Result<Conditions> {
    let tags = |name: &'static str| list(headers, name)?.map(|text| EntityTags::parse(name, &text)).transpose();
    Ok(Conditions {
        if_match: tags("If-Match")?,
        if_none_match: tags("If-None-Match")?,
        if_modified_since: text(headers, "If-Modified-Since")?.and_then(parse_http_date),
        if_none_exist: text(headers, "If-None-Exist")?.map(str::to_owned),
    })
}

/// The decoded segments of a path after `/fhir`.
fn below_base(path: &str) -> Result<Vec<String>> {
    Ok(segments(path)?.into_iter().skip(1).collect())
}

fn strs(path: &[String]) -> Vec<&str> {
    path.iter().map(String::as_str).collect()
}

/// A header that may be there once, in UTF-8. Any that changes what a request does is read by this: what can't be read must
/// not be passed over.
///
/// # Errors
/// 400 where it is there twice, or not in UTF-8.
pub(super) fn text(headers: &HeaderMap, name: impl AsHeaderName) -> Result<Option<&str>> {
    let mut values = headers.get_all(name);
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => Ok(Some(utf8(value)?)),
        (Some(_), Some(_)) => Err(Error::invalid("A header that may be there once is there twice.")),
    }
}

/// All headers of a name, as one list.
fn list(headers: &HeaderMap, name: &'static str) -> Result<Option<String>> {
    let values: Vec<&str> = headers.get_all(name).map(utf8).collect::<Result<_>>()?;
    Ok((!values.is_empty()).then(|| values.join(", ")))
}

fn utf8(value: &HeaderValue) -> Result<&str> {
    str::from_utf8(value.as_bytes()).map_err(|_| Error::invalid("A header is not in UTF-8."))
}

/// All headers of a name that state wishes, as one list; what can't be read is no wish.
fn all(headers: &HeaderMap, name: impl AsHeaderName) -> Option<String> {
    let values: Vec<&str> = headers.get_all(name).filter_map(|value| value.to_str().ok()).collect();
    (!values.is_empty()).then(|| values.join(", "))
}

/// The client's request id, where it is short and plain; else a new one.
fn request_id(request: &HttpRequest, shared: &Shared) -> String {
    let plain = |id: &&str| {
        (1..=128).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    let given = text(request.headers(), REQUEST_ID.as_str()).ok().flatten();
    given.filter(plain).map_or_else(|| shared.requests.next(), str::to_owned)
}

#[cfg(test)]
#[allow(clippy::panic)]
mod tests {
    use super::*;

    #[actix_web::test]
    async fn a_panic_is_a_500_and_a_late_answer_a_503() {
        let (soon, late) = (Duration::from_mins(1), Duration::from_millis(1));
        for inline in [true, false] {
            let panics = async { panic!("on purpose") };
            let reply = within_time(soon, inline, Shape::default(), panics).await;
            assert_eq!(reply.status, 500);
            assert!(reply.body.starts_with(br#"{"resourceType":"OperationOutcome""#));
        }
        assert_eq!(within_time(late, true, Shape::default(), std::future::pending()).await.status, 503);
    }
}

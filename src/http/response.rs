//! A [`Reply`] as an actix response.

use crate::serve::Reply;
use actix_web::http::StatusCode;
use actix_web::http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_LOCATION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, EXPIRES, HeaderName,
    HeaderValue, LAST_MODIFIED, LOCATION, RETRY_AFTER, VARY, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use actix_web::{HttpResponse, HttpResponseBuilder};

/// `X-Request-Id`.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// `X-Progress`.
const PROGRESS: HeaderName = HeaderName::from_static("x-progress");

/// Sends a reply.
pub fn send(reply: Reply, request_id: Option<&str>) -> HttpResponse {
    let mut builder = private(StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR));
    if let Some(version) = reply.version {
        builder.insert_header((ETAG, format!("W/\"{version}\"")));
    }
    if let Some(time) = reply.expires {
        builder.insert_header((EXPIRES, time.to_http_date()));
    }
    if let Some(time) = reply.last_modified {
        builder.insert_header((LAST_MODIFIED, time.to_http_date()));
    }
    let texts = [
        (ALLOW, reply.allow.as_deref()),
        (LOCATION, reply.location.as_deref()),
        (CONTENT_LOCATION, reply.content_location.as_deref()),
        (PROGRESS, reply.progress.as_deref()),
        (REQUEST_ID, request_id),
    ];
    for (name, value) in texts {
        if let Some(value) = value.and_then(|value| HeaderValue::from_str(value).ok()) {
            builder.insert_header((name, value));
        }
    }
    if let Some(challenge) = reply.www_authenticate {
        builder.insert_header((WWW_AUTHENTICATE, challenge));
    }
    if let Some(seconds) = reply.retry_after_s {
        builder.insert_header((RETRY_AFTER, seconds));
    }
    if reply.body.is_empty() {
        return builder.finish();
    }
    if may_hold_scripts(&reply.content_type) {
        builder.insert_header((CONTENT_SECURITY_POLICY, "sandbox"));
    }
    builder.insert_header((CONTENT_TYPE, reply.content_type));
    builder.body(reply.body)
}

/// Patient data is for the client alone, and asked for anew each time: an entity tag makes that cheap.
pub fn private(status: StatusCode) -> HttpResponseBuilder {
    let mut builder = HttpResponseBuilder::new(status);
    builder.insert_header((CACHE_CONTROL, "private, no-cache"));
    builder.insert_header((VARY, "accept, authorization, origin, prefer"));
    builder.insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"));
    builder
}

/// A Binary may be a page that somebody stored: a browser shows it, but runs nothing of it under the server's own address.
fn may_hold_scripts(content_type: &str) -> bool {
    let content_type = content_type.to_ascii_lowercase();
    ["html", "xml", "svg"].iter().any(|kind| content_type.contains(kind))
}

//! A [`Reply`] as an actix response.

use crate::serve::Reply;
use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_TYPE, ETAG, HeaderName, HeaderValue, LAST_MODIFIED, LOCATION, RETRY_AFTER};
use actix_web::{HttpResponse, HttpResponseBuilder};

/// `X-Request-Id`.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Sends a reply.
pub fn send(reply: Reply, request_id: Option<&str>) -> HttpResponse {
    let status = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut builder = HttpResponseBuilder::new(status);
    if let Some((version, time)) = reply.version {
        builder.insert_header((ETAG, format!("W/\"{version}\"")));
        builder.insert_header((LAST_MODIFIED, time.to_http_date()));
    }
    for (name, value) in [(LOCATION, reply.location.as_deref()), (REQUEST_ID, request_id)] {
        if let Some(value) = value.and_then(|value| HeaderValue::from_str(value).ok()) {
            builder.insert_header((name, value));
        }
    }
    if let Some(seconds) = reply.retry_after_s {
        builder.insert_header((RETRY_AFTER, seconds));
    }
    if reply.body.is_empty() {
        return builder.finish();
    }
    builder.insert_header((CONTENT_TYPE, reply.content_type));
    builder.body(reply.body)
}

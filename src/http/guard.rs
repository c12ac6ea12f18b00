//! What holds for every request under `/auth`: it is for a tenant that is served, a panic is a 500 and no lost connection, an answer comes in time, a URL has a length,
//! and an address no more requests than its limit.

use super::{Shared, address, tenant};
use crate::error::{Category, Error};
use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::error::InternalError;
use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, RETRY_AFTER};
use actix_web::middleware::Next;
use actix_web::{HttpResponse, web};
use futures_util::FutureExt;
use serde_json::json;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

/// Said to an app whose requests were counted before they came to it.
pub struct Counted;

/// Lets a request on, within the limits.
pub async fn guard<B: MessageBody>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, actix_web::Error> {
    let shared = request.app_data::<web::Data<Shared>>().cloned();
    let shared = shared.ok_or_else(|| refusal(&Error::internal("no app")))?;
    let app = &shared.app;
    let limits = &app.config.limits;
    if request.uri().path_and_query().map_or(0, |url| url.as_str().len()) > limits.url_bytes {
        let text = "The URL is longer than limits.url_bytes allows.";
        return Err(refusal(&Error::new(Category::UriTooLong, "too-long", text)));
    }
    let counted = match request.app_data::<Counted>() {
        Some(Counted) => Ok(()),
        None => app.count_address(address::of(request.request(), &app.config.trusted_proxies)),
    };
    let served = counted.and_then(|()| shared.tenant_at(request.path()));
    match served {
        Ok((registered, _)) => tenant::note(&request, registered.id()),
        Err(error) => return Err(refusal(&shared.refused(request.request(), error).await)),
    }
    let limit = Duration::from_millis(limits.request_timeout_ms);
    let answering = AssertUnwindSafe(next.call(request)).catch_unwind();
    match tokio::time::timeout(limit, answering).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) => Err(refusal(&Error::internal("a request to the authorization server panicked"))),
        Err(_) => Err(refusal(&late())),
    }
}

/// A request that took too long.
pub(super) fn late() -> Error {
    let text = "The request took longer than limits.request_timeout_ms allows. A change may have been made or not.";
    Error::new(Category::Timeout, "timeout", text)
}

/// The codes of RFC 6749 section 5.2 and 4.1.2.1 that come nearest.
const fn code(category: Category) -> &'static str {
    match category {
        Category::TooManyRequests => "slow_down",
        Category::Timeout | Category::Unavailable => "temporarily_unavailable",
        Category::Internal => "server_error",
        _ => "invalid_request",
    }
}

fn refusal(error: &Error) -> actix_web::Error {
    let text = error.issues.first().map(|issue| issue.diagnostics.clone()).unwrap_or_default();
    InternalError::from_response(text, refused(error)).into()
}

/// The answer to a request that got to no endpoint.
pub(super) fn refused(error: &Error) -> HttpResponse {
    if let Some(log) = &error.log {
        tracing::error!(log, "a request failed");
    }
    let status = StatusCode::from_u16(error.category.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut answer = HttpResponse::build(status);
    answer.insert_header((CACHE_CONTROL, "no-store"));
    if let Some(seconds) = error.retry_after_s {
        answer.insert_header((RETRY_AFTER, seconds));
    }
    let text = error.issues.first().map(|issue| issue.diagnostics.clone()).unwrap_or_default();
    answer.json(json!({ "error": code(error.category), "error_description": text }))
}

#[cfg(test)]
#[allow(clippy::panic)]
mod tests {
    use super::*;
    use actix_web::http::header::CONTENT_TYPE;

    #[test]
    fn what_is_refused_is_told_in_json() {
        let mut error = Error::new(Category::TooManyRequests, "throttled", "Too many.");
        error.retry_after_s = Some(7);
        let answer = refusal(&error).error_response();
        assert_eq!(answer.status(), 429);
        assert_eq!(answer.headers().get(RETRY_AFTER).unwrap(), "7");
        assert_eq!(answer.headers().get(CONTENT_TYPE).unwrap(), "application/json");
    }
}

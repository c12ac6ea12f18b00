//! Which web pages may call what: <https://fetch.spec.whatwg.org/#http-cors-protocol>.
//!
//! What needs no token is for pages of every origin. The endpoints that an app calls from a browser, and all of FHIR, are for the
//! origins that clients are registered with. Cookies are never let in (no `Access-Control-Allow-Credentials`), so a page can do
//! nothing here without a token of its own.

use super::Shared;
use super::tenant::split;
use actix_web::http::Method;
use actix_web::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, HeaderMap, HeaderValue,
    ORIGIN, VARY,
};
use actix_web::{HttpRequest, HttpResponse};

const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE";

const HEADERS: &str =
    "Authorization, Content-Type, Prefer, If-Match, If-None-Match, If-None-Exist, If-Modified-Since, X-Request-Id";

const EXPOSED: &str =
    "ETag, Location, Content-Location, Last-Modified, Retry-After, X-Progress, X-Request-Id, WWW-Authenticate";

/// How long a browser may remember the answer to a preflight, in seconds.
const MAX_AGE_S: u64 = 600;

/// The pages of which origins may call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Audience {
    Anybody,
    Registered,
    Nobody,
}

impl Audience {
    /// The one table from a path to who may call it from a web page.
    fn of(path: &str) -> Self {
        let (_, path) = split(path);
        match path {
            "/fhir/metadata" | "/auth/keys" => Self::Anybody,
            "/auth/token" | "/auth/revoke" | "/auth/userinfo" | "/auth/launch" => Self::Registered,
            _ if path.starts_with("/fhir/.well-known/") => Self::Anybody,
            _ if path == "/fhir" || path.starts_with("/fhir/") => Self::Registered,
            _ => Self::Nobody,
        }
    }
}

/// Answers a request, and tells a browser whether the page that asked may see the answer, whatever it is. Answers a preflight
/// itself.
pub async fn around(
    request: &HttpRequest,
    shared: &Shared,
    answering: impl Future<Output = HttpResponse>,
) -> HttpResponse {
    let Some(origin) = request.headers().get(ORIGIN) else { return answering.await };
    let allowed = allowed(request.path(), origin, shared).await;
    let is_preflight =
        request.method() == Method::OPTIONS && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = if is_preflight { HttpResponse::NoContent().finish() } else { answering.await };
    let headers = response.headers_mut();
    if let Some(origin) = allowed {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        if is_preflight {
            permit(headers);
        } else {
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
        }
    }
    if is_preflight {
        headers.insert(VARY, HeaderValue::from_static("origin, access-control-request-method"));
    }
    response
}

fn permit(headers: &mut HeaderMap) {
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(METHODS));
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(HEADERS));
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from(MAX_AGE_S));
}

/// `Access-Control-Allow-Origin`, where the page may see the answer.
async fn allowed(path: &str, origin: &HeaderValue, shared: &Shared) -> Option<HeaderValue> {
    match Audience::of(path) {
        Audience::Anybody => Some(HeaderValue::from_static("*")),
        Audience::Nobody => None,
        Audience::Registered if shared.app.store().is_local() => registered(path, origin, shared),
        Audience::Registered => {
            let (path, origin, shared) = (path.to_owned(), origin.clone(), shared.clone());
            tokio::task::spawn_blocking(move || registered(&path, &origin, &shared)).await.ok().flatten()
        }
    }
}

/// An origin that a client of the tenant is registered with. It may have to be looked up.
fn registered(path: &str, origin: &HeaderValue, shared: &Shared) -> Option<HeaderValue> {
    let (registered, _) = shared.tenant_at(path).ok()?;
    let has = shared.app.auth.has_origin(registered.id(), origin.to_str().ok()?);
    let has = has.inspect_err(|error| tracing::warn!(%error, "the origins of clients can't be read"));
    has.unwrap_or(false).then(|| origin.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_path_has_its_audience() {
        for (path, audience) in [
            ("/fhir/metadata", Audience::Anybody),
            ("/fhir/.well-known/smart-configuration", Audience::Anybody),
            ("/auth/keys", Audience::Anybody),
            ("/fhir", Audience::Registered),
            ("/fhir/Patient/1", Audience::Registered),
            ("/fhir/metadata/x", Audience::Registered),
            ("/auth/token", Audience::Registered),
            ("/auth/authorize", Audience::Nobody),
            ("/auth/introspect", Audience::Nobody),
            ("/fhirx", Audience::Nobody),
            ("/t/acme/fhir/metadata", Audience::Anybody),
            ("/t/acme/fhir/Patient", Audience::Registered),
            ("/t/acme/auth/token", Audience::Registered),
            ("/t/acme/auth/sign-in", Audience::Nobody),
            ("/t/fhir/metadata", Audience::Nobody),
            ("/health/live", Audience::Nobody),
        ] {
            assert_eq!(Audience::of(path), audience, "{path}");
        }
    }
}

//! `/auth/upstream/{name}` and `/auth/upstream/{name}/callback`: the way to another provider and back.

use super::Shared;
use crate::auth::form::Form;
use crate::auth::upstream::UpstreamError;
use crate::tenant::TenantId;
use actix_web::http::StatusCode;
use actix_web::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, COOKIE, LOCATION, REFERRER_POLICY, SET_COOKIE, X_CONTENT_TYPE_OPTIONS,
};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder, web};

const TENANT: TenantId = TenantId::DEFAULT;

/// Sends the browser to the provider.
pub async fn start(request: HttpRequest, name: web::Path<String>, shared: web::Data<Shared>) -> HttpResponse {
    let departing = async {
        let asked = Form::parse(request.query_string().as_bytes())?;
        let cookie = cookie(&request, &shared);
        shared.app.auth.start_upstream(TENANT, &name, asked.get("pending"), cookie.as_deref()).await
    };
    match departing.await {
        Ok(departure) => begin(StatusCode::SEE_OTHER)
            .insert_header((SET_COOKIE, shared.app.auth.upstream_cookie(&departure.cookie)))
            .insert_header((LOCATION, departure.address.as_str()))
            .finish(),
        Err(error) => refused(&name, &error),
    }
}

/// Takes the browser back. It goes on to the request that waited, or to what the user granted.
pub async fn callback(request: HttpRequest, name: web::Path<String>, shared: web::Data<Shared>) -> HttpResponse {
    let arriving = async {
        let answer = Form::parse(request.query_string().as_bytes())?;
        let cookie = cookie(&request, &shared);
        shared.app.auth.finish_upstream(TENANT, &name, &answer, cookie.as_deref()).await
    };
    match arriving.await {
        Ok(arrival) => begin(StatusCode::SEE_OTHER)
            .insert_header((SET_COOKIE, shared.app.auth.set_cookie(&arrival.signed_in.cookie)))
            .insert_header((LOCATION, next(arrival.pending.as_deref())))
            .finish(),
        Err(error) => refused(&name, &error),
    }
}

/// Relative to the callback, so that it holds whatever name a browser has for the server.
fn next(pending: Option<&str>) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    match pending {
        Some(id) => format!("../../consent?{}", query.append_pair("pending", id).finish()),
        None => "../../apps".to_owned(),
    }
}

/// The cookie of an attempt, among those that the browser sends: RFC 6265 section 4.2.
fn cookie(request: &HttpRequest, shared: &Shared) -> Option<String> {
    let name = shared.app.auth.upstream_cookie_name();
    let headers = request.headers().get_all(COOKIE).filter_map(|header| header.to_str().ok());
    let mut pairs = headers.flat_map(|header| header.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(own, _)| *own == name).map(|(_, value)| value.to_owned())
}

fn begin(status: StatusCode) -> HttpResponseBuilder {
    let mut builder = HttpResponse::build(status);
    builder
        .insert_header((CACHE_CONTROL, "no-store"))
        .insert_header((REFERRER_POLICY, "no-referrer"))
        .insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"));
    builder
}

fn refused(name: &str, error: &UpstreamError) -> HttpResponse {
    let (status, text) = match error {
        UpstreamError::Unknown => (StatusCode::NOT_FOUND, "There is no such provider."),
        UpstreamError::Expired => {
            (StatusCode::BAD_REQUEST, "This sign-in was not begun in this browser, or took too long. Begin again.")
        }
        UpstreamError::Refused(_) => (StatusCode::FORBIDDEN, "The provider's answer does not let you in here."),
        UpstreamError::Unreachable(_) => {
            (StatusCode::BAD_GATEWAY, "The provider can't be reached now. Try again in a while.")
        }
        UpstreamError::Failed(error) => {
            let status = StatusCode::from_u16(error.category.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            (status, "You can't be signed in now.")
        }
    };
    match error {
        UpstreamError::Refused(log) | UpstreamError::Unreachable(log) => {
            tracing::warn!(provider = name, log, "a sign-in through a provider failed");
        }
        UpstreamError::Failed(error) => {
            let log = error.log.as_deref().or_else(|| error.issues.first().map(|issue| &*issue.diagnostics));
            tracing::warn!(provider = name, log, "a sign-in through a provider failed");
        }
        UpstreamError::Unknown | UpstreamError::Expired => {}
    }
    begin(status).content_type("text/plain; charset=utf-8").body(format!("{text}\n"))
}

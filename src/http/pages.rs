//! The pages that people see: signing in, choosing a patient, consent, and what they granted.
//!
//! They are made here, without a script. A page that belongs to somebody who is signed in takes them from the cookie with
//! [`Visit::person`], which checks the form's token as well; what comes before has a token of its own ([`Visit::guard`]).

mod account;
mod apps;
mod audit;
mod authorize;
mod consent;
mod emergency;
mod failure;
mod jobs;
mod journey;
mod patient;
mod patients;
mod routes;
mod setup;
mod sign_in;
mod upstream;
mod words;

pub use routes::routes;

use super::{Shared, address, oauth, tenant};
use crate::audit::Record;
use crate::auth::form::Form;
use crate::auth::records::{Session, User};
use crate::auth::secret::{are_equal, hash, new_secret};
use crate::auth::server::Server;
use crate::auth::witness::Deed;
use crate::tenant::TenantId;
use actix_web::dev::Payload;
use actix_web::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, COOKIE, HeaderName, LOCATION, REFERRER_POLICY, SET_COOKIE,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use actix_web::http::{Method, StatusCode};
use actix_web::{FromRequest, HttpRequest, HttpResponse, web};
use askama::Template;
use failure::Failure;
use futures_util::future::{FutureExt, LocalBoxFuture};
use std::net::IpAddr;

/// What a page answers.
type Answer = Result<HttpResponse, Failure>;

/// A browser that asks for a page or sends a form.
pub struct Visit {
    request: HttpRequest,
    shared: web::Data<Shared>,
    tenant: TenantId,
    /// The query of a GET, the form of a POST.
    form: Form,
}

/// Somebody who is signed in.
struct Person {
    user: User,
    session: Session,
    cookie: String,
}

/// The person as the head of a page shows them.
#[derive(Debug)]
struct Who {
    name: String,
    csrf: String,
}

impl FromRequest for Visit {
    type Error = Failure;
    type Future = LocalBoxFuture<'static, Result<Self, Failure>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let (request, mut payload) = (request.clone(), payload.take());
        async move {
            let lost = |_| Failure::internal("a page without the server's parts");
            let shared = web::Data::<Shared>::extract(&request).await.map_err(lost)?;
            let payload = web::Payload::from_request(&request, &mut payload).await.map_err(lost)?;
            let tenant = tenant::of(&request)?;
            let query = request.query_string();
            if query.len() > shared.app.config.limits.url_bytes {
                return Err(Failure::page(414, "This address is too long", "It is longer than the server takes."));
            }
            let form = match *request.method() {
                Method::POST => oauth::form(&request, payload, &shared).await?,
                _ => Form::parse(query.as_bytes())?,
            };
            Ok(Self { request, shared, tenant, form })
        }
        .boxed_local()
    }
}

impl Visit {
    fn auth(&self) -> &Server {
        &self.shared.app.auth
    }

    /// Where the request came from.
    fn from(&self) -> IpAddr {
        address::of(&self.request, &self.shared.app.config.trusted_proxies)
    }

    /// The same for what this visit changes, recorded with the change: `record` is what there is to say of a deed.
    fn recording(&self, record: impl Fn(&Deed<'_>) -> Option<Record<'static>> + Send + Sync + 'static) -> Server {
        self.auth().recording(&self.shared.witness(&self.request, self.tenant, record))
    }

    /// Records an event, before it is answered.
    async fn record(&self, record: Record<'_>) -> Result<(), Failure> {
        Ok(self.shared.record(&self.request, record).await?)
    }

    fn field(&self, name: &str) -> &str {
        self.form.get(name).unwrap_or_default()
    }

    fn cookie(&self, name: &str) -> Option<String> {
        let headers = self.request.headers().get_all(COOKIE).filter_map(|value| value.to_str().ok());
        let mut cookies = headers.flat_map(|text| text.split(';')).filter_map(|pair| pair.trim().split_once('='));
        cookies.find(|(own, value)| *own == name && !value.is_empty()).map(|(_, value)| value.to_owned())
    }

    /// Who is signed in, if anybody. A form has to carry the token of the session.
    async fn somebody(&self) -> Result<Option<Person>, Failure> {
        let Some(cookie) = self.cookie(&self.auth().cookie_name(self.tenant)) else { return Ok(None) };
        let Some((user, session)) = self.auth().session(self.tenant, &cookie).await? else { return Ok(None) };
        if self.request.method() == Method::POST && !are_equal(self.field("csrf"), &session.csrf) {
            return Err(Failure::forged());
        }
        Ok(Some(Person { user, session, cookie }))
    }

    /// Who is signed in; anybody else is sent to do so.
    async fn person(&self) -> Result<Person, Failure> {
        self.somebody().await?.ok_or_else(|| Failure::To(sign_in_at(self.form.get("pending"))))
    }

    /// The token that the forms of somebody who is not signed in carry, and the cookie to set where it is new. A form has to
    /// carry the token of its cookie: so no other site can sign somebody in under another name.
    fn guard(&self) -> Result<(String, Option<String>), Failure> {
        let name = self.auth().cookie_named("pharos-form", self.tenant);
        let known = self.cookie(&name);
        if self.request.method() == Method::POST {
            let token = known.as_deref().map(hash).unwrap_or_default();
            let is_own = known.is_some() && are_equal(self.field("csrf"), &token);
            return if is_own { Ok((token, None)) } else { Err(Failure::forged()) };
        }
        if let Some(known) = known {
            return Ok((hash(&known), None));
        }
        let secret = new_secret()?;
        let token = hash(&secret);
        let secure = if name.starts_with("__Host-") { "; Secure" } else { "" };
        Ok((token, Some(format!("{name}={secret}; Path=/; HttpOnly; SameSite=Lax{secure}"))))
    }
}

impl Person {
    fn who(&self) -> Who {
        let name = if self.user.name.is_empty() { &self.user.username } else { &self.user.name };
        Who { name: name.clone(), csrf: self.session.csrf.clone() }
    }
}

/// The address of the page for signing in.
fn sign_in_at(pending: Option<&str>) -> String {
    at("sign-in", pending)
}

/// The address of a page, relative to its neighbours: it holds whatever name a browser has for the server.
fn at(page: &str, pending: Option<&str>) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    match pending {
        Some(id) => format!("{page}?{}", query.append_pair("pending", id).finish()),
        None => page.to_owned(),
    }
}

/// A page.
fn html(status: StatusCode, page: &impl Template) -> Answer {
    leading_to(status, page, None)
}

/// A page for somebody who is not signed in, with the cookie of its form where it is new.
fn with_cookie(mut page: HttpResponse, cookie: Option<&str>) -> Answer {
    if let Some(cookie) = cookie {
        let value = cookie.parse().map_err(|_| Failure::internal("a cookie that is none"))?;
        page.headers_mut().append(SET_COOKIE, value);
    }
    Ok(page)
}

/// A page whose form may lead to an address of an app: browsers apply `form-action` to the redirect as well.
fn leading_to(status: StatusCode, page: &impl Template, app: Option<&str>) -> Answer {
    let body = page.render().map_err(|error| Failure::internal(&error.to_string()))?;
    Ok(guarded(HttpResponse::build(status), app).content_type("text/html; charset=utf-8").body(body))
}

/// The headers of every page.
fn guarded(mut response: actix_web::HttpResponseBuilder, app: Option<&str>) -> actix_web::HttpResponseBuilder {
    let app = app.and_then(source).map_or_else(String::new, |source| format!(" {source}"));
    let policy = format!(
        "default-src 'none'; style-src 'self'; form-action 'self'{app}; frame-ancestors 'none'; base-uri 'none'"
    );
    response
        .insert_header((CONTENT_SECURITY_POLICY, policy))
        .insert_header((X_FRAME_OPTIONS, "DENY"))
        .insert_header((REFERRER_POLICY, "no-referrer"))
        .insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((HeaderName::from_static("cross-origin-opener-policy"), "same-origin"))
        .insert_header((CACHE_CONTROL, "no-store"));
    response
}

/// An address as a source of a content security policy: its origin, or the scheme of an app's own.
fn source(uri: &str) -> Option<String> {
    let url = url::Url::parse(uri).ok()?;
    let source =
        if url.origin().is_tuple() { url.origin().ascii_serialization() } else { format!("{}:", url.scheme()) };
    let is_plain = source.bytes().all(|byte| byte.is_ascii_graphic() && !b";,'\"".contains(&byte));
    is_plain.then_some(source)
}

/// Goes on to another page with a GET.
fn go_to(address: &str) -> HttpResponse {
    guarded(HttpResponse::SeeOther(), None).insert_header((LOCATION, address)).finish()
}

/// The same with the cookie of a session that has just begun.
fn enter(visit: &Visit, cookie: &str, address: &str) -> HttpResponse {
    let mut response = guarded(HttpResponse::SeeOther(), None);
    response.insert_header((SET_COOKIE, visit.auth().set_cookie(visit.tenant, cookie)));
    response.insert_header((LOCATION, address)).finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_of_a_policy_are_plain() {
        assert_eq!(source("https://app.example.org:8443/a?b;c").as_deref(), Some("https://app.example.org:8443"));
        assert_eq!(source("org.example.app:/after").as_deref(), Some("org.example.app:"));
        assert_eq!(source("/after"), None);
    }
}

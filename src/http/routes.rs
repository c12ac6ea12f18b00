//! Every URL on one page.

use super::apart::{self, Apart};
use super::tenant::split;
use super::{Shared, admin, cors, guard, oauth, pages, request, response};
use crate::error::{Category, Error};
use crate::interaction::call::method_not_allowed;
use crate::serve::{Reply, Shape};
use crate::tenant::TenantId;
use actix_web::http::Method;
use actix_web::middleware::from_fn;
use actix_web::{HttpRequest, HttpResponse, Resource, Route, web};

/// The addresses of design §7. Below `/fhir`, `interaction::call` has the table. Where the store is across a network, what waits for it is
/// served apart from the workers.
pub fn routes(config: &mut web::ServiceConfig, apart: Option<&Apart>) {
    config
        .service(page("/health/live", web::get().to(live), web::head().to(live)))
        .service(page("/health/ready", web::get().to(ready), web::head().to(ready)))
        .service(page("/metrics", web::get().to(metrics), web::head().to(metrics)))
        .default_service(web::to(below));
    let Some(apart) = apart else { return authorization(config) };
    for base in BASES {
        let threads = web::Data::new(apart.clone());
        config.service(web::scope(base).app_data(threads).default_service(web::to(apart::apart)));
    }
}

/// What the addresses of the authorization server begin with.
const BASES: [&str; 2] = ["/auth", "/t/{tenant}/auth"];

/// The authorization server of each tenant, with the pages.
pub fn authorization(config: &mut web::ServiceConfig) {
    for base in BASES {
        config.service(web::scope(base).wrap(from_fn(guard::guard)).configure(auth));
    }
}

/// The authorization server.
fn auth(config: &mut web::ServiceConfig) {
    config
        .service(endpoint("/token", [web::post().to(oauth::token)]))
        .service(endpoint("/introspect", [web::post().to(oauth::introspect)]))
        .service(endpoint("/revoke", [web::post().to(oauth::revoke)]))
        .service(endpoint("/userinfo", [web::get().to(oauth::userinfo), web::post().to(oauth::userinfo)]))
        .service(endpoint("/launch", [web::post().to(oauth::launch)]))
        .service(endpoint("/register", [web::post().to(oauth::register)]))
        .service(endpoint("/keys", [web::get().to(oauth::keys), web::head().to(oauth::keys)]))
        .service(web::resource("/admin/{what:.*}").to(admin::admin))
        .configure(pages::routes)
        .default_service(web::to(async || nothing()));
}

/// A FHIR base, found by its prefix: a pattern would be matched by a regular expression, for each read.
async fn below(request: HttpRequest, payload: web::Payload, shared: web::Data<Shared>) -> HttpResponse {
    let (copy, parts) = (request.clone(), shared.clone());
    let answering = async {
        let (_, path) = split(request.path());
        match path.strip_prefix("/fhir") {
            Some("/.well-known/smart-configuration") => well_known(&request, &shared, oauth::smart_configuration).await,
            Some("/.well-known/openid-configuration") => {
                well_known(&request, &shared, oauth::openid_configuration).await
            }
            Some(rest) if rest.is_empty() || rest.starts_with('/') => request::fhir(request, payload, shared).await,
            _ => nothing(),
        }
    };
    cors::around(&copy, &parts, answering).await
}

async fn well_known(
    request: &HttpRequest,
    shared: &Shared,
    get: impl Fn(&HttpRequest, &Shared, TenantId) -> HttpResponse,
) -> HttpResponse {
    if ![Method::GET, Method::HEAD].contains(request.method()) {
        return only_read();
    }
    shared.look_up_tenants().await;
    match shared.tenant_at(request.path()) {
        Ok((registered, _)) => get(request, shared, registered.id()),
        Err(error) => response::send(Reply::from_error(&error, Shape::default()), None),
    }
}

/// A page that can only be read.
fn page(path: &str, get: Route, head: Route) -> Resource {
    web::resource(path).route(get).route(head).default_service(web::to(not_allowed))
}

/// An endpoint of the authorization server. Other methods end with it too, and so do the preflights of browsers.
fn endpoint<const N: usize>(path: &str, routes: [Route; N]) -> Resource {
    routes.into_iter().fold(web::resource(path), Resource::route).default_service(web::to(oauth::not_allowed))
}

async fn not_allowed() -> HttpResponse {
    only_read()
}

fn only_read() -> HttpResponse {
    let mut reply = Reply::from_error(&method_not_allowed(), Shape::default());
    reply.allow = Some("GET, HEAD".to_owned());
    response::send(reply, None)
}

/// The process answers; 503 where only a new one will do.
async fn live(shared: web::Data<Shared>) -> HttpResponse {
    health(shared.app.live(), "live\n")
}

/// The server takes requests; 503 while the store does not.
async fn ready(shared: web::Data<Shared>) -> HttpResponse {
    health(shared.app.ready(), "ready\n")
}

fn health(outcome: Result<(), Error>, text: &'static str) -> HttpResponse {
    match outcome {
        Ok(()) => HttpResponse::Ok().content_type("text/plain").body(text),
        Err(error) => response::send(Reply::from_error(&error, Shape::default()), None),
    }
}

/// Metrics in the text format of Prometheus.
async fn metrics(shared: web::Data<Shared>) -> HttpResponse {
    HttpResponse::Ok().content_type("text/plain; version=0.0.4").body(shared.metrics.render())
}

fn nothing() -> HttpResponse {
    let text = "There is nothing at this URL. The FHIR base is /fhir, that of a tenant /t/{tenant}/fhir.";
    let error = Error::new(Category::NotFound, "not-found", text);
    response::send(Reply::from_error(&error, Shape::default()), None)
}

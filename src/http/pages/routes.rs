//! The addresses of the pages, below `/auth`.

use super::{
    Answer, Failure, account, apps, audit, authorize, consent, emergency, jobs, patient, setup, sign_in, upstream,
};
use actix_web::http::header::{CACHE_CONTROL, X_CONTENT_TYPE_OPTIONS};
use actix_web::web::{self, ServiceConfig, get, post};
use actix_web::{HttpResponse, Resource, Route};

/// The pages, and the one style sheet.
pub fn routes(config: &mut ServiceConfig) {
    config
        .service(page("/authorize", [get().to(authorize::ask), post().to(authorize::ask)]))
        .service(page("/sign-in", [get().to(sign_in::show), post().to(sign_in::sign_in)]))
        .service(page("/code", [post().to(sign_in::code)]))
        .service(page("/password", [post().to(sign_in::password)]))
        .service(page("/sign-out", [post().to(sign_in::sign_out)]))
        .service(page("/setup", [get().to(setup::show), post().to(setup::set_up)]))
        .service(page("/patient", [get().to(patient::show), post().to(patient::answer)]))
        .service(page("/emergency", [get().to(emergency::show), post().to(emergency::answer)]))
        .service(page("/consent", [get().to(consent::show), post().to(consent::answer)]))
        .service(page("/apps", [get().to(apps::show), post().to(apps::revoke)]))
        .service(page("/audit", [get().to(audit::show), post().to(audit::act)]))
        .service(page("/jobs", [get().to(jobs::show), post().to(jobs::cancel)]))
        .service(page("/account", [get().to(account::show), post().to(account::change)]))
        .service(page("/upstream/{name}", [get().to(upstream::start)]))
        .service(page("/upstream/{name}/callback", [get().to(upstream::callback)]))
        .service(web::resource("/style.css").route(get().to(style)));
}

/// A page. Other methods end with it too.
fn page<const N: usize>(path: &str, routes: [Route; N]) -> Resource {
    routes.into_iter().fold(web::resource(path), Resource::route).default_service(web::to(not_allowed))
}

async fn not_allowed() -> Answer {
    Err(Failure::page(405, "That is no way to get here", "The page is not asked for by this method."))
}

async fn style() -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/css; charset=utf-8")
        .insert_header((CACHE_CONTROL, "public, max-age=300"))
        .insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .body(include_str!("style.css"))
}

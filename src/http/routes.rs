//! Every URL on one page.

use super::{Shared, request, response};
use crate::error::Error;
use crate::serve::Reply;
use actix_web::{HttpRequest, HttpResponse, web};

/// The addresses of design §7. Below `/fhir`, `interaction::call` has the table.
pub fn routes(config: &mut web::ServiceConfig) {
    config
        .route("/health/live", web::get().to(live))
        .route("/health/ready", web::get().to(ready))
        .route("/metrics", web::get().to(metrics))
        .service(web::resource(["/fhir", "/fhir/{path:.*}"]).to(request::fhir))
        .default_service(web::to(nothing));
}

/// The process answers.
async fn live() -> HttpResponse {
    HttpResponse::Ok().content_type("text/plain").body("live\n")
}

/// The server takes requests; 503 while the store does not.
async fn ready(shared: web::Data<Shared>) -> HttpResponse {
    match shared.app.ready() {
        Ok(()) => HttpResponse::Ok().content_type("text/plain").body("ready\n"),
        Err(error) => response::send(Reply::from_error(&error, false), None),
    }
}

/// Metrics in the text format of Prometheus.
async fn metrics(shared: web::Data<Shared>) -> HttpResponse {
    HttpResponse::Ok().content_type("text/plain; version=0.0.4").body(shared.metrics.render())
}

async fn nothing(_request: HttpRequest) -> HttpResponse {
    let mut error = Error::not_found();
    if let Some(issue) = error.issues.first_mut() {
        issue.diagnostics = "There is nothing at this URL. The FHIR base is /fhir.".into();
    }
    response::send(Reply::from_error(&error, false), None)
}

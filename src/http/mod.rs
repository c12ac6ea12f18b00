//! The network side: the only place where actix appears.

mod address;
mod admin;
mod body;
mod content;
mod cors;
mod download;
mod guard;
mod ledger;
pub mod negotiate;
mod oauth;
mod pages;
pub mod prefer;
mod request;
mod response;
mod routes;
mod series;
mod tenant;
mod tls;

use crate::app::App;
use crate::config::Config;
use actix_web::dev::Server;
use actix_web::http::header;
use actix_web::{App as Actix, HttpServer, middleware, web};
use metrics_exporter_prometheus::PrometheusHandle;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What every worker shares.
#[derive(Clone)]
pub(crate) struct Shared {
    app: Arc<App>,
    metrics: PrometheusHandle,
    requests: Arc<RequestIds>,
}

/// Ids for requests that bring none: they tell requests apart, and are no secret.
struct RequestIds {
    run: String,
    last: AtomicU64,
}

impl RequestIds {
    fn next(&self) -> String {
        format!("{}-{}", self.run, self.last.fetch_add(1, Ordering::Relaxed) + 1)
    }
}

/// Runs a future, such as that of [`server`], to its end on a runtime of its own in this thread.
pub fn run<F: Future>(future: F) -> F::Output {
    actix_web::rt::System::new().block_on(future)
}

/// Threads for each core, where the store is across a network: the authorization server and the pages look up what they need where they run,
/// and wait for it there. (FHIR requests are served on the blocking pool then.)
const WAITING: usize = 8;

/// Serves an app on a listening socket. The server runs when awaited, and ends on SIGTERM or SIGINT, or through its handle.
///
/// # Errors
/// When the socket can't be used, or a certificate.
pub fn server(
    app: Arc<App>,
    listener: TcpListener,
    metrics: PrometheusHandle,
    signals: bool,
) -> std::io::Result<Server> {
    app.jobs.start().map_err(std::io::Error::other)?;
    let limits = app.config.limits.clone();
    let workers = match app.config.workers {
        0 => {
            let cores = std::thread::available_parallelism().map_or(1, usize::from);
            if app.store().is_local() { cores } else { cores * WAITING }
        }
        workers => workers,
    };
    let tls = tls::config(&app.config.tls)?;
    let hsts = strict_transport(&app.config);
    let requests = Arc::new(RequestIds { run: app.new_id(), last: AtomicU64::new(0) });
    let shared = Shared { app, metrics, requests };
    let mut server = HttpServer::new(move || {
        Actix::new()
            .app_data(web::Data::new(shared.clone()))
            .wrap(middleware::Compress::default())
            .wrap(hsts.iter().fold(middleware::DefaultHeaders::new(), |all, age| {
                all.add((header::STRICT_TRANSPORT_SECURITY, age.as_str()))
            }))
            .configure(routes::routes)
    })
    .workers(workers)
    .max_connections(limits.connections)
    .client_request_timeout(Duration::from_millis(limits.header_timeout_ms))
    .keep_alive(Duration::from_secs(75))
    .shutdown_timeout(limits.shutdown_timeout_s);
    if !signals {
        server = server.disable_signals();
    }
    let server = match tls {
        Some(tls) => server.listen_rustls_0_23(listener, tls)?,
        None => server.listen(listener)?,
    };
    Ok(server.run())
}

/// What RFC 6797 has browsers remember: from now on this host by `https` only. Only where clients come by `https`, to this server or to the
/// proxy before it.
fn strict_transport(config: &Config) -> Option<String> {
    let age = config.tls.hsts_max_age_s;
    (age > 0 && config.public_url().starts_with("https://")).then(|| format!("max-age={age}"))
}

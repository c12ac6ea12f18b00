//! The network side: the only place where actix appears.

mod address;
mod admin;
mod apart;
mod body;
mod closing;
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
mod stop;
mod tenant;
mod tls;

pub use stop::{Told, out_of_reach};

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

/// Serves an app on a listening socket. The server runs when awaited, and ends through its handle, or when it is dropped.
///
/// # Errors
/// When the socket can't be used, or a certificate.
pub fn server(app: Arc<App>, listener: TcpListener, metrics: PrometheusHandle) -> std::io::Result<Server> {
    app.jobs.start().map_err(std::io::Error::other)?;
    let limits = app.config.limits.clone();
    let workers = match app.config.workers {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        workers => workers,
    };
    let is_local = app.store().is_local();
    let tls = tls::config(&app.config.tls)?;
    let hsts = strict_transport(&app.config);
    let requests = Arc::new(RequestIds { run: app.new_id(), last: AtomicU64::new(0) });
    let shared = Shared { app, metrics, requests };
    let apart = if is_local { None } else { Some(apart::Apart::new(&shared)?) };
    let server = HttpServer::new(move || {
        Actix::new()
            .app_data(web::Data::new(shared.clone()))
            .wrap(middleware::Compress::default())
            .wrap(middleware::from_fn(closing::closing))
            .wrap(hsts.iter().fold(middleware::DefaultHeaders::new(), |all, age| {
                all.add((header::STRICT_TRANSPORT_SECURITY, age.as_str()))
            }))
            .configure(|config| routes::routes(config, apart.as_ref()))
    })
    .workers(workers)
    .max_connections(limits.connections)
    .client_request_timeout(Duration::from_millis(limits.header_timeout_ms))
    .keep_alive(Duration::from_secs(75))
    .shutdown_timeout(limits.shutdown_timeout_s)
    .disable_signals();
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

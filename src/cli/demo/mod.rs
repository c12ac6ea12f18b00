//! `pharos demo`: a server with a sample population, and requests worth trying on it.

pub mod population;
pub mod requests;

use super::{Failure, serve};
use crate::app::App;
use crate::auth::grant::Grant;
use crate::clock::{Clock, SystemClock};
use crate::config::{Config, LogFormat};
use crate::interaction::call::Call;
use crate::interaction::{Request, perform};
use crate::tenant::TenantId;
use clap::Args;
use population::Population;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

/// Serves a sample population.
#[derive(Debug, Args)]
pub struct Demo {
    /// The address and port to listen on.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Keep the data in this folder; without it, they are gone when the server stops.
    #[arg(long, value_name = "PATH")]
    store: Option<PathBuf>,
    /// How many patients there are.
    #[arg(long, value_name = "N", default_value_t = population::PATIENTS)]
    patients: u64,
    /// Another seed makes other people.
    #[arg(long, value_name = "N", default_value_t = population::SEED)]
    seed: u64,
}

/// Fills a store with the population, serves it, and prints what to try.
pub fn run(demo: &Demo) -> Result<(), Failure> {
    serve::log_to_stderr(LogFormat::Text);
    let temporary = if demo.store.is_none() { Some(Temporary::new()?) } else { None };
    let folder = demo.store.clone().or_else(|| temporary.as_ref().map(|temporary| temporary.0.join("store")));
    let folder = folder.ok_or("there is no folder for the data")?;
    let config = Config {
        listen: demo.listen,
        store: format!("file:{}", folder.display()),
        insecure_open: true,
        ..Config::default()
    };
    let (listener, config) = serve::listen(config)?;
    let app = serve::open_to_write(config)?;
    let bundles = fill(&app, demo)?;
    serve::serve(&app, listener, |address| announce(address, bundles))
}

/// Puts the population into the store: the same people under the same ids, however often.
fn fill(app: &Arc<App>, demo: &Demo) -> Result<usize, Failure> {
    let today = jiff::Timestamp::from_microsecond(SystemClock.now().0)?.to_zoned(jiff::tz::TimeZone::UTC).date();
    let context = app.context(Grant::unrestricted(TenantId::DEFAULT), serve::trail(app, Call::Bundle.event()))?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let mut bundles = 0;
    for bundle in Population::new(demo.seed, demo.patients, today) {
        let request = Request::of_bundle(bundle);
        runtime.block_on(perform(&context, request))?;
        bundles += 1;
    }
    Ok(bundles)
}

#[allow(clippy::print_stdout)]
fn announce(address: SocketAddr, bundles: usize) {
    let base = format!("http://{address}/fhir");
    println!("\nPharos serves {} sample patients at {base}\n\nTen requests to try:\n", bundles.saturating_sub(1));
    for request in requests::REQUESTS {
        println!("  # {}\n  curl '{base}/{}'\n", request.title, request.path);
    }
    println!("Everybody on this machine may read and change these data. Ctrl-C stops the server.");
}

/// A folder that goes away with the demo.
struct Temporary(PathBuf);

impl Temporary {
    fn new() -> std::io::Result<Self> {
        let path = std::env::temp_dir().join(format!("pharos-demo-{}", SystemClock.new_id()));
        std::fs::create_dir(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(%error, "the demo's data could not be removed");
        }
    }
}

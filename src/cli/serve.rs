//! `pharos serve`

mod upkeep;

use super::user::said;
use super::{Failure, Settings};
use crate::app::{App, Secrets};
use crate::audit::form::AuditEvents;
use crate::audit::{Event, Record, Trail};
use crate::auth::agent::Agent;
use crate::auth::set_up;
use crate::auth::witness::{Deed, Witness};
use crate::clock::SystemClock;
use crate::config::{Config, ConfigError, LogFormat, StorePlace};
use crate::error::Error;
use crate::http;
use crate::store::embedded::{Embedded, Options};
use crate::store::mongo::{self, Mongo};
use crate::store::{Store, StoreResult};
use crate::tenant::TenantId;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use std::borrow::Cow;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::select;
use tracing_subscriber::EnvFilter;
use upkeep::Upkeep;

/// How long it may take to record that the server ends: a store that does not answer does not keep it from that.
const LAST_WORDS: Duration = Duration::from_secs(15);

/// Serves until SIGTERM or SIGINT: see [`http::Told`].
pub fn run(settings: Settings) -> Result<(), Failure> {
    let config = settings.load()?;
    log_to_stderr(config.log_format);
    if config.insecure_open {
        tracing::warn!("insecure_open: everybody on this machine may read and change everything");
    }
    let (listener, config) = listen(config)?;
    let app = open_to_write(config)?;
    if !app.config.insecure_open {
        tell_set_up_code(&app)?;
    }
    serve(&app, listener, |address| tracing::info!(%address, "serving FHIR R4 at /fhir"))
}

/// Where there is no administrator yet, whoever reads this may become the first.
fn tell_set_up_code(app: &App) -> Result<(), Failure> {
    let code = http::run(app.auth.new_set_up_code(TenantId::DEFAULT))?;
    if let Some(code) = code {
        let page = app.auth.endpoint(TenantId::DEFAULT, "setup");
        let minutes = set_up::CODE_S / 60;
        tracing::warn!("there is no administrator yet: within {minutes} minutes, enter the code {code} at {page}");
    }
    Ok(())
}

/// Binds the address. Port 0 becomes the port that the system chose, before any link is made from it.
pub(super) fn listen(mut config: Config) -> Result<(TcpListener, Config), Failure> {
    let address = config.listen;
    let listener = TcpListener::bind(address).map_err(|error| format!("can't listen on {address}: {error}"))?;
    config.listen = listener.local_addr()?;
    Ok((listener, config))
}

/// The same as [`open`], to write resources: the index of a tenant that has none gets the form that it shall have. Where others shall have
/// another one, the next server makes it.
pub(super) fn open_to_write(config: Config) -> Result<Arc<App>, Failure> {
    let app = open(config)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(app.settle_indexes()).map_err(said)?;
    Ok(app)
}

/// Opens the store and puts the app together. What runs beside servers may have other settings than they: it settles no form of an index.
pub(super) fn open(config: Config) -> Result<Arc<App>, Failure> {
    forbid_core_dumps();
    let (store, secrets) = match config.place()? {
        StorePlace::Folder(_) => {
            let embedded = Embedded::open(store_options(&config)?, Arc::new(SystemClock))?;
            let secrets = secrets(|purpose| embedded.derive_key(purpose))?;
            (Store::new(Arc::new(embedded)), secrets)
        }
        StorePlace::MongoDb { address, key_file } => {
            let mongo = Mongo::open(mongo_options(&config, address, key_file), Arc::new(SystemClock))?;
            let secrets = secrets(|purpose| mongo.derive_key(purpose))?;
            (Store::new(Arc::new(mongo)), secrets)
        }
    };
    Ok(Arc::new(App::new(config, store, &secrets, Arc::new(SystemClock))?))
}

/// The keys that are made of the store's master key.
fn secrets(derive: impl Fn(&[u8]) -> StoreResult<[u8; 32]>) -> StoreResult<Secrets> {
    Ok(Secrets {
        cursors: derive(b"page cursors")?,
        checkpoints: derive(b"ledger checkpoints")?,
        rates: derive(b"request rates")?,
    })
}

/// The trail of what somebody does at the command line.
pub(super) fn trail(app: &App, event: Option<Event>) -> Arc<Trail> {
    let trail = app.ledger.trail(event, None);
    trail.set_agent(Arc::new(Agent::operator()));
    Arc::new(trail)
}

/// Where the settings say that the master key is, if it is in a file.
pub(super) fn key_file(config: &Config) -> Result<PathBuf, ConfigError> {
    match config.place()? {
        StorePlace::Folder(_) => Ok(store_options(config)?.key_file),
        StorePlace::MongoDb { key_file, .. } => Ok(key_file),
    }
}

/// The store on MongoDB that the settings name.
pub(super) fn mongo_options(config: &Config, address: String, key_file: PathBuf) -> mongo::Options {
    let form = Arc::new(AuditEvents::new(&config.base_url()));
    mongo::Options { form, keys: config.keys.clone(), ..mongo::Options::at(address, key_file) }
}

/// Where the settings say that the embedded store is.
pub(super) fn store_options(config: &Config) -> Result<Options, ConfigError> {
    let mut options = Options::at(config.store_path()?);
    options.keys.clone_from(&config.keys);
    options.form = Arc::new(AuditEvents::new(&config.base_url()));
    if let Some(key_file) = &config.key_file {
        options.key_file.clone_from(key_file);
    }
    Ok(options)
}

/// Serves on a bound address; `announce` hears it when clients can connect.
pub(super) fn serve(app: &Arc<App>, listener: TcpListener, announce: impl FnOnce(SocketAddr)) -> Result<(), Failure> {
    let address = app.config.listen;
    let metrics = recorder()?;
    // The agent of which nothing is said is the server itself.
    let of_server = |event| app.ledger.note(TenantId::DEFAULT, Record::of(event, Cow::Owned(Agent::default())));
    let (result, told) = http::run(async {
        of_server(Event::Start).await.map_err(said)?;
        app.tell_unwrapped(&Agent::default()).await.map_err(said)?;
        let mut told_to_stop = http::Told::new()?;
        let server = http::server(Arc::clone(app), listener, metrics);
        let served = match server.and_then(|server| Ok((server, Upkeep::start(app)?))) {
            Ok((server, upkeep)) => {
                announce(address);
                let served = told_to_stop.serve(app, server).await;
                upkeep.end();
                served
            }
            Err(error) => Err(error),
        };
        let last_words = async {
            let told = of_server(Event::Stop).await;
            checkpoint(app).await;
            told
        };
        let told = select! {
            told = last_words => told,
            () = tokio::time::sleep(LAST_WORDS) => Err(unrecorded("the ledger is too slow")),
            () = http::out_of_reach(app) => Err(unrecorded("the database does not answer")),
        };
        Ok::<_, Failure>((served, told))
    })?;
    app.stop();
    tracing::info!("stopping: finishing commits");
    app.store().close()?;
    told.map_err(said)?;
    Ok(result?)
}

fn unrecorded(why: &str) -> Error {
    Error::unavailable("The end of the server could not be recorded.", why)
}

/// Records what somebody did at the command line that changes no record: of what kind it is, and which.
pub(super) async fn note(
    app: &App,
    tenant: TenantId,
    what: &'static str,
    name: &str,
    note: String,
) -> Result<(), Failure> {
    let record = Record::of(Event::Administration(what.into()), Cow::Owned(Agent::operator()));
    app.ledger.note(tenant, record.named(name).saying(note)).await.map_err(said)
}

/// Who records what somebody changes at the command line, with the change: of which kind it is, and what `tell` says of a deed, which of
/// them it is and what becomes of it.
pub(super) fn witness(
    app: &App,
    tenant: TenantId,
    what: &'static str,
    tell: impl Fn(&Deed<'_>) -> Option<(String, String)> + Send + Sync + 'static,
) -> Arc<Witness> {
    app.ledger.witness(tenant, move |deed| {
        let (name, note) = tell(deed)?;
        let record = Record::of(Event::Administration(what.into()), Cow::Owned(Agent::operator()));
        Some(record.named(name).saying(note))
    })
}

async fn checkpoint(app: &App) {
    let made = match app.tenants().all() {
        Ok(all) => app.ledger.checkpoint(&all.iter().map(|registered| registered.id()).collect::<Vec<_>>()).await,
        Err(error) => Err(error),
    };
    if let Err(error) = made {
        tracing::error!(?error, "a checkpoint of the ledger could not be made");
    }
}

fn recorder() -> Result<PrometheusHandle, Failure> {
    Ok(PrometheusBuilder::new().install_recorder()?)
}

/// A core dump would hold keys and patient data.
fn forbid_core_dumps() {
    let none = rustix::process::Rlimit { current: Some(0), maximum: Some(0) };
    if let Err(error) = rustix::process::setrlimit(rustix::process::Resource::Core, none) {
        tracing::warn!(%error, "can't switch core dumps off");
    }
}

/// The log goes to stderr; `RUST_LOG` sets what it holds. Where a log is kept already, it stays as it is.
pub(super) fn log_to_stderr(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let set = match format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    if let Err(error) = set {
        tracing::debug!(%error, "the log stays as it is");
    }
}

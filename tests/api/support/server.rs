//! A server in the test's own process.

use super::Client;
use super::mongodb::new_database;
use super::tokens::block_on;
use actix_web::dev::ServerHandle;
use metrics_exporter_prometheus::PrometheusBuilder;
use pharos::app::{App, Secrets};
use pharos::audit::form::AuditEvents;
use pharos::clock::{Clock, FixedClock, Micros};
use pharos::config::{Config, IndexMode};
use pharos::store::embedded::{Embedded, Options};
use pharos::store::mongo::{self, Mongo};
use pharos::store::{Backend, Store};
use std::net::TcpListener;
use std::ops::Deref;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use tempfile::TempDir;

/// 2026-01-02T03:04:05Z: where the clock of every test starts. It moves a millisecond at each look, and ids count up.
pub const START: Micros = Micros(1_767_323_045_000_000);

/// A server on a free port, open to everybody, with an empty store in a folder of its own. Ends when dropped. Its default
/// tenant can be asked directly: `server.get("/Patient")`.
pub struct Server {
    client: Client,
    app: Arc<App>,
    handle: ServerHandle,
    thread: Option<JoinHandle<()>>,
    _folder: TempDir,
}

impl Server {
    pub fn start() -> Self {
        Self::with(|_| {})
    }

    /// The same, but it asks for tokens: [`Server::as_system`] and [`Server::as_user`] make them.
    pub fn guarded() -> Self {
        Self::with(|config| config.insecure_open = false)
    }

    /// The server's own parts, for what no request can do.
    pub fn app(&self) -> &App {
        &self.app
    }

    /// The same, with other settings.
    pub fn with(change: impl FnOnce(&mut Config)) -> Self {
        Self::over(change, |store| store)
    }

    /// The same, on a store that stands before the one on disk.
    pub fn over(change: impl FnOnce(&mut Config), wrap: impl FnOnce(Arc<dyn Backend>) -> Arc<dyn Backend>) -> Self {
        Self::on(change, FixedClock::at(START), |folder, config, clock| wrap(backend(folder, config, clock)))
    }

    /// The same, with another clock and a store that `open` makes in a folder.
    pub fn on(
        change: impl FnOnce(&mut Config),
        clock: Arc<dyn Clock>,
        open: impl FnOnce(&Path, &Config, &Arc<dyn Clock>) -> Arc<dyn Backend>,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut config = Config { listen: address, insecure_open: true, workers: 1, ..Config::default() };
        config.limits.shutdown_timeout_s = 1;
        config.bulk.folder = Some(folder.path().join("exports"));
        if is_on_mongodb() {
            // The stand-in takes its time for what holds a thousand requests.
            config.limits.request_timeout_ms = 110_000;
            config.limits.search_timeout_ms = 100_000;
        }
        if is_blind() {
            config.index.mode = IndexMode::Blind;
        }
        change(&mut config);

        let backend = open(folder.path(), &config, &clock);
        let secrets = Secrets { cursors: [7; 32], checkpoints: [8; 32], rates: [9; 32] };
        let app = Arc::new(App::new(config, Store::new(backend), &secrets, clock).unwrap());
        block_on(app.settle_indexes()).unwrap();
        let (handle, thread) = serve(Arc::clone(&app), listener);
        let client = Client::new(format!("http://{address}/fhir"));
        Self { client, app, handle, thread: Some(thread), _folder: folder }
    }
}

/// Whether `PHAROS_TEST_INDEX` is `blind`: no test asks then for what a blind index does not answer, or says that it does.
pub fn is_blind() -> bool {
    std::env::var("PHAROS_TEST_INDEX").is_ok_and(|index| index == "blind")
}

/// Whether the tests run on MongoDB.
pub fn is_on_mongodb() -> bool {
    std::env::var("PHAROS_TEST_STORE").is_ok_and(|store| store == "mongodb")
}

/// How often a test does the same: `many` times, or `few` on MongoDB, whose stand-in does a few hundred writes a second.
pub fn rounds(many: usize, few: usize) -> usize {
    if is_on_mongodb() { few } else { many }
}

/// A new store in a folder, or where `PHAROS_TEST_STORE` is `mongodb`, in a new database.
fn backend(folder: &Path, config: &Config, clock: &Arc<dyn Clock>) -> Arc<dyn Backend> {
    if is_on_mongodb() {
        let address = new_database().expect("PHAROS_TEST_MONGODB");
        return Arc::new(on_mongodb(address, folder, config, clock));
    }
    embedded(folder, config, clock)
}

/// A new store in a folder.
pub fn embedded(folder: &Path, config: &Config, clock: &Arc<dyn Clock>) -> Arc<dyn Backend> {
    let form = Arc::new(AuditEvents::new(&config.base_url()));
    let options = Options { form, ..Options::at(folder.join("data")) };
    Arc::new(Embedded::open(options, Arc::clone(clock)).unwrap())
}

/// A store in this database, with its key in a folder.
pub fn on_mongodb(address: String, folder: &Path, config: &Config, clock: &Arc<dyn Clock>) -> Mongo {
    let form = Arc::new(AuditEvents::new(&config.base_url()));
    let options = mongo::Options { form, ..mongo::Options::at(address, folder.join("key")) };
    Mongo::open(options, Arc::clone(clock)).unwrap()
}

fn serve(app: Arc<App>, listener: TcpListener) -> (ServerHandle, JoinHandle<()>) {
    let (sender, receiver) = mpsc::channel();
    let metrics = PrometheusBuilder::new().build_recorder().handle();
    let thread = std::thread::spawn(move || {
        pharos::http::run(async {
            let server = pharos::http::server(app, listener, metrics).unwrap();
            sender.send(server.handle()).unwrap();
            server.await.unwrap();
        });
    });
    (receiver.recv().unwrap(), thread)
}

impl Deref for Server {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The order to stop is sent when `stop` is called; the future only waits for it to be done.
        drop(self.handle.stop(false));
        let stopped = self.thread.take().is_none_or(|thread| thread.join().is_ok());
        self.app.stop();
        let closed = self.app.store().close();
        if !std::thread::panicking() {
            assert!(stopped && closed.is_ok(), "the server did not end well: {closed:?}");
        }
    }
}

//! Drives any FHIR server over HTTP, checks every answer, and measures.
//!
//! ```sh
//! cargo run --release --example load -- import --url http://127.0.0.1:8080/fhir --bundles ../shared/data/synthea
//! cargo run --release --example load -- crud --clients 16 --seconds 10
//! cargo run --release --example load -- limits --json limits.json
//! ```
//!
//! `limits` starts a server of its own and sets each of its figures beside a limit measured in the same run.
#![allow(clippy::print_stdout, reason = "a tool for the command line")]

mod bulk_import;
mod bundles;
mod check;
mod client;
mod crud;
mod drive;
mod export;
mod import;
mod limits;
mod read;
mod report;
mod search;
mod tally;

use bundles::Source;
use clap::{Parser, ValueEnum};
use client::{Base, Failure};
use crud::{Creator, Crud};
use drive::{Dice, Measured, Stop, Worker, drive};
use import::{Known, import, verify};
use pharos::fhir::write::write_object;
use read::{Mixer, Reader};
use report::Report;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Workload {
    /// Each turn creates 9 linked resources, reads, updates and deletes them.
    Crud,
    /// Single creates.
    Create,
    /// Transaction Bundles; every resource of the first round is read back and compared.
    Import,
    /// Reads by id of what an import made first.
    Read,
    /// 45 % read, 20 % patients, 20 % observations of a patient, 10 % conditions of a patient, 5 % history.
    ReadMix,
    /// Every kind of search on all types of what is on the server, with values from there.
    Search,
    /// An export of all that is in `--store`, beside reading the same bodies.
    Export,
    /// Starts a server that imports the Bundles' resources as NDJSON, beside parsing the Bundles.
    BulkImport,
    /// Starts a server, and measures its figures and the limits beside them.
    Limits,
}

/// Drives a FHIR server, checks every answer, and measures.
#[derive(Debug, Parser)]
struct Flags {
    /// What to do.
    #[arg(value_enum)]
    workload: Workload,
    /// The FHIR base URL.
    #[arg(long, default_value = "http://127.0.0.1:8080/fhir")]
    url: String,
    /// A bearer token.
    #[arg(long, env = "LOAD_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Clients at once, each on a connection of its own.
    #[arg(long, default_value_t = 16)]
    clients: usize,
    /// How long to go on, in seconds (not for `import`; for each kind of `search`).
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// How many turns each client does, instead of `--seconds`.
    #[arg(long, conflicts_with = "seconds")]
    turns: Option<u64>,
    /// A folder of transaction Bundles (`.json`, `.json.gz`); `../shared/data/synthea` where there is one, else the
    /// sample population.
    #[arg(long)]
    bundles: Option<PathBuf>,
    /// How often the Bundles are sent, each time with new ids.
    #[arg(long, default_value_t = 1)]
    multiply: u32,
    /// Where to write the results as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// The server's binary, for `limits`, `bulk-import` and `search --store`; the one beside this tool if not given.
    #[arg(long)]
    binary: Option<PathBuf>,
    /// The folder of a store: for `export`, which opens it; for `search`, where a server is started on it, and the limits are
    /// measured, too.
    #[arg(long, conflicts_with = "url")]
    store: Option<PathBuf>,
    /// Different queries of each kind of `search`.
    #[arg(long, default_value_t = 48)]
    queries: usize,
    /// Only the kinds of `search` whose names have this in them; may be given several times.
    #[arg(long)]
    only: Vec<String>,
}

/// A large Bundle keeps a core busy: this many at once fill the server, more only wait.
const IMPORT_CLIENTS: usize = 4;

fn main() -> ExitCode {
    let flags = Flags::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = runtime.map_err(Failure::from).and_then(|runtime| runtime.block_on(run(&flags)));
    match done {
        Ok(0) => ExitCode::SUCCESS,
        Ok(errors) => {
            println!("\n{errors} wrong answers");
            ExitCode::FAILURE
        }
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Does the work and prints; the number of wrong answers.
async fn run(flags: &Flags) -> Result<u64, Failure> {
    let base = Base::new(&flags.url, flags.token.clone())?;
    let stop = flags.turns.map_or(Stop::After(Duration::from_secs_f64(flags.seconds)), Stop::Turns);
    let report = match flags.workload {
        Workload::Crud => {
            let workers = (0..flags.clients).map(|client| Crud { client, turn: 0 }).collect();
            flags.report(drive(&base, workers, stop).await)
        }
        Workload::Create => {
            let mut body = Vec::new();
            write_object(&Creator::resource(), &mut body);
            let body = hyper::body::Bytes::from(body);
            let workers = (0..flags.clients).map(|_| Creator { body: body.clone() }).collect();
            flags.report(drive(&base, workers, stop).await)
        }
        Workload::Import => flags.import(&base).await?,
        Workload::Read => {
            let known = Rc::new(flags.prepare(&base).await?);
            flags.go(&base, stop, |client| Reader { known: Rc::clone(&known), dice: Dice::new(client) }).await
        }
        Workload::ReadMix => {
            let known = Rc::new(flags.prepare(&base).await?);
            let patients = known.iter().map(|one| &one.address).filter(|address| address.starts_with("Patient/"));
            let patients = Rc::new(patients.cloned().collect::<Vec<String>>());
            let worker =
                |client| Mixer { known: Rc::clone(&known), patients: Rc::clone(&patients), dice: Dice::new(client) };
            flags.go(&base, stop, worker).await
        }
        Workload::Search => flags.search(base).await?,
        Workload::Export => flags.export().await?,
        Workload::BulkImport => flags.bulk_import().await?,
        Workload::Limits => flags.limits().await?,
    };
    report.print();
    if let Some(path) = &flags.json {
        std::fs::write(path, serde_json::to_vec_pretty(&report)?)?;
    }
    Ok(report.errors())
}

impl Flags {
    fn sources(&self) -> Result<Rc<Vec<Source>>, Failure> {
        let synthea = Path::new("../shared/data/synthea");
        let sources = match &self.bundles {
            Some(folder) => bundles::read_folder(folder)?,
            None if synthea.is_dir() => bundles::read_folder(synthea)?,
            None => bundles::sample(),
        };
        Ok(Rc::new(sources))
    }

    async fn go<W: Worker>(&self, base: &Base, stop: Stop, worker: impl Fn(usize) -> W) -> Report {
        self.report(drive(base, (0..self.clients).map(worker).collect(), stop).await)
    }

    /// Loads the Bundles once and reads them back, so that there is something to read.
    async fn prepare(&self, base: &Base) -> Result<Vec<Known>, Failure> {
        let sources = self.sources()?;
        let imported = import(base, &sources, 1, self.clients.min(IMPORT_CLIENTS)).await;
        let (verified, known) = verify(base, &sources, imported.addresses).await;
        let errors = imported.measured.tally.errors() + verified.tally.errors();
        if errors > 0 || known.is_empty() {
            let reason = imported.measured.tally.first_error().or_else(|| verified.tally.first_error());
            return Err(format!("loading what is to be read: {errors} wrong answers, the first: {reason:?}").into());
        }
        Ok(known)
    }

    async fn import(&self, base: &Base) -> Result<Report, Failure> {
        let sources = self.sources()?;
        let imported = import(base, &sources, self.multiply, self.clients.min(IMPORT_CLIENTS)).await;
        let rate = tally::per_second(imported.resources, imported.measured.elapsed);
        let (verified, _) = verify(base, &sources, imported.addresses).await;
        let mut report = self.report(imported.measured);
        report.operations.extend(verified.rows());
        report.clients = self.clients.min(IMPORT_CLIENTS);
        report.resources = Some(imported.resources);
        report.resources_per_s = Some(rate);
        report.tenths = imported.tenths;
        Ok(report)
    }

    async fn limits(&self) -> Result<Report, Failure> {
        let begin = Instant::now();
        let plan = limits::Plan {
            binary: self.binary.clone(),
            time: Duration::from_secs_f64(self.seconds),
            clients: self.clients,
            import_clients: self.clients.min(IMPORT_CLIENTS),
            rounds: self.multiply,
        };
        let ratios = limits::measure(&plan, &self.sources()?).await?;
        let measured = Measured { tally: tally::Tally::default(), elapsed: begin.elapsed() };
        Ok(Report { ratios, ..self.report(measured) })
    }

    async fn search(&self, base: Base) -> Result<Report, Failure> {
        let begin = Instant::now();
        let plan = search::Plan {
            store: self.store.clone(),
            binary: self.binary.clone(),
            time: Duration::from_secs_f64(self.seconds),
            clients: u32::try_from(self.clients)?,
            queries: self.queries,
            only: self.only.clone(),
        };
        let found = search::measure(base, &plan).await?;
        let measured = Measured { tally: tally::Tally::default(), elapsed: begin.elapsed() };
        let (resources, kinds, ratios) = (usize::try_from(found.resources).ok(), found.kinds, found.ratios);
        Ok(Report { resources, kinds, ratios, ..self.report(measured) })
    }

    async fn export(&self) -> Result<Report, Failure> {
        let begin = Instant::now();
        let folder = self.store.as_deref().ok_or("--store names the folder of the store")?;
        let (resources, ratios) = export::measure(folder).await?;
        let measured = Measured { tally: tally::Tally::default(), elapsed: begin.elapsed() };
        Ok(Report { resources: Some(resources), ratios, ..self.report(measured) })
    }

    async fn bulk_import(&self) -> Result<Report, Failure> {
        let begin = Instant::now();
        let found = bulk_import::measure(self.binary.clone(), &self.sources()?, self.multiply).await?;
        let measured = Measured { tally: tally::Tally::default(), elapsed: begin.elapsed() };
        Ok(Report { resources: Some(found.resources), ratios: found.ratios, ..self.report(measured) })
    }

    fn report(&self, measured: Measured) -> Report {
        Report {
            workload: self.workload.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default(),
            cores: std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
            clients: self.clients,
            elapsed_s: measured.elapsed.as_secs_f64(),
            resources: None,
            resources_per_s: None,
            tenths: Vec::new(),
            operations: measured.rows(),
            kinds: Vec::new(),
            ratios: Vec::new(),
        }
    }
}

//! `limits`: each figure of the server as a ratio to a limit measured in the same run.

mod disk;
mod handler;
pub mod memory;
pub mod process;

use crate::bundles::Source;
use crate::client::{Base, Failure};
use crate::crud::Creator;
use crate::drive::{Dice, Measured, Stop, drive};
use crate::import::{Known, import, verify};
use crate::read::Reader;
use handler::Handler;
use pharos::fhir::write::write_object;
use pharos::store::body::Body;
use process::Server;
use serde::Serialize;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

/// Connections of the create row: as many creates share an fsync.
const CREATE_CLIENTS: usize = 64;

/// One row of the table of ratios.
#[derive(Debug, Serialize)]
pub struct Comparison {
    pub work: &'static str,
    pub measured: String,
    pub limit: String,
    /// What was measured by the limit.
    pub ratio: f64,
    pub wanted: &'static str,
}

/// How to measure.
pub struct Plan {
    pub binary: Option<PathBuf>,
    pub time: Duration,
    pub clients: usize,
    pub import_clients: usize,
    pub rounds: u32,
}

/// All rows.
pub async fn measure(plan: &Plan, sources: &Rc<Vec<Source>>) -> Result<Vec<Comparison>, Failure> {
    let binary = plan.binary.clone().or_else(process::default_binary).ok_or("name the server with --binary")?;
    let scratch = tempfile::tempdir()?;
    let store = scratch.path().join("store");
    let mut ratios = Vec::new();

    let server = Server::start(&binary, &store).await?;
    let base = Base::new(&server.url, None)?;
    let imported = import(&base, sources, plan.rounds, plan.import_clients).await;
    must_be_clean("import", &imported.measured)?;
    let loaded = crate::tally::per_second(imported.resources, imported.measured.elapsed);
    let loaded_bytes = server.resident_bytes();
    let (verified, known) = verify(&base, sources, imported.addresses).await;
    must_be_clean("verify", &verified)?;
    server.stop()?;
    ratios.push(load_row(loaded, sources, plan)?);
    ratios.push(disk_row(disk::size(&store)?, imported.resources, sources, plan)?);

    let server = Server::start(&binary, &store).await?;
    ratios.push(start_row(&server, loaded_bytes));
    let base = Base::new(&server.url, None)?;
    let known = Rc::new(known);
    let read = reads(&base, &known, plan).await?;
    let handler = Handler::start(&known, std::thread::available_parallelism()?.get())?;
    let limit = reads(&Base::new(&handler.url, None)?, &known, plan).await?;
    handler.stop().await;
    ratios.push(rate_row("read by id", read, "a bare actix handler, the same bytes", limit, "60 %"));
    let created = creates(&base, plan).await?;
    server.stop()?;

    let body = Body::pack(&Creator::resource());
    let limit = disk::creates_per_second(&scratch.path().join("fjall"), &body.packed, CREATE_CLIENTS, plan.time)?;
    ratios.push(rate_row("create, 64 clients, fsynced", created, "fjall alone, grouped alike", limit, "50 %"));
    let straight = memory::read_bodies(&store, &known, plan.time)?.per_s;
    ratios.push(rate_row("read by id", read, "bodies read straight from the store, one core", straight, ""));
    Ok(ratios)
}

async fn reads(base: &Base, known: &Rc<Vec<Known>>, plan: &Plan) -> Result<f64, Failure> {
    let worker = |client| Reader { known: Rc::clone(known), dice: Dice::new(client) };
    let measured = drive(base, (0..plan.clients).map(worker).collect(), Stop::After(plan.time)).await;
    must_be_clean("read", &measured)?;
    Ok(measured.rate())
}

async fn creates(base: &Base, plan: &Plan) -> Result<f64, Failure> {
    let mut body = Vec::new();
    write_object(&Creator::resource(), &mut body);
    let body = hyper::body::Bytes::from(body);
    let workers = (0..CREATE_CLIENTS).map(|_| Creator { body: body.clone() }).collect();
    let measured = drive(base, workers, Stop::After(plan.time)).await;
    must_be_clean("create", &measured)?;
    Ok(measured.rate())
}

/// A figure of a run with errors is none.
fn must_be_clean(what: &str, measured: &Measured) -> Result<(), Failure> {
    match measured.tally.errors() {
        0 => Ok(()),
        errors => {
            let reason = measured.tally.first_error().unwrap_or_default();
            Err(format!("{what}: {errors} wrong answers, the first: {reason}").into())
        }
    }
}

fn load_row(loaded: f64, sources: &[Source], plan: &Plan) -> Result<Comparison, Failure> {
    let parsed = memory::parse_with_serde(sources, plan.time)?;
    let limit = format!(
        "serde_json parses them on one core: {:.0} resources/s, {:.0} MB/s",
        parsed.resources, parsed.megabytes
    );
    Ok(Comparison {
        work: "load of transaction Bundles",
        measured: format!("{loaded:.0} resources/s"),
        limit,
        ratio: loaded / parsed.resources,
        wanted: "15 %, aim 30 %",
    })
}

/// The disk after the server has stopped, so that nothing waits in memory.
#[allow(clippy::cast_precision_loss, reason = "sizes are far below 2^52")]
fn disk_row(taken: u64, resources: usize, sources: &[Source], plan: &Plan) -> Result<Comparison, Failure> {
    let minified = memory::minified_bytes(sources)? as f64 * f64::from(plan.rounds);
    let taken = taken as f64;
    Ok(Comparison {
        work: "disk after a load",
        measured: format!("{:.1} MB, {:.0} bytes a resource", taken / 1e6, taken / resources.max(1) as f64),
        limit: format!("the same resources as minified JSON: {:.1} MB", minified / 1e6),
        ratio: taken / minified,
        wanted: "at most 2 times, aim 1.5",
    })
}

fn start_row(server: &Server, loaded_bytes: Option<u64>) -> Comparison {
    let start_s = server.start.as_secs_f64();
    let mebibytes =
        |bytes: Option<u64>| bytes.map_or_else(|| "unknown".into(), |bytes| format!("{} MB", bytes / 1_000_000));
    Comparison {
        work: "start to first answer, with the loaded store",
        measured: format!(
            "{start_s:.3} s; memory idle {}, after the load {}",
            mebibytes(server.resident_bytes()),
            mebibytes(loaded_bytes)
        ),
        limit: "0.3 s".to_owned(),
        ratio: start_s / 0.3,
        wanted: "under 0.3 s, idle under 60 MB",
    }
}

fn rate_row(work: &'static str, rate: f64, limit_name: &str, limit: f64, wanted: &'static str) -> Comparison {
    Comparison {
        work,
        measured: format!("{rate:.0}/s"),
        limit: format!("{limit_name}: {limit:.0}/s"),
        ratio: rate / limit,
        wanted,
    }
}

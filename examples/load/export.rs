//! `export --store FOLDER`: an export of all that a store holds, beside reading the same bodies from it. The store is opened in this
//! process, and no server may have it open.

use crate::client::Failure;
use crate::limits::Comparison;
use crate::limits::process::processor_time;
use crate::tally::per_second;
use pharos::app::{App, Secrets};
use pharos::audit::form::AuditEvents;
use pharos::clock::SystemClock;
use pharos::config::{Config, Handling};
use pharos::interaction::call::{Call, Target, Verb};
use pharos::interaction::condition::Conditions;
use pharos::jobs::State;
use pharos::serve::{Body, Incoming, Shape, serve};
use pharos::store::embedded::{Embedded, Options};
use pharos::store::{Backend, Rid, Store};
use pharos::tenant::TenantId;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often each is measured; the best of both count, which is what the machine can do when nobody else has it.
const ROUNDS: usize = 3;

/// How long something took: on the clock, and on the processor, which does not depend on what else the machine does.
#[derive(Clone, Copy)]
struct Took {
    clock: Duration,
    processor: Duration,
}

impl Took {
    async fn of<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<(T, Self), Failure> {
        let (begin, before) = (Instant::now(), processor_time("self").unwrap_or_default());
        let done = work.await?;
        let processor = processor_time("self").unwrap_or_default().saturating_sub(before);
        Ok((done, Self { clock: begin.elapsed(), processor }))
    }

    fn best(self, other: Option<Self>) -> Self {
        let Some(other) = other else { return self };
        Self { clock: self.clock.min(other.clock), processor: self.processor.min(other.processor) }
    }
}

/// How many resources there are, and the comparisons.
pub async fn measure(folder: &Path) -> Result<(usize, Vec<Comparison>), Failure> {
    let files = tempfile::tempdir_in(folder.parent().unwrap_or(folder))?;
    let mut config = Config { insecure_open: true, ..Config::default() };
    config.bulk.folder = Some(files.path().to_owned());
    let mut options = Options::at(folder);
    options.form = Arc::new(AuditEvents::new(&config.base_url()));
    let store = Arc::new(Embedded::open(options, Arc::new(SystemClock))?);
    let secrets = Secrets { cursors: [0; 32], checkpoints: [0; 32], rates: [0; 32] };
    let door = Store::new(Arc::clone(&store) as Arc<dyn Backend>);
    let app = App::new(config, door, &secrets, Arc::new(SystemClock)).map_err(|error| error.to_string())?;
    let (mut reading, mut exporting, mut kick_off) = (None, None, None);
    let (mut resources, mut bytes) = (0, 0);
    for _ in 0..ROUNDS {
        let took;
        ((resources, bytes), took) = Took::of(async { read(&store) }).await?;
        reading = Some(took.best(reading));
        let (id, begun) = Took::of(begin(&app)).await?;
        kick_off = Some(begun.best(kick_off));
        let ((), took) = Took::of(run(&app, &id, resources)).await?;
        let whole = Took { clock: took.clock + begun.clock, processor: took.processor + begun.processor };
        exporting = Some(whole.best(exporting));
    }
    store.close()?;
    let (Some(reading), Some(exporting), Some(kick_off)) = (reading, exporting, kick_off) else {
        return Err("nothing was measured".into());
    };
    let memory = peak_memory_mb().unwrap_or_default();
    println!("the kick-off took {:.2} s; {memory} MB of memory at most\n", kick_off.clock.as_secs_f64());
    let rate = |took: Duration| {
        format!("{:.0} resources/s, {:.0} MB/s", per_second(resources, took), per_second(bytes, took) / 1e6)
    };
    let compared = |work, own: Duration, limit: Duration| Comparison {
        work,
        measured: rate(own),
        limit: format!("reading the same bodies: {}", rate(limit)),
        ratio: limit.as_secs_f64() / own.as_secs_f64(),
        wanted: "≥ 0.60",
    };
    let by_clock = compared("export, by the clock", exporting.clock, reading.clock);
    let by_processor = compared("export, by the processor", exporting.processor, reading.processor);
    Ok((resources, vec![by_clock, by_processor]))
}

/// The most memory that this process has had, in megabytes.
fn peak_memory_mb() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kibibytes * 1024 / 1_000_000)
}

/// Reads all current bodies by their numbers, as an export has to: how many, and how many bytes.
fn read(store: &Embedded) -> Result<(usize, usize), Failure> {
    let view = store.view(TenantId::DEFAULT)?;
    let rids: Vec<Rid> =
        view.resources(Rid(0)).filter_map(|one| one.ok().filter(|one| !one.is_deleted).map(|one| one.rid)).collect();
    let (mut count, mut bytes) = (0, 0);
    for rid in rids {
        let version = view.current(rid)?.ok_or("a resource has no version")?;
        let body = version.body.ok_or("a resource is deleted")?;
        bytes += black_box(body.unpack(version.version, version.time)?).len();
        count += 1;
    }
    Ok((count, bytes))
}

/// The kick-off; gives the id of the job.
async fn begin(app: &App) -> Result<String, Failure> {
    let incoming = Incoming {
        tenant: TenantId::DEFAULT,
        verb: Verb::Get,
        call: Call::Operation { target: Target::System, name: "export".to_owned() },
        query: Vec::new(),
        from: IpAddr::V4(Ipv4Addr::LOCALHOST),
        token: None,
        conditions: Conditions::default(),
        prefer: None,
        respond_async: true,
        handling: Handling::Strict,
        body: Body::None,
        provenance: None,
        shape: Shape::default(),
    };
    let reply = serve(app, &incoming).await;
    let location = reply.content_location.ok_or_else(|| String::from_utf8_lossy(&reply.body).into_owned())?;
    Ok(location.rsplit('/').next().unwrap_or_default().to_owned())
}

async fn run(app: &App, id: &str, resources: usize) -> Result<(), Failure> {
    let job = app.jobs.run_to_end(TenantId::DEFAULT, id).await.map_err(|error| error.to_string())?;
    match job {
        Some(job) if job.state == State::Done && usize::try_from(job.done)? == resources => Ok(()),
        other => Err(format!("the export did not end well: {other:?}").into()),
    }
}

//! `search`: every kind of query on all types that the server has, with values that it returned, each answer checked; and the
//! limits beside them where the store is at hand.

mod costs;
mod criterion;
mod draws;
mod judge;
mod kinds;
mod linked;
mod parameter;
mod print;
mod query;
mod table;
mod value;
mod world;

use crate::check;
use crate::client::{Answer, Base, Client, Failure};
use crate::drive::{Dice, Stop, Worker, drive};
use crate::limits::process::{self, Server};
use crate::limits::{Comparison, memory};
use crate::tally::per_second;
use hyper::Method;
use judge::{Judge, Prepared};
use kinds::{KINDS, Kind};
use linked::Linked;
use query::Query;
use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};
pub use table::{KindRow, print};
use world::World;

/// How to measure.
pub struct Plan {
    /// The store of a server to start; else the server is there already, and no limit is measured.
    pub store: Option<PathBuf>,
    pub binary: Option<PathBuf>,
    /// For each kind.
    pub time: Duration,
    pub clients: u32,
    /// Different queries of each kind.
    pub queries: usize,
    /// Only the kinds whose name has one of these in it; all where there is none.
    pub only: Vec<String>,
}

/// What was found.
pub struct Found {
    pub resources: u64,
    pub kinds: Vec<KindRow>,
    pub ratios: Vec<Comparison>,
}

/// Queries of a kind whose whole results are compared with the samples.
const COMPARED: usize = 4;
/// A query so many times slower than the median kind is explained.
const SLOW: f64 = 5.0;
/// Matches that are counted a second on one core, at least.
const LEAST_COUNTED: f64 = 5e6;
/// Resources that are read by key for the limit, at random.
const READ: usize = 2000;
/// What is measured by processor time takes this long at least, since that time is counted in steps of 10 ms.
const SHORTEST: Duration = Duration::from_secs(1);
/// A page with this many resources counts as a full one.
const FULL: f64 = 18.0;

/// All kinds, and the limits.
pub async fn measure(base: Base, plan: &Plan) -> Result<Found, Failure> {
    let Some(store) = &plan.store else {
        let (found, _) = at(&base, plan, None).await?;
        return Ok(found);
    };
    let binary = plan.binary.clone().or_else(process::default_binary).ok_or("name the server with --binary")?;
    let server = Server::start(&binary, store).await?;
    let (mut found, costs) = at(&Base::new(&server.url, None)?, plan, Some(&server)).await?;
    server.stop()?;
    let straight = memory::read_bodies(store, &costs.known, plan.time.max(SHORTEST))?;
    let page = f64::from(query::PAGE);
    for row in &mut found.kinds {
        row.of_limit = Some(row.rate_per_s * page / straight.per_s);
        row.of_limit_processor = row.processor_ms.map(|cost_ms| page * 1000.0 / straight.per_processor_s / cost_ms);
    }
    found.ratios.extend(page_rows(&found.kinds, straight.per_s / page));
    if !costs.records.addresses.is_empty() {
        let straight = memory::read_addresses(store, &costs.records.addresses, plan.time.max(SHORTEST))?;
        found.ratios.push(record_row(&costs.records, &straight));
    }
    Ok(found)
}

/// What is needed for the limits.
struct Costs {
    known: Vec<crate::import::Known>,
    records: costs::Records,
}

/// The kinds, one after the other, then counting and records.
async fn at(base: &Base, plan: &Plan, server: Option<&Server>) -> Result<(Found, Costs), Failure> {
    let mut client = Client::new(base);
    let world = World::sample(&mut client).await?;
    let mut judge = Judge { world: &world, linked: Linked::new(&world) };
    let is_wanted =
        |kind: &&Kind| plan.only.is_empty() || plan.only.iter().any(|part| kind.name.contains(part.as_str()));
    let mut kinds = Vec::new();
    for kind in KINDS.iter().filter(is_wanted) {
        if let Some(row) = run(base, plan, kind, &mut judge, server).await? {
            kinds.push(row);
        }
    }
    let median_ms = middle(kinds.iter().map(KindRow::cost_ms));
    let median_mean_ms = middle(kinds.iter().map(|row| 1000.0 / row.rate_per_s.max(f64::MIN_POSITIVE)));
    for row in &mut kinds {
        row.times_median = row.cost_ms() / median_ms;
        if row.slowest_ms < SLOW * f64::from(plan.clients) * median_mean_ms {
            row.explained.clear();
        }
    }
    let mut ratios: Vec<Comparison> = slowest_row(&kinds, median_ms).into_iter().collect();
    let counted = costs::counting(&mut client, &world, plan.time.max(SHORTEST), server).await?;
    ratios.extend(counted.iter().map(counted_row));
    let records = costs::records(&mut client, &world, plan.time.max(SHORTEST), server).await?;
    let known = if server.is_some() { costs::known(&mut client, &world, READ).await? } else { Vec::new() };
    Ok((Found { resources: world.resources(), kinds, ratios }, Costs { known, records }))
}

fn middle(numbers: impl Iterator<Item = f64>) -> f64 {
    let mut numbers: Vec<f64> = numbers.collect();
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied().unwrap_or_default()
}

/// One kind: each query is examined, some are compared with the samples, and then they are asked at random for some time.
async fn run(
    base: &Base,
    plan: &Plan,
    kind: &Kind,
    judge: &mut Judge<'_>,
    server: Option<&Server>,
) -> Result<Option<KindRow>, Failure> {
    let mut client = Client::new(base);
    let queries = kind.queries(judge.world, &mut Dice::new(kind.name.len()), plan.queries);
    let Examined { prepared, compared, wrong } = examine(&mut client, &queries, judge).await;
    let prepared = Rc::new(prepared);
    let spent = Rc::new(RefCell::new(vec![(0, Duration::ZERO); prepared.len()]));
    let worker = |client| Asker {
        kind: kind.name,
        prepared: Rc::clone(&prepared),
        spent: Rc::clone(&spent),
        dice: Dice::new(client),
    };
    let before = server.and_then(Server::processor_time);
    let workers = (0..plan.clients as usize).map(worker).collect();
    let measured = drive(base, workers, Stop::After(plan.time)).await;
    let taken = server.and_then(Server::processor_time).zip(before).map(|(now, before)| now.saturating_sub(before));
    let row = measured.rows().into_iter().next();
    if row.is_none() && wrong.is_empty() {
        return Ok(None);
    }
    let row = row.unwrap_or_default();
    let mean = |(count, time): &(u32, Duration)| time.checked_div(*count).unwrap_or_default();
    let slowest = spent.borrow().iter().map(mean).zip(prepared.iter()).max_by_key(|(time, _)| *time);
    let (slowest_time, slowest_path, slowest) =
        slowest.map_or((Duration::ZERO, "", ""), |(time, one)| (time, one.path.as_str(), one.shape.as_str()));
    let entries: usize = prepared.iter().map(|one| one.entries).sum();
    Ok(Some(KindRow {
        kind: kind.name,
        queries: queries.len(),
        entries: mean_of(entries, prepared.len()),
        count: row.count,
        rate_per_s: row.rate_per_s,
        p50_ms: row.p50_ms,
        p99_ms: row.p99_ms,
        processor_ms: taken.filter(|_| row.count > 0).map(|taken| taken.as_secs_f64() * 1000.0 / mean_of(row.count, 1)),
        times_median: 0.0,
        of_limit: None,
        of_limit_processor: None,
        is_excepted: kind.is_excepted,
        compared,
        errors: row.errors + wrong.len() as u64,
        first_error: wrong.into_iter().next().or(row.first_error),
        slowest: slowest.to_owned(),
        slowest_ms: slowest_time.as_secs_f64() * 1000.0,
        explained: costs::explained(&mut client, slowest_path).await,
    }))
}

/// What came of a kind's queries.
#[derive(Default)]
struct Examined {
    /// Those that were answered right.
    prepared: Vec<Prepared>,
    /// How many were compared with the samples.
    compared: usize,
    /// Why the others were not.
    wrong: Vec<String>,
}

async fn examine(client: &mut Client, queries: &[Query], judge: &mut Judge<'_>) -> Examined {
    let mut examined = Examined::default();
    for query in queries {
        let mut outcome = judge.examine(client, query).await;
        if outcome.is_ok() && examined.compared < COMPARED {
            match judge.compare(client, query).await {
                Ok(done) => examined.compared += usize::from(done),
                Err(error) => outcome = Err(error),
            }
        }
        match outcome {
            Ok(one) => examined.prepared.push(one),
            Err(error) => examined.wrong.push(format!("{}: {error}", query.shape_text())),
        }
    }
    examined
}

#[allow(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
fn mean_of(sum: usize, count: usize) -> f64 {
    sum as f64 / count.max(1) as f64
}

/// Asks queries of one kind at random.
struct Asker {
    kind: &'static str,
    prepared: Rc<Vec<Prepared>>,
    /// For each query, how often it was asked, and the time it took in all.
    spent: Rc<RefCell<Vec<(u32, Duration)>>>,
    dice: Dice,
}

impl Worker for Asker {
    async fn turn(&mut self, client: &mut Client) -> bool {
        let place = self.dice.below(self.prepared.len());
        let Some(one) = self.prepared.get(place) else { return false };
        let check = |answer: &Answer| {
            check::status(answer, &[200])?;
            let is_same = print::fingerprint(&answer.body) == one.print;
            if is_same { Ok(()) } else { Err(format!("{}: another answer than before", one.shape)) }
        };
        let begin = Instant::now();
        client.ask(self.kind, Method::GET, &one.path, None, check).await;
        if let Some((count, time)) = self.spent.borrow_mut().get_mut(place) {
            *count += 1;
            *time += begin.elapsed();
        }
        true
    }
}

/// Full pages beside reads by key: the median kind, and the slowest one that is not excepted.
fn page_rows(kinds: &[KindRow], pages: f64) -> Vec<Comparison> {
    let mut full: Vec<&KindRow> = kinds.iter().filter(|row| row.entries >= FULL && !row.is_excepted).collect();
    full.sort_by(|a, b| a.rate_per_s.total_cmp(&b.rate_per_s));
    let row = |work, kind: &&KindRow| Comparison {
        work,
        measured: format!("{}: {:.0}/s", kind.kind, kind.rate_per_s),
        limit: format!("20 reads by key from the store, one core: {pages:.0}/s"),
        ratio: kind.rate_per_s / pages,
        wanted: "at least 0.35",
    };
    let middle = full.get(full.len() / 2).map(|kind| row("a full first page, the median kind", kind));
    middle.into_iter().chain(full.first().map(|kind| row("a full first page, the slowest kind", kind))).collect()
}

fn slowest_row(kinds: &[KindRow], median_ms: f64) -> Option<Comparison> {
    let bound = kinds.iter().filter(|row| !row.is_excepted);
    let slowest = bound.max_by(|a, b| a.times_median.total_cmp(&b.times_median))?;
    Some(Comparison {
        work: "the slowest kind of query",
        measured: format!("{}: {:.2} ms", slowest.kind, slowest.cost_ms()),
        limit: format!("the median kind: {median_ms:.2} ms"),
        ratio: slowest.times_median,
        wanted: "at most 20",
    })
}

fn counted_row(counted: &costs::Counted) -> Comparison {
    let per_s = counted.per_processor_s.unwrap_or(counted.per_s);
    Comparison {
        work: "counting by a token, a second of a core",
        measured: format!("{:.1} million/s, {} of {}", per_s / 1e6, counted.matches, counted.shape),
        limit: "5 million/s".to_owned(),
        ratio: per_s / LEAST_COUNTED,
        wanted: "at least 1",
    }
}

fn record_row(records: &costs::Records, straight: &memory::Straight) -> Comparison {
    let count = records.addresses.len();
    let rate = per_second(count, records.took);
    let (rate, limit) = match records.processor {
        Some(taken) => (per_second(count, taken), straight.per_processor_s),
        None => (rate, straight.per_s),
    };
    Comparison {
        work: "Patient/$everything, a second of a core",
        measured: format!("{rate:.0} resources/s"),
        limit: format!("the same bodies read from the store: {limit:.0}/s"),
        ratio: rate / limit,
        wanted: "at least 0.60",
    }
}

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
use hyper::Method;
use judge::{Judge, Prepared};
use kinds::{KINDS, Kind};
use linked::Linked;
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
    pub clients: usize,
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
/// A page with this many resources counts as a full one.
const FULL: f64 = 18.0;

/// All kinds, and the limits.
pub async fn measure(base: Base, plan: &Plan) -> Result<Found, Failure> {
    let Some(store) = &plan.store else {
        let (found, _) = at(&base, plan).await?;
        return Ok(found);
    };
    let binary = plan.binary.clone().or_else(process::default_binary).ok_or("name the server with --binary")?;
    let server = Server::start(&binary, store).await?;
    let (mut found, costs) = at(&Base::new(&server.url, None)?, plan).await?;
    server.stop()?;
    let pages = memory::bodies_per_second(store, &costs.known, plan.time)? / query::PAGE as f64;
    for row in &mut found.kinds {
        row.of_limit = Some(row.rate_per_s / pages);
    }
    found.ratios.extend(page_rows(&found.kinds, pages));
    if !costs.records.addresses.is_empty() {
        let straight = memory::addresses_per_second(store, &costs.records.addresses, plan.time)?;
        let rate = crate::tally::per_second(costs.records.addresses.len(), costs.records.took);
        found.ratios.push(Comparison {
            work: "Patient/$everything, one client",
            measured: format!("{rate:.0} resources/s"),
            limit: format!("the same bodies read from the store, one core: {straight:.0}/s"),
            ratio: rate / straight,
            wanted: "at least 0.60",
        });
    }
    Ok(found)
}

/// What is needed for the limits.
struct Costs {
    known: Vec<crate::import::Known>,
    records: costs::Records,
}

/// The kinds, one after the other, then counting and records.
async fn at(base: &Base, plan: &Plan) -> Result<(Found, Costs), Failure> {
    let mut client = Client::new(base);
    let world = World::sample(&mut client).await?;
    let mut judge = Judge { world: &world, linked: Linked::new(&world) };
    let is_wanted = |kind: &&Kind| plan.only.is_empty() || plan.only.iter().any(|part| kind.name.contains(part.as_str()));
    let mut kinds = Vec::new();
    for kind in KINDS.iter().filter(is_wanted) {
        if let Some(row) = run(base, plan, kind, &mut judge).await? {
            kinds.push(row);
        }
    }
    let mut rates: Vec<f64> = kinds.iter().map(|row| row.rate_per_s).collect();
    rates.sort_by(f64::total_cmp);
    let median = rates.get(rates.len() / 2).copied().unwrap_or_default();
    for row in &mut kinds {
        row.times_median = median / row.rate_per_s.max(f64::MIN_POSITIVE);
        if row.slowest_ms < SLOW * plan.clients as f64 * 1000.0 / median {
            row.explained.clear();
        }
    }
    let mut ratios: Vec<Comparison> = slowest_row(&kinds, median).into_iter().collect();
    let time = plan.time / 2;
    for counted in costs::counting(&mut client, &world, time).await? {
        ratios.push(Comparison {
            work: "counting by a token, one client",
            measured: format!("{:.1} million/s, {} of {}", counted.per_s / 1e6, counted.matches, counted.shape),
            limit: "5 million/s".to_owned(),
            ratio: counted.per_s / LEAST_COUNTED,
            wanted: "at least 1",
        });
    }
    let records = costs::records(&mut client, &world, plan.time).await?;
    let known = if plan.store.is_some() { costs::known(&mut client, &world, READ).await? } else { Vec::new() };
    Ok((Found { resources: world.resources(), kinds, ratios }, Costs { known, records }))
}

/// One kind: each query is examined, some are compared with the samples, and then they are asked at random for some time.
async fn run(base: &Base, plan: &Plan, kind: &Kind, judge: &mut Judge<'_>) -> Result<Option<KindRow>, Failure> {
    let mut client = Client::new(base);
    let queries = kind.queries(judge.world, &mut Dice::new(kind.name.len()), plan.queries);
    let (mut prepared, mut compared, mut wrong) = (Vec::new(), 0, Vec::new());
    for query in &queries {
        let mut outcome = judge.examine(&mut client, query).await;
        if outcome.is_ok() && compared < COMPARED {
            match judge.compare(&mut client, query).await {
                Ok(done) => compared += usize::from(done),
                Err(error) => outcome = Err(error),
            }
        }
        match outcome {
            Ok(one) => prepared.push(one),
            Err(error) => wrong.push(format!("{}: {error}", query.shape_text())),
        }
    }
    let prepared = Rc::new(prepared);
    let spent = Rc::new(RefCell::new(vec![(0, Duration::ZERO); prepared.len()]));
    let worker = |client| Asker {
        kind: kind.name,
        prepared: Rc::clone(&prepared),
        spent: Rc::clone(&spent),
        dice: Dice::new(client),
    };
    let measured = drive(base, (0..plan.clients).map(worker).collect(), Stop::After(plan.time)).await;
    let Some(row) = measured.rows().into_iter().next() else {
        return if wrong.is_empty() { Ok(None) } else { Err(format!("{}: {}", kind.name, wrong.join("; ")).into()) };
    };
    let mean = |(count, time): &(u32, Duration)| time.checked_div(*count).unwrap_or_default();
    let slowest = spent.borrow().iter().map(mean).zip(prepared.iter()).max_by_key(|(time, _)| *time);
    let (slowest_time, slowest_path, slowest) =
        slowest.map_or((Duration::ZERO, "", ""), |(time, one)| (time, one.path.as_str(), one.shape.as_str()));
    let entries: usize = prepared.iter().map(|one| one.entries).sum();
    Ok(Some(KindRow {
        kind: kind.name,
        queries: queries.len(),
        entries: entries as f64 / prepared.len().max(1) as f64,
        count: row.count,
        rate_per_s: row.rate_per_s,
        p50_ms: row.p50_ms,
        p99_ms: row.p99_ms,
        times_median: 0.0,
        of_limit: None,
        is_excepted: kind.is_excepted,
        compared,
        errors: row.errors + wrong.len() as u64,
        first_error: wrong.into_iter().next().or(row.first_error),
        slowest: slowest.to_owned(),
        slowest_ms: slowest_time.as_secs_f64() * 1000.0,
        explained: costs::explained(&mut client, slowest_path).await,
    }))
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

fn slowest_row(kinds: &[KindRow], median: f64) -> Option<Comparison> {
    let bound = kinds.iter().filter(|row| !row.is_excepted);
    let slowest = bound.max_by(|a, b| a.times_median.total_cmp(&b.times_median))?;
    Some(Comparison {
        work: "the slowest kind of query",
        measured: format!("{}: {:.1}/s", slowest.kind, slowest.rate_per_s),
        limit: format!("the median kind: {median:.0}/s"),
        ratio: slowest.times_median,
        wanted: "at most 20",
    })
}

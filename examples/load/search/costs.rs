//! What has a floor of its own: counting postings, and whole records.

use super::query::{Query, Shape};
use super::world::{self, World};
use crate::check;
use crate::client::{Client, Failure};
use crate::drive::Dice;
use crate::import::Known;
use crate::limits::process::Server;
use crate::search::criterion::{Condition, Criterion, Test};
use crate::search::value::codes;
use crate::tally::per_second;
use hyper::Method;
use pharos::fhir::definitions::ParamType;
use pharos::fhir::tree::Value;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Counting of matches by a token, one request after the other.
pub struct Counted {
    /// Matches counted a second.
    pub per_s: f64,
    /// The same, a second of the server's processor time.
    pub per_processor_s: Option<f64>,
    /// Of one answer.
    pub matches: u64,
    pub shape: String,
}

/// Token searches with the most matches of which counts are measured.
const COUNTED: usize = 5;

/// The token searches with the most matches, by the samples, each counted over and over for so long.
pub async fn counting(
    client: &mut Client,
    world: &World,
    time: Duration,
    server: Option<&Server>,
) -> Result<Vec<Counted>, Failure> {
    let mut counted = Vec::new();
    for query in most_matches(world) {
        let path = query.path();
        let matches = world::count(client, &path).await?;
        let (begin, before, mut all) = (Instant::now(), server.and_then(Server::processor_time), 0);
        while begin.elapsed() < time {
            all += usize::try_from(world::count(client, &path).await?)?;
        }
        let per_s = per_second(all, begin.elapsed());
        let per_processor_s = since(server, before).map(|taken| per_second(all, taken));
        counted.push(Counted { per_s, per_processor_s, matches, shape: query.shape_text() });
    }
    Ok(counted)
}

/// The processor time that a server took since.
fn since(server: Option<&Server>, before: Option<Duration>) -> Option<Duration> {
    server.and_then(Server::processor_time).zip(before).map(|(now, before)| now.saturating_sub(before))
}

/// Counts by a token with many matches.
fn most_matches(world: &World) -> Vec<Query> {
    let mut seen: BTreeMap<(String, String, String), u64> = BTreeMap::new();
    let mut made = BTreeMap::new();
    for kept in &world.types {
        let tokens = kept.parameters.iter().filter(|one| one.param_type == ParamType::Token);
        for parameter in tokens.filter(|one| !one.code.starts_with('_')) {
            for sample in &kept.samples {
                for code in parameter.elements(&sample.resource).into_iter().flat_map(codes) {
                    let key = (kept.name.clone(), parameter.code.clone(), code.text.to_owned());
                    *seen.entry(key.clone()).or_default() += kept.total / kept.samples.len().max(1) as u64;
                    made.entry(key).or_insert_with(|| {
                        let test = Test::AnyCode(vec![(None, Some(code.text.to_owned()))]);
                        let condition = Condition::Own(Criterion { parameter: Rc::clone(parameter), test });
                        Query { shape: Shape::Count, ..Query::of(&kept.name, vec![condition]) }
                    });
                }
            }
        }
    }
    let mut most: Vec<_> = seen.into_iter().map(|(key, matches)| (matches, key)).collect();
    most.sort_by(|a, b| b.cmp(a));
    most.into_iter().take(COUNTED).filter_map(|(_, key)| made.remove(&key)).collect()
}

/// Whole records, one page after the other.
pub struct Records {
    pub addresses: Vec<String>,
    /// The time from each request to the last byte of its answer.
    pub took: Duration,
    /// The server's processor time for that.
    pub processor: Option<Duration>,
}

/// `$everything` of patients at random, for so long at least.
pub async fn records(
    client: &mut Client,
    world: &World,
    time: Duration,
    server: Option<&Server>,
) -> Result<Records, Failure> {
    let before = server.and_then(Server::processor_time);
    let patients = world.kept("Patient").map(|kept| kept.samples.as_slice()).unwrap_or_default();
    let mut dice = Dice::new(0);
    let mut records = Records { addresses: Vec::new(), took: Duration::ZERO, processor: None };
    while records.took < time {
        let Some(patient) = dice.pick(patients) else { break };
        let target = format!("{}/$everything", patient.address);
        let mut path = Some(target.clone());
        while let Some(at) = path {
            let begin = Instant::now();
            let answer = client.send(Method::GET, &at, None).await?;
            records.took += begin.elapsed();
            check::status(&answer, &[200])?;
            let bundle = pharos::fhir::parse::parse(&answer.body, crate::bundles::DEPTH)?.into_owned();
            let entries = world::matches(&bundle).into_iter().chain(world::in_mode(&bundle, "include"));
            records.addresses.extend(entries.map(|one| one.address));
            path = world::next(&bundle, &target);
        }
    }
    records.processor = since(server, before);
    Ok(records)
}

/// The samples as a read answers them, for reading them from the store.
pub async fn known(client: &mut Client, world: &World, most: usize) -> Result<Vec<Known>, Failure> {
    let mut samples: Vec<_> = world.types.iter().flat_map(|kept| &kept.samples).collect();
    let mut dice = Dice::new(0);
    let mut known = Vec::new();
    while known.len() < most && !samples.is_empty() {
        let address = samples.swap_remove(dice.below(samples.len())).address.clone();
        let answer = client.send(Method::GET, &address, None).await?;
        check::status(&answer, &[200])?;
        known.push(Known { etag: answer.etag().unwrap_or_default().to_owned(), address, body: answer.body });
    }
    Ok(known)
}

/// What the server says about how it finds the answer.
pub async fn explained(client: &mut Client, path: &str) -> Vec<String> {
    let Ok(bundle) = world::get(client, &format!("{path}&_explain=true")).await else { return Vec::new() };
    let entries = bundle.get("entry").map(Value::items).unwrap_or_default().iter();
    let outcomes = entries.filter_map(|entry| entry.get("resource")?.get("issue"));
    outcomes.flat_map(Value::items).filter_map(|issue| issue.get("diagnostics")?.as_str().map(str::to_owned)).collect()
}

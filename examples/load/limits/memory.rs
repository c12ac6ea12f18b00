//! Limits that need no disk and no network: parsing with serde_json, and reading bodies straight from the store.

use crate::bundles::{DEPTH, Source};
use crate::client::Failure;
use crate::drive::Dice;
use crate::import::Known;
use crate::limits::process::processor_time;
use crate::tally::per_second;
use pharos::clock::SystemClock;
use pharos::fhir::parse::parse;
use pharos::fhir::tree::Value;
use pharos::fhir::write::to_vec;
use pharos::store::Backend;
use pharos::store::embedded::{Embedded, Options};
use pharos::tenant::TenantId;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How much serde_json parses in a second on one core.
pub struct Parsed {
    pub resources: f64,
    pub megabytes: f64,
    /// Resources in a second of processor time, which does not depend on what else the machine does.
    pub by_processor: f64,
}

/// Parses all Bundles over and over.
pub fn parse_with_serde(sources: &[Source], time: Duration) -> Result<Parsed, Failure> {
    let (begin, processor) = (Instant::now(), processor_time("self"));
    let (mut resources, mut bytes) = (0, 0);
    while begin.elapsed() < time {
        for source in sources {
            black_box(serde_json::from_slice::<serde_json::Value>(&source.json)?);
            resources += source.entries;
            bytes += source.json.len();
        }
    }
    let elapsed = begin.elapsed();
    let taken = processor_time("self").zip(processor).map(|(now, before)| now.saturating_sub(before));
    Ok(Parsed {
        resources: per_second(resources, elapsed),
        megabytes: per_second(bytes, elapsed) / 1e6,
        by_processor: per_second(resources, taken.unwrap_or(elapsed)),
    })
}

/// The size of all resources as minified JSON.
pub fn minified_bytes(sources: &[Source]) -> Result<usize, Failure> {
    let mut bytes = 0;
    for source in sources {
        let bundle = parse(&source.json, DEPTH)?;
        let resources = bundle.get("entry").map(Value::items).unwrap_or_default().iter();
        bytes +=
            resources.filter_map(|entry| entry.get("resource")).map(|resource| to_vec(resource).len()).sum::<usize>();
    }
    Ok(bytes)
}

/// How fast bodies are read by key from the store, on one core.
pub struct Straight {
    pub per_s: f64,
    /// A second of processor time, which does not depend on what else the machine does.
    pub per_processor_s: f64,
}

impl Straight {
    fn new(count: usize, begin: Instant, processor: Option<Duration>) -> Self {
        let taken = processor_time("self").zip(processor).map(|(now, before)| now.saturating_sub(before));
        let elapsed = begin.elapsed();
        Self { per_s: per_second(count, elapsed), per_processor_s: per_second(count, taken.unwrap_or(elapsed)) }
    }
}

/// Bodies read by key from the store of a server that has stopped; each is compared with what it answered.
pub fn read_bodies(folder: &Path, known: &[Known], time: Duration) -> Result<Straight, Failure> {
    let store = Embedded::open(Options::at(folder), Arc::new(SystemClock))?;
    let view = store.view(TenantId::DEFAULT)?;
    let mut dice = Dice::new(0);
    let mut count = 0;
    let (begin, processor) = (Instant::now(), processor_time("self"));
    while begin.elapsed() < time {
        let Some(one) = dice.pick(known) else { break };
        let (type_name, id) = one.address.split_once('/').ok_or("no address")?;
        let rid = view.find(type_name, id)?.ok_or("a known resource is not in the store")?;
        let version = view.current(rid)?.ok_or("a known resource has no version")?;
        let body = version.body.ok_or("a known resource is deleted")?;
        if body.unpack(version.version, version.time)? != one.body {
            return Err("the store holds other bytes than the server answered".into());
        }
        count += 1;
    }
    let straight = Straight::new(count, begin, processor);
    store.close()?;
    Ok(straight)
}

/// The current bodies at these addresses, read by key from the store of a server that has stopped: in order, over and over.
pub fn read_addresses(folder: &Path, addresses: &[String], time: Duration) -> Result<Straight, Failure> {
    let store = Embedded::open(Options::at(folder), Arc::new(SystemClock))?;
    let view = store.view(TenantId::DEFAULT)?;
    let mut count = 0;
    let (begin, processor) = (Instant::now(), processor_time("self"));
    while begin.elapsed() < time {
        for address in addresses {
            let (type_name, id) = address.split_once('/').ok_or("no address")?;
            let rid = view.find(type_name, id)?.ok_or("a known resource is not in the store")?;
            let version = view.current(rid)?.ok_or("a known resource has no version")?;
            let body = version.body.ok_or("a known resource is deleted")?;
            black_box(body.unpack(version.version, version.time)?);
        }
        count += addresses.len();
    }
    let straight = Straight::new(count, begin, processor);
    store.close()?;
    Ok(straight)
}

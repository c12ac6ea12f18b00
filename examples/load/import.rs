//! `import`: transaction Bundles, over and over with new ids, and then every resource of the first round read back.

use crate::bundles::{DEPTH, Source};
use crate::check;
use crate::client::{Answer, Base, Client, type_and_id};
use crate::drive::{Measured, Stop, Worker, drive};
use crate::tally::per_second;
use hyper::Method;
use hyper::body::Bytes;
use pharos::fhir::parse::parse;
use pharos::fhir::tree::Value;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// A resource that is known to be on the server, and the bytes that a read of it answers.
#[derive(Debug, Clone)]
pub struct Known {
    /// `Type/id`.
    pub address: String,
    pub etag: String,
    pub body: Bytes,
}

/// What an import came to.
pub struct Imported {
    pub measured: Measured,
    pub resources: usize,
    /// Resources a second in each tenth of the work.
    pub tenths: Vec<f64>,
    /// `Type/id` of what each entry of each Bundle became, in the first round. Empty for a Bundle that failed.
    pub addresses: Vec<Vec<String>>,
}

struct Shared {
    sources: Rc<Vec<Source>>,
    work: Vec<(usize, u32)>,
    next: Cell<usize>,
    begin: Instant,
    done: RefCell<Vec<(Duration, usize)>>,
    addresses: RefCell<Vec<Vec<String>>>,
}

struct Importer(Rc<Shared>);

impl Worker for Importer {
    async fn turn(&mut self, client: &mut Client) -> bool {
        let shared = &self.0;
        let Some((index, round)) = shared.work.get(shared.next.get()).copied() else { return false };
        let Some(source) = shared.sources.get(index) else { return false };
        shared.next.set(shared.next.get() + 1);
        let body = Bytes::from(source.renewed(round));
        let mut addresses = Vec::new();
        let check = |answer: &Answer| {
            check::status(answer, &[200])?;
            addresses = written(answer, source.entries)?;
            Ok(())
        };
        if client.ask("transaction", Method::POST, "", Some(body), check).await.is_some() {
            shared.done.borrow_mut().push((shared.begin.elapsed(), source.entries));
            if let (0, Some(place)) = (round, shared.addresses.borrow_mut().get_mut(index)) {
                *place = addresses;
            }
        }
        true
    }
}

/// What each entry became; an error where an entry was not written.
fn written(answer: &Answer, entries: usize) -> Result<Vec<String>, String> {
    let body = parse(&answer.body, DEPTH).map_err(|error| format!("body: {error}"))?;
    let responses = body.get("entry").map(Value::items).unwrap_or_default();
    if responses.len() != entries {
        return Err(format!("{} entries in the answer, {entries} were sent", responses.len()));
    }
    let address = |entry: &Value<'_>| {
        let response = entry.get("response")?;
        let status = response.get("status").and_then(Value::as_str)?;
        (status.starts_with("201") || status.starts_with("200")).then_some(())?;
        type_and_id(response.get("location").and_then(Value::as_str)?)
    };
    responses.iter().map(|entry| address(entry).ok_or_else(|| "an entry was not written".to_owned())).collect()
}

/// Sends every Bundle `rounds` times.
pub async fn import(base: &Base, sources: &Rc<Vec<Source>>, rounds: u32, clients: usize) -> Imported {
    let mut work = Vec::new();
    for round in 0..rounds {
        let fits = |(index, source): (usize, &Source)| (round == 0 || !source.once).then_some((index, round));
        work.extend(sources.iter().enumerate().filter_map(fits));
    }
    // What all Bundles refer to must be there before the others are sent.
    let first = work.iter().take_while(|(index, _)| sources.get(*index).is_some_and(|source| source.once)).count();
    let shared = Rc::new(Shared {
        sources: Rc::clone(sources),
        work,
        next: Cell::new(0),
        begin: Instant::now(),
        done: RefCell::default(),
        addresses: RefCell::new(vec![Vec::new(); sources.len()]),
    });
    if first > 0 {
        drive(base, vec![Importer(Rc::clone(&shared))], Stop::Turns(first as u64)).await;
    }
    let workers = (0..clients).map(|_| Importer(Rc::clone(&shared))).collect();
    let measured = drive(base, workers, Stop::Done).await;
    let done = shared.done.take();
    let resources = done.iter().map(|(_, entries)| entries).sum();
    Imported { measured, resources, tenths: tenths(&done), addresses: shared.addresses.take() }
}

/// The rate in each tenth of the resources, from when each Bundle was done.
fn tenths(done: &[(Duration, usize)]) -> Vec<f64> {
    let total: usize = done.iter().map(|(_, entries)| entries).sum();
    let mut rates = Vec::new();
    let (mut since, mut count, mut seen) = (Duration::ZERO, 0, 0);
    for (at, entries) in done {
        count += entries;
        seen += entries;
        if seen * 10 >= total * (rates.len() + 1) {
            rates.push(per_second(count, at.saturating_sub(since)));
            (since, count) = (*at, 0);
        }
    }
    rates
}

struct Verifier {
    sources: Rc<Vec<Source>>,
    addresses: Rc<Vec<Vec<String>>>,
    next: Rc<Cell<usize>>,
    known: Rc<RefCell<Vec<Known>>>,
}

impl Worker for Verifier {
    async fn turn(&mut self, client: &mut Client) -> bool {
        let index = self.next.get();
        self.next.set(index + 1);
        let (Some(source), Some(addresses)) = (self.sources.get(index), self.addresses.get(index)) else {
            return false;
        };
        let Ok(mut bundle) = parse(&source.json, DEPTH) else { return true };
        let urls: HashMap<String, &String> = {
            let entries = bundle.get("entry").map(Value::items).unwrap_or_default();
            let urls = entries.iter().map(|entry| entry.get("fullUrl").and_then(Value::as_str).unwrap_or_default());
            urls.map(str::to_owned).zip(addresses).collect()
        };
        rewrite(&mut bundle, &urls);
        let entries = bundle.get("entry").map(Value::items).unwrap_or_default();
        for (address, entry) in addresses.iter().zip(entries) {
            let Some(sent) = entry.get("resource").and_then(Value::as_object) else { continue };
            let check = |answer: &Answer| {
                check::status(answer, &[200])?;
                check::version(answer, "1")?;
                check::content(answer, address, "1", sent)
            };
            if let Some(answer) = client.ask("verify", Method::GET, address, None, check).await {
                let etag = answer.etag().unwrap_or_default().to_owned();
                self.known.borrow_mut().push(Known { address: address.clone(), etag, body: answer.body });
            }
        }
        true
    }
}

/// Puts the server's addresses in place of the Bundle's own URLs, as a transaction does.
pub fn rewrite(value: &mut Value<'_>, urls: &HashMap<String, &String>) {
    match value {
        Value::String(text) => {
            if let Some(address) = urls.get(text.as_ref()) {
                *text = (*address).clone().into();
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| rewrite(item, urls)),
        Value::Object(object) => object.iter_mut().for_each(|(_, member)| rewrite(member, urls)),
        _ => {}
    }
}

/// Reads back every resource of the first round and compares it with what was sent.
pub async fn verify(base: &Base, sources: &Rc<Vec<Source>>, addresses: Vec<Vec<String>>) -> (Measured, Vec<Known>) {
    let (addresses, next, known) = (Rc::new(addresses), Rc::new(Cell::new(0)), Rc::new(RefCell::default()));
    let worker = || Verifier {
        sources: Rc::clone(sources),
        addresses: Rc::clone(&addresses),
        next: Rc::clone(&next),
        known: Rc::clone(&known),
    };
    let measured = drive(base, (0..4).map(|_| worker()).collect(), Stop::Done).await;
    (measured, known.take())
}

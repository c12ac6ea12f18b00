//! How the store serves the ledger's entries: as AuditEvents, with the search keys of one.

use super::event::{self, Facet, Own};
use super::record::{Content, Event, Record, Shape, objects, parts, read};
use crate::auth::agent::Agent;
use crate::clock::Micros;
use crate::error::Category;
use crate::fhir::tree::{Object, Value};
use crate::key::bytes::Parts;
use crate::key::{Extractor, KeyList, KeyRange, date, id_key, reference};
use crate::store::StoreResult;
use crate::store::ledger::{Entry, Form, PartKeys, id_of};
use quick_cache::sync::Cache;
use std::borrow::Cow;
use std::sync::Arc;

/// Shapes whose keys are kept at hand.
const SHAPES: usize = 10_000;

/// AuditEvents of a server.
pub struct AuditEvents {
    base: Box<str>,
    extractor: Extractor,
    /// The keys of a shape and facet, by the bytes of the one behind the other.
    shapes: Cache<Box<[u8]>, Arc<KeyList>>,
}

impl AuditEvents {
    /// Those of the server with this FHIR base.
    #[must_use]
    pub fn new(base: &str) -> Self {
        Self { base: base.into(), extractor: Extractor::new(Some(base)), shapes: Cache::new(SHAPES) }
    }

    fn keys_of_shape(&self, shape: &[u8], facet: Facet) -> StoreResult<Arc<KeyList>> {
        let name = [&[facet.bits()], shape].concat();
        if let Some(known) = self.shapes.get(&name[..]) {
            return Ok(known);
        }
        let read: Shape<'static> = read(shape)?;
        let keys = Arc::new(self.extractor.keys(&event::resource(&self.base, &read, facet, None)));
        self.shapes.insert(name.into(), Arc::clone(&keys));
        Ok(keys)
    }

    /// The keys of its shape, and those of what is its own beside number and time: `entity` and `patient`. No search parameter looks at
    /// anything else of that, and none at two elements together.
    fn keys_of(&self, shape: &[u8], content: &Content<'_>, part: u32) -> StoreResult<PartKeys> {
        let mut all: Vec<Box<[u8]>> = Vec::new();
        let mut names = |type_name: &str, id: &str| {
            all.extend(keys(b"entity", |parts| reference::resource_parts(parts, type_name, id)));
            if type_name == "Patient" {
                all.extend(keys(b"patient", |parts| reference::resource_parts(parts, type_name, id)));
            }
        };
        if let Some(patient) = event::patient(content, part) {
            names("Patient", patient);
        }
        let target = event::target(content, part);
        let changed = event::changed(content, part).map(|changed| &*changed.what);
        for (type_name, id) in target.into_iter().chain(changed).filter_map(|named| named.split_once('/')) {
            names(type_name, id);
        }
        all.sort_unstable();
        all.dedup();
        let shared = self.keys_of_shape(shape, Facet::of(content, part))?;
        // Who acts may be a patient, too.
        all.retain(|key| !shared.any_in(&KeyRange::exactly(key)));
        Ok(PartKeys { shared, own: all })
    }
}

impl Form for AuditEvents {
    fn type_name(&self) -> &'static str {
        "AuditEvent"
    }

    fn parts(&self, entry: &Entry) -> StoreResult<u32> {
        parts(&entry.bytes)
    }

    fn resource(&self, number: u64, entry: &Entry, part: u32) -> StoreResult<Object<'static>> {
        let Record { shape, content } = Record::read(entry)?;
        let own = Own { id: &id_of(number), time: entry.time, content: &content, part };
        Ok(event::resource(&self.base, &shape, Facet::of(&content, part), Some(own)))
    }

    fn keys(&self, number: u64, entry: &Entry, part: u32) -> StoreResult<KeyList> {
        let (shape, content) = objects(&entry.bytes)?;
        let content: Content<'static> = read(content)?;
        let PartKeys { shared, mut own } = self.keys_of(shape, &content, part)?;
        own.push(id_key(&id_of(number)).into());
        own.extend(self.time_keys(entry.time));
        Ok(shared.with(own))
    }

    fn time_keys(&self, time: Micros) -> Vec<Box<[u8]>> {
        keys(b"date", |parts| date::parts(parts, &Value::from(time.to_instant())))
    }

    fn all_keys(&self, entry: &Entry) -> StoreResult<Vec<PartKeys>> {
        let (shape, content) = objects(&entry.bytes)?;
        let content: Content<'static> = read(content)?;
        let parts = 0..parts(&entry.bytes)?;
        parts.map(|part| self.keys_of(shape, &content, part)).collect()
    }

    fn missing(&self, count: u64, time: Micros) -> StoreResult<Entry> {
        noted(
            format!(
                "{count} records are missing here: they waited for the ledger, and were taken away, damaged or lost"
            ),
            time,
        )
    }

    fn unread(&self, bytes: usize, time: Micros) -> StoreResult<Entry> {
        noted(
            format!(
                "{bytes} bytes of records that waited for the ledger can't be read: they were damaged, or cut off by a loss of power"
            ),
            time,
        )
    }

    fn patients(&self, entry: &Entry, part: u32) -> StoreResult<Box<[Box<str>]>> {
        let (_, content) = objects(&entry.bytes)?;
        let content: Content<'static> = read(content)?;
        Ok(event::patient(&content, part).map(Into::into).into_iter().collect())
    }
}

/// An entry of what was found of the ledger itself, with this note.
fn noted(note: String, time: Micros) -> StoreResult<Entry> {
    // The agent of which nothing is said is the server itself.
    let record = Record::of(Event::Verification, Cow::Owned(Agent::default())).ended(Category::Internal.status());
    record.saying(note).entry(time)
}

fn keys(code: &[u8], add: impl FnOnce(&mut Parts)) -> Vec<Box<[u8]>> {
    let mut parts = Parts::default();
    add(&mut parts);
    let prefix = [code, &[0]].concat();
    parts.iter().map(|part| [&prefix, part].concat().into()).collect()
}

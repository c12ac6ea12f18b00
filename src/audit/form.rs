//! How the store serves the ledger's entries: as AuditEvents, with the search keys of one.

use super::event;
use super::record::{Content, Record, Shape, parts, read};
use crate::clock::Micros;
use crate::fhir::tree::{Object, Value};
use crate::key::bytes::Parts;
use crate::key::{Extractor, KeyList, date, id_key, reference};
use crate::store::StoreResult;
use crate::store::ledger::{Entry, Form};
use quick_cache::sync::Cache;
use std::sync::Arc;

/// Shapes whose keys are kept at hand.
const SHAPES: usize = 10_000;

/// AuditEvents of a server.
pub struct AuditEvents {
    base: Box<str>,
    extractor: Extractor,
    /// The keys of a shape, by its bytes.
    shapes: Cache<Box<[u8]>, Arc<KeyList>>,
}

impl AuditEvents {
    /// Those of the server with this FHIR base.
    #[must_use]
    pub fn new(base: &str) -> Self {
        Self { base: base.into(), extractor: Extractor::new(Some(base)), shapes: Cache::new(SHAPES) }
    }

    fn keys_of_shape(&self, shape: &[u8]) -> StoreResult<Arc<KeyList>> {
        if let Some(known) = self.shapes.get(shape) {
            return Ok(known);
        }
        let read: Shape<'static> = read(shape)?;
        let keys = Arc::new(self.extractor.keys(&event::resource(&self.base, &read, None)));
        self.shapes.insert(shape.into(), Arc::clone(&keys));
        Ok(keys)
    }
}

impl Form for AuditEvents {
    fn type_name(&self) -> &'static str {
        "AuditEvent"
    }

    fn resource(&self, id: &str, entry: &Entry) -> StoreResult<Object<'static>> {
        let Record { shape, content } = Record::read(entry)?;
        Ok(event::resource(&self.base, &shape, Some((id, entry.time, &content))))
    }

    /// Those of its shape, and those of what is its own: `date`, `entity` and `patient`. No search parameter looks at anything else of
    /// that, and none at two elements together.
    fn keys(&self, id: &str, entry: &Entry) -> StoreResult<KeyList> {
        let (shape, content) = parts(&entry.bytes)?;
        let content: Content<'static> = read(content)?;
        let mut own: Vec<Box<[u8]>> = vec![id_key(id).into()];
        own.extend(keys(b"date", |parts| moment(parts, entry.time)));
        for patient in &content.patients {
            own.extend(keys(b"entity", |parts| reference::resource_parts(parts, "Patient", patient)));
            own.extend(keys(b"patient", |parts| reference::resource_parts(parts, "Patient", patient)));
        }
        let named = content.target.as_deref().into_iter().chain(content.changed.iter().map(|changed| &*changed.what));
        for (type_name, id) in named.filter_map(|reference| reference.split_once('/')) {
            own.extend(keys(b"entity", |parts| reference::resource_parts(parts, type_name, id)));
            if type_name == "Patient" {
                own.extend(keys(b"patient", |parts| reference::resource_parts(parts, type_name, id)));
            }
        }
        own.sort_unstable();
        own.dedup();
        Ok(self.keys_of_shape(shape)?.with(own))
    }

    fn patients(&self, entry: &Entry) -> StoreResult<Box<[Box<str>]>> {
        let (_, content) = parts(&entry.bytes)?;
        let content: Content<'static> = read(content)?;
        Ok(content.patients.into())
    }
}

fn keys(code: &[u8], add: impl FnOnce(&mut Parts)) -> Vec<Box<[u8]>> {
    let mut parts = Parts::default();
    add(&mut parts);
    let prefix = [code, &[0]].concat();
    parts.iter().map(|part| [&prefix, part].concat().into()).collect()
}

fn moment(parts: &mut Parts, time: Micros) {
    date::parts(parts, &Value::from(time.to_instant()));
}

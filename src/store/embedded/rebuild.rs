//! Makes what can be derived from the records anew: postings (in a new generation), ids, and the head of a tenant.

use super::check::{entries, rid_in};
use super::ledger::Walk;
use super::postings::Scope;
use super::record::{Head, Header, OpenKeys, open_keys, open_record, pack_keys, seal_keys, with_added_keys};
use super::tables::{Tables, failed};
use super::{block, kept, layout};
use crate::auth::records::{self, Record};
use crate::clock::Micros;
use crate::key::KeyList;
use crate::store::index::Index;
use crate::store::seal::Sealer;
use crate::store::{Rid, StoreResult, Version};
use crate::tenant::{Tenant, TenantId};
use fjall::{OwnedWriteBatch, PersistMode};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Gives the search keys of a resource from its JSON, without those that the commit adds.
pub type Extract<'e> = Box<dyn Fn(&[u8]) -> KeyList + 'e>;

/// What the search keys of a tenant depend on beside the resources.
pub struct Ground<'g> {
    /// The tenant.
    pub tenant: TenantId,
    /// The records of all tenants, as far as they can be read.
    pub tenants: &'g [Tenant],
    /// The ids and the JSON of its SearchParameters.
    pub search_parameters: &'g [(String, Vec<u8>)],
}

/// Makes the [`Extract`] of a tenant.
pub type Extractors<'e> = &'e dyn Fn(&Ground<'_>) -> Extract<'e>;

/// Resources whose postings are gathered before they are written.
const PART: usize = 4096;
/// Entries in one batch of removals.
const REMOVED_TOGETHER: usize = 10_000;

/// Rebuilds one tenant. The old generation is in use until the new one is whole.
pub(super) fn tenant(ledger: Walk<'_>, extractors: Option<Extractors<'_>>) -> StoreResult<()> {
    let Walk { tables, sealer, tenant, .. } = ledger;
    let stored = tables.records.get(layout::head(tenant)).map_err(|error| failed(&error))?;
    let old = stored.and_then(|bytes| Head::unpack(&bytes).ok()).unwrap_or(Head::FIRST);
    let generation = old.generation.wrapping_add(1);
    remove(tables, &layout::all_postings(tenant, generation))?;
    let extract = match extractors {
        Some(extractors) => {
            let search_parameters = search_parameters(tables, sealer, tenant)?;
            Some(extractors(&Ground {
                tenant,
                tenants: &registry(tables, sealer)?,
                search_parameters: &search_parameters,
            }))
        }
        None => None,
    };
    let mut head = Head { generation, ..old };
    let mut part = Part { index: Index::load(tables, sealer, tenant)?, ..Part::new(tables, tenant, generation) };
    for entry in entries(&tables.records, layout::all_current(tenant)) {
        let (key, record) = entry?;
        let rid = rid_in(&key);
        let Ok((header, _)) = Header::unpack(&record) else { continue };
        head.time = head.time.max(header.time);
        head.next_rid = head.next_rid.max(Rid(rid.0 + 1));
        part.batch.insert(&tables.index, layout::id(tenant, header.type_name, header.id), rid.0.to_be_bytes());
        if header.body.is_some()
            && let Some(keys) = part.keys(sealer, rid, &record, header.time, extract.as_ref())?
        {
            part.add(&header, rid, &with_added_keys(&keys, header.time))?;
        }
    }
    part.write()?;
    ledger.postings(generation, |writes| {
        let mut batch = durable(tables);
        for (key, value) in writes {
            if let Some(value) = value {
                batch.insert(&tables.index, key, value);
            }
        }
        batch.commit().map_err(|error| failed(&error))
    })?;
    remove_ids_without_records(tables, tenant)?;
    let mut switch = durable(tables);
    if extractors.is_some() {
        // Key lists may be others now, which no log tells.
        head.time = Micros(head.time.0.saturating_add(1));
        switch.insert(&tables.records, layout::rekeyed(tenant), head.time.0.to_be_bytes());
    }
    switch.insert(&tables.records, layout::head(tenant), head.pack());
    switch.commit().map_err(|error| failed(&error))?;
    remove(tables, &layout::all_postings(tenant, old.generation))
}

/// Ids and JSON of the SearchParameters of a tenant, as far as they can be read: from the records, since the index is what
/// is to be made.
fn search_parameters(tables: &Tables, sealer: &Sealer, tenant: TenantId) -> StoreResult<Vec<(String, Vec<u8>)>> {
    let mut found = Vec::new();
    for entry in entries(&tables.records, layout::all_current(tenant)) {
        let (key, record) = entry?;
        let is_one = Header::unpack(&record).is_ok_and(|(header, _)| header.type_name == "SearchParameter");
        if is_one && let Some((version, json)) = json_of(sealer, tenant, rid_in(&key), &record) {
            found.push((version.id.into(), json));
        }
    }
    Ok(found)
}

/// The records of the tenants, as far as they can be read.
fn registry(tables: &Tables, sealer: &Sealer) -> StoreResult<Vec<Tenant>> {
    let place = TenantId::INSTALLATION;
    let mut found = Vec::new();
    for entry in entries(&tables.records, layout::kept(place, Tenant::KIND, "")) {
        let (key, value) = entry?;
        found.extend(kept::open(sealer, place, &key, &value).ok().and_then(|kept| records::read(&kept.bytes).ok()));
    }
    Ok(found)
}

/// A version and its JSON; `None` for one that is deleted or can't be read.
fn json_of(sealer: &Sealer, tenant: TenantId, rid: Rid, record: &[u8]) -> Option<(Version, Vec<u8>)> {
    let version = open_record(sealer, tenant, rid, record).ok()?;
    let json = version.body.as_ref()?.unpack(version.version, version.time).ok()?;
    Some((version, json))
}

fn durable(tables: &Tables) -> OwnedWriteBatch {
    tables.db.batch().durability(Some(PersistMode::SyncData))
}

struct Part<'p> {
    tables: &'p Tables,
    tenant: TenantId,
    generation: u16,
    index: Arc<Index>,
    blocks: BTreeMap<Vec<u8>, Vec<Rid>>,
    resources: usize,
    base: Rid,
    batch: OwnedWriteBatch,
}

impl<'p> Part<'p> {
    fn new(tables: &'p Tables, tenant: TenantId, generation: u16) -> Self {
        let batch = durable(tables);
        Self {
            tables,
            tenant,
            generation,
            index: Arc::default(),
            blocks: BTreeMap::new(),
            resources: 0,
            base: Rid(0),
            batch,
        }
    }

    /// The keys of a live version; `None` where they can't be told, which the check reports.
    fn keys(
        &mut self,
        sealer: &Sealer,
        rid: Rid,
        record: &[u8],
        time: Micros,
        extract: Option<&Extract<'_>>,
    ) -> StoreResult<Option<KeyList>> {
        let stored = self.tables.records.get(layout::keys(self.tenant, rid)).map_err(|error| failed(&error))?;
        let stored = stored.and_then(|value| open_keys(sealer, self.tenant, rid, &value).ok());
        let Some(extract) = extract else { return Ok(stored.map(|stored| stored.content)) };
        let Some((version, json)) = json_of(sealer, self.tenant, rid, record) else { return Ok(None) };
        let made = OpenKeys { version: version.version, time, content: extract(&json) };
        if stored.as_ref() != Some(&made) {
            let value = seal_keys(sealer, self.tenant, rid, version.version, time, &pack_keys(&made.content))?;
            self.batch.insert(&self.tables.records, layout::keys(self.tenant, rid), value);
        }
        Ok(Some(made.content))
    }

    /// Adds a resource's postings. What was gathered is written between two bases, so that no block is written in parts.
    fn add(&mut self, header: &Header<'_>, rid: Rid, keys: &KeyList) -> StoreResult<()> {
        let base = Rid(rid.0.saturating_sub(header.after_base));
        if self.resources >= PART && base != self.base {
            self.write()?;
        }
        self.base = base;
        self.resources += 1;
        let scope = Scope { tenant: self.tenant, generation: self.generation, type_name: header.type_name, base };
        for key in &*self.index.made(header.type_name, keys) {
            self.blocks.entry(layout::block(scope, key)).or_default().push(rid);
        }
        Ok(())
    }

    fn write(&mut self) -> StoreResult<()> {
        for (key, rids) in std::mem::take(&mut self.blocks) {
            let value = block::pack(layout::base_of(&key), &rids);
            self.batch.insert(&self.tables.index, key, value);
        }
        self.resources = 0;
        let batch = std::mem::replace(&mut self.batch, durable(self.tables));
        batch.commit().map_err(|error| failed(&error))
    }
}

fn remove_ids_without_records(tables: &Tables, tenant: TenantId) -> StoreResult<()> {
    let mut batch = durable(tables);
    for entry in entries(&tables.index, layout::all_ids(tenant)) {
        let (key, value) = entry?;
        let rid = super::record::rid_of(&value)?;
        let record = tables.records.get(layout::current(tenant, rid)).map_err(|error| failed(&error))?;
        if record.is_none() {
            batch.remove(&tables.index, key);
        }
    }
    batch.commit().map_err(|error| failed(&error))
}

fn remove(tables: &Tables, prefix: &[u8]) -> StoreResult<()> {
    loop {
        let mut batch = durable(tables);
        for entry in entries(&tables.index, prefix.to_vec()).take(REMOVED_TOGETHER) {
            batch.remove(&tables.index, entry?.0);
        }
        if batch.is_empty() {
            return Ok(());
        }
        batch.commit().map_err(|error| failed(&error))?;
    }
}

//! Reading the chain, and single entries as resources.

use super::fold;
use crate::key::KeyList;
use crate::store::body::Body;
use crate::store::embedded::layout;
use crate::store::embedded::record::with_added_keys;
use crate::store::embedded::tables::failed;
use crate::store::ledger::{Block, Entry, Form, Head, id_of};
use crate::store::seal::Sealer;
use crate::store::{Method, Rid, StoreError, StoreResult, Version};
use crate::tenant::TenantId;
use fjall::{Keyspace, Readable, Snapshot};
use quick_cache::sync::Cache;
use std::sync::Arc;

/// Blocks that are kept open, about 20 kB each.
const OPEN: usize = 512;

/// How far a tenant's chain has come.
pub(in crate::store::embedded) fn head(history: &Keyspace, tenant: TenantId) -> StoreResult<Head> {
    let stored = history.get(layout::ledger_head(tenant)).map_err(|error| failed(&error))?;
    stored.map_or(Ok(Head::FIRST), |bytes| Head::unpack(&bytes))
}

/// The blocks of a chain, in order; with their entries where `is_open`.
pub(in crate::store::embedded) fn blocks<'s>(
    stored: fjall::Iter,
    sealer: &'s Sealer,
    tenant: TenantId,
    is_open: bool,
) -> impl Iterator<Item = StoreResult<Block>> + Send + use<'s> {
    stored.map(move |block| {
        let (key, bytes) = block.into_inner().map_err(|error| failed(&error))?;
        let place = key.last_chunk::<8>().map_or(u64::MAX, |bytes| u64::from_be_bytes(*bytes));
        let entries = if is_open { fold::open(sealer, tenant, place, &bytes) } else { Ok(Vec::new()) };
        Ok(Block { bytes: bytes.to_vec(), place, entries })
    })
}

/// Entries as resources.
pub(in crate::store::embedded) struct Entries {
    pub form: Arc<dyn Form>,
    /// The entries of a block, each with its first number.
    open: Cache<(TenantId, u64), Arc<Vec<(u64, Entry)>>>,
}

/// Where entries are read.
#[derive(Clone, Copy)]
pub(in crate::store::embedded) struct Place<'p> {
    pub snapshot: &'p Snapshot,
    pub history: &'p Keyspace,
    pub sealer: &'p Sealer,
    pub tenant: TenantId,
}

impl Entries {
    pub(in crate::store::embedded) fn new(form: Arc<dyn Form>) -> Self {
        Self { form, open: Cache::new(OPEN) }
    }

    /// The resource with a number.
    pub(in crate::store::embedded) fn version(&self, place: Place<'_>, number: u64) -> StoreResult<Option<Version>> {
        self.with(place, number, |entry, part| {
            Ok(Version {
                rid: Rid::of_entry(number),
                type_name: self.form.type_name().into(),
                id: id_of(number).into(),
                version: 1,
                time: entry.time,
                method: Method::Create,
                patients: self.form.patients(entry, part)?,
                body: Some(Body::uncompressed(&self.form.resource(number, entry, part)?)),
            })
        })
    }

    /// Its search keys.
    pub(in crate::store::embedded) fn keys(&self, place: Place<'_>, number: u64) -> StoreResult<Option<KeyList>> {
        self.with(place, number, |entry, part| Ok(with_added_keys(&self.form.keys(number, entry, part)?, entry.time)))
    }

    /// Whether there is one with this number.
    pub(in crate::store::embedded) fn is_there(place: Place<'_>, number: u64) -> StoreResult<bool> {
        let stored = place.snapshot.get(place.history, layout::ledger_head(place.tenant));
        let head = stored.map_err(|error| failed(&error))?;
        Ok(number < head.map_or(Ok(Head::FIRST), |bytes| Head::unpack(&bytes))?.next)
    }

    fn with<T>(
        &self,
        place: Place<'_>,
        number: u64,
        read: impl FnOnce(&Entry, u32) -> StoreResult<T>,
    ) -> StoreResult<Option<T>> {
        if !Self::is_there(place, number)? {
            return Ok(None);
        }
        let Place { snapshot, history, sealer, tenant } = place;
        let (start, end) = (layout::all_ledger(tenant), layout::ledger(tenant, number));
        let missing = || StoreError::Damaged("an entry of the ledger is missing".into());
        let (key, bytes) = match snapshot.range(history, start..=end).next_back() {
            Some(block) => block.into_inner().map_err(|error| failed(&error))?,
            None => return Err(missing()),
        };
        let first = key.last_chunk::<8>().map_or(u64::MAX, |bytes| u64::from_be_bytes(*bytes));
        let entries = self.open.get_or_insert_with(&(tenant, first), || {
            self.numbered(first, fold::open(sealer, tenant, first, &bytes)?).map(Arc::new)
        })?;
        let at = entries.partition_point(|(own, _)| *own <= number).checked_sub(1).ok_or_else(missing)?;
        let (own, entry) = entries.get(at).ok_or_else(missing)?;
        let part = u32::try_from(number - own).map_err(|_| missing())?;
        if part < self.form.parts(entry)? { read(entry, part).map(Some) } else { Err(missing()) }
    }

    /// Entries of which the first has the number `first`, with their numbers.
    fn numbered(&self, first: u64, entries: Vec<Entry>) -> StoreResult<Vec<(u64, Entry)>> {
        let mut next = first;
        let mut numbered = Vec::with_capacity(entries.len());
        for entry in entries {
            let parts = self.form.parts(&entry)?;
            numbered.push((next, entry));
            next += u64::from(parts);
        }
        Ok(numbered)
    }
}

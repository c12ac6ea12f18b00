//! Reading the chain, and single entries as resources.

use super::fold;
use crate::key::KeyList;
use crate::store::embedded::layout;
use crate::store::embedded::record::with_added_keys;
use crate::store::embedded::tables::failed;
use crate::store::ledger::{Block, Entry, Form, Head, body_of, id_of};
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
    open: Cache<(TenantId, u64), Arc<Vec<Entry>>>,
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

    /// The entry with a number, as a resource.
    pub(in crate::store::embedded) fn version(&self, place: Place<'_>, number: u64) -> StoreResult<Option<Version>> {
        let id = id_of(number);
        self.with(place, number, |entry| {
            Ok(Version {
                rid: Rid::of_entry(number),
                type_name: self.form.type_name().into(),
                version: 1,
                time: entry.time,
                method: Method::Create,
                patients: self.form.patients(entry)?,
                body: Some(body_of(&*self.form, &id, entry)?),
                id: id.into(),
            })
        })
    }

    /// Its search keys.
    pub(in crate::store::embedded) fn keys(&self, place: Place<'_>, number: u64) -> StoreResult<Option<KeyList>> {
        let id = id_of(number);
        self.with(place, number, |entry| Ok(with_added_keys(&self.form.keys(&id, entry)?, entry.time)))
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
        read: impl FnOnce(&Entry) -> StoreResult<T>,
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
        let entries = self
            .open
            .get_or_insert_with(&(tenant, first), || fold::open(sealer, tenant, first, &bytes).map(Arc::new))?;
        let at = number.checked_sub(first).and_then(|at| usize::try_from(at).ok()).ok_or_else(missing)?;
        entries.get(at).ok_or_else(missing).and_then(read).map(Some)
    }
}

//! Reading the chain, and single entries as resources.

use super::fold;
use crate::key::KeyList;
use crate::key::range::after_prefix;
use crate::store::body::Body;
use crate::store::ledger::{Block, Entry, Form, Head, id_of};
use crate::store::rows::record::with_added_keys;
use crate::store::rows::{Row, Rows, Table, layout};
use crate::store::seal::Sealer;
use crate::store::{Method, Rid, StoreError, StoreResult, Version};
use crate::tenant::TenantId;
use quick_cache::sync::Cache;
use std::sync::Arc;

/// Blocks that are kept open, about 20 kB each.
const OPEN: usize = 512;

/// How far a tenant's chain has come.
pub(in crate::store) fn head(rows: &dyn Rows, tenant: TenantId) -> StoreResult<Head> {
    let stored = rows.get(Table::History, &layout::ledger_head(tenant))?;
    stored.map_or(Ok(Head::FIRST), |bytes| Head::unpack(&bytes))
}

/// A block of a chain, by its row; with its entries where `is_open`.
pub(in crate::store) fn block_of((key, bytes): Row, sealer: &Sealer, tenant: TenantId, is_open: bool) -> Block {
    let place = number_of(&key);
    let entries = if is_open { fold::open(sealer, tenant, place, &bytes) } else { Ok(Vec::new()) };
    Block { bytes, place, entries }
}

/// Under which number a block stands.
pub(in crate::store) fn number_of(key: &[u8]) -> u64 {
    key.last_chunk::<8>().map_or(u64::MAX, |bytes| u64::from_be_bytes(*bytes))
}

/// The entries of a block, each with its first number.
pub(in crate::store) type Opened = Arc<Vec<(u64, Entry)>>;

/// Entries as resources.
pub(in crate::store) struct Entries {
    pub form: Arc<dyn Form>,
    /// By the number of the block.
    open: Cache<(TenantId, u64), Opened>,
}

/// Where entries are read.
#[derive(Clone, Copy)]
pub(in crate::store) struct Place<'p> {
    pub rows: &'p dyn Rows,
    pub sealer: &'p Sealer,
    pub tenant: TenantId,
}

impl Entries {
    pub(in crate::store) fn new(form: Arc<dyn Form>) -> Self {
        Self { form, open: Cache::new(OPEN) }
    }

    /// The resource with a number.
    pub(in crate::store) fn version(&self, place: Place<'_>, number: u64) -> StoreResult<Option<Version>> {
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
    pub(in crate::store) fn keys(&self, place: Place<'_>, number: u64) -> StoreResult<Option<KeyList>> {
        self.with(place, number, |entry, part| Ok(with_added_keys(&self.form.keys(number, entry, part)?, entry.time)))
    }

    /// Whether there is one with this number.
    pub(in crate::store) fn is_there(place: Place<'_>, number: u64) -> StoreResult<bool> {
        Ok(number < Self::count(place)?)
    }

    /// How many numbers the entries take.
    pub(in crate::store) fn count(place: Place<'_>) -> StoreResult<u64> {
        Ok(head(place.rows, place.tenant)?.next)
    }

    /// The block in which an entry is, with its number: that of its first entry.
    pub(in crate::store) fn block(place: Place<'_>, number: u64) -> StoreResult<Option<(u64, Vec<u8>)>> {
        let Place { rows, tenant, .. } = place;
        let (start, after) = (layout::all_ledger(tenant), after_prefix(&layout::ledger(tenant, number)));
        let block = rows.range_back(Table::History, &start, &after, 1)?.pop();
        Ok(block.map(|(key, bytes)| (number_of(&key), bytes)))
    }

    /// The entries of a block, each with its first number.
    pub(in crate::store) fn open(&self, place: Place<'_>, first: u64, block: &[u8]) -> StoreResult<Opened> {
        let Place { sealer, tenant, .. } = place;
        self.open.get_or_insert_with(&(tenant, first), || {
            self.numbered(first, fold::open(sealer, tenant, first, block)?).map(Arc::new)
        })
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
        let missing = || StoreError::Damaged("an entry of the ledger is missing".into());
        let (first, block) = Self::block(place, number)?.ok_or_else(missing)?;
        let entries = self.open(place, first, &block)?;
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

//! Entries that are recorded and not folded yet, and the rows in which some of them wait.

use crate::clock::Micros;
use crate::store::ledger::Entry;
use crate::store::rows::{Row, varint};
use crate::store::seal::{Place, Purpose, Sealer};
use crate::store::{Rid, StoreError, StoreResult};
use crate::tenant::TenantId;

/// An entry that is staged.
#[derive(Debug)]
pub(in crate::store) struct Staged {
    pub tenant: TenantId,
    pub entry: Entry,
    /// The row that it is staged in; none for one that waits elsewhere.
    pub row: Option<u64>,
}

/// What is taken to be folded.
#[derive(Default)]
pub(in crate::store) struct Unfolded {
    pub entries: Vec<Staged>,
    /// The last number among them of one that is in no row; 0 for none.
    pub number: u64,
    /// The last ticket among them, where tickets are given.
    pub ticket: u64,
}

/// Where a staged entry belongs.
pub(in crate::store) const fn staged_place(tenant: TenantId, number: u64) -> Place {
    Place { purpose: Purpose::Staged, tenant, rid: Rid(number), version: 0 }
}

/// The value of a row.
pub(in crate::store) fn seal_row(sealer: &Sealer, tenant: TenantId, row: u64, entry: &Entry) -> StoreResult<Vec<u8>> {
    let mut out = Vec::with_capacity(24 + entry.bytes.len() + crate::store::seal::OVERHEAD);
    varint::push(u64::from(tenant.0), &mut out);
    out.extend_from_slice(&entry.time.0.to_be_bytes());
    sealer.seal(Place { version: 1, ..staged_place(tenant, row) }, entry.time, &entry.bytes, &mut out)?;
    Ok(out)
}

/// Whose entry waits in a row with this value.
pub(in crate::store) fn owner_of_row(mut value: &[u8]) -> StoreResult<TenantId> {
    let tenant = varint::take(&mut value).and_then(|tenant| u32::try_from(tenant).ok());
    tenant.map(TenantId).ok_or_else(|| StoreError::Damaged("a staged entry of the ledger".into()))
}

/// What waits in a row.
pub(in crate::store) fn open_row(sealer: &Sealer, (key, value): &Row) -> StoreResult<Staged> {
    let damaged = || StoreError::Damaged("a staged entry of the ledger".into());
    let row = key.last_chunk::<8>().map(|bytes| u64::from_be_bytes(*bytes)).ok_or_else(damaged)?;
    let mut rest = &value[..];
    let tenant = varint::take(&mut rest).and_then(|tenant| u32::try_from(tenant).ok()).ok_or_else(damaged)?;
    let (time, sealed) = rest.split_first_chunk::<8>().ok_or_else(damaged)?;
    let header = value.get(..value.len() - sealed.len()).unwrap_or_default();
    let place = Place { version: 1, ..staged_place(TenantId(tenant), row) };
    let bytes = sealer.open(place, header, sealed)?;
    let entry = Entry { time: Micros(i64::from_be_bytes(*time)), bytes };
    Ok(Staged { tenant: TenantId(tenant), entry, row: Some(row) })
}

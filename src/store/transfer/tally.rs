//! Counts and hashes of what a store holds, by tenant and table: equal ones, equal rows.

use super::content::{TABLES, Walk, tenants};
use crate::store::index::Index;
use crate::store::keys::{Keyring, hex};
use crate::store::rows::record::Head;
use crate::store::rows::{Rows, Table, block, layout};
use crate::store::{StoreError, StoreResult};
use crate::tenant::TenantId;
use aws_lc_rs::digest::{Context, SHA256};
use std::collections::BTreeMap;
use std::fmt;

/// What one table holds of a tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sum {
    /// Rows; of the index, ids and postings.
    pub count: u64,
    /// A SHA-256 in hexadecimal, over all keys and values in order. Of the index, whose postings stand in blocks that may be cut otherwise, the
    /// sum of the hashes of all.
    pub hash: String,
}

/// By the tenant's number and the name of the table.
pub type Tally = BTreeMap<(u32, &'static str), Sum>;

/// Counts all that the tenants have; not the index of one that is given another form just now, nor of one whose keys in `ring` were
/// destroyed, which has none. Nor the postings of the ledger's entries (`entries`: the type as which they are served): they are made of its blocks,
/// which are compared, and tell the address of the server that made them.
pub(super) fn tally(rows: &dyn Rows, ring: &Keyring, entries: &str) -> StoreResult<Tally> {
    let (mut found, sealer) = (Tally::new(), ring.sealer());
    for tenant in tenants(rows)? {
        for table in TABLES {
            found.insert((tenant.0, name(table)), in_order(rows, table, tenant)?);
        }
        if !ring.is_destroyed(tenant) && Index::load(rows, &sealer, tenant)?.is_settled() {
            found.insert((tenant.0, name(Table::Index)), of_index(rows, tenant, entries)?);
        }
    }
    Ok(found)
}

const fn name(table: Table) -> &'static str {
    match table {
        Table::Records => "records",
        Table::History => "history",
        Table::Index => "index",
    }
}

fn in_order(rows: &dyn Rows, table: Table, tenant: TenantId) -> StoreResult<Sum> {
    let (mut count, mut hash) = (0, Context::new(&SHA256));
    for row in Walk::of(rows, table, tenant) {
        let (key, value) = row?;
        count += 1;
        for part in [key, value] {
            hash.update(&(part.len() as u64).to_be_bytes());
            hash.update(&part);
        }
    }
    Ok(Sum { count, hash: hex(hash.finish().as_ref()) })
}

/// Ids, and the postings of the generation in use, without those of the ledger's entries.
fn of_index(rows: &dyn Rows, tenant: TenantId, entries: &str) -> StoreResult<Sum> {
    let (mut count, mut sum) = (0_u64, 0_u128);
    let mut add = |parts: [&[u8]; 3]| {
        let mut hash = Context::new(&SHA256);
        for part in parts {
            hash.update(&(part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        let first = hash.finish().as_ref().first_chunk::<16>().map_or(0, |bytes| u128::from_be_bytes(*bytes));
        (count, sum) = (count + 1, sum.wrapping_add(first));
    };
    for row in Walk::over(rows, Table::Index, &layout::all_ids(tenant)) {
        let (key, value) = row?;
        add([b"id", &key, &value]);
    }
    let head = rows.get(Table::Records, &layout::head(tenant))?;
    let generation = head.map_or(Ok(Head::FIRST), |bytes| Head::unpack(&bytes))?.generation;
    let of_entries = layout::postings_of(tenant, generation, entries, 0);
    for row in Walk::over(rows, Table::Index, &layout::all_postings(tenant, generation)) {
        let (key, value) = row?;
        if key.starts_with(&of_entries) {
            continue;
        }
        let damaged = || StoreError::Damaged("the key of a block of postings".into());
        let (search_key, base) = key.split_last_chunk::<8>().ok_or_else(damaged)?;
        for rid in block::unpack(crate::store::Rid(u64::from_be_bytes(*base)), &value)? {
            add([b"posting", search_key, &rid.0.to_be_bytes()]);
        }
    }
    Ok(Sum { count, hash: format!("{sum:032x}") })
}

impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\t{}", self.count, self.hash.get(..16).unwrap_or_default())
    }
}

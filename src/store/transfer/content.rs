//! What is moved: the rows of records and of history, byte by byte. Ids, postings and the index of expiry are made of them anew
//! ([`super::index`]).

use crate::clock::Micros;
use crate::key::range::after_prefix;
use crate::store::rows::record::Head;
use crate::store::rows::stretch::Most;
use crate::store::rows::{Row, Rows, Table, layout, ledger};
use crate::store::{Rid, StoreError, StoreResult};
use crate::tenant::TenantId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The tables whose rows are moved.
pub(super) const TABLES: [Table; 2] = [Table::Records, Table::History];
/// Rows that are read at once.
const TOGETHER: usize = 256;

/// Up to where a tenant is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::store) struct Mark {
    /// The time of its newest commit, in microseconds since 1970.
    pub time: i64,
    /// How many numbers the entries of its ledger take.
    pub entries: u64,
}

/// Up to where each tenant is known, by its number.
pub(in crate::store) type Marks = BTreeMap<u32, Mark>;

/// Which line of changes a store is on. One that was restored or copied goes on otherwise than what it was made of, so it has an id of its own.
pub(super) fn line(rows: &dyn Rows) -> StoreResult<Option<String>> {
    let damaged = |_| StoreError::Damaged("the id of the store's line of changes".into());
    rows.get(Table::Records, &layout::line())?.map(|bytes| String::from_utf8(bytes).map_err(damaged)).transpose()
}

/// All tenants with how far they have come.
pub(super) fn marks(rows: &dyn Rows) -> StoreResult<Marks> {
    tenants(rows)?.into_iter().map(|tenant| Ok((tenant.0, mark_of(rows, tenant)?))).collect()
}

/// How far a tenant has come.
pub(super) fn mark_of(rows: &dyn Rows, tenant: TenantId) -> StoreResult<Mark> {
    let head = rows.get(Table::Records, &layout::head(tenant))?;
    let head = head.map_or(Ok(Head::FIRST), |bytes| Head::unpack(&bytes))?;
    Ok(Mark { time: head.time.0, entries: ledger::head(rows, tenant)?.next })
}

/// Whether key lists were replaced without a new version since a time.
pub(super) fn is_rekeyed_since(rows: &dyn Rows, tenant: TenantId, since: Micros) -> StoreResult<bool> {
    let Some(time) = rows.get(Table::Records, &layout::rekeyed(tenant))? else { return Ok(false) };
    let time = time.try_into().map(i64::from_be_bytes);
    Ok(time.map_err(|_| StoreError::Damaged("the time of the last new key lists".into()))? > since.0)
}

/// The tenants that have rows, ascending; the store itself is none.
pub(super) fn tenants(rows: &dyn Rows) -> StoreResult<Vec<TenantId>> {
    let mut found = Vec::new();
    for table in TABLES {
        let mut next = 0_u32;
        loop {
            let first = rows.range(table, &next.to_be_bytes(), &layout::SYSTEM.0.to_be_bytes(), 1)?;
            let Some((key, _)) = first.first() else { break };
            let tenant = layout::tenant_of(key);
            found.push(tenant);
            next = tenant.0 + 1;
        }
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// Rows whose keys start the same, ascending.
pub(super) struct Walk<'r> {
    rows: &'r dyn Rows,
    table: Table,
    /// From where on to read; empty at the end.
    next: Vec<u8>,
    after: Vec<u8>,
    read: std::vec::IntoIter<Row>,
}

impl<'r> Walk<'r> {
    /// All rows with this prefix.
    pub(super) fn over(rows: &'r dyn Rows, table: Table, prefix: &[u8]) -> Self {
        Self::from(rows, table, prefix, prefix.to_vec())
    }

    /// Those of them from a key on.
    pub(super) fn from(rows: &'r dyn Rows, table: Table, prefix: &[u8], from: Vec<u8>) -> Self {
        Self { rows, table, next: from, after: after_prefix(prefix), read: Vec::new().into_iter() }
    }

    /// All that a tenant has in a table.
    pub(super) fn of(rows: &'r dyn Rows, table: Table, tenant: TenantId) -> Self {
        Self::over(rows, table, &tenant.0.to_be_bytes())
    }
}

/// Rows that are looked up by keys which ascend.
pub(super) struct Beside<'r>(std::iter::Peekable<Walk<'r>>);

impl<'r> Beside<'r> {
    /// Those with this prefix.
    pub(super) fn over(rows: &'r dyn Rows, table: Table, prefix: &[u8]) -> Self {
        Self(Walk::over(rows, table, prefix).peekable())
    }

    /// The value of the row with a key, which no earlier look-up was past.
    pub(super) fn at(&mut self, key: &[u8]) -> StoreResult<Option<Vec<u8>>> {
        while self.0.next_if(|row| row.as_ref().is_ok_and(|(own, _)| own[..] < *key)).is_some() {}
        let found = self.0.next_if(|row| row.as_ref().map_or(true, |(own, _)| own[..] == *key));
        Ok(found.transpose()?.map(|(_, value)| value))
    }
}

/// The number at the end of a key.
pub(super) fn rid_in(key: &[u8]) -> Rid {
    Rid(number_in(key))
}

/// The number at the end of a key.
pub(super) fn number_in(key: &[u8]) -> u64 {
    key.last_chunk::<8>().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

impl Iterator for Walk<'_> {
    type Item = StoreResult<Row>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(row) = self.read.next() {
            return Some(Ok(row));
        }
        if self.next.is_empty() {
            return None;
        }
        let read = match self.rows.stretch(self.table, &self.next, &self.after, Most::rows(TOGETHER)) {
            Ok(read) => read,
            Err(error) => {
                self.next.clear();
                return Some(Err(error));
            }
        };
        self.next = read.next().unwrap_or_default();
        self.read = read.rows.into_iter();
        self.read.next().map(Ok)
    }
}

//! What a view of the embedded store reads: a snapshot of fjall.

use super::tables::{Tables, failed, get_of, range_back_of, stretch_of};
use crate::store::index::Index;
use crate::store::rows::key_lists::Since;
use crate::store::rows::record::rid_of;
use crate::store::rows::stretch::{Most, Stretch};
use crate::store::rows::view::Moment;
use crate::store::rows::{Row, Rows, Table};
use crate::store::seal::Sealer;
use crate::store::{Rid, StoreResult};
use crate::tenant::TenantId;
use fjall::{Readable, Slice};
use std::sync::Arc;

/// Costs two counters to make; everything is read when it is asked for.
pub(super) struct Snapshot {
    tables: Arc<Tables>,
    index: Arc<Index>,
    rows: fjall::Snapshot,
    /// See [`Tables::freed`].
    freed: u64,
    /// See [`Changes::written`](crate::store::rows::key_lists::Changes::written).
    at: u64,
}

impl Snapshot {
    /// `index` is of a moment before: reading by it stays right while another form is made.
    pub(super) fn new(tables: &Arc<Tables>, index: Arc<Index>) -> Self {
        let (freed, at) = (tables.freed(), tables.changes.written());
        Self { tables: Arc::clone(tables), index, rows: tables.db.snapshot(), freed, at }
    }

    fn range(&self, table: Table, from: Vec<u8>, to: Vec<u8>) -> impl DoubleEndedIterator<Item = fjall::Guard> {
        (from < to).then(|| self.rows.range(self.tables.of(table), from..to)).into_iter().flatten()
    }
}

fn open(row: fjall::Guard) -> StoreResult<(Slice, Slice)> {
    row.into_inner().map_err(|error| failed(&error))
}

impl Rows for Snapshot {
    fn get(&self, table: Table, key: &[u8]) -> StoreResult<Option<Vec<u8>>> {
        get_of(&self.rows, &self.tables, table, key)
    }

    fn stretch(&self, table: Table, from: &[u8], to: &[u8], most: Most) -> StoreResult<Stretch> {
        stretch_of(&self.rows, &self.tables, table, (from, to), most)
    }

    fn range_back(&self, table: Table, from: &[u8], to: &[u8], most: usize) -> StoreResult<Vec<Row>> {
        range_back_of(&self.rows, &self.tables, table, (from, to), most)
    }
}

impl Moment for Snapshot {
    type Bytes = Slice;

    fn index(&self, _: &Sealer, _: TenantId) -> StoreResult<Arc<Index>> {
        Ok(Arc::clone(&self.index))
    }

    fn since(&self) -> Option<Since<'_>> {
        Some(Since { changes: &self.tables.changes, at: self.at })
    }

    fn value(&self, table: Table, key: &[u8]) -> StoreResult<Option<Slice>> {
        self.rows.get(self.tables.of(table), key).map_err(|error| failed(&error))
    }

    fn rows(&self, table: Table, from: Vec<u8>, to: Vec<u8>) -> impl Iterator<Item = StoreResult<(Slice, Slice)>> {
        Self::range(self, table, from, to).map(open)
    }

    fn rows_back(&self, table: Table, from: Vec<u8>, to: Vec<u8>) -> impl Iterator<Item = StoreResult<(Slice, Slice)>> {
        Self::range(self, table, from, to).rev().map(open)
    }

    fn number(&self, id: &[u8]) -> StoreResult<Option<Rid>> {
        if let Some(rid) = self.tables.number(id, self.freed) {
            return Ok(Some(rid));
        }
        let Some(bytes) = self.value(Table::Index, id)? else { return Ok(None) };
        let rid = rid_of(&bytes)?;
        self.tables.remember(id.to_vec(), rid, self.freed);
        Ok(Some(rid))
    }
}

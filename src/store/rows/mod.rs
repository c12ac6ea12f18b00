//! What both stores keep: ordered rows of bytes, what stands in them, and what a group of commits makes of them.
//!
//! A store engine gives [`Rows`] to read and applies [`Writes`] at once or not at all; everything between the two is here, so that
//! both engines come to the same bytes.

pub(in crate::store) mod block;
pub(in crate::store) mod engine;
pub(in crate::store) mod erase;
pub(in crate::store) mod group;
pub(in crate::store) mod kept;
pub(in crate::store) mod key_lists;
pub(in crate::store) mod layout;
pub(in crate::store) mod ledger;
pub(in crate::store) mod log;
pub(in crate::store) mod postings;
pub(in crate::store) mod queue;
pub(in crate::store) mod record;
pub(in crate::store) mod rewriting;
pub(in crate::store) mod scan;
pub(in crate::store) mod sealing;
pub(in crate::store) mod stretch;
pub(in crate::store) mod touched;
pub(in crate::store) mod varint;
pub(in crate::store) mod view;

use super::StoreResult;
use stretch::{Most, Stretch};

/// A set of rows: see [`layout`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(in crate::store) enum Table {
    /// Heads, current records, their key lists, records that are no resources.
    Records,
    /// Old versions, the change log and the ledger.
    History,
    /// Ids and postings.
    Index,
}

/// Key and value.
pub(in crate::store) type Row = (Vec<u8>, Vec<u8>);

/// Rows to read: those of one moment, or the newest.
pub(in crate::store) trait Rows {
    /// The value of a row.
    fn get(&self, table: Table, key: &[u8]) -> StoreResult<Option<Vec<u8>>>;
    /// These rows are about to be asked for: where they are across a network, they are read at once.
    fn ahead(&self, _table: Table, _keys: &[Vec<u8>]) -> StoreResult<()> {
        Ok(())
    }
    /// The first rows from `from` on and before `to`, ascending, as far as they go into memory together.
    fn stretch(&self, table: Table, from: &[u8], to: &[u8], most: Most) -> StoreResult<Stretch>;
    /// The first of them, at most `most`, however large they are.
    fn range(&self, table: Table, from: &[u8], to: &[u8], most: usize) -> StoreResult<Vec<Row>> {
        Ok(self.stretch(table, from, to, Most { rows: most, bytes: usize::MAX })?.rows)
    }
    /// The last rows of those, descending.
    fn range_back(&self, table: Table, from: &[u8], to: &[u8], most: usize) -> StoreResult<Vec<Row>>;
}

/// What is written at once: the last write of a row counts.
#[derive(Default)]
pub(in crate::store) struct Writes {
    /// Table, key and value, in the order in which they came; no value removes.
    pub all: Vec<(Table, Vec<u8>, Option<Vec<u8>>)>,
}

impl Writes {
    pub(in crate::store) fn put(&mut self, table: Table, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        self.all.push((table, key.into(), Some(value.into())));
    }

    pub(in crate::store) fn remove(&mut self, table: Table, key: impl Into<Vec<u8>>) {
        self.all.push((table, key.into(), None));
    }

    /// Puts a value, or removes the row where there is none.
    pub(in crate::store) fn set(&mut self, table: Table, key: impl Into<Vec<u8>>, value: Option<Vec<u8>>) {
        self.all.push((table, key.into(), value));
    }
}

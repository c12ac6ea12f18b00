//! What a view on MongoDB reads: a transaction that only reads, of the moment of its first read.
//!
//! What is read stays at hand as long as the view does, within a bound, so that a resource that is found by its id and then read
//! costs one command. And where one of the resources is asked for whose numbers a range gave, the next ones are read with it: who
//! looks at candidates one by one looks at more of them.

use super::Shared;
use super::hints::LARGEST;
use super::place::led_to;
use super::read::Reading;
use super::seen::{Part, Seen};
use super::transaction::{Large, Range};
use crate::store::index::Index;
use crate::store::rows::record::rid_of;
use crate::store::rows::stretch::{Most, Stretch};
use crate::store::rows::view::{Moment, RowOf};
use crate::store::rows::{Row, Rows, Table, block};
use crate::store::seal::Sealer;
use crate::store::{Rid, StoreResult};
use crate::tenant::TenantId;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// For so long what is known of the form of the index, and what a view reads, are of about the same time: much shorter than a form that was
/// made waits until it is read (`jobs::index`).
const YOUNG: Duration = Duration::from_millis(200);
/// Bytes of rows that a view keeps at hand.
const KEPT_BYTES: usize = 64 << 20;
/// Rows of the first part of a range, and of the largest.
const FIRST_PART: usize = 64;
const LARGEST_PART: usize = 4096;
/// So many rows are read for each of several ranges, if they have alike.
const FEW_ROWS: usize = 32;
/// Ranges of which the first rows are read in one command.
const RANGES_TOGETHER: usize = 1024;
/// Parts whose numbers are remembered.
const GIVEN: usize = 4;
/// How many resources are read with one that is asked for: at first, and at most.
const AHEAD: (usize, usize) = (8, 256);
/// Records of a part: they are larger than postings.
const RECORDS_PART: usize = 256;

pub(super) struct Snapshot {
    shared: Arc<Shared>,
    reading: Reading,
    made: Instant,
    noted: Mutex<Noted>,
}

/// What the view knows of the table of postings.
#[derive(Default)]
struct Noted {
    seen: Seen,
    /// The numbers that the last parts of ranges gave.
    given: VecDeque<Vec<Rid>>,
    /// How many were read ahead last.
    ahead: usize,
}

impl Noted {
    /// Remembers the numbers in a part of the index.
    fn give(&mut self, rows: &[Row]) {
        let base = |key: &[u8]| key.last_chunk::<8>().map(|base| Rid(u64::from_be_bytes(*base)));
        let rids = rows.iter().filter_map(|(key, value)| block::unpack(base(key)?, value).ok());
        self.given.push_back(rids.flatten().collect());
        if self.given.len() > GIVEN {
            self.given.pop_front();
        }
    }
}

impl Snapshot {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let reading = Reading::new(Arc::clone(&shared.connection), KEPT_BYTES);
        Self { shared, reading, made: Instant::now(), noted: Mutex::default() }
    }

    fn noted(&self) -> MutexGuard<'_, Noted> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The numbers that a range gave behind this one, which are likely to be asked for next.
    fn ahead_of(&self, rid: Rid) -> Vec<Rid> {
        let mut index = self.noted();
        let behind = |given: &Vec<Rid>| {
            given.iter().position(|one| *one == rid).map(|at| given.get(at + 1..).map(<[_]>::to_vec))
        };
        let Some(mut ahead) = index.given.iter().rev().find_map(behind).flatten() else { return Vec::new() };
        index.ahead = (4 * index.ahead).clamp(AHEAD.0, AHEAD.1);
        ahead.truncate(index.ahead);
        ahead
    }

    /// Lets a commit have what was read of a resource.
    fn hint(&self, id: &[u8], rid: &[u8]) -> StoreResult<()> {
        let lengths = led_to(id, rid).into_iter().flatten().map(|key| self.reading.length(Table::Records, &key));
        if lengths.map(|length| length.unwrap_or(usize::MAX)).fold(0, usize::saturating_add) > LARGEST {
            return Ok(());
        }
        let mut rows = Vec::with_capacity(3);
        for key in led_to(id, rid).into_iter().flatten() {
            if let Some(value) = self.reading.get(Table::Records, &key)? {
                rows.push((key, value));
            }
        }
        self.shared.hints.give(id, rid, &rows);
        Ok(())
    }

    /// Remembers what a part of the index was.
    fn note(&self, range: &Range, read: &Stretch) {
        let mut index = self.noted();
        index.seen.add(range, read);
        index.give(&read.rows);
    }

    fn parts(&self, table: Table, from: Vec<u8>, to: Vec<u8>, is_back: bool) -> Parts<'_> {
        let range = Range { table, from, to, most: Most::rows(FIRST_PART), is_back };
        let largest = if table == Table::Records { RECORDS_PART } else { LARGEST_PART };
        Parts { view: self, range: Some(range), rows: Vec::new().into_iter(), largest }
    }
}

impl Rows for Snapshot {
    fn get(&self, table: Table, key: &[u8]) -> StoreResult<Option<Vec<u8>>> {
        self.reading.get(table, key)
    }

    fn stretch(&self, table: Table, from: &[u8], to: &[u8], most: Most) -> StoreResult<Stretch> {
        self.reading.stretch(table, from, to, most)
    }

    fn range_back(&self, table: Table, from: &[u8], to: &[u8], most: usize) -> StoreResult<Vec<Row>> {
        self.reading.range_back(table, from, to, most)
    }
}

impl Moment for Snapshot {
    type Bytes = Vec<u8>;
    const OUTLINES: usize = RECORDS_PART;
    const IS_FAR: bool = true;

    /// As it was when the view was made, which is before what it reads; or, where it was made long ago, as it was at the moment of which
    /// it reads, which costs a command.
    fn index(&self, sealer: &Sealer, tenant: TenantId) -> StoreResult<Arc<Index>> {
        if self.made.elapsed() >= YOUNG {
            return Index::load(&self.reading, sealer, tenant);
        }
        let Shared { connection, epochs, indexes, .. } = &*self.shared;
        let load = || Index::load(&Reading::new(Arc::clone(connection), KEPT_BYTES), sealer, tenant);
        indexes.get(tenant, epochs.get(tenant), load)
    }

    fn value(&self, table: Table, key: &[u8]) -> StoreResult<Option<Vec<u8>>> {
        self.reading.get(table, key)
    }

    fn rows(&self, table: Table, from: Vec<u8>, to: Vec<u8>) -> impl Iterator<Item = StoreResult<Row>> {
        self.parts(table, from, to, false)
    }

    fn rows_back(&self, table: Table, from: Vec<u8>, to: Vec<u8>) -> impl Iterator<Item = StoreResult<Row>> {
        self.parts(table, from, to, true)
    }

    fn number(&self, id: &[u8]) -> StoreResult<Option<Rid>> {
        let is_new = !self.reading.knows(Table::Index, id);
        self.reading.follow([id.to_vec()], Large::Whole)?;
        let Some(rid) = self.reading.get(Table::Index, id)? else { return Ok(None) };
        if is_new {
            self.hint(id, &rid)?;
        }
        rid_of(&rid).map(Some)
    }

    fn row_of(&self, row: RowOf, tenant: TenantId, rid: Rid) -> StoreResult<Option<Vec<u8>>> {
        let key = row(tenant, rid);
        if !self.reading.knows(Table::Records, &key) {
            let ahead = self.ahead_of(rid).into_iter().map(|rid| row(tenant, rid).to_vec());
            self.reading.expect(Table::Records, ahead.chain([key.to_vec()]))?;
        }
        self.reading.get(Table::Records, &key)
    }

    fn expect(&self, table: Table, keys: impl Iterator<Item = Vec<u8>>) -> StoreResult<()> {
        self.reading.expect(table, keys)
    }

    fn expect_ids(&self, ids: impl Iterator<Item = Vec<u8>>) -> StoreResult<()> {
        self.reading.follow(ids, Large::LeftOut)
    }

    /// What does not go into one part is read when it is asked for.
    fn expect_ranges(&self, mut ranges: Vec<(Vec<u8>, Vec<u8>)>) -> StoreResult<()> {
        let range = |from: &[u8], to: &[u8]| Range {
            table: Table::Index,
            from: from.to_vec(),
            to: to.to_vec(),
            most: Most::rows(LARGEST_PART),
            is_back: false,
        };
        ranges.sort_unstable();
        ranges.dedup();
        ranges.retain(|(from, to)| self.noted().seen.part(&range(from, to)).is_none());
        ranges.truncate(RANGES_TOGETHER);
        if ranges.is_empty() {
            return Ok(());
        }
        let most = Most::rows((FEW_ROWS * ranges.len()).clamp(FIRST_PART, LARGEST_PART));
        let read = self.reading.read_all(Table::Index, ranges.clone(), most)?;
        let end = read.next();
        let mut noted = self.noted();
        noted.give(&read.rows);
        let mut rows = read.rows.into_iter().peekable();
        for (from, to) in ranges.iter().filter(|(from, _)| end.as_ref().is_none_or(|end| from < end)) {
            let own = std::iter::from_fn(|| rows.next_if(|(key, _)| key < to)).collect();
            let has_more = end.as_ref().is_some_and(|end| end < to);
            noted.seen.add(&range(from, to), &Stretch { rows: own, has_more });
        }
        Ok(())
    }
}

/// The rows of a range, read part by part, each larger than the one before.
struct Parts<'r> {
    view: &'r Snapshot,
    /// What is still to be read.
    range: Option<Range>,
    rows: std::vec::IntoIter<Row>,
    largest: usize,
}

impl Parts<'_> {
    /// The next part; `None` at the end.
    fn next_part(&mut self) -> Option<StoreResult<Vec<Row>>> {
        let mut range = self.range.take()?;
        if range.table == Table::Index && !range.is_back {
            let known = self.view.noted().seen.part(&range);
            if let Some(Part { rows, end }) = known {
                range.from = end;
                self.range = (range.from < range.to).then_some(range);
                return if rows.is_empty() { self.next_part() } else { Some(Ok(rows)) };
            }
        }
        let read = match self.view.reading.read(range.clone()) {
            Ok(read) => read,
            Err(error) => return Some(Err(error)),
        };
        if range.table == Table::Index {
            self.view.note(&range, &read);
        }
        let (last, _) = read.rows.last()?;
        if read.has_more {
            if range.is_back {
                range.to.clone_from(last);
            } else {
                range.from = [&last[..], &[0]].concat();
            }
            range.most.rows = (4 * range.most.rows).min(self.largest);
            self.range = Some(range);
        }
        Some(Ok(read.rows))
    }
}

impl Iterator for Parts<'_> {
    type Item = StoreResult<Row>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(row) = self.rows.next() {
                return Some(Ok(row));
            }
            match self.next_part()? {
                Ok(rows) => self.rows = rows.into_iter(),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

//! A snapshot of one tenant, of the moment of its first read.
//!
//! What is read stays at hand as long as the view does, within a bound, so that a resource that is found by its id and then read
//! costs one command. And where one of the resources is asked for whose numbers a range gave, the next ones are read with it: who
//! looks at candidates one by one looks at more of them.

use super::Shared;
use super::place::led_to;
use super::read::Reading;
use super::seen::{Part, Seen};
use super::transaction::Range;
use crate::clock::Micros;
use crate::key::blind::Blind;
use crate::key::range::after_prefix;
use crate::key::{KeyList, KeyRange};
use crate::store::index::Index;
use crate::store::ledger::number_of;
use crate::store::rows::ledger::{Entries, Place, fold};
use crate::store::rows::log::LogBack;
use crate::store::rows::record::{
    Head, Header, OpenKeys, keys_of, open_keys, open_record, rid_of, unpack_history, unpack_patients, with_added_keys,
};
use crate::store::rows::scan::{Scan, damaged, run_of};
use crate::store::rows::{Row, Rows, Table, block, erase, layout};
use crate::store::{LogEntry, Outline, Position, Postings, Rid, Runs, StoreResult, Version, View};
use crate::tenant::TenantId;
use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The generation of postings: no other one is made here.
const GENERATION: u16 = Head::FIRST.generation;
/// For so long what is known of the form of the index, and what a view reads, are of about the same time: much shorter than a form that was
/// made waits until it is read (`jobs::index`).
const YOUNG: Duration = Duration::from_millis(200);
/// Bytes of rows that a view keeps at hand.
const KEPT_BYTES: usize = 64 << 20;
/// Rows of the first part of a range, and of the largest.
const FIRST_PART: usize = 64;
const LARGEST_PART: usize = 4096;
/// Parts whose numbers are remembered.
const GIVEN: usize = 4;
/// How many resources are read with one that is asked for: at first, and at most.
const AHEAD: (usize, usize) = (8, 256);
/// Records of a part: they are larger than postings.
const RECORDS_PART: usize = 256;

pub(super) struct MongoView {
    shared: Arc<Shared>,
    reading: Reading,
    tenant: TenantId,
    made: Instant,
    seen: Mutex<Noted>,
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

impl MongoView {
    pub(super) fn new(shared: Arc<Shared>, tenant: TenantId) -> Self {
        let reading = Reading::new(Arc::clone(&shared.connection), KEPT_BYTES);
        Self { shared, reading, tenant, made: Instant::now(), seen: Mutex::default() }
    }

    fn head(&self) -> StoreResult<Head> {
        let head = self.reading.get(Table::Records, &layout::head(self.tenant))?;
        head.map_or(Ok(Head::FIRST), |bytes| Head::unpack(&bytes))
    }

    /// Where entries of the ledger are read.
    fn ledger(&self) -> Place<'_> {
        Place { rows: &self.reading, sealer: &self.shared.sealer, tenant: self.tenant }
    }

    fn current_record(&self, rid: Rid) -> StoreResult<Option<Vec<u8>>> {
        let key = layout::current(self.tenant, rid);
        if !self.reading.knows(Table::Records, &key) {
            let ahead = self.ahead_of(rid).into_iter().map(|rid| layout::current(self.tenant, rid).to_vec());
            self.reading.fetch(Table::Records, ahead.chain([key.to_vec()]))?;
        }
        self.reading.get(Table::Records, &key)
    }

    fn noted(&self) -> MutexGuard<'_, Noted> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
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
    fn note(&self, range: &Range, rows: &[Row]) {
        let mut index = self.noted();
        index.seen.add(range, rows);
        let base = |key: &[u8]| key.last_chunk::<8>().map(|base| Rid(u64::from_be_bytes(*base)));
        let rids = rows.iter().filter_map(|(key, value)| block::unpack(base(key)?, value).ok());
        index.given.push_back(rids.flatten().collect());
        if index.given.len() > GIVEN {
            index.given.pop_front();
        }
    }

    fn parts(&self, table: Table, from: Vec<u8>, to: Vec<u8>, is_back: bool) -> Parts<'_> {
        let range = Range { table, from, to, most: FIRST_PART, is_back };
        Parts { view: self, range: Some(range), rows: Vec::new().into_iter(), largest: LARGEST_PART }
    }

    fn scan_in(&self, type_name: &str, range: &KeyRange, backwards: bool) -> Postings<'_> {
        let stored = |range: &KeyRange| self.stored(type_name, range, backwards);
        if type_name == self.shared.entries.form.type_name() {
            return self.shared.entries.scan(self.ledger(), range, backwards, stored);
        }
        stored(range)
    }

    fn stored(&self, type_name: &str, range: &KeyRange, backwards: bool) -> Postings<'_> {
        let (first, after) = layout::postings_range(self.tenant, GENERATION, type_name, range);
        let prefix = layout::postings_of(self.tenant, GENERATION, type_name, 0).len();
        let blocks = self.parts(Table::Index, first, after, backwards);
        Box::new(Scan::new(blocks, backwards, prefix, range.tail.clone()))
    }
}

impl View for MongoView {
    fn find(&self, type_name: &str, id: &str) -> StoreResult<Option<Rid>> {
        if type_name == self.shared.entries.form.type_name() {
            let Some(number) = number_of(id) else { return Ok(None) };
            return Ok(Entries::is_there(self.ledger(), number)?.then(|| Rid::of_entry(number)));
        }
        let key = layout::id(self.tenant, type_name, id);
        let is_new = !self.reading.knows(Table::Index, &key);
        self.reading.follow([key.clone()])?;
        let Some(rid) = self.reading.get(Table::Index, &key)? else { return Ok(None) };
        if is_new {
            self.hint(&key, &rid)?;
        }
        rid_of(&rid).map(Some)
    }

    fn id_of(&self, rid: Rid) -> StoreResult<Option<Box<str>>> {
        let Some(record) = self.current_record(rid)? else { return Ok(None) };
        let header = Header::unpack(&record)?.0;
        Ok(header.body.map(|_| header.id.into()))
    }

    fn current(&self, rid: Rid) -> StoreResult<Option<Version>> {
        if let Some(number) = rid.entry() {
            return self.shared.entries.version(self.ledger(), number);
        }
        let record = self.current_record(rid)?;
        record.map(|record| open_record(&self.shared.sealer, self.tenant, rid, &record)).transpose()
    }

    fn version(&self, rid: Rid, version: u64) -> StoreResult<Option<Version>> {
        if rid.entry().is_some() {
            return if version == 1 { self.current(rid) } else { Ok(None) };
        }
        let Some(current) = self.current_record(rid)? else { return Ok(None) };
        if Header::unpack(&current)?.0.version == version {
            return open_record(&self.shared.sealer, self.tenant, rid, &current).map(Some);
        }
        let old = self.reading.get(Table::History, &layout::history(self.tenant, rid, version))?;
        old.map(|old| open_record(&self.shared.sealer, self.tenant, rid, unpack_history(&old)?.0)).transpose()
    }

    fn currents(&self, rids: &[Rid]) -> StoreResult<Vec<Option<Version>>> {
        let resources = rids.iter().filter(|rid| rid.entry().is_none());
        self.reading.fetch(Table::Records, resources.map(|rid| layout::current(self.tenant, *rid).to_vec()))?;
        rids.iter().map(|rid| self.current(*rid)).collect()
    }

    fn oldest(&self, rid: Rid) -> StoreResult<u64> {
        erase::oldest(self.reading.get(Table::Records, &layout::erased(self.tenant, rid))?.as_deref())
    }

    fn resources(&self, from: Rid) -> Box<dyn Iterator<Item = StoreResult<Outline>> + '_> {
        let first = layout::current(self.tenant, from).to_vec();
        let after = after_prefix(&layout::all_current(self.tenant));
        let mut rows = self.parts(Table::Records, first, after, false);
        rows.largest = RECORDS_PART;
        Box::new(rows.flat_map_parts(|rows| self.outlines(rows)))
    }

    fn keys(&self, rid: Rid) -> StoreResult<Option<KeyList>> {
        if let Some(number) = rid.entry() {
            return self.shared.entries.keys(self.ledger(), number);
        }
        let keys = layout::keys(self.tenant, rid);
        if !self.reading.knows(Table::Records, &keys) {
            let wanted = self.ahead_of(rid).into_iter().chain([rid]);
            self.reading.fetch(Table::Records, wanted.map(|rid| layout::keys(self.tenant, rid).to_vec()))?;
        }
        // What is live has a list, which says of itself all that is needed; so nothing else is read.
        if let Some(value) = self.reading.get(Table::Records, &keys)? {
            let OpenKeys { time, content, .. } = open_keys(&self.shared.sealer, self.tenant, rid, &value)?;
            return Ok(Some(with_added_keys(&content, time)));
        }
        let Some(current) = self.current_record(rid)? else { return Ok(None) };
        keys_of(&self.shared.sealer, self.tenant, rid, &Header::unpack(&current)?.0, &[]).map(Some)
    }

    fn version_keys(&self, rid: Rid, version: u64) -> StoreResult<Option<KeyList>> {
        if rid.entry().is_some() {
            return if version == 1 { self.keys(rid) } else { Ok(None) };
        }
        let Some(current) = self.current_record(rid)? else { return Ok(None) };
        if Header::unpack(&current)?.0.version == version {
            return self.keys(rid);
        }
        let old = self.reading.get(Table::History, &layout::history(self.tenant, rid, version))?;
        let Some(old) = old else { return Ok(None) };
        let (record, keys) = unpack_history(&old)?;
        keys_of(&self.shared.sealer, self.tenant, rid, &Header::unpack(record)?.0, keys).map(Some)
    }

    fn types(&self) -> StoreResult<BTreeSet<Box<str>>> {
        let mut found = BTreeSet::new();
        let mut from = layout::all_postings(self.tenant, GENERATION);
        let after = after_prefix(&from);
        while let Some((key, _)) = self.reading.range(Table::Index, &from, &after, 1)?.first() {
            let (type_name, rest) = layout::type_of_posting(key).ok_or_else(damaged)?;
            found.insert(type_name.into());
            from = after_prefix(rest);
        }
        Ok(found)
    }

    fn scan(&self, type_name: &str, range: &KeyRange) -> Postings<'_> {
        self.scan_in(type_name, range, false)
    }

    fn scan_back(&self, type_name: &str, range: &KeyRange) -> Postings<'_> {
        self.scan_in(type_name, range, true)
    }

    fn runs(&self, type_name: &str, key: &[u8], from: Rid) -> Runs<'_> {
        let entries = &self.shared.entries;
        if type_name == entries.form.type_name() && entries.is_placed(key) {
            let found =
                self.scan(type_name, &KeyRange::exactly(key)).map(|found| found.map(|posting| vec![posting.rid]));
            return Box::new(found.filter(move |run| run.as_ref().map_or(true, |run| run.first() >= Some(&from))));
        }
        let start = layout::blocks(self.tenant, GENERATION, type_name, key);
        // The block in which `from` would be has a base that is less than a span before it.
        let span = if from.entry().is_some() { fold::SPAN } else { block::SPAN };
        let first = Rid(from.0.saturating_sub(span - 1));
        let begin = [&start[..], &first.0.to_be_bytes()].concat();
        let blocks = self.parts(Table::Index, begin, after_prefix(&start), false);
        Box::new(blocks.filter_map(move |block| block.and_then(|(key, value)| run_of(&key, &value, from)).transpose()))
    }

    fn log_back(
        &self,
        type_name: Option<&str>,
        before: (Micros, u32),
    ) -> Box<dyn Iterator<Item = StoreResult<LogEntry>> + '_> {
        let scope = type_name.unwrap_or_default();
        let first = layout::log_scope(self.tenant, scope);
        let after = layout::log(self.tenant, scope, before.0, before.1);
        Box::new(LogBack::new(self.parts(Table::History, first, after, true), before))
    }

    fn position(&self) -> Position {
        self.head().map_or(Micros(i64::MIN), |head| head.time)
    }

    /// As it was when the view was made, which is before what it reads; or, where it was made long ago, as it was at the moment of which
    /// it reads, which costs a command.
    fn blind(&self) -> StoreResult<Option<Arc<Blind>>> {
        let Shared { connection, sealer, epochs, indexes, .. } = &*self.shared;
        let index = if self.made.elapsed() < YOUNG {
            let load = || Index::load(&Reading::new(Arc::clone(connection), KEPT_BYTES), sealer, self.tenant);
            indexes.get(self.tenant, epochs.get(self.tenant), load)?
        } else {
            Index::load(&self.reading, sealer, self.tenant)?
        };
        Ok(index.read_by().cloned())
    }
}

impl MongoView {
    /// What is known of resources by their records.
    fn outlines(&self, rows: Vec<Row>) -> StoreResult<Vec<Outline>> {
        let rid = |key: &[u8]| rid_of(key.last_chunk::<8>().map_or(&[][..], |number| &number[..]));
        let rids = rows.iter().map(|(key, _)| rid(key)).collect::<StoreResult<Vec<_>>>()?;
        self.reading.fetch(Table::Records, rids.iter().map(|rid| layout::erased(self.tenant, *rid).to_vec()))?;
        let outline = |(rid, (_, record)): (Rid, Row)| {
            let (header, _) = Header::unpack(&record)?;
            Ok(Outline {
                rid,
                type_name: header.type_name.into(),
                id: header.id.into(),
                version: header.version,
                oldest: self.oldest(rid)?,
                time: header.time,
                is_deleted: header.body.is_none(),
                patients: unpack_patients(header.patients),
            })
        };
        rids.into_iter().zip(rows).map(outline).collect()
    }
}

/// The rows of a range, read part by part, each larger than the one before.
struct Parts<'r> {
    view: &'r MongoView,
    /// What is still to be read.
    range: Option<Range>,
    rows: std::vec::IntoIter<Row>,
    largest: usize,
}

impl<'r> Parts<'r> {
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
        let rows = match self.view.reading.read(range.clone()) {
            Ok(rows) => rows,
            Err(error) => return Some(Err(error)),
        };
        if range.table == Table::Index {
            self.view.note(&range, &rows);
        }
        let (last, _) = rows.last()?;
        if rows.len() == range.most {
            if range.is_back {
                range.to.clone_from(last);
            } else {
                range.from = [&last[..], &[0]].concat();
            }
            range.most = (4 * range.most).min(self.largest);
            self.range = Some(range);
        }
        Some(Ok(rows))
    }

    /// What is made of each part, one by one.
    fn flat_map_parts<T: 'r>(
        mut self,
        mut make: impl FnMut(Vec<Row>) -> StoreResult<Vec<T>> + 'r,
    ) -> impl Iterator<Item = StoreResult<T>> + 'r {
        let parts = std::iter::from_fn(move || Some(self.next_part()?.and_then(&mut make)));
        parts.flat_map(|part| {
            let (made, error) = part.map_or_else(|error| (Vec::new(), Some(Err(error))), |made| (made, None));
            made.into_iter().map(Ok).chain(error)
        })
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

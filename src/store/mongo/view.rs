//! A snapshot of one tenant, of the moment of its first read.
//!
//! What is read stays at hand as long as the view does, within a bound, so that a resource that is found by its id and then read
//! costs one command.

use super::Shared;
use super::read::Reading;
use super::transaction::Range;
use crate::clock::Micros;
use crate::key::range::after_prefix;
use crate::key::{KeyList, KeyRange};
use crate::store::ledger::number_of;
use crate::store::rows::ledger::{Entries, Place};
use crate::store::rows::log::LogBack;
use crate::store::rows::record::{Head, Header, keys_of, open_record, rid_of, unpack_history, unpack_patients};
use crate::store::rows::scan::{Scan, damaged, run_of};
use crate::store::rows::{Row, Rows, Table, block, erase, layout};
use crate::store::{LogEntry, Outline, Position, Postings, Rid, Runs, StoreResult, Version, View};
use crate::tenant::TenantId;
use std::collections::BTreeSet;
use std::sync::Arc;

/// The generation of postings: no other one is made here.
const GENERATION: u16 = Head::FIRST.generation;
/// Bytes of rows that a view keeps at hand.
const KEPT_BYTES: usize = 64 << 20;
/// Rows of the first part of a range, and of the largest.
const FIRST_PART: usize = 64;
const LARGEST_PART: usize = 4096;
/// Records of a part: they are larger than postings.
const RECORDS_PART: usize = 256;

pub(super) struct MongoView {
    shared: Arc<Shared>,
    reading: Reading,
    tenant: TenantId,
}

impl MongoView {
    pub(super) fn new(shared: Arc<Shared>, tenant: TenantId) -> Self {
        let reading = Reading::new(Arc::clone(&shared.connection), KEPT_BYTES);
        Self { shared, reading, tenant }
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
        self.reading.get(Table::Records, &layout::current(self.tenant, rid))
    }

    fn parts(&self, table: Table, from: Vec<u8>, to: Vec<u8>, is_back: bool) -> Parts<'_> {
        let range = Range { table, from, to, most: FIRST_PART, is_back };
        Parts { reading: &self.reading, range: Some(range), rows: Vec::new().into_iter(), largest: LARGEST_PART }
    }

    fn scan_in(&self, type_name: &str, range: &KeyRange, backwards: bool) -> Postings<'_> {
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
        self.reading.follow([key.clone()])?;
        self.reading.get(Table::Index, &key)?.map(|bytes| rid_of(&bytes)).transpose()
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
        let (record, keys) = (layout::current(self.tenant, rid), layout::keys(self.tenant, rid));
        self.reading.fetch(Table::Records, [record.to_vec(), keys.to_vec()])?;
        let Some(current) = self.reading.get(Table::Records, &record)? else { return Ok(None) };
        let header = Header::unpack(&current)?.0;
        let value = self.reading.get(Table::Records, &keys)?;
        keys_of(&self.shared.sealer, self.tenant, rid, &header, value.as_deref().unwrap_or_default()).map(Some)
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
        let start = layout::blocks(self.tenant, GENERATION, type_name, key);
        // The block in which `from` would be has a base that is less than a span before it.
        let first = Rid(from.0.saturating_sub(block::SPAN - 1));
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
    reading: &'r Reading,
    /// What is still to be read.
    range: Option<Range>,
    rows: std::vec::IntoIter<Row>,
    largest: usize,
}

impl<'r> Parts<'r> {
    /// The next part; `None` at the end.
    fn next_part(&mut self) -> Option<StoreResult<Vec<Row>>> {
        let mut range = self.range.take()?;
        let rows = match self.reading.read(range.clone()) {
            Ok(rows) => rows,
            Err(error) => return Some(Err(error)),
        };
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

//! A snapshot of one tenant.

use super::Shared;
use super::record::{
    Head, Header, OpenKeys, keys_of, open_keys, open_record, rid_of, unpack_history, unpack_patients, with_added_keys,
};
use super::tables::{Tables, failed, get_of, range_back_of, range_of, row};
use super::{erase, layout, log::LogBack};
use crate::clock::Micros;
use crate::key::blind::Blind;
use crate::key::range::after_prefix;
use crate::key::{KeyList, KeyRange};
use crate::store::index::Index;
use crate::store::ledger::number_of;
use crate::store::rows::ledger::{Entries, Place};
use crate::store::rows::scan::{Scan, damaged, run_of};
use crate::store::rows::{Row, Rows, Table};
use crate::store::seal::Sealer;
use crate::store::{LogEntry, Outline, Position, Postings, Rid, Runs, StoreResult, Version, View};
use crate::tenant::TenantId;
use fjall::{Keyspace, Readable, Slice};
use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

/// Resources of which the numbers are not further apart are read one behind the other, where there are so many.
const CLOSE: u64 = 4;
const MANY: usize = 8;

/// Costs two counters to make; everything is read when it is asked for.
pub(super) struct TenantView {
    tables: Arc<Tables>,
    sealer: Arc<Sealer>,
    entries: Arc<Entries>,
    snapshot: fjall::Snapshot,
    tenant: TenantId,
    index: Arc<Index>,
    head: OnceLock<StoreResult<Head>>,
    /// See [`Tables::freed`].
    freed: u64,
}

impl TenantView {
    /// `index` is of a moment before: reading by it stays right while another form is made.
    pub(super) fn new(shared: &Shared, tenant: TenantId, index: Arc<Index>) -> Self {
        let (tables, sealer) = (Arc::clone(&shared.tables), Arc::clone(&shared.sealer));
        let entries = Arc::clone(&shared.entries);
        let freed = tables.freed();
        let snapshot = tables.db.snapshot();
        Self { tables, sealer, entries, snapshot, tenant, index, head: OnceLock::new(), freed }
    }

    fn get(&self, keyspace: &Keyspace, key: impl AsRef<[u8]>) -> StoreResult<Option<Slice>> {
        self.snapshot.get(keyspace, key).map_err(|error| failed(&error))
    }

    /// Where entries of the ledger are read.
    fn ledger(&self) -> Place<'_> {
        Place { rows: self, sealer: &self.sealer, tenant: self.tenant }
    }

    fn head(&self) -> StoreResult<Head> {
        let read = || match self.get(&self.tables.records, layout::head(self.tenant))? {
            Some(bytes) => Head::unpack(&bytes),
            None => Ok(Head::FIRST),
        };
        self.head.get_or_init(read).clone()
    }

    fn current_record(&self, rid: Rid) -> StoreResult<Option<Slice>> {
        self.get(&self.tables.records, layout::current(self.tenant, rid))
    }

    /// Reads resources that stand close together, in ascending order, by going through all that stand there.
    fn run_of_currents(&self, run: &[(Rid, usize)], found: &mut Vec<(usize, Option<Version>)>) -> StoreResult<()> {
        let (Some((first, _)), Some((last, _))) = (run.first(), run.last()) else { return Ok(()) };
        let rows = layout::current(self.tenant, *first)..=layout::current(self.tenant, *last);
        let mut rows = self.snapshot.range(&self.tables.records, rows).map(fjall::Guard::into_inner).peekable();
        for (rid, place) in run {
            let key = layout::current(self.tenant, *rid);
            while rows.next_if(|row| row.as_ref().is_ok_and(|(at, _)| **at < key[..])).is_some() {}
            let row = rows.next_if(|row| row.as_ref().map_or(true, |(at, _)| **at == key[..])).transpose();
            let row = row.map_err(|error| failed(&error))?;
            let open = |(_, record): (Slice, Slice)| open_record(&self.sealer, self.tenant, *rid, &record);
            found.push((*place, row.map(open).transpose()?));
        }
        Ok(())
    }

    fn stored(&self, type_name: &str, range: &KeyRange, backwards: bool) -> StoreResult<Postings<'_>> {
        let generation = self.head()?.generation;
        let (first, after) = layout::postings_range(self.tenant, generation, type_name, range);
        let prefix = layout::postings_of(self.tenant, generation, type_name, 0).len();
        let blocks = (first < after).then(|| self.snapshot.range(&self.tables.index, first..after));
        let blocks = blocks.into_iter().flatten();
        let open = |block: fjall::Guard| block.into_inner().map_err(|error| failed(&error));
        let tail = range.tail.clone();
        Ok(if backwards {
            Box::new(Scan::new(blocks.rev().map(open), backwards, prefix, tail))
        } else {
            Box::new(Scan::new(blocks.map(open), backwards, prefix, tail))
        })
    }

    /// The blocks of one key, from the one on in which `from` would be.
    fn blocks_of(&self, type_name: &str, key: &[u8], from: Rid) -> StoreResult<fjall::Iter> {
        let start = layout::blocks(self.tenant, self.head()?.generation, type_name, key);
        let block = |rid: Rid| [&start[..], &rid.0.to_be_bytes()].concat();
        let blocks = |first, last| self.snapshot.range(&self.tables.index, first..=last);
        let before = if from > Rid(0) { blocks(block(Rid(0)), block(from)).next_back() } else { None };
        let first = match before {
            Some(before) => before.into_inner().map_err(|error| failed(&error))?.0.to_vec(),
            _ => block(from),
        };
        Ok(blocks(first, block(Rid(u64::MAX))))
    }

    fn scan_in(&self, type_name: &str, range: &KeyRange, backwards: bool) -> Postings<'_> {
        let stored = |range: &KeyRange| {
            let found = self.stored(type_name, range, backwards);
            found.unwrap_or_else(|error| Box::new(std::iter::once(Err(error))))
        };
        if type_name == self.entries.form.type_name() {
            return self.entries.scan(self.ledger(), range, backwards, stored);
        }
        stored(range)
    }
}

impl Rows for TenantView {
    fn get(&self, table: Table, key: &[u8]) -> StoreResult<Option<Vec<u8>>> {
        get_of(&self.snapshot, &self.tables, table, key)
    }

    fn range(&self, table: Table, from: &[u8], to: &[u8], most: usize) -> StoreResult<Vec<Row>> {
        range_of(&self.snapshot, &self.tables, table, (from, to), most)
    }

    fn range_back(&self, table: Table, from: &[u8], to: &[u8], most: usize) -> StoreResult<Vec<Row>> {
        range_back_of(&self.snapshot, &self.tables, table, (from, to), most)
    }
}

impl View for TenantView {
    fn find(&self, type_name: &str, id: &str) -> StoreResult<Option<Rid>> {
        if type_name == self.entries.form.type_name() {
            let Some(number) = number_of(id) else { return Ok(None) };
            return Ok(Entries::is_there(self.ledger(), number)?.then(|| Rid::of_entry(number)));
        }
        let key = layout::id(self.tenant, type_name, id);
        if let Some(rid) = self.tables.number(&key, self.freed) {
            return Ok(Some(rid));
        }
        let Some(bytes) = self.get(&self.tables.index, &key)? else { return Ok(None) };
        let rid = rid_of(&bytes)?;
        self.tables.remember(key, rid, self.freed);
        Ok(Some(rid))
    }

    fn id_of(&self, rid: Rid) -> StoreResult<Option<Box<str>>> {
        let Some(record) = self.current_record(rid)? else { return Ok(None) };
        let header = Header::unpack(&record)?.0;
        Ok(header.body.map(|_| header.id.into()))
    }

    fn current(&self, rid: Rid) -> StoreResult<Option<Version>> {
        if let Some(number) = rid.entry() {
            return self.entries.version(self.ledger(), number);
        }
        let record = self.current_record(rid)?;
        record.map(|record| open_record(&self.sealer, self.tenant, rid, &record)).transpose()
    }

    fn currents(&self, rids: &[Rid]) -> StoreResult<Vec<Option<Version>>> {
        let mut order: Vec<(Rid, usize)> = rids.iter().copied().zip(0..).collect();
        order.sort_unstable();
        let mut found: Vec<(usize, Option<Version>)> = Vec::with_capacity(rids.len());
        for run in order.chunk_by(|one, other| other.0.0 - one.0.0 <= CLOSE) {
            if run.len() < MANY || run.iter().any(|(rid, _)| rid.entry().is_some()) {
                for (rid, place) in run {
                    found.push((*place, self.current(*rid)?));
                }
            } else {
                self.run_of_currents(run, &mut found)?;
            }
        }
        found.sort_unstable_by_key(|(place, _)| *place);
        Ok(found.into_iter().map(|(_, version)| version).collect())
    }

    fn version(&self, rid: Rid, version: u64) -> StoreResult<Option<Version>> {
        if rid.entry().is_some() {
            return if version == 1 { self.current(rid) } else { Ok(None) };
        }
        let Some(current) = self.current_record(rid)? else { return Ok(None) };
        if Header::unpack(&current)?.0.version == version {
            return open_record(&self.sealer, self.tenant, rid, &current).map(Some);
        }
        let old = self.get(&self.tables.history, layout::history(self.tenant, rid, version))?;
        old.map(|old| open_record(&self.sealer, self.tenant, rid, unpack_history(&old)?.0)).transpose()
    }

    fn oldest(&self, rid: Rid) -> StoreResult<u64> {
        erase::oldest(self.get(&self.tables.records, layout::erased(self.tenant, rid))?.as_deref())
    }

    fn resources(&self, from: Rid) -> Box<dyn Iterator<Item = StoreResult<Outline>> + '_> {
        let rows = layout::current(self.tenant, from)..=layout::current(self.tenant, Rid(u64::MAX));
        Box::new(self.snapshot.range(&self.tables.records, rows).map(|row| {
            let (key, record) = row.into_inner().map_err(|error| failed(&error))?;
            let (header, _) = Header::unpack(&record)?;
            let rid = rid_of(key.last_chunk::<8>().map_or(&[][..], |number| &number[..]))?;
            Ok(Outline {
                rid,
                type_name: header.type_name.into(),
                id: header.id.into(),
                version: header.version,
                oldest: if header.version > 1 { self.oldest(rid)? } else { 1 },
                time: header.time,
                is_deleted: header.body.is_none(),
                patients: unpack_patients(header.patients),
            })
        }))
    }

    fn keys(&self, rid: Rid) -> StoreResult<Option<KeyList>> {
        if let Some(number) = rid.entry() {
            return self.entries.keys(self.ledger(), number);
        }
        // What is live has a list, which says of itself all that is needed; so nothing else is read.
        if let Some(value) = self.get(&self.tables.records, layout::keys(self.tenant, rid))? {
            let OpenKeys { time, content, .. } = open_keys(&self.sealer, self.tenant, rid, &value)?;
            return Ok(Some(with_added_keys(&content, time)));
        }
        let Some(current) = self.current_record(rid)? else { return Ok(None) };
        keys_of(&self.sealer, self.tenant, rid, &Header::unpack(&current)?.0, &[]).map(Some)
    }

    fn version_keys(&self, rid: Rid, version: u64) -> StoreResult<Option<KeyList>> {
        if rid.entry().is_some() {
            return if version == 1 { self.keys(rid) } else { Ok(None) };
        }
        let Some(current) = self.current_record(rid)? else { return Ok(None) };
        if Header::unpack(&current)?.0.version == version {
            return self.keys(rid);
        }
        let old = self.get(&self.tables.history, layout::history(self.tenant, rid, version))?;
        let Some(old) = old else { return Ok(None) };
        let (record, keys) = unpack_history(&old)?;
        keys_of(&self.sealer, self.tenant, rid, &Header::unpack(record)?.0, keys).map(Some)
    }

    fn types(&self) -> StoreResult<BTreeSet<Box<str>>> {
        let mut found = BTreeSet::new();
        let mut from = layout::all_postings(self.tenant, self.head()?.generation);
        let after = after_prefix(&from);
        while let Some(block) = self.snapshot.range::<&Vec<u8>, _>(&self.tables.index, &from..&after).next() {
            let key = block.key().map_err(|error| failed(&error))?;
            let (type_name, rest) = layout::type_of_posting(&key).ok_or_else(damaged)?;
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
        if type_name == self.entries.form.type_name() && self.entries.is_placed(key) {
            let found =
                self.scan(type_name, &KeyRange::exactly(key)).map(|found| found.map(|posting| vec![posting.rid]));
            return Box::new(found.filter(move |run| run.as_ref().map_or(true, |run| run.first() >= Some(&from))));
        }
        match self.blocks_of(type_name, key, from) {
            Ok(blocks) => Box::new(blocks.filter_map(move |block| {
                let block = block.into_inner().map_err(|error| failed(&error));
                block.and_then(|(key, value)| run_of(&key, &value, from)).transpose()
            })),
            Err(error) => Box::new(std::iter::once(Err(error))),
        }
    }

    fn log_back(
        &self,
        type_name: Option<&str>,
        before: (Micros, u32),
    ) -> Box<dyn Iterator<Item = StoreResult<LogEntry>> + '_> {
        let scope = type_name.unwrap_or_default();
        let first = layout::log_scope(self.tenant, scope);
        let after = layout::log(self.tenant, scope, before.0, before.1);
        Box::new(LogBack::new(self.snapshot.range(&self.tables.history, first..after).rev().map(row), before))
    }

    fn position(&self) -> Position {
        self.head().map_or(Micros(i64::MIN), |head| head.time)
    }

    fn blind(&self) -> StoreResult<Option<Arc<Blind>>> {
        Ok(self.index.read_by().cloned())
    }
}

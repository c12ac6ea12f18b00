//! A snapshot of one tenant.

use super::ledger::{Entries, Place};
use super::record::{Head, Header, OpenKeys, open_keys, open_record, unpack_history, unpack_patients, with_added_keys};
use super::tables::{Tables, failed};
use super::{block, erase, layout, log::LogBack};
use crate::clock::Micros;
use crate::key::range::after_prefix;
use crate::key::{KeyList, KeyRange, Tail};
use crate::store::ledger::number_of;
use crate::store::seal::Sealer;
use crate::store::{LogEntry, Outline, Position, Posting, Postings, Rid, Runs, StoreError, StoreResult, Version, View};
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
    head: OnceLock<StoreResult<Head>>,
    /// See [`Tables::freed`].
    freed: u64,
}

impl TenantView {
    pub(super) fn new(tables: Arc<Tables>, sealer: Arc<Sealer>, entries: Arc<Entries>, tenant: TenantId) -> Self {
        let freed = tables.freed();
        let snapshot = tables.db.snapshot();
        Self { tables, sealer, entries, snapshot, tenant, head: OnceLock::new(), freed }
    }

    fn get(&self, keyspace: &Keyspace, key: impl AsRef<[u8]>) -> StoreResult<Option<Slice>> {
        self.snapshot.get(keyspace, key).map_err(|error| failed(&error))
    }

    /// Where entries of the ledger are read.
    fn ledger(&self) -> Place<'_> {
        let Self { tables, sealer, snapshot, tenant, .. } = self;
        Place { snapshot, history: &tables.history, sealer, tenant: *tenant }
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

    fn blocks(&self, type_name: &str, range: &KeyRange, backwards: bool) -> StoreResult<Scan> {
        let generation = self.head()?.generation;
        let (first, after) = layout::postings_range(self.tenant, generation, type_name, range);
        let blocks = (first < after).then(|| self.snapshot.range(&self.tables.index, first..after));
        let prefix = layout::postings_of(self.tenant, generation, type_name, 0).len();
        Ok(Scan {
            blocks,
            backwards,
            prefix,
            tail: range.tail.clone(),
            escaped: Box::default(),
            key: Arc::default(),
            rids: Vec::new().into_iter(),
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
        let stored = |range: &KeyRange| self.stored(type_name, range, backwards);
        if type_name == self.entries.form.type_name() {
            return self.entries.scan(self.ledger(), range, backwards, stored);
        }
        stored(range)
    }

    fn stored(&self, type_name: &str, range: &KeyRange, backwards: bool) -> Postings<'_> {
        match self.blocks(type_name, range, backwards) {
            Ok(scan) => Box::new(scan),
            Err(error) => Box::new(std::iter::once(Err(error))),
        }
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
            Ok(blocks) => Box::new(blocks.filter_map(move |block| run_of(block, from).transpose())),
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
        Box::new(LogBack::new(self.snapshot.range(&self.tables.history, first..after), before))
    }

    fn position(&self) -> Position {
        self.head().map_or(Micros(i64::MIN), |head| head.time)
    }
}

/// The number that an entry of the table of ids holds.
pub(super) fn rid_of(bytes: &[u8]) -> StoreResult<Rid> {
    let number = bytes.try_into().map_err(|_| StoreError::Damaged("an entry of the table of ids".into()))?;
    Ok(Rid(u64::from_be_bytes(number)))
}

/// The keys of a version: none for a deletion; a live version must have a list, and it must be its own.
pub(super) fn keys_of(
    sealer: &Sealer,
    tenant: TenantId,
    rid: Rid,
    header: &Header<'_>,
    value: &[u8],
) -> StoreResult<KeyList> {
    if header.body.is_none() {
        return Ok(KeyList::default());
    }
    let OpenKeys { version, time, content } = open_keys(sealer, tenant, rid, value)?;
    if (version, time) != (header.version, header.time) {
        return Err(StoreError::Damaged("a key list belongs to another version than the record".into()));
    }
    Ok(with_added_keys(&content, time))
}

/// The numbers of a block from `from` on, where there are any.
fn run_of(block: fjall::Guard, from: Rid) -> StoreResult<Option<Vec<Rid>>> {
    let (key, value) = block.into_inner().map_err(|error| failed(&error))?;
    let (_, first) = key.split_last_chunk::<8>().ok_or_else(damaged)?;
    let mut rids = block::unpack(Rid(u64::from_be_bytes(*first)), &value)?;
    if rids.first().is_some_and(|first| *first < from) {
        rids.retain(|rid| *rid >= from);
    }
    Ok((!rids.is_empty()).then_some(rids))
}

fn damaged() -> StoreError {
    StoreError::Damaged("the key of a block of postings".into())
}

/// Reads blocks and gives their postings one by one.
struct Scan {
    blocks: Option<fjall::Iter>,
    backwards: bool,
    /// The length of what all block keys of the type start with.
    prefix: usize,
    tail: Option<Tail>,
    /// The block key of the last key, without the number: blocks of one key share its text.
    escaped: Box<[u8]>,
    key: Arc<[u8]>,
    rids: std::vec::IntoIter<Rid>,
}

impl Scan {
    /// Takes the next block; `None` at the end.
    fn next_block(&mut self) -> Option<StoreResult<()>> {
        let blocks = self.blocks.as_mut()?;
        let block = if self.backwards { blocks.next_back() } else { blocks.next() };
        Some(block?.into_inner().map_err(|error| failed(&error)).and_then(|(key, value)| self.enter(&key, &value)))
    }

    fn enter(&mut self, block_key: &[u8], value: &[u8]) -> StoreResult<()> {
        let (escaped, first) = block_key.split_last_chunk::<8>().ok_or_else(damaged)?;
        if *escaped != *self.escaped {
            let (key, _) = layout::posting_place(block_key, self.prefix).ok_or_else(damaged)?;
            self.key = key.into();
            self.escaped = escaped.into();
        }
        if self.tail.as_ref().is_none_or(|tail| tail.holds(&self.key)) {
            self.rids = block::unpack(Rid(u64::from_be_bytes(*first)), value)?.into_iter();
        }
        Ok(())
    }
}

impl Iterator for Scan {
    type Item = StoreResult<Posting>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let rid = if self.backwards { self.rids.next_back() } else { self.rids.next() };
            if let Some(rid) = rid {
                return Some(Ok(Posting { key: Arc::clone(&self.key), rid }));
            }
            if let Err(error) = self.next_block()? {
                self.blocks = None;
                return Some(Err(error));
            }
        }
    }
}

//! A snapshot of one tenant, over the rows of either store.

use super::key_lists::{KeyLists, Since};
use super::ledger::{Entries, Place, fold};
use super::log::LogBack;
use super::record::{Head, Header, keys_of, open_record, rid_of, unpack_history, unpack_patients};
use super::scan::{Scan, damaged, run_of};
use super::{Rows, Table, block, erase, layout};
use crate::clock::Micros;
use crate::key::blind::Blind;
use crate::key::range::after_prefix;
use crate::key::{KeyList, KeyRange};
use crate::store::index::Index;
use crate::store::ledger::number_of;
use crate::store::seal::Sealer;
use crate::store::{Expected, LogEntry, Outline, Position, Postings, Rid, Runs, StoreResult, Version, View};
use crate::tenant::TenantId;
use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

/// Resources of which the numbers are not further apart are read one behind the other, where there are so many.
const CLOSE: u64 = 4;
const MANY: usize = 8;

/// The key of one of the rows of a resource: [`layout::current`] and its like.
pub(in crate::store) type RowOf = fn(TenantId, Rid) -> [u8; 13];

/// The rows of one moment, as a store engine gives them to a view.
pub(in crate::store) trait Moment: Rows + Send + Sync {
    /// A key or a value.
    type Bytes: AsRef<[u8]>;
    /// Outlines of resources that are read together.
    const OUTLINES: usize = 1;
    /// See [`View::is_far`].
    const IS_FAR: bool = false;

    /// [`Rows::get`], without a copy where the engine can.
    fn value(&self, table: Table, key: &[u8]) -> StoreResult<Option<Self::Bytes>>;
    /// The rows from `from` on and before `to`, read as they are asked for.
    fn rows(
        &self,
        table: Table,
        from: Vec<u8>,
        to: Vec<u8>,
    ) -> impl Iterator<Item = StoreResult<(Self::Bytes, Self::Bytes)>>;
    /// The same, the last first.
    fn rows_back(
        &self,
        table: Table,
        from: Vec<u8>,
        to: Vec<u8>,
    ) -> impl Iterator<Item = StoreResult<(Self::Bytes, Self::Bytes)>>;
    /// The form of the tenant's postings, at this moment or just before: reading by it stays right while another form is made.
    fn index(&self, sealer: &Sealer, tenant: TenantId) -> StoreResult<Arc<Index>>;
    /// The number to which the key of an id leads.
    fn number(&self, id: &[u8]) -> StoreResult<Option<Rid>>;
    /// A row of a resource.
    fn row_of(&self, row: RowOf, tenant: TenantId, rid: Rid) -> StoreResult<Option<Self::Bytes>> {
        self.value(Table::Records, &row(tenant, rid))
    }
    /// By what it is told whether a key list changed since this moment; `None` where that takes a look at its row.
    fn since(&self) -> Option<Since<'_>> {
        None
    }
    /// Reads rows that are about to be asked for together, where that saves time.
    fn expect(&self, _: Table, _: impl Iterator<Item = Vec<u8>>) -> StoreResult<()> {
        Ok(())
    }
    /// The same with the rows of ids and all to which they lead.
    fn expect_ids(&self, _: impl Iterator<Item = Vec<u8>>) -> StoreResult<()> {
        Ok(())
    }
    /// The same with the first rows of ranges of the index.
    fn expect_ranges(&self, _: Vec<(Vec<u8>, Vec<u8>)>) -> StoreResult<()> {
        Ok(())
    }
}

/// Costs little to make; everything is read when it is asked for.
pub(in crate::store) struct TenantView<M> {
    moment: M,
    sealer: Arc<Sealer>,
    entries: Arc<Entries>,
    key_lists: Arc<KeyLists>,
    tenant: TenantId,
    has_sealed_marks: bool,
    head: OnceLock<StoreResult<Head>>,
}

impl<M: Moment> TenantView<M> {
    /// `has_sealed_marks`: see [`erase::Marks`].
    pub(in crate::store) fn new(
        moment: M,
        sealer: &Arc<Sealer>,
        (entries, key_lists): (&Arc<Entries>, &Arc<KeyLists>),
        tenant: TenantId,
        has_sealed_marks: bool,
    ) -> Self {
        let (sealer, entries, key_lists) = (Arc::clone(sealer), Arc::clone(entries), Arc::clone(key_lists));
        Self { moment, sealer, entries, key_lists, tenant, has_sealed_marks, head: OnceLock::new() }
    }

    /// Where entries of the ledger are read.
    fn ledger(&self) -> Place<'_> {
        Place { rows: &self.moment, sealer: &self.sealer, tenant: self.tenant }
    }

    fn head(&self) -> StoreResult<Head> {
        let read = || match self.moment.value(Table::Records, &layout::head(self.tenant))? {
            Some(bytes) => Head::unpack(bytes.as_ref()),
            None => Ok(Head::FIRST),
        };
        self.head.get_or_init(read).clone()
    }

    fn generation(&self) -> StoreResult<u16> {
        Ok(self.head()?.generation)
    }

    fn current_record(&self, rid: Rid) -> StoreResult<Option<M::Bytes>> {
        self.moment.row_of(layout::current, self.tenant, rid)
    }

    fn open(&self, rid: Rid, record: &[u8]) -> StoreResult<Version> {
        open_record(&self.sealer, self.tenant, rid, record)
    }

    /// Reads resources that stand close together, in ascending order, by going through all that stand there.
    fn run_of_currents(&self, run: &[(Rid, usize)], found: &mut Vec<(usize, Option<Version>)>) -> StoreResult<()> {
        let (Some((first, _)), Some((last, _))) = (run.first(), run.last()) else { return Ok(()) };
        let [from, to] = [*first, Rid(last.0 + 1)].map(|rid| layout::current(self.tenant, rid).to_vec());
        let mut rows = self.moment.rows(Table::Records, from, to).peekable();
        for (rid, place) in run {
            let key = layout::current(self.tenant, *rid);
            while rows.next_if(|row| row.as_ref().is_ok_and(|(at, _)| *at.as_ref() < key[..])).is_some() {}
            let row = rows.next_if(|row| row.as_ref().map_or(true, |(at, _)| *at.as_ref() == key[..])).transpose()?;
            found.push((*place, row.map(|(_, record)| self.open(*rid, record.as_ref())).transpose()?));
        }
        Ok(())
    }

    fn stored(&self, type_name: &str, range: &KeyRange, backwards: bool) -> StoreResult<Postings<'_>> {
        let generation = self.generation()?;
        let (first, after) = layout::postings_range(self.tenant, generation, type_name, range);
        let prefix = layout::postings_of(self.tenant, generation, type_name, 0).len();
        let tail = range.tail.clone();
        Ok(if backwards {
            Box::new(Scan::new(self.moment.rows_back(Table::Index, first, after), backwards, prefix, tail))
        } else {
            Box::new(Scan::new(self.moment.rows(Table::Index, first, after), backwards, prefix, tail))
        })
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

    /// What is known of some resources by their records.
    fn outlines(&self, rows: &[(M::Bytes, M::Bytes)]) -> StoreResult<Vec<Outline>> {
        let mut all = Vec::with_capacity(rows.len());
        for (key, record) in rows {
            let rid = rid_of(key.as_ref().last_chunk::<8>().map_or(&[][..], |number| &number[..]))?;
            all.push((rid, Header::unpack(record.as_ref())?.0));
        }
        // Of a first version nothing was erased.
        let changed = all.iter().filter(|(_, header)| header.version > 1);
        self.moment.expect(Table::Records, changed.map(|(rid, _)| layout::erased(self.tenant, *rid).to_vec()))?;
        let outline = |(rid, header): (Rid, Header<'_>)| {
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
        };
        all.into_iter().map(outline).collect()
    }

    /// The record and the key list of an old version.
    fn old<T>(
        &self,
        rid: Rid,
        version: u64,
        read: impl FnOnce(&[u8], &[u8]) -> StoreResult<T>,
    ) -> StoreResult<Option<T>> {
        let old = self.moment.value(Table::History, &layout::history(self.tenant, rid, version))?;
        let Some(old) = old else { return Ok(None) };
        let (record, keys) = unpack_history(old.as_ref())?;
        read(record, keys).map(Some)
    }
}

impl<M: Moment> View for TenantView<M> {
    fn find(&self, type_name: &str, id: &str) -> StoreResult<Option<Rid>> {
        if type_name == self.entries.form.type_name() {
            let Some(number) = number_of(id) else { return Ok(None) };
            return Ok(Entries::is_there(self.ledger(), number)?.then(|| Rid::of_entry(number)));
        }
        self.moment.number(&layout::id(self.tenant, type_name, id))
    }

    fn id_of(&self, rid: Rid) -> StoreResult<Option<Box<str>>> {
        let Some(record) = self.current_record(rid)? else { return Ok(None) };
        let header = Header::unpack(record.as_ref())?.0;
        Ok(header.body.map(|_| header.id.into()))
    }

    fn current(&self, rid: Rid) -> StoreResult<Option<Version>> {
        if let Some(number) = rid.entry() {
            return self.entries.version(self.ledger(), number);
        }
        self.current_record(rid)?.map(|record| self.open(rid, record.as_ref())).transpose()
    }

    fn currents(&self, rids: &[Rid]) -> StoreResult<Vec<Option<Version>>> {
        if M::IS_FAR {
            self.expect(Expected { currents: rids, ..Expected::default() })?;
            return rids.iter().map(|rid| self.current(*rid)).collect();
        }
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

    fn is_far(&self) -> bool {
        M::IS_FAR
    }

    fn expect(&self, Expected { ids, currents, keys_of, having }: Expected<'_>) -> StoreResult<()> {
        if !M::IS_FAR {
            return Ok(());
        }
        let is_stored = |type_name: &str| type_name != self.entries.form.type_name();
        let ids = ids.iter().filter(|(type_name, _)| is_stored(type_name));
        self.moment.expect_ids(ids.map(|(type_name, id)| layout::id(self.tenant, type_name, id)))?;
        let of_resources = |rids: &[Rid], row: RowOf| {
            let resources = rids.iter().filter(|rid| rid.entry().is_none());
            resources.map(|rid| row(self.tenant, *rid).to_vec()).collect::<Vec<_>>()
        };
        let records = [of_resources(currents, layout::current), of_resources(keys_of, layout::keys)];
        self.moment.expect(Table::Records, records.into_iter().flatten())?;
        if having.is_empty() {
            return Ok(());
        }
        let generation = self.generation()?;
        let having = having.iter().filter(|(type_name, _)| is_stored(type_name));
        let ranges = having.map(|(type_name, key)| {
            let from = layout::blocks(self.tenant, generation, type_name, key);
            let to = after_prefix(&from);
            (from, to)
        });
        self.moment.expect_ranges(ranges.collect())
    }

    fn version(&self, rid: Rid, version: u64) -> StoreResult<Option<Version>> {
        if rid.entry().is_some() {
            return if version == 1 { self.current(rid) } else { Ok(None) };
        }
        let Some(current) = self.current_record(rid)? else { return Ok(None) };
        if Header::unpack(current.as_ref())?.0.version == version {
            return self.open(rid, current.as_ref()).map(Some);
        }
        self.old(rid, version, |record, _| self.open(rid, record))
    }

    fn oldest(&self, rid: Rid) -> StoreResult<u64> {
        let mark = self.moment.value(Table::Records, &layout::erased(self.tenant, rid))?;
        let marks = erase::Marks { sealer: &self.sealer, are_sealed: self.has_sealed_marks };
        marks.oldest(self.tenant, rid, mark.as_ref().map(AsRef::as_ref))
    }

    fn resources(&self, from: Rid) -> Box<dyn Iterator<Item = StoreResult<Outline>> + '_> {
        let first = layout::current(self.tenant, from).to_vec();
        let mut rows = self.moment.rows(Table::Records, first, after_prefix(&layout::all_current(self.tenant)));
        let parts = std::iter::from_fn(move || {
            let part: StoreResult<Vec<_>> = rows.by_ref().take(M::OUTLINES).collect();
            let made = part.and_then(|part| self.outlines(&part));
            (!made.as_ref().is_ok_and(Vec::is_empty)).then_some(made)
        });
        Box::new(parts.flat_map(|part| {
            let (made, error) = part.map_or_else(|error| (Vec::new(), Some(Err(error))), |made| (made, None));
            made.into_iter().map(Ok).chain(error)
        }))
    }

    fn keys(&self, rid: Rid) -> StoreResult<Option<KeyList>> {
        if let Some(number) = rid.entry() {
            return self.entries.keys(self.ledger(), number);
        }
        let since = self.moment.since();
        if let Some(known) = since.and_then(|since| self.key_lists.known(&self.sealer, self.tenant, rid, since)) {
            return Ok(Some(known));
        }
        // What is live has a list, which says of itself all that is needed; so nothing else is read.
        if let Some(value) = self.moment.row_of(layout::keys, self.tenant, rid)? {
            let at = since.map_or(0, |since| since.at);
            return self.key_lists.open(&self.sealer, (self.tenant, rid), value.as_ref(), at).map(Some);
        }
        let Some(current) = self.current_record(rid)? else { return Ok(None) };
        keys_of(&self.sealer, self.tenant, rid, &Header::unpack(current.as_ref())?.0, &[]).map(Some)
    }

    fn version_keys(&self, rid: Rid, version: u64) -> StoreResult<Option<KeyList>> {
        if rid.entry().is_some() {
            return if version == 1 { self.keys(rid) } else { Ok(None) };
        }
        let Some(current) = self.current_record(rid)? else { return Ok(None) };
        if Header::unpack(current.as_ref())?.0.version == version {
            return self.keys(rid);
        }
        let open =
            |record: &[u8], keys: &[u8]| keys_of(&self.sealer, self.tenant, rid, &Header::unpack(record)?.0, keys);
        self.old(rid, version, open)
    }

    fn types(&self) -> StoreResult<BTreeSet<Box<str>>> {
        let mut found = BTreeSet::new();
        let mut from = layout::all_postings(self.tenant, self.generation()?);
        let after = after_prefix(&from);
        while let Some((key, _)) = self.moment.range(Table::Index, &from, &after, 1)?.first() {
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
        if type_name == self.entries.form.type_name() && self.entries.is_placed(key) {
            let found =
                self.scan(type_name, &KeyRange::exactly(key)).map(|found| found.map(|posting| vec![posting.rid]));
            return Box::new(found.filter(move |run| run.as_ref().map_or(true, |run| run.first() >= Some(&from))));
        }
        let generation = match self.generation() {
            Ok(generation) => generation,
            Err(error) => return Box::new(std::iter::once(Err(error))),
        };
        let start = layout::blocks(self.tenant, generation, type_name, key);
        // The block in which `from` would be has a base that is less than a span before it.
        let span = if from.entry().is_some() { fold::SPAN } else { block::SPAN };
        let first = Rid(from.0.saturating_sub(span - 1));
        let begin = [&start[..], &first.0.to_be_bytes()].concat();
        let blocks = self.moment.rows(Table::Index, begin, after_prefix(&start));
        Box::new(blocks.filter_map(move |block| {
            block.and_then(|(key, value)| run_of(key.as_ref(), value.as_ref(), from)).transpose()
        }))
    }

    fn log_back(
        &self,
        type_name: Option<&str>,
        before: (Micros, u32),
    ) -> Box<dyn Iterator<Item = StoreResult<LogEntry>> + '_> {
        let scope = type_name.unwrap_or_default();
        let first = layout::log_scope(self.tenant, scope);
        let after = layout::log(self.tenant, scope, before.0, before.1);
        Box::new(LogBack::new(self.moment.rows_back(Table::History, first, after), before))
    }

    fn position(&self) -> Position {
        self.head().map_or(Micros(i64::MIN), |head| head.time)
    }

    fn blind(&self, type_name: &str) -> StoreResult<Option<Arc<Blind>>> {
        Ok(self.moment.index(&self.sealer, self.tenant)?.read_by(type_name).cloned())
    }
}

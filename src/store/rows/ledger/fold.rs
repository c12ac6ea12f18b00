//! From staged entries to blocks and postings.

use super::{Staged, Unfolded, head};
use crate::clock::Micros;
use crate::key::KeyList;
use crate::key::blind::Blind;
use crate::key::last_updated::ALL;
use crate::store::index::{self, in_form};
use crate::store::ledger::{BlockHeader, Entry, Form, Head, PartKeys, hash_of};
use crate::store::rows::postings::{PostingEdits, Scope, Write};
use crate::store::rows::record::Head as TenantHead;
use crate::store::rows::{Rows, Table, Writes, layout, varint};
use crate::store::seal::{Place, Purpose, Sealer};
use crate::store::{Rid, StoreError, StoreResult};
use crate::tenant::TenantId;
use rustc_hash::FxHashMap;
use std::collections::BTreeMap;
use std::sync::Arc;
use zstd::bulk::Compressor as Packer;

/// Entries of one block: one that is read costs all of its block.
const BLOCK: usize = 64;
/// Blocks whose postings are gathered together.
const RUN: usize = 64;
/// How many numbers have one base: a patient whose record is read often is then one row for many entries.
pub(in crate::store) const SPAN: u64 = 4096;
/// zstd's level for blocks.
const LEVEL: i32 = 1;

/// What one fold writes and removes.
#[derive(Default)]
pub(in crate::store) struct Fold {
    /// Blocks and heads.
    pub history: Vec<(Vec<u8>, Vec<u8>)>,
    /// Postings.
    pub index: Vec<Write>,
    /// Rows of staged entries that are in the blocks.
    pub rows: Vec<u64>,
    /// The last number of the files that is in the blocks.
    pub number: u64,
}

impl Fold {
    /// Makes blocks and postings of entries, behind those that are there.
    pub(in crate::store) fn of(
        rows: &dyn Rows,
        sealer: &Sealer,
        form: &dyn Form,
        unfolded: Unfolded,
    ) -> StoreResult<Self> {
        let mut fold = Self { number: unfolded.number, ..Self::default() };
        let mut tenants: BTreeMap<u32, Vec<Entry>> = BTreeMap::new();
        for Staged { tenant, entry, row } in unfolded.entries {
            fold.rows.extend(row);
            tenants.entry(tenant.0).or_default().push(entry);
        }
        let mut packer = Packer::new(LEVEL).map_err(|error| StoreError::Io(error.to_string()))?;
        for (tenant, entries) in tenants {
            let tenant = TenantId(tenant);
            let mut head = head(rows, tenant)?;
            let entries = in_order(entries, last_time(rows, tenant, head)?);
            let scope = (tenant, generation(rows, tenant)?);
            let blind = index::Index::load(rows, sealer, tenant)?.of_ledger().cloned();
            for run in entries.chunks(RUN * BLOCK) {
                let mut index = Index::new(form, blind.clone(), scope, head.next);
                for block in run.chunks(BLOCK) {
                    let count = index.add(head.next, block)?;
                    let bytes = seal(sealer, &mut packer, (tenant, head, count), block)?;
                    let hash = hash_of(tenant, &bytes);
                    fold.history.push((layout::ledger(tenant, head.next), bytes));
                    head = Head { next: head.next + u64::from(count), hash };
                }
                fold.index.extend(index.into_writes(rows)?);
            }
            fold.history.push((layout::ledger_head(tenant), head.pack()));
        }
        Ok(fold)
    }

    /// Whether it is in the chains: the heads are as it leaves them.
    pub(in crate::store) fn has_happened(&self, rows: &dyn Rows) -> StoreResult<bool> {
        let (key, value) = self.history.last().map_or((&[][..], &[][..]), |(key, value)| (key, value));
        let stored = rows.get(Table::History, key)?;
        Ok(stored.is_some_and(|stored| *stored == *value))
    }

    /// Adds it to what is written.
    pub(in crate::store) fn write_to(&self, writes: &mut Writes) {
        for (key, value) in &self.history {
            writes.put(Table::History, &key[..], &value[..]);
        }
        for (key, value) in &self.index {
            writes.set(Table::Index, &key[..], value.clone());
        }
        for row in &self.rows {
            writes.remove(Table::History, layout::staged(*row));
        }
        if self.number > 0 {
            writes.put(Table::History, layout::folded(), self.number.to_be_bytes());
        }
    }
}

fn generation(rows: &dyn Rows, tenant: TenantId) -> StoreResult<u16> {
    let stored = rows.get(Table::Records, &layout::head(tenant))?;
    Ok(stored.map_or(Ok(TenantHead::FIRST), |bytes| TenantHead::unpack(&bytes))?.generation)
}

/// The time of the last entry of a chain that has come this far.
fn last_time(rows: &dyn Rows, tenant: TenantId, head: Head) -> StoreResult<Micros> {
    let (first, after) = (layout::all_ledger(tenant), layout::ledger(tenant, head.next));
    let last = rows.range_back(Table::History, &first, &after, 1)?;
    let Some((_, last)) = last.first() else { return Ok(Micros(i64::MIN)) };
    Ok(BlockHeader::unpack(last)?.0.through)
}

/// Entries in the order of their times, none of them before this one: what was recorded by several at once comes in nearly that order.
fn in_order(mut entries: Vec<Entry>, last: Micros) -> Vec<Entry> {
    entries.sort_by_key(|entry| entry.time);
    for entry in entries.iter_mut().take_while(|entry| entry.time < last) {
        entry.time = last;
    }
    entries
}

/// A list of keys, and the parts that have it.
type Sharing = (Arc<KeyList>, Vec<Rid>);

/// The postings of a run of entries. None of them is in a block of postings that is stored: the numbers of the run have bases of their
/// own.
pub(in crate::store) struct Index<'f> {
    form: &'f dyn Form,
    /// How postings are hidden, if they are.
    blind: Option<Arc<Blind>>,
    tenant: TenantId,
    generation: u16,
    /// The number with which the run begins.
    first: u64,
    edits: PostingEdits,
    /// By base and by the place of the list in memory: the parts that share a list of keys.
    sharing: FxHashMap<(Rid, *const KeyList), Sharing>,
}

impl<'f> Index<'f> {
    pub(in crate::store) fn new(
        form: &'f dyn Form,
        blind: Option<Arc<Blind>>,
        (tenant, generation): (TenantId, u16),
        first: u64,
    ) -> Self {
        let (edits, sharing) = (PostingEdits::default(), FxHashMap::default());
        Self { form, blind, tenant, generation, first, edits, sharing }
    }

    fn scope(&self, base: Rid) -> Scope<'f> {
        let Self { form, tenant, generation, .. } = *self;
        Scope { tenant, generation, type_name: form.type_name(), base }
    }

    /// Adds entries of which the first has the number `next`, and answers how many numbers they take.
    pub(in crate::store) fn add(&mut self, next: u64, entries: &[Entry]) -> StoreResult<u32> {
        let mut number = next;
        for entry in entries {
            for PartKeys { shared, own } in self.form.all_keys(entry)? {
                let (rid, base) = (Rid::of_entry(number), number - (number - self.first) % SPAN);
                let scope = self.scope(Rid::of_entry(base));
                // They name resources by their ids, which is never hidden.
                for key in &own {
                    self.edits.add_all(scope, key, &[rid]);
                }
                let sharing = self.sharing.entry((scope.base, Arc::as_ptr(&shared)));
                sharing.or_insert_with(|| (shared, Vec::new())).1.push(rid);
                number += 1;
            }
        }
        u32::try_from(number - next).map_err(|_| StoreError::Io("a block is too long".into()))
    }

    /// What to write.
    pub(in crate::store) fn into_writes(mut self, rows: &dyn Rows) -> StoreResult<Vec<Write>> {
        for ((base, _), (keys, rids)) in std::mem::take(&mut self.sharing) {
            let scope = self.scope(base);
            for key in in_form(self.blind.as_deref(), scope.type_name, &keys).iter().chain([ALL]) {
                self.edits.add_all(scope, key, &rids);
            }
        }
        self.edits.into_writes(rows)
    }
}

const fn place(tenant: TenantId, first: u64) -> Place {
    Place { purpose: Purpose::Ledger, tenant, rid: Rid::of_entry(first), version: 0 }
}

fn seal(
    sealer: &Sealer,
    packer: &mut Packer<'_>,
    (tenant, head, count): (TenantId, Head, u32),
    entries: &[Entry],
) -> StoreResult<Vec<u8>> {
    let time = |entry: Option<&Entry>| entry.map_or(Micros(0), |entry| entry.time);
    let (from, through) = (time(entries.first()), time(entries.last()));
    let mut bytes = BlockHeader { first: head.next, count, from, through, before: head.hash }.pack();
    let mut plain = Vec::new();
    for entry in entries {
        plain.extend_from_slice(&entry.time.0.to_be_bytes());
        varint::push_bytes(&entry.bytes, &mut plain);
    }
    let packed = packer.compress(&plain).map_err(|error| StoreError::Io(error.to_string()))?;
    let mut sealed = u32::try_from(plain.len()).unwrap_or(u32::MAX).to_be_bytes().to_vec();
    sealed.extend_from_slice(&packed);
    sealer.seal(place(tenant, head.next), from, &sealed, &mut bytes)?;
    Ok(bytes)
}

/// Opens the entries of a block that stands under a number.
pub(in crate::store) fn open(sealer: &Sealer, tenant: TenantId, number: u64, block: &[u8]) -> StoreResult<Vec<Entry>> {
    let damaged = || StoreError::Damaged("a block of the ledger".into());
    let (header, sealed) = BlockHeader::unpack(block)?;
    if header.first != number {
        return Err(StoreError::Damaged("a block of the ledger stands in another's place".into()));
    }
    let plain_header = block.get(..block.len() - sealed.len()).unwrap_or_default();
    let packed = sealer.open(place(tenant, header.first), plain_header, sealed)?;
    let (length, packed) = packed.split_first_chunk::<4>().ok_or_else(damaged)?;
    let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| damaged())?;
    let plain = zstd::bulk::decompress(packed, length).map_err(|_| damaged())?;
    let mut rest = &plain[..];
    let mut entries = Vec::with_capacity(BLOCK);
    while let Some((time, after)) = rest.split_first_chunk::<8>() {
        rest = after;
        let bytes = varint::take_bytes(&mut rest).ok_or_else(damaged)?.into();
        entries.push(Entry { time: Micros(i64::from_be_bytes(*time)), bytes });
    }
    Ok(entries)
}

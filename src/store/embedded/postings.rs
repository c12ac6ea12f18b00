//! What a group changes in the postings.
//!
//! The numbers of new resources are greater than all before them, so a group writes one new block for each search key,
//! however many of its resources have it, without reading. Only what concerns older resources reads the block it changes.

use super::tables::failed;
use super::{block, layout};
use crate::clock::Micros;
use crate::key::KeyList;
use crate::key::last_updated::{ALL, last_updated_keys};
use crate::store::{Rid, StoreError, StoreResult};
use crate::tenant::TenantId;
use fjall::Keyspace;
use rustc_hash::FxHashMap;
use std::collections::BTreeMap;

/// Key and value; no value removes.
pub(super) type Write = (Vec<u8>, Option<Vec<u8>>);

/// What happens to one search key.
#[derive(Default)]
struct Edits {
    /// In the order of the commits: a later one for the same number wins.
    edits: Vec<(Rid, bool)>,
    /// No block of this key exists, so that none need be looked for.
    is_new_key: bool,
}

/// Additions and removals by search key.
#[derive(Default)]
pub(super) struct PostingEdits {
    by_key: FxHashMap<Vec<u8>, Edits>,
    /// The first number in this group that was not in use before it.
    first_new: FxHashMap<TenantId, Rid>,
}

impl PostingEdits {
    /// Notes a number given out by this group.
    pub(super) fn first_new(&mut self, tenant: TenantId, rid: Rid) {
        self.first_new.entry(tenant).or_insert(rid);
    }

    /// Replaces the postings of a version (`old`, complete; empty where there was none) by those of the next (`new`, without
    /// the keys that the commit adds; `None` for a deletion).
    pub(super) fn replace(
        &mut self,
        scope: (TenantId, u16, &str),
        rid: Rid,
        time: Micros,
        old: &KeyList,
        new: Option<&KeyList>,
    ) {
        let was_live = !old.as_slice().is_empty();
        let new_keys = new.map_or(&[][..], KeyList::as_slice);
        for key in only_in(old.as_slice(), new_keys) {
            if new.is_none() || **key != *ALL {
                self.edit(scope, key, rid, false, false);
            }
        }
        for key in only_in(new_keys, old.as_slice()) {
            self.edit(scope, key, rid, true, false);
        }
        if new.is_some() {
            if !was_live {
                self.edit(scope, ALL, rid, true, false);
            }
            for key in last_updated_keys(time) {
                self.edit(scope, &key, rid, true, true);
            }
        }
    }

    fn edit(&mut self, scope: (TenantId, u16, &str), key: &[u8], rid: Rid, is_added: bool, is_new_key: bool) {
        let (tenant, generation, type_name) = scope;
        let edits = self.by_key.entry(layout::postings(tenant, generation, type_name, key)).or_default();
        edits.edits.push((rid, is_added));
        edits.is_new_key |= is_new_key;
    }

    /// What to write, in the order of the keys, each key once.
    pub(super) fn into_writes(self, index: &Keyspace) -> StoreResult<Vec<Write>> {
        let mut writes = Vec::with_capacity(self.by_key.len());
        for (prefix, Edits { mut edits, is_new_key }) in self.by_key {
            let tenant = TenantId(prefix.first_chunk::<4>().map_or(0, |bytes| u32::from_be_bytes(*bytes)));
            let first_new = self.first_new.get(&tenant).copied().unwrap_or(Rid(u64::MAX));
            if edits.len() > 1 {
                edits.reverse();
                edits.sort_by_key(|(rid, _)| *rid);
                edits.dedup_by_key(|(rid, _)| *rid);
            }
            let plain_from = if is_new_key { 0 } else { edits.partition_point(|(rid, _)| *rid < first_new) };
            let (old, new) = edits.split_at(plain_from);
            if !old.is_empty() {
                edit_blocks(index, &prefix, old, &mut writes)?;
            }
            let added: Vec<Rid> = new.iter().filter(|(_, is_added)| *is_added).map(|(rid, _)| *rid).collect();
            push_blocks(&prefix, &added, &mut writes);
        }
        writes.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        Ok(writes)
    }
}

/// The keys of `these` that are not among `others`; both are sorted.
fn only_in<'k>(these: &'k [Box<[u8]>], others: &'k [Box<[u8]>]) -> impl Iterator<Item = &'k Box<[u8]>> {
    let mut others = others.iter().peekable();
    these.iter().filter(move |key| {
        while others.next_if(|other| other < key).is_some() {}
        others.peek() != Some(key)
    })
}

fn block_key(prefix: &[u8], first: Rid) -> Vec<u8> {
    [prefix, &first.0.to_be_bytes()].concat()
}

fn push_blocks(prefix: &[u8], rids: &[Rid], writes: &mut Vec<Write>) {
    for rids in rids.chunks(block::MOST) {
        if let Some(first) = rids.first() {
            writes.push((block_key(prefix, *first), Some(block::pack(rids))));
        }
    }
}

/// A block as it is being changed.
struct Open {
    rids: Vec<Rid>,
    is_stored: bool,
    is_changed: bool,
}

/// Changes the blocks of one key; `edits` ascend and name each number once.
fn edit_blocks(index: &Keyspace, prefix: &[u8], edits: &[(Rid, bool)], writes: &mut Vec<Write>) -> StoreResult<()> {
    let mut open: BTreeMap<Rid, Open> = BTreeMap::new();
    for &(rid, is_added) in edits {
        load_spanning(index, prefix, rid, &mut open)?;
        let spanning = open.range_mut(..=rid).next_back().map(|(_, block)| block);
        match (spanning, is_added) {
            (Some(block), true) if block.rids.len() < block::MOST || block.rids.last() > Some(&rid) => {
                if let Err(place) = block.rids.binary_search(&rid) {
                    block.rids.insert(place, rid);
                    block.is_changed = true;
                }
            }
            (Some(block), true) if block.rids.last() == Some(&rid) => {}
            (_, true) => {
                open.insert(rid, Open { rids: vec![rid], is_stored: false, is_changed: true });
            }
            (Some(block), false) => {
                if let Ok(place) = block.rids.binary_search(&rid) {
                    block.rids.remove(place);
                    block.is_changed = true;
                }
            }
            (None, false) => {}
        }
    }
    for (first, block) in open.into_iter().filter(|(_, block)| block.is_changed) {
        if block.is_stored && block.rids.first() != Some(&first) {
            writes.push((block_key(prefix, first), None));
        }
        let half = if block.rids.len() > block::MOST { block.rids.len() / 2 } else { block.rids.len() };
        let (front, back) = block.rids.split_at(half);
        push_blocks(prefix, front, writes);
        push_blocks(prefix, back, writes);
    }
    Ok(())
}

/// Loads the last stored block that starts at or before `rid`.
fn load_spanning(index: &Keyspace, prefix: &[u8], rid: Rid, open: &mut BTreeMap<Rid, Open>) -> StoreResult<()> {
    let Some(found) = index.range(prefix.to_vec()..=block_key(prefix, rid)).next_back() else { return Ok(()) };
    let (key, value) = found.into_inner().map_err(|error| failed(&error))?;
    let first = key.split_last_chunk::<8>().map(|(_, first)| Rid(u64::from_be_bytes(*first)));
    let first = first.ok_or_else(|| StoreError::Damaged("the key of a block of postings".into()))?;
    if let std::collections::btree_map::Entry::Vacant(place) = open.entry(first) {
        place.insert(Open { rids: block::unpack(first, &value)?, is_stored: true, is_changed: false });
    }
    Ok(())
}

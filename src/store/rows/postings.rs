//! What a group changes in the postings: see [`block`] for how they are kept.

use super::{Rows, Table, block, layout};
use crate::clock::Micros;
use crate::key::KeyList;
use crate::key::last_updated::{ALL, last_updated_key};
use crate::store::index::Before;
use crate::store::{Rid, StoreResult};
use crate::tenant::TenantId;
use rustc_hash::FxHashMap;

/// Key and value; no value removes.
pub(in crate::store) type Write = (Vec<u8>, Option<Vec<u8>>);

/// Where a resource's postings are: tenant, generation, type, and the resource's base.
#[derive(Clone, Copy)]
pub(in crate::store) struct Scope<'s> {
    pub tenant: TenantId,
    pub generation: u16,
    pub type_name: &'s str,
    pub base: Rid,
}

/// What happens to one block.
#[derive(Default)]
struct Edits {
    /// In the order of the commits: a later one for the same number wins.
    edits: Vec<(Rid, bool)>,
    /// No such block is stored, so that none need be read.
    is_new: bool,
}

/// Additions and removals by block.
#[derive(Default)]
pub(in crate::store) struct PostingEdits {
    blocks: FxHashMap<Vec<u8>, Edits>,
}

impl PostingEdits {
    /// Replaces the postings of a version (complete; none where there was none) by those of the next (`new`, without
    /// those of the keys that the commit adds; `None` for a deletion). `is_new_base`: the base was given out by this group.
    pub(in crate::store) fn replace(
        &mut self,
        scope: Scope<'_>,
        is_new_base: bool,
        rid: Rid,
        time: Micros,
        before: &Before<'_>,
        new: Option<&KeyList>,
    ) {
        let was_live = !before.left.is_empty();
        let none = KeyList::default();
        let new_keys = new.unwrap_or(&none);
        for key in only_in(&before.left, new_keys) {
            if new.is_none() || *key != *ALL {
                self.edit(scope, key, (rid, false), is_new_base);
            }
        }
        for key in only_in(new_keys, before.sure()) {
            self.edit(scope, key, (rid, true), is_new_base);
        }
        if new.is_some() {
            if !was_live {
                self.edit(scope, ALL, (rid, true), is_new_base);
            }
            self.edit(scope, &last_updated_key(time), (rid, true), true);
        }
    }

    /// Replaces the postings of a version by others of the same version; both lists are complete.
    pub(in crate::store) fn exchange(
        &mut self,
        scope: Scope<'_>,
        is_new_base: bool,
        rid: Rid,
        before: &Before<'_>,
        new: &KeyList,
    ) {
        for key in only_in(&before.left, new) {
            self.edit(scope, key, (rid, false), is_new_base);
        }
        for key in only_in(new, before.sure()) {
            self.edit(scope, key, (rid, true), is_new_base);
        }
    }

    /// Adds a posting of each of these numbers, of one base that this group gave out.
    pub(in crate::store) fn add_all(&mut self, scope: Scope<'_>, key: &[u8], rids: &[Rid]) {
        let edits = self.blocks.entry(layout::block(scope, key)).or_default();
        edits.edits.extend(rids.iter().map(|rid| (*rid, true)));
        edits.is_new = true;
    }

    fn edit(&mut self, scope: Scope<'_>, key: &[u8], edit: (Rid, bool), is_new: bool) {
        let edits = self.blocks.entry(layout::block(scope, key)).or_default();
        edits.edits.push(edit);
        edits.is_new |= is_new;
    }

    /// The keys of the blocks that are read for it.
    pub(in crate::store) fn old_blocks(&self) -> Vec<Vec<u8>> {
        self.blocks.iter().filter(|(_, edits)| !edits.is_new).map(|(key, _)| key.clone()).collect()
    }

    /// What to write, in the order of the keys, each key once.
    pub(in crate::store) fn into_writes(self, rows: &dyn Rows) -> StoreResult<Vec<Write>> {
        let mut writes = Vec::with_capacity(self.blocks.len());
        for (key, edits) in self.blocks {
            let base = layout::base_of(&key);
            let stored = if edits.is_new { None } else { rows.get(Table::Index, &key)? };
            let mut rids = match &stored {
                Some(value) => block::unpack(base, value)?,
                None => Vec::new(),
            };
            for (rid, is_added) in edits.edits {
                // Most come in order.
                if is_added && rids.last().is_none_or(|last| *last < rid) {
                    rids.push(rid);
                    continue;
                }
                match (rids.binary_search(&rid), is_added) {
                    (Err(place), true) => rids.insert(place, rid),
                    (Ok(place), false) => drop(rids.remove(place)),
                    _ => {}
                }
            }
            if !rids.is_empty() {
                writes.push((key, Some(block::pack(base, &rids))));
            } else if stored.is_some() {
                writes.push((key, None));
            }
        }
        writes.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        Ok(writes)
    }
}

/// The keys of `these` that are not among `others`; both are sorted.
fn only_in<'k>(these: &'k KeyList, others: &'k KeyList) -> impl Iterator<Item = &'k [u8]> {
    let mut others = others.iter().peekable();
    these.iter().filter(move |key| {
        while others.next_if(|other| other < key).is_some() {}
        others.peek() != Some(key)
    })
}

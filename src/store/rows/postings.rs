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

    /// The same for many of one base, which had these keys and get others.
    pub(in crate::store) fn exchange_all(&mut self, scope: Scope<'_>, rids: &[Rid], before: &KeyList, new: &KeyList) {
        for (keys, is_added) in [(only_in(before, new), false), (only_in(new, before), true)] {
            for key in keys {
                let edits = self.blocks.entry(layout::block(scope, key)).or_default();
                edits.edits.extend(rids.iter().map(|rid| (*rid, is_added)));
            }
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
            let rids = match &stored {
                Some(value) => block::unpack(base, value)?,
                None => Vec::new(),
            };
            let rids = edited(rids, edits.edits);
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

/// Numbers, in order, after edits of which a later one for the same number wins. However many there are, it takes one pass.
fn edited(mut rids: Vec<Rid>, mut edits: Vec<(Rid, bool)>) -> Vec<Rid> {
    // Most come in order, and behind all.
    let is_behind = |last: Option<&Rid>, (rid, is_added): &(Rid, bool)| *is_added && last.is_none_or(|last| last < rid);
    let behind = edits.iter().take_while(|edit| {
        let goes = is_behind(rids.last(), edit);
        rids.extend(goes.then_some(edit.0));
        goes
    });
    let behind = behind.count();
    edits.drain(..behind);
    if edits.is_empty() {
        return rids;
    }
    edits.sort_by_key(|(rid, _)| *rid);
    let mut merged = Vec::with_capacity(rids.len() + edits.len());
    let mut rids = rids.into_iter().peekable();
    for same in edits.chunk_by(|one, next| one.0 == next.0) {
        let Some((rid, is_added)) = same.last() else { continue };
        merged.extend(std::iter::from_fn(|| rids.next_if(|own| own < rid)));
        rids.next_if_eq(rid);
        merged.extend(is_added.then_some(*rid));
    }
    merged.extend(rids);
    merged
}

/// The keys of `these` that are not among `others`; both are sorted.
fn only_in<'k>(these: &'k KeyList, others: &'k KeyList) -> impl Iterator<Item = &'k [u8]> {
    let mut others = others.iter().peekable();
    these.iter().filter(move |key| {
        while others.next_if(|other| other < key).is_some() {}
        others.peek() != Some(key)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::time::{Duration, Instant};

    fn rids(numbers: impl IntoIterator<Item = u64>) -> Vec<Rid> {
        numbers.into_iter().map(Rid).collect()
    }

    proptest::proptest! {
        #[test]
        fn the_last_edit_of_a_number_wins(
            stored: BTreeSet<u8>,
            edits: Vec<(u8, bool)>,
        ) {
            let mut expected = stored.clone();
            for (number, is_added) in &edits {
                if *is_added { expected.insert(*number) } else { expected.remove(number) };
            }
            let edits = edits.into_iter().map(|(number, is_added)| (Rid(number.into()), is_added)).collect();
            let edited = edited(rids(stored.into_iter().map(u64::from)), edits);
            proptest::prop_assert_eq!(edited, rids(expected.into_iter().map(u64::from)));
        }
    }

    #[test]
    fn all_of_a_long_block_goes_in_one_pass() {
        let all = rids(0..300_000);
        let began = Instant::now();
        assert_eq!(edited(all.clone(), all.iter().map(|rid| (*rid, false)).collect()), []);
        assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    }
}

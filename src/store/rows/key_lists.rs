//! Key lists that were opened lately. A search that checks resources, and every read under patients' consents, looks into lists; the
//! same ones are looked into again and again, and to find its row and to open it costs many times what the look itself does.

use super::record::{OpenKeys, open_keys, with_added_keys};
use super::{Table, Writes, layout};
use crate::key::KeyList;
use crate::store::seal::{Sealer, TAG_LEN};
use crate::store::{Rid, StoreResult};
use crate::tenant::TenantId;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use rustc_hash::FxHasher;
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};

/// The lists that are kept, in bytes of them together.
const KEPT_BYTES: u64 = 48 << 20;
/// What one takes beside its keys, in bytes.
const OF_ONE: u64 = 160;

/// The end of a sealed list: where it is the same, all of it is, as nobody can make another one that opens with it.
type Tag = [u8; TAG_LEN];

/// A list that was opened: the tag of its row, and after which group of commits that was read.
#[derive(Clone)]
struct Opened {
    tag: Tag,
    at: u64,
    list: KeyList,
}

/// Lists by resource. None is ever taken for that of another version: either its row is read, and has the same tag, or it is known that the
/// row did not change ([`Since`]).
pub(in crate::store) struct KeyLists(Cache<(TenantId, Rid), Opened, ByLength>);

#[derive(Clone)]
struct ByLength;

impl Weighter<(TenantId, Rid), Opened> for ByLength {
    fn weight(&self, _: &(TenantId, Rid), Opened { list, .. }: &Opened) -> u64 {
        OF_ONE + (list.byte_len() + size_of::<u32>() * list.len()) as u64
    }
}

/// Key lists whose last change is noted together, 8 bytes each.
const NOTED_TOGETHER: usize = 1 << 15;

/// Which group of commits changed a key list last. One thread writes groups, and tells of each before anybody can see it and when it is
/// written; a list that was read in one moment is that of another one if no group after the earlier of the two has begun to change it.
pub(in crate::store) struct Changes {
    written: AtomicU64,
    begun: Box<[AtomicU64]>,
}

impl Default for Changes {
    fn default() -> Self {
        Self { written: AtomicU64::new(0), begun: (0..NOTED_TOGETHER).map(|_| AtomicU64::new(0)).collect() }
    }
}

impl Changes {
    /// The group of this number, more than any before, is about to be written.
    pub(in crate::store) fn begin(&self, group: u64, writes: &Writes) {
        for (table, key, _) in &writes.all {
            if *table == Table::Records && layout::is_keys(key) {
                self.of(key).store(group, Ordering::SeqCst);
            }
        }
    }

    /// It was written.
    pub(in crate::store) fn end(&self, group: u64) {
        self.written.store(group, Ordering::SeqCst);
    }

    /// The last group that a snapshot has for sure which is taken from now on.
    pub(in crate::store) fn written(&self) -> u64 {
        self.written.load(Ordering::SeqCst)
    }

    fn of(&self, key: &[u8]) -> &AtomicU64 {
        let mut hasher = FxHasher::default();
        key.hash(&mut hasher);
        let place = usize::try_from(hasher.finish()).unwrap_or_default() % NOTED_TOGETHER;
        self.begun.get(place).unwrap_or(&self.written)
    }
}

/// The changes since a moment: after the group `at`, or after some that follow it.
#[derive(Clone, Copy)]
pub(in crate::store) struct Since<'c> {
    pub changes: &'c Changes,
    pub at: u64,
}

impl Default for KeyLists {
    fn default() -> Self {
        let usual = 1024;
        Self(Cache::with_weighter(usize::try_from(KEPT_BYTES / usual).unwrap_or(usize::MAX), KEPT_BYTES, ByLength))
    }
}

impl KeyLists {
    /// All keys of a live version, where they are known without reading anything.
    pub(in crate::store) fn known(
        &self,
        sealer: &Sealer,
        tenant: TenantId,
        rid: Rid,
        since: Since<'_>,
    ) -> Option<KeyList> {
        let known = self.0.get(&(tenant, rid))?;
        let changed = since.changes.of(&layout::keys(tenant, rid)).load(Ordering::SeqCst);
        // Those of a tenant whose keys were destroyed are not told any more.
        (changed <= known.at.min(since.at) && sealer.has(tenant)).then_some(known.list)
    }

    /// The same by the row of its list, which was read after the group `at`.
    pub(in crate::store) fn open(
        &self,
        sealer: &Sealer,
        (tenant, rid): (TenantId, Rid),
        row: &[u8],
        at: u64,
    ) -> StoreResult<KeyList> {
        let tag = row.last_chunk::<TAG_LEN>();
        let known = self.0.get(&(tenant, rid)).filter(|known| tag == Some(&known.tag) && sealer.has(tenant));
        let is_newer = known.as_ref().is_none_or(|known| known.at < at);
        let list = if let Some(known) = known {
            known.list
        } else {
            let OpenKeys { time, content, .. } = open_keys(sealer, tenant, rid, row)?;
            with_added_keys(&content, time)
        };
        if let Some(tag) = tag.filter(|_| is_newer) {
            self.0.insert((tenant, rid), Opened { tag: *tag, at, list: list.clone() });
        }
        Ok(list)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Micros;
    use crate::store::rows::record::{pack_keys, seal_keys};
    use crate::store::seal::DataKey;
    use std::sync::Arc;

    #[test]
    fn a_list_is_that_of_its_row() {
        let (sealer, lists) = (Sealer::default(), KeyLists::default());
        for tenant in [1, 2] {
            sealer.set(TenantId(tenant), vec![Arc::new(DataKey::new(&[3; 32]).unwrap())]);
        }
        let row = |tenant, key: &[u8], version| {
            let keys = KeyList::new(vec![key.into()]);
            seal_keys(&sealer, TenantId(tenant), Rid(2), version, Micros(7), &pack_keys(&keys)).unwrap()
        };
        let rows = [(1, row(1, b"k\0a", 1)), (1, row(1, b"k\0b", 2)), (2, row(2, b"k\0c", 1))];
        for _ in 0..2 {
            for ((tenant, row), key) in rows.iter().zip([b"k\0a", b"k\0b", b"k\0c"]) {
                let list = lists.open(&sealer, (TenantId(*tenant), Rid(2)), row, 0).unwrap();
                assert!(list.iter().any(|own| own == key) && list.len() == 3, "{list:?}");
            }
        }
        let mut altered = rows[2].1.clone();
        let at = altered.len() - TAG_LEN - 1;
        altered[at] ^= 1;
        let told = lists.open(&sealer, (TenantId(2), Rid(2)), &altered, 0).unwrap();
        assert!(told.iter().any(|own| own == b"k\0c"), "what was opened before, and nothing of what was altered");
        assert!(KeyLists::default().open(&sealer, (TenantId(2), Rid(2)), &altered, 0).is_err());
        assert!(lists.open(&sealer, (TenantId(2), Rid(3)), &rows[2].1, 0).is_err(), "a row that was moved");
        assert!(lists.open(&sealer, (TenantId(2), Rid(2)), b"short", 0).is_err());
        sealer.set(TenantId(2), Vec::new());
        assert!(lists.open(&sealer, (TenantId(2), Rid(2)), &rows[2].1, 0).is_err(), "its keys were destroyed");
    }
}

//! Key lists that were opened lately. A search that checks resources, and every read under patients' consents, looks into lists; the
//! same ones are looked into again and again, and to open one costs as much as to find its row.

use super::record::{OpenKeys, open_keys, with_added_keys};
use crate::key::KeyList;
use crate::store::seal::{Sealer, TAG_LEN};
use crate::store::{Rid, StoreResult};
use crate::tenant::TenantId;
use quick_cache::Weighter;
use quick_cache::sync::Cache;

/// The lists that are kept, in bytes of them together.
const KEPT_BYTES: u64 = 48 << 20;
/// What one takes beside its keys, in bytes.
const OF_ONE: u64 = 160;

/// The end of a sealed list: where it is the same, all of it is, as nobody can make another one that opens with it.
type Tag = [u8; TAG_LEN];

/// Lists by resource, each with the tag of the row that it came from, so that no list of another version is ever taken for it.
pub(in crate::store) struct KeyLists(Cache<(TenantId, Rid), (Tag, KeyList), ByLength>);

#[derive(Clone)]
struct ByLength;

impl Weighter<(TenantId, Rid), (Tag, KeyList)> for ByLength {
    fn weight(&self, _: &(TenantId, Rid), (_, list): &(Tag, KeyList)) -> u64 {
        OF_ONE + (list.byte_len() + size_of::<u32>() * list.len()) as u64
    }
}

impl Default for KeyLists {
    fn default() -> Self {
        let usual = 1024;
        Self(Cache::with_weighter(usize::try_from(KEPT_BYTES / usual).unwrap_or(usize::MAX), KEPT_BYTES, ByLength))
    }
}

impl KeyLists {
    /// All keys of a live version, by the row of its list.
    pub(in crate::store) fn open(
        &self,
        sealer: &Sealer,
        tenant: TenantId,
        rid: Rid,
        row: &[u8],
    ) -> StoreResult<KeyList> {
        let tag = row.last_chunk::<TAG_LEN>();
        let known = self.0.get(&(tenant, rid));
        // Those of a tenant whose keys were destroyed are not told any more.
        if let Some((_, list)) = known.filter(|(of, _)| tag == Some(of) && sealer.has(tenant)) {
            return Ok(list);
        }
        let OpenKeys { time, content, .. } = open_keys(sealer, tenant, rid, row)?;
        let list = with_added_keys(&content, time);
        if let Some(tag) = tag {
            self.0.insert((tenant, rid), (*tag, list.clone()));
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
                let list = lists.open(&sealer, TenantId(*tenant), Rid(2), row).unwrap();
                assert!(list.iter().any(|own| own == key) && list.len() == 3, "{list:?}");
            }
        }
        let mut altered = rows[2].1.clone();
        let at = altered.len() - TAG_LEN - 1;
        altered[at] ^= 1;
        let told = lists.open(&sealer, TenantId(2), Rid(2), &altered).unwrap();
        assert!(told.iter().any(|own| own == b"k\0c"), "what was opened before, and nothing of what was altered");
        assert!(KeyLists::default().open(&sealer, TenantId(2), Rid(2), &altered).is_err());
        assert!(lists.open(&sealer, TenantId(2), Rid(3), &rows[2].1).is_err(), "a row that was moved");
        assert!(lists.open(&sealer, TenantId(2), Rid(2), b"short").is_err());
        sealer.set(TenantId(2), Vec::new());
        assert!(lists.open(&sealer, TenantId(2), Rid(2), &rows[2].1).is_err(), "its keys were destroyed");
    }
}

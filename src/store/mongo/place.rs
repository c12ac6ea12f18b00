//! Where a row stands in the database.
//!
//! The `_id` of a document is the row's key as a string of the characters U+0000 to U+00FF, one for each byte: MongoDB compares
//! strings byte by byte in UTF-8, which keeps the order of the keys, while binary values it compares by their length first.

use crate::store::rows::Table;
use crate::store::rows::layout;
use crate::store::{Rid, StoreError, StoreResult};
use crate::tenant::TenantId;

/// The letter of the table of ids, behind the tenant.
const IDS: u8 = b'i';
/// The letter of a tenant's head.
const HEAD: u8 = b'h';

/// The collection of a set of rows.
pub(super) const fn collection(table: Table) -> &'static str {
    match table {
        Table::Records => "records",
        Table::History => "history",
        Table::Index => "index",
    }
}

/// The `_id` of a key.
pub(super) fn id_of(key: &[u8]) -> String {
    key.iter().map(|byte| char::from(*byte)).collect()
}

/// The key of an `_id`.
pub(super) fn key_of(id: &str) -> StoreResult<Vec<u8>> {
    let bytes = id.chars().map(|char| u8::try_from(u32::from(char)));
    bytes.collect::<Result<_, _>>().map_err(|_| StoreError::Damaged("the _id of a document".into()))
}

/// The tenant of a key, and the letter of its table.
fn lead(key: &[u8]) -> Option<(TenantId, u8)> {
    let (tenant, rest) = key.split_first_chunk::<4>()?;
    Some((TenantId(u32::from_be_bytes(*tenant)), *rest.first()?))
}

/// Whether the row is a tenant's head.
pub(super) fn is_head(table: Table, key: &[u8]) -> bool {
    table == Table::Records && lead(key).is_some_and(|(tenant, letter)| letter == HEAD && tenant != layout::SYSTEM)
}

/// The rows to which an id leads: record, key list, and mark of erased versions.
pub(super) fn led_to(key: &[u8], value: &[u8]) -> Option<[Vec<u8>; 3]> {
    let (tenant, _) = lead(key).filter(|(_, letter)| *letter == IDS)?;
    let rid = Rid(u64::from_be_bytes(value.try_into().ok()?));
    Some([layout::current(tenant, rid), layout::keys(tenant, rid), layout::erased(tenant, rid)].map(|key| key.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn ids_sort_as_keys_do(
            a in proptest::collection::vec(any::<u8>(), 0..8), b in proptest::collection::vec(any::<u8>(), 0..8),
        ) {
            prop_assert_eq!(id_of(&a).as_bytes().cmp(id_of(&b).as_bytes()), a.cmp(&b));
            prop_assert_eq!(key_of(&id_of(&a)).unwrap(), a);
        }
    }

    #[test]
    fn an_id_leads_to_its_rows() {
        let (tenant, rid) = (TenantId(7), Rid(9));
        let rows = led_to(&layout::id(tenant, "Patient", "a"), &rid.0.to_be_bytes()).unwrap();
        assert_eq!(rows[0], layout::current(tenant, rid));
        assert!(led_to(&layout::head(tenant), &rid.0.to_be_bytes()).is_none());
        assert!(is_head(Table::Records, &layout::head(tenant)) && !is_head(Table::Records, &rows[0]));
        assert!(key_of("\u{100}").is_err());
    }
}

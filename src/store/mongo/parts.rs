//! Rows that are too large for one document, of which the database takes 16 MB at most.
//!
//! The document of such a row has the first part of the value, and in `p` how many more there are. Those are documents of the
//! collection `parts`, written and removed in the transaction that writes or removes the row. The `_id` of a part begins with the
//! tenant as all do, and tells the table, the length of the row's key, the key and the place of the part: so the parts of one row are a
//! range in which nothing else is, and stand in their order. Nobody looks into the collection who has not read the row, so that other
//! rows cost what they would without it.

use super::client::Failed;
use super::place::{collection, id_of};
use super::transaction::{binary, damaged};
use crate::store::rows::{Row, Table, layout};
use mongodb::bson::{Bson, Document, RawDocument, doc};
use rustc_hash::FxHashMap;

/// Bytes of a part. An answer of the database takes 16 MB: two parts; or the documents to which an id leads, each with its first part. The
/// number of parts follows from it, so it belongs to the form of the store.
pub(super) const PART_BYTES: usize = 8_000_000;
/// The collection.
pub(super) const PARTS: &str = "parts";
/// The member of a document that tells how many parts there are behind the first one.
const FURTHER: &str = "p";

/// How many parts a value has behind the first one.
pub(super) const fn further(length: usize) -> usize {
    length.saturating_sub(1) / PART_BYTES
}

/// Cuts a value into its first part and the others.
pub(super) fn cut(mut value: Vec<u8>) -> (Vec<u8>, Vec<Vec<u8>>) {
    let others = value.chunks(PART_BYTES).skip(1).map(<[u8]>::to_vec).collect();
    value.truncate(PART_BYTES);
    (value, others)
}

/// Adds to the document of a row how many parts there are behind the first one.
pub(super) fn mark(document: &mut Document, further: usize) -> Result<(), Failed> {
    if further > 0 {
        let count = i32::try_from(further).map_err(|_| Failed::other("a resource or record is too large"))?;
        document.insert(FURTHER, count);
    }
    Ok(())
}

/// What the keys of the parts of a row begin with.
fn prefix(table: Table, key: &[u8]) -> Vec<u8> {
    let (tenant, rest) = key.split_at(key.len().min(4));
    let letter = collection(table).as_bytes().first().copied().unwrap_or_default();
    [tenant, &[letter], &(key.len() as u64).to_be_bytes(), rest].concat()
}

/// The `_id` of a part; the first that is a document of its own is 1.
pub(super) fn id(table: Table, key: &[u8], place: usize) -> String {
    let place = u32::try_from(place).unwrap_or(u32::MAX);
    id_of(&[&prefix(table, key)[..], &place.to_be_bytes()].concat())
}

/// The document of a part.
pub(super) fn document(id: &str, part: Vec<u8>) -> Document {
    doc! { "_id": id, "v": binary(part) }
}

/// All parts of a row from one on.
pub(super) fn from(table: Table, key: &[u8], place: usize) -> Document {
    doc! { "_id": { "$gte": id(table, key, place), "$lte": id(table, key, usize::MAX) } }
}

/// Whether a row may have parts of which nobody knows who has not read it: what holds bodies, key lists, entries or lists of them.
pub(super) fn may_have(key: &[u8]) -> bool {
    layout::tenant_of(key) != layout::SYSTEM && !key.get(4).is_some_and(|letter| layout::ALWAYS_SMALL.contains(letter))
}

/// A row as its document tells it.
pub(super) struct Found {
    pub table: Table,
    pub key: Vec<u8>,
    /// As much of it as is in the document.
    pub value: Vec<u8>,
    /// Parts that are missing in `value`.
    pub further: usize,
}

impl Found {
    /// How large the row is, about.
    pub(super) const fn size(&self) -> usize {
        self.key.len() + self.value.len() + self.further * PART_BYTES
    }
}

/// How many parts the document of a row has behind the first one.
pub(super) fn further_of(document: &RawDocument) -> Result<usize, Failed> {
    match document.get(FURTHER).map_err(|_| damaged())? {
        None => Ok(0),
        Some(count) => usize::try_from(count.as_i32().ok_or_else(damaged)?).map_err(|_| damaged()),
    }
}

/// Rows whose parts are being read.
pub(super) struct Gathering {
    rows: Vec<Found>,
    /// Which row a part belongs to.
    places: FxHashMap<String, usize>,
}

impl Gathering {
    pub(super) fn new(rows: Vec<Found>) -> Self {
        let mut places = FxHashMap::default();
        for (n, row) in rows.iter().enumerate() {
            places.extend((1..=row.further).map(|place| (id(row.table, &row.key, place), n)));
        }
        Self { rows, places }
    }

    /// What is to be read, in the order of the `_id`; `None` where nothing is missing.
    pub(super) fn missing(&self) -> Option<Document> {
        let ids: Vec<Bson> = self.places.keys().map(|id| Bson::from(id.as_str())).collect();
        (!ids.is_empty()).then(|| doc! { "_id": { "$in": ids } })
    }

    /// Takes a part, in the order of the `_id`.
    pub(super) fn take(&mut self, part: &RawDocument) -> Result<(), Failed> {
        let id = part.get_str("_id").map_err(|_| damaged())?;
        let bytes = part.get_binary("v").map_err(|_| damaged())?.bytes;
        let row = self.places.get(id).and_then(|place| self.rows.get_mut(*place)).ok_or_else(damaged)?;
        row.value.extend_from_slice(bytes);
        row.further = row.further.checked_sub(1).ok_or_else(damaged)?;
        Ok(())
    }

    /// The rows, whole.
    pub(super) fn finish(self) -> Result<Vec<(Table, Row)>, Failed> {
        let whole = |row: Found| if row.further == 0 { Ok((row.table, (row.key, row.value))) } else { Err(damaged()) };
        self.rows.into_iter().map(whole).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Rid;
    use crate::tenant::TenantId;

    #[test]
    fn a_value_is_cut_and_put_together() {
        for (length, parts) in
            [(0, 0), (PART_BYTES, 0), (PART_BYTES + 1, 1), (2 * PART_BYTES, 1), (2 * PART_BYTES + 7, 2)]
        {
            let value: Vec<u8> = (0..length).map(|n| u8::try_from(n % 251).unwrap()).collect();
            let (first, others) = cut(value.clone());
            assert_eq!((further(length), others.len()), (parts, parts));
            assert!(
                first.len() <= PART_BYTES && others.iter().all(|part| !part.is_empty() && part.len() <= PART_BYTES)
            );
            assert!([first, others.concat()].concat() == value);
        }
    }

    #[test]
    fn parts_of_one_row_stand_apart_from_those_of_all_others() {
        let tenant = TenantId(7);
        let keys = [
            layout::kept(tenant, "k", "a"),
            layout::kept(tenant, "k", "ar\0\0"),
            layout::kept(tenant, "k", "ar\0\0\0\u{1}"),
        ];
        for (one, other) in keys.iter().flat_map(|one| keys.iter().map(move |other| (one, other))) {
            let within = |place| {
                let own = |place| id(Table::Records, one, place);
                (own(0)..=own(usize::MAX)).contains(&id(Table::Records, other, place))
            };
            assert_eq!((within(1), within(300)), (one == other, one == other));
        }
        let key = layout::current(tenant, Rid(9));
        assert_ne!(id(Table::Records, &key, 1), id(Table::History, &key, 1));
        assert!(id(Table::Records, &key, 2) < id(Table::Records, &key, 256), "in their order");
        assert!(id(Table::Records, &key, 2).starts_with(&id_of(&tenant.0.to_be_bytes())));
    }

    #[test]
    fn only_some_rows_may_have_parts() {
        let tenant = TenantId(7);
        assert!(may_have(&layout::current(tenant, Rid(9))) && may_have(&layout::kept(tenant, "k", "a")));
        assert!(!may_have(&layout::head(tenant)) && !may_have(&layout::staged(4)));
        assert!(!may_have(&layout::id(tenant, "Patient", "a")));
    }
}

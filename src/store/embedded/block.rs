//! Blocks of postings: the numbers of the resources that have one search key, many to an entry.
//!
//! The first number stands in the block's key; the value holds the distances to the next ones. The blocks of a key are
//! disjoint and ascend, so that numbers come out in order by reading block after block.

use super::varint;
use crate::store::{Rid, StoreError, StoreResult};

/// A block that grows past this is written as two.
pub(super) const MOST: usize = 512;

/// The value of a block with these numbers, ascending; the first is left out.
pub(super) fn pack(rids: &[Rid]) -> Vec<u8> {
    let mut out = Vec::new();
    for (before, rid) in rids.iter().zip(rids.iter().skip(1)) {
        varint::push(rid.0 - before.0, &mut out);
    }
    out
}

/// The numbers of a block.
pub(super) fn unpack(first: Rid, mut value: &[u8]) -> StoreResult<Vec<Rid>> {
    let mut rids = vec![first];
    let mut last = first.0;
    while !value.is_empty() {
        last = varint::take(&mut value)
            .and_then(|distance| last.checked_add(distance))
            .ok_or_else(|| StoreError::Damaged("a block of postings".into()))?;
        rids.push(Rid(last));
    }
    Ok(rids)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back() {
        let rids = [1, 2, 500, 1 << 50].map(Rid);
        assert_eq!(unpack(Rid(1), &pack(&rids)).unwrap(), rids);
        assert!(pack(&rids[..1]).is_empty());
        assert!(unpack(Rid(1), &[0x80]).is_err());
    }
}

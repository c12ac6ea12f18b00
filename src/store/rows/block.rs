//! Blocks of postings: the numbers of the resources that have one search key, many to an entry.
//!
//! Every resource belongs to one base for good: the first number of the run of new numbers (at most [`SPAN`] long) in which its
//! own was given out, by one group of commits. A block holds those resources of one base that have the key; its key ends in
//! the base, its value tells the numbers. So the blocks of a search key are disjoint and ascend, a group of new resources
//! writes one entry for each search key without reading, and a change to an old resource reads exactly one entry, by its key.

use super::varint;
use crate::store::{Rid, StoreError, StoreResult};

/// The numbers of one base lie within this distance of it.
pub(in crate::store) const SPAN: u64 = 512;

/// The value of a block with these numbers, ascending and not before the base. A block of only its base is empty.
pub(in crate::store) fn pack(base: Rid, rids: &[Rid]) -> Vec<u8> {
    let mut out = Vec::new();
    if *rids == [base] {
        return out;
    }
    let mut before = base;
    for rid in rids {
        varint::push(rid.0 - before.0, &mut out);
        before = *rid;
    }
    out
}

/// The numbers of a block.
pub(in crate::store) fn unpack(base: Rid, mut value: &[u8]) -> StoreResult<Vec<Rid>> {
    if value.is_empty() {
        return Ok(vec![base]);
    }
    let mut rids = Vec::with_capacity(value.len());
    let mut last = base.0;
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
        for rids in [&[5][..], &[6], &[5, 6], &[7, 9, 516]] {
            let rids: Vec<Rid> = rids.iter().copied().map(Rid).collect();
            assert_eq!(unpack(Rid(5), &pack(Rid(5), &rids)).unwrap(), rids);
        }
        assert!(pack(Rid(5), &[Rid(5)]).is_empty());
        assert!(unpack(Rid(1), &[0x80]).is_err());
    }
}

//! What is found by the order of the entries, without a posting: the keys that number and time of an entry make alone
//! ([`placed_keys`]). They ascend with the numbers, so a range of them is a run of blocks.

use super::read::{Entries, Place, number_of};
use crate::clock::Micros;
use crate::key::KeyRange;
use crate::key::range::after_prefix;
use crate::store::ledger::{BlockHeader, Entry, placed_keys};
use crate::store::rows::{Row, Rows, Table, layout};
use crate::store::{Posting, Postings, Rid, StoreResult};
use std::sync::Arc;

impl Entries {
    /// What the keys start with that are found here, in their order, and which of the keys of an entry it is.
    fn prefixes(&self) -> Vec<(Box<[u8]>, usize)> {
        let keys = placed_keys(&*self.form, 0, Micros(0));
        // The code, its end and the kind.
        let start =
            |key: &[u8]| key.iter().take(2 + key.iter().take_while(|byte| **byte != 0).count()).copied().collect();
        let mut found: Vec<_> = keys.iter().enumerate().map(|(which, key)| (start(key), which)).collect();
        found.sort_unstable();
        found
    }

    /// The postings of AuditEvents in a range: those that `stored` finds, and between them those that the order gives.
    pub(in crate::store) fn scan<'e>(
        &'e self,
        place: Place<'e>,
        range: &KeyRange,
        is_back: bool,
        stored: impl Fn(&KeyRange) -> Postings<'e>,
    ) -> Postings<'e> {
        let part = |from: &[u8], to: &[u8]| {
            let (from, to) = (range.from.as_ref().max(from).into(), range.to.as_ref().min(to).into());
            Some(KeyRange { from, to, tail: range.tail.clone() }).filter(|part| part.from < part.to)
        };
        let (mut pieces, mut at) = (Vec::new(), range.from.clone());
        for (prefix, which) in self.prefixes() {
            let after = after_prefix(&prefix);
            let Some(here) = part(&prefix, &after) else { continue };
            pieces.extend(part(&at, &prefix).map(|before| stored(&before)));
            pieces.push(self.placed(place, here, which, is_back));
            at = after.into();
        }
        pieces.extend(part(&at, &range.to).map(|rest| stored(&rest)));
        if is_back {
            pieces.reverse();
        }
        match pieces.pop() {
            Some(only) if pieces.is_empty() => only,
            last => Box::new(pieces.into_iter().chain(last).flatten()),
        }
    }

    /// Whether this key is one of those that are found by the order.
    pub(in crate::store) fn is_placed(&self, key: &[u8]) -> bool {
        self.prefixes().iter().any(|(prefix, _)| key.starts_with(prefix))
    }

    fn placed<'e>(&'e self, place: Place<'e>, range: KeyRange, which: usize, is_back: bool) -> Postings<'e> {
        let first = match self.first_block(place, &range.from, which) {
            Ok(first) => first,
            Err(error) => return Box::new(std::iter::once(Err(error))),
        };
        let Place { rows, tenant, .. } = place;
        let blocks = |last, is_back| {
            let (from, to) = (layout::ledger(tenant, first), after_prefix(&layout::ledger(tenant, last)));
            Blocks { rows, rest: Some((from, to)), is_back, most: 1, part: Vec::new().into_iter() }
        };
        let read = move |block| self.postings(place, block, which);
        let holds = range.clone();
        let holds = move |found: &StoreResult<Posting>| found.as_ref().map_or(true, |found| holds.holds(&found.key));
        let KeyRange { from, to, .. } = range;
        if !is_back {
            let is_before = move |found: &StoreResult<Posting>| found.as_ref().map_or(true, |found| *found.key < *to);
            return Box::new(blocks(u64::MAX, false).flat_map(read).take_while(is_before).filter(holds));
        }
        let last = match self.first_block(place, &to, which) {
            Ok(last) => last,
            Err(error) => return Box::new(std::iter::once(Err(error))),
        };
        let is_behind = move |found: &StoreResult<Posting>| found.as_ref().map_or(true, |found| *from <= *found.key);
        let read = move |block| read(block).into_iter().rev();
        Box::new(blocks(last, true).flat_map(read).take_while(is_behind).filter(holds))
    }

    fn key(&self, number: u64, time: Micros, which: usize) -> Arc<[u8]> {
        placed_keys(&*self.form, number, time).into_iter().nth(which).unwrap_or_default().into()
    }

    /// The number of the last block that begins with a smaller key, or of the first of all: no block before it has this key or a
    /// larger one.
    fn first_block(&self, place: Place<'_>, key: &[u8], which: usize) -> StoreResult<u64> {
        let (mut found, mut low, mut high) = (0, 0, Self::count(place)?);
        while low < high {
            let Some((first, block)) = Self::block(place, low + (high - low) / 2)? else { break };
            let header = BlockHeader::unpack(&block)?.0;
            if *self.key(first, header.from, which) < *key {
                (found, low) = (first, first + u64::from(header.count).max(1));
            } else {
                high = first;
            }
        }
        Ok(found)
    }

    /// The postings of a block.
    fn postings(&self, place: Place<'_>, block: StoreResult<Row>, which: usize) -> Vec<StoreResult<Posting>> {
        let read = || {
            let (key, bytes) = block?;
            let first = number_of(&key);
            let entries = self.open(place, first, &bytes)?;
            let end = first + u64::from(BlockHeader::unpack(&bytes)?.0.count);
            let ends = entries.iter().skip(1).map(|(next, _)| *next).chain([end]);
            let posting = |number, time| Ok(Posting { key: self.key(number, time, which), rid: Rid::of_entry(number) });
            let of_entry = |((first, entry), end): (&(u64, Entry), u64)| {
                let time = entry.time;
                (*first..end).map(move |number| posting(number, time))
            };
            Ok(entries.iter().zip(ends).flat_map(of_entry).collect())
        };
        read().unwrap_or_else(|error| vec![Err(error)])
    }
}

/// Blocks that are read at once, at most.
const MOST_BLOCKS: usize = 16;

/// The blocks of a range, read part by part, each larger than the one before.
struct Blocks<'b> {
    rows: &'b dyn Rows,
    /// What is still to be read.
    rest: Option<(Vec<u8>, Vec<u8>)>,
    is_back: bool,
    most: usize,
    part: std::vec::IntoIter<Row>,
}

impl Blocks<'_> {
    fn next_part(&mut self, from: Vec<u8>, to: Vec<u8>) -> StoreResult<()> {
        let rows = if self.is_back {
            self.rows.range_back(Table::History, &from, &to, self.most)?
        } else {
            self.rows.range(Table::History, &from, &to, self.most)?
        };
        if let Some((last, _)) = rows.last().filter(|_| rows.len() == self.most) {
            self.rest = Some(if self.is_back { (from, last.clone()) } else { ([&last[..], &[0]].concat(), to) });
        }
        self.most = (2 * self.most).min(MOST_BLOCKS);
        self.part = rows.into_iter();
        Ok(())
    }
}

impl Iterator for Blocks<'_> {
    type Item = StoreResult<Row>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(row) = self.part.next() {
            return Some(Ok(row));
        }
        let (from, to) = self.rest.take()?;
        match self.next_part(from, to) {
            Ok(()) => self.part.next().map(Ok),
            Err(error) => Some(Err(error)),
        }
    }
}

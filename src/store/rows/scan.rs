//! From blocks of postings to postings.

use super::{block, layout};
use crate::key::Tail;
use crate::store::{Posting, Rid, StoreError, StoreResult};
use std::sync::Arc;

pub(in crate::store) fn damaged() -> StoreError {
    StoreError::Damaged("the key of a block of postings".into())
}

/// The numbers of a block from `from` on, where there are any.
pub(in crate::store) fn run_of(key: &[u8], value: &[u8], from: Rid) -> StoreResult<Option<Vec<Rid>>> {
    let (_, first) = key.split_last_chunk::<8>().ok_or_else(damaged)?;
    let mut rids = block::unpack(Rid(u64::from_be_bytes(*first)), value)?;
    if rids.first().is_some_and(|first| *first < from) {
        rids.retain(|rid| *rid >= from);
    }
    Ok((!rids.is_empty()).then_some(rids))
}

/// Reads blocks and gives their postings one by one.
pub(in crate::store) struct Scan<B> {
    /// In the order of the scan.
    blocks: Option<B>,
    backwards: bool,
    /// The length of what all block keys of the type start with.
    prefix: usize,
    tail: Option<Tail>,
    /// The block key of the last key, without the number: blocks of one key share its text.
    escaped: Box<[u8]>,
    key: Arc<[u8]>,
    rids: std::vec::IntoIter<Rid>,
}

impl<B, K: AsRef<[u8]>, V: AsRef<[u8]>> Scan<B>
where
    B: Iterator<Item = StoreResult<(K, V)>>,
{
    /// A scan of these blocks, in the order of the scan; of keys with other ends than those of `tail`, none are given.
    pub(in crate::store) fn new(blocks: B, backwards: bool, prefix: usize, tail: Option<Tail>) -> Self {
        Self {
            blocks: Some(blocks),
            backwards,
            prefix,
            tail,
            escaped: Box::default(),
            key: Arc::default(),
            rids: Vec::new().into_iter(),
        }
    }

    /// Takes the next block; `None` at the end.
    fn next_block(&mut self) -> Option<StoreResult<()>> {
        let block = self.blocks.as_mut()?.next()?;
        Some(block.and_then(|(key, value)| self.enter(key.as_ref(), value.as_ref())))
    }

    fn enter(&mut self, block_key: &[u8], value: &[u8]) -> StoreResult<()> {
        let (escaped, first) = block_key.split_last_chunk::<8>().ok_or_else(damaged)?;
        if *escaped != *self.escaped {
            let (key, _) = layout::posting_place(block_key, self.prefix).ok_or_else(damaged)?;
            self.key = key.into();
            self.escaped = escaped.into();
        }
        if self.tail.as_ref().is_none_or(|tail| tail.holds(&self.key)) {
            self.rids = block::unpack(Rid(u64::from_be_bytes(*first)), value)?.into_iter();
        }
        Ok(())
    }
}

impl<B, K: AsRef<[u8]>, V: AsRef<[u8]>> Iterator for Scan<B>
where
    B: Iterator<Item = StoreResult<(K, V)>>,
{
    type Item = StoreResult<Posting>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let rid = if self.backwards { self.rids.next_back() } else { self.rids.next() };
            if let Some(rid) = rid {
                return Some(Ok(Posting { key: Arc::clone(&self.key), rid }));
            }
            if let Err(error) = self.next_block()? {
                self.blocks = None;
                return Some(Err(error));
            }
        }
    }
}

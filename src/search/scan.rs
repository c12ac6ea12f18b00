//! The postings in a range of keys, one after the other, in either direction.

use super::engine::{Run, failed};
use crate::error::Result;
use crate::key::KeyRange;
use crate::key::bytes::END;
use crate::store::{Posting, Postings};
use std::sync::Arc;

/// So many unwanted postings are read over before a seek; more and more where seeks lead to unwanted ones again.
const PATIENCE: std::ops::RangeInclusive<usize> = 4..=16;

/// One step along a range.
pub enum Scanned {
    /// The next posting in it.
    Posting(Posting),
    /// One whose key is not in the bounds.
    Unwanted,
    /// There are no more.
    End,
}

/// Reads the postings in a range.
pub struct Scan<'r> {
    run: &'r Run<'r>,
    type_name: &'r str,
    /// What is left of the range.
    rest: KeyRange,
    is_back: bool,
    postings: Option<Postings<'r>>,
    /// How many unwanted postings were read one after the other, and the last one's key.
    unwanted: usize,
    last: Option<Arc<[u8]>>,
    patience: usize,
}

impl<'r> Scan<'r> {
    pub const fn new(run: &'r Run<'r>, type_name: &'r str, range: KeyRange, is_back: bool) -> Self {
        Self {
            run,
            type_name,
            rest: range,
            is_back,
            postings: None,
            unwanted: 0,
            last: None,
            patience: *PATIENCE.start(),
        }
    }

    /// Goes on behind a key.
    pub fn leave_behind(&mut self, key: &[u8]) {
        if self.is_back {
            self.rest.to = key.into();
        } else {
            self.rest.from = [key, &[END]].concat().into();
        }
        (self.postings, self.unwanted) = (None, 0);
    }

    /// Goes on where the bounds may hold again, if that is not the next key anyway.
    fn skip(&mut self, key: &Arc<[u8]>) {
        match self.rest.beyond(key, self.is_back) {
            Some(to) if self.is_back && *to < **key => self.rest.to = to,
            Some(from) if !self.is_back && *from > **key => self.rest.from = from,
            _ if self.last.as_ref() == Some(key) => return self.leave_behind(key),
            _ => return,
        }
        (self.postings, self.unwanted) = (None, 0);
    }

    pub fn step(&mut self) -> Result<Scanned> {
        self.run.budget.step()?;
        let postings = self.postings.get_or_insert_with(|| {
            let (view, all) = (self.run.view, KeyRange { tail: None, ..self.rest.clone() });
            if self.is_back { view.scan_back(self.type_name, &all) } else { view.scan(self.type_name, &all) }
        });
        let Some(posting) = postings.next() else { return Ok(Scanned::End) };
        let posting = posting.map_err(failed)?;
        if self.rest.tail.as_ref().is_none_or(|tail| tail.holds(&posting.key)) {
            (self.unwanted, self.patience) = (0, *PATIENCE.start());
            return Ok(Scanned::Posting(posting));
        }
        self.unwanted += 1;
        if self.unwanted >= self.patience {
            self.patience = (2 * self.patience).min(*PATIENCE.end());
            self.skip(&posting.key);
        }
        self.last = Some(posting.key);
        Ok(Scanned::Unwanted)
    }
}

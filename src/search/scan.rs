//! The postings in a range of keys, one after the other, in either direction.

use super::engine::{Run, failed};
use crate::error::Result;
use crate::key::KeyRange;
use crate::key::bytes::END;
use crate::store::{Posting, Postings};
use std::sync::Arc;

/// So many postings of one unwanted key are read over before a seek.
const SKIP_AFTER: usize = 16;

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
    /// A key whose bounds do not hold, and how many of its postings were read.
    unwanted: Option<(Arc<[u8]>, usize)>,
}

impl<'r> Scan<'r> {
    pub const fn new(run: &'r Run<'r>, type_name: &'r str, range: KeyRange, is_back: bool) -> Self {
        Self { run, type_name, rest: range, is_back, postings: None, unwanted: None }
    }

    /// Goes on behind a key.
    pub fn leave_behind(&mut self, key: &[u8]) {
        if self.is_back {
            self.rest.to = key.into();
        } else {
            self.rest.from = [key, &[END]].concat().into();
        }
        (self.postings, self.unwanted) = (None, None);
    }

    pub fn step(&mut self) -> Result<Scanned> {
        self.run.budget.step()?;
        let postings = self.postings.get_or_insert_with(|| {
            let (view, all) = (self.run.view, KeyRange { tail: None, ..self.rest.clone() });
            if self.is_back { view.scan_back(self.type_name, &all) } else { view.scan(self.type_name, &all) }
        });
        let Some(posting) = postings.next() else { return Ok(Scanned::End) };
        let posting = posting.map_err(failed)?;
        let read = match &self.unwanted {
            Some((key, read)) if *key == posting.key => read + 1,
            _ if self.rest.tail.as_ref().is_none_or(|tail| tail.holds(&posting.key)) => {
                return Ok(Scanned::Posting(posting));
            }
            _ => 1,
        };
        if read < SKIP_AFTER {
            self.unwanted = Some((posting.key, read));
        } else {
            self.leave_behind(&posting.key);
        }
        Ok(Scanned::Unwanted)
    }
}

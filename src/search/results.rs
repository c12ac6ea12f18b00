//! Streams of resource numbers that can skip ahead.

use super::engine::{Run, failed};
use crate::error::Result;
use crate::key::Expr;
use crate::store::{Rid, Rids};

/// Resource numbers of one type in ascending order. A caller asks with rising numbers.
pub trait Numbers {
    /// The first number from `from` on.
    fn next_from(&mut self, from: Rid) -> Result<Option<Rid>>;
}

/// A boxed stream.
pub type Stream<'r> = Box<dyn Numbers + 'r>;

/// The number after one.
pub const fn after(rid: Rid) -> Rid {
    Rid(rid.0.saturating_add(1))
}

/// So many numbers are read over before a seek is tried.
const SEEK_AFTER: usize = 24;

/// The postings of one key.
pub struct OfKey<'r> {
    run: &'r Run<'r>,
    type_name: &'r str,
    key: Box<[u8]>,
    open: Option<Rids<'r>>,
    head: Option<Rid>,
}

impl<'r> OfKey<'r> {
    pub fn new(run: &'r Run<'r>, type_name: &'r str, key: &[u8]) -> Self {
        Self { run, type_name, key: key.into(), open: None, head: None }
    }

    fn advance(&mut self) -> Result<()> {
        self.run.budget.step()?;
        self.head = self.open.as_mut().and_then(Iterator::next).transpose().map_err(failed)?;
        Ok(())
    }

    fn seek(&mut self, from: Rid) -> Result<()> {
        self.open = Some(self.run.view.rids(self.type_name, &self.key, from));
        self.advance()
    }
}

impl Numbers for OfKey<'_> {
    fn next_from(&mut self, from: Rid) -> Result<Option<Rid>> {
        if self.open.is_none() {
            self.seek(from)?;
        }
        for _ in 0..SEEK_AFTER {
            match self.head {
                Some(head) if head < from => self.advance()?,
                head => return Ok(head),
            }
        }
        self.seek(from)?;
        Ok(self.head)
    }
}

/// What is in any of the streams.
pub struct Union<'r>(pub Vec<Stream<'r>>);

impl Numbers for Union<'_> {
    fn next_from(&mut self, from: Rid) -> Result<Option<Rid>> {
        let mut first = None;
        for stream in &mut self.0 {
            if let Some(rid) = stream.next_from(from)? {
                first = Some(first.map_or(rid, |first: Rid| first.min(rid)));
            }
        }
        Ok(first)
    }
}

/// What is in all of the streams; there is at least one.
pub struct Intersection<'r>(pub Vec<Stream<'r>>);

impl Numbers for Intersection<'_> {
    fn next_from(&mut self, from: Rid) -> Result<Option<Rid>> {
        let mut candidate = from;
        'candidates: loop {
            for stream in &mut self.0 {
                match stream.next_from(candidate)? {
                    None => return Ok(None),
                    Some(rid) if rid > candidate => {
                        candidate = rid;
                        continue 'candidates;
                    }
                    Some(_) => {}
                }
            }
            return Ok(Some(candidate));
        }
    }
}

/// Numbers that were collected, sorted.
pub struct Collected(pub Vec<Rid>);

impl Numbers for Collected {
    fn next_from(&mut self, from: Rid) -> Result<Option<Rid>> {
        let at = self.0.partition_point(|rid| *rid < from);
        Ok(self.0.get(at).copied())
    }
}

/// What of a stream is in a set, by each resource's own key list.
pub struct Checked<'r> {
    pub run: &'r Run<'r>,
    pub type_name: &'r str,
    pub stream: Stream<'r>,
    pub expr: std::borrow::Cow<'r, Expr>,
}

impl Checked<'_> {
    /// Looks at one candidate: its number, and whether it is in the set.
    pub fn step(&mut self, from: Rid) -> Result<Option<(Rid, bool)>> {
        let Some(rid) = self.stream.next_from(from)? else { return Ok(None) };
        Ok(Some((rid, self.run.contains(self.type_name, rid, &self.expr)?)))
    }
}

impl Numbers for Checked<'_> {
    fn next_from(&mut self, mut from: Rid) -> Result<Option<Rid>> {
        while let Some((rid, is_in)) = self.step(from)? {
            if is_in {
                return Ok(Some(rid));
            }
            from = after(rid);
        }
        Ok(None)
    }
}

//! Streams of resource numbers that can skip ahead.

use super::ahead::Ahead;
use super::engine::{Run, failed};
use crate::error::Result;
use crate::key::Expr;
use crate::store::{Rid, Runs};

/// Resource numbers of one type in ascending order. A caller asks with rising numbers.
pub trait Numbers {
    /// The first number from `from` on.
    fn next_from(&mut self, from: Rid) -> Result<Option<Rid>>;

    /// One step towards that: bounded work, for streams that may look at many numbers in vain.
    fn look(&mut self, from: Rid) -> Result<Look> {
        Ok(self.next_from(from)?.map_or(Look::End, Look::Found))
    }

    /// How many there are in all, asked before anything else.
    fn count(&mut self) -> Result<u64> {
        let (mut count, mut from) = (0, Rid(0));
        while let Some(rid) = self.next_from(from)? {
            count += 1;
            from = after(rid);
        }
        Ok(count)
    }
}

/// What one look came to.
pub enum Look {
    /// The next number.
    Found(Rid),
    /// None up to this number, that included.
    Passed(Rid),
    /// Nothing yet.
    Nothing,
    /// There are no more.
    End,
}

/// What one step of bounded work came to, where any order will do.
pub enum Met<T> {
    /// The next one.
    At(T),
    /// Nothing yet.
    Nothing,
    /// There are no more.
    End,
}

impl<T> Met<T> {
    /// The same with what is met made into something else.
    pub fn map<U>(self, make: impl FnOnce(T) -> U) -> Met<U> {
        match self {
            Self::At(met) => Met::At(make(met)),
            Self::Nothing => Met::Nothing,
            Self::End => Met::End,
        }
    }
}

/// One step along a stream, which goes on from there.
pub fn step_along(stream: &mut Stream<'_>, from: &mut Rid) -> Result<Met<Rid>> {
    let look = stream.look(*from)?;
    if let Look::Found(rid) | Look::Passed(rid) = look {
        *from = after(rid);
    }
    Ok(match look {
        Look::Found(rid) => Met::At(rid),
        Look::Passed(_) | Look::Nothing => Met::Nothing,
        Look::End => Met::End,
    })
}

/// A boxed stream.
pub type Stream<'r> = Box<dyn Numbers + 'r>;

/// The number after one.
pub const fn after(rid: Rid) -> Rid {
    Rid(rid.0.saturating_add(1))
}

/// So many runs are read over before a seek is tried.
const SEEK_AFTER: usize = 4;

/// The postings of one key.
pub struct OfKey<'r> {
    run: &'r Run<'r>,
    type_name: &'r str,
    key: Box<[u8]>,
    /// Nothing before the first question, and an empty stream behind the last run.
    open: Option<Runs<'r>>,
    /// What was read last.
    last: Collected,
}

impl<'r> OfKey<'r> {
    pub fn new(run: &'r Run<'r>, type_name: &'r str, key: &[u8]) -> Self {
        Self { run, type_name, key: key.into(), open: None, last: Collected::default() }
    }

    /// Reads the next run; whether there was one.
    fn advance(&mut self) -> Result<bool> {
        self.run.budget.step()?;
        let next = self.open.as_mut().and_then(Iterator::next).transpose().map_err(failed)?;
        if next.is_none() {
            self.open = Some(Box::new(std::iter::empty()));
        }
        self.last = Collected::new(next.unwrap_or_default());
        Ok(!self.last.numbers.is_empty())
    }

    fn seek(&mut self, from: Rid) {
        self.run.trace.count_sought();
        self.open = Some(self.run.view.runs(self.type_name, &self.key, from));
    }
}

impl Numbers for OfKey<'_> {
    fn next_from(&mut self, from: Rid) -> Result<Option<Rid>> {
        if self.open.is_none() {
            self.seek(from);
            self.advance()?;
        }
        let mut read_over = 0;
        loop {
            if let Some(rid) = self.last.first_from(from) {
                return Ok(Some(rid));
            }
            read_over += 1;
            if read_over > SEEK_AFTER {
                self.seek(from);
            }
            if !self.advance()? {
                return Ok(None);
            }
        }
    }

    fn count(&mut self) -> Result<u64> {
        let mut count = 0;
        self.seek(Rid(0));
        while self.advance()? {
            count += self.last.numbers.len();
        }
        Ok(u64::try_from(count).unwrap_or(u64::MAX))
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

/// What of the first stream is not in the second.
pub struct Difference<'r>(pub Stream<'r>, pub Stream<'r>);

impl Numbers for Difference<'_> {
    fn next_from(&mut self, mut from: Rid) -> Result<Option<Rid>> {
        while let Some(rid) = self.0.next_from(from)? {
            if self.1.next_from(rid)? != Some(rid) {
                return Ok(Some(rid));
            }
            from = after(rid);
        }
        Ok(None)
    }
}

/// Numbers that were collected, sorted.
#[derive(Default)]
pub struct Collected {
    numbers: Vec<Rid>,
    /// How many of them lie before all that is still asked for.
    behind: usize,
}

impl Collected {
    pub const fn new(numbers: Vec<Rid>) -> Self {
        Self { numbers, behind: 0 }
    }

    fn first_from(&mut self, from: Rid) -> Option<Rid> {
        match self.numbers.get(self.behind..)? {
            [first, ..] if *first >= from => {}
            // Most questions are for the next one.
            [_, second, ..] if *second >= from => self.behind += 1,
            ahead => self.behind += ahead.partition_point(|rid| *rid < from),
        }
        self.numbers.get(self.behind).copied()
    }
}

impl Numbers for Collected {
    fn next_from(&mut self, from: Rid) -> Result<Option<Rid>> {
        Ok(self.first_from(from))
    }
}

/// What of a stream is in a set, by each resource's own key list.
pub struct Checked<'r> {
    pub run: &'r Run<'r>,
    pub type_name: &'r str,
    pub stream: Stream<'r>,
    pub expr: std::borrow::Cow<'r, Expr>,
    /// Where other resources have to be looked at, several are taken at once.
    pub ahead: Option<Ahead<Rid>>,
}

impl Checked<'_> {
    fn candidate(&mut self, from: Rid) -> Result<Met<Rid>> {
        let Self { run, type_name, stream, expr, ahead } = self;
        let Some(ahead) = ahead else { return Ok(stream.next_from(from)?.map_or(Met::End, Met::At)) };
        ahead.first_from(run, from, |next| stream.next_from(next), |rids| run.foresee(type_name, rids, &[expr]))
    }
}

impl Numbers for Checked<'_> {
    fn next_from(&mut self, from: Rid) -> Result<Option<Rid>> {
        by_looking(self, from)
    }

    fn look(&mut self, from: Rid) -> Result<Look> {
        let rid = match self.candidate(from)? {
            Met::At(rid) => rid,
            Met::Nothing => return Ok(Look::Nothing),
            Met::End => return Ok(Look::End),
        };
        let is_in = self.run.contains(self.type_name, rid, &self.expr)?;
        Ok(if is_in { Look::Found(rid) } else { Look::Passed(rid) })
    }
}

/// The first number from `from` on of a stream that can only look.
pub fn by_looking(stream: &mut impl Numbers, mut from: Rid) -> Result<Option<Rid>> {
    loop {
        match stream.look(from)? {
            Look::Found(rid) => return Ok(Some(rid)),
            Look::Passed(rid) => from = after(rid),
            Look::Nothing => {}
            Look::End => return Ok(None),
        }
    }
}

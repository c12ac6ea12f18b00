//! Ranges of keys, and bounds on the later parts of the keys in them.

use super::bytes::END;
use super::near::Circle;

/// A range of keys: `from <= key < to`, where the bounds of `tail` hold of the same key: so that, for example, low and high of
/// a date are those of one value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRange {
    /// The first key.
    pub from: Box<[u8]>,
    /// The first key after the last.
    pub to: Box<[u8]>,
    /// Bounds on later parts of a key.
    pub tail: Option<Tail>,
}

/// Bounds on later parts of a key; all must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tail {
    bounds: Vec<Bound>,
}

/// A bound on a later part of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bound {
    /// The way from the start of the key to the part.
    pub at: Vec<Step>,
    /// What must hold of the rest of the key from there.
    pub test: Test,
}

/// One step of the way to a part of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Over so many bytes.
    Bytes(usize),
    /// Over so many texts with their ends.
    Texts(usize),
}

/// What must hold of the rest of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Test {
    /// `from <= rest < to`.
    Between(Box<[u8]>, Box<[u8]>),
    /// The text that the rest begins with contains this one.
    Contains(Box<[u8]>),
    /// The text that the rest begins with ends in this one.
    EndsWith(Box<[u8]>),
    /// The place that the rest gives is in the circle.
    Near(Circle),
}

impl KeyRange {
    /// Exactly one key.
    #[must_use]
    pub fn exactly(key: &[u8]) -> Self {
        let mut to = key.to_vec();
        to.push(0);
        Self { from: key.into(), to: to.into(), tail: None }
    }

    /// Every key that starts with `prefix`.
    #[must_use]
    pub fn prefix(prefix: &[u8]) -> Self {
        Self { from: prefix.into(), to: after_prefix(prefix).into(), tail: None }
    }

    /// From the keys that start with the first to those that start with the second, both included.
    #[must_use]
    pub fn through([from, to]: &[Vec<u8>; 2]) -> Self {
        Self { from: from.as_slice().into(), to: after_prefix(to).into(), tail: None }
    }

    /// The same, with one more bound.
    #[must_use]
    pub fn bounded(mut self, bound: Bound) -> Self {
        self.tail.get_or_insert_with(|| Tail { bounds: Vec::new() }).bounds.push(bound);
        self
    }

    /// The same behind `prefix`.
    #[must_use]
    pub fn under(self, prefix: &[u8]) -> Self {
        let join = |rest: &[u8]| [prefix, rest].concat().into();
        Self { from: join(&self.from), to: join(&self.to), tail: shifted(self.tail, &[Step::Bytes(prefix.len())]) }
    }

    /// Keys whose first part, of this shape, lies in `self`, and whose rest lies in `rest`.
    #[must_use]
    pub fn then(self, shape: &[Step], rest: Self) -> Self {
        if self.tail.is_none()
            && let Some(part) = self.only_key()
        {
            return rest.under(part);
        }
        let mut whole = self.bounded(Bound { at: shape.to_vec(), test: Test::Between(rest.from, rest.to) });
        for bound in shifted(rest.tail, shape).into_iter().flat_map(|tail| tail.bounds) {
            whole = whole.bounded(bound);
        }
        whole
    }

    /// Whether it takes a look into texts to tell which keys are in the range.
    #[must_use]
    pub fn looks_into_texts(&self) -> bool {
        let bounds = self.tail.iter().flat_map(|tail| &tail.bounds);
        bounds.into_iter().any(|bound| matches!(bound.test, Test::Contains(_) | Test::EndsWith(_)))
    }

    /// The key, where the range is of exactly one.
    #[must_use]
    pub fn only_key(&self) -> Option<&[u8]> {
        let (last, key) = self.to.split_last()?;
        (*last == 0 && *key == *self.from).then_some(key)
    }

    /// Whether the key lies in this range.
    #[must_use]
    pub fn holds(&self, key: &[u8]) -> bool {
        *self.from <= *key && *key < *self.to && self.tail.as_ref().is_none_or(|tail| tail.holds(key))
    }

    /// Where the range is of all keys with a prefix and a bound on a later part: for a key in it, the range of the keys that
    /// are the same up to that part and in the bound. So a few short ranges can stand for a long one.
    #[must_use]
    pub fn narrowed_at(&self, key: &[u8]) -> Option<Self> {
        let (bound, others) = self.tail.as_ref()?.bounds.split_first()?;
        let Test::Between(from, to) = &bound.test else { return None };
        if *after_prefix(&self.from) != *self.to {
            return None;
        }
        let start = key.get(..bound.position(key)?)?;
        Some(Self {
            from: [start, from].concat().into(),
            to: [start, to].concat().into(),
            tail: (!others.is_empty()).then(|| Tail { bounds: others.to_vec() }),
        })
    }

    /// For a key that the first bound does not admit: where the keys may begin again that it does, or, backward, end.
    #[must_use]
    pub fn beyond(&self, key: &[u8], is_back: bool) -> Option<Box<[u8]>> {
        let bound = self.tail.as_ref()?.bounds.first()?;
        let Test::Between(from, to) = &bound.test else { return None };
        let (start, rest) = key.split_at_checked(bound.position(key)?)?;
        let before = |rest: &[u8]| [start, rest].concat().into();
        match (*rest < **from, is_back) {
            (true, false) => Some(before(from)),
            (true, true) => Some(start.into()),
            (false, _) if *rest < **to => None,
            (false, false) => Some(after_prefix(start).into()),
            (false, true) => Some(before(to)),
        }
    }

    /// The range of what comes after all keys that share with `key` what stands before the first bound.
    #[must_use]
    pub fn after_narrowed(&self, key: &[u8]) -> Option<Self> {
        let start = key.get(..self.tail.as_ref()?.bounds.first()?.position(key)?)?;
        Some(Self { from: after_prefix(start).into(), to: self.to.clone(), tail: None })
    }
}

fn shifted(tail: Option<Tail>, by: &[Step]) -> Option<Tail> {
    let shift = |bound: Bound| Bound { at: [by, &bound.at].concat(), test: bound.test };
    tail.map(|tail| Tail { bounds: tail.bounds.into_iter().map(shift).collect() })
}

impl Tail {
    #[cfg(test)]
    pub(super) fn bounds(&self) -> &[Bound] {
        &self.bounds
    }

    /// Whether all bounds hold of the key.
    #[must_use]
    pub fn holds(&self, key: &[u8]) -> bool {
        self.bounds.iter().all(|bound| bound.holds(key))
    }
}

impl Bound {
    /// Where in the key the bounded part starts.
    fn position(&self, key: &[u8]) -> Option<usize> {
        let mut at = 0;
        for step in &self.at {
            match *step {
                Step::Bytes(count) => at += count,
                Step::Texts(count) => {
                    for _ in 0..count {
                        at += memchr::memchr(END, key.get(at..)?)? + 1;
                    }
                }
            }
        }
        (at <= key.len()).then_some(at)
    }

    fn holds(&self, key: &[u8]) -> bool {
        let Some(rest) = self.position(key).and_then(|at| key.get(at..)) else { return false };
        match &self.test {
            Test::Between(from, to) => **from <= *rest && *rest < **to,
            Test::Contains(text) => memchr::memmem::find(first_text(rest), text).is_some(),
            Test::EndsWith(text) => first_text(rest).ends_with(text),
            Test::Near(circle) => circle.holds(rest),
        }
    }
}

fn first_text(rest: &[u8]) -> &[u8] {
    let end = memchr::memchr(END, rest).unwrap_or(rest.len());
    rest.get(..end).unwrap_or_default()
}

impl Test {
    /// The rest starts with the first, or the second, or lies between the two.
    #[must_use]
    pub fn through([from, to]: &[Vec<u8>; 2]) -> Self {
        Self::Between(from.as_slice().into(), after_prefix(to).into())
    }
}

/// The first byte string after all that start with `prefix`.
#[must_use]
pub fn after_prefix(prefix: &[u8]) -> Vec<u8> {
    let mut after = prefix.to_vec();
    while let Some(last) = after.pop() {
        if last < 0xFF {
            after.push(last + 1);
            return after;
        }
    }
    vec![0xFF; 1025]
}

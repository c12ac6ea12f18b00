//! Search keys: from a resource, byte-sortable keys `code 0x00 kind value…`; ranges over them; and the algebra.
//!
//! Pure: no store, no clock. Design: `docs/architecture.md`, "Search keys".

pub mod last_updated;

/// The search keys of one version of a resource: sorted, without duplicates.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyList {
    keys: Vec<Box<[u8]>>,
}

impl KeyList {
    /// Sorts and dedupes.
    #[must_use]
    pub fn new(mut keys: Vec<Box<[u8]>>) -> Self {
        keys.sort_unstable();
        keys.dedup();
        Self { keys }
    }

    /// The keys in order.
    #[must_use]
    pub fn as_slice(&self) -> &[Box<[u8]>] {
        &self.keys
    }

    /// Whether any key lies in the range.
    #[must_use]
    pub fn any_in(&self, range: &KeyRange) -> bool {
        let start = self.keys.partition_point(|key| **key < *range.from);
        self.keys
            .get(start..)
            .unwrap_or_default()
            .iter()
            .take_while(|key| ***key < *range.to)
            .any(|key| range.holds(key))
    }
}

/// A range of keys: `from <= key < to`, and, where `tail` is set, the bytes after the first `offset` bytes lie in
/// `from..to` of the tail: so that, for example, low and high of a date are those of one value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRange {
    /// The first key.
    pub from: Box<[u8]>,
    /// The first key after the last.
    pub to: Box<[u8]>,
    /// A bound on the rest of the same key.
    pub tail: Option<Tail>,
}

/// A bound on the second part of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tail {
    /// Where the second part starts, counted from the start of the key.
    pub offset: usize,
    /// The first allowed rest.
    pub from: Box<[u8]>,
    /// The first rest that is no longer allowed.
    pub to: Box<[u8]>,
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

    /// Whether the key lies in this range.
    #[must_use]
    pub fn holds(&self, key: &[u8]) -> bool {
        *self.from <= *key && *key < *self.to && self.tail.as_ref().is_none_or(|tail| tail.holds(key))
    }
}

impl Tail {
    /// Whether the rest of the key lies in this bound.
    #[must_use]
    pub fn holds(&self, key: &[u8]) -> bool {
        key.get(self.offset..).is_some_and(|rest| *self.from <= *rest && *rest < *self.to)
    }
}

/// The first byte string after all that start with `prefix`.
fn after_prefix(prefix: &[u8]) -> Vec<u8> {
    let mut after = prefix.to_vec();
    while let Some(last) = after.pop() {
        if last < 0xFF {
            after.push(last + 1);
            return after;
        }
    }
    vec![0xFF; 513]
}

//! Search keys: from a resource, byte-sortable keys `code 0x00 kind value…`; ranges over them; and the algebra.
//!
//! Pure: no store, no clock. Design: `docs/architecture.md`, "Search keys". One file for each group of parameter types says
//! what its keys look like and which ranges of them a query means; nothing else knows.

pub mod bytes;
pub mod composite;
pub mod date;
pub mod decimal;
pub mod define;
pub mod expr;
pub mod extract;
pub mod fold;
pub mod last_updated;
pub mod number;
pub mod parameters;
pub mod path;
pub mod range;
pub mod reference;
pub mod string;
pub mod token;
pub mod unit;

pub use expr::Expr;
pub use extract::Extractor;
pub use parameters::Parameters;
pub use range::{KeyRange, Tail};

/// The comparison before a value: `ge2020`.
/// <https://hl7.org/fhir/R4/search.html#prefix>
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Prefix {
    Eq,
    Ne,
    Gt,
    Lt,
    Ge,
    Le,
    Sa,
    Eb,
    Ap,
}

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

    /// The keys in the range, in order.
    pub fn in_range<'k>(&'k self, range: &'k KeyRange) -> impl DoubleEndedIterator<Item = &'k [u8]> {
        let start = self.keys.partition_point(|key| **key < *range.from);
        let end = self.keys.partition_point(|key| **key < *range.to).max(start);
        let keys = self.keys.get(start..end).unwrap_or_default();
        keys.iter().map(|key| &**key).filter(|key| range.tail.as_ref().is_none_or(|tail| tail.holds(key)))
    }

    /// The keys that start with `prefix`, in order.
    pub fn starting_with<'k>(&'k self, prefix: &[u8]) -> impl DoubleEndedIterator<Item = &'k [u8]> + use<'k> {
        let start = self.keys.partition_point(|key| **key < *prefix);
        let rest = self.keys.get(start..).unwrap_or_default();
        let end = rest.partition_point(|key| key.starts_with(prefix));
        rest.get(..end).unwrap_or_default().iter().map(|key| &**key)
    }

    /// Whether any key lies in the range.
    #[must_use]
    pub fn any_in(&self, range: &KeyRange) -> bool {
        self.in_range(range).next().is_some()
    }
}

/// What every key of a parameter starts with.
#[must_use]
pub fn prefix_of(code: &str) -> Vec<u8> {
    [code.as_bytes(), &[bytes::END]].concat()
}

/// The key of a resource's own id.
#[must_use]
pub fn id_key(id: &str) -> Vec<u8> {
    [b"_id\0i", id.as_bytes()].concat()
}

/// The id in a resource's key list.
#[must_use]
pub fn id_in(keys: &KeyList) -> Option<&str> {
    let key = keys.starting_with(b"_id\0i").next()?;
    std::str::from_utf8(key.strip_prefix(b"_id\0i")?).ok()
}

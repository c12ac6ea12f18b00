//! Search keys: from a resource, byte-sortable keys `code 0x00 kind value…`; ranges over them; and the algebra.
//!
//! Pure: no store, no clock. Design: `docs/architecture.md`, "Search keys". One file for each group of parameter types says
//! what its keys look like and which ranges of them a query means; nothing else knows.

pub mod blind;
pub mod by_patient;
pub mod bytes;
pub mod care;
pub mod composite;
pub mod date;
pub mod decimal;
pub mod define;
pub mod expr;
pub mod extract;
pub mod fold;
pub mod inner;
pub mod last_updated;
pub mod list;
pub mod near;
pub mod number;
#[cfg(test)]
mod official_tests;
pub mod parameters;
pub mod path;
pub mod range;
pub mod reference;
pub mod string;
pub mod ties;
pub mod token;
pub mod unit;
pub mod words;

pub use by_patient::{ByPatient, Rules, Stored};
pub use expr::Expr;
pub use extract::Extractor;
pub use list::KeyList;
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

//! What of a page must be the same each time: the addresses of its entries, in order, and its total. Read without parsing, so
//! that checking an answer costs little beside making it.

use memchr::memmem;
use std::hash::{DefaultHasher, Hasher};

/// A hash of the addresses and the total.
pub fn fingerprint(body: &[u8]) -> u64 {
    let mut hash = DefaultHasher::new();
    let mut total = values(body, b"\"total\"").map(digits).filter(|digits| !digits.is_empty());
    hash.write(total.next().unwrap_or_default());
    for value in values(body, b"\"fullUrl\"") {
        hash.write(value.split(|byte| *byte == b'"').nth(1).unwrap_or_default());
    }
    hash.finish()
}

/// What stands behind each member of a name, from its value on.
fn values<'b>(body: &'b [u8], name: &'static [u8]) -> impl Iterator<Item = &'b [u8]> {
    let after = move |at: usize| body.get(at + name.len()..).unwrap_or_default();
    memmem::find_iter(body, name)
        .map(move |at| after(at).trim_ascii_start())
        .filter_map(|rest| rest.strip_prefix(b":").map(<[u8]>::trim_ascii_start))
}

fn digits(value: &[u8]) -> &[u8] {
    let end = value.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(value.len());
    value.get(..end).unwrap_or_default()
}

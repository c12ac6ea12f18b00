//! How values become bytes that sort as the values do.
//!
//! A text ends in [`END`], which sorts below every byte that a text can hold, so `Ann` comes before `Anna` whatever follows;
//! a text that is too long is cut and ends in a hash of the whole. Fixed-width parts need no end.

use super::last_updated::sortable_micros;
use crate::clock::Micros;
use aws_lc_rs::digest::{SHA256, digest};

/// The end of a text.
pub const END: u8 = 0;
/// Stands before a byte of a text that would otherwise read as [`END`] or as itself.
const ESCAPE: u8 = 1;
/// The length in hexadecimal digits of the hash that ends a cut text.
const HASH_LEN: usize = 32;
/// A text keeps at most this many bytes.
pub const TEXT_MAX: usize = 200;
/// A URL keeps at most this many bytes.
pub const URL_MAX: usize = 400;

/// Appends a text and its end.
pub fn text(out: &mut Vec<u8>, text: &str) {
    limited(out, text, TEXT_MAX);
}

/// Appends a URL and its end.
pub fn url(out: &mut Vec<u8>, text: &str) {
    limited(out, text, URL_MAX);
}

fn limited(out: &mut Vec<u8>, text: &str, max: usize) {
    let start = out.len();
    open_text(out, text);
    if out.len() - start > max {
        out.truncate(start + max - HASH_LEN);
        let hash = digest(&SHA256, text.as_bytes());
        for byte in hash.as_ref().iter().take(HASH_LEN / 2) {
            out.extend_from_slice(format!("{byte:02x}").as_bytes());
        }
    }
    out.push(END);
}

/// Appends the start of a text: what every longer text begins with, too.
pub fn open_text(out: &mut Vec<u8>, text: &str) {
    if text.bytes().all(|byte| byte > ESCAPE) {
        out.extend_from_slice(text.as_bytes());
        return;
    }
    for byte in text.bytes() {
        if byte <= ESCAPE {
            out.push(ESCAPE);
        }
        out.push(if byte <= ESCAPE { byte + 1 } else { byte });
    }
}

/// Whether every text that starts with this one keeps all of it when it is cut.
#[must_use]
pub const fn can_start_text(text: &str, max: usize) -> bool {
    text.len() + HASH_LEN <= max
}

/// Appends a moment in 8 bytes.
pub fn moment(out: &mut Vec<u8>, time: Micros) {
    out.extend_from_slice(&sortable_micros(time));
}

/// Many byte strings in one buffer: the value parts of keys before their code is put before them.
#[derive(Debug, Default)]
pub struct Parts {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Parts {
    /// Adds a part that starts with its kind.
    pub fn add(&mut self, kind: u8, write: impl FnOnce(&mut Vec<u8>)) {
        self.bytes.push(kind);
        write(&mut self.bytes);
        self.ends.push(self.bytes.len());
    }

    /// The parts in the order in which they were added.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).filter_map(|(start, end)| self.bytes.get(start..*end))
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Forgets all parts but not the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(value: &str) -> Vec<u8> {
        let mut out = Vec::new();
        text(&mut out, value);
        out
    }

    #[test]
    fn texts_sort_before_their_continuations() {
        let texts = ["", "\0", "\0\0", "\u{1}", "\u{2}", "Ann", "Ann\0", "Ann b", "Anna", "é"].map(ended);
        assert!(texts.is_sorted_by(|a, b| a < b), "{texts:?}");
        assert!(texts.iter().all(|text| text.iter().position(|byte| *byte == END) == Some(text.len() - 1)));
    }

    #[test]
    fn long_texts_are_cut_and_stay_apart() {
        let [a, b] = ["a", "b"].map(|end| ended(&("x".repeat(5000) + end)));
        assert_eq!(a.len(), TEXT_MAX + 1);
        assert_ne!(a, b);
        assert_eq!(ended(&"x".repeat(TEXT_MAX)).len(), TEXT_MAX + 1);
    }
}

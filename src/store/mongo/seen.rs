//! What a view has seen of the index: so that a range which the planner of a search has looked into need not be read again.

use super::transaction::Range;
use crate::store::rows::Row;
use crate::store::rows::stretch::Stretch;
use std::collections::BTreeMap;

/// As many bytes are remembered, about.
const MOST_BYTES: usize = 16 << 20;

/// Rows, and the ranges of which they are all.
#[derive(Default)]
pub(super) struct Seen {
    rows: BTreeMap<Vec<u8>, Vec<u8>>,
    covered: Vec<(Vec<u8>, Vec<u8>)>,
    bytes: usize,
}

/// The first rows of a range, as far as they are known.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub rows: Vec<Row>,
    /// All before this is known.
    pub end: Vec<u8>,
}

impl Seen {
    /// Remembers what a range was found to begin with.
    pub(super) fn add(&mut self, range: &Range, Stretch { rows, has_more }: &Stretch) {
        if self.bytes > MOST_BYTES {
            *self = Self::default();
        }
        let (mut from, mut to) = (range.from.clone(), range.to.clone());
        if let Some((last, _)) = rows.last().filter(|_| *has_more) {
            if range.is_back {
                from.clone_from(last);
            } else {
                to = [&last[..], &[0]].concat();
            }
        }
        self.covered.push((from, to));
        for (key, value) in rows {
            self.bytes += key.len() + value.len();
            self.rows.insert(key.clone(), value.clone());
        }
    }

    /// What is known of the beginning of a range that goes forward.
    pub(super) fn part(&self, range: &Range) -> Option<Part> {
        let holds = |(from, to): &&(Vec<u8>, Vec<u8>)| *from <= range.from && range.from < *to;
        let (_, end) = self.covered.iter().filter(holds).max_by(|(_, a), (_, b)| a.cmp(b))?;
        let end = end.min(&range.to).clone();
        let rows = self.rows.range(range.from.clone()..end.clone()).take(range.most.rows);
        let rows: Vec<Row> = rows.map(|(key, value)| (key.clone(), value.clone())).collect();
        let end = match rows.last() {
            Some((last, _)) if rows.len() == range.most.rows => [&last[..], &[0]].concat(),
            _ => end,
        };
        Some(Part { rows, end })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::rows::Table;
    use crate::store::rows::stretch::Most;

    fn range(from: &str, to: &str, most: usize, is_back: bool) -> Range {
        Range { table: Table::Index, from: from.into(), to: to.into(), most: Most::rows(most), is_back }
    }

    fn rows(keys: &[&str]) -> Vec<Row> {
        keys.iter().map(|key| (key.as_bytes().to_vec(), Vec::new())).collect()
    }

    #[test]
    fn only_what_was_covered_is_known() {
        let mut seen = Seen::default();
        assert_eq!(seen.part(&range("a", "z", 9, false)), None);
        seen.add(&range("c", "m", 2, false), &Stretch { rows: rows(&["d", "f"]), has_more: true });
        let part = |from, to, most| seen.part(&range(from, to, most, false)).map(|part| (part.rows, part.end));
        assert_eq!(part("b", "z", 9), None, "it begins before");
        assert_eq!(part("c", "z", 9), Some((rows(&["d", "f"]), b"f\0".to_vec())), "the rest is to be read from there");
        assert_eq!(part("c", "e", 9), Some((rows(&["d"]), b"e".to_vec())));
        assert_eq!(part("c", "z", 1), Some((rows(&["d"]), b"d\0".to_vec())));
        assert_eq!(part("g", "z", 9), None);

        seen.add(&range("c", "z", 9, true), &Stretch { rows: rows(&["x", "f", "d"]), has_more: false });
        let all = seen.part(&range("c", "z", 9, false)).unwrap();
        assert_eq!((all.rows, all.end), (rows(&["d", "f", "x"]), b"z".to_vec()));
    }
}

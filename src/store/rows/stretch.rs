//! Rows that are read together: so many, and no more than go into memory, since one row may be as large as a request.

use super::Row;
use crate::store::StoreResult;

/// How much is read together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) struct Most {
    /// Rows.
    pub rows: usize,
    /// Bytes of keys and values, about: the row that goes beyond is the last one.
    pub bytes: usize,
}

impl Most {
    /// So many rows, and no more bytes than go into memory.
    pub(in crate::store) const fn rows(rows: usize) -> Self {
        Self { rows, bytes: 16 << 20 }
    }
}

/// The first rows of a range.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::store) struct Stretch {
    pub rows: Vec<Row>,
    /// Whether there may be more of the range.
    pub has_more: bool,
}

impl Stretch {
    /// Takes rows as far as they go.
    pub(in crate::store) fn of(rows: impl Iterator<Item = StoreResult<Row>>, most: Most) -> StoreResult<Self> {
        let (mut taken, mut bytes) = (Self::default(), 0_usize);
        for row in rows.take(most.rows) {
            let (key, value) = row?;
            bytes = bytes.saturating_add(key.len() + value.len());
            taken.rows.push((key, value));
            if bytes >= most.bytes {
                taken.has_more = true;
                break;
            }
        }
        taken.has_more |= taken.rows.len() == most.rows;
        Ok(taken)
    }

    /// The key from which on there may be more; `None` at the end.
    pub(in crate::store) fn next(&self) -> Option<Vec<u8>> {
        self.rows.last().filter(|_| self.has_more).map(|(key, _)| [&key[..], &[0]].concat())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_taken_as_far_as_they_go_into_memory() {
        let all = [(b"a", 3), (b"b", 50), (b"c", 0)];
        let taken = |rows, bytes| {
            let from = all.iter().map(|(key, size)| Ok((key.to_vec(), vec![0; *size])));
            let taken = Stretch::of(from, Most { rows, bytes }).unwrap();
            (taken.rows.len(), taken.next())
        };
        assert_eq!(taken(9, 99), (3, None));
        assert_eq!(taken(3, 99), (3, Some(b"c\0".to_vec())), "there may be more");
        assert_eq!(taken(2, 99), (2, Some(b"b\0".to_vec())));
        assert_eq!(taken(9, 5), (2, Some(b"b\0".to_vec())), "the one that goes beyond is the last");
        assert_eq!(taken(9, 0), (1, Some(b"a\0".to_vec())), "one always goes");
    }
}

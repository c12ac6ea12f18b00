//! The search keys that a commit adds to those of the content: of `_lastUpdated`, and the one of every live resource.

use crate::clock::Micros;

/// The key that every live resource has: its postings list all resources of a type.
pub const ALL: &[u8] = b"_all\0!";

const LOW_HIGH: &[u8] = b"_lastUpdated\0l";

/// The date key of `_lastUpdated`, `l low high`. An instant is a range of one moment, so low and high are the same: 8 bytes
/// big-endian each, microseconds since 1970 with the sign bit turned over, so that bytes sort as time.
#[must_use]
pub fn last_updated_key(time: Micros) -> Box<[u8]> {
    let moment = sortable_micros(time);
    [LOW_HIGH, &moment, &moment].concat().into()
}

/// Eight bytes that sort as time does.
#[must_use]
pub const fn sortable_micros(time: Micros) -> [u8; 8] {
    (time.0.cast_unsigned() ^ (1 << 63)).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_sort_as_time() {
        let times = [i64::MIN, -5, -1, 0, 1, 256, i64::MAX].map(|time| last_updated_key(Micros(time)));
        assert!(times.is_sorted_by(|a, b| a < b));
    }
}

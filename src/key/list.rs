//! The search keys of one version of a resource, packed into one buffer: a check reads thousands of such lists.

use super::KeyRange;
use std::sync::Arc;

/// The search keys of one version of a resource: sorted, without duplicates. A clone shares them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyList(Arc<Packed>);

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Packed {
    bytes: Vec<u8>,
    /// Where each key ends in `bytes`.
    ends: Vec<u32>,
}

impl KeyList {
    /// Sorts and dedupes.
    #[must_use]
    pub fn new(mut keys: Vec<Box<[u8]>>) -> Self {
        keys.sort_unstable();
        keys.dedup();
        let mut list = Self::with_capacity(keys.len(), keys.iter().map(|key| key.len()).sum());
        for key in &keys {
            list.append(key);
        }
        list
    }

    /// An empty list with room for so many keys, of so many bytes together.
    #[must_use]
    pub fn with_capacity(keys: usize, bytes: usize) -> Self {
        Self(Arc::new(Packed { bytes: Vec::with_capacity(bytes), ends: Vec::with_capacity(keys) }))
    }

    /// Appends the key that shares its first `shared` bytes with the last one. `None` where that is shorter, or the new key does
    /// not sort behind it.
    pub fn push_shared(&mut self, shared: usize, rest: &[u8]) -> Option<()> {
        let (start, end) = self.last_place();
        let last = self.0.bytes.get(start..end)?;
        if last.get(shared..)? >= rest && !self.is_empty() {
            return None;
        }
        Arc::make_mut(&mut self.0).bytes.extend_from_within(start..start + shared);
        self.append(rest);
        Some(())
    }

    fn last_place(&self) -> (usize, usize) {
        let before = self.len().checked_sub(2).and_then(|at| self.0.ends.get(at));
        (before.map_or(0, |end| *end as usize), self.byte_len())
    }

    /// Ends a key with these bytes.
    fn append(&mut self, rest: &[u8]) {
        let Packed { bytes, ends } = Arc::make_mut(&mut self.0);
        bytes.extend_from_slice(rest);
        ends.push(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
    }

    /// The same list with a few more keys.
    #[must_use]
    pub fn with(&self, mut added: Vec<Box<[u8]>>) -> Self {
        added.sort_unstable();
        added.dedup();
        let more = added.iter().map(|key| key.len()).sum::<usize>();
        let mut list = Self::with_capacity(self.len() + added.len(), self.byte_len() + more);
        let mut at = 0;
        for key in &added {
            let place = self.partition_point(at, |own| *own < **key);
            list.extend(self, at, place);
            if place == self.len() || *self.get(place) != **key {
                list.append(key);
            }
            at = place;
        }
        list.extend(self, at, self.len());
        list
    }

    /// Appends some of another list's keys, all at once.
    fn extend(&mut self, other: &Self, start: usize, end: usize) {
        let place = |at: usize| at.checked_sub(1).and_then(|at| other.0.ends.get(at)).map_or(0, |end| *end as usize);
        let (from, base) = (place(start), self.byte_len());
        let Packed { bytes, ends } = Arc::make_mut(&mut self.0);
        bytes.extend_from_slice(other.0.bytes.get(from..place(end)).unwrap_or_default());
        let added = other.0.ends.get(start..end).unwrap_or_default();
        ends.extend(added.iter().map(|end| u32::try_from(*end as usize - from + base).unwrap_or(u32::MAX)));
    }

    /// The number of keys.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.ends.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.ends.is_empty()
    }

    /// The sum of the keys' lengths.
    #[must_use]
    pub fn byte_len(&self) -> usize {
        self.0.bytes.len()
    }

    fn get(&self, at: usize) -> &[u8] {
        let Packed { bytes, ends } = &*self.0;
        let start = at.checked_sub(1).and_then(|before| ends.get(before)).map_or(0, |end| *end as usize);
        let end = ends.get(at).map_or(bytes.len(), |end| *end as usize);
        bytes.get(start..end).unwrap_or_default()
    }

    /// The keys in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &[u8]> + Clone {
        self.between(0, self.len())
    }

    fn between(&self, start: usize, end: usize) -> impl DoubleEndedIterator<Item = &[u8]> + Clone + use<'_> {
        (start..end).map(|at| self.get(at))
    }

    /// The position of the first key, from `start` on, for which `is_before` does not hold.
    fn partition_point(&self, start: usize, is_before: impl Fn(&[u8]) -> bool) -> usize {
        let (mut low, mut high) = (start, self.len());
        while low < high {
            let middle = low.midpoint(high);
            if is_before(self.get(middle)) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// The keys in the range, in order.
    pub fn in_range<'k>(&'k self, range: &'k KeyRange) -> impl DoubleEndedIterator<Item = &'k [u8]> {
        let start = self.partition_point(0, |key| *key < *range.from);
        let end = self.partition_point(start, |key| *key < *range.to);
        self.between(start, end).filter(|key| range.tail.as_ref().is_none_or(|tail| tail.holds(key)))
    }

    /// The keys that start with `prefix`, in order.
    pub fn starting_with<'k>(&'k self, prefix: &[u8]) -> impl DoubleEndedIterator<Item = &'k [u8]> + use<'k> {
        let start = self.partition_point(0, |key| *key < *prefix);
        let end = self.partition_point(start, |key| key.starts_with(prefix));
        self.between(start, end)
    }

    /// The keys that stand behind `prefix`, without it.
    #[must_use]
    pub fn behind(&self, prefix: &[u8]) -> Self {
        let mut list = Self::default();
        self.starting_with(prefix).filter_map(|key| key.strip_prefix(prefix)).for_each(|key| list.append(key));
        list
    }

    /// Whether any key lies in the range.
    #[must_use]
    pub fn any_in(&self, range: &KeyRange) -> bool {
        if range.tail.is_some() {
            return self.in_range(range).next().is_some();
        }
        let start = self.partition_point(0, |key| *key < *range.from);
        start < self.len() && *self.get(start) < *range.to
    }
}

impl<'k> IntoIterator for &'k KeyList {
    type Item = &'k [u8];
    type IntoIter = Box<dyn Iterator<Item = &'k [u8]> + 'k>;

    fn into_iter(self) -> Self::IntoIter {
        Box::new(self.iter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(keys: &[&str]) -> KeyList {
        KeyList::new(keys.iter().map(|key| key.as_bytes().into()).collect())
    }

    #[test]
    fn keys_are_sorted_and_single() {
        let keys = list(&["b", "", "ab", "a", "b"]);
        assert_eq!(keys.iter().collect::<Vec<_>>(), [&b""[..], b"a", b"ab", b"b"]);
        assert_eq!(keys.iter().next_back(), Some(&b"b"[..]));
        assert_eq!((keys.len(), keys.byte_len()), (4, 4));
        assert_eq!(
            keys.with(["aa", "b", "c"].map(|key| key.as_bytes().into()).to_vec()),
            list(&["", "a", "aa", "ab", "b", "c"])
        );
        assert_eq!(KeyList::default().with(vec![b"x"[..].into()]), list(&["x"]));
    }

    #[test]
    fn ranges_and_prefixes() {
        let keys = list(&["a", "ab", "abc", "b", "ba"]);
        assert_eq!(keys.starting_with(b"ab").collect::<Vec<_>>(), [&b"ab"[..], b"abc"]);
        assert_eq!(keys.in_range(&KeyRange::exactly(b"ab")).count(), 1);
        assert!(keys.any_in(&KeyRange::prefix(b"b")) && !keys.any_in(&KeyRange::prefix(b"c")));
        assert!(!keys.any_in(&KeyRange::prefix(b"aa")));
    }

    #[test]
    fn keys_are_added_by_what_they_share() {
        let mut keys = KeyList::default();
        assert_eq!(keys.push_shared(0, b""), Some(()));
        assert_eq!(keys.push_shared(0, b"abc"), Some(()));
        assert_eq!(keys.push_shared(2, b"d"), Some(()));
        assert_eq!(keys, list(&["", "abc", "abd"]));
        assert_eq!(keys.push_shared(4, b"x"), None, "the last one is shorter");
        assert_eq!(keys.push_shared(2, b"a"), None, "it would come before the last one");
        assert_eq!(keys.push_shared(2, b"d"), None, "it is there already");
    }
}

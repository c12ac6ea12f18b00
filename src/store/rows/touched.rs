//! What the recent commits of a tenant touched: to tell whether a decision that rests on a range of keys still holds.

use crate::clock::Micros;
use crate::key::KeyList;
use crate::key::last_updated::{ALL, last_updated_key};
use crate::store::{Guard, Position};
use std::collections::VecDeque;

/// Bytes of keys that are remembered for each tenant.
const REMEMBERED_BYTES: usize = 8 * 1024 * 1024;
/// What a key list costs beside its bytes, about.
const LIST_COST: usize = 64;

/// The keys of one type that a commit touched: those of old and of new versions.
#[derive(Debug, Default)]
pub(in crate::store) struct TouchedType {
    pub type_name: Box<str>,
    pub lists: Vec<KeyList>,
    /// The times whose `_lastUpdated` keys were touched.
    pub times: Vec<Micros>,
}

impl TouchedType {
    fn is_hit(&self, guard: &Guard) -> bool {
        *self.type_name == *guard.type_name
            && (guard.range.holds(ALL)
                || self.lists.iter().any(|list| list.any_in(&guard.range))
                || self.times.iter().map(|time| last_updated_key(*time)).any(|key| guard.range.holds(&key)))
    }

    fn cost(&self) -> usize {
        let bytes: usize = self.lists.iter().map(|list| list.byte_len() + 4 * list.len()).sum();
        bytes + LIST_COST * (self.lists.len() + 1)
    }
}

#[derive(Debug)]
struct Entry {
    time: Micros,
    types: Vec<TouchedType>,
    cost: usize,
}

/// The recent commits of one tenant, as far back as memory allows.
#[derive(Debug)]
pub(in crate::store) struct Touched {
    entries: VecDeque<Entry>,
    bytes: usize,
    /// Everything after this time is remembered.
    since: Micros,
}

impl Touched {
    /// Remembers everything after `since`.
    pub(in crate::store) const fn since(since: Micros) -> Self {
        Self { entries: VecDeque::new(), bytes: 0, since }
    }

    pub(in crate::store) fn add(&mut self, time: Micros, types: Vec<TouchedType>) {
        let cost = types.iter().map(TouchedType::cost).sum();
        self.bytes += cost;
        self.entries.push_back(Entry { time, types, cost });
        while self.bytes > REMEMBERED_BYTES {
            let Some(oldest) = self.entries.pop_front() else { break };
            self.bytes -= oldest.cost;
            self.since = oldest.time;
        }
    }

    /// Whether any guard was touched after `position`, or that can't be told any more.
    pub(in crate::store) fn is_hit(&self, guards: &[Guard], position: Position) -> bool {
        if guards.is_empty() {
            return false;
        }
        let later = self.entries.iter().rev().take_while(|entry| entry.time > position);
        position < self.since
            || later.flat_map(|entry| &entry.types).any(|touched| guards.iter().any(|guard| touched.is_hit(guard)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::KeyRange;

    fn touch(key: &[u8]) -> Vec<TouchedType> {
        vec![TouchedType {
            type_name: "Patient".into(),
            lists: vec![KeyList::new(vec![key.into()])],
            times: vec![Micros(5)],
        }]
    }

    fn guard(type_name: &str, key: &[u8]) -> [Guard; 1] {
        [Guard { type_name: type_name.into(), range: KeyRange::exactly(key) }]
    }

    #[test]
    fn only_later_commits_of_the_type_and_range_hit() {
        let mut touched = Touched::since(Micros(0));
        touched.add(Micros(10), touch(b"a"));
        assert!(touched.is_hit(&guard("Patient", b"a"), Micros(9)));
        assert!(!touched.is_hit(&guard("Patient", b"a"), Micros(10)));
        assert!(!touched.is_hit(&guard("Patient", b"b"), Micros(9)));
        assert!(!touched.is_hit(&guard("Group", b"a"), Micros(9)));
        assert!(touched.is_hit(&guard("Patient", ALL), Micros(9)));
        assert!(touched.is_hit(&guard("Patient", &last_updated_key(Micros(5))), Micros(9)));
        assert!(touched.is_hit(&guard("Patient", b"b"), Micros(-1)), "too old to tell");
        assert!(!touched.is_hit(&[], Micros(-1)));
    }

    #[test]
    fn memory_is_bounded_and_what_was_forgotten_counts_as_touched() {
        let mut touched = Touched::since(Micros(0));
        for time in 1..=20 {
            touched.add(Micros(time), touch(&vec![1; 1024 * 1024]));
        }
        assert!(touched.bytes <= REMEMBERED_BYTES);
        assert!(touched.is_hit(&guard("Patient", b"x"), Micros(5)));
        assert!(!touched.is_hit(&guard("Patient", b"x"), Micros(19)));
    }
}

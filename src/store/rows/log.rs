//! The change log: one list of entries for each commit under its tenant, and one under each type it touched.

use super::{layout, varint};
use crate::clock::Micros;
use crate::store::{LogEntry, Rid, StoreError, StoreResult};
use crate::tenant::TenantId;

/// Longer lists are split, so that a page of the log never reads much more than it shows.
const MOST: usize = 512;

/// The log entries of one commit, ready to be written.
#[derive(Debug, Default)]
pub(in crate::store) struct LogOfCommit {
    scopes: Vec<(Box<str>, Vec<LogEntry>)>,
}

impl LogOfCommit {
    /// Adds an entry to the log of the tenant and to that of the type.
    pub(in crate::store) fn add(&mut self, type_name: &str, entry: &LogEntry) {
        for scope in ["", type_name] {
            match self.scopes.iter_mut().find(|(name, _)| **name == *scope) {
                Some((_, entries)) => entries.push(entry.clone()),
                None => self.scopes.push((scope.into(), vec![entry.clone()])),
            }
        }
    }

    /// Keys and values to write.
    pub(in crate::store) fn into_writes(self, tenant: TenantId) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut writes = Vec::new();
        for (scope, entries) in &self.scopes {
            for chunk in entries.chunks(MOST) {
                let Some(first) = chunk.first() else { continue };
                writes.push((layout::log(tenant, scope, first.time, first.index), pack(chunk, first.index)));
            }
        }
        writes
    }
}

pub(in crate::store) fn pack(entries: &[LogEntry], first: u32) -> Vec<u8> {
    let mut out = Vec::with_capacity(entries.len() * 5);
    for entry in entries {
        varint::push(u64::from(entry.index - first), &mut out);
        varint::push(entry.rid.0, &mut out);
        varint::push(entry.version, &mut out);
    }
    out
}

/// The entries of one list, in order.
pub(in crate::store) fn unpack(key: &[u8], mut value: &[u8]) -> StoreResult<Vec<LogEntry>> {
    let mut read = || -> Option<Vec<LogEntry>> {
        let (time, first) = layout::log_place(key)?;
        let mut entries = Vec::new();
        while !value.is_empty() {
            let index = first.checked_add(u32::try_from(varint::take(&mut value)?).ok()?)?;
            let rid = Rid(varint::take(&mut value)?);
            entries.push(LogEntry { time, index, rid, version: varint::take(&mut value)? });
        }
        Some(entries)
    };
    read().ok_or_else(|| StoreError::Damaged("an entry of the change log".into()))
}

/// Reads a scope's lists backwards.
pub(in crate::store) struct LogBack<L> {
    lists: L,
    /// Of the list being read, what comes next stands last.
    entries: Vec<LogEntry>,
    before: (Micros, u32),
}

impl<L: Iterator<Item = StoreResult<(K, V)>>, K: AsRef<[u8]>, V: AsRef<[u8]>> LogBack<L> {
    /// `lists` are those whose key lies before `before`, the last first.
    pub(in crate::store) const fn new(lists: L, before: (Micros, u32)) -> Self {
        Self { lists, entries: Vec::new(), before }
    }

    fn next_list(&mut self) -> Option<StoreResult<Vec<LogEntry>>> {
        Some(self.lists.next()?.and_then(|(key, value)| unpack(key.as_ref(), value.as_ref())))
    }
}

impl<L: Iterator<Item = StoreResult<(K, V)>>, K: AsRef<[u8]>, V: AsRef<[u8]>> Iterator for LogBack<L> {
    type Item = StoreResult<LogEntry>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.entries.pop() {
                Some(entry) if (entry.time, entry.index) < self.before => return Some(Ok(entry)),
                Some(_) => {}
                None => match self.next_list()? {
                    Ok(entries) => self.entries = entries,
                    Err(error) => return Some(Err(error)),
                },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_split_and_come_back() {
        let mut log = LogOfCommit::default();
        let entry = |index| LogEntry { time: Micros(9), index, rid: Rid(u64::from(index) * 7), version: 3 };
        for index in 0..1200 {
            log.add(if index % 2 == 0 { "Patient" } else { "Group" }, &entry(index));
        }
        let writes = log.into_writes(TenantId(1));
        assert_eq!(writes.len(), 3 + 2 + 2);
        let all: Vec<_> = writes
            .iter()
            .filter(|(key, _)| key.starts_with(&layout::log_scope(TenantId(1), "")))
            .flat_map(|(key, value)| unpack(key, value).unwrap())
            .collect();
        assert_eq!(all, (0..1200).map(entry).collect::<Vec<_>>());
        assert!(unpack(&writes[0].0, &[0x80]).is_err());
    }
}

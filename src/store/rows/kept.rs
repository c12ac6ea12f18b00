//! Records that are no resources: how they are kept, read, changed, and erased when they have expired.
//!
//! A value is a plain header, `format version has-expiry [expiry]`, and sealed after it the content, bound to the header and to
//! the whole key: a record that was moved does not open. One with a time of expiry has an entry in the index of expiry, which is
//! written and removed with it. Both tables are in the keyspace `records`, and a group of commits writes them in its batch.

use super::{Rows, Table, Writes, layout, varint};
use crate::auth::keeper::{Epochs, Expect, Keep, Kept};
use crate::clock::{Clock, Micros};
use crate::key::range::after_prefix;
use crate::store::seal::{Place, Purpose, Sealer};
use crate::store::{CommitError, Rid, StoreError, StoreResult};
use crate::tenant::TenantId;
use rustc_hash::{FxHashMap, FxHashSet};

const FORMAT: u8 = 1;
/// Expired records that one group erases; the next one goes on.
pub(in crate::store) const ERASED_TOGETHER: usize = 1000;
/// Rows that are read at once for a list, at most.
const LISTED_TOGETHER: usize = 1000;
/// Later than any record expires.
pub(in crate::store) const NEVER: Micros = Micros(i64::MAX);

/// The plain header of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) struct Header {
    pub version: u64,
    pub expires: Option<Micros>,
}

impl Header {
    fn pack(self, out: &mut Vec<u8>) {
        out.push(FORMAT);
        varint::push(self.version, out);
        out.push(self.expires.is_some().into());
        if let Some(time) = self.expires {
            out.extend_from_slice(&time.0.to_be_bytes());
        }
    }

    /// Reads a header; what follows it is the sealed content.
    pub(in crate::store) fn unpack(value: &[u8]) -> StoreResult<(Self, &[u8])> {
        Self::parse(value).ok_or_else(|| StoreError::Damaged("the header of a kept record".into()))
    }

    fn parse(value: &[u8]) -> Option<(Self, &[u8])> {
        let mut rest = value.strip_prefix(&[FORMAT])?;
        let version = varint::take(&mut rest)?;
        match rest.split_first()? {
            (0, rest) => Some((Self { version, expires: None }, rest)),
            (1, rest) => {
                let (time, rest) = rest.split_first_chunk::<8>()?;
                Some((Self { version, expires: Some(Micros(i64::from_be_bytes(*time))) }, rest))
            }
            _ => None,
        }
    }

    fn is_there(self, now: impl FnOnce() -> Micros) -> bool {
        self.expires.is_none_or(|time| time > now())
    }
}

pub(super) const fn place(tenant: TenantId, version: u64) -> Place {
    Place { purpose: Purpose::Kept, tenant, rid: Rid(0), version }
}

fn seal(
    sealer: &Sealer,
    tenant: TenantId,
    key: &[u8],
    header: Header,
    now: Micros,
    bytes: &[u8],
) -> StoreResult<Vec<u8>> {
    let mut out = key.to_vec();
    header.pack(&mut out);
    sealer.seal(place(tenant, header.version), now, bytes, &mut out)?;
    out.drain(..key.len());
    Ok(out)
}

/// Opens a record, expired or not.
pub(in crate::store) fn open(sealer: &Sealer, tenant: TenantId, key: &[u8], value: &[u8]) -> StoreResult<Kept> {
    let (header, text) = Header::unpack(value)?;
    let bound = [key, value.get(..value.len() - text.len()).unwrap_or_default()].concat();
    let bytes = sealer.open(place(tenant, header.version), &bound, text)?.into_vec();
    let (_, id) = layout::kept_place(key).ok_or_else(|| StoreError::Damaged("the key of a kept record".into()))?;
    Ok(Kept { id: id.into(), version: header.version, expires: header.expires, bytes })
}

/// Reads the records of a tenant as they were at one moment.
pub(in crate::store) struct Reading<'r> {
    pub rows: &'r dyn Rows,
    pub sealer: &'r Sealer,
    pub clock: &'r dyn Clock,
    pub tenant: TenantId,
}

impl Reading<'_> {
    pub(in crate::store) fn get(&self, kind: &str, id: &str) -> StoreResult<Option<Kept>> {
        let key = layout::kept(self.tenant, kind, id);
        let Some(value) = self.rows.get(Table::Records, &key)? else { return Ok(None) };
        self.open_present(&key, &value)
    }

    pub(in crate::store) fn list(
        &self,
        kind: &str,
        prefix: &str,
        after: Option<&str>,
        count: usize,
    ) -> StoreResult<Vec<Kept>> {
        let first = layout::kept(self.tenant, kind, prefix);
        let start = after.map_or_else(Vec::new, |after| [&layout::kept(self.tenant, kind, after)[..], &[0]].concat());
        let mut listed = Vec::new();
        if count == 0 {
            return Ok(listed);
        }
        let (mut from, after) = (start.max(first.clone()), after_prefix(&first));
        loop {
            let most = count.saturating_mul(2).min(LISTED_TOGETHER);
            let rows = self.rows.range(Table::Records, &from, &after, most)?;
            let is_end = rows.len() < most;
            for (key, value) in &rows {
                listed.extend(self.open_present(key, value)?);
                if listed.len() == count {
                    return Ok(listed);
                }
            }
            match rows.into_iter().next_back() {
                Some((last, _)) if !is_end => from = [&last[..], &[0]].concat(),
                _ => return Ok(listed),
            }
        }
    }

    fn open_present(&self, key: &[u8], value: &[u8]) -> StoreResult<Option<Kept>> {
        let is_there = Header::unpack(value)?.0.is_there(|| self.clock.now());
        is_there.then(|| open(self.sealer, self.tenant, key, value)).transpose()
    }
}

/// What a group changes.
pub(in crate::store) struct KeptEdits {
    /// By key, in both tables; `None` removes.
    writes: FxHashMap<Vec<u8>, Option<Vec<u8>>>,
    /// The tenants whose epoch grows when this is written.
    pub renewed: FxHashSet<TenantId>,
    /// When the first of the records written here expires.
    pub first_expiry: Micros,
}

impl Default for KeptEdits {
    fn default() -> Self {
        Self { writes: FxHashMap::default(), renewed: FxHashSet::default(), first_expiry: NEVER }
    }
}

impl KeptEdits {
    pub(in crate::store) fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// Adds all changes, or none if one of them does not find what it expects.
    pub(in crate::store) fn add(
        &mut self,
        rows: &dyn Rows,
        sealer: &Sealer,
        tenant: TenantId,
        changes: &[Keep],
        now: Micros,
    ) -> Result<(), CommitError> {
        let mut checked = Vec::with_capacity(changes.len());
        for (n, change) in changes.iter().enumerate() {
            let key = layout::kept(tenant, change.kind, &change.id);
            let stored = self.header(rows, &key)?;
            let current = stored.filter(|header| header.is_there(|| now)).map(|header| header.version);
            let holds = match change.expect {
                Expect::Any => true,
                Expect::Absent => current.is_none(),
                Expect::Version(version) => current == Some(version),
            };
            if !holds {
                return Err(CommitError::Stale { change: n, current });
            }
            let header = Header { version: current.unwrap_or_default() + 1, expires: change.expires };
            let value =
                change.bytes.as_ref().map(|bytes| seal(sealer, tenant, &key, header, now, bytes)).transpose()?;
            if value.is_some() || current.is_some() {
                checked.push((change, key, stored, value));
            }
        }
        for (change, key, stored, value) in checked {
            if Epochs::counts(change.kind) {
                self.renewed.insert(tenant);
            }
            self.replace(key, stored.and_then(|header| header.expires), change.expires, value);
        }
        Ok(())
    }

    /// Whether the group writes a row.
    pub(super) fn has(&self, key: &[u8]) -> bool {
        self.writes.contains_key(key)
    }

    /// Whether the group writes a record of a tenant.
    pub(super) fn has_of(&self, tenant: TenantId) -> bool {
        self.writes.keys().any(|key| key.starts_with(&tenant.0.to_be_bytes()))
    }

    /// A record's header, as the group left it so far.
    fn header(&self, rows: &dyn Rows, key: &[u8]) -> StoreResult<Option<Header>> {
        let unpack = |value: &[u8]| Header::unpack(value).map(|(header, _)| header);
        if let Some(value) = self.writes.get(key) {
            return value.as_deref().map(unpack).transpose();
        }
        let stored = rows.get(Table::Records, key)?;
        stored.as_deref().map(unpack).transpose()
    }

    fn replace(&mut self, key: Vec<u8>, old: Option<Micros>, new: Option<Micros>, value: Option<Vec<u8>>) {
        if let Some(time) = old {
            self.writes.insert(layout::expiry(time, &key), None);
        }
        if let Some(time) = new.filter(|_| value.is_some()) {
            self.writes.insert(layout::expiry(time, &key), Some(Vec::new()));
            self.first_expiry = self.first_expiry.min(time);
        }
        self.writes.insert(key, value);
    }

    /// Erases what has expired by now, of what was stored before this group; nothing there expires before `from`. Answers
    /// when the next one expires, which is not after `now` where more was found than is erased together.
    pub(in crate::store) fn erase(&mut self, rows: &dyn Rows, from: Micros, now: Micros) -> StoreResult<Micros> {
        let (first, after) = (layout::expiry_from(from), layout::expiry_from(NEVER));
        let entries = rows.range(Table::Records, &first, &after, ERASED_TOGETHER + 1)?;
        for (n, (entry, _)) in entries.into_iter().enumerate() {
            let damaged = || StoreError::Damaged("an entry of the index of expiry".into());
            let (time, key) = layout::expiry_place(&entry).ok_or_else(damaged)?;
            if time > now || n == ERASED_TOGETHER {
                return Ok(time);
            }
            // Else an earlier change of this group gave the record another time, and removes the entry.
            if self.header(rows, key)?.is_some_and(|header| header.expires == Some(time)) {
                self.replace(key.to_vec(), Some(time), None, None);
            }
        }
        Ok(NEVER)
    }

    pub(in crate::store) fn write_to(self, writes: &mut Writes) {
        for (key, value) in self.writes {
            writes.set(Table::Records, key, value);
        }
    }
}

/// When the first record expires, from the index; [`NEVER`] where none does.
pub(in crate::store) fn first_expiry(rows: &dyn Rows) -> StoreResult<Micros> {
    let all = layout::all_expiry();
    let first = rows.range(Table::Records, &all, &after_prefix(&all), 1)?;
    Ok(first.first().and_then(|(key, _)| layout::expiry_place(key)).map_or(NEVER, |(time, _)| time))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_come_back() {
        for expires in [None, Some(Micros(-7)), Some(NEVER)] {
            let header = Header { version: 300, expires };
            let mut value = Vec::new();
            header.pack(&mut value);
            value.extend_from_slice(b"text");
            assert_eq!(Header::unpack(&value).unwrap(), (header, &b"text"[..]));
        }
        for damaged in [&b""[..], b"\x02\x01\x00", b"\x01\x01\x02", b"\x01\x01\x01short"] {
            assert!(Header::unpack(damaged).is_err(), "{damaged:?}");
        }
    }

    #[test]
    fn a_value_opens_under_its_own_key_only() {
        let sealer = Sealer::new(&[1; 32]).unwrap();
        let (tenant, header) = (TenantId(1), Header { version: 2, expires: Some(Micros(9)) });
        let key = layout::kept(tenant, "user", "a");
        let value = seal(&sealer, tenant, &key, header, Micros(0), b"text").unwrap();
        assert!(!value.windows(4).any(|part| part == b"text"));
        let kept = open(&sealer, tenant, &key, &value).unwrap();
        assert_eq!(kept, Kept { id: "a".into(), version: 2, expires: Some(Micros(9)), bytes: b"text".to_vec() });
        for (kind, id) in [("user", "b"), ("users", "a")] {
            assert!(open(&sealer, tenant, &layout::kept(tenant, kind, id), &value).is_err(), "{kind} {id}");
        }
        let other = TenantId(2);
        assert!(open(&sealer, other, &layout::kept(other, "user", "a"), &value).is_err());
        let mut prolonged = value;
        prolonged[10] ^= 1;
        assert_eq!(Header::unpack(&prolonged).unwrap().0, Header { version: 2, expires: Some(Micros(8)) });
        assert!(open(&sealer, tenant, &key, &prolonged).is_err());
    }
}

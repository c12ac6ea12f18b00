//! What other processes have committed: so that a decision which rests on a range of keys holds where their commits touched others.

use super::read::Reading;
use crate::clock::Micros;
use crate::key::KeyList;
use crate::key::range::after_prefix;
use crate::store::rows::record::{Head, Header, keys_of, unpack_history};
use crate::store::rows::touched::{Touched, TouchedType};
use crate::store::rows::{Rows, Table, layout, log};
use crate::store::seal::Sealer;
use crate::store::{LogEntry, Rid, StoreResult};
use crate::tenant::TenantId;

/// Changes that are caught up with; of more it is not told what they touched.
const MOST_CHANGES: usize = 1000;

/// A tenant's changes after a time, read in one transaction.
pub(super) struct CatchUp<'c> {
    pub reading: &'c Reading,
    pub sealer: &'c Sealer,
    pub tenant: TenantId,
}

impl CatchUp<'_> {
    /// Adds what was touched after `since` up to the head. Answers whether that could be told.
    pub(super) fn add_to(&self, touched: &mut Touched, since: Micros, head: Head) -> StoreResult<bool> {
        let Some(entries) = self.changes(since, head)? else { return Ok(false) };
        self.fetch(&entries)?;
        for entry in &entries {
            let Some(own) = self.version(entry.rid, entry.version)? else { return Ok(false) };
            let mut types = TouchedType { type_name: own.type_name, lists: vec![own.keys], times: vec![own.time] };
            if entry.version > 1 {
                let Some(before) = self.version(entry.rid, entry.version - 1)? else { return Ok(false) };
                types.lists.push(before.keys);
                types.times.push(before.time);
            }
            touched.add(entry.time, vec![types]);
        }
        Ok(true)
    }

    /// The log from behind a time on; `None` where it is long, or does not tell all.
    fn changes(&self, since: Micros, head: Head) -> StoreResult<Option<Vec<LogEntry>>> {
        let untold = self.reading.get(Table::Records, &layout::untold(self.tenant))?;
        let untold = untold.as_deref().and_then(|bytes| bytes.try_into().ok()).map(i64::from_be_bytes);
        if untold.is_some_and(|time| Micros(time) > since) || head.time < since {
            return Ok(None);
        }
        let scope = layout::log_scope(self.tenant, "");
        let from = layout::log(self.tenant, "", Micros(since.0.saturating_add(1)), 0);
        let rows = self.reading.range(Table::History, &from, &after_prefix(&scope), MOST_CHANGES + 1)?;
        let mut entries = Vec::with_capacity(rows.len());
        for (key, value) in &rows {
            entries.extend(log::unpack(key, value)?);
        }
        Ok((entries.len() <= MOST_CHANGES).then_some(entries))
    }

    fn fetch(&self, entries: &[LogEntry]) -> StoreResult<()> {
        let current = |entry: &LogEntry| {
            [layout::current(self.tenant, entry.rid).to_vec(), layout::keys(self.tenant, entry.rid).to_vec()]
        };
        let old = |entry: &LogEntry| {
            [entry.version, entry.version - 1].map(|version| layout::history(self.tenant, entry.rid, version))
        };
        self.reading.fetch(Table::Records, entries.iter().flat_map(current))?;
        self.reading.fetch(Table::History, entries.iter().flat_map(old))
    }

    fn version(&self, rid: Rid, version: u64) -> StoreResult<Option<Seen>> {
        let current = self.reading.get(Table::Records, &layout::current(self.tenant, rid))?;
        if let Some(record) = &current
            && Header::unpack(record)?.0.version == version
        {
            let keys = self.reading.get(Table::Records, &layout::keys(self.tenant, rid))?;
            return self.seen(rid, record, keys.as_deref().unwrap_or_default()).map(Some);
        }
        let Some(old) = self.reading.get(Table::History, &layout::history(self.tenant, rid, version))? else {
            return Ok(None);
        };
        let (record, keys) = unpack_history(&old)?;
        self.seen(rid, record, keys).map(Some)
    }

    fn seen(&self, rid: Rid, record: &[u8], keys: &[u8]) -> StoreResult<Seen> {
        let header = Header::unpack(record)?.0;
        let keys = keys_of(self.sealer, self.tenant, rid, &header, keys)?;
        Ok(Seen { type_name: header.type_name.into(), time: header.time, keys })
    }
}

/// What a version touches.
struct Seen {
    type_name: Box<str>,
    time: Micros,
    keys: KeyList,
}

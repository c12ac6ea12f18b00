//! Brings a tenant whose rows were moved in several parts to one moment, or back to an earlier one.
//!
//! Rows that came early may be of resources that were erased since. They go, as do versions that were erased, and what the log tells of them.
//! To go back, the newest version that is old enough becomes the current one again: its row in the history holds what it was.

use super::Target;
use super::content::{Beside, Walk, rid_in};
use crate::clock::Micros;
use crate::store::rows::record::{Header, unpack_history};
use crate::store::rows::{Table, Writes, erase, layout, log};
use crate::store::schema::Stand;
use crate::store::{Rid, StoreError, StoreResult};
use crate::tenant::TenantId;

/// Writes that are made together.
const TOGETHER: usize = 2000;

/// The versions that there are of a resource, the oldest and the current one.
struct Kept {
    rid: Rid,
    oldest: u64,
    current: u64,
}

pub(super) struct Settling<'s> {
    target: &'s dyn Target,
    tenant: TenantId,
    until: Option<Micros>,
    are_marks_sealed: bool,
    kept: Vec<Kept>,
    writes: Writes,
}

/// Settles a tenant: of the resources that are not `living` nothing stays, and of versions after `until` neither. Its rows are of the schema `oldest`
/// and later ones.
pub(super) fn settle(
    target: &dyn Target,
    tenant: TenantId,
    (living, oldest): (&[Rid], u32),
    until: Option<Micros>,
) -> StoreResult<()> {
    let are_marks_sealed = Stand::of(oldest).has_sealed_marks();
    let mut settling =
        Settling { target, tenant, until, are_marks_sealed, kept: Vec::new(), writes: Writes::default() };
    settling.resources(living)?;
    settling.rest()?;
    settling.log()?;
    settling.write(0)
}

impl Settling<'_> {
    fn write(&mut self, at: usize) -> StoreResult<()> {
        if self.writes.all.len() > at { self.target.write(std::mem::take(&mut self.writes)) } else { Ok(()) }
    }

    fn of(&self, rid: Rid) -> Option<&Kept> {
        self.kept.binary_search_by_key(&rid, |kept| kept.rid).ok().and_then(|place| self.kept.get(place))
    }

    /// Decides which version of each resource is the current one. What is not kept is removed by [`Settling::rest`].
    fn resources(&mut self, living: &[Rid]) -> StoreResult<()> {
        let (target, tenant) = (self.target, self.tenant);
        let sealer = target.ring().sealer();
        let read = erase::Marks { sealer: &sealer, are_sealed: self.are_marks_sealed };
        let mut marks = Beside::over(target.rows(), Table::Records, &layout::all_erased(tenant));
        for row in Walk::over(target.rows(), Table::Records, &layout::all_current(tenant)) {
            let (key, record) = row?;
            let rid = rid_in(&key);
            let (header, _) = Header::unpack(&record)?;
            let mark = marks.at(&layout::erased(tenant, rid))?;
            // What goes may have a mark under a key that is gone as well.
            let is_living = living.binary_search(&rid).is_ok();
            let oldest = if is_living { read.oldest(tenant, rid, mark.as_deref())? } else { 1 };
            let is_late = self.until.is_some_and(|until| header.time > until);
            let current = match is_late {
                _ if !is_living => None,
                true => self.go_back(rid, oldest)?,
                false => Some(header.version),
            };
            match current {
                Some(current) => {
                    // It was erased after a later version was made, which is not here.
                    if oldest > current {
                        let place = erase::mark_place(tenant, rid, current);
                        let mark = erase::mark(&sealer, place, header.time)?;
                        self.writes.put(Table::Records, layout::erased(tenant, rid), mark);
                    }
                    self.kept.push(Kept { rid, oldest: oldest.min(current), current });
                }
                None => self.writes.remove(Table::Records, key),
            }
            if header.body.is_none() && !is_late {
                self.writes.remove(Table::Records, layout::keys(tenant, rid));
            }
            self.write(TOGETHER)?;
        }
        self.write(0)
    }

    /// Makes the newest version that is old enough the current one; answers which that is.
    fn go_back(&mut self, rid: Rid, oldest: u64) -> StoreResult<Option<u64>> {
        let (tenant, until) = (self.tenant, self.until.unwrap_or(Micros(i64::MAX)));
        let (first, after) = (layout::history(tenant, rid, oldest), layout::history(tenant, rid, u64::MAX));
        let mut after = after;
        while let Some((key, value)) = self.target.rows().range_back(Table::History, &first, &after, 1)?.pop() {
            let (record, keys) = unpack_history(&value)?;
            let (header, _) = Header::unpack(record)?;
            if header.time <= until {
                self.writes.put(Table::Records, layout::current(tenant, rid), record);
                let keys = (!keys.is_empty()).then(|| keys.to_vec());
                self.writes.set(Table::Records, layout::keys(tenant, rid), keys);
                return Ok(Some(header.version));
            }
            after = key;
        }
        Ok(None)
    }

    /// Removes what belongs to no resource or version that is kept.
    fn rest(&mut self) -> StoreResult<()> {
        let (rows, tenant) = (self.target.rows(), self.tenant);
        for prefix in [layout::all_keys(tenant), layout::all_erased(tenant)] {
            for row in Walk::over(rows, Table::Records, &prefix) {
                let (key, _) = row?;
                if self.of(rid_in(&key)).is_none() {
                    self.writes.remove(Table::Records, key);
                }
                self.write(TOGETHER)?;
            }
        }
        for row in Walk::over(rows, Table::History, &layout::all_history(tenant)) {
            let (key, _) = row?;
            let (resource, version) = key.split_last_chunk::<8>().ok_or_else(damaged)?;
            let version = u64::from_be_bytes(*version);
            let is_kept = |kept: &Kept| (kept.oldest..kept.current).contains(&version);
            if !self.of(rid_in(resource)).is_some_and(is_kept) {
                self.writes.remove(Table::History, key);
            }
            self.write(TOGETHER)?;
        }
        self.write(0)
    }

    /// Takes out of the log what tells of versions that are not kept.
    fn log(&mut self) -> StoreResult<()> {
        for row in Walk::over(self.target.rows(), Table::History, &layout::all_log(self.tenant)) {
            let (key, value) = row?;
            let mut entries = log::unpack(&key, &value)?;
            let before = entries.len();
            let is_kept = |kept: &Kept, version| (kept.oldest..=kept.current).contains(&version);
            entries.retain(|entry| self.of(entry.rid).is_some_and(|kept| is_kept(kept, entry.version)));
            let (_, first) = layout::log_place(&key).ok_or_else(damaged)?;
            if entries.is_empty() {
                self.writes.remove(Table::History, key);
            } else if entries.len() < before {
                self.writes.put(Table::History, key, log::pack(&entries, first));
            }
            self.write(TOGETHER)?;
        }
        Ok(())
    }
}

fn damaged() -> StoreError {
    StoreError::Damaged("a row of the history".into())
}

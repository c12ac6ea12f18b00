//! What a group seals anew, and what it removes of a tenant whose keys were destroyed.

use super::{Group, Prepared};
use crate::clock::Micros;
use crate::store::rows::sealing::{parts, resealed, resource_of, rows_of};
use crate::store::rows::{self, Table};
use crate::store::{Committed, Rid, StoreResult, Written};
use crate::tenant::TenantId;
use rustc_hash::FxHashSet;

/// Rows of a tenant that one group removes.
const REMOVED_TOGETHER: usize = 5_000;

/// A row; no value removes.
pub(super) type Row = (Table, Vec<u8>, Option<Vec<u8>>);

impl Prepared {
    /// What removes a tenant whose keys were destroyed.
    pub(in crate::store) fn with_removal(tenant: TenantId) -> Self {
        Self { is_removal: true, ..Self::of(tenant) }
    }
}

impl Group<'_> {
    pub(super) fn has_no_sealing(&self) -> bool {
        self.reseals.is_empty() && self.removals.is_empty()
    }

    /// Forgets the keys of a tenant and removes as much of it as goes into a group. Answers with something written where there may be more.
    pub(super) fn remove(&mut self, tenant: TenantId, now: Micros) -> StoreResult<Committed> {
        self.sealer.set(tenant, Vec::new());
        // What earlier commits of this group write is there for the next one to remove.
        let is_busy = self.changed.contains(&tenant) || self.kept.has_of(tenant);
        let rows = if is_busy { Vec::new() } else { rows_of(self.rows, tenant, REMOVED_TOGETHER)? };
        let is_done = !is_busy && rows.is_empty();
        self.lanes.remove(&tenant);
        self.removals.extend(rows.into_iter().map(|(table, key)| (table, key, None)));
        let more = Written { rid: None, version: 0, created: false, changed: true };
        Ok(Committed { time: now, written: if is_done { Vec::new() } else { vec![more] } })
    }

    /// All that is sealed anew, or written in a newer form, or removed. What the group writes by itself is under the newest key already.
    pub(super) fn sealing(&mut self) -> StoreResult<Vec<Row>> {
        let mut rows = std::mem::take(&mut self.removals);
        rows.retain(|(_, key, _)| !self.kept.has(key));
        let reseals = std::mem::take(&mut self.reseals);
        if reseals.is_empty() {
            return Ok(rows);
        }
        let tenant_in = |key: &[u8]| key.first_chunk::<4>().map(|bytes| TenantId(u32::from_be_bytes(*bytes)));
        let is_changed = |(key, state): (&Vec<u8>, &super::State)| Some((tenant_in(key)?, state.rid));
        let changed = self.states.iter().filter(|(_, state)| state.is_changed);
        let changed: FxHashSet<(TenantId, Rid)> = changed.filter_map(is_changed).collect();
        for (tenant, name) in reseals {
            let (table, key) = parts(&name)?;
            let is_written = |rid| changed.contains(&(tenant, rid)) || self.erasures.has_touched(tenant, rid);
            if self.kept.has(key) || resource_of(key).is_some_and(is_written) {
                continue;
            }
            let Some(value) = self.rows.get(table, key)? else { continue };
            match self.renewed(tenant, table, &(key.to_vec(), value)) {
                Ok(Some(new)) => rows.push((table, key.to_vec(), Some(new))),
                Ok(None) => {}
                Err(error) => tracing::error!(%error, "a value can't be sealed anew; `pharos check` names it"),
            }
        }
        Ok(rows)
    }

    /// A row in the form of now and under the newest key; `None` where it is so already.
    fn renewed(&self, tenant: TenantId, table: Table, row: &rows::Row) -> StoreResult<Option<Vec<u8>>> {
        let rewritten = self.schema.rewritten(self.sealer, tenant, table, row)?;
        let (key, value) = row;
        let known = rewritten.as_ref().unwrap_or(value);
        Ok(resealed(self.sealer, tenant, key, known)?.or(rewritten))
    }
}

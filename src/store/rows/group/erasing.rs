//! Erasures and kept records in a group: checked before the group changes, so that a commit is in it whole or not at all.

use super::{Group, Prepared, Writing};
use crate::clock::Micros;
use crate::store::rows::erase::{self, Planned};
use crate::store::rows::postings::Scope;
use crate::store::rows::record::{Header, keys_of};
use crate::store::rows::{Table, layout};
use crate::store::{CommitError, Erasure, Extent, Rid, StoreResult};
use rustc_hash::FxHashSet;

impl Group<'_> {
    /// Adds the changes of kept records, or none of them.
    pub(super) fn keep(&mut self, commit: &Prepared, now: Micros) -> Result<(), CommitError> {
        let before = commit.changes.len() + commit.erasures.len();
        let kept = self.kept.add(self.rows, self.sealer, commit.commit_of, &commit.keeps, now);
        kept.map_err(|error| match error {
            CommitError::Stale { change, current } => CommitError::Stale { change: before + change, current },
            other => other,
        })
    }

    /// Checks the erasures of a commit and reads all that they need. What an earlier commit of the group changed is decided on anew.
    pub(super) fn plan(&self, commit: &Prepared) -> Result<Vec<Planned>, CommitError> {
        let tenant = commit.commit_of;
        let mut seen: FxHashSet<_> =
            commit.changes.iter().map(|(change, _)| layout::id(tenant, &change.type_name, &change.id)).collect();
        let mut all = Vec::with_capacity(commit.erasures.len());
        for (n, erasure) in commit.erasures.iter().enumerate() {
            let id_key = layout::id(tenant, &erasure.type_name, &erasure.id);
            let old = self.state(tenant, &id_key)?;
            let header = old.as_ref().map(|old| Header::unpack(&old.record)).transpose()?.map(|(header, _)| header);
            let (Some(old), Some(header)) = (&old, header) else {
                return Err(CommitError::Stale { change: commit.changes.len() + n, current: None });
            };
            let holds = match erasure.extent {
                Extent::Whole { version } => header.version == version,
                Extent::Before(version) => version <= header.version,
            };
            let is_free = !old.is_changed && !self.erasures.has_touched(tenant, old.rid) && seen.insert(id_key.clone());
            if !holds || !is_free {
                return Err(CommitError::Stale { change: commit.changes.len() + n, current: Some(header.version) });
            }
            let (before, live) = match erasure.extent {
                Extent::Whole { .. } if header.body.is_some() => {
                    let keys = keys_of(self.sealer, tenant, old.rid, &header, &old.keys)?;
                    (header.version, Some((header.time, keys)))
                }
                Extent::Whole { .. } => (header.version, None),
                Extent::Before(version) => (version, None),
            };
            let mark = self.rows.get(Table::Records, &layout::erased(tenant, old.rid))?;
            let oldest = match self.marks.oldest(tenant, old.rid, mark.as_deref()) {
                // All goes, whatever somebody has put there.
                Err(_) if matches!(erasure.extent, Extent::Whole { .. }) => 1,
                oldest => oldest?,
            };
            let mut versions = Vec::new();
            if oldest < before {
                versions = erase::old_versions(self.rows, tenant, old.rid, oldest..before)?;
            }
            if matches!(erasure.extent, Extent::Whole { .. }) {
                versions.push((header.version, header.time));
            }
            let base = Rid(old.rid.0.saturating_sub(header.after_base));
            let Erasure { type_name, extent, .. } = erasure.clone();
            all.push(Planned { id_key, rid: old.rid, base, type_name, extent, oldest, live, versions });
        }
        Ok(all)
    }

    pub(super) fn erase(&mut self, writing: &mut Writing, mut planned: Planned) -> StoreResult<()> {
        let tenant = writing.tenant;
        if let Some((time, keys)) = planned.live.take() {
            let index = self.index(tenant)?;
            let generation = self.lane(tenant)?.head.generation;
            let scope = Scope { tenant, generation, type_name: &planned.type_name, base: planned.base };
            let before = index.before(&planned.type_name, &keys);
            self.postings.replace(scope, false, planned.rid, writing.time, &before, None);
            writing.touch(&planned.type_name, Some(time), keys, None);
        }
        self.erasures.add(tenant, writing.time, planned);
        Ok(())
    }
}

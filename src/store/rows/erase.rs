//! What a group erases: versions of resources, or resources whole, with all that leads to them.
//!
//! Of a whole resource its record, key list, id, postings, old versions and their entries of the change log go; nothing stays. Where
//! only old versions go, the mark `erased` tells from which version on they are there, so that the check can tell what was
//! erased from what was lost. The mark is that version, and sealed behind it nothing: who has no key can't make one. All keys are removed in the group's batch: the bytes leave the files when the database next
//! compacts them.

use super::record::{Header, unpack_history};
use super::sealing::resource_of;
use super::{Rows, Table, Writes, layout, log, varint};
use crate::clock::Micros;
use crate::key::KeyList;
use crate::store::schema::SEALED_MARKS;
use crate::store::seal::{OVERHEAD, Place, Purpose, Sealer};
use crate::store::{Extent, Rid, StoreError, StoreResult};
use crate::tenant::TenantId;
use rustc_hash::{FxHashMap, FxHashSet};
use std::ops::Range;

/// An erasure whose preconditions hold, with all that it needs: nothing can fail after this.
pub(in crate::store) struct Planned {
    pub id_key: Vec<u8>,
    pub rid: Rid,
    pub base: Rid,
    pub type_name: Box<str>,
    pub extent: Extent,
    /// The oldest version that was there so far.
    pub oldest: u64,
    /// Time and keys of the current version, where it is live and goes too.
    pub live: Option<(Micros, KeyList)>,
    /// Numbers and times of the versions that go.
    pub versions: Vec<(u64, Micros)>,
}

/// The change log of one commit in one scope.
type Logged = (TenantId, Box<str>, Micros);

/// What a group erases.
#[derive(Default)]
pub(in crate::store) struct Erasures {
    /// The resources that something was erased of.
    touched: FxHashSet<(TenantId, Rid)>,
    /// Those that were erased whole, by the key of their id.
    whole: FxHashMap<Vec<u8>, (TenantId, Rid)>,
    old_versions: Vec<Vec<u8>>,
    /// Marks, and when they were made.
    oldest: Vec<(Place, Micros)>,
    log: FxHashMap<Logged, FxHashSet<(Rid, u64)>>,
}

impl Erasures {
    /// Whether the resource of this id is gone, unless the group made another one since.
    pub(in crate::store) fn is_gone(&self, id_key: &[u8]) -> bool {
        self.whole.contains_key(id_key)
    }

    /// Whether the group erased of this resource already.
    pub(in crate::store) fn has_touched(&self, tenant: TenantId, rid: Rid) -> bool {
        self.touched.contains(&(tenant, rid))
    }

    /// The keys of the ids that are gone.
    pub(in crate::store) fn gone(&self) -> Vec<Vec<u8>> {
        self.whole.keys().cloned().collect()
    }

    pub(in crate::store) fn add(&mut self, tenant: TenantId, now: Micros, planned: Planned) {
        let Planned { id_key, rid, type_name, extent, oldest, versions, .. } = planned;
        self.touched.insert((tenant, rid));
        for (version, time) in versions {
            // That of the current version does not stand there, and removing it does nothing.
            self.old_versions.push(layout::history(tenant, rid, version));
            for scope in ["", &*type_name] {
                self.log.entry((tenant, scope.into(), time)).or_default().insert((rid, version));
            }
        }
        match extent {
            Extent::Whole { .. } => drop(self.whole.insert(id_key, (tenant, rid))),
            Extent::Before(version) if version > oldest => self.oldest.push((mark_place(tenant, rid, version), now)),
            Extent::Before(_) => {}
        }
    }

    /// Adds the removals. `is_new` tells for which ids the group made another resource, `schema` in which form to write.
    pub(in crate::store) fn write_to(
        self,
        (rows, sealer, schema): (&dyn Rows, &Sealer, u32),
        is_new: impl Fn(&[u8]) -> bool,
        writes: &mut Writes,
    ) -> StoreResult<()> {
        for (id_key, (tenant, rid)) in self.whole {
            writes.remove(Table::Records, layout::current(tenant, rid));
            writes.remove(Table::Records, layout::keys(tenant, rid));
            writes.remove(Table::Records, layout::erased(tenant, rid));
            if !is_new(&id_key) {
                writes.remove(Table::Index, id_key);
            }
        }
        for key in self.old_versions {
            writes.remove(Table::History, key);
        }
        for (place, time) in self.oldest {
            let value = if schema >= SEALED_MARKS { mark(sealer, place, time)? } else { plain_mark(place.version) };
            writes.put(Table::Records, layout::erased(place.tenant, place.rid), value);
        }
        for ((tenant, scope, time), erased) in self.log {
            let (first, after) =
                (layout::log(tenant, &scope, time, 0), layout::log(tenant, &scope, Micros(time.0 + 1), 0));
            for (key, value) in rows.range(Table::History, &first, &after, usize::MAX)? {
                // One that can't be read stays as it is, and the check names it.
                let Ok(mut entries) = log::unpack(&key, &value) else { continue };
                let before = entries.len();
                entries.retain(|entry| !erased.contains(&(entry.rid, entry.version)));
                match layout::log_place(&key) {
                    _ if entries.len() == before => {}
                    Some((_, first)) if !entries.is_empty() => {
                        writes.put(Table::History, key, log::pack(&entries, first));
                    }
                    _ => writes.remove(Table::History, key),
                }
            }
        }
        Ok(())
    }
}

/// Numbers and times of those of some versions of a resource that are among the old ones.
pub(in crate::store) fn old_versions(
    rows: &dyn Rows,
    tenant: TenantId,
    rid: Rid,
    versions: Range<u64>,
) -> StoreResult<Vec<(u64, Micros)>> {
    let mut found = Vec::new();
    for version in versions {
        let Some(value) = rows.get(Table::History, &layout::history(tenant, rid, version))? else { continue };
        let (record, _) = unpack_history(&value)?;
        found.push((version, Header::unpack(record)?.0.time));
    }
    Ok(found)
}

/// The value of the mark that tells which version is the oldest that was not erased.
pub(in crate::store) fn mark(sealer: &Sealer, place: Place, time: Micros) -> StoreResult<Vec<u8>> {
    let mut value = plain_mark(place.version);
    sealer.seal(place, time, &[], &mut value)?;
    Ok(value)
}

/// The same as it was before [`SEALED_MARKS`].
fn plain_mark(version: u64) -> Vec<u8> {
    let mut value = Vec::with_capacity(8 + OVERHEAD);
    varint::push(version, &mut value);
    value
}

/// The oldest version that was not erased, as a mark says, whoever made it: see [`Marks::oldest`].
pub(in crate::store) fn oldest(mark: Option<&[u8]>) -> StoreResult<u64> {
    mark.map_or(Ok(1), |mark| split_mark(mark).map(|(oldest, _)| oldest))
}

/// By what marks are believed.
#[derive(Debug, Clone, Copy)]
pub(in crate::store) struct Marks<'m> {
    pub sealer: &'m Sealer,
    /// Whether none may be plain: [`crate::store::schema::Stand::has_sealed_marks`], of a time before the rows are read.
    pub are_sealed: bool,
}

impl Marks<'_> {
    /// The oldest version of a resource that was not erased, by its mark. One that does not open is damage, as is one that is plain where all are sealed:
    /// it was made by who has no key.
    pub(in crate::store) fn oldest(self, tenant: TenantId, rid: Rid, mark: Option<&[u8]>) -> StoreResult<u64> {
        let Some(mark) = mark else { return Ok(1) };
        let (oldest, sealed) = split_mark(mark)?;
        if self.are_sealed || !sealed.is_empty() {
            let header = mark.get(..mark.len() - sealed.len()).unwrap_or_default();
            self.sealer.open(mark_place(tenant, rid, oldest), header, sealed)?;
        }
        Ok(oldest)
    }
}

/// The resource of which a row is the mark of erased versions, without a seal.
pub(in crate::store) fn of_plain_mark(table: Table, key: &[u8], value: &[u8]) -> Option<Rid> {
    let is_mark = table == Table::Records && key.get(4) == Some(&layout::ERASED);
    let is_plain = || split_mark(value).is_ok_and(|(_, sealed)| sealed.is_empty());
    if is_mark && is_plain() { resource_of(key) } else { None }
}

pub(in crate::store) const fn mark_place(tenant: TenantId, rid: Rid, oldest: u64) -> Place {
    Place { purpose: Purpose::Erased, tenant, rid, version: oldest }
}

/// What a mark says, and what is sealed behind it: nothing before [`SEALED_MARKS`].
pub(super) fn split_mark(mark: &[u8]) -> StoreResult<(u64, &[u8])> {
    let mut rest = mark;
    let oldest = varint::take(&mut rest).ok_or_else(damaged_mark)?;
    Ok((oldest, rest))
}

/// A mark with its seal; `None` where it has one. Such seals are of one epoch: they are few.
pub(super) fn sealed_mark(sealer: &Sealer, tenant: TenantId, key: &[u8], mark: &[u8]) -> StoreResult<Option<Vec<u8>>> {
    let (oldest, sealed) = split_mark(mark)?;
    if !sealed.is_empty() {
        return Ok(None);
    }
    let rid = resource_of(key).ok_or_else(damaged_mark)?;
    let mut value = mark.to_vec();
    sealer.seal(mark_place(tenant, rid, oldest), Micros(0), &[], &mut value)?;
    Ok(Some(value))
}

fn damaged_mark() -> StoreError {
    StoreError::Damaged("the mark of erased versions".into())
}

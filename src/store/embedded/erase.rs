//! What a group erases: versions of resources, or resources whole, with all that leads to them.
//!
//! Of a whole resource its record, key list, id, postings, old versions and their entries of the change log go; nothing stays. Where
//! only old versions go, the mark `erased` tells from which version on they are there, so that the check can tell what was
//! erased from what was lost. All keys are removed in the group's batch: the bytes leave the files when the database next
//! compacts them.

use super::record::{Header, unpack_history};
use super::tables::{Tables, failed};
use super::varint;
use super::{layout, log};
use crate::clock::Micros;
use crate::key::KeyList;
use crate::store::{Extent, Rid, StoreError, StoreResult};
use crate::tenant::TenantId;
use fjall::OwnedWriteBatch;
use rustc_hash::{FxHashMap, FxHashSet};

/// An erasure whose preconditions hold, with all that it needs: nothing can fail after this.
pub(super) struct Planned {
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
pub(super) struct Erasures {
    /// The resources that something was erased of.
    touched: FxHashSet<(TenantId, Rid)>,
    /// Those that were erased whole, by the key of their id.
    whole: FxHashMap<Vec<u8>, (TenantId, Rid)>,
    old_versions: Vec<Vec<u8>>,
    oldest: Vec<([u8; 13], u64)>,
    log: FxHashMap<Logged, FxHashSet<(Rid, u64)>>,
}

impl Erasures {
    /// Whether the resource of this id is gone, unless the group made another one since.
    pub(super) fn is_gone(&self, id_key: &[u8]) -> bool {
        self.whole.contains_key(id_key)
    }

    /// Whether the group erased of this resource already.
    pub(super) fn has_touched(&self, tenant: TenantId, rid: Rid) -> bool {
        self.touched.contains(&(tenant, rid))
    }

    /// The keys of the ids that are gone.
    pub(super) fn gone(&self) -> Vec<Vec<u8>> {
        self.whole.keys().cloned().collect()
    }

    pub(super) fn add(&mut self, tenant: TenantId, planned: Planned) {
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
            Extent::Before(version) if version > oldest => self.oldest.push((layout::erased(tenant, rid), version)),
            Extent::Before(_) => {}
        }
    }

    /// Adds the removals to a batch. `is_new` tells for which ids the group made another resource.
    pub(super) fn write_to(
        self,
        tables: &Tables,
        is_new: impl Fn(&[u8]) -> bool,
        batch: &mut OwnedWriteBatch,
    ) -> StoreResult<()> {
        let Tables { records, history, index, .. } = tables;
        for (id_key, (tenant, rid)) in self.whole {
            batch.remove(records, layout::current(tenant, rid));
            batch.remove(records, layout::keys(tenant, rid));
            batch.remove(records, layout::erased(tenant, rid));
            if !is_new(&id_key) {
                batch.remove(index, id_key);
            }
        }
        for key in self.old_versions {
            batch.remove(history, key);
        }
        for (key, version) in self.oldest {
            let mut value = Vec::new();
            varint::push(version, &mut value);
            batch.insert(records, key, value);
        }
        for ((tenant, scope, time), erased) in self.log {
            let lists = layout::log(tenant, &scope, time, 0)..=layout::log(tenant, &scope, time, u32::MAX);
            for list in history.range(lists) {
                let (key, value) = list.into_inner().map_err(|error| failed(&error))?;
                // One that can't be read stays as it is, and the check names it.
                let Ok(mut entries) = log::unpack(&key, &value) else { continue };
                let before = entries.len();
                entries.retain(|entry| !erased.contains(&(entry.rid, entry.version)));
                match layout::log_place(&key) {
                    _ if entries.len() == before => {}
                    Some((_, first)) if !entries.is_empty() => batch.insert(history, key, log::pack(&entries, first)),
                    _ => batch.remove(history, key),
                }
            }
        }
        Ok(())
    }
}

/// Numbers and times of the old versions of a resource before one of them.
pub(super) fn old_versions(
    tables: &Tables,
    tenant: TenantId,
    rid: Rid,
    before: u64,
) -> StoreResult<Vec<(u64, Micros)>> {
    let rows = layout::history(tenant, rid, 0)..layout::history(tenant, rid, before);
    let read = |row: fjall::Guard| {
        let (key, value) = row.into_inner().map_err(|error| failed(&error))?;
        let number = key.strip_prefix(&layout::history_of(tenant, rid)[..]).and_then(|number| number.try_into().ok());
        let number =
            number.map(u64::from_be_bytes).ok_or_else(|| StoreError::Damaged("the key of a version".into()))?;
        let (record, _) = unpack_history(&value)?;
        Ok((number, Header::unpack(record)?.0.time))
    };
    tables.history.range(rows).map(read).collect()
}

/// The oldest version that was not erased, by the value of its mark.
pub(super) fn oldest(mark: Option<&[u8]>) -> StoreResult<u64> {
    let Some(mut mark) = mark else { return Ok(1) };
    varint::take(&mut mark).ok_or_else(|| StoreError::Damaged("the mark of erased versions".into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, FixedClock};
    use crate::store::Backend;
    use crate::store::contract::erase::{before, erase, whole};
    use crate::store::contract::{commit, put};
    use crate::store::embedded::{Embedded, Options, check};
    use std::path::Path;
    use std::sync::Arc;

    /// Whether a file of the store holds these bytes.
    fn holds(folder: &Path, bytes: &[u8]) -> bool {
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).any(|path| {
            if path.is_dir() {
                return holds(&path, bytes);
            }
            memchr::memmem::find(&std::fs::read(path).unwrap(), bytes).is_some()
        })
    }

    #[test]
    fn what_was_erased_leaves_the_files_when_they_are_compacted() {
        let folder = tempfile::tempdir().unwrap();
        let options = Options { free_floor_mib: 0, ..Options::at(folder.path().join("store")) };
        let open = || Embedded::open(options.clone(), FixedClock::at(Micros(0)) as Arc<dyn Clock>).unwrap();
        let (store, tenant) = (open(), TenantId(1));
        // Ids and search keys stand plain in the files.
        for text in ["one", "two"] {
            commit(&store, tenant, vec![put("Basic", "id-that-goes", text, &["k\0key-that-goes"])]).unwrap();
            commit(&store, tenant, vec![put("Basic", "id-that-stays", text, &["k\0key-that-stays"])]).unwrap();
        }
        store.compact().unwrap();
        erase(&store, tenant, vec![whole("Basic", "id-that-goes", 2), before("Basic", "id-that-stays", 2)]).unwrap();
        store.close().unwrap();
        drop(store);
        let is_there = |text: &str| holds(&options.folder, text.as_bytes());
        assert!(is_there("id-that-goes") && is_there("id-that-stays"), "removed, and still in older files");

        let store = open();
        store.compact().unwrap();
        store.close().unwrap();
        drop(store);
        assert!(!is_there("id-that-goes") && !is_there("key-that-goes"));
        assert!(is_there("id-that-stays") && is_there("key-that-stays"));
        assert_eq!(check(&options).unwrap().problems, Vec::<String>::new());
    }
}

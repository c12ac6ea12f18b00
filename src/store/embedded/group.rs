//! One group of commits: checked one after the other, each seeing those before it, then written as one batch.

mod erasing;
mod sealing;

use super::erase::Erasures;
use super::kept::KeptEdits;
use super::ledger::{Fold, Staged, seal_row};
use super::log::LogOfCommit;
use super::postings::{PostingEdits, Scope};
use super::record::{Head, Header, pack_history, pack_keys, pack_patients, seal_keys, seal_record, with_added_keys};
use super::tables::{Tables, failed};
use super::touched::{Touched, TouchedType};
use super::view::{keys_of, rid_of};
use super::{block, layout};
use crate::auth::compartment::patients_of;
use crate::auth::keeper::Keep;
use crate::clock::Micros;
use crate::key::KeyList;
use crate::store::ledger::Entry;
use crate::store::seal::Sealer;
use crate::store::{
    Change, Commit, CommitError, Committed, Content, Erasure, Expect, LogEntry, NewKeys, Rid, StoreError, StoreResult,
    Written,
};
use crate::tenant::TenantId;
use fjall::{OwnedWriteBatch, PersistMode, Slice};
use rustc_hash::{FxHashMap, FxHashSet};
use std::sync::Arc;

/// A commit whose key lists are packed already, which the callers do in parallel.
pub(super) struct Prepared {
    pub commit_of: TenantId,
    pub changes: Vec<(Change, Packed)>,
    pub new_keys: Vec<(NewKeys, Vec<u8>)>,
    pub erasures: Vec<Erasure>,
    pub keeps: Vec<Keep>,
    /// Rows to be sealed under the newest key: see [`super::sealing`].
    pub reseals: Vec<Box<[u8]>>,
    /// Whether all that the tenant has is removed, as much of it as goes into one group; nothing else then.
    pub is_removal: bool,
    pub guards: Vec<crate::store::Guard>,
    pub read_at: Micros,
    /// Recorded if the commit happens.
    pub entry: Option<Entry>,
    /// What the ledger folds; nothing else then.
    pub fold: Option<Arc<Fold>>,
}

/// What is made of the content of a change before it is committed; empty for a deletion.
#[derive(Default)]
pub(super) struct Packed {
    keys: Vec<u8>,
    patients: Vec<u8>,
}

impl From<Commit> for Prepared {
    fn from(commit: Commit) -> Self {
        let pack = |change: Change| {
            let packed = change.content.as_ref().map(|content| Packed {
                keys: pack_keys(&content.keys),
                patients: pack_patients(&patients_of(&change.type_name, &content.keys)),
            });
            (change, packed.unwrap_or_default())
        };
        let changes = commit.changes.into_iter().map(pack).collect();
        let Commit { tenant, erasures, keeps, reseals, guards, read_at, entry, .. } = commit;
        Self { changes, erasures, keeps, reseals, guards, read_at, entry, ..Self::of(tenant) }
    }
}

impl Prepared {
    const fn of(tenant: TenantId) -> Self {
        Self {
            commit_of: tenant,
            changes: Vec::new(),
            new_keys: Vec::new(),
            erasures: Vec::new(),
            keeps: Vec::new(),
            reseals: Vec::new(),
            is_removal: false,
            guards: Vec::new(),
            read_at: Micros(i64::MIN),
            entry: None,
            fold: None,
        }
    }

    /// What makes ledgers longer.
    pub(super) fn with_fold(fold: Arc<Fold>) -> Self {
        Self { fold: Some(fold), ..Self::of(TenantId(0)) }
    }

    /// What replaces search keys only.
    pub(super) fn with_new_keys(tenant: TenantId, new_keys: Vec<NewKeys>) -> Self {
        let pack = |new: NewKeys| {
            let packed = pack_keys(&new.keys);
            (new, packed)
        };
        Self { new_keys: new_keys.into_iter().map(pack).collect(), ..Self::of(tenant) }
    }

    /// What changes records that are no resources, and nothing else.
    pub(super) fn with_kept(tenant: TenantId, keeps: Vec<Keep>) -> Self {
        Self { keeps, ..Self::of(tenant) }
    }

    /// How many resources and other records it touches.
    pub(super) const fn len(&self) -> usize {
        self.changes.len() + self.new_keys.len() + self.erasures.len() + self.keeps.len() + self.reseals.len()
    }

    /// Whether it changes records that are no resources, and nothing else.
    const fn is_of_kept_only(&self) -> bool {
        let has_others = !self.changes.is_empty() || !self.new_keys.is_empty() || !self.erasures.is_empty();
        !has_others && self.reseals.is_empty() && !self.keeps.is_empty()
    }
}

/// What the committer remembers of a tenant between groups.
pub(super) struct Lane {
    pub head: Head,
    pub touched: Touched,
}

/// A resource as the group sees it: as it is stored, or as an earlier commit of the group left it.
#[derive(Clone)]
struct State {
    rid: Rid,
    record: Slice,
    /// The value of the table of keys; empty for a deletion.
    keys: Slice,
    /// Whether the group changed it.
    is_changed: bool,
}

/// A change whose preconditions hold, with what it replaces.
struct Checked {
    id_key: Vec<u8>,
    old: Option<State>,
    old_keys: KeyList,
    /// Whether nothing is to be done.
    is_idle: bool,
}

/// The group being made.
pub(super) struct Group<'c> {
    tables: &'c Tables,
    sealer: &'c Sealer,
    lanes: &'c mut FxHashMap<TenantId, Lane>,
    states: FxHashMap<Vec<u8>, State>,
    history: Vec<(Vec<u8>, Vec<u8>)>,
    new_ids: Vec<(Vec<u8>, Rid)>,
    erasures: Erasures,
    postings: PostingEdits,
    pub kept: KeptEdits,
    /// What the commits record.
    pub staged: Vec<Staged>,
    fold: Option<Arc<Fold>>,
    reseals: Vec<(TenantId, Box<[u8]>)>,
    removals: Vec<sealing::Row>,
    changed: FxHashSet<TenantId>,
    /// The first number that this group gave out.
    bases: FxHashMap<TenantId, Rid>,
}

impl<'c> Group<'c> {
    pub(super) fn new(tables: &'c Tables, sealer: &'c Sealer, lanes: &'c mut FxHashMap<TenantId, Lane>) -> Self {
        Self {
            tables,
            sealer,
            lanes,
            states: FxHashMap::default(),
            history: Vec::new(),
            new_ids: Vec::new(),
            erasures: Erasures::default(),
            postings: PostingEdits::default(),
            kept: KeptEdits::default(),
            staged: Vec::new(),
            fold: None,
            reseals: Vec::new(),
            removals: Vec::new(),
            changed: FxHashSet::default(),
            bases: FxHashMap::default(),
        }
    }

    /// Whether nothing is to be written.
    pub(super) fn is_empty(&self) -> bool {
        self.changed.is_empty()
            && self.kept.is_empty()
            && self.staged.is_empty()
            && self.fold.is_none()
            && self.has_no_sealing()
    }

    /// Checks a commit and, if all holds, adds it to the group. The outer error is one after which the group can't be
    /// written: part of a commit is in it.
    pub(super) fn add(&mut self, commit: Prepared, now: Micros) -> StoreResult<Result<Committed, CommitError>> {
        let tenant = commit.commit_of;
        if tenant == layout::SYSTEM {
            return Ok(Err(StoreError::Closed("this tenant number is the store's own".into()).into()));
        }
        if commit.fold.is_some() {
            self.fold = commit.fold;
            return Ok(Ok(Committed { time: now, written: Vec::new() }));
        }
        if commit.is_removal {
            return self.remove(tenant, now).map(Ok);
        }
        if !self.sealer.has(tenant) {
            return Ok(Err(StoreError::Closed(format!("the keys of tenant {} were destroyed", tenant.0)).into()));
        }
        if commit.is_of_kept_only() {
            let kept = self.keep(&commit, now).map(|()| Committed { time: now, written: Vec::new() });
            if kept.is_ok() {
                self.stage(tenant, commit.entry);
            }
            return Ok(kept);
        }
        let checked = self.check(&commit).and_then(|checked| Ok((checked, self.plan(&commit)?)));
        let (checked, planned) = match checked.and_then(|checked| self.keep(&commit, now).map(|()| checked)) {
            Ok(checked) => checked,
            Err(error) => return Ok(Err(error)),
        };
        let lane = self.lane(tenant)?;
        let time = now.max(Micros(lane.head.time.0.saturating_add(1)));
        let mut writing = Writing { tenant, time, log: LogOfCommit::default(), touched: Vec::new() };
        let mut written = Vec::with_capacity(checked.len());
        let mut is_changed = !planned.is_empty();
        for (index, ((change, packed), checked)) in commit.changes.into_iter().zip(checked).enumerate() {
            is_changed |= !checked.is_idle;
            written.push(self.write(&mut writing, index, change, &packed, checked)?);
        }
        for (new, packed) in commit.new_keys {
            let done = self.replace_keys(&mut writing, &new, &packed)?;
            is_changed |= done.changed;
            written.push(done);
        }
        for planned in planned {
            self.erase(&mut writing, planned)?;
        }
        self.reseals.extend(commit.reseals.into_iter().map(|row| (tenant, row)));
        self.stage(tenant, commit.entry);
        let lane = self.lane(tenant)?;
        lane.head.time = time;
        if is_changed {
            lane.touched.add(time, writing.touched);
            self.changed.insert(tenant);
            self.history.extend(writing.log.into_writes(tenant));
        }
        Ok(Ok(Committed { time, written }))
    }

    /// Lets the ledger have what a commit records.
    fn stage(&mut self, tenant: TenantId, entry: Option<Entry>) {
        self.staged.extend(entry.map(|entry| Staged { tenant, entry, row: Some(0) }));
    }

    fn lane(&mut self, tenant: TenantId) -> StoreResult<&mut Lane> {
        lane(self.tables, self.lanes, tenant)
    }

    /// The keys of the ids that the group makes free.
    pub(super) fn gone(&self) -> Vec<Vec<u8>> {
        self.erasures.gone()
    }

    fn check(&mut self, commit: &Prepared) -> Result<Vec<Checked>, CommitError> {
        let tenant = commit.commit_of;
        if self.lane(tenant)?.touched.is_hit(&commit.guards, commit.read_at) {
            return Err(CommitError::Touched);
        }
        let mut seen = FxHashSet::default();
        let mut all = Vec::with_capacity(commit.changes.len());
        for (n, (change, _)) in commit.changes.iter().enumerate() {
            let id_key = layout::id(tenant, &change.type_name, &change.id);
            let old = self.state(tenant, &id_key)?;
            let header = old.as_ref().map(|old| Header::unpack(&old.record)).transpose()?.map(|(header, _)| header);
            let current = header.map(|header| header.version);
            let holds = match change.expect {
                Expect::Any => true,
                Expect::Absent => current.is_none(),
                Expect::Version(version) => current == Some(version),
            };
            if !holds || !seen.insert(id_key.clone()) {
                return Err(CommitError::Stale { change: n, current });
            }
            let is_live = header.is_some_and(|header| header.body.is_some());
            let old_keys = match (&old, &header) {
                (Some(old), Some(header)) => keys_of(self.sealer, tenant, old.rid, header, &old.keys)?,
                _ => KeyList::default(),
            };
            all.push(Checked { id_key, old, old_keys, is_idle: change.content.is_none() && !is_live });
        }
        Ok(all)
    }

    fn state(&self, tenant: TenantId, id_key: &[u8]) -> StoreResult<Option<State>> {
        if let Some(state) = self.states.get(id_key) {
            return Ok(Some(state.clone()));
        }
        if self.erasures.is_gone(id_key) {
            return Ok(None);
        }
        let get = |keyspace: &fjall::Keyspace, key: &[u8]| keyspace.get(key).map_err(|error| failed(&error));
        let Some(rid) = get(&self.tables.index, id_key)? else { return Ok(None) };
        let rid = rid_of(&rid)?;
        let record = get(&self.tables.records, &layout::current(tenant, rid))?
            .ok_or_else(|| StoreError::Damaged("an id without a record".into()))?;
        let keys = get(&self.tables.records, &layout::keys(tenant, rid))?.unwrap_or_else(|| Slice::from(&[][..]));
        Ok(Some(State { rid, record, keys, is_changed: false }))
    }

    fn write(
        &mut self,
        writing: &mut Writing,
        index: usize,
        change: Change,
        packed: &Packed,
        checked: Checked,
    ) -> StoreResult<Written> {
        let Writing { tenant, time, .. } = *writing;
        let Checked { id_key, old, old_keys, is_idle } = checked;
        let old_header = old.as_ref().map(|old| Header::unpack(&old.record)).transpose()?.map(|(header, _)| header);
        let old_version = old_header.map_or(0, |header| header.version);
        if is_idle {
            let rid = old.map(|old| old.rid);
            return Ok(Written { rid, version: old_version, created: false, changed: false });
        }
        let (rid, base) = match (&old, old_header) {
            (Some(old), Some(header)) => (old.rid, Rid(old.rid.0.saturating_sub(header.after_base))),
            _ => self.new_rid(tenant, &id_key)?,
        };
        let version = old_version + 1;
        let was_live = old_header.is_some_and(|header| header.body.is_some());
        if let Some(old) = &old {
            let key = layout::history(tenant, rid, old_version);
            self.history.push((key, pack_history(&old.record, &old.keys)));
        }
        let header = Header {
            method: change.method,
            version,
            time,
            after_base: rid.0 - base.0,
            type_name: &change.type_name,
            id: &change.id,
            body: change.content.as_ref().map(|content| (content.body.splice, content.body.plain_len)),
            patients: match (&change.content, old_header) {
                (None, Some(old)) => old.patients,
                _ => &packed.patients,
            },
        };
        let body = change.content.as_ref().map_or(&[][..], |content| &content.body.packed);
        let record = seal_record(self.sealer, tenant, rid, &header, body)?;
        let keys = match &change.content {
            Some(_) => seal_keys(self.sealer, tenant, rid, version, time, &packed.keys)?,
            None => Vec::new(),
        };
        let state = State { rid, record: record.into(), keys: keys.into(), is_changed: true };
        self.states.insert(id_key, state);
        let created = change.content.is_some() && !was_live;
        let position = u32::try_from(index).unwrap_or(u32::MAX);
        writing.log.add(&change.type_name, &LogEntry { time, index: position, rid, version });
        let new_keys = change.content.map(|Content { keys, .. }| keys);
        let lane = lane(self.tables, self.lanes, tenant)?;
        let scope = Scope { tenant, generation: lane.head.generation, type_name: &change.type_name, base };
        self.postings.replace(scope, base >= self.first_new(tenant), rid, time, &old_keys, new_keys.as_ref());
        writing.touch(&change.type_name, old_header.filter(|_| was_live).map(|header| header.time), old_keys, new_keys);
        Ok(Written { rid: Some(rid), version, created, changed: true })
    }

    /// Gives a version other keys, if it is still the current one.
    fn replace_keys(&mut self, writing: &mut Writing, new: &NewKeys, packed: &[u8]) -> StoreResult<Written> {
        let tenant = writing.tenant;
        let id_key = layout::id(tenant, &new.type_name, &new.id);
        let unchanged = Written { rid: None, version: new.version, created: false, changed: false };
        let Some(old) = self.state(tenant, &id_key)? else { return Ok(unchanged) };
        let record = old.record.clone();
        let (header, _) = Header::unpack(&record)?;
        if header.version != new.version || header.body.is_none() {
            return Ok(unchanged);
        }
        let old_keys = keys_of(self.sealer, tenant, old.rid, &header, &old.keys)?;
        let new_keys = with_added_keys(&new.keys, header.time);
        let sealed = seal_keys(self.sealer, tenant, old.rid, header.version, header.time, packed)?;
        let base = Rid(old.rid.0.saturating_sub(header.after_base));
        let generation = self.lane(tenant)?.head.generation;
        let scope = Scope { tenant, generation, type_name: header.type_name, base };
        self.postings.exchange(scope, base >= self.first_new(tenant), old.rid, &old_keys, &new_keys);
        let rid = Some(old.rid);
        self.states.insert(id_key, State { keys: sealed.into(), is_changed: true, ..old });
        writing.touch(header.type_name, None, old_keys, Some(new_keys));
        Ok(Written { rid, changed: true, ..unchanged })
    }

    /// The number of a new resource, and its base.
    fn new_rid(&mut self, tenant: TenantId, id_key: &[u8]) -> StoreResult<(Rid, Rid)> {
        let lane = lane(self.tables, self.lanes, tenant)?;
        let rid = lane.head.next_rid;
        lane.head.next_rid = Rid(rid.0 + 1);
        self.new_ids.push((id_key.to_vec(), rid));
        let first = self.bases.entry(tenant).or_insert(rid).0;
        Ok((rid, Rid(rid.0 - (rid.0 - first) % block::SPAN)))
    }

    /// The first number that this group gave out; numbers from there on have no stored blocks.
    fn first_new(&self, tenant: TenantId) -> Rid {
        self.bases.get(&tenant).copied().unwrap_or(Rid(u64::MAX))
    }

    /// The batch that writes the group, synced when it is committed.
    /// `staged` are the entries of its commits, numbered.
    pub(super) fn into_batch(mut self, number: u64, slots: u32, staged: &[Staged]) -> StoreResult<OwnedWriteBatch> {
        let Tables { db, records, history, index, .. } = self.tables;
        let slot = u32::try_from(number % u64::from(slots)).unwrap_or_default();
        let sealed = self.sealing()?;
        let edits = self.postings.into_writes(index)?;
        let capacity = edits.len() + 3 * self.states.len() + self.history.len() + self.new_ids.len() + 8;
        let mut batch = OwnedWriteBatch::with_capacity(db.clone(), capacity).durability(Some(PersistMode::SyncData));
        for tenant in &self.changed {
            if let Some(lane) = self.lanes.get(tenant) {
                batch.insert(records, layout::head(*tenant), lane.head.pack());
            }
        }
        for (id_key, state) in self.states.into_iter().filter(|(_, state)| state.is_changed) {
            let tenant = TenantId(id_key.first_chunk::<4>().map_or(0, |bytes| u32::from_be_bytes(*bytes)));
            batch.insert(records, layout::current(tenant, state.rid), state.record);
            if state.keys.is_empty() {
                batch.remove(records, layout::keys(tenant, state.rid));
            } else {
                batch.insert(records, layout::keys(tenant, state.rid), state.keys);
            }
        }
        for (key, value) in self.history {
            batch.insert(history, key, value);
        }
        let new_ids: FxHashSet<&[u8]> = self.new_ids.iter().map(|(key, _)| &**key).collect();
        self.erasures.write_to(self.tables, |id_key| new_ids.contains(id_key), &mut batch)?;
        for (key, rid) in self.new_ids {
            batch.insert(index, key, rid.0.to_be_bytes());
        }
        for (key, value) in edits {
            match value {
                Some(value) => batch.insert(index, key, value),
                None => batch.remove(index, key),
            }
        }
        self.kept.write_to(self.tables, &mut batch);
        for Staged { tenant, entry, row } in staged {
            let row = row.unwrap_or_default();
            batch.insert(history, layout::staged(row), seal_row(self.sealer, *tenant, row, entry)?);
        }
        if let Some(fold) = self.fold {
            fold.write_to(self.tables, &mut batch);
        }
        sealing::write(sealed, self.tables, &mut batch);
        for keyspace in self.tables.all() {
            batch.insert(keyspace, layout::mark(slot), number.to_be_bytes());
        }
        Ok(batch)
    }
}

fn lane<'l>(tables: &Tables, lanes: &'l mut FxHashMap<TenantId, Lane>, tenant: TenantId) -> StoreResult<&'l mut Lane> {
    match lanes.entry(tenant) {
        std::collections::hash_map::Entry::Occupied(known) => Ok(known.into_mut()),
        std::collections::hash_map::Entry::Vacant(place) => {
            let stored = tables.records.get(layout::head(tenant)).map_err(|error| failed(&error))?;
            let head = stored.map_or(Ok(Head::FIRST), |bytes| Head::unpack(&bytes))?;
            Ok(place.insert(Lane { head, touched: Touched::since(head.time) }))
        }
    }
}

/// What a commit gathers while its changes are written.
struct Writing {
    tenant: TenantId,
    time: Micros,
    log: LogOfCommit,
    touched: Vec<TouchedType>,
}

impl Writing {
    fn touch(&mut self, type_name: &str, old_time: Option<Micros>, old_keys: KeyList, new_keys: Option<KeyList>) {
        let place = self.touched.iter().position(|touched| *touched.type_name == *type_name);
        let place = place.unwrap_or_else(|| {
            self.touched.push(TouchedType { type_name: type_name.into(), ..TouchedType::default() });
            self.touched.len() - 1
        });
        let Some(touched) = self.touched.get_mut(place) else { return };
        for time in old_time.into_iter().chain([self.time]) {
            if touched.times.last() != Some(&time) {
                touched.times.push(time);
            }
        }
        touched.lists.extend([Some(old_keys), new_keys].into_iter().flatten().filter(|list| !list.is_empty()));
    }
}

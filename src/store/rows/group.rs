//! One group of commits: checked one after the other, each seeing those before it, then written as one batch.

mod erasing;
mod index;
mod prepared;
mod sealing;

pub(in crate::store) use prepared::Prepared;

use prepared::Packed;

use super::erase::{Erasures, Marks};
use super::kept::KeptEdits;
use super::ledger::{Fold, Staged, seal_row};
use super::log::LogOfCommit;
use super::postings::{PostingEdits, Scope};
use super::record::{Head, Header, keys_of, pack_history, rid_of, seal_keys, seal_record, with_added_keys};
use super::touched::{Touched, TouchedType};
use super::{Rows, Table, Writes, block, layout};
use crate::clock::Micros;
use crate::key::KeyList;
use crate::store::index::Index;
use crate::store::ledger::Entry;
use crate::store::schema::Schema;
use crate::store::seal::Sealer;
use crate::store::{
    Change, CommitError, Committed, Content, Expect, LogEntry, NewKeys, Rid, StoreError, StoreResult, Written,
};
use crate::tenant::TenantId;
use rustc_hash::{FxHashMap, FxHashSet};
use std::sync::Arc;

/// What the committer remembers of a tenant between groups.
pub(in crate::store) struct Lane {
    pub head: Head,
    pub touched: Touched,
    /// Read when it is needed.
    pub index: Option<Arc<Index>>,
}

/// A resource as the group sees it: as it is stored, or as an earlier commit of the group left it.
#[derive(Clone)]
struct State {
    rid: Rid,
    record: Vec<u8>,
    /// The value of the table of keys; empty for a deletion.
    keys: Vec<u8>,
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
pub(in crate::store) struct Group<'c> {
    rows: &'c dyn Rows,
    sealer: &'c Sealer,
    schema: &'c Schema,
    /// In which form the group is written.
    form: u32,
    marks: Marks<'c>,
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
    /// The tenants of which key lists were replaced without a new version.
    rekeyed: FxHashSet<TenantId>,
    /// The first number that this group gave out.
    bases: FxHashMap<TenantId, Rid>,
}

impl<'c> Group<'c> {
    pub(in crate::store) fn new(
        rows: &'c dyn Rows,
        (sealer, schema): (&'c Sealer, &'c Schema),
        lanes: &'c mut FxHashMap<TenantId, Lane>,
    ) -> Self {
        let stand = schema.stand();
        Self {
            rows,
            sealer,
            schema,
            form: stand.schema,
            marks: Marks { sealer, are_sealed: stand.has_sealed_marks() },
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
            rekeyed: FxHashSet::default(),
            bases: FxHashMap::default(),
        }
    }

    /// Whether nothing is to be written.
    pub(in crate::store) fn is_empty(&self) -> bool {
        self.changed.is_empty()
            && self.kept.is_empty()
            && self.staged.is_empty()
            && self.fold.is_none()
            && self.has_no_sealing()
    }

    /// Checks a commit and, if all holds, adds it to the group. The outer error is one after which the group can't be
    /// written: part of a commit is in it.
    pub(in crate::store) fn add(
        &mut self,
        commit: Prepared,
        now: Micros,
    ) -> StoreResult<Result<Committed, CommitError>> {
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
                self.stage(commit.told);
            }
            return Ok(kept);
        }
        let checked = self.check(&commit);
        let checked = checked.and_then(|checked| Ok((checked, self.plan(&commit)?, self.changed_form(&commit)?)));
        let (checked, planned, new_form) = match checked.and_then(|checked| self.keep(&commit, now).map(|()| checked)) {
            Ok(checked) => checked,
            Err(error) => return Ok(Err(error)),
        };
        let lane = self.lane(tenant)?;
        let time = now.max(Micros(lane.head.time.0.saturating_add(1)));
        let mut writing = Writing { tenant, time, log: LogOfCommit::default(), touched: Vec::new() };
        let mut written = Vec::with_capacity(checked.len());
        let mut is_changed =
            !planned.is_empty() || !commit.reposts.is_empty() || commit.hides_ledger || new_form.is_some();
        if new_form.is_some() {
            self.lane(tenant)?.index = new_form;
        }
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
        for (type_name, id) in commit.reposts {
            self.repost(&writing, &type_name, &id)?;
        }
        if commit.hides_ledger {
            self.hide_ledger(tenant)?;
        }
        self.reseals.extend(commit.reseals.into_iter().map(|row| (tenant, row)));
        self.stage(commit.told);
        let lane = self.lane(tenant)?;
        lane.head.time = time;
        if is_changed {
            lane.touched.add(time, writing.touched);
            self.changed.insert(tenant);
            self.history.extend(writing.log.into_writes(tenant));
        }
        Ok(Ok(Committed { time, written }))
    }

    /// Lets the ledgers have what a commit records.
    fn stage(&mut self, told: Vec<(TenantId, Entry)>) {
        self.staged.extend(told.into_iter().map(|(tenant, entry)| Staged { tenant, entry, row: Some(0) }));
    }

    fn lane(&mut self, tenant: TenantId) -> StoreResult<&mut Lane> {
        lane(self.rows, self.lanes, tenant)
    }

    /// Whether it moves on the head of a tenant.
    pub(in crate::store) fn moves_head_of(&self, tenant: TenantId) -> bool {
        self.changed.contains(&tenant)
    }

    /// The keys of the blocks of postings that are read for what the group writes.
    pub(in crate::store) fn old_blocks(&self) -> Vec<Vec<u8>> {
        self.postings.old_blocks()
    }

    /// The keys of the ids that the group makes free.
    pub(in crate::store) fn gone(&self) -> Vec<Vec<u8>> {
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
        let Some(rid) = self.rows.get(Table::Index, id_key)? else { return Ok(None) };
        let rid = rid_of(&rid)?;
        let record = self.rows.get(Table::Records, &layout::current(tenant, rid))?;
        let record = record.ok_or_else(|| StoreError::Damaged("an id without a record".into()))?;
        let keys = self.rows.get(Table::Records, &layout::keys(tenant, rid))?.unwrap_or_default();
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
        let state = State { rid, record, keys, is_changed: true };
        self.states.insert(id_key, state);
        let created = change.content.is_some() && !was_live;
        let position = u32::try_from(index).unwrap_or(u32::MAX);
        writing.log.add(&change.type_name, &LogEntry { time, index: position, rid, version });
        let new_keys = change.content.map(|Content { keys, .. }| keys);
        let index = self.index(tenant)?;
        let lane = lane(self.rows, self.lanes, tenant)?;
        let scope = Scope { tenant, generation: lane.head.generation, type_name: &change.type_name, base };
        let before = index.before(&change.type_name, &old_keys);
        let ahead = packed.postings.as_ref();
        let made = new_keys.as_ref().map(|keys| index.made_or(ahead, &change.type_name, keys));
        self.postings.replace(scope, base >= self.first_new(tenant), rid, time, &before, made.as_deref());
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
        let index = self.index(tenant)?;
        let (before, made) = (index.before(header.type_name, &old_keys), index.made(header.type_name, &new_keys));
        self.postings.exchange(scope, base >= self.first_new(tenant), old.rid, &before, &made);
        let rid = Some(old.rid);
        self.rekeyed.insert(tenant);
        self.states.insert(id_key, State { keys: sealed, is_changed: true, ..old });
        writing.touch(header.type_name, None, old_keys, Some(new_keys));
        Ok(Written { rid, changed: true, ..unchanged })
    }

    /// The number of a new resource, and its base.
    fn new_rid(&mut self, tenant: TenantId, id_key: &[u8]) -> StoreResult<(Rid, Rid)> {
        let lane = lane(self.rows, self.lanes, tenant)?;
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

    /// All that the group writes. `staged` are the entries of its commits, numbered.
    pub(in crate::store) fn into_writes(mut self, staged: &[Staged]) -> StoreResult<Writes> {
        let sealed = self.sealing()?;
        let edits = self.postings.into_writes(self.rows)?;
        let capacity = edits.len() + 3 * self.states.len() + self.history.len() + self.new_ids.len() + 8;
        let mut writes = Writes { all: Vec::with_capacity(capacity) };
        for tenant in &self.changed {
            if let Some(lane) = self.lanes.get(tenant) {
                writes.put(Table::Records, layout::head(*tenant), lane.head.pack());
                if self.rekeyed.contains(tenant) {
                    writes.put(Table::Records, layout::rekeyed(*tenant), lane.head.time.0.to_be_bytes());
                }
            }
        }
        for (id_key, state) in self.states.into_iter().filter(|(_, state)| state.is_changed) {
            let tenant = TenantId(id_key.first_chunk::<4>().map_or(0, |bytes| u32::from_be_bytes(*bytes)));
            writes.put(Table::Records, layout::current(tenant, state.rid), state.record);
            if state.keys.is_empty() {
                writes.remove(Table::Records, layout::keys(tenant, state.rid));
            } else {
                writes.put(Table::Records, layout::keys(tenant, state.rid), state.keys);
            }
        }
        for (key, value) in self.history {
            writes.put(Table::History, key, value);
        }
        let new_ids: FxHashSet<&[u8]> = self.new_ids.iter().map(|(key, _)| &**key).collect();
        let ground = (self.rows, self.sealer, self.form);
        self.erasures.write_to(ground, |id_key| new_ids.contains(id_key), &mut writes)?;
        for (key, rid) in self.new_ids {
            writes.put(Table::Index, key, rid.0.to_be_bytes());
        }
        for (key, value) in edits {
            writes.set(Table::Index, key, value);
        }
        self.kept.write_to(&mut writes);
        for Staged { tenant, entry, row } in staged {
            let row = row.unwrap_or_default();
            writes.put(Table::History, layout::staged(row), seal_row(self.sealer, *tenant, row, entry)?);
        }
        if let Some(fold) = self.fold {
            fold.write_to(&mut writes);
        }
        for (table, key, value) in sealed {
            writes.set(table, key, value);
        }
        Ok(writes)
    }
}

fn lane<'l>(rows: &dyn Rows, lanes: &'l mut FxHashMap<TenantId, Lane>, tenant: TenantId) -> StoreResult<&'l mut Lane> {
    match lanes.entry(tenant) {
        std::collections::hash_map::Entry::Occupied(known) => Ok(known.into_mut()),
        std::collections::hash_map::Entry::Vacant(place) => {
            let stored = rows.get(Table::Records, &layout::head(tenant))?;
            let head = stored.map_or(Ok(Head::FIRST), |bytes| Head::unpack(&bytes))?;
            Ok(place.insert(Lane { head, touched: Touched::since(head.time), index: None }))
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

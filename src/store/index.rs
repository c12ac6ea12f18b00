//! How the postings of a tenant stand, and how one form of them becomes another while both reads and writes go on.
//!
//! That is told by a record that is kept as others are ([`crate::auth::keeper`]): sealed under the tenant's data key, sealed anew with it, and
//! destroyed with it. It holds the key of the blind index, which so outlives every rotation of data keys. Where there is no record, all is plain.
//!
//! | stage | searches read | writes make |
//! |---|---|---|
//! | none | the form of now | the form of now |
//! | filling: resources get the postings of the new form, too | the form of now | both |
//! | settling: processes hear of it | the new form | both |
//! | sweeping: resources lose those of the old form | the new form | the new form |
//!
//! Whoever wants another form takes these steps one by one, with [`super::Commit::reposts`] of all resources while it fills and while it sweeps.
//!
//! The ledger has a form of its own, which begins with the first one in which anything of it is hidden: see [`IndexRecord::ledger`]. What was folded
//! before is found beside, until it is hidden as well ([`super::Commit::hides_ledger`]).

use super::rows::kept;
use super::rows::{Rows, Table, layout};
use super::seal::{KEY_LEN, Sealer};
use super::{StoreError, StoreResult};
use crate::auth::records::{self, Record};
use crate::key::KeyList;
use crate::key::blind::{self, Blind, Hidden, LEDGER};
use crate::tenant::TenantId;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, PoisonError, RwLock};
use zeroize::Zeroizing;

/// A form in which some keys are hidden.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Form {
    /// Which.
    pub hidden: Hidden,
    /// The key of their hashes, in base64.
    key: String,
    /// The rules by which the list says what is hidden: see [`blind::rules_for`].
    #[serde(default, skip_serializing_if = "is_first")]
    rules: u8,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
const fn is_first(rules: &u8) -> bool {
    *rules == 0
}

impl Form {
    /// With a new key.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn new(hidden: Hidden) -> StoreResult<Self> {
        let mut key = Zeroizing::new([0_u8; KEY_LEN]);
        aws_lc_rs::rand::fill(&mut *key).map_err(|_| StoreError::Closed("there is no randomness".into()))?;
        Ok(Self { rules: blind::rules_for(&hidden), hidden, key: STANDARD.encode(*key) })
    }

    /// Whether it hides of resources what this list says, by the rules of now. What the list says of the ledger is the matter of the ledger's
    /// own form.
    #[must_use]
    pub fn hides(&self, wanted: &Hidden) -> bool {
        let of_resources = |hidden: &Hidden| {
            let listed = hidden.iter().filter(|(type_name, _)| ***type_name != *LEDGER);
            listed.map(|(type_name, codes)| (type_name.clone(), codes.clone())).collect::<Hidden>()
        };
        let wanted = of_resources(wanted);
        of_resources(&self.hidden) == wanted && self.rules >= blind::rules_for(&wanted)
    }

    /// Whether it hides all that another one does, with the same key.
    fn has(&self, other: &Self) -> bool {
        let mut all = other.hidden.iter();
        let all = all.all(|(type_name, codes)| self.hidden.get(type_name).is_some_and(|own| own.is_superset(codes)));
        self.key == other.key && all
    }

    /// The form of the ledger's postings that hides this, too, where it is another one than there is.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn of_ledger(now: Option<&Self>, wanted: &Hidden) -> StoreResult<Option<Self>> {
        let Some(wanted) = wanted.get(LEDGER) else { return Ok(None) };
        let mut codes = now.and_then(|form| form.hidden.get(LEDGER)).cloned().unwrap_or_default();
        if now.is_some() && codes.is_superset(wanted) {
            return Ok(None);
        }
        codes.extend(wanted.iter().cloned());
        let hidden: Hidden = [(LEDGER.into(), codes)].into();
        now.map_or_else(|| Self::new(hidden.clone()), |form| Ok(form.with(hidden.clone()))).map(Some)
    }

    /// The same with another list, and the same key, so that most postings stay as they are.
    #[must_use]
    pub fn with(&self, hidden: Hidden) -> Self {
        Self { rules: blind::rules_for(&hidden), hidden, key: self.key.clone() }
    }

    fn blind(&self) -> StoreResult<Arc<Blind>> {
        let damaged = |_| StoreError::Damaged("the key of a blind index".into());
        let key = Zeroizing::new(STANDARD.decode(&self.key).map_err(damaged)?);
        Ok(Arc::new(Blind::new(self.hidden.clone(), &key).by(self.rules)))
    }
}

/// How far a change of form is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Postings of the new form are made.
    Filling,
    /// They are read, and those of the old form are still made.
    Settling,
    /// Those of the old form are removed.
    Sweeping,
}

/// Another form that is being made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Which; `None` for plain.
    pub to: Option<Form>,
    /// How far that is.
    pub stage: Stage,
}

/// The form of a tenant's postings, as it is kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexRecord {
    /// That of now, or the old one while it changes; `None` for plain.
    pub now: Option<Form>,
    /// What it becomes.
    pub change: Option<Change>,
    /// The form of the ledger's postings, with a key of its own; `None` for plain. It stays when that of resources is plain again, and its list
    /// only grows, as the ledger's postings are not made anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ledger: Option<Form>,
    /// Whether the ledger may have plain postings that its form hides.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_mixed: bool,
}

impl Record for IndexRecord {
    const KIND: &'static str = "index";
}

impl IndexRecord {
    /// The id of the one record of a tenant.
    pub const ID: &'static str = "form";

    /// Whether it is the next step after another one. Any other is only good where there never was a resource.
    fn follows(&self, before: &Self) -> bool {
        let of_ledger = |record: &Self| (record.ledger.clone(), record.is_mixed);
        if of_ledger(self) != of_ledger(before) {
            let is_same = (&self.now, &self.change) == (&before.now, &before.change);
            let has_all = |old: &Form| self.ledger.as_ref().is_some_and(|new| new.has(old));
            return is_same && before.ledger.as_ref().is_none_or(has_all);
        }
        let is_step = match (&before.change, &self.change) {
            (None, Some(Change { stage: Stage::Filling, .. })) => true,
            (Some(from), Some(to)) => {
                let next = if from.stage == Stage::Filling { Stage::Settling } else { Stage::Sweeping };
                from.stage != Stage::Sweeping && to.stage == next && from.to == to.to
            }
            (Some(from), None) => return from.stage == Stage::Sweeping && self.now == from.to,
            (None, _) => false,
        };
        is_step && self.now == before.now
    }
}

/// The postings that a resource had.
pub(in crate::store) struct Before<'k> {
    /// All that there may be.
    pub left: Cow<'k, KeyList>,
    /// Those that there are, where that is less.
    sure: Option<Cow<'k, KeyList>>,
}

impl Before<'_> {
    /// Those of what was not there.
    pub(in crate::store) fn nothing() -> Self {
        Self { left: Cow::Owned(KeyList::default()), sure: None }
    }

    pub(in crate::store) fn sure(&self) -> &KeyList {
        self.sure.as_ref().unwrap_or(&self.left)
    }
}

/// The form of a tenant's postings, ready for use.
#[derive(Debug, Default)]
pub(in crate::store) struct Index {
    record: IndexRecord,
    /// What tells it from others: a hash of the record as it is kept.
    stamp: u64,
    now: Option<Arc<Blind>>,
    to: Option<Arc<Blind>>,
    ledger: Option<Arc<Blind>>,
}

impl Index {
    fn of(record: IndexRecord, stamp: u64) -> StoreResult<Self> {
        let ready = |form: Option<&Form>| form.map(Form::blind).transpose();
        let to = ready(record.change.as_ref().and_then(|change| change.to.as_ref()))?;
        Ok(Self { now: ready(record.now.as_ref())?, ledger: ready(record.ledger.as_ref())?, to, record, stamp })
    }

    /// As these rows have it.
    pub(in crate::store) fn load(rows: &dyn Rows, sealer: &Sealer, tenant: TenantId) -> StoreResult<Arc<Self>> {
        let key = Self::row(tenant);
        // Where the tenant's keys were destroyed nothing is read, and nothing made.
        let value = rows.get(Table::Records, &key)?.filter(|_| sealer.has(tenant));
        let Some(value) = value else { return Ok(Arc::default()) };
        Self::read(Some(&kept::open(sealer, tenant, &key, &value)?.bytes))
    }

    /// As the content of the record says.
    pub(in crate::store) fn read(content: Option<&[u8]>) -> StoreResult<Arc<Self>> {
        let Some(content) = content else { return Ok(Arc::default()) };
        let record = records::read(content).map_err(|error| StoreError::Damaged(error.to_string()))?;
        let mut stamp = DefaultHasher::new();
        content.hash(&mut stamp);
        Self::of(record, stamp.finish()).map(Arc::new)
    }

    /// Where the record is.
    pub(in crate::store) fn row(tenant: TenantId) -> Vec<u8> {
        layout::kept(tenant, IndexRecord::KIND, IndexRecord::ID)
    }

    /// Whether this can come after another one in a tenant with resources.
    pub(in crate::store) fn follows(&self, before: &Self) -> bool {
        self.record == before.record || self.record.follows(&before.record)
    }

    /// Whether all postings are in one form.
    pub(in crate::store) const fn is_settled(&self) -> bool {
        self.record.change.is_none() && !self.record.is_mixed
    }

    fn stage(&self) -> Option<Stage> {
        self.record.change.as_ref().map(|change| change.stage)
    }

    /// That of the ledger's postings.
    pub(in crate::store) const fn of_ledger(&self) -> Option<&Arc<Blind>> {
        self.ledger.as_ref()
    }

    /// The form that searches for a type read.
    pub(in crate::store) fn read_by(&self, type_name: &str) -> Option<&Arc<Blind>> {
        if type_name == LEDGER {
            self.ledger.as_ref()
        } else if matches!(self.stage(), Some(Stage::Settling | Stage::Sweeping)) {
            self.to.as_ref()
        } else {
            self.now.as_ref()
        }
    }

    /// The postings that a resource with these keys gets.
    pub(in crate::store) fn made<'k>(&self, type_name: &str, keys: &'k KeyList) -> Cow<'k, KeyList> {
        match self.stage() {
            None => in_form(self.now.as_deref(), type_name, keys),
            Some(Stage::Filling | Stage::Settling) => self.in_both(type_name, keys),
            Some(Stage::Sweeping) => in_form(self.to.as_deref(), type_name, keys),
        }
    }

    /// The postings that a resource gets, made before its commit; `None` where they are its keys.
    pub(in crate::store) fn made_ahead(&self, type_name: &str, keys: &KeyList) -> Option<Ahead> {
        match self.made(type_name, keys) {
            Cow::Owned(postings) => Some(Ahead { stamp: self.stamp, postings }),
            Cow::Borrowed(_) => None,
        }
    }

    /// The postings that a resource with these keys gets, where they were not made ahead by this very form.
    pub(in crate::store) fn made_or<'k>(
        &self,
        ahead: Option<&'k Ahead>,
        type_name: &str,
        keys: &'k KeyList,
    ) -> Cow<'k, KeyList> {
        let ahead = ahead.filter(|ahead| ahead.stamp == self.stamp);
        ahead.map_or_else(|| self.made(type_name, keys), |ahead| Cow::Borrowed(&ahead.postings))
    }

    /// The postings that a resource with these keys has.
    pub(in crate::store) fn before<'k>(&self, type_name: &str, keys: &'k KeyList) -> Before<'k> {
        let sure = match self.stage() {
            None => return Before { left: in_form(self.now.as_deref(), type_name, keys), sure: None },
            Some(Stage::Filling | Stage::Settling) => &self.now,
            Some(Stage::Sweeping) => &self.to,
        };
        Before { left: self.in_both(type_name, keys), sure: Some(in_form(sure.as_deref(), type_name, keys)) }
    }

    fn in_both<'k>(&self, type_name: &str, keys: &'k KeyList) -> Cow<'k, KeyList> {
        let (now, to) = (in_form(self.now.as_deref(), type_name, keys), in_form(self.to.as_deref(), type_name, keys));
        Cow::Owned(now.with(to.iter().map(Box::from).collect()))
    }
}

/// Postings that were made before a commit, in parallel, by the form that was known then.
#[derive(Clone)]
pub(in crate::store) struct Ahead {
    stamp: u64,
    postings: KeyList,
}

pub(in crate::store) fn in_form<'k>(form: Option<&Blind>, type_name: &str, keys: &'k KeyList) -> Cow<'k, KeyList> {
    form.map_or(Cow::Borrowed(keys), |blind| Cow::Owned(blind.postings(type_name, keys)))
}

/// The forms of tenants, held until one of their records changes.
#[derive(Default)]
pub(in crate::store) struct Indexes {
    known: RwLock<FxHashMap<TenantId, (u64, Arc<Index>)>>,
}

impl Indexes {
    /// That of a tenant as it was known last, perhaps not any more.
    pub(in crate::store) fn last(&self, tenant: TenantId) -> Arc<Index> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.get(&tenant).map(|(_, index)| Arc::clone(index)).unwrap_or_default()
    }

    /// Nothing of a tenant stays here, which was destroyed.
    pub(in crate::store) fn forget(&self, tenant: TenantId) {
        self.known.write().unwrap_or_else(PoisonError::into_inner).remove(&tenant);
    }

    /// That of a tenant. `epoch` was read before ([`crate::auth::keeper::Keeper::epoch`]).
    pub(in crate::store) fn get(
        &self,
        tenant: TenantId,
        epoch: u64,
        load: impl FnOnce() -> StoreResult<Arc<Index>>,
    ) -> StoreResult<Arc<Index>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, index)) = known.get(&tenant).filter(|(of, _)| *of == epoch) {
            return Ok(Arc::clone(index));
        }
        drop(known);
        let index = load()?;
        self.known.write().unwrap_or_else(PoisonError::into_inner).insert(tenant, (epoch, Arc::clone(&index)));
        Ok(index)
    }
}

//! Commits as a group takes them.

use crate::auth::compartment::patients_of;
use crate::auth::keeper::Keep;
use crate::clock::Micros;
use crate::store::index::{Ahead, Index};
use crate::store::ledger::Entry;
use crate::store::rows::ledger::Fold;
use crate::store::rows::record::{pack_keys, pack_patients};
use crate::store::{Change, Commit, Erasure, NewKeys};
use crate::tenant::TenantId;
use std::sync::Arc;

/// A commit whose key lists are packed already, which the callers do in parallel.
#[derive(Clone)]
pub(in crate::store) struct Prepared {
    pub commit_of: TenantId,
    pub changes: Vec<(Change, Packed)>,
    pub new_keys: Vec<(NewKeys, Vec<u8>)>,
    pub erasures: Vec<Erasure>,
    pub keeps: Vec<Keep>,
    /// Rows to be sealed under the newest key: see [`crate::store::rows::sealing`].
    pub reseals: Vec<Box<[u8]>>,
    /// Type and id of resources whose postings are made anew: see [`crate::store::index`].
    pub reposts: Vec<(Box<str>, Box<str>)>,
    /// Whether postings of the ledger are hidden: see [`crate::store::index`].
    pub hides_ledger: bool,
    /// Whether all that the tenant has is removed, as much of it as goes into one group; nothing else then.
    pub is_removal: bool,
    pub guards: Vec<crate::store::Guard>,
    pub read_at: Micros,
    /// What the ledgers of these tenants have if the commit happens.
    pub told: Vec<(TenantId, Entry)>,
    /// What the ledger folds; nothing else then.
    pub fold: Option<Arc<Fold>>,
}

/// What is made of the content of a change before it is committed; empty for a deletion.
#[derive(Clone, Default)]
pub(in crate::store) struct Packed {
    pub(super) keys: Vec<u8>,
    pub(super) patients: Vec<u8>,
    pub(super) postings: Option<Ahead>,
}

impl Prepared {
    /// `index` is the form of the tenant's postings, as far as it is known.
    pub(in crate::store) fn new(commit: Commit, index: &Index) -> Self {
        let pack = |change: Change| {
            let packed = change.content.as_ref().map(|content| Packed {
                keys: pack_keys(&content.keys),
                postings: index.made_ahead(&change.type_name, &content.keys),
                patients: pack_patients(&patients_of(&change.type_name, &content.keys)),
            });
            (change, packed.unwrap_or_default())
        };
        let changes = commit.changes.into_iter().map(pack).collect();
        let pack_new = |new: NewKeys| {
            let packed = pack_keys(&new.keys);
            (new, packed)
        };
        let new_keys = commit.new_keys.into_iter().map(pack_new).collect();
        let Commit { tenant, erasures, keeps, reseals, reposts, hides_ledger, guards, read_at, entry, .. } = commit;
        let told = entry.map(|entry| (tenant, entry)).into_iter().collect();
        Self {
            changes,
            new_keys,
            erasures,
            keeps,
            reseals,
            reposts,
            hides_ledger,
            guards,
            read_at,
            told,
            ..Self::of(tenant)
        }
    }

    pub(super) const fn of(tenant: TenantId) -> Self {
        Self {
            commit_of: tenant,
            changes: Vec::new(),
            new_keys: Vec::new(),
            erasures: Vec::new(),
            keeps: Vec::new(),
            reseals: Vec::new(),
            reposts: Vec::new(),
            hides_ledger: false,
            is_removal: false,
            guards: Vec::new(),
            read_at: Micros(i64::MIN),
            told: Vec::new(),
            fold: None,
        }
    }

    /// What makes ledgers longer.
    pub(in crate::store) fn with_fold(fold: Arc<Fold>) -> Self {
        Self { fold: Some(fold), ..Self::of(TenantId(0)) }
    }

    /// What changes records that are no resources, and nothing else.
    pub(in crate::store) fn with_kept(tenant: TenantId, keeps: Vec<Keep>, told: Vec<(TenantId, Entry)>) -> Self {
        Self { keeps, told, ..Self::of(tenant) }
    }

    /// How many resources and other records it touches.
    pub(in crate::store) const fn len(&self) -> usize {
        let (changed, kept) = (self.changes.len() + self.new_keys.len() + self.erasures.len(), self.keeps.len());
        changed + kept + self.reseals.len() + self.reposts.len()
    }

    /// Type and id of each resource that it touches.
    pub(in crate::store) fn named(&self) -> impl Iterator<Item = (&str, &str)> {
        let changed = self.changes.iter().map(|(change, _)| (&*change.type_name, &*change.id));
        let renewed = self.new_keys.iter().map(|(new, _)| (&*new.type_name, &*new.id));
        let erased = self.erasures.iter().map(|erasure| (&*erasure.type_name, &*erasure.id));
        let reposted = self.reposts.iter().map(|(type_name, id)| (&**type_name, &**id));
        changed.chain(renewed).chain(erased).chain(reposted)
    }

    /// Whether it changes resources and nothing else.
    pub(in crate::store) fn changes_only(&self) -> bool {
        let others = self.new_keys.len() + self.erasures.len() + self.keeps.len() + self.reposts.len();
        others == 0
            && self.reseals.is_empty()
            && !self.hides_ledger
            && !self.is_removal
            && self.fold.is_none()
            && self.guards.is_empty()
    }

    /// Whether the change log does not tell all that it touches.
    pub(in crate::store) const fn is_untold(&self) -> bool {
        !self.new_keys.is_empty() || !self.erasures.is_empty() || !self.reseals.is_empty() || self.is_removal
    }

    /// Whether the tenant's head is read for it.
    pub(in crate::store) fn moves_head(&self) -> bool {
        !self.is_of_kept_only()
    }

    /// Whether it changes records that are no resources, and nothing else. All writes depend on the form of the index, which is one.
    pub(super) fn is_of_kept_only(&self) -> bool {
        let has_others = !self.changes.is_empty() || !self.new_keys.is_empty() || !self.erasures.is_empty();
        let has_work =
            !self.reseals.is_empty() || !self.reposts.is_empty() || self.hides_ledger || self.new_form().is_some();
        !has_others && !has_work && !self.is_removal && !self.keeps.is_empty()
    }
}

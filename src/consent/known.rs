//! The Consents that were read lately, for as long as none changes.
//!
//! A snapshot and what is remembered have to be of one time: else a commit that stores data together with the Consent that hides
//! them could be seen by halves. So the changes of Consents are counted, before they begin and after they have ended. What was read while none
//! was under way, and between the same two, is what any snapshot taken then holds; at all other times the snapshot itself is read.

use super::kept::Decisions;
use super::read::Consent;
use crate::error::Result;
use crate::key::reference::matching_resource;
use crate::key::{Stored, prefix_of};
use crate::tenant::TenantId;
use quick_cache::sync::Cache;
use rustc_hash::FxHashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Patients whose Consents are remembered, most of them because they have none.
const REMEMBERED: usize = 100_000;

/// What is remembered of one patient: when it was read, and the Consents that are active.
type Remembered = (u64, Arc<[Consent]>);

/// The Consents of all tenants.
pub struct Consents {
    changes: Mutex<FxHashMap<TenantId, Changes>>,
    patients: Cache<(TenantId, Box<str>), Remembered>,
    /// Whether a tenant has a Consent that is active: as of a number of changes.
    any: Mutex<FxHashMap<TenantId, (u64, bool)>>,
    /// What was decided.
    pub(super) decisions: Decisions,
}

impl Default for Consents {
    fn default() -> Self {
        Self {
            changes: Mutex::default(),
            patients: Cache::new(REMEMBERED),
            any: Mutex::default(),
            decisions: Decisions::default(),
        }
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Changes {
    begun: u64,
    ended: u64,
}

/// A change of Consents that is under way. Where it can't be told whether it ends, it never does: nothing is remembered any more.
#[must_use]
pub struct Change {
    of: Arc<Consents>,
    tenant: TenantId,
}

impl Change {
    /// It was made, or it was not and never will be.
    pub fn end(self) {
        self.of.count(self.tenant, |changes| changes.ended += 1);
    }
}

impl Consents {
    /// A change begins. It has to be told before anybody can see what it changes.
    pub fn change(self: &Arc<Self>, tenant: TenantId) -> Change {
        self.count(tenant, |changes| changes.begun += 1);
        Change { of: Arc::clone(self), tenant }
    }

    fn count(&self, tenant: TenantId, count: impl FnOnce(&mut Changes)) {
        count(self.changes.lock().unwrap_or_else(PoisonError::into_inner).entry(tenant).or_default());
    }

    /// How many changes there were, where none is under way.
    #[must_use]
    pub fn quiet(&self, tenant: TenantId) -> Option<u64> {
        let changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        let Changes { begun, ended } = changes.get(&tenant).copied().unwrap_or_default();
        (begun == ended).then_some(ended)
    }

    /// Whether a tenant has any Consent that is active; `look` looks.
    ///
    /// # Errors
    /// Those of `look`.
    pub fn any(&self, tenant: TenantId, at: Option<u64>, look: impl FnOnce() -> Result<bool>) -> Result<bool> {
        let Some(at) = at else { return look() };
        let known = self.any.lock().unwrap_or_else(PoisonError::into_inner).get(&tenant).copied();
        if let Some((_, any)) = known.filter(|(of, _)| *of == at) {
            return Ok(any);
        }
        let any = look()?;
        self.any.lock().unwrap_or_else(PoisonError::into_inner).insert(tenant, (at, any));
        Ok(any)
    }

    /// The active Consents of a patient, as a snapshot has them that was taken after `at` changes.
    ///
    /// # Errors
    /// When the snapshot can't be read.
    pub fn of(&self, tenant: TenantId, patient: &str, at: Option<u64>, stored: &dyn Stored) -> Result<Arc<[Consent]>> {
        let Some(at) = at else { return Ok(read(patient, stored)?.into()) };
        let name = (tenant, Box::from(patient));
        if let Some((_, consents)) = self.patients.get(&name).filter(|(of, _)| *of == at) {
            return Ok(consents);
        }
        let consents: Arc<[Consent]> = read(patient, stored)?.into();
        for why in consents.iter().filter_map(|consent| consent.fault) {
            tracing::warn!(tenant = tenant.0, why, "a Consent is not understood: it permits nothing");
        }
        self.patients.insert(name, (at, Arc::clone(&consents)));
        Ok(consents)
    }
}

/// The active Consents of a patient.
///
/// # Errors
/// When the snapshot can't be read.
pub fn read(patient: &str, stored: &dyn Stored) -> Result<Vec<Consent>> {
    let key = matching_resource("Patient", patient).under(&prefix_of("patient")).from;
    let mut consents = Vec::new();
    stored.each("Consent", &key, &mut |id, resource| consents.extend(Consent::read(id, resource)))?;
    Ok(consents)
}

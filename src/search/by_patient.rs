//! Where the rules of patients meet resources: a check by a resource's own keys.

use super::budget::Budget;
use super::engine::{Run, failed};
use super::explain::Trace;
use crate::auth::compartment::patients_in;
use crate::error::{Error, Result};
use crate::fhir::parse::parse;
use crate::fhir::tree::Object;
use crate::key::{ByPatient, KeyList, Stored};
use crate::store::{Records, Rid};

/// Calls `with` with what reads a snapshot for the rules of patients.
pub fn with_stored<T>(records: &Records, budget: &Budget, with: impl FnOnce(&dyn Stored) -> T) -> T {
    with(&Run::new(records.view(), budget, Trace::default()))
}

impl Run<'_> {
    /// Whether the rules of each patient whom a resource with these keys is about permit it.
    pub(super) fn is_permitted(&self, type_name: &str, keys: &KeyList, rules: &ByPatient) -> Result<bool> {
        for patient in patients_in(type_name, keys) {
            let permitted = rules.of(patient, type_name, self)?;
            if !self.holds(type_name, keys, &permitted)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl Stored for Run<'_> {
    fn each(&self, type_name: &str, key: &[u8], found: &mut dyn FnMut(&str, &Object<'_>)) -> Result<()> {
        for rid in self.view.rids(type_name, key, Rid(0)) {
            self.budget.step()?;
            let Some(version) = self.view.current(rid.map_err(failed)?).map_err(failed)? else { continue };
            let Some(body) = &version.body else { continue };
            let bytes = body.unpack(version.version, version.time).map_err(failed)?;
            let tree = parse(&bytes, usize::MAX).map_err(Error::internal)?;
            if let Some(resource) = tree.as_object() {
                found(&version.id, resource);
            }
        }
        Ok(())
    }

    fn keys(&self, type_name: &str, id: &str) -> Result<Option<KeyList>> {
        let rid = self.view.find(type_name, id).map_err(failed)?;
        rid.map_or(Ok(None), |rid| Run::keys(self, rid))
    }
}

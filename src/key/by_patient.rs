//! Sets that each patient's own rules decide on: what the patients consent to.
//!
//! Such a set is never walked. A resource is looked at by its own keys: they name the patients that it is about
//! ([`crate::auth::compartment::patients_in`]), and for each of them it has to be in what that patient's rules permit. So it costs as much as a
//! resource has patients, however many patients have rules.

use super::{Expr, KeyList};
use crate::error::Result;
use crate::fhir::tree::Object;
use std::fmt;
use std::sync::Arc;

/// Reads the snapshot that is searched, for [`Rules`].
pub trait Stored {
    /// Calls `found` with the id and the content of each live resource of a type that has exactly this key.
    ///
    /// # Errors
    /// When the store fails or the budget is spent.
    fn each(&self, type_name: &str, key: &[u8], found: &mut dyn FnMut(&str, &Object<'_>)) -> Result<()>;

    /// The keys of a live resource.
    ///
    /// # Errors
    /// As [`Stored::each`].
    fn keys(&self, type_name: &str, id: &str) -> Result<Option<KeyList>>;
}

/// What the rules of single patients are.
pub trait Rules: Send + Sync {
    /// The resources of a type that this patient's rules permit, among those that are about the patient.
    ///
    /// # Errors
    /// When what the rules rest on can't be read.
    fn of(&self, patient: &str, type_name: &str, stored: &dyn Stored) -> Result<Arc<Expr>>;
}

/// A set of resources that are permitted by the rules of each patient whom they are about. What is about nobody is in it.
#[derive(Clone)]
pub struct ByPatient(Arc<dyn Rules>);

impl ByPatient {
    /// The set that these rules make.
    #[must_use]
    pub fn new(rules: Arc<dyn Rules>) -> Self {
        Self(rules)
    }

    /// See [`Rules::of`].
    ///
    /// # Errors
    /// See [`Rules::of`].
    pub fn of(&self, patient: &str, type_name: &str, stored: &dyn Stored) -> Result<Arc<Expr>> {
        self.0.of(patient, type_name, stored)
    }
}

impl PartialEq for ByPatient {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for ByPatient {}

impl fmt::Debug for ByPatient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ByPatient")
    }
}

//! Which search parameters there are for a type.

use crate::fhir::definitions::{ParamType, SearchParameter};
use crate::key::Parameters;
use crate::key::extract::is_indexed;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

/// Type and code of each.
type Unfinished = BTreeSet<(Box<str>, Box<str>)>;

/// The search parameters of a tenant, for one search: it notes which further ones were asked for whose keys are not known
/// to be there for every resource. [`Registry::default`] knows the official ones.
#[derive(Debug, Clone, Default)]
pub struct Registry {
    parameters: Arc<Parameters>,
    unfinished: Arc<Mutex<Unfinished>>,
}

impl Registry {
    /// The registry for one search with these parameters.
    #[must_use]
    pub fn new(parameters: Arc<Parameters>) -> Self {
        Self { parameters, unfinished: Arc::default() }
    }

    /// The parameter of a type, as far as this server answers it.
    #[must_use]
    pub fn parameter(&self, type_name: &str, code: &str) -> Option<&SearchParameter> {
        let found = self.parameters.parameter(type_name, code).filter(|found| is_answered(found))?;
        if self.parameters.further_named(type_name, code).is_some_and(|further| !further.is_whole()) {
            let mut unfinished = self.unfinished.lock().unwrap_or_else(PoisonError::into_inner);
            unfinished.insert((type_name.into(), code.into()));
        }
        Some(found)
    }

    /// All parameters of a type that this server answers: for the CapabilityStatement.
    pub fn parameters<'r>(&'r self, type_name: &'r str) -> impl Iterator<Item = &'r SearchParameter> {
        self.parameters.of(type_name).filter(|found| is_answered(found))
    }

    /// The reference parameters of a type.
    pub fn references<'r>(&'r self, type_name: &'r str) -> impl Iterator<Item = &'r SearchParameter> {
        self.parameters(type_name).filter(|found| found.param_type == ParamType::Reference)
    }

    /// The further parameters that were asked for, type and code, whose keys may be missing for some resources.
    #[must_use]
    pub fn unfinished(&self) -> Vec<(Box<str>, Box<str>)> {
        self.unfinished.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

fn is_answered(parameter: &SearchParameter) -> bool {
    matches!(&*parameter.code, "_id" | "_lastUpdated") || is_indexed(parameter)
}

//! Which search parameters there are for a type.

use crate::fhir::definitions::{self, ParamType, SearchParameter};
use crate::key::extract::is_indexed;

/// The search parameters of a tenant: the official ones. Parameters that a tenant adds will be found here as well.
#[derive(Debug, Clone, Copy, Default)]
pub struct Registry;

impl Registry {
    /// The parameter of a type, as far as this server answers it.
    #[must_use]
    pub fn parameter(self, type_name: &str, code: &str) -> Option<&'static SearchParameter> {
        definitions::r4().search_parameter(type_name, code).filter(|found| is_answered(found))
    }

    /// All parameters of a type that this server answers: for the CapabilityStatement.
    pub fn parameters(self, type_name: &str) -> impl Iterator<Item = &'static SearchParameter> {
        definitions::r4().search_parameters_of(type_name).filter(|found| is_answered(found))
    }

    /// The reference parameters of a type.
    pub fn references(self, type_name: &str) -> impl Iterator<Item = &'static SearchParameter> {
        self.parameters(type_name).filter(|found| found.param_type == ParamType::Reference)
    }
}

fn is_answered(parameter: &SearchParameter) -> bool {
    matches!(parameter.code, "_id" | "_lastUpdated") || is_indexed(parameter)
}

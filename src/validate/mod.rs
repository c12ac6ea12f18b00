//! shim
use crate::{error::Issue, fhir::tree::Object};
pub fn structure(_r: &Object<'_>) -> Vec<Issue> { Vec::new() }

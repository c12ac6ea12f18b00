//! shim
pub fn keys(_t: &str, _r: &crate::fhir::tree::Object<'_>) -> super::KeyList { super::KeyList::default() }
pub fn is_indexed(_p: &crate::fhir::definitions::SearchParameter) -> bool { true }

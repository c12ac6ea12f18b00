//! Tests from outside.

mod fhirpath_suite;

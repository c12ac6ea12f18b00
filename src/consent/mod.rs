//! What patients consent to: Consent resources (<https://hl7.org/fhir/R4/consent.html>) as sets in the algebra over search keys.
//!
//! Pure, but for what is read through [`crate::key::Stored`]. `read` makes of a resource a [`Consent`]; `judge` holds who asks
//! and what for against its provisions, `content` what is asked for; `decide` joins them to one set; `policy` does that for
//! each patient whom a request meets; `known` remembers what was read until a Consent changes, and `kept` what was decided; `explain` tells which provision decides.
//! `docs/consent.md` has the rules.

pub mod content;
pub mod decide;
pub mod explain;
pub mod judge;
pub mod kept;
pub mod known;
pub mod policy;
pub mod read;

pub use judge::Action;
pub use known::Consents;
pub use policy::Policy;
pub use read::{Consent, Kind};

#[cfg(test)]
mod tests;

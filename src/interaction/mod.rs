//! One file per FHIR interaction.

pub mod capabilities;

//! Which resources belong to no patient.
//!
//! A patient's record refers to practitioners, organisations and the like, which are in no patient's compartment
//! (<https://hl7.org/fhir/R4/compartmentdefinition-patient.html>). This is the one rule for what of them may be shown along
//! with a record.

use crate::key::{Expr, KeyRange, prefix_of};

/// The types of which no resource is a patient's own.
const SHARED: [&str; 10] = [
    "Endpoint",
    "HealthcareService",
    "InsurancePlan",
    "Location",
    "Medication",
    "Organization",
    "OrganizationAffiliation",
    "Practitioner",
    "PractitionerRole",
    "Substance",
];

/// The resources of a type that belong to no patient; `None` for a type of which every resource may be a patient's. Devices
/// are shared as long as they name no patient (`Device.patient`).
#[must_use]
pub fn shared(type_name: &str) -> Option<Expr> {
    match type_name {
        "Device" => Some(Expr::Keys(KeyRange::prefix(&prefix_of("patient"))).negate()),
        name if SHARED.contains(&name) => Some(Expr::All),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::definitions;

    #[test]
    fn what_is_shared_is_in_no_patients_compartment() {
        let compartment = definitions::r4().compartment("Patient").unwrap();
        for name in SHARED.into_iter().chain(["Device"]) {
            assert!(definitions::r4().is_resource_type(name), "{name}");
            assert!(compartment.params(name).is_empty(), "{name}");
            assert!(definitions::r4().search_parameter(name, "patient").is_none() || name == "Device", "{name}");
        }
        assert_eq!(shared("Observation"), None);
        assert!(definitions::r4().search_parameter("Device", "patient").is_some());
    }
}

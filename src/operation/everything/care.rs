//! Which search parameter of a type tells when the care took place.

/// Date parameters of a type in a patient's compartment: the first that a resource has a value for tells its care date. None
/// for types that tell of no care at a time (Patient, Coverage, RelatedPerson …).
pub const fn care_date_codes(type_name: &str) -> &'static [&'static str] {
    match type_name.as_bytes() {
        b"Account" => &["period"],
        b"Basic"
        | b"Claim"
        | b"ClaimResponse"
        | b"CoverageEligibilityRequest"
        | b"CoverageEligibilityResponse"
        | b"DocumentManifest"
        | b"ExplanationOfBenefit"
        | b"Media" => &["created"],
        b"ChargeItem" => &["occurrence", "entered-date"],
        b"Communication" => &["sent", "received"],
        b"CommunicationRequest" | b"ServiceRequest" => &["occurrence", "authored"],
        b"Composition" | b"Consent" | b"DocumentReference" | b"MeasureReport" => &["period", "date"],
        b"Condition" => &["onset-date", "recorded-date"],
        b"DetectedIssue" => &["identified"],
        b"DeviceRequest" => &["event-date", "authored-on"],
        b"DiagnosticReport" => &["date", "issued"],
        b"Goal" => &["start-date"],
        b"ImagingStudy" => &["started"],
        b"MedicationAdministration" => &["effective-time"],
        b"MedicationDispense" => &["whenhandedover", "whenprepared"],
        b"MedicationRequest" => &["authoredon"],
        b"MedicationStatement" => &["effective"],
        b"NutritionOrder" => &["datetime"],
        b"Provenance" => &["when", "recorded"],
        b"QuestionnaireResponse" | b"RequestGroup" => &["authored"],
        b"Specimen" => &["collected"],
        b"VisionPrescription" => &["datewritten"],
        b"AdverseEvent"
        | b"AllergyIntolerance"
        | b"Appointment"
        | b"AuditEvent"
        | b"CarePlan"
        | b"CareTeam"
        | b"ClinicalImpression"
        | b"Encounter"
        | b"EpisodeOfCare"
        | b"FamilyMemberHistory"
        | b"Flag"
        | b"Immunization"
        | b"ImmunizationEvaluation"
        | b"ImmunizationRecommendation"
        | b"Invoice"
        | b"List"
        | b"Observation"
        | b"Procedure"
        | b"ResearchSubject"
        | b"RiskAssessment"
        | b"Schedule"
        | b"SupplyRequest" => &["date"],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::definitions::{self, ParamType};

    /// Types with date parameters that are not of care.
    const OF_PERSONS: [&str; 3] = ["Patient", "Person", "RelatedPerson"];

    #[test]
    fn every_type_with_dates_has_its_care_date() {
        let definitions = definitions::r4();
        for (name, params) in &definitions.compartment("Patient").unwrap().resources {
            let codes = care_date_codes(name);
            for code in codes {
                let found = definitions.search_parameter(name, code).unwrap_or_else(|| panic!("{name} has no {code}"));
                assert_eq!(found.param_type, ParamType::Date, "{name} {code}");
            }
            let own = definitions.search_parameters_of(name).filter(|it| it.param_type == ParamType::Date);
            let has_dates = own.filter(|it| it.code != "_lastUpdated").count() > 0;
            let expected = has_dates && !OF_PERSONS.contains(name) && !params.is_empty();
            assert_eq!(!codes.is_empty(), expected, "{name}");
        }
    }
}

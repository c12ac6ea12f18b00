//! Care dates: when what a resource tells of took place, and which search parameter of a type says so.

use super::date::{self, Span, Window};
use super::{Expr, KeyRange, Prefix, prefix_of};
use crate::clock::Micros;

const LAST_UPDATED: &[u8] = b"_lastUpdated\0";

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

/// The resources whose care date overlaps a range of time: from the first moment of `start` to the last of `end`.
///
/// `codes` are date parameters: the first one that a resource has a value for tells its care date. `undated` is what becomes
/// of resources that have none of them.
#[must_use]
pub fn care_dates(codes: &[&str], (start, end): (Option<Span>, Option<Span>), undated: bool) -> Expr {
    if start.is_none() && end.is_none() {
        return Expr::All;
    }
    let otherwise = if undated { Expr::All } else { Expr::none() };
    codes.iter().rev().fold(otherwise, |otherwise, code| {
        let prefix = prefix_of(code);
        let present = Expr::Keys(KeyRange::prefix(&prefix));
        let overlaps = |prefix_of_value, span| {
            let ranges = date::matching(prefix_of_value, span, Micros(0));
            Expr::any(ranges.into_iter().map(|range| range.under(&prefix)))
        };
        // "Ends after the moment before the start" and "starts before the moment after the end": values that only reach
        // into the range count too.
        let moment = |at| Span { low: at, high: at };
        let from = start.and_then(|span| span.low.checked_sub(1)).map(|before| overlaps(Prefix::Gt, moment(before)));
        let to = end.and_then(|span| span.high.checked_add(1)).map(|after| overlaps(Prefix::Lt, moment(after)));
        let inside = Expr::and(std::iter::once(present.clone()).chain(from).chain(to));
        Expr::or([inside, Expr::and([present.negate(), otherwise])])
    })
}

/// The resources of a type whose care date lies wholly within a span of time. Those without any count by when they were stored; what
/// is not stored yet would be now.
#[must_use]
pub fn within(type_name: &str, span: Span, now: Micros) -> Expr {
    by_care_date(type_name, (span, now), |prefix| {
        Expr::any(date::matching(Prefix::Eq, span, Micros(0)).into_iter().map(|range| range.under(prefix)))
    })
}

/// The resources of a type whose care date has a moment in common with a span of time, else as [`within`].
#[must_use]
pub fn overlapping(type_name: &str, span: Span, now: Micros) -> Expr {
    by_care_date(type_name, (span, now), |prefix| {
        Expr::any(Window::overlapping(span).ranges().into_iter().map(|range| range.under(prefix)))
    })
}

fn by_care_date(type_name: &str, (span, now): (Span, Micros), meets: impl Fn(&[u8]) -> Expr) -> Expr {
    let is_now = (span.low..=span.high).contains(&now.0);
    let stored = Expr::Keys(KeyRange::prefix(LAST_UPDATED));
    let undated = Expr::or(is_now.then(|| stored.negate()).into_iter().chain([meets(LAST_UPDATED)]));
    care_date_codes(type_name).iter().rev().fold(undated, |otherwise, code| {
        let prefix = prefix_of(code);
        let present = Expr::Keys(KeyRange::prefix(&prefix));
        Expr::or([meets(&prefix), Expr::and([present.negate(), otherwise])])
    })
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

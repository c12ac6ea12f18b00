//! One encounter and what is done in it: measuring, vaccinating, billing.

use super::chart::Chart;
use super::codes::{
    BMI, DIASTOLIC, Finding, HEART_RATE, HEIGHT, Measure, Problem, SYSTOLIC, TEMPERATURE, VACCINES, Vaccine, WEIGHT,
};
use super::datatypes::{
    CVX, ICD10, LOINC, SNOMED, Tree, UCUM, code_of, coding, concept, decimal, dollars, hl7, moment, with,
};
use super::organizations::payer;
use super::person::Person;
use crate::tree;
use jiff::ToSpan;
use jiff::civil::{Date, DateTime};

/// When somebody was seen, and why.
#[derive(Debug)]
pub(super) struct Visit {
    pub(super) start: DateTime,
    minutes: i64,
    /// What brought them, if not a check-up.
    pub(super) reason: Option<Problem>,
    pub(super) encounter: Tree,
}

/// Why somebody comes: `Encounter.class`, the SNOMED CT code and name of `Encounter.type`, the price in cents.
const CHECK_UP: (&str, &str, &str, i64) = ("AMB", "185349003", "Encounter for check up (procedure)", 14_000);
const SYMPTOM: (&str, &str, &str, i64) = ("AMB", "185345009", "Encounter for symptom (procedure)", 9_500);
const VIRTUAL: (&str, &str, &str, i64) =
    ("VR", "448337001", "Telemedicine consultation with patient (procedure)", 6_000);

impl Visit {
    /// Adds the encounter, its measurements and its claim. <https://hl7.org/fhir/R4/encounter.html>
    pub(super) fn record(
        chart: &mut Chart,
        person: &Person,
        coverage: &Tree,
        day: Date,
        reason: Option<Problem>,
    ) -> Self {
        let hour = i8::try_from(chart.random.between(8, 16)).unwrap_or(8);
        let start = day.at(hour, chart.random.pick(&[0, 15, 30, 45]), 0, 0);
        let minutes = chart.random.between(3, 9) * 5;
        let is_virtual = reason.is_some() && chart.random.chance(20);
        let kind = if is_virtual { VIRTUAL } else { reason.map_or(CHECK_UP, |_| SYMPTOM) };
        let class = match kind.0 {
            "VR" => coding(hl7("v3-ActCode"), "VR", "virtual"),
            _ => coding(hl7("v3-ActCode"), "AMB", "ambulatory"),
        };
        let encounter = tree!({
            "resourceType": "Encounter",
            "status": "finished",
            "class": (class),
            "type": [(concept(SNOMED, kind.1, kind.2))],
            "subject": (chart.patient()),
            "participant": [{
                "type": [(code_of("v3-ParticipationType", "PPRF"))], "individual": (person.clinician.reference())
            }],
            "period": (period(start, minutes))
        });
        let encounter = match reason {
            Some(problem) => with(encounter, "reasonCode", vec![concept(SNOMED, problem.snomed, problem.display)]),
            None => encounter,
        };
        let encounter = if is_virtual {
            encounter
        } else {
            with(encounter, "location", vec![tree!({ "location": (person.clinician.location()) })])
        };
        let encounter = chart.put(with(encounter, "serviceProvider", person.clinician.organization()));
        let visit = Self { start, minutes, reason, encounter };
        if !is_virtual {
            visit.vital_signs(chart, person);
            visit.vaccinate(chart, person);
        }
        visit.bill(chart, person, coverage, kind);
        visit
    }

    /// A time within the encounter, in minutes after its start.
    fn at(&self, minutes: i64) -> String {
        moment(self.start.saturating_add(minutes.min(self.minutes).minutes()))
    }

    fn vital_signs(&self, chart: &mut Chart, person: &Person) {
        let age = person.age(self.start.date());
        let (weight, body_mass) = person.weight(age, chart.random.between(-12, 12));
        let base = if age < 14 { 92 } else { 104 + age / 5 } + if person.has_hypertension() { 18 } else { 0 };
        let systolic = base + chart.random.between(-9, 11);
        let diastolic = systolic * 62 / 100 + chart.random.between(-4, 5);
        self.blood_pressure(chart, systolic, diastolic);
        self.observe(chart, "vital-signs", WEIGHT, weight);
        if self.reason.is_none() {
            self.observe(chart, "vital-signs", HEIGHT, person.height(age));
            if age >= 18 {
                self.observe(chart, "vital-signs", BMI, body_mass);
            }
            let pulse = chart.random.between(58, 92);
            self.observe(chart, "vital-signs", HEART_RATE, pulse);
        } else {
            let temperature = chart.random.between(364, 389);
            self.observe(chart, "vital-signs", TEMPERATURE, temperature);
        }
    }

    /// <https://hl7.org/fhir/R4/bp.html>
    fn blood_pressure(&self, chart: &mut Chart, systolic: i64, diastolic: i64) {
        let component = |measure: Measure, value: i64| {
            let component = tree!({
                "code": (concept(LOINC, measure.code, measure.display)),
                "valueQuantity": (quantity(measure, value)),
                "interpretation": [(interpretation(measure, value))]
            });
            with(component, "referenceRange", vec![reference_range(measure)])
        };
        let panel = self.observation(
            chart,
            "vital-signs",
            concept(LOINC, "85354-9", "Blood pressure panel with all children optional"),
        );
        chart.put(with(panel, "component", vec![component(SYSTOLIC, systolic), component(DIASTOLIC, diastolic)]));
    }

    /// Adds what the laboratory finds in somebody with a chronic problem.
    pub(super) fn laboratory(&self, chart: &mut Chart, finding: Finding) {
        let value = chart.random.between(finding.low, finding.high);
        self.observe(chart, "laboratory", finding.measure, value);
    }

    /// <https://hl7.org/fhir/R4/observation.html>
    fn observe(&self, chart: &mut Chart, category: &'static str, measure: Measure, value: i64) {
        let observation = self.observation(chart, category, concept(LOINC, measure.code, measure.display));
        let mut observation = with(observation, "valueQuantity", quantity(measure, value));
        if measure.low.is_some() || measure.high.is_some() {
            observation = with(observation, "interpretation", vec![interpretation(measure, value)]);
            observation = with(observation, "referenceRange", vec![reference_range(measure)]);
        }
        chart.put(observation);
    }

    fn observation(&self, chart: &Chart, category: &'static str, code: Tree) -> Tree {
        tree!({
            "resourceType": "Observation",
            "status": "final",
            "category": [(code_of("observation-category", category))],
            "code": (code),
            "subject": (chart.patient()),
            "encounter": (self.encounter.clone()),
            "effectiveDateTime": (self.at(5)),
            "issued": (self.at(10))
        })
    }

    /// <https://hl7.org/fhir/R4/immunization.html>
    fn vaccinate(&self, chart: &mut Chart, person: &Person) {
        let age = person.age(self.start.date());
        if self.reason.is_some() || !chart.random.chance(75) {
            return;
        }
        let due: Vec<Vaccine> = VACCINES.into_iter().filter(|(.., ages)| (ages.0..=ages.1).contains(&age)).collect();
        if due.is_empty() {
            return;
        }
        let (code, name, _) = chart.random.pick(&due);
        let lot = format!("LOT-{:04}", chart.random.between(1, 9999));
        chart.put(tree!({
            "resourceType": "Immunization",
            "status": "completed",
            "vaccineCode": (concept(CVX, code, name)),
            "patient": (chart.patient()),
            "encounter": (self.encounter.clone()),
            "occurrenceDateTime": (self.at(15)),
            "primarySource": true,
            "location": (person.clinician.location()),
            "lotNumber": (lot),
            "performer": [{ "actor": (person.clinician.reference()) }]
        }));
    }

    /// <https://hl7.org/fhir/R4/claim.html>
    fn bill(&self, chart: &mut Chart, person: &Person, coverage: &Tree, kind: (&str, &'static str, &'static str, i64)) {
        let cents = kind.3 + self.minutes * 110;
        let claim = tree!({
            "resourceType": "Claim",
            "status": "active",
            "type": (code_of("claim-type", "professional")),
            "use": "claim",
            "patient": (chart.patient()),
            "billablePeriod": (period(self.start, self.minutes)),
            "created": (self.at(self.minutes)),
            "insurer": (payer(is_public(person))),
            "provider": (person.clinician.organization()),
            "priority": (code_of("processpriority", "normal")),
            "insurance": [{ "sequence": 1, "focal": true, "coverage": (coverage.clone()) }]
        });
        let claim = match self.reason {
            Some(problem) => with(
                claim,
                "diagnosis",
                vec![
                    tree!({ "sequence": 1, "diagnosisCodeableConcept": (concept(ICD10, problem.icd10, problem.display)) }),
                ],
            ),
            None => claim,
        };
        let item = tree!({
            "sequence": 1,
            "productOrService": (concept(SNOMED, kind.1, kind.2)),
            "servicedDate": (self.start.date().to_string()),
            "net": (dollars(cents)),
            "encounter": [(self.encounter.clone())]
        });
        chart.put(with(with(claim, "item", vec![item]), "total", dollars(cents)));
    }
}

/// The `Coverage`, which begins with the first visit at the latest. <https://hl7.org/fhir/R4/coverage.html>
pub(super) fn coverage(chart: &Chart, person: &Person, since: Date) -> Tree {
    tree!({
        "resourceType": "Coverage",
        "status": "active",
        "subscriberId": (format!("SUB-{:06}", person.number)),
        "beneficiary": (chart.patient()),
        "period": { "start": (since.to_string()) },
        "payor": [(payer(is_public(person)))]
    })
}

/// Whether the state pays: for the young and the old.
fn is_public(person: &Person) -> bool {
    !(19..65).contains(&person.age(person.end))
}

fn period(start: DateTime, minutes: i64) -> Tree {
    tree!({ "start": (moment(start)), "end": (moment(start.saturating_add(minutes.minutes()))) })
}

fn quantity(measure: Measure, value: i64) -> Tree {
    tree!({
        "value": (decimal(value, measure.digits)), "unit": (measure.unit), "system": (UCUM), "code": (measure.unit)
    })
}

fn reference_range(measure: Measure) -> Tree {
    let bound = |name, range, value: Option<i64>| match value {
        Some(value) => with(range, name, quantity(measure, value)),
        None => range,
    };
    bound("high", bound("low", tree!({}), measure.low), measure.high)
}

fn interpretation(measure: Measure, value: i64) -> Tree {
    let (code, display) = if measure.low.is_some_and(|low| value < low) {
        ("L", "Low")
    } else if measure.high.is_some_and(|high| value > high) {
        ("H", "High")
    } else {
        ("N", "Normal")
    };
    tree!({ "coding": [(coding(hl7("v3-ObservationInterpretation"), code, display))] })
}

//! Who somebody is, before anything happens to them.

use super::codes::{CHRONIC, HYPERTENSION, Problem};
use super::datatypes::{Tree, address, code_of, coding, hl7, reference, with};
use super::names::{FAMILY, GIVEN_FEMALE, GIVEN_MALE, STREETS, TOWNS, Town};
use super::organizations::{CLINICIANS, Clinician};
use super::random::Random;
use crate::tree;
use jiff::ToSpan;
use jiff::civil::Date;

/// One person of the sample population.
#[derive(Debug)]
pub(super) struct Person {
    /// Counted from 1: `Patient/demo-{number}`.
    pub(super) number: u64,
    pub(super) female: bool,
    given: [&'static str; 2],
    pub(super) family: &'static str,
    pub(super) birth: Date,
    /// The last day of the record: today, or the day of death.
    pub(super) end: Date,
    pub(super) alive: bool,
    street: String,
    town: Town,
    /// The height when grown up, in cm.
    height: i64,
    /// Weight by the square of height, in tenths of kg/m2.
    pub(super) body_mass: i64,
    pub(super) clinician: Clinician,
    pub(super) chronic: Vec<Problem>,
}

impl Person {
    /// Draws a person. Everything but dates and what follows from age comes from the random numbers alone.
    pub(super) fn draw(number: u64, today: Date, random: &mut Random) -> Self {
        let female = random.chance(51);
        let names = if female { &GIVEN_FEMALE } else { &GIVEN_MALE };
        let given = [random.pick(names), random.pick(names)];
        let family = random.pick(&FAMILY);
        let birth = Date::constant(1932, 1, 1).saturating_add(random.between(0, 33_500).days());
        let street = format!("{} {}", random.between(1, 240), random.pick(&STREETS));
        let town = random.pick(&TOWNS);
        let height = if female { 163 } else { 176 } + random.between(-9, 9);
        let body_mass = random.between(195, 300) + random.between(0, 60);
        let (died, ago) = (random.chance(18), random.between(20, 700));
        let alive = !(died && years(birth, today) >= 76);
        let end = if alive { today } else { today.saturating_sub(ago.days()) };
        let age = years(birth, end);
        let fits = |ages: (i64, i64)| (ages.0..=ages.1).contains(&age);
        let chronic =
            CHRONIC.into_iter().filter(|problem| random.chance(problem.percent) && fits(problem.ages)).collect();
        let open: Vec<Clinician> = CLINICIANS.into_iter().filter(|who| fits(who.ages)).collect();
        let clinician = random.pick(&open);
        let given = if given[0] == given[1] { [given[0], ""] } else { given };
        Self { number, female, given, family, birth, end, alive, street, town, height, body_mass, clinician, chronic }
    }

    /// Age in whole years.
    pub(super) fn age(&self, on: Date) -> i64 {
        years(self.birth, on)
    }

    pub(super) fn has_hypertension(&self) -> bool {
        self.chronic.iter().any(|problem| problem.snomed == HYPERTENSION)
    }

    /// The height in cm at an age in years.
    pub(super) fn height(&self, age: i64) -> i64 {
        const GROWN: i64 = 18;
        if age >= GROWN { self.height } else { 62 + (self.height - 62) * (age + 1) / (GROWN + 1) }
    }

    /// The weight in tenths of a kg at an age in years, and the body mass index in tenths of kg/m2 that it makes.
    pub(super) fn weight(&self, age: i64, change: i64) -> (i64, i64) {
        let height = self.height(age);
        let body_mass = if age >= 18 { self.body_mass } else { 155 + self.body_mass / 40 * age / 3 };
        let weight = body_mass * height * height / 10_000 + change;
        (weight, weight * 10_000 / (height * height))
    }

    /// The `Patient`. <https://hl7.org/fhir/R4/patient.html>
    pub(super) fn patient(&self, random: &mut Random) -> Tree {
        let given: Vec<Tree> = self.given.iter().filter(|name| !name.is_empty()).map(|name| (*name).into()).collect();
        let (language, language_name) =
            random.pick(&[("en", "English"), ("en", "English"), ("es", "Spanish"), ("fr", "French")]);
        let patient = tree!({
            "resourceType": "Patient",
            "identifier": [{
                "use": "usual",
                "type": { "coding": [(coding(hl7("v2-0203"), "MR", "Medical record number"))] },
                "system": "https://demo.example.org/ids/mrn",
                "value": (format!("MRN-{:06}", self.number))
            }],
            "active": (self.alive),
            "name": [{ "use": "official", "family": (self.family), "given": (given) }],
            "telecom": [
                { "system": "phone", "value": (self.phone()), "use": "home" },
                { "system": "email", "value": (format!("patient-{}@demo.example.org", self.number)) }
            ],
            "gender": (self.gender()),
            "birthDate": (self.birth.to_string()),
            "address": [(address(self.street.clone(), self.town))],
            "communication": [{
                "language": { "coding": [(coding("urn:ietf:bcp:47", language, language_name))] }, "preferred": true
            }],
            "generalPractitioner": [(self.clinician.reference())],
            "managingOrganization": (self.clinician.organization())
        });
        let married = self.age(self.end) >= 24 && random.chance(55);
        let patient = with(patient, "maritalStatus", code_of("v3-MaritalStatus", if married { "M" } else { "S" }));
        if self.alive { patient } else { with(patient, "deceasedDateTime", self.end.to_string()) }
    }

    /// The caregiver of a child or of somebody old. <https://hl7.org/fhir/R4/relatedperson.html>
    pub(super) fn caregiver(&self, patient: &str, random: &mut Random) -> Option<Tree> {
        let female = random.chance(60);
        let age = self.age(self.end);
        let (code, display) = match (age, female) {
            (..=17, true) => ("MTH", "mother"),
            (..=17, false) => ("FTH", "father"),
            (74.., true) => ("DAUC", "daughter"),
            (74.., false) => ("SONC", "son"),
            _ => return None,
        };
        let given = random.pick(if female { &GIVEN_FEMALE } else { &GIVEN_MALE });
        Some(tree!({
            "resourceType": "RelatedPerson",
            "active": true,
            "patient": (reference(patient.to_owned())),
            "relationship": [{ "coding": [(coding(hl7("v3-RoleCode"), code, display))] }],
            "name": [{ "family": (self.family), "given": [(given)] }],
            "telecom": [{ "system": "phone", "value": (self.phone()), "use": "mobile" }],
            "gender": (if female { "female" } else { "male" })
        }))
    }

    fn gender(&self) -> &'static str {
        if self.female { "female" } else { "male" }
    }

    /// A number of the range that is kept free for fiction.
    fn phone(&self) -> String {
        format!("+1-207-555-{:04}", 100 + self.number % 100)
    }
}

/// Whole years between two days.
fn years(from: Date, to: Date) -> i64 {
    let before = (to.month(), to.day()) < (from.month(), from.day());
    i64::from(to.year()) - i64::from(from.year()) - i64::from(before)
}

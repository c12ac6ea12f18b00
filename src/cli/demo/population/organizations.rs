//! Who cares for the sample population: organisations, their locations, and the practitioners with their roles.

use super::datatypes::{SNOMED, Transaction, Tree, address, coding, concept, hl7, reference, with};
use super::names::TOWNS;
use super::random::Random;
use crate::fhir::tree::Value;
use crate::tree;

/// Providers of care, in the towns of the same position.
const PROVIDERS: [&str; 4] = [
    "Beacon Harbor General Hospital",
    "Lantern Point Family Clinic",
    "Saltmarsh Health Center",
    "Gull Island Pediatrics",
];

/// Payers.
const PAYERS: [&str; 2] = ["Tidewater Mutual Health Plan", "Larch State Health Program"];

/// A practitioner and the role at one of the [`PROVIDERS`].
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Clinician {
    /// Counted from 1: `Practitioner/demo-{number}`.
    pub(super) number: u64,
    /// Counted from 1: `Organization/demo-{organization}` and `Location/demo-{organization}`.
    pub(super) organization: u64,
    pub(super) given: &'static str,
    pub(super) family: &'static str,
    pub(super) female: bool,
    /// SNOMED CT.
    specialty: (&'static str, &'static str),
    /// Whom they see: from this age to this age, in years.
    pub(super) ages: (i64, i64),
}

const GENERAL: (&str, &str) = ("394814009", "General practice (specialty)");
const PEDIATRICS: (&str, &str) = ("394537008", "Pediatric specialty (qualifier value)");
const CARDIOLOGY: (&str, &str) = ("394579002", "Cardiology (qualifier value)");
const MEDICINE: (&str, &str) = ("394802001", "General medicine (qualifier value)");

const fn clinician(
    number: u64,
    organization: u64,
    name: (&'static str, &'static str),
    female: bool,
    specialty: (&'static str, &'static str),
    ages: (i64, i64),
) -> Clinician {
    Clinician { number, organization, given: name.0, family: name.1, female, specialty, ages }
}

pub(super) const CLINICIANS: [Clinician; 10] = [
    clinician(1, 1, ("Ines", "Albrecht"), true, MEDICINE, (18, 120)),
    clinician(2, 1, ("Tobias", "Renner"), false, CARDIOLOGY, (40, 120)),
    clinician(3, 1, ("Adaeze", "Nwosu"), true, MEDICINE, (18, 120)),
    clinician(4, 2, ("Hollis", "Pike"), false, GENERAL, (12, 120)),
    clinician(5, 2, ("Marisol", "Vega"), true, GENERAL, (0, 120)),
    clinician(6, 2, ("Anders", "Lund"), false, GENERAL, (12, 120)),
    clinician(7, 3, ("Bao", "Trần"), true, GENERAL, (12, 120)),
    clinician(8, 3, ("Rafael", "Moura"), false, GENERAL, (0, 120)),
    clinician(9, 4, ("Keziah", "Stone"), true, PEDIATRICS, (0, 18)),
    clinician(10, 4, ("Levi", "Grünwald"), false, PEDIATRICS, (0, 18)),
];

impl Clinician {
    pub(super) fn name(&self) -> String {
        format!("Dr. {} {}", self.given, self.family)
    }

    /// A `Reference` with display.
    pub(super) fn reference(&self) -> Tree {
        with(reference(format!("Practitioner/demo-{}", self.number)), "display", self.name())
    }

    /// The `Reference` to where they work.
    pub(super) fn organization(&self) -> Tree {
        reference(format!("Organization/demo-{}", self.organization))
    }

    /// The `Reference` to the place of work.
    pub(super) fn location(&self) -> Tree {
        reference(format!("Location/demo-{}", self.organization))
    }
}

/// The `Reference` to one of the payers, the first for `public`.
pub(super) fn payer(public: bool) -> Tree {
    reference(if public { "Organization/demo-6" } else { "Organization/demo-5" })
}

/// The first Bundle: what all patients share.
pub(super) fn bundle(seed: u64) -> Tree {
    let mut random = Random::new(seed, 0);
    let mut transaction = Transaction::default();
    let mut put = |number: u64, resource: Tree| {
        let full_url = random.uuid().urn().to_string();
        transaction.put(full_url, &format!("demo-{number}"), resource);
    };
    for (number, (name, town)) in (1_u64..).zip(PROVIDERS.iter().zip(TOWNS)) {
        let phone = format!("+1-207-555-01{number:02}");
        let street = with(address(format!("{} Harbor Street", number * 10), town), "use", "work");
        put(number, with(organization(number, name, "prov", &phone), "address", vec![street.clone()]));
        put(
            number,
            tree!({
                "resourceType": "Location", "status": "active", "name": (*name), "mode": "instance",
                "telecom": [{ "system": "phone", "value": (phone), "use": "work" }], "address": (street),
                "position": {
                    "longitude": (super::datatypes::decimal(town.longitude, 3)),
                    "latitude": (super::datatypes::decimal(town.latitude, 3))
                },
                "managingOrganization": (reference(format!("Organization/demo-{number}")))
            }),
        );
    }
    for (number, name) in (PROVIDERS.len() as u64 + 1..).zip(PAYERS) {
        put(number, organization(number, name, "pay", &format!("+1-207-555-01{number:02}")));
    }
    for who in &CLINICIANS {
        put(who.number, practitioner(who));
        put(who.number, role(who));
    }
    transaction.into_bundle()
}

fn organization(number: u64, name: &'static str, kind: &'static str, phone: &str) -> Tree {
    let display = if kind == "pay" { "Payer" } else { "Healthcare Provider" };
    tree!({
        "resourceType": "Organization",
        "identifier": [{ "system": "https://demo.example.org/ids/organization", "value": (format!("ORG-{number:03}")) }],
        "active": true,
        "type": [(concept(hl7("organization-type"), kind, display))],
        "name": (name),
        "telecom": [{ "system": "phone", "value": (phone.to_owned()), "use": "work" }]
    })
}

fn practitioner(who: &Clinician) -> Tree {
    let email = format!("practitioner-{}@demo.example.org", who.number);
    tree!({
        "resourceType": "Practitioner",
        "identifier": [{ "system": "https://demo.example.org/ids/practitioner", "value": (format!("PR-{:04}", who.number)) }],
        "active": true,
        "name": [{ "use": "official", "family": (who.family), "given": [(who.given)], "prefix": ["Dr."] }],
        "telecom": [{ "system": "email", "value": (email), "use": "work" }],
        "gender": (if who.female { "female" } else { "male" })
    })
}

fn role(who: &Clinician) -> Tree {
    let weekdays: Vec<Tree> = ["mon", "tue", "wed", "thu", "fri"].map(Value::from).into();
    tree!({
        "resourceType": "PractitionerRole", "active": true,
        "practitioner": (who.reference()), "organization": (who.organization()),
        "code": [{ "coding": [(coding(hl7("practitioner-role"), "doctor", "Doctor"))] }],
        "specialty": [(concept(SNOMED, who.specialty.0, who.specialty.1))],
        "location": [(who.location())],
        "availableTime": [{
            "daysOfWeek": (weekdays), "availableStartTime": "08:00:00", "availableEndTime": "17:00:00"
        }]
    })
}

//! Which resources belong to a patient, and which to nobody: the written rule of what a patient's record takes along.
//!
//! For the patient, or the patients, that somebody may see:
//! - **Patient**: these patients themselves; not other Patient resources that link to them.
//! - **a type in the compartment of Patient** (<https://hl7.org/fhir/R4/compartmentdefinition-patient.html>): what its parameters
//!   tie to one of them.
//! - **a type outside of it with a parameter `patient` or `subject` that may point to a Patient** (Task, Device): what points to one
//!   of them; of Device also what names no patient.
//! - **the directory** ([`shared`]): practitioners, organisations and the like, all of them.
//! - **definitions** ([`is_definition`]): value sets, questionnaires and the like, all of them.
//! - **Binary**: see [`super::access`].
//! - anything else: nothing.

use crate::fhir::definitions;
use crate::key::bytes::END;
use crate::key::range::{Bound, Step, Test};
use crate::key::ties::{ABOUT, HOLDING_ANYTHING};
use crate::key::{Expr, KeyList, KeyRange, id_in, id_key, prefix_of, reference};
use rustc_hash::FxHashMap;
use std::sync::LazyLock;

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

/// The types whose resources define something, and tell of nobody.
const DEFINITIONS: [&str; 37] = [
    "ActivityDefinition",
    "CapabilityStatement",
    "ChargeItemDefinition",
    "CodeSystem",
    "CompartmentDefinition",
    "ConceptMap",
    "EffectEvidenceSynthesis",
    "EventDefinition",
    "Evidence",
    "EvidenceVariable",
    "ExampleScenario",
    "GraphDefinition",
    "ImplementationGuide",
    "Library",
    "Measure",
    "MedicationKnowledge",
    "MedicinalProduct",
    "MessageDefinition",
    "NamingSystem",
    "ObservationDefinition",
    "OperationDefinition",
    "PlanDefinition",
    "Questionnaire",
    "ResearchDefinition",
    "ResearchElementDefinition",
    "RiskEvidenceSynthesis",
    "SearchParameter",
    "SpecimenDefinition",
    "StructureDefinition",
    "StructureMap",
    "SubstanceNucleicAcid",
    "SubstancePolymer",
    "SubstanceProtein",
    "SubstanceSpecification",
    "TerminologyCapabilities",
    "TestScript",
    "ValueSet",
];

/// Patients that somebody may see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Patients {
    /// All of them, and all that belongs to none.
    All,
    /// The one with this id.
    One(Box<str>),
    /// Those in a set of resources of type Patient.
    Set(Box<Expr>),
}

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

/// Whether a type's resources define something, and tell of nobody.
#[must_use]
pub fn is_definition(type_name: &str) -> bool {
    DEFINITIONS.binary_search(&type_name).is_ok()
}

/// The resources of a type in a compartment: `None` where the type can't be in it.
/// <https://hl7.org/fhir/R4/compartmentdefinition.html>
#[must_use]
pub fn compartment(compartment: &str, id: &str, type_name: &str) -> Option<Expr> {
    let found = definitions::r4().compartment(compartment)?;
    let codes = found.params(type_name).iter().copied().filter(|code| *code != "{def}");
    let itself = (type_name == compartment).then(|| KeyRange::exactly(&id_key(id)));
    let target = reference::matching_resource(compartment, id);
    let ranges: Vec<_> = codes.map(|code| target.clone().under(&prefix_of(code))).chain(itself).collect();
    if ranges.is_empty() { None } else { Some(Expr::any(ranges)) }
}

/// The resources of a type that are to be seen by who may see these patients; the empty set where there are none.
#[must_use]
pub fn in_patients(type_name: &str, patients: &Patients) -> Expr {
    if *patients == Patients::All || is_definition(type_name) {
        return Expr::All;
    }
    if type_name == "Patient" {
        return match patients {
            Patients::One(id) => Expr::Keys(KeyRange::exactly(&id_key(id))),
            Patients::Set(expr) => (**expr).clone(),
            Patients::All => Expr::All,
        };
    }
    let points_to_them = |code: &str| match patients {
        Patients::One(id) => Expr::Keys(reference::matching_resource("Patient", id).under(&prefix_of(code))),
        Patients::Set(expr) => Expr::Refers { code: code.into(), target: "Patient".into(), expr: expr.clone() },
        Patients::All => Expr::All,
    };
    let theirs = patient_codes(type_name).iter().copied().map(points_to_them);
    Expr::or(theirs.chain(shared(type_name)))
}

static CODES: LazyLock<FxHashMap<&'static str, Vec<&'static str>>> =
    LazyLock::new(|| definitions::r4().resource_types().iter().map(|name| (*name, codes(name))).collect());

/// The parameters that tie a type to a patient; none for a type of which no resource tells whom it is about. (A Patient is about
/// itself, and not about those that it links to.)
#[must_use]
pub fn patient_codes(type_name: &str) -> &'static [&'static str] {
    CODES.get(type_name).map(Vec::as_slice).unwrap_or_default()
}

/// The ranges of the keys that tie resources of a type to a patient: none where a type has no such ties, and none for Patient.
#[must_use]
pub fn ties_to(type_name: &str, patient: &str) -> Vec<KeyRange> {
    let prefixes = TIES.get(type_name).filter(|_| type_name != "Patient").into_iter().flatten();
    prefixes.map(|prefix| reference::matching_resource("Patient", patient).under(prefix)).collect()
}

/// The resources of a type that belong to any patient: those that refer to one; none where a type has no such ties.
#[must_use]
pub fn of_any_patient(type_name: &str) -> Expr {
    if type_name == "Patient" {
        return Expr::All;
    }
    let to_a_patient = |code: &&str| {
        let prefix = [&prefix_of(code)[..], b"r"].concat();
        // A key of a reference is the id, then the type.
        let at = vec![Step::Bytes(prefix.len()), Step::Texts(1)];
        let patient = |end: u8| [b"Patient", &[end][..]].concat().into();
        KeyRange::prefix(&prefix).bounded(Bound { at, test: Test::Between(patient(END), patient(END + 1)) })
    };
    Expr::any(patient_codes(type_name).iter().map(to_a_patient))
}

/// What the keys start with that tie a resource of a type to a patient.
static TIES: LazyLock<FxHashMap<&'static str, Vec<Vec<u8>>>> = LazyLock::new(|| {
    let ties = |name: &str| patient_codes(name).iter().copied().map(prefix_of).collect();
    definitions::r4().resource_types().iter().map(|name| (*name, ties(name))).collect()
});

/// The codes under which a type names all patients whom it is about: those of [`patient_codes`], or what else is known of it.
fn naming_codes(type_name: &str) -> &'static [&'static str] {
    if HOLDING_ANYTHING.contains(&type_name) { &[ABOUT] } else { patient_codes(type_name) }
}

/// Whether a resource of a type may tell whom it is about.
#[must_use]
pub fn names_patients(type_name: &str) -> bool {
    type_name == "Patient" || !naming_codes(type_name).is_empty()
}

/// What the keys start with that tell whom a resource of a type is about.
static NAMING: LazyLock<FxHashMap<&'static str, Vec<Vec<u8>>>> = LazyLock::new(|| {
    let naming = |name: &str| naming_codes(name).iter().copied().map(prefix_of).collect();
    definitions::r4().resource_types().iter().map(|name| (*name, naming(name))).collect()
});

/// The ids of the patients whose data a resource is, by its search keys: each once, in no order. It is the reverse of
/// [`in_patients`]: the patient itself, and whom the parameters of the compartment name; and who is named anywhere in what may hold
/// anything.
#[must_use]
pub fn patients_in<'k>(type_name: &str, keys: &'k KeyList) -> Vec<&'k str> {
    if type_name == "Patient" {
        return id_in(keys).into_iter().collect();
    }
    let mut found: Vec<&str> = Vec::new();
    for prefix in NAMING.get(type_name).into_iter().flatten() {
        let named = keys.starting_with(prefix).filter_map(|key| reference::target_in(key, prefix.len() - 1));
        for (target, id) in named {
            if target == "Patient" && !found.contains(&id) {
                found.push(id);
            }
        }
    }
    found
}

/// The same, to be kept.
#[must_use]
pub fn patients_of(type_name: &str, keys: &KeyList) -> Vec<Box<str>> {
    patients_in(type_name, keys).into_iter().map(Into::into).collect()
}

fn codes(type_name: &str) -> Vec<&'static str> {
    let definitions = definitions::r4();
    let inside = definitions.compartment("Patient").map_or(&[][..], |patient| patient.params(type_name));
    if !inside.is_empty() {
        return inside.iter().copied().filter(|code| *code != "{def}").collect();
    }
    let ties = |code: &&str| {
        let found = definitions.search_parameter(type_name, code);
        found.is_some_and(|parameter| parameter.targets.is_empty() || parameter.targets.contains(&"Patient"))
    };
    ["patient", "subject"].into_iter().filter(ties).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shared_is_in_no_patients_compartment() {
        let compartment = definitions::r4().compartment("Patient").unwrap();
        for name in SHARED.into_iter().chain(DEFINITIONS).chain(["Device"]) {
            assert!(definitions::r4().is_resource_type(name), "{name}");
            assert!(compartment.params(name).is_empty(), "{name}");
            assert!(definitions::r4().search_parameter(name, "patient").is_none() || name == "Device", "{name}");
        }
        assert_eq!(shared("Observation"), None);
        assert!(definitions::r4().search_parameter("Device", "patient").is_some());
        assert!(DEFINITIONS.is_sorted());
    }

    #[test]
    fn what_holds_anything_is_tied_to_patients_by_no_parameter() {
        assert!(HOLDING_ANYTHING.iter().all(|name| patient_codes(name).is_empty()));
        // What is left names no patient, but for the Binary, which goes with what has it.
        let is_open = |name: &str| !names_patients(name) && shared(name).is_none() && !is_definition(name);
        let of_products = |name: &str| name.starts_with("MedicinalProduct") || name.starts_with("Substance");
        let names = definitions::r4().resource_types().iter().copied();
        let left: Vec<_> = names.filter(|name| is_open(name) && !of_products(name)).collect();
        let nobodys = [
            "Binary",
            "CatalogEntry",
            "DeviceDefinition",
            "DeviceMetric",
            "EnrollmentResponse",
            "OperationOutcome",
            "ResearchStudy",
            "Slot",
            "Subscription",
            "TestReport",
        ];
        assert_eq!(left, nobodys);
    }

    #[test]
    fn what_no_rule_names_is_not_to_be_seen() {
        let one = Patients::One("p".into());
        assert_eq!(in_patients("Parameters", &one), Expr::none());
        assert_eq!(in_patients("VerificationResult", &one), Expr::none());
        assert_eq!(in_patients("ValueSet", &one), Expr::All);
        assert_ne!(in_patients("Task", &one), Expr::none());
        assert_ne!(in_patients("Task", &one), Expr::All);
        assert!(matches!(in_patients("Patient", &one), Expr::Keys(_)), "no Patient that only links to this one");
    }
}

//! Ten requests worth trying on the sample population.

/// A GET request to try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// What it shows, as a short sentence for a person.
    pub title: &'static str,
    /// What to append to the FHIR base URL and a slash; ready for a shell in single quotes, percent-encoded where needed.
    pub path: &'static str,
}

/// The requests, from the simplest to the most telling. The ids are those of [`super::population`].
pub const REQUESTS: [Request; 10] = [
    Request { title: "What this server can do", path: "metadata" },
    Request { title: "One patient", path: "Patient/demo-1" },
    Request { title: "Every version of that patient", path: "Patient/demo-1/_history" },
    Request {
        title: "Patients by the start of a name, accents and case aside, and by birth date",
        path: "Patient?name=jos&birthdate=lt2000",
    },
    Request {
        title: "That patient's blood pressures, newest first",
        path: "Observation?patient=Patient/demo-1&code=http://loinc.org%7C85354-9&_sort=-date",
    },
    Request {
        title: "Systolic pressures above 140 mm[Hg]: a code and its value within one component",
        path: "Observation?component-code-value-quantity=http://loinc.org%7C8480-6$gt140",
    },
    Request {
        title: "Patients with type 2 diabetes, found through their conditions",
        path: "Patient?_has:Condition:patient:code=http://snomed.info/sct%7C44054006",
    },
    Request {
        title: "Encounters of patients of one family name, found through their subject",
        path: "Encounter?subject:Patient.family=okafor",
    },
    Request {
        title: "Prescriptions together with who wrote them",
        path: "MedicationRequest?patient=Patient/demo-1&_include=MedicationRequest:requester",
    },
    Request { title: "Everything observed about one patient, by compartment", path: "Patient/demo-1/Observation" },
];

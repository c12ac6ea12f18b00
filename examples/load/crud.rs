//! `crud`: in each turn nine linked resources are created, read, updated, and deleted. `create`: single resources only.

use crate::check;
use crate::client::{Answer, Client};
use crate::drive::Worker;
use hyper::Method;
use hyper::body::Bytes;
use pharos::fhir::tree::{Object, Value};
use pharos::fhir::write::to_vec;
use pharos::tree;

type Tree = Value<'static>;

/// One client's turns.
pub struct Crud {
    pub client: usize,
    pub turn: u64,
}

impl Worker for Crud {
    async fn turn(&mut self, client: &mut Client) -> bool {
        self.turn += 1;
        let mark = format!("{}-{}", self.client, self.turn);
        let mut linked = Linked { mark, made: Vec::new() };
        for make in MAKERS {
            let resource = make(&linked);
            let Some(address) = create(client, &resource).await else { break };
            linked.made.push((address, resource));
        }
        for (address, resource) in &linked.made {
            read(client, address, "1", resource).await;
        }
        for (address, resource) in &mut linked.made {
            update(client, address, resource).await;
        }
        for (address, _) in linked.made.iter().rev() {
            client.ask("delete", Method::DELETE, address, None, |answer| check::status(answer, &[200, 204])).await;
        }
        true
    }
}

async fn create(client: &mut Client, resource: &Tree) -> Option<String> {
    let type_name = resource.get("resourceType").and_then(Value::as_str)?;
    let check = |answer: &Answer| {
        check::status(answer, &[201])?;
        check::version(answer, "1")?;
        let address = answer.location().ok_or("no Location")?;
        if address.starts_with(type_name) { Ok(()) } else { Err("Location of another type".to_owned()) }
    };
    let answer = client.ask("create", Method::POST, type_name, Some(to_vec(resource).into()), check).await?;
    answer.location()
}

async fn read(client: &mut Client, address: &str, version: &str, sent: &Tree) {
    let Some(sent) = sent.as_object() else { return };
    let check = |answer: &Answer| {
        check::status(answer, &[200])?;
        check::version(answer, version)?;
        check::content(answer, address, version, sent)
    };
    client.ask("read", Method::GET, address, None, check).await;
}

async fn update(client: &mut Client, address: &str, resource: &mut Tree) {
    let (Some(object), Some((_, id))) = (resource.as_object_mut(), address.split_once('/')) else { return };
    object.insert_at(1, "id", Value::from(id.to_owned()));
    object.set("language", Value::from("en"));
    let check = |answer: &Answer| {
        check::status(answer, &[200])?;
        check::version(answer, "2")
    };
    client.ask("update", Method::PUT, address, Some(Bytes::from(to_vec(resource))), check).await;
}

/// What a turn made so far.
struct Linked {
    mark: String,
    made: Vec<(String, Tree)>,
}

impl Linked {
    /// A `Reference` to what was made in this place of [`MAKERS`].
    fn to(&self, place: usize) -> Tree {
        let address = self.made.get(place).map(|(address, _)| address.clone()).unwrap_or_default();
        tree!({ "reference": (address) })
    }
}

const ORGANIZATION: usize = 0;
const PRACTITIONER: usize = 1;
const PATIENT: usize = 2;
const ENCOUNTER: usize = 3;
const CONDITION: usize = 4;

const MAKERS: [fn(&Linked) -> Tree; 9] =
    [organization, practitioner, patient, encounter, condition, observation, medication_request, immunization, allergy];

fn organization(linked: &Linked) -> Tree {
    tree!({
        "resourceType": "Organization",
        "identifier": [{ "system": "https://load.example.org/organization", "value": (linked.mark.clone()) }],
        "active": true,
        "name": (format!("Clinic {}", linked.mark)),
        "address": [{ "line": ["1 Harbor Street"], "city": "Saltmarsh", "postalCode": "04903", "country": "US" }]
    })
}

fn practitioner(linked: &Linked) -> Tree {
    tree!({
        "resourceType": "Practitioner",
        "identifier": [{ "system": "https://load.example.org/practitioner", "value": (linked.mark.clone()) }],
        "active": true,
        "name": [{ "family": "Lund", "given": ["Anders"], "prefix": ["Dr."] }],
        "gender": "male"
    })
}

fn patient(linked: &Linked) -> Tree {
    tree!({
        "resourceType": "Patient",
        "identifier": [{ "system": "https://load.example.org/patient", "value": (linked.mark.clone()) }],
        "active": true,
        "name": [{ "use": "official", "family": (format!("Vance{}", linked.mark)), "given": ["Grace", "Zoë"] }],
        "telecom": [{ "system": "phone", "value": "+1-207-555-0142", "use": "home" }],
        "gender": "female",
        "birthDate": "1975-02-27",
        "address": [{ "line": ["12 Ropewalk"], "city": "Saltmarsh", "postalCode": "04903", "country": "US" }],
        "generalPractitioner": [(linked.to(PRACTITIONER))],
        "managingOrganization": (linked.to(ORGANIZATION))
    })
}

fn encounter(linked: &Linked) -> Tree {
    tree!({
        "resourceType": "Encounter",
        "status": "finished",
        "class": { "system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "AMB", "display": "ambulatory" },
        "type": [{ "coding": [{ "system": "http://snomed.info/sct", "code": "185349003" }] }],
        "subject": (linked.to(PATIENT)),
        "participant": [{ "individual": (linked.to(PRACTITIONER)) }],
        "period": { "start": "2025-03-04T10:15:00-05:00", "end": "2025-03-04T10:45:00-05:00" },
        "serviceProvider": (linked.to(ORGANIZATION))
    })
}

fn condition(linked: &Linked) -> Tree {
    tree!({
        "resourceType": "Condition",
        "clinicalStatus": { "coding": [
            { "system": "http://terminology.hl7.org/CodeSystem/condition-clinical", "code": "active" }
        ] },
        "code": { "coding": [{ "system": "http://snomed.info/sct", "code": "38341003" }], "text": "Hypertension" },
        "subject": (linked.to(PATIENT)),
        "encounter": (linked.to(ENCOUNTER)),
        "onsetDateTime": "2024-11-02"
    })
}

fn observation(linked: &Linked) -> Tree {
    blood_pressure(linked.to(PATIENT), linked.to(ENCOUNTER))
}

fn blood_pressure(patient: Tree, encounter: Tree) -> Tree {
    let component = |code: &'static str, value: u64| {
        tree!({
            "code": { "coding": [{ "system": "http://loinc.org", "code": (code) }] },
            "valueQuantity": {
                "value": (value), "unit": "mm[Hg]", "system": "http://unitsofmeasure.org", "code": "mm[Hg]"
            }
        })
    };
    tree!({
        "resourceType": "Observation",
        "status": "final",
        "category": [{ "coding": [
            { "system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": "vital-signs" }
        ] }],
        "code": { "coding": [{ "system": "http://loinc.org", "code": "85354-9" }], "text": "Blood pressure" },
        "subject": (patient),
        "encounter": (encounter),
        "effectiveDateTime": "2025-03-04T10:20:00-05:00",
        "issued": "2025-03-04T10:25:00-05:00",
        "component": [(component("8480-6", 138)), (component("8462-4", 84))]
    })
}

fn medication_request(linked: &Linked) -> Tree {
    tree!({
        "resourceType": "MedicationRequest",
        "status": "active",
        "intent": "order",
        "medicationCodeableConcept": {
            "coding": [{ "system": "http://www.nlm.nih.gov/research/umls/rxnorm", "code": "197361" }]
        },
        "subject": (linked.to(PATIENT)),
        "encounter": (linked.to(ENCOUNTER)),
        "authoredOn": "2025-03-04T10:40:00-05:00",
        "requester": (linked.to(PRACTITIONER)),
        "reasonReference": [(linked.to(CONDITION))]
    })
}

fn immunization(linked: &Linked) -> Tree {
    tree!({
        "resourceType": "Immunization",
        "status": "completed",
        "vaccineCode": { "coding": [{ "system": "http://hl7.org/fhir/sid/cvx", "code": "140" }] },
        "patient": (linked.to(PATIENT)),
        "encounter": (linked.to(ENCOUNTER)),
        "occurrenceDateTime": "2025-03-04T10:30:00-05:00",
        "primarySource": true
    })
}

fn allergy(linked: &Linked) -> Tree {
    tree!({
        "resourceType": "AllergyIntolerance",
        "clinicalStatus": { "coding": [
            { "system": "http://terminology.hl7.org/CodeSystem/allergyintolerance-clinical", "code": "active" }
        ] },
        "category": ["medication"],
        "code": { "coding": [{ "system": "http://snomed.info/sct", "code": "764146007" }] },
        "patient": (linked.to(PATIENT))
    })
}

/// Creates one Observation after the other, for one patient.
pub struct Creator {
    pub body: Bytes,
}

impl Creator {
    /// The Observation that is created: about 900 bytes.
    pub fn resource() -> Object<'static> {
        let patient = tree!({ "reference": "Patient/load-patient" });
        let encounter = tree!({ "reference": "Encounter/load-encounter" });
        match blood_pressure(patient, encounter) {
            Value::Object(object) => object,
            _ => Object::new(),
        }
    }
}

impl Worker for Creator {
    async fn turn(&mut self, client: &mut Client) -> bool {
        let check = |answer: &Answer| {
            check::status(answer, &[201])?;
            check::version(answer, "1")?;
            answer.location().map(|_| ()).ok_or_else(|| "no Location".to_owned())
        };
        client.ask("create", Method::POST, "Observation", Some(self.body.clone()), check).await;
        true
    }
}

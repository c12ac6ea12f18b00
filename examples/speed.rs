use pharos::fhir::parse::parse;
use pharos::fhirpath::*;
use std::time::Instant;
fn main() {
    let read = |f: &str| std::fs::read(format!("../shared/conformance/fhirpath/input/{f}.json")).unwrap();
    for (f, es) in [
        (
            "patient-example",
            vec![
                "Patient.name.family",
                "Patient.name.given",
                "Patient.telecom.where(system='phone')",
                "Patient.birthDate",
                "Patient.generalPractitioner",
                "(Patient.deceased as dateTime)",
                "Patient.deceased.exists() and Patient.deceased != false",
                "Patient.address.city | Person.address.city | Practitioner.address.city | RelatedPerson.address.city",
                "Patient.extension('x').value",
                "Resource.meta.lastUpdated",
                "Patient.birthDate.extension('http://hl7.org/fhir/StructureDefinition/patient-birthTime').value",
                "Patient.managingOrganization.where(resolve() is Organization)",
            ],
        ),
        (
            "observation-example",
            vec![
                "(Observation.value as Quantity)",
                "Observation.value as Quantity",
                "Observation.code",
                "Observation.subject.where(resolve() is Patient)",
                "(Observation.value as Quantity) | (Observation.component.value as Quantity)",
                "(AllergyIntolerance.code | AllergyIntolerance.reaction.substance | Condition.code | (DeviceRequest.code as CodeableConcept) | DiagnosticReport.code | FamilyMemberHistory.condition.code | List.code | Medication.code | (MedicationAdministration.medication as CodeableConcept) | (MedicationDispense.medication as CodeableConcept) | (MedicationRequest.medication as CodeableConcept) | (MedicationStatement.medication as CodeableConcept) | Observation.code | Procedure.code | (ServiceRequest.code))",
            ],
        ),
    ] {
        let b = read(f);
        let t = parse(&b, 64).unwrap();
        let root = Item::resource(t.as_object().unwrap());
        let ctx = Context::new(&root);
        for e in es {
            let x = Expression::compile(e).unwrap();
            let mut n = 0;
            for _ in 0..1000 {
                n += x.evaluate(&ctx, root.clone()).unwrap().len();
            }
            let s = Instant::now();
            for _ in 0..100000 {
                n += x.evaluate(&ctx, root.clone()).unwrap().len();
            }
            println!("{:6} ns {} ({})", s.elapsed().as_nanos() / 100000, &e[..e.len().min(90)], n / 101000);
        }
    }
}

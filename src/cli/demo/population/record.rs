//! One patient's record from the first visit to the last, in the order in which it happened.

use super::chart::Chart;
use super::codes::{ACUTE, ALLERGIES, Drug, Problem};
use super::datatypes::{ICD10, RXNORM, SNOMED, Tree, code_of, coding, concept, moment, with};
use super::person::Person;
use super::random::Random;
use super::visit::{Visit, coverage};
use crate::tree;
use jiff::ToSpan;
use jiff::civil::Date;

/// The Bundle of patient `number`, counted from 1.
pub(super) fn bundle(seed: u64, number: u64, today: Date) -> Tree {
    let mut random = Random::new(seed, number);
    let person = Person::draw(number, today, &mut random);
    let mut chart = Chart::new(number, random);
    let patient = person.patient(&mut chart.random);
    chart.put_patient(patient);
    let patient_url = chart.patient_url().to_owned();
    let caregiver = person.caregiver(&patient_url, &mut chart.random).map(|resource| chart.put(resource));
    allergies(&mut chart, &person);

    let days = visit_days(&mut chart.random, &person);
    let insured = coverage(&chart, &person, days.first().copied().unwrap_or(person.birth));
    let insured = chart.put(insured);
    for (n, day) in days.iter().enumerate() {
        let reason = if n > 0 && chart.random.chance(55) { acute(&mut chart.random, &person, *day) } else { None };
        let visit = Visit::record(&mut chart, &person, &insured, *day, reason);
        if let Some(problem) = reason {
            condition(&mut chart, &person, &visit, problem, false);
        }
        for problem in &person.chronic {
            if n == 0 {
                condition(&mut chart, &person, &visit, *problem, true);
            }
            if let (Some(finding), true) = (problem.finding, reason.is_none()) {
                visit.laboratory(&mut chart, finding);
            }
        }
    }
    if !person.chronic.is_empty() {
        let team = care_team(&chart, &person, caregiver, days.first().copied().unwrap_or(person.birth));
        chart.put(team);
    }
    if person.alive {
        appointment(&mut chart, &person, today);
    }
    chart.into_bundle()
}

/// One to three days in the last years of the record, ascending, none before birth.
fn visit_days(random: &mut Random, person: &Person) -> Vec<Date> {
    let mut day = person.end.saturating_sub(random.between(3, 160).days());
    let mut days: Vec<Date> = (0..random.between(1, 3))
        .map(|_| {
            let this = day;
            day = this.saturating_sub(random.between(60, 420).days());
            this.max(person.birth)
        })
        .collect();
    days.sort_unstable();
    days.dedup();
    days
}

fn acute(random: &mut Random, person: &Person, day: Date) -> Option<Problem> {
    let age = person.age(day);
    let possible: Vec<Problem> =
        ACUTE.into_iter().filter(|problem| (problem.ages.0..=problem.ages.1).contains(&age)).collect();
    (!possible.is_empty()).then(|| random.pick(&possible))
}

/// Adds a problem and what is prescribed for it. <https://hl7.org/fhir/R4/condition.html>
fn condition(chart: &mut Chart, person: &Person, visit: &Visit, problem: Problem, chronic: bool) {
    let day = visit.start.date();
    let before = if chronic { chart.random.between(0, 2000) } else { chart.random.between(1, 5) };
    let onset = day.saturating_sub(before.days()).max(person.birth);
    let over = day.saturating_add(chart.random.between(5, 16).days());
    let resolved = !chronic && over <= person.end;
    let category = if chronic { "problem-list-item" } else { "encounter-diagnosis" };
    let condition = tree!({
        "resourceType": "Condition",
        "clinicalStatus": (code_of("condition-clinical", if resolved { "resolved" } else { "active" })),
        "verificationStatus": (code_of("condition-ver-status", "confirmed")),
        "category": [(code_of("condition-category", category))],
        "code": {
            "coding": [
                (coding(SNOMED, problem.snomed, problem.display)),
                { "system": (ICD10), "code": (problem.icd10) }
            ],
            "text": (problem.display)
        },
        "subject": (chart.patient()),
        "encounter": (visit.encounter.clone()),
        "onsetDateTime": (onset.to_string()),
        "recordedDate": (moment(visit.start)),
        "recorder": (person.clinician.reference())
    });
    let condition =
        chart.put(if resolved { with(condition, "abatementDateTime", over.to_string()) } else { condition });
    if let Some(drug) = problem.drug {
        prescribe(chart, person, visit, drug, condition, chronic);
    }
}

/// <https://hl7.org/fhir/R4/medicationrequest.html>
fn prescribe(chart: &mut Chart, person: &Person, visit: &Visit, drug: Drug, reason: Tree, chronic: bool) {
    let status = if chronic && person.alive { "active" } else { "completed" };
    let text = format!(
        "Take {} by mouth, {} a day",
        drug.dose,
        if drug.times_a_day == 1 { "once".into() } else { format!("{} times", drug.times_a_day) }
    );
    chart.put(tree!({
        "resourceType": "MedicationRequest",
        "status": (status),
        "intent": "order",
        "category": [(code_of("medicationrequest-category", "community"))],
        "medicationCodeableConcept": (concept(RXNORM, drug.code, drug.display)),
        "subject": (chart.patient()),
        "encounter": (visit.encounter.clone()),
        "authoredOn": (moment(visit.start)),
        "requester": (person.clinician.reference()),
        "reasonReference": [(reason)],
        "dosageInstruction": [{
            "sequence": 1,
            "text": (text),
            "timing": { "repeat": { "frequency": (drug.times_a_day), "period": 1, "periodUnit": "d" } },
            "doseAndRate": [{ "doseQuantity": { "value": (drug.dose), "unit": "dose" } }]
        }],
        "dispenseRequest": {
            "quantity": { "value": (drug.dose * drug.times_a_day * drug.days) },
            "expectedSupplyDuration": {
                "value": (drug.days), "unit": "days", "system": (super::datatypes::UCUM), "code": "d"
            }
        }
    }));
}

/// <https://hl7.org/fhir/R4/allergyintolerance.html>
fn allergies(chart: &mut Chart, person: &Person) {
    if !chart.random.chance(30) {
        return;
    }
    let (code, substance, category, reaction, reaction_name) = chart.random.pick(&ALLERGIES);
    let severity = chart.random.pick(&["mild", "moderate", "severe"]);
    chart.put(tree!({
        "resourceType": "AllergyIntolerance",
        "clinicalStatus": (code_of("allergyintolerance-clinical", "active")),
        "verificationStatus": (code_of("allergyintolerance-verification", "confirmed")),
        "type": "allergy",
        "category": [(category)],
        "criticality": (if severity == "severe" { "high" } else { "low" }),
        "code": (concept(SNOMED, code, substance)),
        "patient": (chart.patient()),
        "recorder": (person.clinician.reference()),
        "reaction": [{ "manifestation": [(concept(SNOMED, reaction, reaction_name))], "severity": (severity) }]
    }));
}

/// Who looks after somebody with a chronic problem. <https://hl7.org/fhir/R4/careteam.html>
fn care_team(chart: &Chart, person: &Person, caregiver: Option<Tree>, since: Date) -> Tree {
    let member = |code, role, who: Tree| tree!({ "role": [(concept(SNOMED, code, role))], "member": (who) });
    let mut participants = vec![
        member("116154003", "Patient", chart.patient()),
        member("59058001", "General physician", person.clinician.reference()),
    ];
    participants.extend(caregiver.map(|who| member("133932002", "Caregiver", who)));
    let status = if person.alive { "active" } else { "inactive" };
    let mut period = tree!({ "start": (since.to_string()) });
    if !person.alive {
        period = with(period, "end", person.end.to_string());
    }
    tree!({
        "resourceType": "CareTeam",
        "status": (status),
        "name": (format!("Care team of MRN-{:06}", person.number)),
        "subject": (chart.patient()),
        "period": (period),
        "participant": (participants),
        "managingOrganization": [(person.clinician.organization())]
    })
}

/// <https://hl7.org/fhir/R4/appointment.html>
fn appointment(chart: &mut Chart, person: &Person, today: Date) {
    let day = today.saturating_add(chart.random.between(1, 90).days());
    let hour = i8::try_from(chart.random.between(8, 16)).unwrap_or(8);
    let start = day.at(hour, chart.random.pick(&[0, 20, 40]), 0, 0);
    let status = chart.random.pick(&["booked", "booked", "booked", "pending"]);
    let answer = if status == "booked" { "accepted" } else { "tentative" };
    let participant = |who: Tree, status: &'static str| tree!({ "actor": (who), "status": (status) });
    chart.put(tree!({
        "resourceType": "Appointment",
        "status": (status),
        "appointmentType": (concept(super::datatypes::hl7("v2-0276"), "FOLLOWUP", "A follow up visit from a previous appointment")),
        "start": (moment(start)),
        "end": (moment(start.saturating_add(20.minutes()))),
        "minutesDuration": 20,
        "created": (moment(person.end.at(9, 0, 0, 0))),
        "participant": [
            (participant(chart.patient(), answer)),
            (participant(person.clinician.reference(), "accepted")),
            (participant(person.clinician.location(), "accepted"))
        ]
    }));
}

//! Random Consents.

use super::population::{Rng, any_id, one_of, reference};
use serde_json::{Value, json};

const ACT_CODE: &str = "http://terminology.hl7.org/CodeSystem/v3-ActCode";
const ACT_REASON: &str = "http://terminology.hl7.org/CodeSystem/v3-ActReason";
const ACTIONS: &str = "http://terminology.hl7.org/CodeSystem/consentaction";
const CONFIDENTIALITY: &str = "http://terminology.hl7.org/CodeSystem/v3-Confidentiality";
const PARTICIPATION: &str = "http://terminology.hl7.org/CodeSystem/v3-ParticipationType";
const TYPES: &str = "http://hl7.org/fhir/resource-types";

/// The body of a Consent.
pub fn consent(rng: &mut Rng) -> Value {
    let scope =
        rng.pick(&["patient-privacy", "patient-privacy", "patient-privacy", "patient-privacy", "research", "adr"]);
    let mut made = json!({
        "status": rng.pick(&["active", "active", "active", "active", "inactive", "rejected"]),
        "scope": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/consentscope", "code": scope}]},
        "category": [{"text": "x"}],
        "patient": reference(rng, "Patient")
    });
    if rng.chance(90) {
        let rule =
            rng.pick(&["OPTIN", "OPTIN", "OPTIN", "OPTINR", "OPTOUT", "OPTOUT", "OPTOUTE", "EMRGONLY", "IMPLIED"]);
        made["policyRule"] = json!({"coding": [{"system": ACT_CODE, "code": rule}]});
    }
    let mut root = json!({});
    if rng.chance(20) {
        root["period"] = period(rng);
    }
    if rng.chance(10) {
        root["type"] = rng.pick(&["permit", "deny"]).into();
    }
    if rng.chance(15) {
        bound(rng, &mut root);
    }
    if rng.chance(80) {
        root["provision"] = (0..=rng.below(2)).map(|_| provision(rng, 2)).collect();
    }
    if root != json!({}) {
        made["provision"] = root;
    }
    if rng.chance(4) {
        made["modifierExtension"] = json!([{"url": "urn:x", "valueBoolean": true}]);
    }
    made
}

fn provision(rng: &mut Rng, depth: usize) -> Value {
    let mut made = json!({"type": rng.pick(&["permit", "deny"])});
    for _ in 0..=rng.below(2) {
        bound(rng, &mut made);
    }
    if depth > 0 && rng.chance(35) {
        made["provision"] = (0..=rng.below(2)).map(|_| provision(rng, depth - 1)).collect();
    }
    if rng.chance(3) {
        made.as_object_mut().unwrap().remove("type");
    }
    made
}

/// Adds a condition.
fn bound(rng: &mut Rng, made: &mut Value) {
    let (name, value) = match rng.below(12) {
        0..=2 => ("actor", several(rng, actor)),
        3 => ("action", several(rng, action)),
        4 | 5 => ("purpose", several(rng, purpose)),
        6 => ("securityLabel", several(rng, label)),
        7 => ("class", several(rng, class)),
        8 => ("code", several(rng, code)),
        9 => ("data", several(rng, data)),
        10 => ("period", period(rng)),
        _ => ("dataPeriod", data_period(rng)),
    };
    made[name] = value;
}

fn several(rng: &mut Rng, one: fn(&mut Rng) -> Value) -> Value {
    (0..=rng.below(2)).map(|_| one(rng)).collect()
}

fn period(rng: &mut Rng) -> Value {
    let (bound, day) =
        rng.pick(&[("start", "2025-01-01"), ("end", "2027-01-01"), ("end", "2025-06-30"), ("start", "2027-02-03")]);
    json!({bound: day})
}

fn data_period(rng: &mut Rng) -> Value {
    let first = 1 + rng.below(20);
    match rng.below(4) {
        0 => json!({"start": format!("2020-01-{first:02}")}),
        1 => json!({"end": format!("2020-01-{first:02}")}),
        _ => json!({"start": format!("2020-01-{first:02}"), "end": format!("2020-01-{:02}", first + 8)}),
    }
}

fn actor(rng: &mut Rng) -> Value {
    let role = match rng.below(8) {
        0..=3 => json!({"system": PARTICIPATION, "code": rng.pick(&["PRCP", "IRCP"])}),
        4 => json!({"system": PARTICIPATION, "code": "CST"}),
        5 => json!({"system": "urn:pharos:role", "code": rng.pick(&["Provider", "Role 0", "Role 1"])}),
        _ => json!({"system": "urn:c", "code": rng.pick(&["nurse", "doctor"])}),
    };
    let who = match rng.below(10) {
        0 => json!({"display": "somebody"}),
        1 => json!({"identifier": {"value": "1"}}),
        2 => json!({"reference": "https://elsewhere.example/fhir/Practitioner/doc1"}),
        3 | 4 => reference(rng, "Practitioner"),
        5 | 6 => reference(rng, "Organization"),
        7 => reference(rng, "CareTeam"),
        _ => one_of(rng, &["PractitionerRole", "Group", "Patient", "RelatedPerson", "Device"]),
    };
    json!({"role": {"coding": [role]}, "reference": who})
}

fn action(rng: &mut Rng) -> Value {
    let code = rng.pick(&["access", "access", "disclose", "use", "collect", "correct"]);
    if rng.chance(8) { json!({"text": "look"}) } else { json!({"coding": [{"system": ACTIONS, "code": code}]}) }
}

fn purpose(rng: &mut Rng) -> Value {
    json!({"system": ACT_REASON, "code": rng.pick(&["TREAT", "TREAT", "ETREAT", "HRESCH", "CLINTRCH", "HPAYMT"])})
}

fn label(rng: &mut Rng) -> Value {
    json!({"system": rng.pick(&["urn:s", CONFIDENTIALITY, CONFIDENTIALITY]), "code": rng.pick(&["N", "R"])})
}

fn class(rng: &mut Rng) -> Value {
    match rng.below(6) {
        0 => json!({"system": "urn:c", "code": "laboratory"}),
        1 => json!({"system": TYPES, "code": "Nothing"}),
        _ => {
            let types = ["Observation", "Condition", "Encounter", "DocumentReference", "Patient", "CareTeam"];
            json!({"system": TYPES, "code": rng.pick(&types)})
        }
    }
}

fn code(rng: &mut Rng) -> Value {
    let code = rng.pick(&["x", "y", "laboratory"]);
    match rng.below(8) {
        0 => json!({"text": "x"}),
        1 => json!({"coding": [{"code": code}]}),
        _ => json!({"coding": [{"system": "urn:c", "code": code}]}),
    }
}

fn data(rng: &mut Rng) -> Value {
    let meaning = rng.pick(&["instance", "related", "dependents", "authoredby"]);
    let named = match meaning {
        _ if rng.chance(8) => json!({"reference": "https://elsewhere.example/fhir/Observation/obs1"}),
        "authoredby" => json!({"reference": format!("Practitioner/{}", any_id(rng, "Practitioner"))}),
        _ => one_of(rng, &["Observation", "Observation", "Encounter", "List", "Condition"]),
    };
    json!({"meaning": meaning, "reference": named})
}

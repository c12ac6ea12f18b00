//! Random resources in several versions, tokens, and the parts of requests.

use super::directives;
use super::model::{Role, element_of_patient};
use base64::Engine;
use serde_json::{Value, json};

/// SplitMix64: small, and the same everywhere.
pub struct Rng(pub u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(end).unwrap()).unwrap()
    }

    /// True `percent` times of a hundred.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())]
    }
}

/// The types, and how many resources of each there may be: their ids are the name in lower case and a number from 1 on.
pub const TYPES: [(&str, &str, usize); 17] = [
    ("Patient", "pat", 4),
    ("Practitioner", "doc", 2),
    ("PractitionerRole", "role", 2),
    ("Organization", "org", 2),
    ("CareTeam", "team", 3),
    ("RelatedPerson", "kin", 2),
    ("Observation", "obs", 7),
    ("Condition", "con", 3),
    ("Encounter", "enc", 3),
    ("DocumentReference", "ref", 3),
    ("Binary", "bin", 5),
    ("Provenance", "prov", 2),
    ("Task", "task", 2),
    ("Group", "group", 1),
    ("Device", "dev", 2),
    ("List", "list", 2),
    ("ValueSet", "vs", 1),
];

/// The same for Consents, which no request of these tests changes.
pub const CONSENTS: (&str, &str, usize) = ("Consent", "dir", 4);

const FAMILIES: [&str; 4] = ["Abel", "Baker", "Cole", "Dunn"];
const CATEGORIES: [&str; 2] = ["laboratory", "vital-signs"];

pub fn any_type(rng: &mut Rng) -> &'static str {
    let weighted = TYPES.iter().flat_map(|(name, _, count)| std::iter::repeat_n(*name, *count)).collect::<Vec<_>>();
    rng.pick(&weighted)
}

/// An id of a type, at times of one that is not there.
pub fn any_id(rng: &mut Rng, type_name: &str) -> String {
    let (_, short, count) = TYPES.iter().find(|(name, ..)| *name == type_name).unwrap();
    let extra = usize::from(rng.chance(8));
    format!("{short}{}", 1 + rng.below(*count) + extra * count)
}

pub(super) fn reference(rng: &mut Rng, type_name: &str) -> Value {
    json!({"reference": format!("{type_name}/{}", any_id(rng, type_name))})
}

pub(super) fn one_of(rng: &mut Rng, types: &[&str]) -> Value {
    let type_name = rng.pick(types);
    reference(rng, type_name)
}

fn concept(code: &str) -> Value {
    json!({"coding": [{"system": "urn:c", "code": code}]})
}

/// A resource of a type, and in it a text that is nowhere else: see [`mark_of`].
pub fn resource(rng: &mut Rng, type_name: &str, id: &str) -> Value {
    let mark = format!("mark.{type_name}.{id}.{:016x}", rng.next());
    let mut made = body(rng, type_name, id);
    made["resourceType"] = type_name.into();
    made["id"] = id.into();
    if type_name == "Binary" {
        made["data"] = base64::engine::general_purpose::STANDARD.encode(mark).into();
    } else {
        made["extension"] = json!([{"url": "urn:mark", "valueString": mark}]);
    }
    if rng.chance(50) {
        made["meta"]["tag"] = json!([{"system": "urn:t", "code": rng.pick(&["a", "b"])}]);
    }
    if rng.chance(30) {
        let system = rng.pick(&["urn:s", "http://terminology.hl7.org/CodeSystem/v3-Confidentiality"]);
        made["meta"]["security"] = json!([{"system": system, "code": rng.pick(&["N", "R"])}]);
    }
    made
}

/// What of a resource is to be found nowhere else.
pub fn mark_of(content: &Value) -> Option<&str> {
    content.pointer("/extension/0/valueString").or_else(|| content.get("data"))?.as_str()
}

fn body(rng: &mut Rng, type_name: &str, id: &str) -> Value {
    match type_name {
        "Patient" => {
            let mut patient =
                json!({"name": [{"family": rng.pick(&FAMILIES)}], "gender": rng.pick(&["female", "male"])});
            let practitioners: Vec<_> =
                (0..rng.below(3)).map(|_| one_of(rng, &["Practitioner", "PractitionerRole"])).collect();
            if !practitioners.is_empty() {
                patient["generalPractitioner"] = practitioners.into();
            }
            if rng.chance(20) {
                patient["link"] = json!([{"other": reference(rng, "Patient"), "type": "seealso"}]);
            }
            patient
        }
        "Practitioner" => json!({"name": [{"family": rng.pick(&FAMILIES)}]}),
        "PractitionerRole" => {
            let mut role = json!({"active": rng.chance(60), "practitioner": reference(rng, "Practitioner")});
            if rng.chance(60) {
                role["organization"] = reference(rng, "Organization");
            }
            if rng.chance(60) {
                role["code"] = json!([concept(rng.pick(&["nurse", "doctor"]))]);
            }
            role
        }
        "Organization" => {
            let above = if rng.chance(40) { json!({"partOf": reference(rng, "Organization")}) } else { json!({}) };
            merged(json!({"name": rng.pick(&FAMILIES)}), &above)
        }
        "CareTeam" => {
            let members: Vec<_> = (0..=rng.below(2))
                .map(|_| json!({"member": one_of(rng, &["Practitioner", "PractitionerRole", "Patient"])}))
                .collect();
            json!({"status": rng.pick(&["active", "inactive", "proposed"]), "subject": reference(rng, "Patient"), "participant": members})
        }
        "RelatedPerson" => {
            json!({"active": rng.chance(70), "patient": reference(rng, "Patient"), "name": [{"family": rng.pick(&FAMILIES)}]})
        }
        "Consent" => directives::consent(rng),
        "ValueSet" => json!({"status": "active", "url": format!("urn:vs:{id}")}),
        "Device" => {
            let patient = if rng.chance(50) { json!({"patient": reference(rng, "Patient")}) } else { json!({}) };
            merged(patient, &json!({"status": rng.pick(&["active", "inactive"])}))
        }
        _ => record(rng, type_name),
    }
}

/// The types that are about a patient.
fn record(rng: &mut Rng, type_name: &str) -> Value {
    let subject = reference(rng, "Patient");
    match type_name {
        "Observation" => {
            let performer = one_of(rng, &["Practitioner", "Patient", "Organization"]);
            let mut made = json!({
                "status": rng.pick(&["final", "amended"]), "category": [concept(rng.pick(&CATEGORIES))],
                "code": concept(rng.pick(&["x", "y"])), "subject": subject, "encounter": reference(rng, "Encounter"),
                "performer": [performer], "effectiveDateTime": format!("2020-01-{:02}", 1 + rng.below(28))
            });
            if rng.chance(20) {
                made["contained"] =
                    json!([{"resourceType": "Practitioner", "id": "in", "name": [{"family": rng.pick(&FAMILIES)}]}]);
                made["performer"] = json!([{"reference": "#in"}]);
            }
            if rng.chance(20) {
                made["hasMember"] = json!([reference(rng, "Observation")]);
            }
            made
        }
        "Condition" => {
            let asserter = one_of(rng, &["Practitioner", "Patient"]);
            json!({"category": [concept(rng.pick(&CATEGORIES))], "code": concept("x"), "subject": subject, "encounter": reference(rng, "Encounter"), "asserter": asserter})
        }
        "Encounter" => {
            json!({"status": rng.pick(&["planned", "finished"]), "class": {"code": "AMB"}, "subject": subject})
        }
        "DocumentReference" => {
            let author = one_of(rng, &["Practitioner", "Patient"]);
            let url = format!("Binary/{}", any_id(rng, "Binary"));
            json!({"status": "current", "category": [concept(rng.pick(&CATEGORIES))], "subject": subject, "author": [author], "content": [{"attachment": {"url": url}}]})
        }
        "Binary" => {
            let context = one_of(rng, &["Patient", "Observation", "DocumentReference", "Organization"]);
            let context = if rng.chance(50) { json!({"securityContext": context}) } else { json!({}) };
            merged(json!({"contentType": "text/plain"}), &context)
        }
        "Provenance" => {
            let targets = [one_of(rng, &["Patient", "Observation"]), one_of(rng, &["Patient", "Condition"])];
            json!({"target": targets, "recorded": "2020-01-01T00:00:00Z", "agent": [{"who": reference(rng, "Practitioner")}]})
        }
        "Task" => {
            json!({"status": rng.pick(&["requested", "completed"]), "intent": "order", "for": subject, "focus": reference(rng, "Observation")})
        }
        "Group" => json!({"type": "person", "actual": true, "member": [{"entity": subject}]}),
        "List" => {
            json!({"status": "current", "mode": "working", "subject": subject, "entry": [{"item": reference(rng, "Observation")}, {"item": reference(rng, "Condition")}]})
        }
        other => panic!("no {other}"),
    }
}

fn merged(mut one: Value, two: &Value) -> Value {
    let members = two.as_object().cloned().unwrap_or_default();
    one.as_object_mut().unwrap().extend(members);
    one
}

/// The least of a type: of no patient, in no category.
pub fn blank(type_name: &str, id: &str) -> Value {
    let body = match type_name {
        "Observation" => json!({"status": "unknown", "code": {"text": "x"}}),
        "Condition" => json!({"subject": {"display": "x"}}),
        "Encounter" => json!({"status": "unknown", "class": {"code": "AMB"}}),
        "DocumentReference" => json!({"status": "superseded", "content": [{"attachment": {"title": "x"}}]}),
        "Binary" => json!({"contentType": "text/plain", "securityContext": {"reference": "Patient/nobody"}}),
        "Provenance" => {
            json!({"target": [{"display": "x"}], "recorded": "2020-01-01T00:00:00Z", "agent": [{"who": {"display": "x"}}]})
        }
        "Task" => json!({"status": "draft", "intent": "order"}),
        "Group" => json!({"type": "person", "actual": true}),
        "List" => json!({"status": "retired", "mode": "working"}),
        "Consent" => json!({"status": "draft", "scope": {"text": "x"}, "category": [{"text": "x"}]}),
        "ValueSet" => json!({"status": "draft"}),
        "RelatedPerson" => json!({"patient": {"display": "x"}}),
        "Device" => json!({"patient": {"reference": "Patient/nobody"}}),
        _ => json!({}),
    };
    merged(json!({"resourceType": type_name, "id": id}), &body)
}

/// A criterion of a type, as scopes and searches have it.
pub fn criterion(rng: &mut Rng, type_name: &str) -> String {
    let own = match rng.below(6) {
        0 => match type_name {
            "Observation" => Some(format!("status{}=final", rng.pick(&["", ":not"]))),
            "CareTeam" => Some("status=active".to_owned()),
            "Encounter" => Some("status:not=planned".to_owned()),
            "Task" => Some("status=requested".to_owned()),
            _ => None,
        },
        1 | 2 => match type_name {
            "Observation" | "Condition" | "DocumentReference" => Some(format!("category={}", rng.pick(&CATEGORIES))),
            "Patient" => Some(format!("gender={}", rng.pick(&["female", "male"]))),
            _ => None,
        },
        3 => element_of_patient(type_name).map(|_| format!("patient=Patient/{}", any_id(rng, "Patient"))),
        4 => Some(format!("_id={}", any_id(rng, type_name))),
        _ => None,
    };
    own.unwrap_or_else(|| label(rng))
}

fn label(rng: &mut Rng) -> String {
    let not = rng.pick(&["", "", ":not"]);
    if rng.chance(60) {
        format!("_tag{not}={}", rng.pick(&["a", "b"]))
    } else {
        format!("_security{not}={}", rng.pick(&["N", "R"]))
    }
}

/// One scope.
fn scope(rng: &mut Rng, levels: &[&str]) -> String {
    let level = rng.pick(levels);
    let letters =
        rng.pick(&["rs", "rs", "rs", "cruds", "cruds", "r", "s", "u", "cud", "crus", "rd", "read", "write", "*"]);
    let is_v1 = ["read", "write", "*"].contains(&letters);
    let type_name = if rng.chance(25) { "*" } else { any_type(rng) };
    let restriction = match type_name {
        _ if is_v1 || rng.chance(60) => String::new(),
        "*" => format!("?{}", label(rng)),
        name if rng.chance(20) => format!("?{}&{}", criterion(rng, name), label(rng)),
        name => format!("?{}", criterion(rng, name)),
    };
    format!("{level}/{type_name}.{letters}{restriction}")
}

fn scopes(rng: &mut Rng, levels: &[&str]) -> String {
    let most = if rng.chance(30) { 3 } else { 9 };
    (0..=rng.below(most)).map(|_| scope(rng, levels)).collect::<Vec<_>>().join(" ")
}

/// What a token is made of.
#[derive(Debug)]
pub struct Token {
    pub scopes: String,
    pub patient: Option<String>,
    /// Roles, and the user's resource; none for a client that acts for itself.
    pub user: Option<(Vec<Role>, Option<String>)>,
    pub break_glass: bool,
    /// Whether some patients have Consents.
    pub with_consents: bool,
    /// What the registration of a client that acts for itself says of it.
    pub registered: Option<String>,
    pub purposes: Vec<String>,
}

pub fn token(rng: &mut Rng) -> Token {
    if rng.chance(35) {
        let scopes = if rng.chance(40) { "system/*.cruds".into() } else { scopes(rng, &["system"]) };
        return Token {
            scopes,
            patient: None,
            user: None,
            break_glass: false,
            with_consents: rng.chance(60),
            registered: rng.chance(50).then(|| format!("Organization/{}", any_id(rng, "Organization"))),
            purposes: purposes(rng),
        };
    }
    let patient = rng.chance(70).then(|| any_id(rng, "Patient"));
    let levels: &[&str] =
        if patient.is_some() { &["patient", "patient", "user"] } else { &["user", "user", "patient"] };
    let scopes = if rng.chance(50) { format!("{}/*.cruds", levels[0]) } else { scopes(rng, levels) };
    let roles = (0..=rng.below(2)).map(|number| role(rng, number)).collect();
    let fhir_user = match rng.below(8) {
        0..=3 => Some(format!("Practitioner/doc{}", 1 + rng.below(2))),
        4 => Some(format!("RelatedPerson/kin{}", 1 + rng.below(2))),
        5 | 6 => Some(format!("Patient/pat{}", 1 + rng.below(4))),
        _ => None,
    };
    let (break_glass, with_consents) = (rng.chance(15), rng.chance(60));
    let user = Some((roles, fhir_user));
    Token { scopes, patient, user, break_glass, with_consents, registered: None, purposes: Vec::new() }
}

/// The same, but of somebody whom little but consents limits.
pub fn wide_token(rng: &mut Rng) -> Token {
    let letters = rng.pick(&["cruds", "cruds", "cruds", "rs"]);
    let plain = |scopes: String| Token {
        scopes,
        patient: None,
        user: None,
        break_glass: false,
        with_consents: true,
        registered: None,
        purposes: Vec::new(),
    };
    if rng.chance(35) {
        let registered = rng.chance(60).then(|| format!("Organization/{}", any_id(rng, "Organization")));
        return Token { registered, purposes: purposes(rng), ..plain(format!("system/*.{letters}")) };
    }
    let wide = |rng: &mut Rng, number| Role {
        scopes: "user/*.cruds".into(),
        own_patients: false,
        purposes: purposes(rng),
        ..role(rng, number)
    };
    let roles = (0..=rng.below(2)).map(|number| Role { name: format!("Role {number}"), ..wide(rng, number) }).collect();
    let fhir_user = match rng.below(8) {
        0..=4 => Some(format!("Practitioner/doc{}", 1 + rng.below(2))),
        5 => Some(format!("RelatedPerson/kin{}", 1 + rng.below(2))),
        6 => Some(format!("Patient/pat{}", 1 + rng.below(4))),
        _ => None,
    };
    Token { user: Some((roles, fhir_user)), break_glass: rng.chance(5), ..plain(format!("user/*.{letters}")) }
}

fn purposes(rng: &mut Rng) -> Vec<String> {
    let count = rng.pick(&[0, 1, 1, 1, 2]);
    let mut purposes: Vec<_> =
        (0..count).map(|_| rng.pick(&["TREAT", "ETREAT", "HRESCH", "CLINTRCH", "HPAYMT"]).to_owned()).collect();
    purposes.sort();
    purposes.dedup();
    purposes
}

fn role(rng: &mut Rng, number: usize) -> Role {
    let all = |types: &[&str], letters: &str| {
        types.iter().map(|name| format!("user/{name}.{letters} ")).collect::<Vec<_>>().concat()
    };
    if rng.chance(25) {
        // As `docs/security.md` has it.
        let clinical = [
            "Binary",
            "CareTeam",
            "Condition",
            "Consent",
            "Device",
            "DocumentReference",
            "Encounter",
            "Group",
            "List",
            "Observation",
            "Patient",
            "Provenance",
            "RelatedPerson",
            "Task",
        ];
        let shared = ["Organization", "Practitioner", "PractitionerRole", "ValueSet"];
        let scopes = all(&clinical, "crus") + &all(&shared, "rs");
        let purposes = Vec::new();
        return Role { name: "Provider".into(), scopes, own_patients: true, break_glass: true, purposes };
    }
    let scopes = if rng.chance(40) {
        "user/*.cruds".into()
    } else {
        scopes(rng, &["user"]).replace(".read", ".rs").replace(".write", ".cud").replace(".*", ".cruds")
    };
    let (own_patients, break_glass) = (rng.chance(45), rng.chance(50));
    Role { name: format!("Role {number}"), scopes, own_patients, break_glass, purposes: purposes(rng) }
}

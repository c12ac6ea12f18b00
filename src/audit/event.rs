//! From a record to an AuditEvent: <https://hl7.org/fhir/R4/auditevent.html>, in the patterns of IHE's Basic Audit Log Patterns
//! (<https://profiles.ihe.net/ITI/BALP/>).
//!
//! One AuditEvent tells of one request, and names every patient whose data it gave out; BALP would have one for each patient. So one
//! that names several claims the profile for none.

use super::record::{Changed, Content, Event, Shape};
use crate::auth::agent::Agent;
use crate::clock::Micros;
use crate::fhir::tree::{Object, Value};
use crate::tree;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

const DCM: &str = "http://dicom.nema.org/resources/ontology/DCM";
const EVENT_TYPE: &str = "http://terminology.hl7.org/CodeSystem/audit-event-type";
const INTERACTION: &str = "http://hl7.org/fhir/restful-interaction";
const LIFECYCLE: &str = "http://terminology.hl7.org/CodeSystem/iso-21089-lifecycle";
const IHE: &str = "urn:ihe:event-type-code";
const PARTICIPATION: &str = "http://terminology.hl7.org/CodeSystem/v3-ParticipationType";
const REASON: &str = "http://terminology.hl7.org/CodeSystem/v3-ActReason";
const BALP: &str = "https://profiles.ihe.net/ITI/BALP/StructureDefinition/IHE.BasicAudit.";
/// The codes that no standard has: of operations, and of what was administered.
pub const OWN: &str = "urn:pharos:audit-event";

/// What kind an event is.
struct Kind<'k> {
    /// `AuditEvent.type`.
    of: (&'static str, &'static str),
    /// `AuditEvent.subtype`.
    subtypes: Vec<(&'static str, &'k str)>,
    /// `AuditEvent.action`.
    action: char,
    /// The last part of BALP's profile.
    profile: Option<&'static str>,
}

/// The codes of the events: of DICOM those of context groups 400 and 401, of IHE the transactions of IUA.
fn kind(event: &Event) -> Kind<'_> {
    let of = |of, subtypes, action| Kind { of, subtypes, action, profile: None };
    let rest = (EVENT_TYPE, "rest");
    let authentication = (DCM, "110114");
    let alert = (DCM, "110113");
    match event {
        Event::Interaction(code) => {
            let (action, profile) = interaction(code);
            Kind { of: rest, subtypes: vec![(INTERACTION, code)], action, profile }
        }
        Event::Operation(code) => of(rest, vec![(INTERACTION, "operation"), (OWN, code)], 'E'),
        Event::SignIn => of(authentication, vec![(DCM, "110122")], 'E'),
        Event::SignOut => of(authentication, vec![(DCM, "110123")], 'E'),
        Event::Lockout => of(alert, vec![(DCM, "110122"), (OWN, "lockout")], 'E'),
        Event::Token => of(authentication, vec![(IHE, "ITI-71")], 'E'),
        Event::Reuse => of(alert, vec![(IHE, "ITI-71"), (OWN, "reuse")], 'E'),
        Event::Introspection => of(authentication, vec![(IHE, "ITI-102")], 'E'),
        Event::Revocation => of(authentication, vec![(OWN, "revocation")], 'E'),
        Event::Authorization => of(alert, vec![(OWN, "authorization")], 'E'),
        Event::Emergency => of(alert, vec![(DCM, "110127")], 'E'),
        Event::EmergencyEnd => of(alert, vec![(DCM, "110138")], 'E'),
        Event::Account => of(alert, vec![(DCM, "110137"), (OWN, "account")], 'U'),
        Event::Administration(what) => of(alert, vec![(DCM, configuration(what)), (OWN, what)], 'U'),
        Event::Export => of((DCM, "110106"), vec![(OWN, "export")], 'R'),
        Event::Erasure => of((LIFECYCLE, "destroy"), vec![(OWN, "erasure")], 'D'),
        Event::Archival => of((LIFECYCLE, "archive"), vec![(OWN, "archival")], 'E'),
        Event::Start => of((DCM, "110100"), vec![(DCM, "110120")], 'E'),
        Event::Stop => of((DCM, "110100"), vec![(DCM, "110121")], 'E'),
        Event::Verification => of((DCM, "110101"), vec![(OWN, "verification")], 'R'),
    }
}

/// What was configured, in the codes of DICOM (part 16, context group 401): attributes of a user, roles, software, or security.
fn configuration(what: &str) -> &'static str {
    match what {
        "user" => "110137",
        "role" => "110136",
        "package" => "110131",
        _ => "110129",
    }
}

fn interaction(code: &str) -> (char, Option<&'static str>) {
    match code {
        "read" | "vread" => ('R', Some("Read")),
        "history-instance" | "history-type" | "history-system" | "history" => ('R', None),
        "create" => ('C', Some("Create")),
        "update" => ('U', Some("Update")),
        "patch" => ('U', Some("Update")),
        "delete" => ('D', Some("Delete")),
        "search-type" | "search-system" | "search" => ('E', Some("Query")),
        _ => ('E', None),
    }
}

/// The AuditEvent of a record. Without the content it has all but what is the record's own: as many entities, that name nothing.
#[must_use]
pub fn resource(base: &str, shape: &Shape<'_>, own: Option<(&str, Micros, &Content<'_>)>) -> Object<'static> {
    let mut kind = kind(&shape.event);
    if shape.agent.emergency.is_some() {
        // No search parameter of R4 looks at `purposeOfEvent`.
        kind.subtypes.push((OWN, "emergency"));
    }
    let mut event = Object::new();
    event.set("resourceType", Value::from("AuditEvent"));
    if let Some((id, ..)) = own {
        event.set("id", Value::from(id.to_owned()));
    }
    if let Some(profile) = profile(&kind, shape) {
        event.set("meta", tree!({ "profile": [(profile)] }));
    }
    event.set("type", coding(kind.of.0, kind.of.1));
    event.set("subtype", kind.subtypes.iter().map(|(system, code)| coding(system, code)).collect::<Vec<_>>().into());
    event.set("action", Value::from(kind.action.to_string()));
    if let Some((_, time, _)) = own {
        event.set("recorded", Value::from(time.to_instant()));
    }
    event.set("outcome", Value::from(outcome(shape.status)));
    if let Some(text) = outcome_text(shape, own.map(|(.., content)| content)) {
        event.set("outcomeDesc", Value::from(text));
    }
    if let Some(purpose) = purposes(&shape.agent) {
        event.set("purposeOfEvent", purpose);
    }
    event.set("agent", agents(base, shape, kind.action).into());
    event.set(
        "source",
        tree!({
            "observer": { "display": (base.to_owned()) },
            "type": [{ "system": "http://terminology.hl7.org/CodeSystem/security-source-type", "code": "4" }],
        }),
    );
    let entities = entities(shape, own.map(|(.., content)| content));
    if !entities.is_empty() {
        event.set("entity", entities.into());
    }
    event
}

fn coding(system: &str, code: &str) -> Value<'static> {
    tree!({ "system": (system.to_owned()), "code": (code.to_owned()) })
}

fn concept(system: &str, code: &str) -> Value<'static> {
    tree!({ "coding": [(coding(system, code))] })
}

/// <http://terminology.hl7.org/CodeSystem/audit-event-outcome>
const fn outcome(status: u16) -> &'static str {
    match status {
        0..400 => "0",
        400..500 => "4",
        _ => "8",
    }
}

fn outcome_text(shape: &Shape<'_>, content: Option<&Content<'_>>) -> Option<String> {
    let note = content.and_then(|content| content.note.as_deref());
    match (shape.status, note) {
        (0..400, note) => note.map(ToOwned::to_owned),
        (status, None) => Some(format!("HTTP {status}")),
        (status, Some(note)) => Some(format!("HTTP {status}: {note}")),
    }
}

fn profile(kind: &Kind<'_>, shape: &Shape<'_>) -> Option<String> {
    let name = kind.profile.filter(|_| shape.status < 400 && !shape.has_several_patients())?;
    let patient = if shape.has_patients() { "Patient" } else { "" };
    Some(format!("{BALP}{patient}{name}"))
}

fn purposes(agent: &Agent) -> Option<Value<'static>> {
    let coded = agent.purpose.iter().map(|code| concept(REASON, code));
    let emergency = agent.emergency.as_deref().map(|reason| {
        tree!({ "coding": [{ "system": (REASON), "code": "BTG" }], "text": (reason.to_owned()) })
    });
    let all: Vec<_> = coded.chain(emergency).collect();
    (!all.is_empty()).then(|| all.into())
}

/// The client, the server, and the person where there is one. In BALP the client is where the data goes to when it is read, and where it
/// comes from otherwise.
fn agents(base: &str, shape: &Shape<'_>, action: char) -> Vec<Value<'static>> {
    let agent = &*shape.agent;
    let mut all = Vec::new();
    let is_by_person = agent.user.is_some() || agent.name.is_some();
    let (client, server) = match action {
        'R' => ((DCM, "110152"), (DCM, "110153")),
        'D' => ((DCM, "110150"), ("http://terminology.hl7.org/CodeSystem/provenance-participant-type", "custodian")),
        _ => ((DCM, "110153"), (DCM, "110152")),
    };
    if shape.from.is_some() || agent.client.is_some() {
        all.push(client_agent(shape, client, !is_by_person));
    }
    all.push(tree!({
        "type": (concept(server.0, server.1)),
        "who": { "display": (base.to_owned()) },
        "requestor": (all.is_empty() && !is_by_person),
        "network": { "address": (base.to_owned()), "type": "5" },
    }));
    if is_by_person {
        all.push(person(agent, action));
    }
    all
}

fn client_agent(shape: &Shape<'_>, kind: (&str, &str), is_requestor: bool) -> Value<'static> {
    let who = match &shape.agent.client {
        Some(client) => tree!({ "identifier": { "value": (client.to_string()) } }),
        None => tree!({ "display": "unknown" }),
    };
    let mut client = Object::new();
    client.set("type", concept(kind.0, kind.1));
    client.set("who", who);
    client.set("requestor", Value::from(is_requestor));
    if let Some(id) = &shape.agent.client {
        client.set("altId", Value::from(id.to_string()));
    }
    if is_requestor {
        set_policy(&mut client, &shape.agent);
    }
    if let Some(from) = shape.from {
        client.set("network", tree!({ "address": (from.to_string()), "type": "2" }));
    }
    client.into()
}

fn person(agent: &Agent, action: char) -> Value<'static> {
    let mut person = Object::new();
    let participation = if matches!(action, 'R' | 'E') { "IRCP" } else { "AUT" };
    person.set("type", concept(PARTICIPATION, participation));
    if !agent.roles.is_empty() {
        let roles = agent.roles.iter().map(|role| tree!({ "text": (role.to_string()) }));
        person.set("role", roles.collect::<Vec<_>>().into());
    }
    let identifier = || agent.user.as_deref().map(|user| tree!({ "value": (user.to_owned()) }));
    let mut who = Object::new();
    if let Some(reference) = &agent.fhir_user {
        who.set("reference", Value::from(reference.to_string()));
    }
    if let Some(identifier) = identifier() {
        who.set("identifier", identifier);
    }
    if let Some(name) = &agent.name {
        who.set("display", Value::from(name.to_string()));
    }
    person.set("who", who.into());
    if let Some(user) = &agent.user {
        person.set("altId", Value::from(user.to_string()));
    }
    if let Some(name) = &agent.name {
        person.set("name", Value::from(name.to_string()));
    }
    person.set("requestor", Value::from(true));
    set_policy(&mut person, agent);
    if let Some(purposes) = purposes(agent) {
        person.set("purposeOfUse", purposes);
    }
    person.into()
}

/// By what right: the token, and the authorization that it comes from.
fn set_policy(agent: &mut Object<'static>, of: &Agent) {
    let uri = |kind: &str, id: &str| Value::from(format!("urn:pharos:{kind}:{id}"));
    let token = of.token.iter().map(|id| uri("token", id));
    let authorization = of.authorization.iter().map(|id| uri("authorization", id));
    let issuer = of.issuer.iter().map(|issuer| Value::from(issuer.to_string()));
    let all: Vec<_> = token.chain(authorization).chain(issuer).collect();
    if !all.is_empty() {
        agent.set("policy", all.into());
    }
}

fn entity(reference: Option<&str>, kind: &str, role: &str) -> Object<'static> {
    let mut entity = Object::new();
    if let Some(reference) = reference {
        entity.set("what", tree!({ "reference": (reference.to_owned()) }));
    }
    entity.set("type", coding("http://terminology.hl7.org/CodeSystem/audit-entity-type", kind));
    entity.set("role", coding("http://terminology.hl7.org/CodeSystem/object-role", role));
    entity
}

fn entities(shape: &Shape<'_>, content: Option<&Content<'_>>) -> Vec<Value<'static>> {
    let mut all: Vec<Value<'static>> = Vec::new();
    let mut add = |entity: Object<'static>| all.push(entity.into());
    match content {
        Some(content) => {
            for patient in &content.patients {
                add(entity(Some(&format!("Patient/{patient}")), "1", "1"));
            }
            if let Some(target) = &content.target {
                add(entity(Some(target), "2", "4"));
            }
            for Changed { action, what } in &content.changed {
                let mut changed = entity(Some(what), "2", "4");
                let lifecycle = match action {
                    'C' => "1",
                    'D' => "14",
                    _ => "3",
                };
                changed.set("lifecycle", coding("http://terminology.hl7.org/CodeSystem/dicom-audit-lifecycle", lifecycle));
                add(changed);
            }
        }
        None => {
            if shape.has_patients() {
                add(entity(None, "1", "1"));
            }
            if shape.has_target() || shape.has_changes() {
                add(entity(None, "2", "4"));
            }
        }
    }
    if shape.has_query() {
        let mut query = entity(None, "2", "24");
        if let Some(text) = content.and_then(|content| content.query.as_deref()) {
            query.set("query", Value::from(STANDARD.encode(text)));
        }
        add(query);
    }
    if let Some(name) = &shape.name {
        let mut named = entity(None, "2", "13");
        named.set("name", Value::from(name.to_string()));
        add(named);
    }
    all
}

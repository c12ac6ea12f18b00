//! From a record to an AuditEvent: <https://hl7.org/fhir/R4/auditevent.html>, in the patterns of IHE's Basic Audit Log Patterns
//! (<https://profiles.ihe.net/ITI/BALP/>).
//!
//! A record that names one patient, or none, is one AuditEvent. One that names several is one AuditEvent for all that was asked and
//! changed, without the patients, and one for each patient, with what concerns that patient.

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
        Event::UserInfo => of(authentication, vec![(OWN, "userinfo")], 'R'),
        Event::Launch => of(authentication, vec![(OWN, "launch")], 'C'),
        Event::Refusal => of(alert, vec![(OWN, "refusal")], 'E'),
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
        Event::Unwrapping => of(alert, vec![(DCM, "110132"), (OWN, "unwrapping")], 'E'),
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
        "update" | "patch" => ('U', Some("Update")),
        "delete" => ('D', Some("Delete")),
        "search-type" | "search-system" | "search" => ('E', Some("Query")),
        _ => ('E', None),
    }
}

/// What an AuditEvent tells beside its shape. Two of the same shape and facet differ in what they name only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Facet(u8);

const TARGET: u8 = 1;
const QUERY: u8 = 2;
const CHANGED: u8 = 4;
const PATIENT: u8 = 8;
/// One of several patients.
const ONE_OF_SEVERAL: u8 = 16;

impl Facet {
    /// That of a part of a record.
    #[must_use]
    pub fn of(content: &Content<'_>, part: u32) -> Self {
        let bit = |is_there: bool, bit: u8| if is_there { bit } else { 0 };
        Self(
            bit(target(content, part).is_some(), TARGET)
                | bit(part == 0 && content.query.is_some(), QUERY)
                | bit(changed(content, part).next().is_some(), CHANGED)
                | bit(patient(content, part).is_some(), PATIENT)
                | bit(part > 0, ONE_OF_SEVERAL),
        )
    }

    /// As a byte.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.0
    }

    const fn has(self, bit: u8) -> bool {
        self.0 & bit != 0
    }
}

/// The patient that a part of a record names.
#[must_use]
pub fn patient<'c>(content: &'c Content<'_>, part: u32) -> Option<&'c str> {
    let place = match (part, content.patients.len()) {
        (0, 1) => 0,
        (0, _) => return None,
        (part, _) => usize::try_from(part).ok()? - 1,
    };
    content.patients.get(place).map(|patient| &**patient)
}

/// The changes that a part of a record names: where there are several patients, each those of its patient's data, and the first those
/// of nobody's.
pub fn changed<'c>(content: &'c Content<'_>, part: u32) -> impl Iterator<Item = &'c Changed> {
    let has_several = content.patients.len() > 1;
    content.changed.iter().filter(move |changed| match part {
        0 => !has_several || changed.of.is_empty(),
        part => changed.of.contains(&(part - 1)),
    })
}

/// The target that a part of a record names: where there are several patients, one of them is named with their own part only.
#[must_use]
pub fn target<'c>(content: &'c Content<'_>, part: u32) -> Option<&'c str> {
    let target = content.target.as_deref()?;
    let of = target.strip_prefix("Patient/").and_then(|id| content.patients.iter().position(|own| **own == *id));
    let home = match of {
        Some(place) if content.patients.len() > 1 => place + 1,
        _ => 0,
    };
    (usize::try_from(part) == Ok(home)).then_some(target)
}

/// What is an AuditEvent's own.
#[derive(Debug, Clone, Copy)]
pub struct Own<'o> {
    /// The id.
    pub id: &'o str,
    /// When it happened.
    pub time: Micros,
    /// The record's content.
    pub content: &'o Content<'o>,
    /// Which part of the record.
    pub part: u32,
}

/// The AuditEvent of a record. Without what is its own it has as many kinds of entities, that name nothing.
#[must_use]
pub fn resource(base: &str, shape: &Shape<'_>, facet: Facet, own: Option<Own<'_>>) -> Object<'static> {
    let mut kind = kind(&shape.event);
    if shape.agent.emergency.is_some() {
        // No search parameter of R4 looks at `purposeOfEvent`.
        kind.subtypes.push((OWN, "emergency"));
    }
    let mut event = Object::new();
    event.set("resourceType", Value::from("AuditEvent"));
    if let Some(own) = own {
        event.set("id", Value::from(own.id.to_owned()));
    }
    if let Some(profile) = profile(&kind, shape, facet) {
        event.set("meta", tree!({ "profile": [(profile)] }));
    }
    event.set("type", coding(kind.of.0, kind.of.1));
    event.set("subtype", kind.subtypes.iter().map(|(system, code)| coding(system, code)).collect::<Vec<_>>().into());
    event.set("action", Value::from(kind.action.to_string()));
    if let Some(own) = own {
        event.set("recorded", Value::from(own.time.to_instant()));
    }
    event.set("outcome", Value::from(outcome(shape.status)));
    if let Some(text) = outcome_text(shape, own) {
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
    let entities = entities(shape, facet, own);
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

fn outcome_text(shape: &Shape<'_>, own: Option<Own<'_>>) -> Option<String> {
    let note = own.filter(|own| own.part == 0).and_then(|own| own.content.note.as_deref());
    match (shape.status, note) {
        (0..400, note) => note.map(ToOwned::to_owned),
        (status, None) => Some(format!("HTTP {status}")),
        (status, Some(note)) => Some(format!("HTTP {status}: {note}")),
    }
}

fn profile(kind: &Kind<'_>, shape: &Shape<'_>, facet: Facet) -> Option<String> {
    let name = kind.profile.filter(|_| shape.status < 400 && !facet.has(ONE_OF_SEVERAL))?;
    let patient = if facet.has(PATIENT) { "Patient" } else { "" };
    Some(format!("{BALP}{patient}{name}"))
}

fn purposes(agent: &Agent) -> Option<Value<'static>> {
    let coded = agent.purpose.iter().map(|code| concept(REASON, code));
    let emergency = agent
        .emergency
        .as_deref()
        .map(|reason| tree!({ "coding": [{ "system": (REASON), "code": "BTG" }], "text": (reason.to_owned()) }));
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
    let client_id = shape.agent.client.as_ref();
    let who = client_id.map_or_else(
        || tree!({ "display": "unknown" }),
        |client| tree!({ "identifier": { "value": (client.to_string()) } }),
    );
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

fn entities(shape: &Shape<'_>, facet: Facet, own: Option<Own<'_>>) -> Vec<Value<'static>> {
    let mut all: Vec<Value<'static>> = Vec::new();
    let mut add = |entity: Object<'static>| all.push(entity.into());
    let content = own.map(|own| own.content);
    if facet.has(PATIENT) {
        let patient = own.and_then(|own| patient(own.content, own.part)).map(|id| format!("Patient/{id}"));
        add(entity(patient.as_deref(), "1", "1"));
    }
    if facet.has(TARGET) {
        add(entity(own.and_then(|own| target(own.content, own.part)), "2", "4"));
    }
    match own {
        Some(own) => changed(own.content, own.part).for_each(|changed| add(changed_entity(changed))),
        None if facet.has(CHANGED) => add(entity(None, "2", "4")),
        None => {}
    }
    if facet.has(QUERY) {
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

fn changed_entity(Changed { action, what, .. }: &Changed) -> Object<'static> {
    let mut changed = entity(Some(what), "2", "4");
    let lifecycle = match action {
        'C' => "1",
        'D' => "14",
        _ => "3",
    };
    changed.set("lifecycle", coding("http://terminology.hl7.org/CodeSystem/dicom-audit-lifecycle", lifecycle));
    changed
}

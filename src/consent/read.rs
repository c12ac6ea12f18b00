//! A Consent resource as what the server makes of it.
//!
//! <https://hl7.org/fhir/R4/consent-definitions.html>. What can't be understood is never guessed: such a Consent permits nothing.

use crate::fhir::tree::{Object, Value};
use crate::key::date::Span;

/// The system of `scope`.
const SCOPES: &str = "http://terminology.hl7.org/CodeSystem/consentscope";
/// The system of the base policies.
const ACT_CODE: &str = "http://terminology.hl7.org/CodeSystem/v3-ActCode";

/// What a provision does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It permits.
    Permit,
    /// It denies.
    Deny,
}

/// What holds where no provision says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Base {
    /// `OPTIN`, `OPTINR`.
    Permit,
    /// `OPTOUT`, `OPTOUTE`.
    Deny,
    /// `EMRGONLY`: only emergency treatment is permitted.
    Emergency,
    /// `policyRule` is missing, or is none of these: the setting says.
    Unknown,
}

/// What a Consent is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Who may see what: `patient-privacy`, and what is not known.
    Privacy,
    /// Research: it counts for requests for research only.
    Research,
    /// Care in advance, or a treatment: it says nothing of who may see what.
    Other,
}

/// A Consent that is active.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consent {
    /// The id.
    pub id: Box<str>,
    /// What it is about.
    pub scope: Scope,
    /// The base rule.
    pub base: Base,
    /// The root provision; its `period` is when the Consent is in force.
    pub root: Provision,
    /// Why it permits nothing, where it can't be understood: no words of the resource.
    pub fault: Option<&'static str>,
}

/// A provision. What is absent is no condition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Provision {
    /// Where it stands: `Consent.provision.provision[1]`.
    pub path: String,
    /// What it does; the root provision has none by R4.
    pub kind: Option<Kind>,
    /// When it holds.
    pub period: Option<Span>,
    /// Of whom it is.
    pub actors: Option<Vec<Actor>>,
    /// Of which actions it is.
    pub actions: Option<Codes>,
    /// The labels of what it is about.
    pub labels: Option<Codes>,
    /// What it is for.
    pub purposes: Option<Codes>,
    /// The kinds of what it is about.
    pub classes: Option<Codes>,
    /// The codes of what it is about.
    pub codes: Option<Codes>,
    /// When what it is about took place.
    pub data_period: Option<Span>,
    /// Which resources it is about.
    pub data: Option<Vec<Data>>,
    /// The exceptions to it.
    pub provisions: Vec<Provision>,
}

/// Codes of which one has to be met.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Codes {
    /// Each with its system.
    pub known: Vec<Code>,
    /// Whether there is one more that has no code.
    pub unclear: bool,
}

/// A code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Code {
    /// The system, if it has one.
    pub system: Option<Box<str>>,
    /// The code.
    pub code: Box<str>,
}

/// Who.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// In which role.
    pub role: Codes,
    /// `Reference.reference`.
    pub reference: Option<Box<str>>,
    /// Whether somebody is named in another way (`identifier`).
    pub is_named_otherwise: bool,
}

/// Which resource, and what goes with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Data {
    /// `instance`, `related`, `dependents`, `authoredby`.
    pub meaning: Box<str>,
    /// `Reference.reference`.
    pub reference: Option<Box<str>>,
}

/// What is not as R4 has it.
struct Fault(&'static str);

type Read<T> = Result<T, Fault>;

const MALFORMED: Fault = Fault("an element is not as R4 has it");

impl Provision {
    /// The moments at which what it means may change: a period begins, or has just ended.
    pub fn moments(&self) -> Vec<i64> {
        let spans = [self.period, self.data_period].into_iter().flatten();
        let own = spans.flat_map(|span| [span.low, span.high.saturating_add(1)]);
        own.chain(self.provisions.iter().flat_map(Self::moments)).collect()
    }
}

impl Consent {
    /// Reads a resource; `None` for one that is not active.
    #[must_use]
    pub fn read(id: &str, resource: &Object<'_>) -> Option<Self> {
        if resource.str("status") != Some("active") {
            return None;
        }
        let mut consent = Self {
            id: id.into(),
            scope: scope(resource),
            base: Base::Unknown,
            root: Provision { path: "Consent.provision".into(), ..Provision::default() },
            fault: None,
        };
        if let Err(Fault(why)) = consent.fill(resource) {
            consent.fault = Some(why);
        }
        Some(consent)
    }

    fn fill(&mut self, resource: &Object<'_>) -> Read<()> {
        let root = match resource.get("provision") {
            None => None,
            Some(Value::Object(root)) => Some(root),
            Some(_) => return Err(MALFORMED),
        };
        // First of all: it says when that matters which is not understood.
        self.root.period = root.map(|root| period(root, "period")).transpose()?.flatten();
        no_modifier(resource)?;
        self.base = base(resource)?;
        for name in ["policy", "verification"] {
            for part in objects(resource, name)?.unwrap_or_default() {
                no_modifier(part)?;
            }
        }
        let Some(root) = root else { return Ok(()) };
        self.root = provision(root, "Consent.provision".into(), true)?;
        let unbounded = !self.root.has_conditions();
        match (self.root.kind, self.base) {
            (None, Base::Permit | Base::Emergency | Base::Unknown) if !unbounded => {
                Err(Fault("the root provision has conditions and no type: whether it permits or denies can't be told"))
            }
            (Some(Kind::Permit), Base::Deny) if unbounded => {
                Err(Fault("policyRule and the root provision contradict each other"))
            }
            _ => Ok(()),
        }
    }
}

impl Provision {
    /// Whether it is about some actors, actions, purposes or data only.
    #[must_use]
    pub const fn has_conditions(&self) -> bool {
        self.actors.is_some()
            || self.actions.is_some()
            || self.labels.is_some()
            || self.purposes.is_some()
            || self.classes.is_some()
            || self.codes.is_some()
            || self.data_period.is_some()
            || self.data.is_some()
    }
}

fn scope(resource: &Object<'_>) -> Scope {
    let codings = resource.get("scope").and_then(|scope| scope.get("coding")).map(Value::items).unwrap_or_default();
    let is = |code: &str| {
        let text = |coding: &Value<'_>, name| coding.get(name).and_then(Value::as_str).map(str::to_owned);
        codings.iter().any(|coding| {
            text(coding, "system").as_deref() == Some(SCOPES) && text(coding, "code").as_deref() == Some(code)
        })
    };
    match () {
        () if is("patient-privacy") => Scope::Privacy,
        () if is("research") => Scope::Research,
        () if is("adr") || is("treatment") => Scope::Other,
        () => Scope::Privacy,
    }
}

fn base(resource: &Object<'_>) -> Read<Base> {
    let Some(rule) = resource.get("policyRule") else { return Ok(Base::Unknown) };
    let rule = concept(rule)?;
    let of = |code: &Code| match &*code.code {
        _ if code.system.as_deref() != Some(ACT_CODE) => None,
        "OPTIN" | "OPTINR" => Some(Base::Permit),
        "OPTOUT" | "OPTOUTE" => Some(Base::Deny),
        "EMRGONLY" => Some(Base::Emergency),
        _ => None,
    };
    let mut found = rule.known.iter().filter_map(of);
    let Some(first) = found.next() else { return Ok(Base::Unknown) };
    if found.all(|other| other == first) { Ok(first) } else { Err(Fault("policyRule contradicts itself")) }
}

fn provision(object: &Object<'_>, path: String, is_root: bool) -> Read<Provision> {
    no_modifier(object)?;
    let kind = match object.get("type").map(Value::as_str) {
        None if is_root => None,
        Some(Some("permit")) => Some(Kind::Permit),
        Some(Some("deny")) => Some(Kind::Deny),
        _ => return Err(Fault("a provision within another has no type that R4 knows")),
    };
    let children = objects(object, "provision")?.unwrap_or_default();
    let child = |(at, child): (usize, &&Object<'_>)| provision(child, format!("{path}.provision[{at}]"), false);
    let actors = objects(object, "actor")?;
    let data = objects(object, "data")?;
    Ok(Provision {
        kind,
        period: period(object, "period")?,
        actors: actors.map(|actors| actors.into_iter().map(actor).collect::<Read<_>>()).transpose()?,
        actions: concepts(object, "action")?,
        labels: codings(object, "securityLabel")?,
        purposes: codings(object, "purpose")?,
        classes: codings(object, "class")?,
        codes: concepts(object, "code")?,
        data_period: period(object, "dataPeriod")?,
        data: data.map(|data| data.into_iter().map(datum).collect::<Read<_>>()).transpose()?,
        provisions: children.iter().enumerate().map(child).collect::<Read<_>>()?,
        path,
    })
}

fn actor(object: &Object<'_>) -> Read<Actor> {
    no_modifier(object)?;
    let reference = match object.get("reference") {
        None => None,
        Some(Value::Object(reference)) => Some(reference),
        Some(_) => return Err(MALFORMED),
    };
    Ok(Actor {
        role: object.get("role").map(concept).transpose()?.unwrap_or_default(),
        reference: reference.and_then(|reference| reference.str("reference")).map(Into::into),
        is_named_otherwise: reference.is_some_and(|reference| reference.get("identifier").is_some()),
    })
}

fn datum(object: &Object<'_>) -> Read<Data> {
    no_modifier(object)?;
    let Some(Value::Object(reference)) = object.get("reference") else { return Err(MALFORMED) };
    Ok(Data {
        meaning: object.str("meaning").unwrap_or_default().into(),
        reference: reference.str("reference").map(Into::into),
    })
}

/// The objects of an element; a single one counts as a list of one.
fn objects<'o, 'a>(object: &'o Object<'a>, name: &str) -> Read<Option<Vec<&'o Object<'a>>>> {
    let Some(found) = object.get(name) else { return Ok(None) };
    let items = found.items();
    if items.is_empty() {
        return Err(MALFORMED);
    }
    items.iter().map(|item| item.as_object().ok_or(MALFORMED)).collect::<Read<_>>().map(Some)
}

fn codings(object: &Object<'_>, name: &str) -> Read<Option<Codes>> {
    let Some(found) = objects(object, name)? else { return Ok(None) };
    let mut codes = Codes::default();
    for coding in found {
        add(&mut codes, coding);
    }
    Ok(Some(codes))
}

fn concepts(object: &Object<'_>, name: &str) -> Read<Option<Codes>> {
    let Some(found) = object.get(name) else { return Ok(None) };
    if found.items().is_empty() {
        return Err(MALFORMED);
    }
    let mut all = Codes::default();
    for item in found.items() {
        let Codes { known, unclear } = concept(item)?;
        all.known.extend(known);
        all.unclear |= unclear;
    }
    Ok(Some(all))
}

fn concept(value: &Value<'_>) -> Read<Codes> {
    let object = value.as_object().ok_or(MALFORMED)?;
    let mut codes = codings(object, "coding")?.unwrap_or_default();
    codes.unclear |= codes.known.is_empty();
    Ok(codes)
}

fn add(codes: &mut Codes, coding: &Object<'_>) {
    match coding.str("code") {
        Some(code) => codes.known.push(Code { system: coding.str("system").map(Into::into), code: code.into() }),
        None => codes.unclear = true,
    }
}

fn period(object: &Object<'_>, name: &str) -> Read<Option<Span>> {
    let period = match object.get(name) {
        None => return Ok(None),
        Some(Value::Object(period)) => period,
        Some(_) => return Err(MALFORMED),
    };
    let bound = |name: &str| match period.get(name) {
        None => Ok(None),
        Some(value) => value.as_str().and_then(Span::parse).map(Some).ok_or(Fault("a period can't be read")),
    };
    let (start, end) = (bound("start")?, bound("end")?);
    if start.is_none() && end.is_none() {
        return Err(Fault("a period has no bounds"));
    }
    let span = Span { low: start.map_or(i64::MIN, |start| start.low), high: end.map_or(i64::MAX, |end| end.high) };
    if span.low > span.high { Err(Fault("a period ends before it starts")) } else { Ok(Some(span)) }
}

/// What a modifier means, nobody here knows.
fn no_modifier(object: &Object<'_>) -> Read<()> {
    if object.get("modifierExtension").is_some() || object.get("implicitRules").is_some() {
        return Err(Fault("it has a modifier that is not known here"));
    }
    Ok(())
}

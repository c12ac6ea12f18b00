//! `Patient/[id]/$consent-explain`: which of a patient's Consents, and which provision of it, decides what a recipient may see.
//! <https://hl7.org/fhir/R4/consent.html>. The operation is this server's own; `docs/consent.md` has its parameters.

use super::parameters;
use crate::auth::compartment::patients_in;
use crate::auth::recipient::Recipient;
use crate::auth::scope::Letters;
use crate::consent::explain::{Explanation, Line, Of, Verdict, explain};
use crate::consent::judge::{ACT_REASON, ACTIONS, Asked, Identity, Met, Reading};
use crate::consent::{Action, Kind, known};
use crate::error::{Category, Error, Result};
use crate::fhir::reference::is_id;
use crate::fhir::tree::Value;
use crate::fhir::{definitions, write};
use crate::interaction::{Answer, Context, Request, reach};
use crate::key::reference::matching_resource;
use crate::key::{Expr, KeyList, prefix_of};
use crate::search;
use crate::store::Records;
use crate::tree;

/// Resources that can be asked for at once.
const MOST_RESOURCES: usize = 100;

/// What is asked.
struct Wanted {
    recipient: Recipient,
    /// System and code.
    roles: Vec<(String, String)>,
    action: Action,
    /// Type and id.
    resources: Vec<(String, String)>,
}

/// Explains for a recipient, and for each resource that is named, or for all of a patient's data.
///
/// # Errors
/// 403 for who may not see all Consents of the patient that there may be; 404 for a patient, or a resource, outside of what the grant
/// reaches; 400 for parameters that can't be read; 422 for a resource that is not about the patient.
pub fn consent_explain(context: &Context, mut request: Request<'_>, patient: &str) -> Result<Answer> {
    let wanted = wanted(&parameters::pairs(&mut request)?)?;
    let records = context.open()?;
    may_ask(context, &records, patient)?;
    let budget = context.search_budget();
    let mut answers = Vec::new();
    search::with_stored(&records, &budget, |stored| -> Result<()> {
        let mut who = Identity::of(&wanted.recipient, stored)?;
        wanted.roles.iter().for_each(|(system, code)| who.add_role(system, code));
        let consents = known::read(patient, stored)?;
        let (action, purposes) = (wanted.action, &wanted.recipient.purposes);
        let asked = Asked { who: &who, purposes, action, now: context.clock.now() };
        let reading = Reading { stored, base: &context.base };
        let defaults = context.consent_defaults;
        let explain = |of: &Of<'_>| explain(&consents, &asked, defaults, &reading, of);
        if wanted.recipient.patient() == Some(patient) {
            answers.push(own());
            return Ok(());
        }
        if wanted.resources.is_empty() {
            let (best, worst) = (explain(&Of::Best)?, explain(&Of::Worst)?);
            let is_part = best.verdict.kind != worst.verdict.kind;
            answers.push(answer(None, &worst, if is_part { "part" } else { code(worst.verdict.kind) }));
        }
        for (type_name, id) in &wanted.resources {
            let keys = keys(context, &records, patient, (type_name, id))?;
            let holds = |expr: &Expr| search::holds(&records, type_name, &keys, expr, &budget);
            let found = explain(&Of::Resource(type_name, &holds))?;
            answers.push(answer(Some(&format!("{type_name}/{id}")), &found, code(found.verdict.kind)));
        }
        Ok(())
    })?;
    let parameters = tree!({ "resourceType": "Parameters", "parameter": (Value::Array(answers)) });
    Ok(Answer::ok(write::to_vec(&parameters)))
}

/// Refuses who could not read any Consent of the patient.
fn may_ask(context: &Context, records: &Records, patient: &str) -> Result<()> {
    let key = matching_resource("Patient", patient).under(&prefix_of("patient")).from;
    let any = KeyList::new(vec![key]);
    if !reach::would_reach(context, records, Letters::READ, "Consent", &any)? {
        return Err(Error::not_found());
    }
    let is_own = records.grant().recipient().is_some_and(|recipient| recipient.patient() == Some(patient));
    if is_own || records.grant().sees_all_consents() { Ok(()) } else { Err(reach::insufficient_scope()) }
}

/// The keys of a resource about the patient that the grant reaches.
fn keys(context: &Context, records: &Records, patient: &str, (type_name, id): (&str, &str)) -> Result<KeyList> {
    let version = reach::live(context, records, Letters::READ, type_name, id)?;
    let keys = records.view().keys(version.rid)?.unwrap_or_default();
    if patients_in(type_name, &keys).contains(&patient) {
        return Ok(keys);
    }
    let text = "The resource is not about this patient, so the patient's Consents say nothing of it.";
    Err(Error::new(Category::Unprocessable, "business-rule", text).at("resource"))
}

fn wanted(pairs: &[(String, String)]) -> Result<Wanted> {
    let mut wanted = Wanted {
        recipient: Recipient { is_person: true, ..Recipient::default() },
        roles: Vec::new(),
        action: Action::Access,
        resources: Vec::new(),
    };
    for (name, value) in pairs {
        let bad = |text: &'static str| Error::invalid(text).at(name.clone());
        match name.as_str() {
            "recipient" => {
                reference(value).ok_or_else(|| bad("recipient is a reference such as Practitioner/1."))?;
                wanted.recipient.reference = Some(value.as_str().into());
            }
            "role" => {
                let (system, code) = value.split_once('|').unwrap_or(("", value));
                wanted.roles.push((system.to_owned(), code.to_owned()));
            }
            "purpose" => {
                let code = of_system(value, ACT_REASON);
                let is_known = |code: &str| {
                    definitions::r4().code_system(ACT_REASON).is_some_and(|system| system.concept(code).is_some())
                };
                let code =
                    code.filter(|code| is_known(code)).ok_or_else(|| bad("purpose is a code of v3-ActReason."))?;
                wanted.recipient.purposes.push(code.into());
            }
            "action" => {
                let action = of_system(value, ACTIONS).and_then(Action::of_code);
                wanted.action = action.ok_or_else(|| bad("action is access, collect, use, disclose or correct."))?;
            }
            "resource" => {
                let (type_name, id) =
                    reference(value).ok_or_else(|| bad("resource is a reference such as Observation/1."))?;
                if wanted.resources.len() == MOST_RESOURCES {
                    return Err(bad("At most 100 resources can be asked for at once."));
                }
                wanted.resources.push((type_name.to_owned(), id.to_owned()));
            }
            other => return Err(parameters::unknown("$consent-explain", other)),
        }
    }
    Ok(wanted)
}

fn reference(text: &str) -> Option<(&str, &str)> {
    let (type_name, id) = text.split_once('/')?;
    (definitions::r4().is_resource_type(type_name) && is_id(id)).then_some((type_name, id))
}

/// The code of a token, where it is of a system or of none.
fn of_system<'t>(token: &'t str, system: &str) -> Option<&'t str> {
    match token.split_once('|') {
        Some((own, code)) => (own == system).then_some(code),
        None => Some(token),
    }
}

const fn code(kind: Kind) -> &'static str {
    match kind {
        Kind::Permit => "permit",
        Kind::Deny => "deny",
    }
}

fn own() -> Value<'static> {
    let why = "The recipient is the patient: nobody's consent is needed to see what is one's own.";
    tree!({ "name": "answer", "part": [
        { "name": "decision", "valueCode": "permit" },
        { "name": "reason", "valueString": (why) },
    ] })
}

fn answer(resource: Option<&str>, found: &Explanation, decision: &'static str) -> Value<'static> {
    let mut parts = Vec::new();
    if let Some(resource) = resource {
        parts.push(tree!({ "name": "resource", "valueReference": { "reference": (resource.to_owned()) } }));
    }
    parts.push(tree!({ "name": "decision", "valueCode": (decision) }));
    parts.extend(verdict(&found.verdict));
    for (id, of_consent, lines) in &found.consents {
        let mut own =
            vec![tree!({ "name": "reference", "valueReference": { "reference": (format!("Consent/{id}")) } })];
        match of_consent {
            Some(found) => {
                own.push(tree!({ "name": "decision", "valueCode": (code(found.kind)) }));
                own.extend(verdict(found).into_iter().skip(1));
            }
            None => own.push(tree!({ "name": "reason", "valueString": "It is not in force, or says nothing of who may see what for this purpose." })),
        }
        own.extend(lines.iter().map(line));
        parts.push(tree!({ "name": "consent", "part": (Value::Array(own)) }));
    }
    tree!({ "name": "answer", "part": (Value::Array(parts)) })
}

/// The Consent (left out where a setting decides), the element that decides, and why.
fn verdict(found: &Verdict) -> Vec<Value<'static>> {
    let consent = found.consent.as_ref().map_or_else(
        || tree!({ "name": "setting", "valueString": (found.by.clone()) }),
        |id| tree!({ "name": "decidedBy", "valueReference": { "reference": (format!("Consent/{id}")) } }),
    );
    vec![
        consent,
        tree!({ "name": "element", "valueString": (found.by.clone()) }),
        tree!({ "name": "reason", "valueString": (found.why) }),
    ]
}

fn line(line: &Line) -> Value<'static> {
    let met = match line.met {
        Met::Yes => "yes",
        Met::Unclear => "unclear",
        Met::No => "no",
    };
    let mut parts = vec![tree!({ "name": "element", "valueString": (line.path.clone()) })];
    parts.extend(line.kind.map(|kind| tree!({ "name": "type", "valueCode": (code(kind)) })));
    parts.push(tree!({ "name": "met", "valueCode": (met) }));
    parts.extend(line.unmet.iter().map(|name| tree!({ "name": "unmet", "valueString": (*name) })));
    tree!({ "name": "provision", "part": (Value::Array(parts)) })
}

//! What all writing interactions share: checking a resource, making it ready to be stored, deciding and committing.

use super::conformance::{self, Conformances};
use super::quota::bytes_of;
use super::{Answer, Context, LEDGER, Request, Return, Status, reach};
use crate::auth::scope::Letters;
use crate::error::{Category, Error, Issue, Result};
use crate::fhir::reference::Reference;
use crate::fhir::tree::{Object, Value};
use crate::fhir::{rewrite, subset};
use crate::key::define;
use crate::store::body::Body;
use crate::store::{Change, Commit, CommitError, Committed, Content, Expect, Guard, Method, Records};
use crate::validate;
use std::time::{Duration, Instant};

/// How often a decision is taken anew at least, however long that takes, when others wrote what it rested on. After that, as
/// long as `limits.request_timeout_ms` allows: each failed attempt means that another's commit went through, so that of many
/// who write the same resource each has its turn.
const ATTEMPTS: usize = 32;

/// What an interaction decided on a snapshot.
pub struct Decision<T> {
    /// What to change.
    pub changes: Vec<Change>,
    /// What the decision rests on.
    pub guards: Vec<Guard>,
    /// What the interaction wants to know afterwards.
    pub then: T,
}

/// Decides on a snapshot and commits. Decides again where what it rested on has changed meanwhile.
///
/// # Errors
/// What `decide` refuses; 409 where others keep winning.
pub async fn decide<T, F>(context: &Context, mut decide: F) -> Result<(T, Option<Committed>)>
where
    F: FnMut(&Records) -> Result<Decision<T>> + Send,
{
    let until = Instant::now() + Duration::from_millis(context.limits.request_timeout_ms);
    let mut attempts = 0;
    while attempts < ATTEMPTS || Instant::now() < until {
        attempts += 1;
        let (decision, entry, read_at) = {
            let records = context.open()?;
            let mut decision = decide(&records)?;
            reach::permit(context, &records, &mut decision.changes)?;
            decision.guards.extend(conformance::refuse_same_codes(&records, &decision.changes)?);
            refuse_ledger(&decision.changes)?;
            let entry = context.trail.entry_of(&decision.changes, records.view(), context.clock.now())?;
            // Where nothing was read that others could change, it does not matter when.
            let read_at =
                if decision.guards.is_empty() { crate::clock::Micros(i64::MIN) } else { records.view().position() };
            (decision, entry, read_at)
        };
        let Decision { changes, guards, then } = decision;
        if changes.is_empty() {
            return Ok((then, None));
        }
        context.quotas.check(context.grant.tenant(), &changes)?;
        context.wanted.check()?;
        let bytes = bytes_of(&changes);
        let commit = Commit { changes, guards, read_at, entry, ..Commit::of(context.grant.tenant()) };
        match Conformances::commit(&context.conformances, &context.grant, commit).await {
            Ok(committed) => {
                context.trail.commit_happened();
                context.quotas.add(context.grant.tenant(), bytes);
                return Ok((then, Some(committed)));
            }
            // Where the client set a condition, the new decision finds that it does not hold.
            Err(CommitError::Touched | CommitError::Stale { .. }) => {}
            Err(CommitError::Store(error)) => return Err(error.into()),
        }
    }
    Err(Error::new(Category::Conflict, "conflict", "Others kept changing what this request depends on."))
}

/// Only the ledger makes AuditEvents, and nothing changes them.
fn refuse_ledger(changes: &[Change]) -> Result<()> {
    if changes.iter().any(|change| &*change.type_name == LEDGER) {
        let text = "AuditEvents are the server's own record: nobody creates, changes or deletes them.";
        return Err(Error::new(Category::MethodNotAllowed, "not-supported", text));
    }
    Ok(())
}

/// Checks a resource that a client wants to store under this type.
///
/// # Errors
/// 400 for another type or a wrong structure, naming each element; 422 for a part of a resource (SUBSETTED), and for a
/// SearchParameter that can't take effect.
pub fn check(resource: &Object<'_>, type_name: &str) -> Result<()> {
    check_with(resource, type_name, validate::structure)
}

/// The same within a transaction, where references may be conditional.
///
/// # Errors
/// As [`check`].
pub fn check_in_transaction(resource: &Object<'_>, type_name: &str) -> Result<()> {
    check_with(resource, type_name, validate::structure_in_transaction)
}

/// The same, whatever elements it has.
///
/// # Errors
/// As [`check`], but for the structure.
pub fn check_without_structure(resource: &Object<'_>, type_name: &str) -> Result<()> {
    check_with(resource, type_name, |_| Vec::new())
}

fn check_with(resource: &Object<'_>, type_name: &str, structure: impl FnOnce(&Object<'_>) -> Vec<Issue>) -> Result<()> {
    match resource.resource_type() {
        Some(found) if found == type_name => {}
        Some(_) => {
            let text = format!("The URL is of {type_name}, but the body is of another type.");
            return Err(Error::new(Category::Invalid, "invalid", text).at("resourceType"));
        }
        None => {
            let text = "The body has no resourceType.";
            return Err(Error::new(Category::Invalid, "structure", text).at("resourceType"));
        }
    }
    let issues = structure(resource);
    if !issues.is_empty() {
        return Err(Error::from_issues(Category::Invalid, issues));
    }
    if type_name == "SearchParameter"
        && let Err(unusable) = define::definition(resource)
    {
        return Err(Error::new(Category::Unprocessable, "business-rule", unusable.reason).at(unusable.element));
    }
    if subset::is_subsetted(resource) {
        let text = "The resource is a part of another (SUBSETTED) and would overwrite the whole.";
        return Err(Error::new(Category::Unprocessable, "business-rule", text).at(format!("{type_name}.meta.tag")));
    }
    Ok(())
}

/// Sets the id: in its place, or right after `resourceType`.
pub fn set_id(resource: &mut Object<'_>, id: &str) {
    let position = resource.position("resourceType").map_or(0, |position| position + 1);
    resource.insert_at(position, "id", Value::from(id.to_owned()));
}

/// Makes a checked resource with an id ready to be stored.
#[must_use]
pub fn content(context: &Context, resource: &Object<'_>) -> Content {
    Content { body: Body::pack(resource), keys: context.conformance.keys(resource) }
}

/// A change that stores a resource.
#[must_use]
pub fn put(type_name: &str, id: &str, expect: Expect, method: Method, content: Content) -> Change {
    Change { type_name: type_name.into(), id: id.into(), expect, method, content: Some(content) }
}

/// A change that deletes a resource.
#[must_use]
pub fn removal(type_name: &str, id: &str, expect: Expect) -> Change {
    Change { type_name: type_name.into(), id: id.into(), expect, method: Method::Delete, content: None }
}

/// The store's answer to the first change of a commit, made into the client's.
///
/// # Errors
/// When the stored bytes are damaged.
pub fn answer(context: &Context, request: &Request<'_>, change: &Stored, committed: &Committed) -> Result<Answer> {
    let Some(written) = committed.written.first() else {
        return Err(Error::internal("a commit answered without its change"));
    };
    answer_for(context, request.prefer.unwrap_or(Return::Representation), change, written, committed.time)
}

/// What an answer to a write is made of.
pub struct Stored {
    /// The resource type.
    pub type_name: String,
    /// The id.
    pub id: String,
    /// The stored body.
    pub body: Body,
}

/// The answer to one write.
///
/// # Errors
/// When the stored bytes are damaged.
pub fn answer_for(
    context: &Context,
    prefer: Return,
    stored: &Stored,
    written: &crate::store::Written,
    time: crate::clock::Micros,
) -> Result<Answer> {
    let body = match prefer {
        Return::Representation => Some(stored.body.unpack(written.version, time)?),
        Return::Minimal | Return::OperationOutcome => None,
    };
    let text = if written.created { "The resource was created." } else { "The resource was updated." };
    let issues = match prefer {
        Return::OperationOutcome => vec![Issue::information("informational", text)],
        Return::Minimal | Return::Representation => Vec::new(),
    };
    Ok(Answer {
        status: if written.created { Status::Created } else { Status::Ok },
        version: Some((written.version, time)),
        location: Some(context.url(&stored.type_name, &stored.id, Some(written.version))),
        body,
        issues,
        pending: None,
        made: None,
    })
}

/// The change that stores the `X-Provenance` of a request, whose target is what the request writes.
///
/// # Errors
/// 400 where it is not a Provenance, has a target already, or is structurally wrong.
pub fn provenance(context: &Context, provenance: Option<Value<'_>>, targets: &[String]) -> Result<Option<Change>> {
    let Some(provenance) = provenance else { return Ok(None) };
    let Value::Object(mut provenance) = provenance else {
        return Err(Error::new(Category::Invalid, "structure", "X-Provenance must be a Provenance resource."));
    };
    if provenance.get("target").is_some() {
        let text = "X-Provenance must not name a target: it is what this request writes.";
        return Err(Error::new(Category::Invalid, "invalid", text).at("Provenance.target"));
    }
    let reference = |target: &String| crate::tree!({ "reference": (target.clone()) });
    let position = provenance.position("resourceType").map_or(0, |position| position + 1);
    provenance.insert_at(position, "target", Value::Array(targets.iter().map(reference).collect()));
    check(&provenance, "Provenance")?;
    let id = context.clock.new_id();
    set_id(&mut provenance, &id);
    let content = content(context, &provenance);
    Ok(Some(put("Provenance", &id, Expect::Absent, Method::Create, content)))
}

/// Where the tenant asks for it, refuses references to what does not exist. `also` are those that the same commit makes.
///
/// # Errors
/// 422 naming the element.
pub fn check_references(
    context: &Context,
    records: &Records,
    resource: &Object<'_>,
    also: &dyn Fn(&str, &str) -> bool,
) -> Result<()> {
    if !context.check_references {
        return Ok(());
    }
    let mut missing: Vec<Issue> = Vec::new();
    let mut failed = None;
    rewrite::references(resource, |place, text| {
        let Reference::Relative(target) = Reference::parse(text).relative_to(&context.base) else { return };
        if also(target.type_name, target.id) {
            return;
        }
        match reach::current(context, records, Letters::READ | Letters::SEARCH, target.type_name, target.id) {
            Ok(Some(version)) if version.body.is_some() => {}
            Ok(_) => {
                let text = "The referenced resource does not exist.";
                missing.push(Issue::error("not-found", text).at(place.to_string()));
            }
            Err(error) => failed = Some(error),
        }
    });
    match failed {
        Some(error) => Err(error),
        None if missing.is_empty() => Ok(()),
        None => Err(Error::from_issues(Category::Unprocessable, missing)),
    }
}

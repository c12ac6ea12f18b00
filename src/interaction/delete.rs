//! delete: <https://hl7.org/fhir/R4/http.html#delete>, conditional delete: `#cdelete`, of one match or of several.

use super::condition::expect;
use super::criteria;
use super::writing::{self, Decision};
use super::{Answer, Context, Request, Return, Status, precondition_failed, reach};
use crate::auth::scope::Letters;
use crate::error::{Error, Issue, Result};
use crate::interaction::call::Call;
use crate::store::{Change, Committed, Expect, Guard, Records, Version};

/// Deletes a resource: a new version without content. Deleting what is not there, or again, is no error.
///
/// # Errors
/// 412 where `If-Match` does not hold.
pub async fn delete(context: &Context, mut request: Request<'_>) -> Result<Answer> {
    let Call::Delete { type_name, id } = request.call.clone() else { return Err(Error::internal("not a delete")) };
    let provenance = writing::provenance(context, request.provenance.take(), &[format!("{type_name}/{id}")])?;
    let ((), committed) = writing::decide(context, |records| {
        let mut changes = vec![removal(context, records, &request, &type_name, &id)?];
        let current = || reach::current(context, records, Letters::DELETE, &type_name, &id);
        if provenance.is_some() && current()?.is_some_and(|version| version.body.is_some()) {
            changes.extend(provenance.clone());
        }
        Ok(Decision { changes, guards: Vec::new(), then: () })
    })
    .await?;
    Ok(deleted(&request, committed.as_ref(), 1))
}

/// Deletes all that the criteria match, at most `limits.conditional_delete_max`, in one commit.
///
/// # Errors
/// 412 where more match.
pub async fn conditional_delete(context: &Context, mut request: Request<'_>) -> Result<Answer> {
    let Call::ConditionalDelete { type_name } = request.call.clone() else {
        return Err(Error::internal("not a conditional delete"));
    };
    let criteria = criteria::required(&request.query)?;
    let provenance = request.provenance.take();
    let (count, committed) = writing::decide(context, |records| {
        let (mut changes, guards) = matches(context, records, &type_name, &criteria)?;
        let count = changes.len();
        if count > 0 {
            let targets: Vec<_> = changes.iter().map(|change| format!("{type_name}/{}", change.id)).collect();
            changes.extend(writing::provenance(context, provenance.clone(), &targets)?);
        }
        Ok(Decision { changes, guards, then: count })
    })
    .await?;
    Ok(deleted(&request, committed.as_ref(), count))
}

/// The removal of one resource, on the request's conditions.
pub(super) fn removal(
    context: &Context,
    records: &Records,
    request: &Request<'_>,
    type_name: &str,
    id: &str,
) -> Result<Change> {
    if !request.conditions.are_set() {
        return Ok(writing::removal(type_name, id, Expect::Any));
    }
    let current = reach::current(context, records, Letters::DELETE, type_name, id)?;
    request.conditions.hold(current.as_ref())?;
    Ok(writing::removal(type_name, id, expect(current.as_ref())))
}

/// The removal of each match of the criteria.
pub(super) fn matches(
    context: &Context,
    records: &Records,
    type_name: &str,
    criteria: &[(String, String)],
) -> Result<(Vec<Change>, Vec<Guard>)> {
    let most = context.limits.conditional_delete_max;
    let (matches, guards) = criteria::find_up_to(context, records, type_name, criteria, most + 1)?;
    if matches.len() > most {
        let text = format!("More than {most} resources match (limits.conditional_delete_max).");
        return Err(precondition_failed(text));
    }
    let remove =
        |version: &Version| writing::removal(&version.type_name, &version.id, Expect::Version(version.version));
    Ok((matches.iter().map(remove).collect(), guards))
}

/// 204, or 200 with an OperationOutcome where the client prefers one. The entity tag is that of a single deletion.
/// `count` says how many of the commit's changes, from the first on, are deletions.
fn deleted(request: &Request<'_>, committed: Option<&Committed>, count: usize) -> Answer {
    let written = committed.map_or(&[][..], |committed| committed.written.get(..count).unwrap_or_default());
    let version = match (written, committed) {
        ([single], Some(committed)) if single.version > 0 => Some((single.version, committed.time)),
        _ => None,
    };
    if request.prefer == Some(Return::OperationOutcome) {
        let count = written.iter().filter(|one| one.changed).count();
        let issues = vec![Issue::information("informational", format!("Resources deleted: {count}."))];
        return Answer { version, issues, ..Answer::empty(Status::Ok) };
    }
    Answer { version, ..Answer::empty(Status::NoContent) }
}

//! delete: <https://hl7.org/fhir/R4/http.html#delete>, conditional delete: `#cdelete`, of one match or of several.

use super::condition::expect;
use super::criteria;
use super::writing::{self, Decision};
use super::{Answer, Context, Request, Return, Status, precondition_failed};
use crate::error::{Error, Issue, Result};
use crate::fhir::{outcome, write};
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
        let mut changes = vec![removal(records, &request, &type_name, &id)?];
        changes.extend(provenance.clone());
        Ok(Decision { changes, guards: Vec::new(), again_when_stale: false, then: () })
    })
    .await?;
    Ok(deleted(&request, committed.as_ref()))
}

/// Deletes all that the criteria match, at most `limits.conditional_delete_max`, in one commit.
///
/// # Errors
/// 412 where more match.
pub async fn conditional_delete(context: &Context, request: Request<'_>) -> Result<Answer> {
    let Call::ConditionalDelete { type_name } = request.call.clone() else {
        return Err(Error::internal("not a conditional delete"));
    };
    let criteria = criteria::required(&request.query)?;
    let ((), committed) = writing::decide(context, |records| {
        let (changes, guards) = matches(context, records, &type_name, &criteria)?;
        Ok(Decision { changes, guards, again_when_stale: true, then: () })
    })
    .await?;
    Ok(deleted(&request, committed.as_ref()))
}

/// The removal of one resource, on the request's conditions.
pub(super) fn removal(records: &Records, request: &Request<'_>, type_name: &str, id: &str) -> Result<Change> {
    if !request.conditions.are_set() {
        return Ok(writing::removal(type_name, id, Expect::Any));
    }
    let current = records.read(type_name, id)?;
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

/// 204, or 200 with an OperationOutcome where the client prefers one. The entity tag is that of the deletion.
pub(super) fn deleted(request: &Request<'_>, committed: Option<&Committed>) -> Answer {
    let version = committed.and_then(|committed| {
        let single = if let [written] = committed.written.as_slice() { Some(written) } else { None };
        single.filter(|written| written.version > 0).map(|written| (written.version, committed.time))
    });
    if request.prefer == Some(Return::OperationOutcome) {
        let count = committed.map_or(0, |committed| committed.written.iter().filter(|one| one.changed).count());
        let issue = Issue::information("informational", format!("Resources deleted: {count}."));
        return Answer { version, ..Answer::ok(write::to_vec(&outcome::outcome(&[issue]))) };
    }
    Answer { version, ..Answer::empty(Status::NoContent) }
}

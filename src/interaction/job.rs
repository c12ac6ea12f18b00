//! How a job is that a request began, and its end: <https://hl7.org/fhir/R4/async.html>,
//! <https://build.fhir.org/async-bundle.html>.

use super::call::Verb;
use super::{Answer, Context, Pending, Request, Status};
use crate::error::{Error, Issue, Result};
use crate::fhir::bundle::{BundleType, BundleWriter, Entry, EntryResponse};
use crate::fhir::outcome::outcome;
use crate::jobs::{Job, State};
use crate::operation::purge;
use crate::retention;

/// When to ask again, in seconds, where it can't be told: soon, since most jobs are short.
const SOON_S: u64 = 1;
const LATEST_S: u64 = 60;

/// How a job is (`GET`), or its end (`DELETE`): it is cancelled, or forgotten where it has ended. Only who asked for it, and
/// administrators, see a job.
///
/// # Errors
/// 404 for one that is not there, that is somebody else's, or that was cancelled.
pub async fn job(context: &Context, request: &Request<'_>, id: &str) -> Result<Answer> {
    let tenant = context.grant.tenant();
    let job = context.jobs.get(tenant, id)?.filter(|job| is_to_be_seen(context, job)).ok_or_else(Error::not_found)?;
    if request.verb == Verb::Delete {
        if job.state.is_ended() {
            context.jobs.forget(tenant, id).await?;
        } else {
            context.jobs.cancel(tenant, id).await?;
        }
        return Ok(Answer::empty(Status::Accepted));
    }
    if !job.state.is_ended() {
        return Ok(Answer { pending: Some(pending(&job)), ..Answer::empty(Status::Accepted) });
    }
    let (status, issues) = match purge::outcome(&job) {
        Ok(issues) => ("200 OK", issues),
        Err(error) => ("409 Conflict", error.issues),
    };
    Ok(Answer::ok(bundle(context, status, &issues)))
}

fn is_to_be_seen(context: &Context, job: &Job) -> bool {
    let (agent, owner) = (context.trail.agent(), &job.owner);
    let is_own = owner.client.is_some() && owner.client == agent.client && owner.user == agent.user;
    let is_answered_here = job.kind == retention::purge::KIND;
    is_answered_here && !job.is_cancelled && job.state != State::Cancelled && (is_own || context.grant.is_admin())
}

/// A Bundle with one entry: what the request would have been answered.
fn bundle(context: &Context, status: &str, issues: &[Issue]) -> Vec<u8> {
    let mut writer = BundleWriter::new(BundleType::BatchResponse, Some(context.clock.now()));
    let outcome = outcome(issues);
    let response =
        EntryResponse { status, location: None, version: None, last_modified: None, outcome: Some(&outcome) };
    writer.entry(&Entry { response: Some(response), ..Entry::default() });
    writer.finish()
}

/// Where a job can be asked about: absolute.
#[must_use]
pub fn url(context: &Context, id: &str) -> String {
    format!("{}/_jobs/{id}", context.base)
}

/// What is told of a job that has not ended.
#[must_use]
pub fn pending(job: &Job) -> Pending {
    let progress = match (job.state, job.total) {
        (State::Queued, _) => "waiting".to_owned(),
        (_, Some(total)) => format!("{} of {total}", job.done),
        (_, None) => format!("{} so far", job.done),
    };
    let retry_after_s = job.left_s().unwrap_or(SOON_S).clamp(SOON_S, LATEST_S);
    let retry_after_s = u32::try_from(retry_after_s).unwrap_or(u32::MAX);
    Pending { content_location: None, progress: Some(progress), retry_after_s }
}

//! How a job is that a request began, what it has made, and its end: <https://hl7.org/fhir/R4/async.html>,
//! <https://build.fhir.org/async-bundle.html>, <https://hl7.org/fhir/uv/bulkdata/export.html#bulk-data-status-request>.

use super::call::Verb;
use super::{Answer, Context, Download, Made, Pending, Request, Status, reach};
use crate::bulk::files::Place;
use crate::bulk::manifest::manifest;
use crate::bulk::{self, Asked, export, import};
use crate::error::{Category, Error, Issue, Result};
use crate::fhir::bundle::{BundleType, BundleWriter, Entry, EntryResponse};
use crate::fhir::outcome::outcome;
use crate::jobs::{Job, State};
use crate::operation::{purge, reindex};
use crate::retention;

/// When to ask again, in seconds, where it can't be told: soon, since most jobs are short.
const SOON_S: u64 = 1;
const LATEST_S: u64 = 60;

/// How a job is (`GET`), or its end (`DELETE`): it is cancelled, or forgotten where it has ended. Only who asked for it, and
/// administrators, see a job.
///
/// # Errors
/// 404 for one that is not there, that is somebody else's, or that was cancelled; 429 for who asks how an export is too often.
pub async fn job(context: &Context, request: &Request<'_>, id: &str) -> Result<Answer> {
    let tenant = context.grant.tenant();
    let job = find(context, id)?;
    if request.verb == Verb::Delete {
        if job.state.is_ended() {
            context.jobs.forget(tenant, id).await?;
        } else {
            context.jobs.cancel(tenant, id).await?;
        }
        if bulk::has_files(&job) && job.state.is_ended() {
            context.exports.remove(&context.store, tenant, id, Some(&job)).await?;
        }
        return Ok(Answer::empty(Status::Accepted));
    }
    if !job.state.is_ended() {
        if bulk::has_files(&job) {
            context.exports.count_poll(tenant, id)?;
        }
        return Ok(Answer { pending: Some(pending(&job)), ..Answer::empty(Status::Accepted) });
    }
    if bulk::has_files(&job) {
        return finished(context, &job);
    }
    let outcome = if job.kind == reindex::KIND { reindex::outcome(&job) } else { purge::outcome(&job) };
    let (status, issues) = match outcome {
        Ok(issues) => ("200 OK", issues),
        Err(error) => ("409 Conflict", error.issues),
    };
    Ok(Answer::ok(bundle(context, status, &issues)))
}

/// A file of an export, or of the errors of an import. Who has it is told in the ledger with all patients whose data is in it.
///
/// # Errors
/// 404 for one that is not there, or of a job that is not to be seen; 403 where the token reaches less than the export did.
pub fn file(context: &Context, request: &Request<'_>, id: &str, name: &str) -> Result<Answer> {
    let job = find(context, id)?;
    let files = match job.kind.as_str() {
        _ if job.state != State::Done => Vec::new(),
        export::KIND => export::report(&job)?.files,
        import::KIND => import::read::<import::Report>(&job.report)?.files().cloned().collect(),
        _ => Vec::new(),
    };
    let file = files.into_iter().find(|file| &*file.name == name).ok_or_else(Error::not_found)?;
    if job.kind == export::KIND {
        covers(context, &bulk::asked(&job)?)?;
    }
    let place = Place {
        store: context.store.clone(),
        grant: context.grant.clone(),
        job: id.into(),
        folder: context.exports.folder_of(context.grant.tenant(), id),
    };
    if request.verb != Verb::Head {
        context.trail.disclose_patients(&place.patients(&file)?);
    }
    Ok(Answer { made: Some(Made::File(Download { place, file })), ..Answer::empty(Status::Ok) })
}

/// What an export or import has come to.
fn finished(context: &Context, job: &Job) -> Result<Answer> {
    if job.state == State::Failed {
        let text = job.failure.clone().unwrap_or_default();
        return Err(Error::new(Category::Internal, "exception", text));
    }
    let folder = url(context, &job.id);
    let manifest = if job.kind == import::KIND {
        import::manifest(&import::asked(job)?, job, &import::read(&job.report)?, &folder)
    } else {
        let asked = bulk::asked(job)?;
        if !context.grant.is_admin() {
            covers(context, &asked)?;
        }
        manifest(&asked, &export::report(job)?, &folder)
    };
    let json = serde_json::to_vec(&manifest).map_err(Error::internal)?;
    Ok(Answer { made: Some(Made::Manifest(json, context.exports.expires(job))), ..Answer::empty(Status::Ok) })
}

/// Whether what a token reaches covers an export: <https://hl7.org/fhir/uv/bulkdata/export.html#privacy-and-security-considerations>.
///
/// # Errors
/// 403 where it does not.
fn covers(context: &Context, asked: &Asked) -> Result<()> {
    let is_covered = |type_name: &str, reach: &str| match reach::of_type(&context.grant, type_name) {
        Some(own) => own == reach::WHOLE || own == reach,
        None => false,
    };
    if asked.reach.iter().all(|(type_name, reach)| is_covered(type_name, reach)) {
        Ok(())
    } else {
        Err(reach::insufficient_scope())
    }
}

/// A job that is to be seen.
fn find(context: &Context, id: &str) -> Result<Job> {
    let job = context.jobs.get(context.grant.tenant(), id)?;
    job.filter(|job| is_to_be_seen(context, job)).ok_or_else(Error::not_found)
}

fn is_to_be_seen(context: &Context, job: &Job) -> bool {
    let (agent, owner) = (context.trail.agent(), &job.owner);
    let is_own = owner.client.is_some() && owner.client == agent.client && owner.user == agent.user;
    let is_there = match job.kind.as_str() {
        retention::purge::KIND | reindex::KIND => !job.is_cancelled && job.state != State::Cancelled,
        export::KIND | import::KIND => context.exports.is_kept(job, context.clock.now()),
        _ => false,
    };
    is_there && (is_own || context.grant.is_admin())
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

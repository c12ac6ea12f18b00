//! How a job is that a request began, what it has made, and its end: <https://hl7.org/fhir/R4/async.html>,
//! <https://build.fhir.org/async-bundle.html>, <https://hl7.org/fhir/uv/bulkdata/export.html#bulk-data-status-request>.

use super::call::Verb;
use super::{Answer, Context, Download, Made, Pending, Request, Status, deferred, reach};
use crate::auth::agent::Agent;
use crate::auth::grant::Grant;
use crate::bulk::Exports;
use crate::bulk::manifest::Pages;
use crate::bulk::{self, Asked, DEFERRED, export, import, purged};
use crate::error::{Category, Error, Issue, Result};
use crate::fhir::bundle::{BundleType, BundleWriter, Entry, EntryResponse};
use crate::fhir::outcome::outcome;
use crate::jobs::{Job, Jobs, State};
use crate::operation::{purge, reindex};
use crate::retention;
use crate::store::Store;

/// When to ask again, in seconds, where it can't be told: soon, since most jobs are short.
const SOON_S: u64 = 1;
const LATEST_S: u64 = 60;

/// How a job is (`GET`), or its end (`DELETE`): it is cancelled, or forgotten where it has ended. Only who asked for it, and
/// administrators, see a job.
///
/// # Errors
/// 404 for one that is not there, that is somebody else's, or that was cancelled; 429 for who asks how an export is too often; 409 for a
/// purge that can't be forgotten yet.
pub async fn job(context: &Context, request: &Request<'_>, id: &str) -> Result<Answer> {
    let tenant = context.grant.tenant();
    let job = find(context, id)?;
    if request.verb == Verb::Delete {
        if job.state.is_ended() {
            if bulk::has_files(&job) {
                context.exports.remove(&context.store, tenant, id, Some(&job)).await?;
            } else {
                // A purge is not forgotten before what holds its patient's data, or may come to hold it.
                purged::check_forgettable(&context.jobs.list(tenant)?, &job)?;
                drop_purged(&context.exports, &context.jobs, &context.store, &context.grant).await?;
            }
            context.jobs.forget(tenant, id).await?;
        } else {
            context.cancel_job(&context.witness(request), id).await?;
        }
        return Ok(Answer::empty(Status::Accepted));
    }
    if !job.state.is_ended() {
        if bulk::has_files(&job) {
            context.exports.count_poll(tenant, id)?;
        }
        let first = if job.kind == export::KIND { page(context, &job, 1)? } else { None };
        return Ok(first.unwrap_or_else(|| Answer { pending: Some(pending(&job)), ..Answer::empty(Status::Accepted) }));
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
    if let Some(number) = Pages::number(name).filter(|_| job.kind == export::KIND) {
        return page(context, &job, number)?.ok_or_else(Error::not_found);
    }
    let files = match job.kind.as_str() {
        export::KIND if job.state == State::Done || is_partial(&job)? => export::report(&job)?.files,
        _ if job.state != State::Done => Vec::new(),
        import::KIND => import::read::<import::Report>(&job.report)?.files().cloned().collect(),
        _ => Vec::new(),
    };
    let file = files.into_iter().find(|file| &*file.name == name).ok_or_else(Error::not_found)?;
    if job.kind == export::KIND {
        covers(context, &bulk::asked(&job)?)?;
    }
    let place = context.exports.place(&context.store, &context.grant, id);
    let patients = place.patients(&file)?;
    purged::check(&purged::since(&context.jobs.list(context.grant.tenant())?, &job), &patients)?;
    if request.verb != Verb::Head {
        context.trail.disclose_patients(&patients);
    }
    Ok(Answer { made: Some(Made::File(Download { place, file })), ..Answer::empty(Status::Ok) })
}

/// Removes the jobs whose files hold data of patients who were purged since, with the files. Answers how many.
///
/// # Errors
/// When the store or the files can't be reached.
pub async fn drop_purged(exports: &Exports, jobs: &Jobs, store: &Store, grant: &Grant) -> Result<usize> {
    let found = exports.with_purged(store, grant, &jobs.list(grant.tenant())?).await?;
    for job in &found {
        exports.remove(store, grant.tenant(), &job.id, Some(job)).await?;
        jobs.forget(grant.tenant(), &job.id).await?;
    }
    Ok(found.len())
}

/// Whether the files of a job that has not ended can be had.
fn is_partial(job: &Job) -> Result<bool> {
    Ok(!job.state.is_ended() && bulk::asked(job)?.is_partial)
}

/// A page of the manifest of an export, where it is there. It is a preliminary answer as long as others may come behind it:
/// <https://hl7.org/fhir/uv/bulkdata/export.html#response---in-progress-status>.
fn page(context: &Context, job: &Job, number: usize) -> Result<Option<Answer>> {
    let (asked, report) = (bulk::asked(job)?, export::report(job)?);
    let (folder, is_done) = (&url(context, &job.id), job.state == State::Done);
    let length = context.exports.manifest_files();
    let pages = Pages { asked: &asked, report: &report, folder, is_done, length };
    let Some(page) = pages.page(number).filter(|_| !job.state.is_ended() || is_done) else { return Ok(None) };
    if !context.grant.is_admin() {
        covers(context, &asked)?;
    }
    let json = serde_json::to_vec(&page).map_err(Error::internal)?;
    let is_last = !is_done && (number == 1 || number == pages.count());
    let (status, pending) = if is_last { (Status::Accepted, Some(pending(job))) } else { (Status::Ok, None) };
    let made = Some(Made::Manifest(json, context.exports.expires(job)));
    Ok(Some(Answer { pending, made, ..Answer::empty(status) }))
}

/// What a job that makes files has come to.
fn finished(context: &Context, job: &Job) -> Result<Answer> {
    if job.state == State::Failed {
        let text = job.failure.clone().unwrap_or_default();
        return Err(Error::new(Category::Internal, "exception", text));
    }
    if job.kind == DEFERRED {
        return deferred::answer(context, job);
    }
    if job.kind == export::KIND {
        return page(context, job, 1)?.ok_or_else(Error::not_found);
    }
    let folder = url(context, &job.id);
    let manifest = import::manifest(&import::asked(job)?, job, &import::read(&job.report)?, &folder);
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
    // Two issuers may call different clients, or people, the same.
    let who = |agent: &Agent| (agent.issuer.clone(), agent.client.clone(), agent.user.clone());
    let is_own = owner.client.as_deref().is_some_and(|client| !client.is_empty()) && who(owner) == who(&agent);
    let is_there = match job.kind.as_str() {
        retention::purge::KIND | reindex::KIND => !job.is_cancelled && job.state != State::Cancelled,
        export::KIND | import::KIND | DEFERRED => context.exports.is_kept(job, context.clock.now()),
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

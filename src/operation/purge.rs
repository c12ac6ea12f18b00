//! `Patient/[id]/$purge`: <https://hl7.org/fhir/6.0.0-ballot3/patient-operation-purge.html>. What is erased and what is left, see
//! [`crate::retention::purge`].

use super::parameters;
use crate::error::{Category, Error, Issue, Result};
use crate::interaction::call::{Verb, method_not_allowed};
use crate::interaction::{Answer, Context, Pending, Request, Status, job};
use crate::jobs::{Job, New, State};
use crate::retention::enforce::report_of;
use crate::retention::{Count, Report, Why, hold, purge};
use std::fmt::Write;
use std::time::Duration;

/// Erases a patient's record, or tells what would be erased. Who did not ask to hear of it later hears of it now, if it does not take
/// longer than half the time of a request.
///
/// # Errors
/// 404 for a patient that never was, or was purged; 409 for one under a legal hold; 429 where there are too many jobs.
pub async fn purge(context: &Context, mut request: Request<'_>, id: &str) -> Result<Answer> {
    if request.verb != Verb::Post {
        return Err(method_not_allowed());
    }
    let (respond_async, witness) = (request.respond_async, context.witness(&request));
    let wanted = wanted(&mut request, id)?;
    let tenant = context.grant.tenant();
    if context.open()?.view().find("Patient", id)?.is_none() {
        return Err(Error::not_found());
    }
    if hold::get(&*context.store.keeper(), tenant, &format!("Patient/{id}"))?.is_some() {
        return Err(purge::held());
    }
    let parameters = serde_json::to_value(&wanted).map_err(Error::internal)?;
    let is_same = |job: &Job| job.kind == purge::KIND && !job.state.is_ended() && job.parameters == parameters;
    let job = if let Some(job) = context.jobs.list(tenant)?.into_iter().find(is_same) {
        job
    } else {
        let owner = context.trail.agent().into_owned();
        let new = New { kind: purge::KIND, owner, parameters };
        context.begin_job(&witness, context.clock.new_id(), new, Vec::new()).await?
    };
    let most = Duration::from_millis(if respond_async { 0 } else { context.limits.request_timeout_ms / 2 });
    let job = context.jobs.wait(tenant, &job.id, most).await?.unwrap_or(job);
    if job.state.is_ended() {
        let issues = outcome(&job)?;
        return Ok(Answer { issues, ..Answer::empty(Status::Ok) });
    }
    let text = "The record is being erased: ask for the outcome at the address in Content-Location.";
    let pending = Pending { content_location: Some(job::url(context, &job.id)), ..job::pending(&job) };
    let issues = vec![Issue::information("incomplete", text)];
    Ok(Answer { issues, pending: Some(pending), ..Answer::empty(Status::Accepted) })
}

fn wanted(request: &mut Request<'_>, id: &str) -> Result<purge::Parameters> {
    let mut wanted = purge::Parameters { patient: id.to_owned(), is_dry_run: false };
    for (name, value) in parameters::pairs(request)? {
        match (name.as_str(), value.as_str()) {
            ("dryRun", "true") => wanted.is_dry_run = true,
            ("dryRun", "false") => wanted.is_dry_run = false,
            ("dryRun", _) => return Err(Error::invalid("dryRun must be true or false.").at("dryRun")),
            // Whoever asks for less than is erased must hear of it, whatever they prefer.
            _ => return Err(parameters::unknown("$purge", &name)),
        }
    }
    Ok(wanted)
}

/// What came of a job that has ended.
///
/// # Errors
/// 409 for one that failed or was cancelled.
pub fn outcome(job: &Job) -> Result<Vec<Issue>> {
    let why = match job.state {
        State::Failed => job.failure.clone().unwrap_or_default(),
        State::Cancelled => "The job was cancelled. What it had erased is gone.".to_owned(),
        _ => {
            let report = report_of(job)?;
            let left = report.left.iter().map(|(reference, why)| left(reference, *why));
            let mut issues: Vec<Issue> = std::iter::once(summary(&report)).chain(left).collect();
            if report.more_left > 0 {
                let text = format!("{} more resources were left.", report.more_left);
                issues.push(Issue::warning("incomplete", text));
            }
            return Ok(issues);
        }
    };
    Err(Error::new(Category::Conflict, "incomplete", why))
}

/// How much was erased. R4 has no code `success` yet.
fn summary(report: &Report) -> Issue {
    let mut text = if report.is_dry_run { "Nothing was touched. To be erased:" } else { "Erased:" }.to_owned();
    for (type_name, Count { resources, versions }) in &report.erased {
        let _ = write!(text, " {type_name} {resources} ({versions} versions),");
    }
    let text = text.strip_suffix(',').map_or_else(|| format!("{text} nothing."), |text| format!("{text}."));
    Issue::information("informational", text)
}

fn left(reference: &str, why: Why) -> Issue {
    let text = match why {
        Why::Shared => format!("{reference} was left: it is about other patients, too."),
        Why::Held => format!("{reference} was left: it is under a legal hold, or about a patient who is."),
    };
    Issue::warning("business-rule", text)
}

//! `$reindex`: makes the search keys of the resources that are older than a search parameter of the tenant. An operation of this
//! server's own; what it is for: <https://hl7.org/fhir/R4/searchparameter.html>.
//!
//! A job does the work, one at a time in a tenant. A resource is to be done while its key list lacks the marker of a parameter; so what
//! is written meanwhile needs no attention, and a job that was cancelled leaves the rest to the next one.

pub mod work;

use crate::error::{Category, Error, Issue, Result};
use crate::fhir::tree::Value;
use crate::fhir::write;
use crate::interaction::call::Verb;
use crate::interaction::conformance::{Conformance, lacking};
use crate::interaction::{Answer, Context, Pending, Request, Status, job};
use crate::jobs::{Job, New, State};
use crate::search::Budget;
use crate::store::{Rid, View};
use serde_json::json;
use std::time::Duration;

/// The kind of work.
pub const KIND: &str = "reindex";
/// How many resources lacked keys when it was asked for: a parameter of the job, since counting them takes longer than a part may.
const TOTAL: &str = "total";

/// Starts the work where there is any (`POST`), and answers how far it is (`GET` too).
///
/// # Errors
/// 429 where the tenant has too many jobs; when the store fails.
pub async fn reindex(context: &Context, request: Request<'_>) -> Result<Answer> {
    let tenant = context.grant.tenant();
    let left = left(&context.conformance, context.open()?.view())?;
    let known = context.jobs.list(tenant)?.into_iter().find(|job| job.kind == KIND);
    let is_under_way = known.as_ref().is_some_and(|job| !job.state.is_ended());
    let job = if request.verb == Verb::Post && left > 0 && !is_under_way {
        let owner = context.trail.agent().into_owned();
        let parameters = json!({ TOTAL: left });
        let new = New { kind: KIND, owner, parameters };
        Some(context.begin_job(&context.witness(&request), context.clock.new_id(), new, Vec::new()).await?)
    } else {
        known
    };
    match job {
        Some(job) if request.verb == Verb::Post && request.respond_async && !job.state.is_ended() => {
            let text = "The search keys are being made: ask for the outcome at the address in Content-Location.";
            let pending = Pending { content_location: Some(job::url(context, &job.id)), ..job::pending(&job) };
            let issues = vec![Issue::information("incomplete", text)];
            Ok(Answer { issues, pending: Some(pending), ..Answer::empty(Status::Accepted) })
        }
        job => Ok(Answer::ok(write::to_vec(&told(job.as_ref(), left)))),
    }
}

/// How far it is, as Parameters.
fn told(job: Option<&Job>, left: u64) -> Value<'static> {
    let state = match job.map(|job| job.state) {
        Some(State::Queued | State::Active) => "running",
        _ if left == 0 => "done",
        Some(State::Failed) => "failed",
        _ => "waiting",
    };
    let mut parameters = vec![
        crate::tree!({ "name": "state", "valueCode": (state) }),
        crate::tree!({ "name": "done", "valueDecimal": (job.map_or(0, |job| job.done)) }),
        crate::tree!({ "name": "left", "valueDecimal": (left) }),
    ];
    if let Some(failure) = job.and_then(|job| job.failure.clone()).filter(|_| state == "failed") {
        parameters.push(crate::tree!({ "name": "failure", "valueString": (failure) }));
    }
    crate::tree!({ "resourceType": "Parameters", "parameter": (Value::Array(parameters)) })
}

/// What came of a job that has ended.
///
/// # Errors
/// 409 for one that failed or was cancelled.
pub fn outcome(job: &Job) -> Result<Vec<Issue>> {
    match job.state {
        State::Done => {
            let text = format!("The search keys of {} resources were made.", job.done);
            Ok(vec![Issue::information("informational", text)])
        }
        State::Failed => Err(Error::new(Category::Conflict, "incomplete", job.failure.clone().unwrap_or_default())),
        _ => {
            Err(Error::new(Category::Conflict, "incomplete", "The job was cancelled. The keys that it had made stay."))
        }
    }
}

/// How many resources lack keys.
fn left(conformance: &Conformance, view: &dyn View) -> Result<u64> {
    let parameters = conformance.parameters();
    let (budget, mut left) = (unlimited(), 0);
    for type_name in parameters.types_with_further() {
        for rid in lacking(view, type_name, parameters.further(type_name), Rid(0), &budget) {
            rid?;
            left += 1;
        }
    }
    Ok(left)
}

fn unlimited() -> Budget {
    Budget::new(u64::MAX, Duration::from_hours(24 * 365))
}

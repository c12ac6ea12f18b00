//! `/auth/admin/jobs`

use super::{Answer, Call, not_allowed, nothing};
use crate::clock::Micros;
use crate::error::Result;
use crate::jobs::Job;
use serde_json::{Value, json};

/// The list.
pub fn all(call: &Call<'_>) -> Result<Answer> {
    if call.method != "GET" {
        return Err(not_allowed());
    }
    let jobs = call.app.jobs.list(call.tenant)?;
    Ok(Answer::of(json!({ "jobs": jobs.iter().map(shown).collect::<Vec<_>>() }), None))
}

/// One job: read, cancelled.
pub async fn one(call: &Call<'_>, id: &str) -> Result<Answer> {
    let job = match call.method {
        "GET" => call.app.jobs.get(call.tenant, id)?,
        "DELETE" => call.app.jobs.cancel(call.tenant, id, Some(&call.witness)).await?,
        _ => return Err(not_allowed()),
    };
    Ok(Answer::of(shown(&job.ok_or_else(nothing)?), None))
}

/// A job as an administrator sees it.
pub fn shown(job: &Job) -> Value {
    let time = |micros: Option<i64>| micros.map(|micros| Micros(micros).to_instant());
    json!({
        "id": job.id,
        "kind": job.kind,
        "owner": job.owner,
        "parameters": job.parameters,
        "state": job.state,
        "is_cancelled": job.is_cancelled,
        "done": job.done,
        "total": job.total,
        "rate_per_s": job.rate_per_s(),
        "left_s": job.left_s(),
        "report": job.report,
        "failure": job.failure,
        "created": time(Some(job.created)),
        "started": time(job.started),
        "changed": time(job.changed),
        "ended": time(job.ended),
    })
}

//! `/auth/admin/retention`

use super::bodies::{self, RETENTION};
use super::{Answer, Call, jobs, not_allowed};
use crate::auth::agent::Agent;
use crate::error::{Error, Result};
use crate::jobs::New;
use crate::retention::enforce::{KIND, Parameters};
use actix_web::http::StatusCode;
use serde::Deserialize;
use serde_json::json;

#[derive(Default, Deserialize)]
struct Body {
    #[serde(default)]
    dry_run: bool,
}

/// The rules, and a run of them.
pub async fn retention(call: &Call<'_>) -> Result<Answer> {
    match call.method {
        "GET" => {
            let settings = &call.app.config.retention;
            let own = &call.app.tenants().of(call.tenant).tenant.retention;
            Ok(Answer::of(
                json!({ "interval_s": settings.interval_s, "own_rules": own, "rules": settings.rules }),
                None,
            ))
        }
        "POST" => {
            let body = if call.body.is_empty() { Body::default() } else { bodies::read(&RETENTION, &call.body)? };
            let parameters = serde_json::to_value(Parameters { is_dry_run: body.dry_run }).map_err(Error::internal)?;
            let new = New { kind: KIND, owner: Agent::clone(&call.agent), parameters };
            let job = call.app.jobs.submit_told(call.tenant, new, &call.witness).await?;
            let location = call.app.auth.endpoint(call.tenant, &format!("admin/jobs/{}", job.id));
            let answer = Answer::of(jobs::shown(&job), None);
            Ok(Answer { status: StatusCode::ACCEPTED, location: Some(location), ..answer })
        }
        _ => Err(not_allowed()),
    }
}

//! `/auth/admin/holds`

use super::bodies::{self, HOLD};
use super::{Answer, Call, not_allowed, nothing, page};
use crate::auth::agent::Agent;
use crate::error::Result;
use crate::retention::hold::{self, Hold};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
struct Body {
    reason: String,
}

/// The list.
pub fn all(call: &Call<'_>) -> Result<Answer> {
    if call.method != "GET" {
        return Err(not_allowed());
    }
    let (after, count) = page(call)?;
    let holds = hold::list(&*call.app.store().keeper(), call.tenant, after, count)?;
    let mut body = json!({ "holds": holds.iter().map(shown).collect::<Vec<_>>() });
    if let (Some(members), Some(last)) = (body.as_object_mut(), holds.last().filter(|_| holds.len() == count)) {
        members.insert("next".to_owned(), (*last.on).into());
    }
    Ok(Answer::of(body, None))
}

/// One hold: read, set, lifted.
pub async fn one(call: &Call<'_>, type_name: &str, id: &str) -> Result<Answer> {
    let (app, on) = (call.app, format!("{type_name}/{id}"));
    match call.method {
        "GET" => {
            let found = hold::get(&*app.store().keeper(), call.tenant, &on)?;
            Ok(Answer::of(shown(&found.ok_or_else(nothing)?), None))
        }
        "PUT" => {
            let Body { reason } = bodies::read(&HOLD, &call.body)?;
            let hold = Hold { on: on.into(), reason, by: Agent::clone(&call.agent), since: app.now().0 };
            app.holds(call.tenant).set(&hold).await?;
            Ok(Answer::of(shown(&hold), None))
        }
        "DELETE" => {
            app.holds(call.tenant).lift(&on, &call.agent, app.now()).await?;
            Ok(Answer::nothing())
        }
        _ => Err(not_allowed()),
    }
}

fn shown(hold: &Hold) -> Value {
    json!({ "on": hold.on, "reason": hold.reason, "by": hold.by, "since": crate::clock::Micros(hold.since).to_instant() })
}

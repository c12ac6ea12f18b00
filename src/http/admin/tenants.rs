//! `/auth/admin/tenants`, of the default tenant only: there the installation is administered.

use super::{Answer, Call, bodies, not_allowed, nothing, page};
use crate::auth::server::Server;
use crate::auth::set_up;
use crate::auth::tenants::{Registered, shown};
use crate::error::Result;
use crate::jobs::State as JobState;
use crate::tenant::{State, TenantId};
use actix_web::http::StatusCode;
use serde_json::{Map, Value, json};

/// The list, or a new one.
pub async fn all(call: &Call<'_>) -> Result<Answer> {
    here(call)?;
    match call.method {
        "GET" => list(call),
        "POST" => create(call).await,
        _ => Err(not_allowed()),
    }
}

/// In the order of their numbers. `after` is the name of the last one that was seen.
fn list(call: &Call<'_>) -> Result<Answer> {
    let (after, count) = page(call)?;
    let all = call.app.tenants().all()?;
    let from = after.map(|name| call.app.tenants().named(name)).transpose()?.map(|after| after.id());
    let mut page = all.iter().filter(|one| from.is_none_or(|from| one.id() > from));
    let shown = page.by_ref().take(count).map(|registered| shown(registered)).collect::<Vec<_>>();
    let last = shown.last().and_then(|last| last.get("name")).cloned().filter(|_| page.next().is_some());
    let mut body = json!({ "tenants": shown });
    if let (Some(members), Some(last)) = (body.as_object_mut(), last) {
        members.insert("next".to_owned(), last);
    }
    Ok(Answer::of(body, None))
}

async fn create(call: &Call<'_>) -> Result<Answer> {
    let app = call.app;
    let tenant = app.create_tenant(&bodies::json::<Value>(&call.body)?, Some(&call.witness)).await?;
    let mut members = shown(&app.tenants().of(tenant.id()));
    members.extend(set_up_code(&app.auth, tenant.id()).await?);
    let location = app.auth.endpoint(call.tenant, &format!("admin/tenants/{}", tenant.name));
    let answer = Answer::of(members.into(), Some(1));
    Ok(Answer { status: StatusCode::CREATED, location: Some(location), ..answer })
}

/// One tenant: read, configured, deleted.
pub async fn one(call: &Call<'_>, name: &str) -> Result<Answer> {
    here(call)?;
    match call.method {
        "GET" => read(call, name),
        "PUT" => {
            let given = bodies::json::<Value>(&call.body)?;
            call.app.configure_tenant(name, call.version, &given, Some(&call.witness)).await?;
            read(call, name)
        }
        "DELETE" => {
            call.app.delete_tenant(name, call.version, Some(&call.witness)).await?;
            Ok(Answer { status: StatusCode::ACCEPTED, ..read(call, name)? })
        }
        _ => Err(not_allowed()),
    }
}

/// What can be done with a tenant: suspended, resumed, given a code for its first administrator.
pub async fn act(call: &Call<'_>, name: &str, action: &str) -> Result<Answer> {
    here(call)?;
    let state = match (action, call.method) {
        ("suspend", "POST") => State::Suspended,
        ("resume", "POST") => State::Active,
        ("set-up-code", "POST") => {
            let registered = call.app.tenants().named(name)?;
            registered.check_served()?;
            return Ok(Answer::of(set_up_code(&call.auth(), registered.id()).await?.into(), None));
        }
        ("suspend" | "resume" | "set-up-code", _) => return Err(not_allowed()),
        _ => return Err(nothing()),
    };
    call.app.tenants().set_state(name, call.version, state, Some(&call.witness)).await?;
    read(call, name)
}

fn here(call: &Call<'_>) -> Result<()> {
    if call.tenant == TenantId::DEFAULT { Ok(()) } else { Err(nothing()) }
}

/// The tenant, and of a deleted one how far its erasure is.
fn read(call: &Call<'_>, name: &str) -> Result<Answer> {
    let app = call.app;
    let (tenant, version) = app.tenants().current(name)?;
    let registered: &Registered = &app.tenants().of(tenant.id());
    let mut members = shown(registered);
    if app.is_destroyed(&tenant) {
        members.insert("erasure".to_owned(), json!({ "state": JobState::Done }));
    } else if registered.tenant.state == State::Deleted
        && let Some(job) = app.erasure_of(&tenant)?
    {
        members.insert("erasure".to_owned(), json!({ "state": job.state, "done": job.done, "failure": job.failure }));
    }
    Ok(Answer::of(members.into(), (version > 0).then_some(version)))
}

/// What the first administrator of a tenant needs, shown this once; nothing where there is one.
async fn set_up_code(auth: &Server, tenant: TenantId) -> Result<Map<String, Value>> {
    let code = auth.new_set_up_code(tenant).await?;
    let said =
        code.map(|code| json!({ "code": code, "page": auth.endpoint(tenant, "setup"), "lifetime_s": set_up::CODE_S }));
    Ok(said.map(|said| ("set_up".to_owned(), said)).into_iter().collect())
}

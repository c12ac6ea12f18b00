//! `/auth/admin/roles`

use super::bodies::{self, ROLE};
use super::{Answer, Call, not_allowed, nothing};
use crate::auth::records::Role;
use crate::auth::role::scopes;
use crate::error::{Error, Result};
use actix_web::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
struct Body {
    #[serde(default)]
    name: Option<String>,
    scopes: String,
    #[serde(default)]
    own_patients: bool,
    #[serde(default)]
    break_glass: bool,
    #[serde(default)]
    is_admin: bool,
    #[serde(default)]
    purpose_of_use: Vec<String>,
}

/// The list.
pub fn all(call: &Call<'_>) -> Result<Answer> {
    if call.method != "GET" {
        return Err(not_allowed());
    }
    let roles = call.app.auth.roles(call.tenant)?;
    Ok(Answer::of(json!({ "roles": roles.iter().map(shown).collect::<Vec<_>>() }), None))
}

/// One role: read, added or replaced, removed.
pub async fn one(call: &Call<'_>, name: &str) -> Result<Answer> {
    let (auth, tenant) = (call.auth(), call.tenant);
    match call.method {
        "GET" => read(call, name),
        "PUT" => {
            let body = bodies::read::<Body>(&ROLE, &call.body)?;
            if body.name.is_some_and(|own| own != name) {
                return Err(Error::invalid("The name of the URL and the body must agree.").at("name"));
            }
            let role = Role {
                name: name.to_owned(),
                scopes: scopes(&body.scopes)?,
                own_patients: body.own_patients,
                break_glass: body.break_glass,
                is_admin: body.is_admin,
                purpose_of_use: body.purpose_of_use,
            };
            let is_new = auth.role(tenant, name)?.is_none();
            auth.put_role(tenant, &role, call.version, &|scope| call.app.check_restriction(tenant, scope)).await?;
            let answer = read(call, name)?;
            Ok(if is_new { Answer { status: StatusCode::CREATED, ..answer } } else { answer })
        }
        "DELETE" => auth.remove_role(tenant, name, call.version).await.map(|()| Answer::nothing()),
        _ => Err(not_allowed()),
    }
}

fn read(call: &Call<'_>, name: &str) -> Result<Answer> {
    let (role, version) = call.app.auth.role(call.tenant, name)?.ok_or_else(nothing)?;
    Ok(Answer::of(shown(&role), (version > 0).then_some(version)))
}

/// A role as an administrator sees it.
pub fn shown(role: &Role) -> Value {
    json!({
        "name": role.name,
        "scopes": role.scopes,
        "own_patients": role.own_patients,
        "break_glass": role.break_glass,
        "is_admin": role.is_admin,
    })
}

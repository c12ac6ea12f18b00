//! `/auth/admin/users`

use super::bodies::{self, NEW_USER, PASSWORD, USER};
use super::{Answer, Call, not_allowed, nothing, page};
use crate::auth::records::User;
use crate::auth::user::NewUser;
use crate::error::{Error, Result};
use actix_web::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
struct Body {
    username: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    fhir_user: Option<String>,
    roles: Vec<String>,
    #[serde(default)]
    disabled: bool,
    #[serde(default)]
    must_change_password: bool,
    #[serde(default)]
    password: Option<String>,
}

#[derive(Deserialize)]
struct Password {
    password: String,
}

/// The list, or a new one.
pub async fn all(call: &Call<'_>) -> Result<Answer> {
    match call.method {
        "GET" => list(call),
        "POST" => add(call).await,
        _ => Err(not_allowed()),
    }
}

fn list(call: &Call<'_>) -> Result<Answer> {
    let auth = &call.app.auth;
    if let Some(username) = call.parameter("username") {
        let users = auth.user_by_name(call.tenant, username)?;
        return Ok(Answer::of(json!({ "users": users.iter().map(shown).collect::<Vec<_>>() }), None));
    }
    let (after, count) = page(call)?;
    let users = auth.users(call.tenant, after, count)?;
    let mut body = json!({ "users": users.iter().map(|(user, _)| shown(user)).collect::<Vec<_>>() });
    if let (Some(members), Some((last, _))) = (body.as_object_mut(), users.last().filter(|_| users.len() == count)) {
        members.insert("next".to_owned(), last.id.clone().into());
    }
    Ok(Answer::of(body, None))
}

async fn add(call: &Call<'_>) -> Result<Answer> {
    let body = bodies::read::<Body>(&NEW_USER, &call.body)?;
    if body.disabled {
        return Err(Error::invalid("A new user can't be switched off.").at("disabled"));
    }
    let new = NewUser {
        username: body.username,
        name: body.name,
        fhir_user: body.fhir_user,
        roles: body.roles,
        // Who chose it is not who will use it.
        must_change_password: body.must_change_password || body.password.is_some(),
        password: body.password,
    };
    let user = call.auth().add_user(call.tenant, new).await?;
    let location = call.app.auth.endpoint(call.tenant, &format!("admin/users/{}", user.id));
    let answer = Answer::of(shown(&user), Some(1));
    Ok(Answer { status: StatusCode::CREATED, location: Some(location), ..answer })
}

/// One user.
pub async fn one(call: &Call<'_>, id: &str) -> Result<Answer> {
    let (auth, tenant) = (call.auth(), call.tenant);
    match call.method {
        "GET" => read(call, id),
        "PUT" => {
            let body = bodies::read::<Body>(&USER, &call.body)?;
            let change = |user: &mut User| {
                user.username.clone_from(&body.username);
                user.name.clone_from(&body.name);
                user.fhir_user.clone_from(&body.fhir_user);
                user.roles.clone_from(&body.roles);
                user.disabled = body.disabled;
                user.must_change_password = body.must_change_password;
            };
            auth.change_user(tenant, id, call.version, change).await?;
            read(call, id)
        }
        "DELETE" => auth.remove_user(tenant, id, call.version).await.map(|()| Answer::nothing()),
        _ => Err(not_allowed()),
    }
}

/// The password, which can be set; the second factor and the lock, which can be taken away.
pub async fn part(call: &Call<'_>, id: &str, part: &str) -> Result<Answer> {
    let (auth, tenant) = (call.auth(), call.tenant);
    match (part, call.method) {
        ("password", "PUT") => {
            let body = bodies::read::<Password>(&PASSWORD, &call.body)?;
            auth.set_password(tenant, id, call.version, &body.password, true).await?;
        }
        ("second-factor", "DELETE") => {
            auth.change_user(tenant, id, call.version, |user| user.totp = None).await?;
        }
        ("lock", "DELETE") => {
            let (user, _) = auth.user(tenant, id)?.ok_or_else(nothing)?;
            auth.unlock(tenant, &user.username).await?;
        }
        ("password" | "second-factor" | "lock", _) => return Err(not_allowed()),
        _ => return Err(nothing()),
    }
    Ok(Answer::nothing())
}

fn read(call: &Call<'_>, id: &str) -> Result<Answer> {
    let (user, version) = call.app.auth.user(call.tenant, id)?.ok_or_else(nothing)?;
    Ok(Answer::of(shown(&user), Some(version)))
}

/// A user without secrets.
pub fn shown(user: &User) -> Value {
    json!({
        "id": user.id,
        "username": user.username,
        "name": user.name,
        "fhir_user": user.fhir_user,
        "roles": user.roles,
        "disabled": user.disabled,
        "must_change_password": user.must_change_password,
        "has_password": user.password.is_some(),
        "has_second_factor": user.totp.is_some(),
    })
}

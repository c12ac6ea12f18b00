//! `/auth/admin/clients`

use super::{Answer, Call, bodies, not_allowed, nothing, page};
use crate::auth::registration::metadata;
use crate::error::Result;
use actix_web::http::StatusCode;
use serde_json::{Value, json};

/// The list, or a new one.
pub async fn all(call: &Call<'_>) -> Result<Answer> {
    match call.method {
        "GET" => {
            let (after, count) = page(call)?;
            let clients = call.app.auth.clients(call.tenant, after, count)?;
            let mut body = json!({ "clients": clients.iter().map(metadata).collect::<Vec<_>>() });
            let last = clients.last().filter(|_| clients.len() == count);
            if let (Some(members), Some(last)) = (body.as_object_mut(), last) {
                members.insert("next".to_owned(), last.client_id.clone().into());
            }
            Ok(Answer::of(body, None))
        }
        "POST" => put(call, &call.app.new_id(), Some(0)).await,
        _ => Err(not_allowed()),
    }
}

/// One client: read, added or replaced, removed.
pub async fn one(call: &Call<'_>, id: &str) -> Result<Answer> {
    match call.method {
        "GET" => {
            let (client, version) = call.app.auth.client_by_id(call.tenant, id)?.ok_or_else(nothing)?;
            Ok(Answer::of(metadata(&client), Some(version)))
        }
        "PUT" => put(call, id, call.version).await,
        "DELETE" => call.auth().remove_client(call.tenant, id, call.version).await.map(|()| Answer::nothing()),
        _ => Err(not_allowed()),
    }
}

async fn put(call: &Call<'_>, id: &str, version: Option<u64>) -> Result<Answer> {
    let given = bodies::json::<Value>(&call.body)?;
    let auth = call.auth();
    let (registered, is_new) = auth.replace_client(call.tenant, id, version, &given).await?;
    let current = auth.client_by_id(call.tenant, id)?.map(|(_, version)| version);
    let answer = Answer::of(registered.to_json(), current);
    if !is_new {
        return Ok(answer);
    }
    let location = auth.endpoint(call.tenant, &format!("admin/clients/{id}"));
    Ok(Answer { status: StatusCode::CREATED, location: Some(location), ..answer })
}

/// What can be done with a client: another secret, which is shown this once, and switching off and on.
pub async fn act(call: &Call<'_>, id: &str, action: &str) -> Result<Answer> {
    let (auth, tenant) = (call.auth(), call.tenant);
    match (action, call.method) {
        ("rotate-secret", "POST") => {
            let secret = auth.rotate_secret(tenant, id, call.version).await?;
            Ok(Answer::of(json!({ "client_id": id, "client_secret": secret, "client_secret_expires_at": 0 }), None))
        }
        ("disable" | "enable", "POST") => {
            auth.disable_client(tenant, id, call.version, action == "disable").await?;
            Ok(Answer::nothing())
        }
        ("rotate-secret" | "disable" | "enable", _) => Err(not_allowed()),
        _ => Err(nothing()),
    }
}

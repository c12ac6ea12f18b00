//! `/auth/admin/keys`

use super::bodies::{self, RESEAL, ROTATION};
use super::jobs::shown;
use super::{Answer, Call, not_allowed};
use crate::error::{Category, Error, Result};
use crate::jobs::Job;
use crate::jobs::reseal::Parameters;
use crate::store::keys::KeyFacts;
use crate::tenant::TenantId;
use actix_web::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum What {
    #[default]
    Signing,
    Data,
    Ledger,
    Master,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Rotation {
    what: What,
    drop_old: bool,
}

/// The data keys of the tenant.
pub fn all(call: &Call<'_>) -> Result<Answer> {
    if call.method != "GET" {
        return Err(not_allowed());
    }
    let facts = call.app.store().keyring().map(|keyring| keyring.facts(call.tenant)).unwrap_or_default();
    Ok(Answer::of(json!({ "keys": facts.iter().map(fact).collect::<Vec<_>>() }), None))
}

fn fact(fact: &KeyFacts) -> Value {
    json!({
        "generation": fact.generation,
        "state": fact.state,
        "id": fact.id,
        "created": fact.created.to_instant(),
        "master": fact.master,
        "version": fact.version,
    })
}

/// Other keys. What the old ones signed or sealed stays good, or not with `drop_old`. Where a provider changes keys, not the store,
/// `begins` records what is about to happen.
pub async fn rotate(call: &Call<'_>, begins: impl AsyncFnOnce() -> Result<()>) -> Result<Answer> {
    if call.method != "POST" {
        return Err(not_allowed());
    }
    let Rotation { what, drop_old } =
        if call.body.is_empty() { Rotation::default() } else { bodies::read(&ROTATION, &call.body)? };
    if matches!(what, What::Ledger | What::Master) && call.tenant != TenantId::DEFAULT {
        let text = "The keys of the whole store are for administrators of the default tenant.";
        return Err(Error::new(Category::Forbidden, "forbidden", text));
    }
    if what != What::Signing {
        begins().await?;
    }
    match what {
        What::Signing => {
            let rotated = call.auth().rotate_keys(call.tenant, drop_old).await;
            rotated.map_err(|error| Error::internal(error.log.unwrap_or_default()))?;
            tracing::info!(drop_old, "signing keys rotated");
            Ok(Answer::nothing())
        }
        What::Data => {
            let agent = (*call.agent).clone();
            Ok(accepted(
                call,
                &call.app.rotate_data_key(call.tenant, agent, Parameters { drop_old }, &call.witness).await?,
            ))
        }
        What::Ledger => call.app.rotate_ledger_key().await.map(|()| Answer::nothing()),
        What::Master => {
            let wrapped = call.app.rotate_master_key(&call.agent).await?;
            Ok(Answer::of(json!({ "wrapped": wrapped }), None))
        }
    }
}

/// Seals under the newest data key what is under older ones.
pub async fn reseal(call: &Call<'_>) -> Result<Answer> {
    if call.method != "POST" {
        return Err(not_allowed());
    }
    let parameters = if call.body.is_empty() { Parameters::default() } else { bodies::read(&RESEAL, &call.body)? };
    Ok(accepted(call, &call.app.reseal(call.tenant, (*call.agent).clone(), parameters, &call.witness).await?))
}

/// 202 with the job that does it.
fn accepted(call: &Call<'_>, job: &Job) -> Answer {
    let location = call.app.auth.endpoint(call.tenant, &format!("admin/jobs/{}", job.id));
    Answer { status: StatusCode::ACCEPTED, location: Some(location), ..Answer::of(shown(job), None) }
}

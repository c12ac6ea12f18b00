//! `/auth/admin/keys`

use super::bodies::{self, ROTATION};
use super::{Answer, Call, not_allowed};
use crate::error::{Error, Result};
use serde::Deserialize;

#[derive(Default, Deserialize)]
struct Rotation {
    #[serde(default)]
    drop_old: bool,
}

/// Other signing keys: a new one of each kind. What the old ones signed stays good until it ends, or not with `drop_old`.
pub async fn rotate(call: &Call<'_>) -> Result<Answer> {
    if call.method != "POST" {
        return Err(not_allowed());
    }
    let rotation = if call.body.is_empty() { Rotation::default() } else { bodies::read(&ROTATION, &call.body)? };
    let rotated = call.app.auth.rotate_keys(call.tenant, rotation.drop_old).await;
    rotated.map_err(|error| Error::internal(error.log.unwrap_or_default()))?;
    tracing::info!(drop_old = rotation.drop_old, "signing keys rotated");
    Ok(Answer::nothing())
}

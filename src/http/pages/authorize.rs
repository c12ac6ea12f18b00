//! `GET` and `POST /auth/authorize`

use super::{Answer, Visit, at, go_to};
use crate::auth::authorize::Refused;

/// Takes up what an app asks. The session's cookie does not count here: another site may send this form.
pub async fn ask(visit: Visit) -> Answer {
    match visit.auth().authorize(visit.tenant, &visit.form).await {
        Ok(pending) => Ok(go_to(&at("consent", Some(&pending)))),
        Err(Refused::There(address)) => Ok(go_to(&address)),
        Err(Refused::Here(error)) => Err(error.into()),
    }
}

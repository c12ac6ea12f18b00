//! `GET` and `POST /auth/authorize`

use super::{Answer, Failure, Visit, at, go_to};
use crate::audit::{Event, Record};
use crate::auth::agent::Agent;
use crate::auth::authorize::Refused;
use crate::auth::error::OAuthError;
use std::borrow::Cow;

/// Takes up what an app asks. The session's cookie does not count here: another site may send this form.
pub async fn ask(visit: Visit) -> Answer {
    match visit.auth().authorize(visit.tenant, &visit.form).await {
        Ok(pending) => Ok(go_to(&at("consent", Some(&pending)))),
        Err(Refused::There(address, error)) => {
            refused(&visit, Agent::client(visit.field("client_id")), &error).await?;
            Ok(go_to(&address))
        }
        // What was sent as a client is none: it is not repeated.
        Err(Refused::Here(error)) => {
            refused(&visit, Agent::default(), &error).await?;
            Err(error.into())
        }
    }
}

async fn refused(visit: &Visit, agent: Agent, error: &OAuthError) -> Result<(), Failure> {
    let record = Record::of(Event::Authorization, Cow::Owned(agent)).ended(error.status());
    visit.record(record.saying(format!("{}: {}", error.code, error.description))).await
}

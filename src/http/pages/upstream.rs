//! `/auth/upstream/{name}` and `/auth/upstream/{name}/callback`: the way to another provider and back.

use super::{Answer, Failure, Visit, at, enter, go_to, with_cookie};
use crate::audit::{Event, Record};
use crate::auth::agent::Agent;
use crate::auth::records::User;
use crate::auth::upstream::UpstreamError;
use crate::auth::witness::Deed;
use actix_web::web::Path;
use serde::Deserialize;
use std::borrow::Cow;

/// The longest id of a request that waits, in bytes: no record has a longer one.
const LONGEST_ID: usize = 255;

/// The provider that a path names, beside a tenant or not.
#[derive(Deserialize)]
pub struct Named {
    name: String,
}

/// Sends the browser to the provider.
pub async fn start(visit: Visit, path: Path<Named>) -> Answer {
    let Named { name } = path.into_inner();
    let auth = visit.auth();
    let pending = visit.form.get("pending").filter(|id| id.len() <= LONGEST_ID);
    let cookie = visit.cookie(&auth.upstream_cookie_name(visit.tenant));
    let departure = auth.start_upstream(visit.tenant, &name, pending, cookie.as_deref()).await;
    let departure = departure.map_err(|error| failure(&name, error))?;
    with_cookie(go_to(departure.address.as_str()), Some(&auth.upstream_cookie(visit.tenant, &departure.cookie)))
}

/// Takes the browser back. It goes on to the request that waited, or to what the user granted.
pub async fn callback(visit: Visit, path: Path<Named>) -> Answer {
    let Named { name } = path.into_inner();
    let cookie = visit.cookie(&visit.auth().upstream_cookie_name(visit.tenant));
    let provider = name.clone();
    let server = visit.recording(move |deed| match deed {
        Deed::SignIn(user) => Some(signed_in(&provider, Agent::user(user))),
        Deed::User(user) => Some(as_told(&provider, user)),
        _ => None,
    });
    let arrival = server.finish_upstream(visit.tenant, &name, &visit.form, cookie.as_deref()).await;
    let arrival = match arrival {
        Ok(arrival) => arrival,
        Err(error) => {
            if let Some((status, why)) = refusal(&error) {
                visit.record(signed_in(&name, Agent::default()).ended(status).saying(why)).await?;
            }
            return Err(failure(&name, error));
        }
    };
    let pending = arrival.pending.as_deref();
    let page = if pending.is_some() { at("consent", pending) } else { at("apps", None) };
    Ok(enter(&visit, &arrival.signed_in.cookie, &format!("../../{page}")))
}

/// The record of a sign-in through a provider.
fn signed_in(provider: &str, agent: Agent) -> Record<'static> {
    Record::of(Event::SignIn, Cow::Owned(agent)).named(provider.to_owned()).saying("another provider")
}

/// The record of an account that is made, or has become another, as a provider says.
fn as_told(provider: &str, user: &User) -> Record<'static> {
    let note = format!("as {provider} says; roles: {}", user.roles.join(", "));
    Record::of(Event::Account, Cow::Owned(Agent::user(user))).saying(note)
}

/// What the ledger says of a sign-in that failed: a status and why, where it is the one who tried.
const fn refusal(error: &UpstreamError) -> Option<(u16, &'static str)> {
    match error {
        UpstreamError::Refused(_) => Some((403, "another provider: what it answered lets nobody in")),
        UpstreamError::Expired => Some((400, "another provider: not begun in this browser, or too late")),
        UpstreamError::Unknown | UpstreamError::Unreachable(_) | UpstreamError::Failed(_) => None,
    }
}

/// The page for what went wrong. The log hears more than the browser.
fn failure(name: &str, error: UpstreamError) -> Failure {
    let page = |status, text: &str| Failure::page(status, "You are not signed in", text);
    match error {
        UpstreamError::Unknown => page(404, "There is no such provider."),
        UpstreamError::Expired => {
            page(400, "This sign-in was not begun in this browser, or took too long. Go back and begin again.")
        }
        UpstreamError::Refused(log) => {
            tracing::warn!(provider = name, log, "a sign-in through a provider failed");
            page(403, "What the other provider answered does not let you in here.")
        }
        UpstreamError::Unreachable(log) => {
            tracing::warn!(provider = name, log, "a sign-in through a provider failed");
            page(502, "The other provider can’t be reached now. Try again in a while.")
        }
        UpstreamError::Failed(error) => error.into(),
    }
}

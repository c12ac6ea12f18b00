//! A request of an app on its way to an answer: who decides about it, and what has to come first.

use super::{Answer, Failure, Person, Visit, Who, leading_to, sign_in_at};
use crate::audit::{Event, Record};
use crate::auth::agent::Agent;
use crate::auth::records::{self, Client, Pending};
use actix_web::http::StatusCode;
use askama::Template;
use std::borrow::Cow;

/// A request with the person who decides about it.
pub struct Journey {
    pub(super) id: String,
    pub(super) pending: Pending,
    pub(super) version: u64,
    pub(super) client: Client,
    pub(super) person: Person,
}

#[derive(Template)]
#[template(path = "other_user.html")]
struct OtherUser<'a> {
    who: Option<Who>,
    pending: &'a str,
    client: &'a str,
}

/// The request that a page or form names, or the page that has to come first.
pub(super) async fn journey(visit: &Visit) -> Result<Result<Journey, actix_web::HttpResponse>, Failure> {
    let id = visit.field("pending").to_owned();
    let (pending, version) = visit.auth().waiting(visit.tenant, &id)?.ok_or_else(Failure::over)?;
    let client = records::get::<Client>(&*visit.auth().keeper, visit.tenant, &pending.client_id)?;
    let (client, _) = client.filter(|(client, _)| !client.disabled).ok_or_else(Failure::over)?;
    let person = visit.person().await?;
    if pending.signed_in_since.is_some_and(|since| person.session.created < since) {
        return Err(Failure::To(sign_in_at(Some(&id))));
    }
    if pending.user.as_ref().is_some_and(|user| *user != person.user.id) {
        return other_user(visit, &id, &pending, &client, &person).await.map(Err);
    }
    Ok(Ok(Journey { id, pending, version, client, person }))
}

/// A launch is for the user who made it, and what somebody has begun to decide is for them.
async fn other_user(visit: &Visit, id: &str, pending: &Pending, client: &Client, person: &Person) -> Answer {
    if visit.field("decision") == "deny" && visit.request.method() == actix_web::http::Method::POST {
        return deny(visit, id, pending, person).await;
    }
    let page = OtherUser { who: Some(person.who()), pending: id, client: &client.name };
    leading_to(StatusCode::FORBIDDEN, &page, Some(&pending.redirect_uri))
}

/// The answer of a user who says no.
pub(super) async fn deny(visit: &Visit, id: &str, pending: &Pending, person: &Person) -> Answer {
    let record = decision(pending, person, None).ended(StatusCode::FORBIDDEN.as_u16());
    let record = record.saying(format!("denied: {}", pending.scopes));
    Ok(super::go_to(&visit.recording(move |_| Some(record.clone())).deny(visit.tenant, id, pending).await?))
}

/// The record of what somebody decides about an app's request, or asks for with it.
pub(super) fn decision(pending: &Pending, person: &Person, emergency: Option<&str>) -> Record<'static> {
    let agent = Agent {
        client: Some(pending.client_id.as_str().into()),
        emergency: emergency.map(Into::into),
        ..Agent::user(&person.user)
    };
    Record::of(Event::Authorization, Cow::Owned(agent))
}

impl Journey {
    /// Keeps what the user chose so far, with what the ledger has to hear of it.
    pub(super) async fn note(&self, visit: &Visit, record: Option<Record<'static>>) -> Result<(), Failure> {
        let server = visit.recording(move |_| record.clone());
        Ok(server.note(visit.tenant, &self.id, &self.pending, self.version).await?)
    }

    /// Whether emergency access was asked for, by somebody who may.
    pub(super) fn is_emergency(&self, visit: &Visit) -> Result<bool, Failure> {
        let may = visit.auth().may_break_glass(visit.tenant, &self.person.user)?;
        Ok(may && self.pending.break_glass.is_some())
    }
}

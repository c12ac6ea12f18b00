//! `/auth/patient`: which patient an app is opened for.
//!
//! What is typed goes with a form, never with an address: addresses are kept by browsers and logged by others.

use super::journey::{Journey, deny, journey};
use super::patients::{self, Patient, Wanted};
use super::{Answer, Failure, Visit, Who, at, go_to, leading_to};
use actix_web::http::StatusCode;
use askama::Template;

#[derive(Template)]
#[template(path = "patient.html")]
struct Picker<'a> {
    who: Option<Who>,
    csrf: &'a str,
    pending: &'a str,
    client: &'a str,
    wanted: Wanted<'a>,
    /// Whether the list is short, and shown without being asked for.
    is_short: bool,
    found: Option<Vec<Patient>>,
    has_more: bool,
    error: Option<String>,
    emergency: Emergency,
}

/// Whether emergency access is offered or used.
pub(super) struct Emergency {
    pub(super) may: bool,
    pub(super) is: bool,
}

/// The form.
pub async fn show(visit: Visit) -> Answer {
    match journey(&visit).await? {
        Ok(journey) => picker(&visit, &journey, StatusCode::OK, None).await,
        Err(response) => Ok(response),
    }
}

/// Looks for patients, takes one, or ends it.
pub async fn answer(visit: Visit) -> Answer {
    let mut journey = match journey(&visit).await? {
        Ok(journey) => journey,
        Err(response) => return Ok(response),
    };
    if visit.field("decision") == "deny" {
        return deny(&visit, &journey.id, &journey.pending, &journey.person).await;
    }
    let Some(id) = visit.form.get("patient") else {
        let error = (visit.field("decision") == "choose").then(|| "Choose one of the patients.".to_owned());
        let status = if error.is_some() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
        return picker(&visit, &journey, status, error).await;
    };
    // The context of a launch is the front end's to say, and patients have no other.
    if journey.pending.by_launch || is_patient(&journey) {
        return Err(Failure::page(400, "The patient is set", "This request is for one patient, who can’t be changed."));
    }
    let grant = visit.shared.app.patients_of(visit.tenant, &journey.person.user, journey.is_emergency(&visit)?)?;
    if patients::one(&visit, grant, id).await?.is_none() {
        let text = "There is no such patient among those that you may see.".to_owned();
        return picker(&visit, &journey, StatusCode::UNPROCESSABLE_ENTITY, Some(text)).await;
    }
    journey.pending.context.patient = Some(id.to_owned());
    journey.pending.user = Some(journey.person.user.id.clone());
    journey.note(&visit, None).await?;
    Ok(go_to(&at("consent", Some(&journey.id))))
}

fn is_patient(journey: &Journey) -> bool {
    journey.person.user.fhir_user.as_deref().is_some_and(|own| own.starts_with("Patient/"))
}

async fn picker(visit: &Visit, journey: &Journey, status: StatusCode, error: Option<String>) -> Answer {
    let person = &journey.person;
    let wanted = Wanted { name: visit.field("name"), born: visit.field("born"), identifier: visit.field("identifier") };
    // Those whom somebody cares for are few.
    let is_short = person.user.fhir_user.as_deref().is_some_and(|own| own.starts_with("RelatedPerson/"));
    let is = journey.is_emergency(visit)?;
    let (mut status, mut error) = (status, error);
    let (found, has_more) = if is_short || !wanted.is_empty() {
        let grant = visit.shared.app.patients_of(visit.tenant, &person.user, is)?;
        match patients::find(visit, grant, &wanted).await {
            Ok((found, has_more)) => (Some(found), has_more),
            Err(failure) if failure.is_of_the_form() => {
                status = StatusCode::UNPROCESSABLE_ENTITY;
                error = Some("That can’t be looked for. A birth date is written like 1980-12-31.".to_owned());
                (None, false)
            }
            Err(failure) => return Err(failure),
        }
    } else {
        (None, false)
    };
    let page = Picker {
        who: Some(person.who()),
        csrf: &person.session.csrf,
        pending: &journey.id,
        client: &journey.client.name,
        wanted,
        is_short,
        found,
        has_more,
        error,
        emergency: Emergency { may: visit.auth().may_break_glass(visit.tenant, &person.user)?, is },
    };
    leading_to(status, &page, Some(&journey.pending.redirect_uri))
}

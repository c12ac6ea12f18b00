//! `/auth/emergency`: access beyond one's own patients, with a reason that is recorded with each access.

use super::journey::{Journey, decision, journey};
use super::{Answer, Failure, Visit, Who, at, go_to, html};
use crate::audit::Event;
use actix_web::http::StatusCode;
use askama::Template;

/// The least and the most characters of a reason.
const REASON: std::ops::RangeInclusive<usize> = 10..=1_000;

#[derive(Template)]
#[template(path = "emergency.html")]
struct Asking<'a> {
    who: Option<Who>,
    csrf: &'a str,
    pending: &'a str,
    reason: &'a str,
    error: Option<&'static str>,
}

/// The form.
pub async fn show(visit: Visit) -> Answer {
    match allowed(&visit).await? {
        Ok(journey) => form(&visit, &journey, StatusCode::OK, None),
        Err(response) => Ok(response),
    }
}

/// Asks for it, or gives it up.
pub async fn answer(visit: Visit) -> Answer {
    let mut journey = match allowed(&visit).await? {
        Ok(journey) => journey,
        Err(response) => return Ok(response),
    };
    let reason = visit.field("reason").trim();
    let record = if visit.field("decision") == "end" {
        let mut record = decision(&journey.pending, &journey.person, None);
        record.shape.event = Event::EmergencyEnd;
        journey.pending.break_glass = None;
        if !journey.pending.by_launch {
            journey.pending.context.patient = None;
        }
        record
    } else if REASON.contains(&reason.chars().count()) {
        let mut record = decision(&journey.pending, &journey.person, Some(reason));
        record.shape.event = Event::Emergency;
        journey.pending.break_glass = Some(reason.to_owned());
        journey.pending.user = Some(journey.person.user.id.clone());
        record
    } else {
        let error = "Say why in a sentence: 10 to 1000 characters.";
        return form(&visit, &journey, StatusCode::UNPROCESSABLE_ENTITY, Some(error));
    };
    journey.note(&visit, Some(record)).await?;
    if journey.pending.break_glass.is_some() {
        tracing::warn!(user = journey.person.user.id, client = journey.client.client_id, "emergency access begins");
    }
    let page = if journey.pending.by_launch { "consent" } else { "patient" };
    Ok(go_to(&at(page, Some(&journey.id))))
}

async fn allowed(visit: &Visit) -> Result<Result<Journey, actix_web::HttpResponse>, Failure> {
    let journey = journey(visit).await?;
    if let Ok(journey) = &journey
        && !visit.auth().may_break_glass(visit.tenant, &journey.person.user)?
    {
        return Err(Failure::page(403, "Not with your role", "Your roles do not have emergency access."));
    }
    Ok(journey)
}

fn form(visit: &Visit, journey: &Journey, status: StatusCode, error: Option<&'static str>) -> Answer {
    let person = &journey.person;
    let page = Asking {
        who: Some(person.who()),
        csrf: &person.session.csrf,
        pending: &journey.id,
        reason: visit.field("reason"),
        error,
    };
    html(status, &page)
}

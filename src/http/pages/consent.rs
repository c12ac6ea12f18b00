//! `/auth/consent`: what an app is granted.

use super::journey::{Journey, decision, deny, journey};
use super::patient::Emergency;
use super::patients::{self, Patient};
use super::words::{self, Group};
use super::{Answer, Failure, Visit, Who, at, go_to, leading_to};
use crate::auth::authorization;
use crate::auth::consent::{context_of, wants_patient};
use crate::auth::records::{Client, LaunchContext};
use crate::auth::secret::hash;
use actix_web::http::StatusCode;
use askama::Template;

#[derive(Template)]
#[template(path = "consent.html")]
struct Consent<'a> {
    who: Option<Who>,
    csrf: &'a str,
    pending: &'a str,
    client: &'a str,
    /// The app's pages: what they are, and where.
    links: Vec<(&'static str, String)>,
    /// Where the browser goes afterwards.
    host: String,
    patient: Shown,
    can_change_patient: bool,
    with_encounter: bool,
    groups: Vec<Group>,
    withheld: Vec<String>,
    error: Option<&'static str>,
    emergency: Emergency,
}

/// The patient in context.
enum Shown {
    None,
    Hidden,
    Patient(Patient),
}

/// The form, once it is known who decides, and about whom.
pub async fn show(visit: Visit) -> Answer {
    match journey(&visit).await? {
        Ok(journey) => form(&visit, &journey, StatusCode::OK, None).await,
        Err(response) => Ok(response),
    }
}

/// The decision: the browser goes back to the app with a code, or with a refusal.
pub async fn answer(visit: Visit) -> Answer {
    let journey = match journey(&visit).await? {
        Ok(journey) => journey,
        Err(response) => return Ok(response),
    };
    match visit.field("decision") {
        "deny" => deny(&visit, &journey.id, &journey.pending, &journey.person).await,
        "allow" => allow(&visit, &journey).await,
        _ => Err(Failure::page(400, "This form can’t be taken", "It says neither yes nor no.")),
    }
}

async fn allow(visit: &Visit, journey: &Journey) -> Answer {
    let auth = visit.auth();
    let (person, pending) = (&journey.person, &journey.pending);
    let context = context_of(pending, &person.user);
    if lacks_patient(journey, &context) {
        return Ok(go_to(&at("patient", Some(&journey.id))));
    }
    let offer = auth.offer(visit.tenant, &person.user, pending)?;
    let scopes = offer.granted(|scope| visit.form.get(&words::field(scope)));
    if scopes.is_empty() {
        let error = "Choose at least one thing, or don’t allow the app anything.";
        return form(visit, journey, StatusCode::UNPROCESSABLE_ENTITY, Some(error)).await;
    }
    let patient = context.patient.as_ref().map(|id| format!("Patient/{id}"));
    let break_glass = if journey.is_emergency(visit)? { pending.break_glass.clone() } else { None };
    let mut record = decision(pending, person, break_glass.as_deref()).saying(format!("allowed: {scopes}"));
    record.content.target = patient.map(Into::into);
    let consent = authorization::Consent {
        pending: &journey.id,
        user: &person.user.id,
        session: &hash(&person.cookie),
        auth_time: person.session.created,
        scopes,
        context,
        break_glass,
    };
    let allowed = record.clone();
    let issued = visit.recording(move |_| Some(allowed.clone())).issue_code(visit.tenant, consent).await;
    if let Err(error) = &issued {
        visit.record(record.ended(error.status())).await?;
    }
    match issued {
        Ok(code) => Ok(go_to(&auth.success(visit.tenant, pending, &code))),
        Err(error) if error.log.is_some() || error.code == "invalid_request" => Err(error.into()),
        Err(error) => Ok(go_to(&auth.refusal(visit.tenant, &pending.redirect_uri, pending.state.as_deref(), &error))),
    }
}

fn lacks_patient(journey: &Journey, context: &LaunchContext) -> bool {
    context.patient.is_none() && !journey.pending.by_launch && wants_patient(&journey.pending.scopes)
}

async fn form(visit: &Visit, journey: &Journey, status: StatusCode, error: Option<&'static str>) -> Answer {
    let Journey { pending, person, client, .. } = journey;
    let context = context_of(pending, &person.user);
    if lacks_patient(journey, &context) {
        return Ok(go_to(&at("patient", Some(&journey.id))));
    }
    let is = journey.is_emergency(visit)?;
    let patient = match &context.patient {
        None => Shown::None,
        Some(id) => {
            let grant = visit.shared.app.patients_of(visit.tenant, &person.user, is)?;
            patients::one(visit, grant, id).await?.map_or(Shown::Hidden, Shown::Patient)
        }
    };
    let offer = visit.auth().offer(visit.tenant, &person.user, pending)?;
    let name = if let Shown::Patient(patient) = &patient { Some(&*patient.name) } else { None };
    let page = Consent {
        who: Some(person.who()),
        csrf: &person.session.csrf,
        pending: &journey.id,
        client: &client.name,
        links: links(client),
        host: host(&pending.redirect_uri),
        can_change_patient: !pending.by_launch && pending.context.patient.is_some(),
        with_encounter: context.encounter.is_some(),
        groups: words::groups(&offer, name, |scope| visit.form.get(&words::field(scope))),
        patient,
        withheld: offer.withheld.iter().map(words::sentence).collect(),
        error,
        emergency: Emergency { may: visit.auth().may_break_glass(visit.tenant, &person.user)?, is },
    };
    leading_to(status, &page, Some(&pending.redirect_uri))
}

/// The pages that an app is registered with. Nothing of them is loaded.
fn links(client: &Client) -> Vec<(&'static str, String)> {
    let names = [("client_uri", "Home page"), ("policy_uri", "Privacy policy"), ("tos_uri", "Terms of service")];
    let is_page = |uri: &&str| uri.starts_with("https://") || uri.starts_with("http://");
    let links = names.into_iter().filter_map(|(name, title)| {
        let uri = client.about.get(name).and_then(serde_json::Value::as_str).filter(is_page)?;
        Some((title, uri.to_owned()))
    });
    links.collect()
}

/// The host of an address, or the scheme of an app's own.
fn host(uri: &str) -> String {
    let url = url::Url::parse(uri).ok();
    let host = url.as_ref().and_then(|url| url.host_str().map(str::to_owned));
    host.or_else(|| url.map(|url| format!("the app {}:", url.scheme()))).unwrap_or_default()
}

//! `/auth/apps`: what somebody granted, and its end.

use super::{Answer, Failure, Person, Visit, Who, audit, go_to, html, jobs, words};
use crate::audit::{Event, Record};
use crate::auth::agent::Agent;
use crate::auth::keeper::Keeper;
use crate::auth::records::{self, Authorization, Client, Record as _};
use crate::auth::witness::Deed;
use crate::clock::Micros;
use crate::tenant::TenantId;
use actix_web::http::StatusCode;
use askama::Template;
use std::borrow::Cow;

/// The most that are shown.
const MOST: usize = 200;

#[derive(Template)]
#[template(path = "apps.html")]
struct Apps<'a> {
    who: Option<Who>,
    csrf: &'a str,
    list: Vec<App>,
    note: Option<&'static str>,
    may_audit: bool,
    may_see_jobs: bool,
}

struct App {
    id: String,
    name: String,
    /// In words, one for each scope.
    scopes: Vec<String>,
    since: String,
    stays: bool,
}

/// The list.
pub async fn show(visit: Visit) -> Answer {
    let person = visit.person().await?;
    let keeper = &*visit.auth().keeper;
    let own = keeper.list(visit.tenant, Authorization::KIND, &format!("{}~", person.user.id), None, MOST)?;
    let own = own.iter().map(|kept| records::read::<Authorization>(&kept.bytes)).collect::<Result<Vec<_>, _>>()?;
    let mut apps = own.iter().map(|own| App::of(keeper, visit.tenant, own)).collect::<Result<Vec<_>, _>>()?;
    apps.reverse();
    let note = (visit.field("done") == "1").then_some("The app’s access has ended.");
    let may_audit = audit::may_see(&visit, &person)?;
    let may_see_jobs = jobs::may_see(&visit, &person)?;
    let (who, csrf) = (Some(person.who()), &*person.session.csrf);
    html(StatusCode::OK, &Apps { who, csrf, list: apps, note, may_audit, may_see_jobs })
}

/// Ends one.
pub async fn revoke(visit: Visit) -> Answer {
    let person = visit.person().await?;
    let id = visit.field("id");
    if !is_own(&person, id) {
        return Err(Failure::page(404, "There is no such access", "It may have ended already."));
    }
    let auth = visit.auth();
    let own = records::get::<Authorization>(&*auth.keeper, visit.tenant, id)?.map(|(own, _)| own);
    let agent = Agent { authorization: Some(id.into()), ..Agent::user(&person.user) };
    let mut record = Record::of(Event::Revocation, Cow::Owned(agent)).saying("ended by the user");
    if let Some(own) = own {
        record = record.named(own.client_id);
    }
    visit.recording(move |_| Some(record.clone())).revoke_authorization(visit.tenant, id, Deed::Asked).await?;
    Ok(go_to("apps?done=1"))
}

/// Ids tell whose they are.
fn is_own(person: &Person, id: &str) -> bool {
    id.len() <= 255 && id.strip_prefix(&*person.user.id).is_some_and(|rest| rest.starts_with('~'))
}

impl App {
    fn of(keeper: &dyn Keeper, tenant: TenantId, own: &Authorization) -> Result<Self, Failure> {
        let client = records::get::<Client>(keeper, tenant, &own.client_id)?;
        let since = Micros(own.created.saturating_mul(1_000_000)).to_instant();
        Ok(Self {
            id: own.id.clone(),
            name: client.map_or_else(|| own.client_id.clone(), |(client, _)| client.name),
            scopes: own.scopes.iter().map(words::sentence).collect(),
            since: since.get(..10).unwrap_or_default().to_owned(),
            stays: own.scopes.has("offline_access"),
        })
    }
}

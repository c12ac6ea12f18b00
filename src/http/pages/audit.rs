//! `/auth/audit`: the ledger, for those who oversee it. Whoever looks at it stands in it too.
//!
//! What is asked for goes with a form, never with an address, and so is in no browser's history.

mod export;
mod filter;
mod line;
mod plot;
mod summary;

use super::{Answer, Failure, Person, Visit, Who, guarded, html};
use crate::audit::chain::Verified;
use crate::audit::checkpoint;
use crate::audit::reader::Reader;
use crate::audit::{Event, Record, Trail};
use crate::auth::agent::Agent;
use crate::auth::grant::Grant;
use crate::clock::Micros;
use crate::error::{Error, Result as Outcome};
use crate::interaction;
use crate::interaction::call::Call;
use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::CONTENT_DISPOSITION;
use askama::Template;
use export::{Export, Format, MOST_EXPORTED};
use filter::{Filter, day_of};
use line::Line;
use plot::Plot;
use std::borrow::Cow;
use std::sync::Arc;
use summary::{Group, MOST_LOOKED_AT, Summary, Table};

#[derive(Template)]
#[template(path = "audit.html")]
struct Page<'a> {
    who: Option<Who>,
    csrf: &'a str,
    filter: &'a Filter,
    error: Option<String>,
    found: Option<Found>,
    chain: Option<Chain>,
    looked_at: u64,
    exported: u64,
}

/// What the page shows of the entries.
struct Found {
    summary: Summary,
    plots: [Plot; 2],
    patients: (Vec<Group>, bool),
    users: (Vec<Group>, bool),
    tables: [Entries; 4],
}

/// A table of entries.
struct Entries {
    id: &'static str,
    title: &'static str,
    none: &'static str,
    has_reason: bool,
    lines: Vec<Line>,
}

/// What verifying found.
struct Chain {
    verified: Verified,
    /// The last checkpoint: its number and time.
    last: Option<(u64, String)>,
}

/// The last days.
pub async fn show(visit: Visit) -> Answer {
    let person = visit.person().await?;
    page(&visit, &person, None).await
}

/// What was asked for: entries, a file of them, or to have the chain verified.
pub async fn act(visit: Visit) -> Answer {
    let person = visit.person().await?;
    match visit.field("do") {
        "csv" => file(&visit, &person, Format::Csv).await,
        "ndjson" => file(&visit, &person, Format::Ndjson).await,
        "verify" => {
            let chain = verify(&visit, &person).await?;
            page(&visit, &person, Some(chain)).await
        }
        _ => page(&visit, &person, None).await,
    }
}

/// Whether a person's roles let them see the ledger.
pub(super) fn may_see(visit: &Visit, person: &Person) -> Result<bool, Failure> {
    let app = &visit.shared.app;
    let (grant, _) = app.ledger_of(visit.tenant, &person.user)?;
    Ok(app.ledger.is_kept() && Reader::is_for(&grant))
}

fn filter(visit: &Visit) -> Result<Result<Filter, String>, Failure> {
    let auth = visit.auth();
    let today = day_of(auth.clock.now());
    let user = visit.field("user").trim();
    let known = if user.is_empty() { None } else { auth.user_by_name(visit.tenant, user)? };
    Ok(Filter::read(&visit.form, today, |_| known.as_ref().map(|user| user.id.clone())))
}

async fn page(visit: &Visit, person: &Person, chain: Option<Chain>) -> Answer {
    let (filter, error) = match filter(visit)? {
        Ok(filter) => (filter, None),
        Err(error) => {
            let usual = Filter::read(&crate::auth::form::Form::default(), day_of(visit.auth().clock.now()), |_| None);
            (usual.map_err(|error| Failure::internal(&error))?, Some(error))
        }
    };
    let status = if error.is_some() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    let found = if error.is_some() { None } else { Some(find(visit, person, &filter).await?) };
    let page = Page {
        who: Some(person.who()),
        csrf: &person.session.csrf,
        filter: &filter,
        error,
        found,
        chain,
        looked_at: MOST_LOOKED_AT,
        exported: MOST_EXPORTED,
    };
    html(status, &page)
}

/// The ledger and who opens it; a refusal is recorded too.
async fn open(visit: &Visit, person: &Person, trail: &Trail) -> Outcome<(Reader, Arc<Agent>)> {
    let app = &visit.shared.app;
    let (grant, agent): (Grant, _) = app.ledger_of(visit.tenant, &person.user)?;
    trail.set_agent(Arc::clone(&agent));
    Ok((Reader::open(app.store(), &grant).await?, agent))
}

async fn find(visit: &Visit, person: &Person, filter: &Filter) -> Result<Found, Failure> {
    let app = &visit.shared.app;
    let call = Call::Search { type_name: Some("AuditEvent".to_owned()) };
    let trail = app.ledger.trail(call.event(), Some(visit.from()));
    let found = async {
        let (reader, _) = open(visit, person, &trail).await?;
        let wanted = filter.clone();
        let summary = tokio::task::spawn_blocking(move || Summary::of(&reader, &wanted)).await;
        summary.map_err(|_| Error::internal("a summary of the ledger panicked"))?
    };
    let found = found.await.inspect(|summary| trail.disclose_patients(&summary.shown_patients()));
    let found =
        app.ledger.close(visit.tenant, &trail, found, |content| interaction::tell(&call, &filter.query(), content));
    Ok(Found::of(found.await?))
}

/// The file. Before its first part is sent, it is clear that it can be.
async fn file(visit: &Visit, person: &Person, format: Format) -> Answer {
    let filter = match filter(visit)? {
        Ok(filter) => filter,
        Err(error) => return Err(Failure::page(422, "That can’t be exported", error)),
    };
    let app = Arc::clone(&visit.shared.app);
    let trail = app.ledger.trail(Some(Event::Export), Some(visit.from()));
    let opened = open(visit, person, &trail).await;
    let (reader, agent) = match opened {
        Ok(opened) => opened,
        refused => app.ledger.close(visit.tenant, &trail, refused, |_| {}).await?,
    };
    let (media_type, ending) = format.names();
    let name = format!("attachment; filename=\"audit-{}-{}.{ending}\"", filter.from, filter.to);
    let export = Export { app, reader, filter, format, agent, from: visit.from(), tenant: visit.tenant };
    let mut response = guarded(HttpResponse::Ok(), None);
    response.content_type(media_type).insert_header((CONTENT_DISPOSITION, name));
    Ok(response.streaming(export.stream()?))
}

async fn verify(visit: &Visit, person: &Person) -> Result<Chain, Failure> {
    let app = Arc::clone(&visit.shared.app);
    let trail = app.ledger.trail(Some(Event::Verification), Some(visit.from()));
    let agent = match open(visit, person, &trail).await {
        Ok((_, agent)) => agent,
        refused => app.ledger.close(visit.tenant, &trail, refused, |_| {}).await?.1,
    };
    let (verifying, handle, tenant) = (Arc::clone(&app), tokio::runtime::Handle::current(), visit.tenant);
    let chain = tokio::task::spawn_blocking(move || {
        let ledger = &verifying.ledger;
        let verified = handle.block_on(ledger.verify(tenant, None))?.chain;
        let last = checkpoint::last(&*verifying.store().keeper()).map_err(Error::internal)?;
        let last = last.and_then(|jws| ledger.signer().open(0, &jws).ok());
        let at = |seconds: i64| time(Micros(seconds.saturating_mul(1_000_000)));
        Ok::<_, Error>(Chain { verified, last: last.map(|last| (last.number, at(last.iat))) })
    });
    let chain = chain.await.map_err(|_| Failure::internal("verifying the ledger panicked"))??;
    let record = Record::of(Event::Verification, Cow::Borrowed(&*agent)).saying(chain.sentence());
    visit.record(record).await?;
    Ok(chain)
}

/// A time to the second, in UTC.
fn time(time: Micros) -> String {
    time.to_instant().get(..19).unwrap_or_default().replace('T', " ")
}

impl Chain {
    fn is_sound(&self) -> bool {
        self.verified.is_sound()
    }

    /// What it comes to.
    fn sentence(&self) -> String {
        let entries = self.verified.head.next;
        match self.verified.faults.first() {
            None => format!("The chain is whole: {entries} AuditEvents in {} blocks.", self.verified.blocks),
            Some(fault) => format!("The chain is not whole. AuditEvent {}: {}.", fault.entry, fault.what),
        }
    }

    /// The times of the first and the last entry.
    fn span(&self) -> Option<(String, String)> {
        self.verified.span.map(|(first, last)| (time(first), time(last)))
    }
}

impl Found {
    fn of(summary: Summary) -> Self {
        let span = (summary.start, summary.step);
        let of = |counts: fn(&summary::Bucket) -> (u64, u64)| summary.buckets.iter().map(counts).collect::<Vec<_>>();
        let accesses = of(|bucket| (bucket.accesses, bucket.refused));
        let sign_ins = of(|bucket| (bucket.failed_sign_ins, 0));
        let table =
            |id, title, none, table, has_reason| Entries { id, title, none, has_reason, lines: summary.lines(table) };
        Self {
            plots: [
                Plot::of("accesses", "Accesses over time", ("accesses", "refusals"), span, &accesses),
                Plot::of("failures", "Failed sign-ins over time", ("failed sign-ins", ""), span, &sign_ins),
            ],
            patients: summary.patients(),
            users: summary.users(),
            tables: [
                table("emergencies", "Emergency access", "Nobody used emergency access.", Table::Emergencies, true),
                table("refusals", "Refusals", "Nobody was refused.", Table::Refused, false),
                table("sign-ins", "Failed sign-ins", "No sign-in failed.", Table::SignIns, false),
                table("entries", "Entries", "There are none.", Table::All, false),
            ],
            summary,
        }
    }
}

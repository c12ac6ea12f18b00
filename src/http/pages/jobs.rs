//! `/auth/jobs`: the long work of the server, for administrators: how far it is, and its end. Nothing of patients stands here.
//!
//! The page loads itself anew while something is under way, unless it is told to stand still.

use super::{Answer, Failure, Person, Visit, Who, go_to, html};
use crate::audit::{Event, Record};
use crate::auth::agent::Agent;
use crate::bulk::{export, import};
use crate::clock::Micros;
use crate::jobs::{Job, State, index};
use crate::operation::reindex;
use crate::retention::{compaction, enforce, purge};
use actix_web::http::StatusCode;
use askama::Template;
use std::borrow::Cow;

/// The most that have ended and are shown.
const MOST_ENDED: usize = 50;

#[derive(Template)]
#[template(path = "jobs.html")]
struct Page<'a> {
    who: Option<Who>,
    csrf: &'a str,
    under_way: Vec<Line>,
    ended: Vec<Line>,
    more: usize,
    /// Whether it loads itself anew.
    is_live: bool,
    note: Option<&'static str>,
}

/// A job as the page shows it.
struct Line {
    id: String,
    what: Cow<'static, str>,
    who: String,
    state: &'static str,
    is_bad: bool,
    done: u64,
    total: Option<u64>,
    rate: Option<String>,
    left: Option<String>,
    begun: String,
    ended: String,
    failure: Option<String>,
}

/// The list.
pub async fn show(visit: Visit) -> Answer {
    let person = visit.person().await?;
    require_admin(&visit, &person)?;
    let jobs = visit.shared.app.jobs.list(visit.tenant)?;
    let (ended, under_way): (Vec<_>, Vec<_>) = jobs.iter().partition(|job| job.state.is_ended());
    let note = (visit.field("done") == "1").then_some("The job is cancelled. What it did before stays done.");
    let page = Page {
        who: Some(person.who()),
        csrf: &person.session.csrf,
        is_live: !under_way.is_empty() && visit.field("still") != "1",
        under_way: under_way.into_iter().map(Line::of).collect(),
        more: ended.len().saturating_sub(MOST_ENDED),
        ended: ended.into_iter().take(MOST_ENDED).map(Line::of).collect(),
        note,
    };
    html(StatusCode::OK, &page)
}

/// Cancels one.
pub async fn cancel(visit: Visit) -> Answer {
    let person = visit.person().await?;
    require_admin(&visit, &person)?;
    let id = visit.field("id").to_owned();
    let agent = Agent::user(&person.user);
    let record = Record::of(Event::Administration("job".into()), Cow::Owned(agent));
    let record = record.named(id.clone()).saying("cancelled");
    let witness = visit.shared.witness(&visit.request, visit.tenant, move |_| Some(record.clone()));
    let cancelled = visit.shared.app.jobs.cancel(visit.tenant, &id, Some(&witness)).await?;
    if cancelled.is_none() {
        return Err(Failure::page(404, "There is no such job", "It may have ended and been forgotten."));
    }
    Ok(go_to("jobs?done=1"))
}

/// Whether a person's roles let them see it.
pub(super) fn may_see(visit: &Visit, person: &Person) -> Result<bool, Failure> {
    Ok(visit.auth().is_admin(visit.tenant, &person.user)?)
}

fn require_admin(visit: &Visit, person: &Person) -> Result<(), Failure> {
    if may_see(visit, person)? {
        return Ok(());
    }
    Err(Failure::page(403, "This is for administrators", "Your roles do not let you see the jobs of this server."))
}

impl Line {
    fn of(job: &Job) -> Self {
        let what = match job.kind.as_str() {
            export::KIND => "Export".into(),
            import::KIND => "Import".into(),
            purge::KIND => "Erasure of a patient’s record".into(),
            enforce::KIND => "Rules of retention".into(),
            reindex::KIND => "Search keys of older resources".into(),
            compaction::KIND => "Compaction".into(),
            index::KIND => "Another form of the index".into(),
            other => other.to_owned().into(),
        };
        let (state, is_bad) = match job.state {
            _ if job.is_cancelled && !job.state.is_ended() => ("ending", false),
            State::Queued => ("waiting", false),
            State::Active if job.failure.is_some() => ("held up", true),
            State::Active => ("at work", false),
            State::Done => ("done", false),
            State::Failed => ("failed", true),
            State::Cancelled => ("cancelled", false),
        };
        let owner = &job.owner;
        let who = owner.name.as_deref().or(owner.client.as_deref()).or(owner.user.as_deref());
        let rate = job.rate_per_s().map(|rate| format!("{rate:.0}"));
        Self {
            id: job.id.clone(),
            what,
            who: who.unwrap_or("somebody").to_owned(),
            state,
            is_bad,
            done: job.done,
            total: job.total,
            rate,
            left: job.left_s().filter(|_| !job.state.is_ended()).map(duration),
            begun: time(job.created),
            ended: job.ended.map(time).unwrap_or_default(),
            failure: job.failure.clone(),
        }
    }
}

/// To the second, in UTC.
fn time(micros: i64) -> String {
    Micros(micros).to_instant().get(..19).unwrap_or_default().replace('T', " ")
}

fn duration(seconds: u64) -> String {
    match seconds {
        0..=90 => format!("{seconds} s"),
        91..=5400 => format!("{} min", seconds.div_ceil(60)),
        _ => format!("{} h", seconds.div_ceil(3600)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_as_people_do() {
        let told = [0, 90, 91, 5400, 5401, 86_400].map(duration);
        assert_eq!(told, ["0 s", "90 s", "2 min", "90 min", "2 h", "24 h"]);
        assert_eq!(time(0), "1970-01-01 00:00:00");
    }
}

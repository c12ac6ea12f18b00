//! `Prefer: respond-async` on a search, a batch or a transaction: <https://hl7.org/fhir/R4/async.html>, answered with a Bundle as in
//! <https://hl7.org/fhir/R5/async-bundle.html>.
//!
//! The request is kept, and a job performs it under what the token had of whole types. Who has less of a type is answered at once, as without the
//! preference. The body and the answer are sealed files of the job. A search that was interrupted is done again. A Bundle is
//! begun once: whether an interrupted one has happened is not known, and its job says so. One that is cancelled ends at its next step:
//! what a batch has done by then stays done.

mod places;

use super::call::{Call, Verb};
use super::contexts::Contexts;
use super::{Answer, Context, Pending, Request, Return, Status, job, perform, tell};
use crate::auth::delegate::Delegation;
use crate::bulk::files::{File, Kind, Place, Writing};
use crate::bulk::purged::{self, Kept};
use crate::bulk::{DEFERRED, Exports};
use crate::config::Handling;
use crate::error::{Category, Error, Issue, Result};
use crate::fhir::bundle::{BundleType, BundleWriter, Entry, EntryResponse};
use crate::fhir::outcome::outcome;
use crate::fhir::parse::parse;
use crate::fhir::write;
use crate::jobs::{Job, New, Part, Turn, Work};
use crate::search::Wanted;
use crate::tenant::TenantId;
use places::{Key, Limits, Performing, Places};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Where a job stands whose request was begun.
const BEGUN: &str = "begun";

/// A request as it is kept.
#[derive(Debug, Serialize, Deserialize)]
struct Asked {
    what: What,
    query: Vec<(String, String)>,
    is_lenient: bool,
    /// `Prefer: return=`: `minimal`, `representation` or `OperationOutcome`.
    returning: Option<Box<str>>,
    /// The file that has the body.
    body: Option<File>,
    /// What who asked may do; absent where that is everything.
    delegation: Option<Delegation>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum What {
    Search { type_name: Option<String> },
    Compartment { compartment: String, id: String, type_name: Option<String> },
    Bundle,
}

impl What {
    /// What a call is, where it can be deferred.
    fn of(call: &Call) -> Option<Self> {
        match call.clone() {
            Call::Search { type_name } => Some(Self::Search { type_name }),
            Call::CompartmentSearch { compartment, id, type_name } => {
                Some(Self::Compartment { compartment, id, type_name })
            }
            Call::Bundle => Some(Self::Bundle),
            _ => None,
        }
    }

    fn call(self) -> Call {
        match self {
            Self::Search { type_name } => Call::Search { type_name },
            Self::Compartment { compartment, id, type_name } => Call::CompartmentSearch { compartment, id, type_name },
            Self::Bundle => Call::Bundle,
        }
    }
}

const RETURNS: [(Return, &str); 3] = [
    (Return::Minimal, "minimal"),
    (Return::Representation, "representation"),
    (Return::OperationOutcome, "OperationOutcome"),
];

/// Begins a request that the client would rather not wait for; nothing where it is to be answered at once.
///
/// # Errors
/// 429 where the tenant has too many jobs, or too many answers are kept; 503 where the body can't be kept.
pub async fn begin(context: &Context, request: &Request<'_>) -> Result<Option<Answer>> {
    let Some(what) = What::of(&request.call).filter(|_| request.respond_async && request.verb != Verb::Head) else {
        return Ok(None);
    };
    if request.provenance.is_some() || !Delegation::is_exact_for(&context.grant) {
        return Ok(None);
    }
    let (tenant, id) = (context.grant.tenant(), context.clock.new_id());
    context.jobs.check_room(tenant)?;
    let owner = context.trail.agent().into_owned();
    context.exports.check_room_for_answer(&context.jobs.list(tenant)?, &owner, context.clock.now())?;
    let body = match &request.body {
        Some(body) => {
            let place = context.exports.place(&context.store, &context.grant, &id);
            place.check_room(context.exports.free_floor())?;
            let mut writing = Writing::open(&place, File::new(1, Kind::Input, "request"))?;
            writing.append(&write::to_vec(body))?;
            Some(writing.finish()?)
        }
        None => None,
    };
    let returning = RETURNS.iter().find(|(own, _)| Some(*own) == request.prefer).map(|(_, name)| (*name).into());
    let asked = Asked {
        what,
        query: request.query.clone(),
        is_lenient: request.handling == Handling::Lenient,
        returning,
        body,
        delegation: Delegation::of(&context.grant),
    };
    let parameters = serde_json::to_value(&asked).map_err(Error::internal)?;
    let new = New { kind: DEFERRED, owner, parameters };
    let job = context.begin_job(&context.witness(request), id, new, Vec::new()).await?;
    let text = "The request is performed later: ask for its answer at the address in Content-Location.";
    let pending = Pending { content_location: Some(job::url(context, &job.id)), ..job::pending(&job) };
    let issues = vec![Issue::information("informational", text)];
    Ok(Some(Answer { issues, pending: Some(pending), ..Answer::empty(Status::Accepted) }))
}

/// The answer to a request that a job has performed, as it is in the job's file.
///
/// # Errors
/// 403 where the token has less than the one with which it was asked for.
pub fn answer(context: &Context, job: &Job) -> Result<Answer> {
    let asked: Asked = read(&job.parameters)?;
    let is_covered = match &asked.delegation {
        Some(delegation) => delegation.is_within(&context.grant),
        None => context.grant.is_whole(),
    };
    if !is_covered {
        return Err(super::reach::insufficient_scope());
    }
    let kept: Kept = read(&job.report)?;
    let place = context.exports.place(&context.store, &context.grant, &job.id);
    let patients = place.patients(&kept.file)?;
    kept.check(&purged::since(&context.jobs.list(context.grant.tenant())?, job), &patients)?;
    context.trail.disclose_patients(&patients);
    Ok(Answer::ok(content(&place, &kept.file)?))
}

fn content(place: &Place, file: &File) -> Result<Vec<u8>> {
    Ok(place.read(file, 0..file.bytes)?.collect::<Result<Vec<_>>>()?.concat())
}

fn read<T: serde::de::DeserializeOwned>(value: &Value) -> Result<T> {
    serde_json::from_value(value.clone()).map_err(Error::internal)
}

/// The work: performs one request, in a thread of its own.
pub struct Deferred {
    exports: Arc<Exports>,
    contexts: Arc<Contexts>,
    places: Mutex<Places>,
}

impl Deferred {
    /// Files are kept there; requests are performed with these.
    #[must_use]
    pub fn new(exports: Arc<Exports>, contexts: Arc<Contexts>) -> Self {
        let limits =
            Limits { total: contexts.limits.deferred_at_once, of_tenant: contexts.limits.deferred_at_once_per_tenant };
        Self { exports, contexts, places: Mutex::new(Places::new(limits)) }
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether what the request rested on is in force now.
    fn is_in_force(&self, turn: &Turn<'_>) -> Result<bool> {
        let Some(auth) = &self.contexts.auth else { return Ok(true) };
        Ok(auth.is_in_force(turn.tenant(), &turn.job.owner)?)
    }

    fn begin(&self, turn: &Turn<'_>, asked: Asked) -> Result<Performing> {
        let grant = asked.delegation.as_ref().map_or_else(|| turn.grant.clone(), |kept| kept.grant(turn.tenant()));
        let place = self.exports.place(turn.store, &turn.grant, &turn.job.id);
        let trail = Arc::new(self.contexts.ledger.trail(asked.what.clone().call().event(), None));
        trail.set_agent(Arc::new(turn.job.owner.clone()));
        let wanted = Wanted::default();
        let context = Context { wanted: wanted.clone(), ..self.contexts.of(grant, trail)? };
        let work = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
            runtime.map_err(Error::internal)?.block_on(done(&context, &asked, &place))
        };
        let thread = std::thread::Builder::new().name("pharos-deferred".into()).spawn(work);
        Ok(Performing::by(thread.map_err(Error::internal)?, wanted))
    }

    /// What has come of a request; nothing where it goes on.
    fn end(&self, key: &Key) -> Option<Result<Kept>> {
        let thread = self.places().ended(key)?;
        Some(thread.join().unwrap_or_else(|_| Err(Error::internal("a deferred request panicked"))))
    }
}

impl Work for Deferred {
    fn kind(&self) -> &'static str {
        DEFERRED
    }

    fn step(&self, turn: &Turn<'_>) -> Result<Part> {
        let key = (turn.tenant(), Box::from(turn.job.id.as_str()));
        let part = Part { position: json!(BEGUN), total: Some(1), ..turn.part() };
        let waiting = Part { is_waiting: true, ..turn.part() };
        let is_running = self.places().get(&key).map(|performing| performing.thread.is_some());
        // That it is begun is kept before it is begun.
        if turn.job.position.is_null() {
            let has_place = is_running.is_some() || self.places().take(&key, Instant::now());
            return Ok(if has_place { part } else { waiting });
        }
        if is_running != Some(true) {
            let asked: Asked = read(&turn.job.parameters)?;
            if is_running.is_none() && matches!(asked.what, What::Bundle) {
                return Err(interrupted());
            }
            // A search is performed again, when there is a place.
            if is_running.is_none() && !self.places().take(&key, Instant::now()) {
                return Ok(waiting);
            }
            if !self.is_in_force(turn)? {
                return Err(ended());
            }
            let performing = self.begin(turn, asked)?;
            self.places().put(key, performing);
            return Ok(waiting);
        }
        match self.end(&key) {
            Some(Ok(kept)) => {
                let report = serde_json::to_value(&kept).map_err(Error::internal)?;
                Ok(Part { report, done: 1, is_last: true, ..part })
            }
            // What failed may not be tried again, whether or not it may go better then.
            Some(Err(error)) => {
                let text = "The answer could not be kept. What a Bundle asked for may have happened.";
                Err(Error::new(Category::Internal, "exception", text).with_log(format!("{error:?}")))
            }
            None => Ok(waiting),
        }
    }

    fn give_up(&self, tenant: TenantId, id: &str) {
        self.places().give_up(&(tenant, id.into()));
    }

    fn rest(&self, tenant: TenantId, id: &str) {
        self.places().rest(&(tenant, id.into()));
    }
}

fn ended() -> Error {
    let text = "The request was not performed: its token was revoked since, or its client, user or authorization is gone or switched off.";
    Error::new(Category::Forbidden, "forbidden", text)
}

fn interrupted() -> Error {
    let text = "The server was interrupted while it was at this Bundle: what it asked for may have happened, in part where it is a batch.";
    Error::new(Category::Internal, "incomplete", text)
}

/// Performs a request and writes what it is answered with: a Bundle with one entry.
async fn done(context: &Context, asked: &Asked, place: &Place) -> Result<Kept> {
    let call = asked.what.clone().call();
    let body = asked.body.as_ref().map(|file| content(place, file)).transpose()?;
    let verb = if asked.body.is_some() { Verb::Post } else { Verb::Get };
    let tree = body.as_deref().map(|body| parse(body, context.limits.json_depth)).transpose();
    let request = Request {
        verb,
        query: asked.query.clone(),
        prefer: RETURNS.iter().find(|(_, name)| Some(*name) == asked.returning.as_deref()).map(|(own, _)| *own),
        handling: if asked.is_lenient { Handling::Lenient } else { Handling::Strict },
        call: call.clone(),
        body: tree.map_err(Error::internal)?,
        ..Request::of_bundle(crate::fhir::tree::Value::Null)
    };
    let result = perform(context, request).await;
    // A Bundle is performed once: nobody reads it again.
    if let Some(Err(error)) = asked.body.as_ref().map(|file| place.remove(file)) {
        tracing::warn!(?error, "a Bundle that was performed stays until its job goes");
    }
    let patients = context.trail.disclosed();
    let about = |content: &mut _| tell(&call, &asked.query, content);
    let result = context.ledger.close(context.grant.tenant(), &context.trail, result, about).await;
    let bundle = bundle(context, result);
    context.wanted.check()?;
    let mut writing = Writing::open(place, File::new(2, Kind::Output, "Bundle"))?;
    writing.add(&bundle, &patients)?;
    let knows_patients = context.ledger.is_kept() && !matches!(asked.what, What::Bundle);
    Ok(Kept { file: writing.finish()?, knows_patients })
}

/// A Bundle with one entry: what the request would have been answered.
fn bundle(context: &Context, result: Result<Answer>) -> Vec<u8> {
    let mut writer = BundleWriter::new(BundleType::BatchResponse, Some(context.clock.now()));
    let (status, resource, issues) = match result {
        Ok(answer) => ("200 OK".to_owned(), answer.body, answer.issues),
        Err(error) => (error.category.status().to_string(), None, error.issues),
    };
    let outcome = (!issues.is_empty()).then(|| outcome(&issues));
    let response = EntryResponse { status: &status, outcome: outcome.as_ref(), ..EntryResponse::default() };
    writer.entry(&Entry { resource: resource.as_deref(), response: Some(response), ..Entry::default() });
    writer.finish()
}

//! `$reindex`: makes the search keys of the resources that are older than a search parameter of the tenant. An operation of this
//! server's own; what it is for: <https://hl7.org/fhir/R4/searchparameter.html>.
//!
//! It has no state to lose: a resource is to be done while its key list lacks the marker of a parameter. So it can be stopped
//! and started at any time, and what is written meanwhile needs no attention.

use crate::auth::grant::Grant;
use crate::error::{Error, Result};
use crate::fhir::parse::parse;
use crate::fhir::tree::Value;
use crate::fhir::write;
use crate::interaction::call::Verb;
use crate::interaction::conformance::{Conformance, Conformances, Progress, lacking};
use crate::interaction::{Answer, Context, Request, body_of};
use crate::key::parameters::Further;
use crate::search::Budget;
use crate::store::{CommitError, NewKeys, Rid, Store};
use std::sync::Arc;
use std::time::Duration;

/// After so many passes in which no resource that lacks keys got them, it gives up.
const IDLE_PASSES: u32 = 3;

/// Resources whose keys are replaced in one commit.
const TOGETHER: usize = 200;

/// How long it waits for requests that began before the newest parameter, before it looks again whether they have ended.
const WAIT: Duration = Duration::from_millis(50);

/// Starts the work in the background where there is any (`POST`), and answers how far it is (`GET` too).
///
/// # Errors
/// When the store fails.
pub fn reindex(context: &Context, request: &Request<'_>) -> Result<Answer> {
    let tenant = context.grant.tenant();
    let left = left(context)?;
    if request.verb == Verb::Post && left > 0 {
        start(context)?;
    }
    let progress = context.conformances.progress(tenant);
    let state = match (progress.is_running, left, &progress.failure) {
        (true, ..) => "running",
        (_, 0, _) => "done",
        (_, _, Some(_)) => "failed",
        _ => "waiting",
    };
    let mut parameters = vec![
        crate::tree!({ "name": "state", "valueCode": (state) }),
        crate::tree!({ "name": "done", "valueDecimal": (progress.done) }),
        crate::tree!({ "name": "left", "valueDecimal": (left) }),
    ];
    if let Some(failure) = progress.failure.filter(|_| state == "failed") {
        parameters.push(crate::tree!({ "name": "failure", "valueString": (failure) }));
    }
    let answer = crate::tree!({ "resourceType": "Parameters", "parameter": (Value::Array(parameters)) });
    Ok(Answer::ok(write::to_vec(&answer)))
}

/// How many resources lack keys.
fn left(context: &Context) -> Result<u64> {
    let records = context.open()?;
    let parameters = context.conformance.parameters();
    let (budget, mut left) = (unlimited(), 0);
    for type_name in parameters.types_with_further() {
        for rid in lacking(records.view(), type_name, parameters.further(type_name), Rid(0), &budget) {
            rid?;
            left += 1;
        }
    }
    Ok(left)
}

fn unlimited() -> Budget {
    Budget::new(u64::MAX, Duration::from_hours(24 * 365))
}

/// Starts a thread, unless one is at work for the tenant already. It ends with the work, or with the store.
fn start(context: &Context) -> Result<()> {
    let (conformances, grant) = (Arc::clone(&context.conformances), context.grant.clone());
    let tenant = grant.tenant();
    let mut is_new = false;
    conformances.note_progress(tenant, |progress| {
        is_new = !progress.is_running;
        if is_new {
            *progress = Progress { is_running: true, ..Progress::default() };
        }
    });
    if !is_new {
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().map_err(Error::internal)?;
    let work = Work { store: context.store.clone(), conformances: Arc::clone(&conformances), grant };
    let run = move || {
        let result = runtime.block_on(work.run());
        work.conformances.note_progress(tenant, |progress| {
            progress.is_running = false;
            progress.failure = result.err();
        });
    };
    let thread = std::thread::Builder::new().name("pharos-reindex".into()).spawn(run);
    thread.map(drop).map_err(|error| {
        conformances.note_progress(tenant, |progress| progress.is_running = false);
        Error::internal(error)
    })
}

/// The work of one thread.
struct Work {
    store: Store,
    conformances: Arc<Conformances>,
    grant: Grant,
}

impl Work {
    /// Passes over all resources until none lacks keys any more.
    async fn run(&self) -> Result<(), String> {
        let mut idle_passes = 0;
        loop {
            let is_settled = self.conformances.is_settled(self.grant.tenant());
            let (found, done) = self.pass().await.map_err(|error| {
                tracing::warn!(?error, "reindexing stopped");
                "The store failed, or is shutting down.".to_owned()
            })?;
            match (found, is_settled) {
                (0, true) => return Ok(()),
                (0, false) => tokio::time::sleep(WAIT).await,
                _ if done > 0 => idle_passes = 0,
                _ if idle_passes < IDLE_PASSES => idle_passes += 1,
                _ => {
                    return Err(format!(
                        "{found} resources can't be read (`pharos check` names those), or are too large for the expression of \
                         a search parameter (the log names it)."
                    ));
                }
            }
        }
    }

    /// One pass: how many lacked keys, and how many got them.
    async fn pass(&self) -> Result<(usize, usize)> {
        let conformance = self.conformances.of(self.grant.tenant())?;
        let (mut found, mut done) = (0, 0);
        let is_whole = |further: &[Further], new: &NewKeys| {
            further.iter().all(|further| new.keys.starting_with(further.marker()).next().is_some())
        };
        for type_name in conformance.parameters().types_with_further() {
            let mut from = Rid(0);
            loop {
                let (last, keys) = self.next(&conformance, type_name, from)?;
                let Some(last) = last else { break };
                from = Rid(last.0 + 1);
                found += keys.len();
                let further = conformance.parameters().further(type_name);
                let whole = keys.iter().filter(|new| is_whole(further, new)).count();
                let replaced = self.store.reindex(&self.grant, keys).await.map_err(|error| match error {
                    CommitError::Store(error) => error.into(),
                    other => Error::internal(other),
                })?;
                let whole = replaced.min(whole);
                done += whole;
                let tenant = self.grant.tenant();
                self.conformances.note_progress(tenant, |progress| progress.done += whole as u64);
            }
        }
        Ok((found, done))
    }

    /// New keys for the next resources of a type that lack some, and the last of those resources.
    fn next(&self, conformance: &Conformance, type_name: &str, from: Rid) -> Result<(Option<Rid>, Vec<NewKeys>)> {
        self.store.health()?;
        let records = self.store.open(&self.grant)?;
        let (budget, mut last, mut keys) = (unlimited(), None, Vec::new());
        let further = conformance.parameters().further(type_name);
        for rid in lacking(records.view(), type_name, further, from, &budget).take(TOGETHER) {
            let rid = rid?;
            last = Some(rid);
            if let Some(version) = records.view().current(rid)?.filter(|version| version.body.is_some()) {
                let bytes = body_of(&version)?;
                let tree = parse(&bytes, usize::MAX).map_err(Error::internal)?;
                let made = tree.as_object().map(|resource| conformance.keys(resource)).unwrap_or_default();
                let (type_name, id) = (version.type_name, version.id);
                keys.push(NewKeys { type_name, id, version: version.version, keys: made });
            }
        }
        Ok((last, keys))
    }
}

//! What a request did, gathered while it is served, for its record.

use super::record::{Changed, Content, Event, Record};
use crate::auth::agent::Agent;
use crate::auth::compartment::patients_of;
use crate::clock::Micros;
use crate::store::ledger::Entry;
use crate::store::{Change, Method, StoreResult, Version, View};
use rustc_hash::FxHashSet;
use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// Requests inside of a batch whose text is kept.
const MOST_INNER: usize = 1000;

/// The trail of one request. What a commit of the request changes is recorded with the commit; the rest when the request ends.
#[derive(Debug)]
pub struct Trail {
    is_kept: bool,
    event: Event,
    from: Option<IpAddr>,
    /// What a Bundle turned out to be.
    refined: OnceLock<Event>,
    agent: OnceLock<Arc<Agent>>,
    gathered: Mutex<Gathered>,
}

#[derive(Debug, Default)]
struct Gathered {
    patients: FxHashSet<Box<str>>,
    /// The requests of a batch that read.
    inner: Vec<String>,
    has_committed: bool,
}

impl Trail {
    /// The trail of a request that asks for this, from there.
    #[must_use]
    pub fn new(event: Event, from: Option<IpAddr>) -> Self {
        Self {
            is_kept: true,
            event,
            from,
            refined: OnceLock::new(),
            agent: OnceLock::new(),
            gathered: Mutex::default(),
        }
    }

    /// The trail of what is not recorded.
    #[must_use]
    pub fn none() -> Self {
        let event = Event::Interaction(Cow::Borrowed(""));
        Self { is_kept: false, ..Self::new(event, None) }
    }

    /// Whether there will be a record.
    #[must_use]
    pub const fn is_kept(&self) -> bool {
        self.is_kept
    }

    /// Where the request came from.
    #[must_use]
    pub const fn from(&self) -> Option<IpAddr> {
        self.from
    }

    /// Says who it is, as soon as that is known.
    pub fn set_agent(&self, agent: Arc<Agent>) {
        drop(self.agent.set(agent));
    }

    /// Says what the request turned out to be.
    pub fn refine(&self, event: Event) {
        drop(self.refined.set(event));
    }

    fn event(&self) -> &Event {
        self.refined.get().unwrap_or(&self.event)
    }

    /// Who it is, as far as that is known.
    #[must_use]
    pub fn agent(&self) -> Cow<'_, Agent> {
        self.agent.get().map_or_else(|| Cow::Owned(Agent::default()), |agent| Cow::Borrowed(&**agent))
    }

    fn gathered(&self) -> MutexGuard<'_, Gathered> {
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that the data of a version is given out.
    pub fn disclose(&self, version: &Version) {
        self.disclose_patients(&version.patients);
    }

    /// Notes that data of these patients is given out.
    pub fn disclose_patients(&self, patients: &[Box<str>]) {
        if !self.is_kept || patients.is_empty() {
            return;
        }
        let known = &mut self.gathered().patients;
        for patient in patients {
            if !known.contains(patient) {
                known.insert(patient.clone());
            }
        }
    }

    /// The patients whose data is given out, as far as that is known so far.
    #[must_use]
    pub fn disclosed(&self) -> Vec<Box<str>> {
        self.gathered().patients.iter().cloned().collect()
    }

    /// Notes a request inside of a batch or transaction that reads.
    pub fn add_inner(&self, request: impl FnOnce() -> String) {
        if !self.is_kept {
            return;
        }
        let mut gathered = self.gathered();
        if gathered.inner.len() < MOST_INNER {
            gathered.inner.push(request());
        }
    }

    /// Notes that a commit has recorded what it changed.
    pub fn commit_happened(&self) {
        self.gathered().has_committed |= self.is_kept;
    }

    /// The entry of a commit with these changes, decided on this snapshot.
    ///
    /// # Errors
    /// When the store fails.
    pub fn entry_of(&self, changes: &[Change], view: &dyn View, now: Micros) -> StoreResult<Option<Entry>> {
        let Some(first) = changes.first().filter(|_| self.is_kept) else { return Ok(None) };
        let mut changed = Vec::with_capacity(changes.len());
        for change in changes.iter().filter(|change| !change.id.is_empty()) {
            let content = change.content.as_ref();
            let mut whose = content.map_or_else(Vec::new, |content| patients_of(&change.type_name, &content.keys));
            if change.method != Method::Create
                && let Some(rid) = view.find(&change.type_name, &change.id)?
                && let Some(old) = view.current(rid)?
            {
                whose.extend(old.patients);
            }
            changed.push((Changed::of(change.method, &change.type_name, &change.id), whose));
        }
        // Each commit of a batch is a request of its own.
        let event = match self.event() {
            Event::Interaction(code) if code == "batch" => Event::Interaction(Cow::Borrowed(code_of(first.method))),
            other => other.clone(),
        };
        let mut record = self.record(event, 200);
        record.content.set_changed(changed);
        record.entry(now).map(Some)
    }

    /// The entry of the whole request, where its commits have not recorded all of it. `about` adds what the request named.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn entry(
        &self,
        status: u16,
        now: Micros,
        about: impl FnOnce(&mut Content<'static>),
    ) -> StoreResult<Option<Entry>> {
        let (patients, inner, has_committed) = {
            let mut gathered = self.gathered();
            (std::mem::take(&mut gathered.patients), std::mem::take(&mut gathered.inner), gathered.has_committed)
        };
        let is_told = has_committed && patients.is_empty() && inner.is_empty() && status < 400;
        if !self.is_kept || is_told {
            return Ok(None);
        }
        let mut record = self.record(self.event().clone(), status);
        let mut content = Content { patients: sorted(patients), ..Content::default() };
        about(&mut content);
        if !inner.is_empty() {
            content.query = Some(inner.join("\n").into());
        }
        record.content = content;
        record.entry(now).map(Some)
    }

    fn record(&self, event: Event, status: u16) -> Record<'_> {
        let mut record = Record::of(event, self.agent());
        record.shape.status = status;
        record.shape.from = self.from;
        record
    }
}

fn sorted(patients: FxHashSet<Box<str>>) -> Vec<Box<str>> {
    let mut all: Vec<_> = patients.into_iter().collect();
    all.sort_unstable();
    all
}

const fn code_of(method: Method) -> &'static str {
    match method {
        Method::Create => "create",
        Method::Update => "update",
        Method::Patch => "patch",
        Method::Delete => "delete",
    }
}

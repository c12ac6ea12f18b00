//! transaction: <https://hl7.org/fhir/R4/http.html#transaction>, rules: `#trules`. All or nothing, in one commit.

use super::batch::{Entry, at_entry, note, respond, without_body_if};
use super::call::{Call, Verb};
use super::condition::expect;
use super::criteria::{self, Matched};
use super::resolve::Pending;
use super::writing::{self, Decision, Stored};
use super::{Answer, Context, Request, Return, Status, create, delete, patch, perform, reach, update};
use crate::auth::scope::Letters;
use crate::error::{Category, Error, Result};
use crate::fhir::bundle::BundleType;
use crate::fhir::rewrite::{self, Links};
use crate::fhir::tree::Object;
use crate::store::{Change, Committed, Expect, Guard, Method, Records, Version};
use std::collections::HashSet;

/// What one entry comes to.
enum Plan<'a> {
    /// Its resource is stored under `id`.
    Put { type_name: String, id: String, expect: Expect, method: Method, resource: Object<'a>, next_version: u64 },
    /// These are deleted.
    Remove { changes: Vec<Change> },
    /// A conditional create that found what it would have made.
    Found(Version),
    /// A read, done after the commit.
    Read(Request<'a>),
}

/// The plans, in the order of the entries, each with its entry's `fullUrl`.
type Planned<'a> = [(Option<String>, Plan<'a>)];

/// What an entry was answered with, as far as it is known before the commit.
enum Outcome<'a> {
    Stored { stored: Stored, change: usize },
    Removed,
    Found(Version),
    Read(Request<'a>),
}

/// Does what all entries ask for, or nothing.
///
/// # Errors
/// The first entry's refusal, its elements named from the Bundle; 400 where two entries touch the same resource.
pub async fn transaction(context: &Context, outer: &Request<'_>, entries: Vec<Entry<'_>>) -> Result<Answer> {
    check_all(context, &entries)?;
    try_reads(context, &entries).await?;
    let ids: Vec<String> = entries.iter().map(|_| context.clock.new_id()).collect();
    // Only what rests on something read may have to be decided again; all else is handed over without a copy.
    let rests_on_reads = entries.iter().any(rests_on_reads);
    let mut entries = Some(entries);
    let (outcomes, committed) = writing::decide(context, |records| {
        let entries = if rests_on_reads { entries.clone() } else { entries.take() };
        let entries = entries.ok_or_else(|| Error::internal("a transaction without conditions was decided again"))?;
        let attempt = Attempt { context, records, ids: &ids, guards: Vec::new(), creating: HashSet::new() };
        let mut decision = attempt.decide(entries)?;
        let provenance = provenance(context, outer, &decision.changes)?;
        decision.changes.extend(provenance);
        Ok(decision)
    })
    .await?;
    answer(context, outer, outcomes, committed.as_ref()).await
}

/// What can be said of the entries without reading anything: the refusals of all of them together.
fn check_all(context: &Context, entries: &[Entry<'_>]) -> Result<()> {
    let refusals = entries.iter().filter_map(|entry| Some(at_entry(check(context, entry).err()?, entry.index)));
    let together = refusals.reduce(|mut first, next| {
        first.issues.extend(next.issues);
        first
    });
    together.map_or(Ok(()), Err)
}

/// Does each read once before anything is changed: one that fails refuses the whole. What the transaction itself writes can
/// only be read afterwards.
async fn try_reads(context: &Context, entries: &[Entry<'_>]) -> Result<()> {
    let written: HashSet<(&str, &str)> = entries.iter().filter_map(|entry| entry.request.call.updates()).collect();
    for entry in entries.iter().filter(|entry| is_read(&entry.request.call)) {
        if entry.request.call.reads().is_none_or(|resource| !written.contains(&resource)) {
            perform(context, entry.request.clone()).await.map_err(|error| at_entry(error, entry.index))?;
        }
    }
    Ok(())
}

const fn is_read(call: &Call) -> bool {
    matches!(
        call,
        Call::Capabilities
            | Call::Read { .. }
            | Call::Vread { .. }
            | Call::Search { .. }
            | Call::CompartmentSearch { .. }
            | Call::History { .. }
            | Call::Operation { .. }
    )
}

/// The Provenance of the outer request, about all that is written.
fn provenance(context: &Context, outer: &Request<'_>, changes: &[Change]) -> Result<Option<Change>> {
    if changes.is_empty() {
        return Ok(None);
    }
    let targets: Vec<_> = changes.iter().map(|change| format!("{}/{}", change.type_name, change.id)).collect();
    writing::provenance(context, outer.provenance.clone(), &targets)
}

/// What can be said of an entry without reading anything.
fn check(context: &Context, entry: &Entry<'_>) -> Result<()> {
    entry.request.check_parameters()?;
    reach::cover(context, &entry.request)?;
    let resource = entry.request.body.as_ref().and_then(|body| body.as_object());
    match (&entry.request.call, resource) {
        (Call::Create { type_name } | Call::ConditionalUpdate { type_name }, Some(resource)) => {
            writing::check_in_transaction(resource, type_name)
        }
        (Call::Update { type_name, id }, Some(resource)) => {
            update::same_id(resource, type_name, id)?;
            writing::check_in_transaction(resource, type_name)
        }
        (Call::Bundle, _) => Err(Error::invalid("A Bundle can't be nested in a transaction.")),
        (call, _) if call.stands_alone() => {
            Err(Error::invalid("This needs a request of its own: it can't be in a transaction."))
        }
        (Call::Operation { .. }, _) if entry.request.verb == Verb::Post => {
            Err(Error::new(Category::NotImplemented, "not-supported", "Operations in a transaction are not supported."))
        }
        (Call::Create { .. } | Call::Update { .. } | Call::ConditionalUpdate { .. }, None) => {
            Err(Error::new(Category::Invalid, "structure", "Must be a resource."))
        }
        _ => Ok(()),
    }
}

fn rests_on_reads(entry: &Entry<'_>) -> bool {
    let request = &entry.request;
    let resource = request.body.as_ref().and_then(|body| body.as_object());
    !matches!(request.call, Call::Create { .. })
        || request.conditions.if_none_exist.is_some()
        || resource.is_some_and(|resource| !rewrite::conditional_references(resource).is_empty())
}

/// One attempt to decide a transaction on a snapshot.
struct Attempt<'c> {
    context: &'c Context,
    records: &'c Records,
    ids: &'c [String],
    guards: Vec<Guard>,
    /// The criteria of creates that found nothing: a second create with the same would make a second resource.
    creating: HashSet<(String, String)>,
}

impl Attempt<'_> {
    fn decide(mut self, entries: Vec<Entry<'_>>) -> Result<Decision<Vec<Outcome<'_>>>> {
        let mut links = Links::default();
        let mut plans = Vec::with_capacity(entries.len());
        for (entry, new_id) in entries.into_iter().zip(self.ids) {
            let Entry { index, full_url, request } = entry;
            let plan = self.plan(request, new_id).map_err(|error| at_entry(error, index))?;
            if let Some(full_url) = &full_url {
                note_full_url(&mut links, full_url, &plan).map_err(|error| at_entry(error, index))?;
            }
            plans.push((full_url, plan));
        }
        no_resource_twice(&plans)?;
        self.resolve_conditional_references(&plans, &mut links)?;
        self.check_references(&plans)?;
        let (changes, outcomes) = finish(self.context, plans, &links);
        Ok(Decision { changes, guards: self.guards, then: outcomes })
    }

    fn plan<'a>(&mut self, mut request: Request<'a>, new_id: &str) -> Result<Plan<'a>> {
        match request.call.clone() {
            Call::Create { type_name } => self.plan_create(request, type_name, new_id),
            Call::Update { type_name, id } => {
                let current = reach::current(self.context, self.records, Letters::UPDATE, &type_name, &id)?;
                request.conditions.hold(current.as_ref())?;
                let mut resource = request.resource()?;
                update::keep_labels(&mut resource, current.as_ref())?;
                let expect = expect(current.as_ref());
                let next_version = current.map_or(1, |version| version.version + 1);
                Ok(Plan::Put { type_name, id, expect, method: Method::Update, resource, next_version })
            }
            Call::ConditionalUpdate { type_name } => {
                let criteria = criteria::required(&request.query)?;
                let mut resource = request.resource()?;
                let matched = self.find(&type_name, &criteria)?;
                if let Matched::One(current) = &matched {
                    update::keep_labels(&mut resource, Some(current))?;
                }
                let own = resource.id().map(str::to_owned);
                let conditions = &request.conditions;
                let (id, expect) = update::target(
                    (self.context, self.records),
                    matched,
                    &type_name,
                    own.as_deref(),
                    new_id,
                    conditions,
                )?;
                writing::set_id(&mut resource, &id);
                let next_version = if let Expect::Version(version) = expect { version + 1 } else { 1 };
                Ok(Plan::Put { type_name, id, expect, method: Method::Update, resource, next_version })
            }
            Call::Patch { .. } | Call::ConditionalPatch { .. } => {
                let (patched, guards) = patch::decide(self.context, self.records, &request)?;
                self.guards.extend(guards);
                let patch::Patched { type_name, id, current, resource } = patched;
                let (expect, next_version) = (expect(Some(&current)), current.version + 1);
                Ok(Plan::Put { type_name, id, expect, method: Method::Patch, resource, next_version })
            }
            Call::Delete { type_name, id } => Ok(Plan::Remove {
                changes: vec![delete::removal(self.context, self.records, &request, &type_name, &id)?],
            }),
            Call::ConditionalDelete { type_name } => {
                let criteria = criteria::required(&request.query)?;
                let (changes, guards) = delete::matches(self.context, self.records, &type_name, &criteria)?;
                self.guards.extend(guards);
                Ok(Plan::Remove { changes })
            }
            _ => Ok(Plan::Read(request)),
        }
    }

    fn plan_create<'a>(&mut self, mut request: Request<'a>, type_name: String, new_id: &str) -> Result<Plan<'a>> {
        let mut resource = request.resource()?;
        if let Some(text) = &request.conditions.if_none_exist {
            match self.find(&type_name, &criteria::parse(text)?)? {
                Matched::None if self.creating.insert((type_name.clone(), text.clone())) => {}
                Matched::None => {
                    let text = "Two conditional creates have the same criteria.";
                    return Err(Error::new(Category::Invalid, "duplicate", text));
                }
                Matched::One(version) => return Ok(Plan::Found(version)),
                Matched::Several => return Err(criteria::several()),
            }
        }
        writing::set_id(&mut resource, new_id);
        let (id, expect, method) = (new_id.to_owned(), Expect::Absent, Method::Create);
        Ok(Plan::Put { type_name, id, expect, method, resource, next_version: 1 })
    }

    fn find(&mut self, type_name: &str, criteria: &[(String, String)]) -> Result<Matched> {
        let (matched, guards) = criteria::find(self.context, self.records, type_name, criteria)?;
        self.guards.extend(guards);
        Ok(matched)
    }

    /// `Patient?identifier=…` in a reference becomes the one match.
    fn resolve_conditional_references(&mut self, plans: &Planned<'_>, links: &mut Links) -> Result<()> {
        let mut pending = Pending::default();
        for (_, plan) in plans {
            match plan {
                Plan::Put { type_name, id, resource, .. } => pending.store(type_name, id, resource),
                Plan::Remove { changes } => {
                    for change in changes {
                        pending.remove(&change.type_name, &change.id);
                    }
                }
                Plan::Found(_) | Plan::Read(_) => {}
            }
        }
        let mut resolved = HashSet::new();
        for (index, (_, plan)) in plans.iter().enumerate() {
            let Plan::Put { resource, .. } = plan else { continue };
            for reference in rewrite::conditional_references(resource) {
                if resolved.insert(reference) {
                    let found = pending.resolve(self.context, self.records, reference);
                    let (target, guards) = found.map_err(|error| at_entry(error, index))?;
                    self.guards.extend(guards);
                    links.insert_conditional(reference, &target);
                }
            }
        }
        Ok(())
    }

    fn check_references(&self, plans: &Planned<'_>) -> Result<()> {
        if !self.context.check_references {
            return Ok(());
        }
        let made: HashSet<(&str, &str)> = plans.iter().filter_map(|(_, plan)| plan.stores()).collect();
        for (index, (_, plan)) in plans.iter().enumerate() {
            if let Plan::Put { resource, .. } = plan {
                writing::check_references(self.context, self.records, resource, &|type_name, id| {
                    made.contains(&(type_name, id))
                })
                .map_err(|error| at_entry(error, index))?;
            }
        }
        Ok(())
    }
}

impl Plan<'_> {
    /// The order in which the specification has the verbs processed.
    const fn rank(&self) -> u8 {
        match self {
            Self::Remove { .. } => 0,
            Self::Put { method: Method::Create, .. } | Self::Found(_) => 1,
            Self::Put { .. } => 2,
            Self::Read(_) => 3,
        }
    }

    fn stores(&self) -> Option<(&str, &str)> {
        match self {
            Plan::Put { type_name, id, .. } => Some((type_name, id)),
            _ => None,
        }
    }
}

fn note_full_url(links: &mut Links, full_url: &str, plan: &Plan<'_>) -> Result<()> {
    let (type_name, id, version) = match plan {
        Plan::Put { type_name, id, next_version, .. } => (type_name.as_str(), id.as_str(), *next_version),
        Plan::Found(version) => (&*version.type_name, &*version.id, version.version),
        Plan::Remove { .. } | Plan::Read(_) => return Ok(()),
    };
    if links.insert(full_url, &format!("{type_name}/{id}"), Some(version)) {
        return Ok(());
    }
    Err(Error::new(Category::Invalid, "duplicate", "Two entries have the same fullUrl."))
}

/// `#trules`: no two changes may have the same identity, resolved ones included, nor one that a conditional create found.
fn no_resource_twice(plans: &Planned<'_>) -> Result<()> {
    let found = plans.iter().filter_map(|(_, plan)| match plan {
        Plan::Found(version) => Some((&*version.type_name, &*version.id)),
        _ => None,
    });
    let mut seen: HashSet<(&str, &str)> = found.collect();
    for (index, (_, plan)) in plans.iter().enumerate() {
        let fresh = match plan {
            Plan::Put { type_name, id, .. } => seen.insert((type_name.as_str(), id.as_str())),
            Plan::Remove { changes } => changes.iter().all(|change| seen.insert((&*change.type_name, &*change.id))),
            Plan::Found(_) | Plan::Read(_) => true,
        };
        if !fresh {
            let error = Error::new(Category::Invalid, "duplicate", "Two entries change the same resource.");
            return Err(at_entry(error, index));
        }
    }
    Ok(())
}

/// Rewrites and packs what is stored. The changes stand in the order of the specification: DELETE, POST, PUT and PATCH;
/// the outcomes in that of the entries.
fn finish<'a>(
    context: &Context,
    plans: Vec<(Option<String>, Plan<'a>)>,
    links: &Links,
) -> (Vec<Change>, Vec<Outcome<'a>>) {
    let mut ranked: Vec<_> = plans.into_iter().enumerate().collect();
    ranked.sort_by_key(|(_, (_, plan))| plan.rank());
    let mut changes = Vec::with_capacity(ranked.len());
    let mut outcomes = Vec::with_capacity(ranked.len());
    for (index, (full_url, plan)) in ranked {
        let outcome = match plan {
            Plan::Put { type_name, id, expect, method, mut resource, .. } => {
                rewrite::rewrite(&mut resource, links, full_url.as_deref());
                let content = writing::content(context, &resource);
                let body = content.body.clone();
                changes.push(writing::put(&type_name, &id, expect, method, content));
                Outcome::Stored { stored: Stored { type_name, id, body }, change: changes.len() - 1 }
            }
            Plan::Remove { changes: removals } => {
                changes.extend(removals);
                Outcome::Removed
            }
            Plan::Found(version) => Outcome::Found(version),
            Plan::Read(request) => Outcome::Read(request),
        };
        outcomes.push((index, outcome));
    }
    outcomes.sort_unstable_by_key(|(index, _)| *index);
    (changes, outcomes.into_iter().map(|(_, outcome)| outcome).collect())
}

async fn answer(
    context: &Context,
    outer: &Request<'_>,
    outcomes: Vec<Outcome<'_>>,
    committed: Option<&Committed>,
) -> Result<Answer> {
    let prefer = outer.prefer.unwrap_or(Return::Minimal);
    let mut results = Vec::with_capacity(outcomes.len());
    for outcome in outcomes {
        results.push(match outcome {
            Outcome::Stored { stored, change } => {
                let committed = committed.ok_or_else(|| Error::internal("a transaction without its commit"))?;
                let written = committed.written.get(change);
                let written = written.ok_or_else(|| Error::internal("a commit answered without its change"))?;
                writing::answer_for(context, prefer, &stored, written, committed.time)
            }
            Outcome::Removed => Ok(Answer::empty(Status::NoContent)),
            Outcome::Found(version) => create::already_there(context, prefer, &version),
            Outcome::Read(request) => {
                let head = request.verb == Verb::Head;
                note(context, &request);
                perform(context, request).await.map(|answer| without_body_if(head, answer))
            }
        });
    }
    Ok(Answer::ok(respond(BundleType::TransactionResponse, results.into_iter())))
}

//! The work that stores what is imported: some lines at a time, as one commit together with the job's record, so that nothing is
//! stored twice whatever happens in between.
//!
//! A resource is stored as an update stores it: under the rights of who asked, as far as patients consent at that moment, checked, with its
//! labels kept, and recorded in the ledger. One that is there just so already is left as it is.

use super::lines::{Line, Lines};
use crate::audit::{Event, Trail};
use crate::auth::access::Allowed;
use crate::auth::scope::Letters;
use crate::bulk::Exports;
use crate::bulk::files::{File, Kind, Place, Writing};
use crate::bulk::import::{Asked, Input, KIND, Matching, Position, Report, Validation, asked, read};
use crate::bulk::source::{State, Wanted};
use crate::error::{Category, Error, Issue, Result};
use crate::fhir::parse::parse;
use crate::fhir::reference::is_id;
use crate::fhir::tree::{Object, Value};
use crate::fhir::{definitions, outcome, write};
use crate::interaction::condition::{Conditions, expect};
use crate::interaction::contexts::Contexts;
use crate::interaction::criteria::{self, Matched};
use crate::interaction::quota::bytes_of;
use crate::interaction::update::{keep_labels, target};
use crate::interaction::{Context, LEDGER, body_of, conformance, reach, shown, writing};
use crate::jobs::{Job, Part, Turn, Work};
use crate::operation::parameters::escaped;
use crate::store::{Change, Commit, Expect, Guard, Method, Records, Version};
use rustc_hash::FxHashSet;
use std::sync::Arc;
use std::time::Duration;

/// Lines and bytes of one step, about.
const LINES: u64 = 500;
const BYTES: u64 = 4 << 20;
/// How long a step waits for a source that is being read.
const MOMENT: Duration = Duration::from_millis(250);

/// See the module.
pub struct Import {
    /// Where files are kept, and where inputs may be read from.
    pub exports: Arc<Exports>,
    /// Makes what the interactions work with.
    pub contexts: Arc<Contexts>,
}

impl Work for Import {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn step(&self, turn: &Turn<'_>) -> Result<Part> {
        let asked = asked(turn.job)?;
        let place = self.exports.place(turn.store, &turn.grant, &turn.job.id);
        place.check_room(self.exports.free_floor())?;
        let (position, report) = (read(&turn.job.position)?, read(&turn.job.report)?);
        Step { work: self, turn, asked: &asked, place: &place, position, report }.run()
    }
}

/// One step.
struct Step<'s> {
    work: &'s Import,
    turn: &'s Turn<'s>,
    asked: &'s Asked,
    place: &'s Place,
    position: Position,
    report: Report,
}

impl Step<'_> {
    fn run(mut self) -> Result<Part> {
        let nth = self.position.input;
        let Some(input) = self.asked.inputs.get(nth) else { return self.end() };
        self.report.note(nth, |_| ());
        match self.position.file.clone().or_else(|| input.file.clone()) {
            Some(file) => self.lines(input, &file),
            None => self.source(input),
        }
    }

    /// Looks how far the reading of a source is.
    fn source(mut self, input: &Input) -> Result<Part> {
        let wanted = Wanted {
            nth: self.position.input,
            type_name: input.type_name.as_deref().unwrap_or("any").into(),
            url: input.url.clone().unwrap_or_default(),
            seen: self.position.seen.clone(),
        };
        let (keeper, tenant, id) = (self.turn.store.keeper(), self.turn.tenant(), self.turn.job.id.clone());
        let is_wanted = move || match crate::auth::records::get::<Job>(&*keeper, tenant, &id) {
            Ok(Some((job, _))) => !job.state.is_ended() && !job.is_cancelled,
            Ok(None) => false,
            Err(_) => true,
        };
        match self.work.exports.sources().look(self.place, &wanted, is_wanted, MOMENT)? {
            State::UnderWay(seen) => self.position.seen = seen.or(self.position.seen),
            State::Whole(file) => self.position.file = Some(file),
            State::Failed(text) => {
                let issue = Issue::error("exception", format!("The input could not be read. {text}"));
                self.tell(&[Error::from_issues(Category::Invalid, vec![issue])])?;
                self.next_input();
            }
        }
        self.part(Commit::of(self.turn.tenant()), 0)
    }

    /// Stores some lines.
    fn lines(mut self, input: &Input, file: &File) -> Result<Part> {
        let (work, turn, asked) = (self.work, self.turn, self.asked);
        let trail = Arc::new(Trail::new(Event::Operation("import".into()), None));
        trail.set_agent(Arc::new(turn.job.owner.clone()));
        let grant = asked.delegation.as_ref().map_or_else(|| turn.grant.clone(), |kept| kept.grant(turn.tenant()));
        let context = work.contexts.of(grant, Arc::clone(&trail))?;
        let records = context.open()?;
        let mut batch = Batch::new(&context, &records, asked, input);
        let (most, before) = (context.limits.body_bytes, self.position.line);
        let mut lines = Lines::new(self.place, file, self.position.at, most, self.position.is_skipping)?;
        let from = self.position.at;
        let mut is_over = false;
        while self.position.line - before < LINES && self.position.at - from < BYTES {
            let Some(line) = lines.next()? else {
                is_over = true;
                break;
            };
            self.position.is_skipping = line == Line::Unfinished;
            if self.position.is_skipping {
                self.position.at = lines.at();
                break;
            }
            let number = self.position.line + 1;
            if !batch.take(number, line)? {
                break;
            }
            (self.position.line, self.position.at) = (number, lines.at());
        }
        let done = self.position.line - before;
        let Batch { changes, guards, faults, unchanged, .. } = batch;
        let entry = trail.entry_of(&changes, records.view(), context.clock.now())?;
        self.tell(&faults)?;
        context.quotas.check(turn.tenant(), &changes)?;
        context.quotas.add(turn.tenant(), bytes_of(&changes));
        let stored = changes.len() as u64;
        self.report.note(self.position.input, |outcome| {
            outcome.stored += stored;
            outcome.unchanged += unchanged;
        });
        if is_over {
            self.next_input();
        }
        let read_at = records.view().position();
        self.part(Commit { changes, guards, read_at, entry, ..Commit::of(turn.tenant()) }, done)
    }

    /// Writes what was refused, and why, to the input's file of errors.
    fn tell(&mut self, faults: &[Error]) -> Result<()> {
        if faults.is_empty() {
            return Ok(());
        }
        let known = self.position.errors.take();
        let new = || File::new(self.report.files().count() + 1, Kind::Error, "OperationOutcome");
        let mut writing = Writing::open(self.place, known.unwrap_or_else(new))?;
        for fault in faults {
            writing.add(&write::to_vec(&outcome::outcome(&fault.issues)), &[])?;
        }
        let is_full = writing.bytes() >= self.work.exports.file_bytes();
        let file = writing.finish()?;
        self.report.note(self.position.input, |outcome| outcome.refused += faults.len() as u64);
        if is_full {
            self.close(file);
        } else {
            self.position.errors = Some(file);
        }
        Ok(())
    }

    fn close(&mut self, errors: File) {
        self.report.note(self.position.input, |outcome| outcome.files.push(errors));
    }

    fn next_input(&mut self) {
        if let Some(errors) = self.position.errors.take() {
            self.close(errors);
        }
        self.position = Position { input: self.position.input + 1, ..Position::default() };
    }

    /// All is stored: what was read is not needed any more.
    fn end(self) -> Result<Part> {
        for (nth, input) in self.asked.inputs.iter().enumerate() {
            let read = File::new(nth + 1, Kind::Input, input.type_name.as_deref().unwrap_or_default());
            self.place.remove(input.file.as_ref().unwrap_or(&read))?;
        }
        let part = self.part(Commit::of(self.turn.tenant()), 0)?;
        Ok(Part { is_last: true, ..part })
    }

    fn part(&self, commit: Commit, done: u64) -> Result<Part> {
        let position = serde_json::to_value(&self.position).map_err(Error::internal)?;
        let report = serde_json::to_value(&self.report).map_err(Error::internal)?;
        Ok(Part { commit, position, report, done, ..self.turn.part() })
    }
}

/// Some lines, and what becomes of them.
struct Batch<'b> {
    context: &'b Context,
    records: &'b Records,
    asked: &'b Asked,
    input: &'b Input,
    changes: Vec<Change>,
    guards: Vec<Guard>,
    faults: Vec<Error>,
    unchanged: u64,
    /// The resources, and the identifiers where these count, that are in it: each once.
    taken: FxHashSet<String>,
}

/// What becomes of a line.
enum Decided {
    Change(Change),
    /// The resource is there just so.
    Unchanged,
    /// What it is about is in the batch already: it has to wait for the next.
    Later,
}

impl<'b> Batch<'b> {
    fn new(context: &'b Context, records: &'b Records, asked: &'b Asked, input: &'b Input) -> Self {
        let (changes, guards, faults) = (Vec::new(), Vec::new(), Vec::new());
        Self { context, records, asked, input, changes, guards, faults, unchanged: 0, taken: FxHashSet::default() }
    }

    /// Takes a line; answers false where it has to wait for the next batch.
    fn take(&mut self, number: u64, line: Line) -> Result<bool> {
        let decided = match line {
            Line::Text(text) if text.trim_ascii().is_empty() => return Ok(true),
            Line::Text(text) => self.decide(&text),
            Line::TooLong | Line::Unfinished => {
                let text = "It is longer than limits.body_bytes allows.";
                Err(Error::new(Category::TooLarge, "too-long", text))
            }
        };
        match decided {
            Ok(Decided::Change(change)) => self.changes.push(change),
            Ok(Decided::Unchanged) => self.unchanged += 1,
            Ok(Decided::Later) => return Ok(false),
            Err(error) if matches!(error.category, Category::Internal | Category::Unavailable) => return Err(error),
            Err(mut error) => {
                for issue in &mut error.issues {
                    issue.diagnostics = format!("Line {number}: {}", issue.diagnostics).into();
                }
                self.faults.push(error);
            }
        }
        Ok(true)
    }

    fn decide(&mut self, text: &[u8]) -> Result<Decided> {
        let depth = self.context.limits.json_depth;
        let value = parse(text, depth).map_err(|_| Error::new(Category::Invalid, "structure", "It is not JSON."))?;
        let Value::Object(mut resource) = value else { return Err(Error::invalid("It is no resource.")) };
        let type_name = self.check(&resource)?;
        let identifiers = self.identifiers(&type_name, &resource);
        let own_id = resource.id().map(|id| format!("{type_name}/{id}"));
        let about: Vec<_> = identifiers.iter().cloned().chain(own_id).collect();
        if about.iter().any(|one| self.taken.contains(one)) {
            return Ok(Decided::Later);
        }
        let (id, current, expect, method) = if identifiers.is_empty() {
            self.by_id(&type_name, &resource)?
        } else {
            self.by_identifiers(&type_name, &resource, &identifiers)?
        };
        let this = format!("{type_name}/{id}");
        if self.taken.contains(&this) {
            return Ok(Decided::Later);
        }
        if resource.id().is_none() {
            writing::set_id(&mut resource, &id);
        }
        let also = |type_name: &str, id: &str| self.taken.contains(&format!("{type_name}/{id}"));
        writing::check_references(self.context, self.records, &resource, &also)?;
        keep_labels(&mut resource, current.as_ref())?;
        let content = writing::content(self.context, &resource);
        let old = current.as_ref().filter(|version| version.body.is_some());
        if let Some(old) = old
            && content.body.unpack(old.version, old.time)? == body_of(old)?
        {
            self.taken.extend(about);
            return Ok(Decided::Unchanged);
        }
        let mut change = writing::put(&type_name, &id, expect, method, content);
        reach::permit(self.context, self.records, std::slice::from_mut(&mut change))?;
        if type_name == "SearchParameter" {
            self.changes.push(change.clone());
            let guards = conformance::refuse_same_codes(self.records, &self.changes);
            self.changes.pop();
            self.guards.extend(guards?);
        }
        self.taken.extend(about);
        self.taken.insert(this);
        Ok(Decided::Change(change))
    }

    /// Refuses what is no resource that could be imported; answers its type.
    fn check(&self, resource: &Object<'_>) -> Result<String> {
        let Some(type_name) = resource.resource_type() else {
            return Err(Error::new(Category::Invalid, "structure", "It has no resourceType.").at("resourceType"));
        };
        let wrong = |text: String| Err(Error::new(Category::Invalid, "invalid", text).at("resourceType"));
        if !definitions::r4().is_resource_type(type_name) {
            return wrong(format!("R4 has no resource type {}.", shown(type_name)));
        }
        if self.input.type_name.as_deref().is_some_and(|wanted| wanted != type_name) {
            return wrong(format!("It is of type {type_name}, and the input is of another."));
        }
        if type_name == LEDGER {
            return wrong("AuditEvents are the server's own record: nobody imports them.".into());
        }
        match self.asked.validation {
            Validation::Structure => writing::check(resource, type_name)?,
            Validation::None => writing::check_without_structure(resource, type_name)?,
        }
        if resource.get("id").is_some_and(|id| !id.as_str().is_some_and(is_id)) {
            let text = "An id has 1 to 64 characters out of A-Z, a-z, 0-9, minus and dot.";
            return Err(Error::new(Category::Invalid, "value", text).at(format!("{type_name}.id")));
        }
        Ok(type_name.to_owned())
    }

    /// The identifiers by which it is found whether a resource is there, as search values.
    fn identifiers(&self, type_name: &str, resource: &Object<'_>) -> Vec<String> {
        let has = self.context.conformance.parameters().parameter(type_name, "identifier").is_some();
        if self.asked.matching == Matching::Id || !has {
            return Vec::new();
        }
        let all = match resource.get("identifier") {
            Some(Value::Array(all)) => all.as_slice(),
            Some(one) => std::slice::from_ref(one),
            None => &[],
        };
        let value = |one: &Value<'_>| {
            let (system, value) = (one.get("system")?.as_str()?, one.get("value")?.as_str()?);
            Some(format!("{}|{}", escaped(system), escaped(value)))
        };
        all.iter().filter_map(value).collect()
    }

    fn by_id(&self, type_name: &str, resource: &Object<'_>) -> Result<(String, Option<Version>, Expect, Method)> {
        let Some(id) = resource.id() else {
            return Ok((self.context.clock.new_id(), None, Expect::Absent, Method::Create));
        };
        let current = reach::current(self.context, self.records, Letters::UPDATE, type_name, id)?;
        let expected = expect(current.as_ref());
        Ok((id.to_owned(), current, expected, Method::Update))
    }

    /// As a conditional update: <https://hl7.org/fhir/R4/http.html#cond-update>.
    fn by_identifiers(
        &mut self,
        type_name: &str,
        resource: &Object<'_>,
        identifiers: &[String],
    ) -> Result<(String, Option<Version>, Expect, Method)> {
        let (context, records) = (self.context, self.records);
        let letters = [Letters::CREATE, Letters::UPDATE, Letters::SEARCH];
        if letters.iter().any(|letter| records.grant().allowed(type_name, *letter) != Allowed::Everything) {
            return Err(reach::insufficient_scope());
        }
        let criteria = [("identifier".to_owned(), identifiers.join(","))];
        let (matched, guards) = criteria::find(context, records, type_name, &criteria)?;
        let current = if let Matched::One(version) = &matched { Some(version.clone()) } else { None };
        let new_id = context.clock.new_id();
        let found = (context, records);
        let (id, expected) = target(found, matched, type_name, resource.id(), &new_id, &Conditions::default())?;
        self.guards.extend(guards);
        Ok((id, current, expected, Method::Update))
    }
}

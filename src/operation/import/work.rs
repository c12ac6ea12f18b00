//! The work that stores what is imported: some lines at a time, as one commit together with the job's record, so that nothing is
//! stored twice whatever happens in between. What becomes of a line is told in `batch.rs`.

use super::batch::{Batch, Outcome, Rules, halved};
use super::lines::{Line, Lines};
use crate::audit::Event;
use crate::bulk::Exports;
use crate::bulk::files::{File, Kind, Place, Writing};
use crate::bulk::import::{Asked, Input, KIND, Position, Report, asked, read};
use crate::bulk::source::{State, Wanted};
use crate::error::{Category, Error, Issue, Result};
use crate::fhir::{outcome, write};
use crate::interaction::contexts::Contexts;
use crate::interaction::quota::bytes_of;
use crate::jobs::{Job, Part, Turn, Work};
use crate::store::Commit;
use std::sync::Arc;
use std::time::Duration;

/// Lines and bytes of one step, about.
const LINES: usize = 500;
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
        let trail = Arc::new(work.contexts.ledger.trail(Some(Event::Operation("import".into())), None));
        trail.set_agent(Arc::new(turn.job.owner.clone()));
        let grant = asked.delegation.as_ref().map_or_else(|| turn.grant.clone(), |kept| kept.grant(turn.tenant()));
        let context = work.contexts.of(grant, Arc::clone(&trail))?;
        let records = context.open()?;
        let type_name = input.type_name.as_deref();
        let rules = Rules { type_name, validation: asked.validation, matching: asked.matching };
        let (read, is_last) = self.read(file, context.limits.body_bytes)?;
        let texts: Vec<&[u8]> = read.iter().filter_map(|(line, _)| line.text()).collect();
        let Batch { changes, guards, outcomes, .. } = halved(&context, &records, rules, &texts)?;
        let (before, mut outcomes) = (self.position.line, outcomes.into_iter());
        let (mut is_over, mut tally) = (is_last, Tally::default());
        for (line, next) in &read {
            let number = self.position.line + 1;
            match (line, line.text().map(|_| outcomes.next())) {
                (Line::Unfinished, _) => {
                    (self.position.is_skipping, self.position.at) = (true, *next);
                    break;
                }
                (Line::TooLong, _) => tally.note(number, Outcome::Refused(too_long())),
                (Line::Text(_), Some(Some(outcome))) => tally.note(number, outcome),
                (Line::Text(_), None) => {}
                // It waits for the next step.
                (Line::Text(_), Some(None)) => {
                    is_over = false;
                    break;
                }
            }
            (self.position.line, self.position.at, self.position.is_skipping) = (number, *next, false);
        }
        let done = self.position.line - before;
        let entry = trail.entry_of(&changes, records.view(), context.clock.now())?;
        self.tell(&tally.faults)?;
        context.quotas.check(turn.tenant(), &changes)?;
        context.quotas.add(turn.tenant(), bytes_of(&changes));
        self.report.note(self.position.input, |outcome| {
            outcome.stored += tally.stored;
            outcome.unchanged += tally.unchanged;
        });
        if is_over {
            self.next_input();
        }
        let read_at = records.view().position();
        self.part(Commit { changes, guards, read_at, entry, ..Commit::of(turn.tenant()) }, done)
    }

    /// Reads the lines of this step, each with where the next one begins; and whether they are the last of the input.
    fn read(&self, file: &File, most: usize) -> Result<(Vec<(Line, u64)>, bool)> {
        let from = self.position.at;
        let mut lines = Lines::new(self.place, file, from, most, self.position.is_skipping)?;
        let mut read = Vec::new();
        while read.len() < LINES && lines.at() - from < BYTES {
            let Some(line) = lines.next()? else { return Ok((read, true)) };
            let is_unfinished = line == Line::Unfinished;
            read.push((line, lines.at()));
            if is_unfinished {
                break;
            }
        }
        Ok((read, false))
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

/// What came of the lines of one step.
#[derive(Default)]
struct Tally {
    stored: u64,
    unchanged: u64,
    /// Each names its line.
    faults: Vec<Error>,
}

impl Tally {
    fn note(&mut self, number: u64, outcome: Outcome) {
        match outcome {
            Outcome::Stored => self.stored += 1,
            Outcome::Unchanged => self.unchanged += 1,
            Outcome::Refused(mut error) => {
                for issue in &mut error.issues {
                    issue.diagnostics = format!("Line {number}: {}", issue.diagnostics).into();
                }
                self.faults.push(error);
            }
        }
    }
}

fn too_long() -> Error {
    Error::new(Category::TooLarge, "too-long", "It is longer than limits.body_bytes allows.")
}

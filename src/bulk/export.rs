//! The work that writes the files of an export.
//!
//! A step reads what the lists name as it was at the moment of the export, appends it to files and syncs them; then the job's
//! record is committed with the new lengths. Whoever goes on after a crash cuts the files to the lengths that are known, and writes the
//! same again.

mod blocks;

use super::files::{File, Kind, Place, Writing};
use super::lines::{Lines, deletions, version_at};
use super::{Asked, Exports, Form, List, Note, asked, pins};
use crate::error::{Error, Issue, Result};
use crate::fhir::{outcome, write};
use crate::jobs::{Job, Part, Turn, Work};
use crate::retention::spare;
use crate::store::{Records, Rid};
use blocks::Block;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The kind of work.
pub const KIND: &str = "export";

/// Resources and plain bytes of one step, about.
const RESOURCES: usize = 4000;
const BYTES: u64 = 4 << 20;
/// Deletions in one Bundle.
const DELETIONS: usize = 100;

/// See the module.
pub struct Export {
    /// Where exports are kept.
    pub exports: Arc<Exports>,
}

/// Where the next step begins.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Position {
    /// Which list.
    list: usize,
    /// Which piece of it.
    chunk: u32,
    /// Which number in the piece.
    at: usize,
    /// The file that is not full yet.
    file: Option<File>,
    /// The block that is being written.
    #[serde(default)]
    block: Option<Block>,
}

/// What has come of it so far.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Report {
    /// The files that are whole.
    pub files: Vec<File>,
    /// How many resources were erased before they were written.
    pub erased: u64,
}

/// What a job has come to.
///
/// # Errors
/// When it can't be read.
pub fn report(job: &Job) -> Result<Report> {
    match &job.report {
        serde_json::Value::Null => Ok(Report::default()),
        report => serde_json::from_value(report.clone()).map_err(Error::internal),
    }
}

impl Work for Export {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn step(&self, turn: &Turn<'_>) -> Result<Part> {
        let asked = asked(turn.job)?;
        let position = match &turn.job.position {
            serde_json::Value::Null => Position::default(),
            position => serde_json::from_value(position.clone()).map_err(Error::internal)?,
        };
        let place = self.exports.place(turn.store, &turn.grant, &turn.job.id);
        place.check_room(self.exports.free_floor())?;
        let mut step = Step {
            turn,
            asked: &asked,
            records: turn.store.open(&turn.grant)?,
            place: &place,
            lines: Lines::new(&asked),
            most: self.exports.file_bytes(),
            position,
            report: report(turn.job)?,
            done: 0,
            bytes: 0,
        };
        step.run()
    }
}

/// One step.
struct Step<'s> {
    turn: &'s Turn<'s>,
    asked: &'s Asked,
    records: Records,
    place: &'s Place,
    lines: Lines,
    /// The length of a file, about.
    most: u64,
    position: Position,
    report: Report,
    done: usize,
    bytes: u64,
}

impl Step<'_> {
    fn run(&mut self) -> Result<Part> {
        let asked = self.asked;
        if asked.is_partial && self.turn.job.position.is_null() {
            // All manifests of an export have the same errors, so these have to be there before the first one.
            self.errors(asked.notes.clone())?;
        }
        while let Some(list) = asked.lists.get(self.position.list) {
            if self.done >= RESOURCES || self.bytes >= BYTES {
                return self.part(false);
            }
            match list.form {
                Form::Blocks => self.list_of_blocks(list)?,
                Form::Resources | Form::Deletions => self.list(list)?,
            }
        }
        if !asked.is_partial {
            self.errors([asked.notes.clone(), self.erased()].concat())?;
        }
        self.part(true)
    }

    /// Goes on with a list, until its end or that of the step.
    fn list(&mut self, list: &List) -> Result<()> {
        let is_deleted = list.form == Form::Deletions;
        let kind = if is_deleted { (Kind::Deleted, "Bundle") } else { (Kind::Output, &*list.type_name) };
        let known = self.position.file.take();
        let file = known.unwrap_or_else(|| File::new(self.report.files.len() + 1, kind.0, kind.1));
        let place = self.place;
        let mut writing = Writing::open(place, file)?;
        let before = writing.bytes();
        while self.position.chunk < list.chunks {
            let Position { list: nth, chunk, at, .. } = self.position;
            let rids = pins::read(&*self.turn.store.keeper(), self.turn.tenant(), &self.turn.job.id, nth, chunk)?;
            for group in rids.get(at..).unwrap_or_default().chunks(DELETIONS) {
                if is_deleted {
                    self.deleted(&mut writing, group)?;
                } else {
                    self.resources(&mut writing, group)?;
                }
                self.position.at += group.len();
                self.done += group.len();
                let is_full = writing.bytes() >= self.most;
                if is_full || self.done >= RESOURCES || self.bytes + writing.bytes() - before >= BYTES {
                    self.bytes += writing.bytes() - before;
                    self.leave(writing.finish()?, is_full);
                    return Ok(());
                }
            }
            (self.position.chunk, self.position.at) = (chunk + 1, 0);
        }
        self.bytes += writing.bytes() - before;
        let file = writing.finish()?;
        self.end_list();
        self.leave(file, true);
        Ok(())
    }

    fn end_list(&mut self) {
        self.position = Position { list: self.position.list + 1, ..Position::default() };
    }

    /// Keeps a file for the next step, or as one that is whole. One that holds nothing is none.
    fn leave(&mut self, file: File, is_whole: bool) {
        if !is_whole {
            self.position.file = Some(file);
        } else if file.count > 0 {
            self.report.files.push(file);
        }
    }

    fn resources(&mut self, writing: &mut Writing<'_>, rids: &[Rid]) -> Result<()> {
        for rid in rids {
            match version_at(self.records.view(), *rid, self.asked.moment)?.filter(|version| version.body.is_some()) {
                Some(version) => writing.add(&self.lines.of(&version)?, &version.patients)?,
                None => self.report.erased += 1,
            }
        }
        Ok(())
    }

    fn deleted(&mut self, writing: &mut Writing<'_>, rids: &[Rid]) -> Result<()> {
        let (mut urls, mut patients) = (Vec::with_capacity(rids.len()), Vec::new());
        for rid in rids {
            match version_at(self.records.view(), *rid, self.asked.moment)? {
                Some(version) => {
                    urls.push(format!("{}/{}", version.type_name, version.id));
                    patients.extend(version.patients);
                }
                None => self.report.erased += 1,
            }
        }
        if urls.is_empty() { Ok(()) } else { writing.add(&deletions(urls.iter().map(String::as_str)), &patients) }
    }

    /// What is to be told of what was erased.
    fn erased(&self) -> Vec<Note> {
        let erased = self.report.erased;
        let text =
            || format!("{erased} of the resources were erased for good before they were written: they are left out.");
        (erased > 0).then(|| Note { code: "incomplete".into(), text: text().into() }).into_iter().collect()
    }

    /// The file of what the client is told.
    fn errors(&mut self, notes: Vec<Note>) -> Result<()> {
        if notes.is_empty() {
            return Ok(());
        }
        let file = File::new(self.report.files.len() + 1, Kind::Error, "OperationOutcome");
        let mut writing = Writing::open(self.place, file)?;
        for note in notes {
            let issue = Issue::warning(code(&note.code), note.text.into_string());
            writing.add(&write::to_vec(&outcome::outcome(&[issue])), &[])?;
        }
        let file = writing.finish()?;
        self.leave(file, true);
        Ok(())
    }

    fn part(&self, is_last: bool) -> Result<Part> {
        let mut part = self.turn.part();
        if is_last {
            part.commit.keeps = pins::removals(&self.turn.job.id, &self.asked.lists);
            part.commit.keeps.push(spare::end(&self.turn.job.id));
        }
        let position = serde_json::to_value(&self.position).map_err(Error::internal)?;
        let report = serde_json::to_value(&self.report).map_err(Error::internal)?;
        let total = Some(self.asked.lists.iter().map(|list| list.count).sum());
        Ok(Part { position, report, done: self.done as u64, total, is_last, ..part })
    }
}

/// The codes that notes have.
fn code(text: &str) -> &'static str {
    const CODES: [&str; 4] = ["not-supported", "incomplete", "not-found", "forbidden"];
    CODES.into_iter().find(|code| *code == text).unwrap_or("informational")
}

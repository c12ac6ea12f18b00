//! The work that erases a patient's record, as `Patient/[id]/$purge` asks for it:
//! <https://build.fhir.org/patient-operation-purge.html>.
//!
//! First what the search keys tie to the patient; then, in one pass over all resources, what is deleted and was the patient's, and
//! old versions that named the patient; at the end the Patient itself, on the condition that nothing of the record is left or came
//! meanwhile. What is about other patients too is left and told, and so is what is held.

use super::enforce::report_of;
use super::gather::{Gathering, name_of, outline, patients};
use super::{LOOKED_AT, Why, compaction};
use crate::auth::compartment::ties_to;
use crate::error::{Category, Error, Result};
use crate::fhir::definitions;
use crate::jobs::{Job, Part, Turn, Work};
use crate::key::Expr;
use crate::search::{self, Budget};
use crate::store::{Extent, Guard, Outline, Records, Rid, View};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The kind of work.
pub const KIND: &str = "purge";

/// Members of a set that are read at a time.
const TOGETHER: usize = 200;

/// What is asked for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Parameters {
    /// The id of the patient.
    pub patient: String,
    /// Whether nothing shall be touched, only told.
    #[serde(default)]
    pub is_dry_run: bool,
}

/// Where the next part begins.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(tag = "at", rename_all = "kebab-case")]
enum Position {
    /// At a number of the n-th type.
    Record { nth: usize, from: u64 },
    /// At a number among all resources.
    Past { from: u64 },
    /// At the Patient.
    Patient,
}

/// See the module.
#[derive(Debug)]
pub struct Purge;

impl Work for Purge {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn step(&self, turn: &Turn<'_>) -> Result<Part> {
        let records = turn.store.open(&turn.grant)?;
        let Parameters { patient, is_dry_run } =
            serde_json::from_value(turn.job.parameters.clone()).map_err(Error::internal)?;
        let position = match &turn.job.position {
            serde_json::Value::Null => Position::Record { nth: 0, from: 0 },
            position => serde_json::from_value(position.clone()).map_err(Error::internal)?,
        };
        let mut report = report_of(turn.job)?;
        report.is_dry_run = is_dry_run;
        let mut erasing =
            Erasing { turn, records: &records, patient: &patient, gathering: Gathering::new(turn, &records, report) };
        if erasing.gathering.is_held(&format!("Patient/{patient}"))? {
            return Err(held());
        }
        match position {
            Position::Record { nth, from } => erasing.record(nth, Rid(from)),
            Position::Past { from } => erasing.past(Rid(from)),
            Position::Patient => erasing.patient(),
        }
    }
}

/// 409: the patient is under a hold.
#[must_use]
pub fn held() -> Error {
    let text = "There is a legal hold on this patient: nothing of the record is erased before it is lifted.";
    Error::new(Category::Conflict, "business-rule", text)
}

/// The types of which resources are a patient's; the entries of the ledger are not.
fn types() -> impl Iterator<Item = &'static str> {
    let names = definitions::r4().resource_types().iter().copied();
    names.filter(|name| !matches!(*name, "Patient" | "AuditEvent"))
}

struct Erasing<'e> {
    turn: &'e Turn<'e>,
    records: &'e Records,
    patient: &'e str,
    gathering: Gathering<'e>,
}

impl Erasing<'_> {
    fn view(&self) -> &dyn View {
        self.records.view()
    }

    /// What of a type the search keys tie to the patient, from a number on.
    fn members(&self, type_name: &str, from: Rid) -> Result<Vec<Rid>> {
        let ties = ties_to(type_name, self.patient);
        if ties.is_empty() {
            return Ok(Vec::new());
        }
        let budget = Budget::new(u64::MAX, Duration::MAX.min(Duration::from_hours(1)));
        search::members(self.records, (type_name, &Expr::any(ties)), from, TOGETHER, &budget)
    }

    /// Erases some of what is the patient's now.
    fn record(mut self, nth: usize, from: Rid) -> Result<Part> {
        let mut from = from;
        for (nth, type_name) in types().enumerate().skip(nth) {
            loop {
                let members = self.members(type_name, from)?;
                let Some(last) = members.last() else { break };
                from = Rid(last.0 + 1);
                for rid in members {
                    if let Some(outline) = outline(self.view(), rid)? {
                        self.erase(&outline)?;
                    }
                }
                if self.gathering.is_full() {
                    return self.part(Position::Record { nth, from: from.0 });
                }
            }
            from = Rid(0);
        }
        self.part(Position::Past { from: 0 })
    }

    /// Erases what was the patient's: deleted resources, and old versions of what is another's now.
    fn past(mut self, from: Rid) -> Result<Part> {
        for (looked_at, outline) in self.records.view().resources(from).enumerate() {
            let outline = outline?;
            if looked_at == LOOKED_AT || self.gathering.is_full() {
                return self.part(Position::Past { from: outline.rid.0 });
            }
            if &*outline.type_name == "Patient" {
                continue;
            }
            if outline.is_deleted {
                if patients(self.view(), &outline)?.contains(self.patient) {
                    self.erase(&outline)?;
                }
            } else if !outline.patients.iter().any(|id| **id == *self.patient) {
                self.erase_old_versions(&outline)?;
            }
        }
        self.part(Position::Patient)
    }

    fn erase_old_versions(&mut self, outline: &Outline) -> Result<()> {
        let mut before = None;
        for number in outline.oldest..outline.version {
            let version = self.view().version(outline.rid, number)?;
            if version.is_some_and(|version| version.patients.iter().any(|id| **id == *self.patient)) {
                before = Some(number + 1);
            }
        }
        if let Some(before) = before
            && !self.gathering.take(outline, Extent::Before(before), false)?
        {
            self.gathering.report.leave(name_of(outline), Why::Held);
        }
        Ok(())
    }

    /// Erases a resource of the record, unless it is another patient's too, or held.
    fn erase(&mut self, outline: &Outline) -> Result<()> {
        if patients(self.view(), outline)?.iter().any(|id| **id != *self.patient) {
            self.gathering.report.leave(name_of(outline), Why::Shared);
        } else if !self.gathering.take(outline, Extent::Whole { version: outline.version }, false)? {
            self.gathering.report.leave(name_of(outline), Why::Held);
        }
        Ok(())
    }

    /// Erases the Patient, if nothing of the record is left but what is to be left.
    fn patient(mut self) -> Result<Part> {
        let mut guards = Vec::new();
        for (nth, type_name) in types().enumerate() {
            let mut from = Rid(0);
            loop {
                let members = self.members(type_name, from)?;
                let Some(last) = members.last() else { break };
                for rid in &members {
                    let Some(outline) = outline(self.view(), *rid)? else { continue };
                    let is_shared = patients(self.view(), &outline)?.iter().any(|id| **id != *self.patient);
                    let is_new = !is_shared && !self.gathering.is_held(&name_of(&outline))?;
                    if is_new && !self.gathering.report.is_dry_run {
                        return self.part(Position::Record { nth, from: rid.0 });
                    }
                }
                from = Rid(last.0 + 1);
            }
            let guard = |range| Guard { type_name: type_name.into(), range };
            guards.extend(ties_to(type_name, self.patient).into_iter().map(guard));
        }
        let found = self.view().find("Patient", self.patient)?;
        if let Some(outline) = found.map(|rid| outline(self.view(), rid)).transpose()?.flatten() {
            self.gathering.take(&outline, Extent::Whole { version: outline.version }, false)?;
        }
        let read_at = self.view().position();
        let is_dry_run = self.gathering.report.is_dry_run;
        let now = self.turn.now;
        let mut part = self.part(Position::Patient)?;
        if !is_dry_run {
            (part.commit.guards, part.commit.read_at) = (guards, read_at);
            part.commit.keeps.push(Job::only_one(compaction::KIND, now)?);
        }
        Ok(Part { is_last: true, ..part })
    }

    fn part(self, position: Position) -> Result<Part> {
        let done = self.gathering.len() as u64;
        let report = serde_json::to_value(&self.gathering.report).map_err(Error::internal)?;
        let position = serde_json::to_value(position).map_err(Error::internal)?;
        let commit = self.gathering.into_commit(Some(&format!("Patient/{}", self.patient)), None)?;
        Ok(Part { commit, position, report, done, ..self.turn.part() })
    }
}

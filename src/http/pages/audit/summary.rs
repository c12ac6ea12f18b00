//! What the entries of a period come to: counts over time, by patient and by user, and the newest of each kind.

use super::filter::{Filter, Outcome};
use super::line::{Line, who};
use crate::audit::reader::{Read, Reader};
use crate::audit::{Event, Record};
use crate::clock::Micros;
use crate::error::Result;
use rustc_hash::FxHashMap;
use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;

/// The most entries that are looked at for a page: the newest of the period. Some seconds of work.
pub const MOST_LOOKED_AT: u64 = 1_000_000;

/// The most patients, and the most users, that are told apart.
const MOST_GROUPS: usize = 100_000;

/// The rows of a table of groups.
const MOST_ROWS: usize = 50;

/// The rows of a table of entries, and of one of a kind of them.
const MOST_LINES: usize = 200;
const MOST_OF_A_KIND: usize = 50;

const HOUR: i64 = 3_600_000_000;

/// Up to so many hours are shown by the hour, and more by the day.
const MOST_HOURS: i64 = 72;

/// Counts of a part of the period.
#[derive(Debug, Clone, Copy, Default)]
pub struct Bucket {
    pub accesses: u64,
    pub refused: u64,
    pub failed_sign_ins: u64,
}

/// What is counted of one patient or user.
struct Tally {
    accesses: u64,
    refused: u64,
    emergencies: u64,
    last: Arc<Read>,
}

/// A row of a table of groups.
pub struct Group {
    /// What to filter by.
    pub id: String,
    pub name: String,
    pub accesses: u64,
    pub refused: u64,
    pub emergencies: u64,
    pub last: String,
    pub last_by: String,
}

/// Groups by id, as far as they are told apart.
#[derive(Default)]
struct Groups {
    all: FxHashMap<Box<str>, Tally>,
    is_cut: bool,
}

/// The newest entries of a kind.
struct Newest {
    most: usize,
    kept: VecDeque<Arc<Read>>,
}

/// What was counted.
pub struct Summary {
    /// The beginning of each bucket is so long after the one before, in microseconds.
    pub step: i64,
    pub start: Micros,
    pub buckets: Vec<Bucket>,
    /// Since when entries were looked at, where it were not all of the period.
    pub cut: Option<String>,
    pub matching: u64,
    pub accesses: u64,
    pub refused: u64,
    pub emergencies: u64,
    pub failed_sign_ins: u64,
    /// Entries that can't be read, or blocks of them.
    pub unreadable: u64,
    patients: Groups,
    users: Groups,
    newest: [Newest; 4],
}

/// The tables of entries.
#[derive(Debug, Clone, Copy)]
pub enum Table {
    All,
    Refused,
    Emergencies,
    SignIns,
}

impl Summary {
    /// Counts the entries that a filter asks for.
    ///
    /// # Errors
    /// When the store fails.
    pub fn of(reader: &Reader, filter: &Filter) -> Result<Self> {
        let period = filter.period;
        let hours = (period.to.0 - period.from.0) / HOUR;
        let step = if hours <= MOST_HOURS { HOUR } else { 24 * HOUR };
        let count = usize::try_from((period.to.0 - period.from.0) / step).unwrap_or_default();
        let newest = |most| Newest { most, kept: VecDeque::new() };
        let mut summary = Self {
            step,
            start: period.from,
            buckets: vec![Bucket::default(); count],
            cut: None,
            matching: 0,
            accesses: 0,
            refused: 0,
            emergencies: 0,
            failed_sign_ins: 0,
            unreadable: 0,
            patients: Groups::default(),
            users: Groups::default(),
            newest: [newest(MOST_LINES), newest(MOST_OF_A_KIND), newest(MOST_OF_A_KIND), newest(MOST_OF_A_KIND)],
        };
        let mut numbers = reader.numbers(period)?;
        let is_cut = numbers.end - numbers.start > MOST_LOOKED_AT;
        if is_cut {
            numbers.start = numbers.end - MOST_LOOKED_AT;
        }
        let mut first = is_cut;
        reader.read(numbers, &mut |read| {
            match read {
                Some(read) => {
                    if std::mem::take(&mut first) {
                        summary.cut = read.time.to_instant().get(..19).map(|time| time.replace('T', " "));
                    }
                    if filter.has(read.time, &read.record) {
                        summary.add(&Arc::new(read), &filter.patient);
                    }
                }
                None => summary.unreadable += 1,
            }
            ControlFlow::Continue(())
        })?;
        Ok(summary)
    }

    /// Counts an entry: among patients, only this one where it is asked for.
    fn add(&mut self, read: &Arc<Read>, only: &str) {
        let shape = &read.record.shape;
        let is_request = matches!(shape.event, Event::Interaction(_) | Event::Operation(_) | Event::Export);
        let is_access = is_request && !is_of_ledger(&read.record);
        let is_refused = Outcome::of(shape.status) == Outcome::Refused;
        let is_good = Outcome::of(shape.status) == Outcome::Good;
        let is_sign_in = matches!(shape.event, Event::SignIn | Event::Lockout) && !is_good;
        let is_emergency = shape.agent.emergency.is_some();
        let one = |is: bool| u64::from(is);
        self.matching += 1;
        self.accesses += one(is_access && is_good);
        self.refused += one(is_refused);
        self.emergencies += one(is_emergency);
        self.failed_sign_ins += one(is_sign_in);
        let index = usize::try_from((read.time.0 - self.start.0) / self.step).unwrap_or(usize::MAX);
        if let Some(bucket) = self.buckets.get_mut(index) {
            bucket.accesses += one(is_access && is_good);
            bucket.refused += one(is_refused);
            bucket.failed_sign_ins += one(is_sign_in);
        }
        if is_access && is_good {
            let patients = read.record.content.patients.iter();
            for patient in patients.filter(|patient| only.is_empty() || ***patient == *only) {
                self.patients.add(patient, read);
            }
        }
        if let Some(id) = &shape.agent.user {
            self.users.add(id, read);
        }
        let [all, refused, emergencies, sign_ins] = &mut self.newest;
        for (table, is_in) in [(refused, is_refused), (emergencies, is_emergency), (sign_ins, is_sign_in)] {
            if is_in {
                table.add(read);
            }
        }
        all.add(read);
    }

    /// The patients whose data was given out or changed: those with the most accesses first, and whether there are more.
    pub fn patients(&self) -> (Vec<Group>, bool) {
        self.patients.rows()
    }

    /// The users who did something.
    pub fn users(&self) -> (Vec<Group>, bool) {
        self.users.rows()
    }

    /// The newest entries, the newest first.
    pub fn lines(&self, table: Table) -> Vec<Line> {
        let newest = self.newest.get(table as usize);
        newest.map(|newest| newest.kept.iter().rev().map(|read| Line::of(read)).collect()).unwrap_or_default()
    }

    /// The patients who are named where entries are shown.
    pub fn shown_patients(&self) -> Vec<Box<str>> {
        let of_lines =
            self.newest.iter().flat_map(|newest| &newest.kept).flat_map(|read| &read.record.content.patients);
        let groups = self.patients.rows().0.into_iter().map(|group| group.id.into());
        of_lines.cloned().chain(groups).collect()
    }
}

/// Whether somebody looked at the ledger itself: that names patients, but gives nothing of their records.
fn is_of_ledger(record: &Record<'_>) -> bool {
    let asked = [&record.content.query, &record.content.target];
    asked.into_iter().flatten().any(|asked| asked.starts_with("AuditEvent"))
}

impl Newest {
    fn add(&mut self, read: &Arc<Read>) {
        if self.kept.len() == self.most {
            self.kept.pop_front();
        }
        self.kept.push_back(Arc::clone(read));
    }
}

impl Groups {
    fn add(&mut self, id: &str, read: &Arc<Read>) {
        if !self.all.contains_key(id) {
            if self.all.len() == MOST_GROUPS {
                self.is_cut = true;
                return;
            }
            self.all.insert(id.into(), Tally { accesses: 0, refused: 0, emergencies: 0, last: Arc::clone(read) });
        }
        let Some(tally) = self.all.get_mut(id) else { return };
        let shape = &read.record.shape;
        let outcome = Outcome::of(shape.status);
        tally.accesses += u64::from(outcome == Outcome::Good);
        tally.refused += u64::from(outcome == Outcome::Refused);
        tally.emergencies += u64::from(shape.agent.emergency.is_some());
        tally.last = Arc::clone(read);
    }

    fn rows(&self) -> (Vec<Group>, bool) {
        let mut all = self.all.iter().collect::<Vec<_>>();
        all.sort_unstable_by_key(|(id, tally)| (std::cmp::Reverse(tally.accesses + tally.refused), *id));
        let rows = all.iter().take(MOST_ROWS).map(|(id, tally)| Group {
            id: id.to_string(),
            name: tally.last.record.shape.agent.name.as_deref().unwrap_or_default().to_owned(),
            accesses: tally.accesses,
            refused: tally.refused,
            emergencies: tally.emergencies,
            last: Line::of(&tally.last).time,
            last_by: who(&tally.last.record),
        });
        (rows.collect(), self.is_cut || all.len() > MOST_ROWS)
    }
}

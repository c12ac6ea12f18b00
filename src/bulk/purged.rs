//! Files that hold the data of patients whose record was [purged](crate::retention::purge) after the files were asked for: nobody gets
//! them any more, and the next sweep removes them with their job.

use super::files::{File, Place};
use super::{DEFERRED, Exports, export, has_files};
use crate::auth::grant::Grant;
use crate::error::{Category, Error, Result};
use crate::jobs::{Job, State};
use crate::retention::purge;
use crate::store::Store;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// The ids of the patients whose record was purged, in part at least, since a job was asked for.
#[must_use]
pub fn since(jobs: &[Job], asked: &Job) -> BTreeSet<Box<str>> {
    let is_later = |job: &&Job| job.kind == purge::KIND && job.started.is_some() && job.changed >= Some(asked.created);
    let patient = |job: &Job| {
        let parameters: purge::Parameters = serde_json::from_value(job.parameters.clone()).ok()?;
        (!parameters.is_dry_run).then(|| parameters.patient.into())
    };
    jobs.iter().filter(is_later).filter_map(patient).collect()
}

/// Refuses a file with data of such patients.
///
/// # Errors
/// 410 where it has any.
pub fn check(purged: &BTreeSet<Box<str>>, patients: &[Box<str>]) -> Result<()> {
    if patients.iter().any(|patient| purged.contains(patient)) { Err(erased()) } else { Ok(()) }
}

/// 410: it has, or may have, data of such patients.
fn erased() -> Error {
    let text = "This holds data of a patient whose record was erased since: ask for it again.";
    Error::new(Category::Gone, "deleted", text)
}

/// The answer to a request that was performed later: the report of its job.
#[derive(Debug, Serialize, Deserialize)]
pub struct Kept {
    /// Where it is.
    #[serde(flatten)]
    pub file: File,
    /// Whether the file's list of patients has all of them. What a Bundle gives back of its own resources is not told to the ledger, and
    /// nothing is where there is none.
    #[serde(default)]
    pub knows_patients: bool,
}

impl Kept {
    /// Refuses an answer with data of such patients: where it is not known whose it has, that may be anybody.
    ///
    /// # Errors
    /// As [`check`].
    pub fn check(&self, purged: &BTreeSet<Box<str>>, patients: &[Box<str>]) -> Result<()> {
        if self.knows_patients || purged.is_empty() { check(purged, patients) } else { Err(erased()) }
    }
}

/// Refuses that a purge is forgotten as long as a job is at work that began before its end and makes files: its files may get data of the
/// patient, and nothing else tells so.
///
/// # Errors
/// 409 where there is such a job.
pub fn check_forgettable(jobs: &[Job], ended: &Job) -> Result<()> {
    let is_before = |job: &Job| !job.state.is_ended() && has_files(job) && ended.changed >= Some(job.created);
    if ended.kind == purge::KIND && jobs.iter().any(is_before) {
        let text = "An export or a deferred request that was asked for before this purge ended is still at work: the purge has to be known \
            until that has ended.";
        return Err(Error::new(Category::Conflict, "business-rule", text));
    }
    Ok(())
}

impl Exports {
    /// The jobs that are done and have such files.
    ///
    /// # Errors
    /// When the files can't be read.
    pub async fn with_purged(&self, store: &Store, grant: &Grant, jobs: &[Job]) -> Result<Vec<Job>> {
        let mut found = Vec::new();
        for job in jobs.iter().filter(|job| job.state == State::Done) {
            let (files, is_known) = match job.kind.as_str() {
                export::KIND => (export::report(job)?.files, true),
                DEFERRED => {
                    let kept: Kept = serde_json::from_value(job.report.clone()).map_err(Error::internal)?;
                    (vec![kept.file], kept.knows_patients)
                }
                _ => continue,
            };
            let (purged, place) = (since(jobs, job), self.place(store, grant, &job.id));
            if purged.is_empty() {
                continue;
            }
            if !is_known {
                found.push(job.clone());
                continue;
            }
            let look = move || holds(&place, &files, &purged);
            if tokio::task::spawn_blocking(look).await.map_err(Error::internal)?? {
                found.push(job.clone());
            }
        }
        Ok(found)
    }
}

fn holds(place: &Place, files: &[File], purged: &BTreeSet<Box<str>>) -> Result<bool> {
    for file in files {
        match place.patients(file) {
            Ok(patients) if check(purged, &patients).is_ok() => {}
            Err(error) if error.category == Category::Unavailable => return Err(error),
            // What can't be read any more is of no use to anybody.
            _ => return Ok(true),
        }
    }
    Ok(false)
}

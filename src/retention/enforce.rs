//! The work that applies the rules: one pass over all resources of a tenant.

use super::gather::Gathering;
use super::rules::Rules;
use super::{LOOKED_AT, Report, archive, compaction, spare};
use crate::auth::tenants::Tenants;
use crate::error::{Error, Result};
use crate::jobs::{Job, Part, Turn, Work};
use crate::store::Rid;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::sync::Arc;

/// The kind of work.
pub const KIND: &str = "retention";

/// What is asked for.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Parameters {
    /// Whether nothing shall be touched, only told.
    pub is_dry_run: bool,
}

/// See the module.
pub struct Enforce {
    /// The rules of the settings.
    pub rules: Arc<Rules>,
    /// The folder for what is archived.
    pub archive_folder: Option<PathBuf>,
    /// Which tenants there are, with rules of their own.
    pub tenants: Arc<Tenants>,
}

impl Work for Enforce {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn step(&self, turn: &Turn<'_>) -> Result<Part> {
        let rules = self.rules.after(&self.tenants.of(turn.tenant()).tenant.retention);
        let parameters: Parameters = serde_json::from_value(turn.job.parameters.clone()).map_err(Error::internal)?;
        let quiet = spare::quiet(&*turn.store.keeper(), turn.tenant())?;
        if quiet.is_none() && !parameters.is_dry_run {
            let text = "An export is under way: what is to be erased may be in it, and is erased when it is over.";
            return Err(Error::unavailable(text, "waits for an export"));
        }
        let records = turn.store.open(&turn.grant)?;
        let mut report = report_of(turn.job)?;
        report.is_dry_run = parameters.is_dry_run;
        let from = turn.job.position.as_u64().unwrap_or_default();
        let mut gathering = Gathering::new(turn, &records, report);
        let (mut looked_at, mut next) = (0, None);
        for outline in records.view().resources(Rid(from)) {
            let outline = outline?;
            if looked_at == LOOKED_AT || gathering.is_full() {
                next = Some(outline.rid.0);
                break;
            }
            looked_at += 1;
            if let Some(due) = rules.due(turn.tenant(), records.view(), &outline, turn.now)? {
                gathering.take(&outline, due.extent, due.is_archived)?;
            }
        }
        let mut name = None;
        if let Some(folder) = &self.archive_folder
            && !gathering.lines.is_empty()
            && !gathering.report.is_dry_run
        {
            let file = archive::name(turn.tenant(), &turn.job.id, from);
            archive::write(turn.store, &turn.grant, folder, &file, &gathering.lines)?;
            name = Some(file);
        }
        let report = serde_json::to_value(&gathering.report).map_err(Error::internal)?;
        let has_erased = !gathering.report.erased.is_empty() && !gathering.report.is_dry_run;
        let mut part = turn.part();
        part.commit = gathering.into_commit(None, name.as_deref())?;
        if !part.commit.erasures.is_empty() {
            part.commit.keeps.extend(quiet);
        }
        let is_last = next.is_none();
        if is_last && has_erased {
            part.commit.keeps.push(Job::only_one(compaction::KIND, turn.now)?);
        }
        Ok(Part { position: next.into(), report, done: looked_at as u64, is_last, ..part })
    }
}

/// What a job has come to so far.
///
/// # Errors
/// When it can't be read.
pub fn report_of(job: &Job) -> Result<Report> {
    match &job.report {
        serde_json::Value::Null => Ok(Report::default()),
        report => serde_json::from_value(report.clone()).map_err(Error::internal),
    }
}

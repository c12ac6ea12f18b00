//! `pharos retention`: the rules, and legal holds, on a store that no server has open.

use super::user::said;
use super::{Failure, OfTenant, serve};
use crate::app::App;
use crate::auth::agent::Agent;
use crate::auth::grant::Grant;
use crate::error::Error;
use crate::jobs::{Job, New, State};
use crate::retention::enforce::{self, KIND, Parameters};
use crate::retention::hold::{self, Hold};
use crate::retention::{Report, archive, compaction};
use crate::tenant::TenantId;
use clap::{Args, Subcommand};
use std::io::Write;
use std::path::PathBuf;

/// Holds printed at a time.
const PAGE: usize = 500;

/// Applies the rules of retention and manages legal holds, in a store that no server has open.
#[derive(Debug, Args)]
pub struct Retention {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    of: OfTenant,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Apply the rules now: erase or archive what has been kept for long enough.
    Run(Run),
    /// Set a legal hold: nothing that it is on is erased.
    Hold(SetHold),
    /// Lift a legal hold.
    Release(On),
    /// List all legal holds.
    Holds,
    /// Print the lines of archive files.
    Read(Read),
}

#[derive(Debug, Args)]
struct Run {
    /// Touch nothing; tell what would be erased.
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Args)]
struct SetHold {
    #[command(flatten)]
    on: On,
    /// Why: a case number, an order of a court.
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

#[derive(Debug, Args)]
struct On {
    /// A patient, with the whole record, or another resource: Patient/123.
    #[arg(value_name = "TYPE/ID")]
    on: String,
}

#[derive(Debug, Args)]
struct Read {
    /// The files.
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// When the store can't be opened or fails, or there is no such hold.
pub fn run(command: Retention) -> Result<(), Failure> {
    let done = command.of.with(async |app, tenant| perform(app, tenant, command.action).await)?;
    std::io::stdout().lock().write_all(&done)?;
    Ok(())
}

/// Does what is asked; gives what is printed.
async fn perform(app: &App, tenant: TenantId, action: Action) -> Result<Vec<u8>, Failure> {
    let operator = Agent::operator();
    match action {
        Action::Run(Run { dry_run }) => apply(app, tenant, dry_run).await,
        Action::Hold(SetHold { on: On { on }, reason }) => {
            let hold = Hold { on: on.into(), reason, by: operator, since: app.now().0 };
            app.holds(tenant).set(&hold).await.map_err(said)?;
            Ok(format!("There is a hold on {}.\n", hold.on).into_bytes())
        }
        Action::Release(On { on }) => {
            app.holds(tenant).lift(&on, &operator, app.now()).await.map_err(said)?;
            Ok(format!("The hold on {on} is lifted.\n").into_bytes())
        }
        Action::Holds => holds(app, tenant),
        Action::Read(Read { files }) => {
            let mut lines = Vec::new();
            for file in files {
                lines.extend(archive::read(app.store(), &Grant::unrestricted(tenant), &file).map_err(said)?);
            }
            Ok(lines)
        }
    }
}

async fn apply(app: &App, tenant: TenantId, is_dry_run: bool) -> Result<Vec<u8>, Failure> {
    let parameters = serde_json::to_value(Parameters { is_dry_run })?;
    let new = New { kind: KIND, owner: Agent::operator(), parameters };
    let note = if is_dry_run { "pharos retention run; dry_run" } else { "pharos retention run" };
    let witness = serve::witness(app, tenant, "retention", move |_| Some(("rules".to_owned(), note.to_owned())));
    let job = app.jobs.submit_told(tenant, new, &witness).await.map_err(said)?;
    let job = ended(app, tenant, &job.id).await?;
    let report = enforce::report_of(&job).map_err(said)?;
    if !is_dry_run && !report.erased.is_empty() {
        ended(app, tenant, compaction::KIND).await?;
    }
    Ok(told(&job, &report).into_bytes())
}

/// Runs a job to its end.
async fn ended(app: &App, tenant: TenantId, id: &str) -> Result<Job, Failure> {
    let job = app.jobs.run_to_end(tenant, id).await.map_err(said)?;
    let job = job.ok_or_else(|| said(Error::internal("the job is gone")))?;
    match (job.state, &job.failure) {
        (State::Done, _) => Ok(job),
        (_, failure) => Err(failure.clone().unwrap_or_else(|| "the job did not end".into()).into()),
    }
}

fn told(job: &Job, report: &Report) -> String {
    let mut lines = vec![format!("Looked at {} resources.", job.done)];
    let verb = if report.is_dry_run { "To be erased" } else { "Erased" };
    for (name, count) in &report.erased {
        let archived = report.archived.get(name).map_or(0, |count| count.versions);
        let (resources, versions) = (count.resources, count.versions);
        lines.push(format!("{verb}: {name}: {resources} resources, {versions} versions, {archived} of them archived"));
    }
    lines.extend(report.held.iter().map(|(name, count)| format!("Held: {name}: {count} resources")));
    if report.is_dry_run {
        lines.push("Nothing was touched.".to_owned());
    }
    lines.join("\n") + "\n"
}

fn holds(app: &App, tenant: TenantId) -> Result<Vec<u8>, Failure> {
    let (keeper, mut lines, mut after) = (app.store().keeper(), Vec::new(), None);
    loop {
        let page = hold::list(&*keeper, tenant, after.as_deref(), PAGE).map_err(said)?;
        for Hold { on, reason, .. } in &page {
            writeln!(lines, "{on}\t{reason}")?;
        }
        match page.last() {
            Some(last) if page.len() == PAGE => after = Some(last.on.clone()),
            _ => return Ok(lines),
        }
    }
}

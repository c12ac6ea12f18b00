//! `pharos check`

use super::serve::store_options;
use super::{Failure, Settings};
use crate::auth::tenants::base_of;
use crate::fhir::parse::parse;
use crate::fhir::tree::Value;
use crate::interaction::conformance::KeyMaking;
use crate::key::{KeyList, Parameters};
use crate::store::embedded::{Extract, Ground, check, rebuild};
use crate::store::schema::{Rewriting, Stand};
use clap::Args;
use std::sync::Arc;

/// Verifies a store that no server has open; ends with an error where something is wrong.
#[derive(Debug, Args)]
pub struct Check {
    #[command(flatten)]
    settings: Settings,
    /// Make ids, search keys and postings anew from the bodies first, and accept what is there as whole.
    #[arg(long)]
    rebuild: bool,
}

/// Runs the check.
#[allow(clippy::print_stdout)]
pub fn run(command: Check) -> Result<(), Failure> {
    let config = command.settings.load()?;
    let options = store_options(&config)?;
    if !options.folder.is_dir() {
        return Err(format!("there is no store in {}", options.folder.display()).into());
    }
    if command.rebuild {
        let making = KeyMaking::new(&config);
        let public_url = config.public_url();
        rebuild(&options, Some(&|ground| extract(&making, &public_url, ground)))?;
        println!("Rebuilt.");
    }
    let report = check(&options)?;
    let Stand { schema, rewriting } = &report.stand;
    match rewriting {
        None => println!("Schema: {schema}"),
        Some(Rewriting { from, .. }) => println!("Schema: {schema}; what is of schema {from} is being rewritten"),
    }
    println!("Tenants: {}", report.tenants);
    println!("Resources: {}, versions: {}", report.resources, report.versions);
    println!("Postings: {}, entries of the change log: {}", report.postings, report.log_entries);
    println!("Records that are no resources: {}; AuditEvents: {}", report.kept, report.ledger);
    if report.is_sound() {
        println!("Nothing is wrong.");
        return Ok(());
    }
    for problem in &report.problems {
        println!("Wrong: {problem}");
    }
    let more = report.more_problems;
    Err(format!(
        "{} problems{}",
        report.problems.len(),
        if more > 0 { format!(" and {more} more") } else { String::new() }
    )
    .into())
}

/// What makes the search keys of a tenant. What does not parse has none, and the check names it.
fn extract(making: &KeyMaking, public_url: &str, ground: &Ground<'_>) -> Extract<'static> {
    let parameters = Parameters::of_stored(ground.search_parameters.iter().map(|(id, json)| (&**id, &**json)));
    let base = base_of(public_url, ground.tenant, ground.tenants);
    let extractor = making.extractor(&base, Arc::new(parameters));
    Box::new(move |json| match parse(json, usize::MAX) {
        Ok(Value::Object(resource)) => extractor.keys(&resource),
        _ => KeyList::default(),
    })
}

//! `pharos check`

use super::serve::store_options;
use super::{Failure, Settings};
use crate::fhir::parse::parse;
use crate::fhir::tree::Value;
use crate::key::{Extractor, KeyList};
use crate::store::embedded::{check, rebuild};
use clap::Args;

/// Verifies a store that no server has open; ends with an error where something is wrong.
#[derive(Debug, Args)]
pub struct Check {
    #[command(flatten)]
    settings: Settings,
    /// Make ids and postings anew from the bodies first, and accept what is there as whole.
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
        let extractor = Extractor::new(Some(&config.base_url())).with_content(config.search_content);
        rebuild(&options, Some(&|_, json| keys(&extractor, json)))?;
        println!("Rebuilt.");
    }
    let report = check(&options)?;
    println!("Tenants: {}", report.tenants);
    println!("Resources: {}, versions: {}", report.resources, report.versions);
    println!("Postings: {}, entries of the change log: {}", report.postings, report.log_entries);
    println!("Records that are no resources: {}", report.kept);
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

/// The search keys of a stored resource; what does not parse has none, and the check names it.
fn keys(extractor: &Extractor, json: &[u8]) -> KeyList {
    match parse(json, usize::MAX) {
        Ok(Value::Object(resource)) => extractor.keys(&resource),
        _ => KeyList::default(),
    }
}

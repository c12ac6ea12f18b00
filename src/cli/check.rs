//! `pharos check`

use super::{Failure, Settings};
use clap::Args;

/// Verifies a store that no server has open; says what is wrong, and ends with an error where something is.
#[derive(Debug, Args)]
pub struct Check {
    #[command(flatten)]
    settings: Settings,
    /// Make all postings anew from the bodies.
    #[arg(long)]
    rebuild: bool,
}

/// Runs the check.
pub fn run(_check: &Check) -> Result<(), Failure> {
    Ok(())
}

//! `pharos audit`: the audit ledger of a store that no server has open. With a running server, ask `AuditEvent/$verify`.

use super::{Failure, OfTenant};
use crate::app::App;
use crate::audit::ledger::Verification;
use crate::store::ledger::id_of;
use crate::tenant::TenantId;
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// Looks after the audit ledger.
#[derive(Debug, Args)]
pub struct Audit {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    of: OfTenant,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Verify the chain and its checkpoints; ends with an error that names the first entry that was altered, moved or is missing.
    Verify(Verify),
    /// Print the public key that verifies checkpoints, as a JWK.
    Key,
}

#[derive(Debug, Args)]
struct Verify {
    /// Checkpoints that were kept outside, a line each, in place of those in the store.
    #[arg(long, value_name = "FILE")]
    checkpoints: Option<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// When the store can't be opened, or the ledger is not sound.
pub fn run(command: Audit) -> Result<(), Failure> {
    command.of.with_any(async |app, tenant| match command.action {
        Action::Verify(verify) => self::verify(app, tenant, &verify).await,
        Action::Key => {
            show(&app.ledger.signer().jwk().to_string());
            Ok(())
        }
    })
}

#[allow(clippy::print_stdout)]
fn show(line: &str) {
    println!("{line}");
}

async fn verify(app: &App, tenant: TenantId, verify: &Verify) -> Result<(), Failure> {
    let outside = match &verify.checkpoints {
        Some(path) => {
            let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
            Some(text.lines().filter(|line| !line.trim().is_empty()).map(ToOwned::to_owned).collect())
        }
        None => None,
    };
    let Verification { chain, checkpoints } = app.ledger.verify(tenant, outside).await?;
    show(&format!("Entries: {}, in {} blocks; checkpoints: {checkpoints}", chain.head.next, chain.blocks));
    if let Some((first, last)) = chain.span {
        show(&format!("From {} to {}", first.to_instant(), last.to_instant()));
    }
    let Some(first) = chain.faults.first() else {
        show("The ledger is whole.");
        return Ok(());
    };
    for fault in &chain.faults {
        show(&format!("AuditEvent/{}: {}", id_of(fault.entry), fault.what));
    }
    Err(format!("the ledger is not whole, first at AuditEvent/{}", id_of(first.entry)).into())
}

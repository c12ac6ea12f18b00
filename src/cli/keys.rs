//! `pharos keys`: the keys that sign tokens.

use super::client::words;
use super::{Failure, OfTenant, serve};
use clap::{Args, Subcommand};

/// Manages the signing keys in a store that no server has open.
#[derive(Debug, Args)]
pub struct Keys {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    of: OfTenant,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Replace the signing keys. Tokens that the old ones signed stay good until they end.
    Rotate(Rotate),
}

#[derive(Debug, Args)]
struct Rotate {
    /// Remove the old keys, as after a key became known: no token that they signed is good any more.
    #[arg(long)]
    drop_old: bool,
}

/// Runs the command.
///
/// # Errors
/// When the store can't be opened, or fails.
pub fn run(command: Keys) -> Result<(), Failure> {
    let Action::Rotate(rotate) = command.action;
    command.of.with(async |app, tenant| {
        app.auth.rotate_keys(tenant, rotate.drop_old).await.map_err(words)?;
        let note = format!("pharos keys rotate; drop_old: {}", rotate.drop_old);
        serve::note(app, tenant, "keys", "signing keys", note).await
    })
}

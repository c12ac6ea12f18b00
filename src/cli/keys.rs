//! `pharos keys`: the keys that sign tokens.

use super::client::words;
use super::{Failure, Settings, serve};
use crate::tenant::TenantId;
use clap::{Args, Subcommand};

/// Manages the signing keys in a store that no server has open.
#[derive(Debug, Args)]
pub struct Keys {
    #[command(subcommand)]
    action: Action,
    /// The number of the tenant; the default tenant if not given.
    #[arg(long, value_name = "T", global = true)]
    tenant: Option<u32>,
    #[command(flatten)]
    settings: Settings,
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
    let config = command.settings.load()?;
    serve::log_to_stderr(config.log_format);
    let app = serve::open(config)?;
    let tenant = command.tenant.map_or(TenantId::DEFAULT, TenantId);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let Action::Rotate(rotate) = command.action;
    let result = runtime.block_on(async {
        app.auth.rotate_keys(tenant, rotate.drop_old).await.map_err(words)?;
        let note = format!("pharos keys rotate; drop_old: {}", rotate.drop_old);
        serve::note(&app, tenant, "keys", "signing keys", note).await
    });
    app.stop();
    app.store().close()?;
    result
}

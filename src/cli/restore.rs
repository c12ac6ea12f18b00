//! `pharos restore`

use super::serve::{log_to_stderr, mongo_options, note, open, store_options};
use super::user::said;
use super::{Failure, Settings};
use crate::auth::agent::Agent;
use crate::clock::Micros;
use crate::config::{Config, StorePlace};
use crate::store::keys::OwnersKeys;
use crate::store::transfer::{Destination, Folder, Restored, keys_in};
use crate::tenant::TenantId;
use clap::Args;
use std::path::PathBuf;

/// Makes a store of the backups in a folder.
#[derive(Debug, Args)]
pub struct Restore {
    /// The folder of the backups.
    #[arg(long, value_name = "FOLDER")]
    from: PathBuf,
    /// Restore resources as they were at this moment, such as 2026-03-01T12:00:00Z; else as of the last backup.
    #[arg(long, value_name = "INSTANT")]
    until: Option<jiff::Timestamp>,
    /// The wrapped data keys: the folder `keys` of the store that was backed up, or a copy of it. Backups hold no key.
    #[arg(long, value_name = "FOLDER")]
    keys: Option<PathBuf>,
    /// Make sure that all files are whole, and restore nothing.
    #[arg(long)]
    check: bool,
    #[command(flatten)]
    settings: Settings,
}

/// Restores.
///
/// # Errors
/// Which file is not whole, or does not open with these keys; and where the store can't be made.
#[allow(clippy::print_stdout)]
pub fn run(command: Restore) -> Result<(), Failure> {
    let config = command.settings.load()?;
    log_to_stderr(config.log_format);
    let from = Folder::open(&command.from, command.until.map(|until| Micros(until.as_microsecond())))?;
    if command.check {
        println!("All files are as they were written.");
        return Ok(());
    }
    let keys = command.keys.as_deref().map(keys_in).transpose()?.unwrap_or_default();
    let Restored { number, moment, rows, destroyed } = destination(&config, &keys)?.restore(&from)?;
    let text = format!("pharos restore of backup {number}, as of {}", moment.to_instant());
    record(config, "restore", &command.from.display().to_string(), text)?;
    println!("Restored of backup {number}, as of {}: {rows} rows were read", moment.to_instant());
    for tenant in destroyed {
        println!("Not restored, but for its ledger: tenant {tenant}, whose keys were destroyed");
    }
    Ok(())
}

/// The store of the settings, to be filled.
pub(super) fn destination(config: &Config, keys: &[OwnersKeys]) -> Result<Destination, Failure> {
    match config.place()? {
        StorePlace::Folder(_) => Ok(Destination::embedded(&store_options(config)?, keys)?),
        StorePlace::MongoDb { address, key_file } => {
            Ok(Destination::mongo(&mongo_options(config, address, key_file), keys)?)
        }
    }
}

/// Records in a store that was filled how that came.
pub(super) fn record(config: Config, what: &'static str, name: &str, text: String) -> Result<(), Failure> {
    let app = open(config)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let recorded = runtime.block_on(async {
        app.tell_unwrapped(&Agent::operator()).await.map_err(said)?;
        note(&app, TenantId::DEFAULT, what, name, text).await
    });
    app.stop();
    app.store().close()?;
    recorded
}

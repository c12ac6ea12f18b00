//! `pharos backup`

use super::serve::{log_to_stderr, mongo_options, store_options};
use super::{Failure, Settings};
use crate::audit::{Event, Record};
use crate::auth::agent::Agent;
use crate::clock::{Clock, SystemClock};
use crate::config::{Config, StorePlace};
use crate::store::seal::STORE;
use crate::store::transfer::{Origin, Written};
use crate::tenant::TenantId;
use clap::Args;
use std::borrow::Cow;
use std::path::PathBuf;

/// Writes a backup of a store, of the moment at which it begins. A server that has the store open goes on serving.
#[derive(Debug, Args)]
pub struct Backup {
    /// The folder of the backups; what is new since the last one in it is added.
    #[arg(long, value_name = "FOLDER")]
    to: PathBuf,
    /// Write all, and not only what is new: a backup that stands on no earlier one.
    #[arg(long)]
    full: bool,
    #[command(flatten)]
    settings: Settings,
}

/// Writes a backup.
///
/// # Errors
/// When the store can't be read, or the folder not written to; or an earlier backup in it was altered.
#[allow(clippy::print_stdout)]
pub fn run(command: Backup) -> Result<(), Failure> {
    let config = command.settings.load()?;
    log_to_stderr(config.log_format);
    let origin = origin(&config)?;
    let to = command.to.display().to_string();
    // Before anything is read.
    record(&origin, "backup", &to, "pharos backup")?;
    let Written { number, moment, complete, added_to, rows, bytes } = origin.backup(&command.to, command.full)?;
    let note = format!("pharos backup, number {number}, of {}", moment.to_instant());
    record(&origin, "backup", &to, &note)?;
    println!("Backup {number} of {}: {rows} rows, {bytes} bytes", moment.to_instant());
    println!("All of {} tenants, what is new of {}", complete.len(), added_to.len());
    Ok(())
}

/// The store of the settings, to be read from. It may be served.
pub(super) fn origin(config: &Config) -> Result<Origin, Failure> {
    match config.place()? {
        StorePlace::Folder(_) => Ok(Origin::embedded(store_options(config)?)?),
        StorePlace::MongoDb { address, key_file } => Ok(Origin::mongo(mongo_options(config, address, key_file))?),
    }
}

/// Records in the ledger of the default tenant that all was read, and which keys were unwrapped for it.
pub(super) fn record(origin: &Origin, what: &'static str, name: &str, note: &str) -> Result<(), Failure> {
    let operator = Agent::operator();
    for key in origin.unwrapped() {
        let tenant = if key.owner == STORE { TenantId::DEFAULT } else { key.owner };
        let whose = if key.owner == STORE { "the store".to_owned() } else { format!("tenant {}", tenant.0) };
        let name = format!("key {} of {whose}", key.generation);
        let record = Record::of(Event::Unwrapping, Cow::Borrowed(&operator)).named(name);
        let record = record.saying(format!("{}, by {}", key.id, key.master));
        origin.record(tenant, record.entry(SystemClock.now())?)?;
    }
    let record = Record::of(Event::Administration(what.into()), Cow::Borrowed(&operator)).named(name).saying(note);
    origin.record(TenantId::DEFAULT, record.entry(SystemClock.now())?)?;
    Ok(())
}

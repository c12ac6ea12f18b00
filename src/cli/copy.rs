//! `pharos copy`

use super::backup::{self, origin};
use super::restore::{self, destination};
use super::serve::log_to_stderr;
use super::{Failure, Settings};
use crate::config::{KeyProvider, PreviousKey};
use crate::store::transfer::Tally;
use clap::Args;
use std::path::PathBuf;

/// Copies a store into another one, which must be new, or one whose copy was cut short. A server that has the first one open goes on serving.
#[derive(Debug, Args)]
pub struct Copy {
    /// The store that is read: file:PATH or mongodb://HOSTS/DATABASE.
    #[arg(long, value_name = "STORE")]
    from: String,
    /// The store that is made. Where its master key is, the settings say.
    #[arg(long, value_name = "STORE")]
    to: String,
    /// The file with the master key of the store that is read, if it is another than that of the settings.
    #[arg(long, value_name = "FILE")]
    from_key_file: Option<PathBuf>,
    /// Go on copying what is new until this process is ended. Then stop the server, and run it once more without this.
    #[arg(long)]
    follow: bool,
    #[command(flatten)]
    settings: Settings,
}

/// Copies.
///
/// # Errors
/// What can't be read or written. The same command goes on where this one was.
#[allow(clippy::print_stdout)]
pub fn run(command: Copy) -> Result<(), Failure> {
    let Copy { from, to, from_key_file, follow, settings } = command;
    if settings.store.is_some() {
        return Err("--store says nothing here: use --from and --to".into());
    }
    if from == to {
        return Err("--from and --to name the same store".into());
    }
    let key_file = from_key_file.or_else(|| settings.key_file.clone());
    let read = Settings { store: Some(from.clone()), key_file, ..settings.clone() }.load()?;
    let mut made = Settings { store: Some(to), ..settings }.load()?;
    log_to_stderr(made.log_format);
    if made.keys.provider == KeyProvider::File && made.keys.previous.is_none() {
        // What the key file of the one has wrapped is wrapped by that of the other.
        let key_file = super::serve::key_file(&read)?;
        made.keys.previous = Some(PreviousKey { key_file: Some(key_file), ..PreviousKey::default() });
    }
    let origin = origin(&read)?;
    let named = without_password(&from);
    backup::record(&origin, "copy", &named, "pharos copy")?;
    let destination = destination(&made, &origin.wrapped_keys()?)?;
    let tally = destination.copy(&origin, follow, &mut |rows| println!("{rows} rows"))?;
    made.keys.previous = None;
    restore::record(made, "copy", &named, "pharos copy".to_owned())?;
    show(&tally);
    Ok(())
}

/// A store's address as it may stand in the ledger: that of a database without who signs in there, and how.
fn without_password(store: &str) -> String {
    match store.split_once("://") {
        Some((scheme, rest)) => {
            let place = rest.rsplit_once('@').map_or(rest, |(_, place)| place);
            format!("{scheme}://{}", place.split('?').next().unwrap_or_default())
        }
        None => store.to_owned(),
    }
}

/// Prints what both stores hold.
#[allow(clippy::print_stdout)]
fn show(tally: &Tally) {
    println!("tenant\ttable\tcount\thash, the same on both sides");
    for ((tenant, table), sum) in tally {
        println!("{tenant}\t{table}\t{sum}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ledger_hears_of_no_password() {
        for (store, named) in [
            ("mongodb://eve:p@ss@one:27017,two/pharos?tls=true", "mongodb://one:27017,two/pharos"),
            ("mongodb+srv://eve:secret@cluster.example.org", "mongodb+srv://cluster.example.org"),
            ("mongodb://one/?authSource=admin", "mongodb://one/"),
            ("file:./pharos-data", "file:./pharos-data"),
        ] {
            assert_eq!(without_password(store), named);
        }
    }
}

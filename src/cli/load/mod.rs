//! `pharos load`: Bundles and NDJSON, plain or `.gz`, from files and folders, over HTTP or straight into a store.
//!
//! Whatever fails is printed with its file, its entry or line, and the server's reason; the rest goes on.

mod files;
mod inside;
mod items;
mod remote;
mod resume;
mod target;
mod work;

use super::{Failure, Settings};
use clap::Args;
pub(super) use inside::{Inside, describe};
pub(super) use remote::Remote;
use resume::Journal;
use std::path::PathBuf;
use std::process::ExitCode;
pub(super) use target::{Reason, Target};
use work::Summary;

/// Loads Bundles and NDJSON.
#[derive(Debug, Args)]
pub struct Load {
    /// Files (`.json`, `.ndjson`, each also with `.gz`) and folders of them.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Send to this FHIR base URL; without it, load into the store, which no server may have open.
    #[arg(long, value_name = "BASE")]
    url: Option<String>,
    /// The bearer token to send.
    #[arg(long, env = "PHAROS_LOAD_TOKEN", hide_env_values = true, requires = "url")]
    token: Option<String>,
    /// The name of the tenant to load into; the default tenant if not given.
    #[arg(long, value_name = "NAME", conflicts_with = "url")]
    tenant: Option<String>,
    /// Note in this file what is done, and skip what it says is done. Name the same file again to go on after an
    /// interruption, or to try again what failed.
    #[arg(long, value_name = "FILE")]
    resume: Option<PathBuf>,
    /// How many requests at once. With 1, everything is written in the order of file names and lines.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=64))]
    threads: u8,
    #[command(flatten)]
    settings: Settings,
}

/// Loads; succeeds when nothing failed.
#[must_use]
pub fn run(load: Load) -> ExitCode {
    match load.run() {
        Ok(summary) if summary.failed == 0 && !summary.stopped => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(failure) => {
            eprintln!("pharos: {failure}");
            ExitCode::FAILURE
        }
    }
}

impl Load {
    fn run(self) -> Result<Summary, Failure> {
        let inputs = files::find(&self.paths)?;
        let threads = usize::from(self.threads);
        let name = match (&self.url, &self.tenant) {
            (Some(url), _) => url.trim_end_matches('/').to_owned(),
            (None, tenant) => format!("tenant {}", tenant.as_deref().unwrap_or("default")),
        };
        let journal = self.resume.as_deref().map(|path| Journal::open(path, &name)).transpose()?;
        let target: Box<dyn Target> = match &self.url {
            Some(url) => Box::new(Remote::new(url, self.token.as_deref())?),
            None => Box::new(Inside::open(self.settings, self.tenant.as_deref())?),
        };
        let summary = work::load(&inputs, &*target, journal, threads)?;
        target.close()?;
        eprintln!("{summary}");
        Ok(summary)
    }
}

#[cfg(test)]
mod tests;

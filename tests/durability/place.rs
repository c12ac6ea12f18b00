//! Where the program keeps what it is given in a test that is about both stores.

use crate::support::mongodb::new_database;
use crate::support::{Client, Process, free_address};
use pharos::store::embedded::{Options, check};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A folder, in which a store is embedded or the key of a database lies.
pub struct Place {
    folder: TempDir,
    database: Option<String>,
}

impl Place {
    pub fn embedded() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), database: None }
    }

    /// `None`, which is said, where there is no MongoDB.
    pub fn on_mongodb() -> Option<Self> {
        Some(Self { database: Some(new_database()?), ..Self::embedded() })
    }

    pub const fn is_on_mongodb(&self) -> bool {
        self.database.is_some()
    }

    /// How often a test does the same: `few` times on MongoDB, whose stand-in does a few hundred writes a second.
    pub const fn rounds(&self, many: u64, few: u64) -> u64 {
        if self.is_on_mongodb() { few } else { many }
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn store(&self) -> PathBuf {
        self.folder().join("store")
    }

    /// Starts the program on it, open to everybody, with settings for what it does in bulk.
    pub fn serve(&self, of_bulk: &str) -> (Process, Client) {
        let address = free_address();
        let config = self.folder().join("pharos.toml");
        let limits = if self.is_on_mongodb() { "[limits]\nrequest_timeout_ms = 110000\n" } else { "" };
        let files = self.folder().join("exports");
        std::fs::write(&config, format!("[bulk]\nfolder = \"{}\"\n{of_bulk}\n{limits}", files.display())).unwrap();
        let store = self.database.clone().unwrap_or_else(|| format!("file:{}", self.store().display()));
        let [config, key] = [config, self.folder().join("store.key")].map(|path| path.display().to_string());
        let listen = address.to_string();
        let arguments = ["serve", "--insecure-open", "--listen", &listen, "--config", &config];
        let process = Process::start(arguments.into_iter().chain(["--store", &store, "--key-file", &key]));
        process.lines_until("serving FHIR");
        (process, Client::new(format!("http://{address}/fhir")))
    }

    /// Nothing is wrong with what was kept, as far as the check of an embedded store can tell.
    pub fn check(&self) {
        if !self.is_on_mongodb() {
            assert_eq!(check(&Options::at(self.store())).unwrap().problems, Vec::<String>::new());
        }
    }
}

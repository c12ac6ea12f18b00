//! Every setting with its default, and every limit with its name.
//!
//! Read from a TOML file, then from `PHAROS_*` variables (`PHAROS_LIMITS__PAGE_MAX=500`), then from flags.
//! `docs/configuration.md` lists each; `tests/tidy.rs` checks that it does.

mod audit;
mod auth;
mod bulk;
mod consent;
mod index;
mod keys;
mod network;
mod retention;
mod tls;

pub use audit::Audit;
pub use auth::{Auth, Claims, Provider, Registration, TrustedIssuer};
pub use bulk::{BucketPlace, Bulk, ImportSource, S3};
pub use consent::{Consent, Rule};
pub use index::{Index, IndexMode};
pub use keys::{AwsKmsKey, KeyProvider, Keys, PreviousKey, VaultKey};
pub use network::Network;
pub use retention::{Retention, RetentionRule, Then, What};
pub use tls::Tls;

use figment::Figment;
use figment::providers::{Env, Format, Serialized, Toml};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// `limits.drain_s` with MongoDB, where it is not set.
const DRAIN_S: u64 = 5;

/// Variables that begin with `PHAROS_` and set nothing here: the file's name, the master key, and what the tests are told.
const NOT_SETTINGS: [&str; 7] = ["config", "conformance", "load_token", "master_key", "r4_package", "synthea", "test"];
const OF_TESTS: &str = "test_";

fn is_no_setting(name: &str) -> bool {
    let is_of_tests = name.get(..OF_TESTS.len()).is_some_and(|start| start.eq_ignore_ascii_case(OF_TESTS));
    is_of_tests || NOT_SETTINGS.iter().any(|other| name.eq_ignore_ascii_case(other))
}

/// How the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// What happens to unknown search parameters where the request does not say (`Prefer: handling=`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Handling {
    /// They are an error.
    Strict,
    /// They are dropped, and named in the answer.
    Lenient,
}

/// All settings.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The address and port to listen on.
    pub listen: SocketAddr,
    /// Where the data is: `file:PATH`, or the connection string of a MongoDB, `mongodb://…/DATABASE`.
    pub store: String,
    /// The file with the master key, where `keys.provider` is `file`; `PATH.key` beside the store folder when not set. With MongoDB it must
    /// be set, to the same key for every process.
    pub key_file: Option<PathBuf>,
    /// The address by which clients reach the server, without a path: `https://fhir.example.org`. Every URL that the server
    /// makes starts with it. `http://` (with TLS `https://`) and the listening address when not set.
    pub public_url: Option<String>,
    /// Answers everybody. Only on a loopback address.
    pub insecure_open: bool,
    /// The proxies in front of the server: only they are believed when they tell by `Forwarded` or `X-Forwarded-For` from which
    /// address a request comes.
    pub trusted_proxies: Vec<Network>,
    /// The number of threads that take and answer requests; the number of cores when 0.
    pub workers: usize,
    /// What happens to unknown search parameters where the request does not say.
    pub handling: Handling,
    /// Whether the target of a reference must exist when a resource is written.
    pub check_references: bool,
    /// Whether `_content` is answered: the words of all texts of each resource are indexed when it is written.
    pub search_content: bool,
    /// `text` or `json`.
    pub log_format: LogFormat,
    /// The master key.
    pub keys: Keys,
    /// Transport security.
    pub tls: Tls,
    /// Authorization.
    pub auth: Auth,
    /// The audit ledger.
    pub audit: Audit,
    /// Patients' consents.
    pub consent: Consent,
    /// The index of search keys.
    pub index: Index,
    /// What is kept for how long.
    pub retention: Retention,
    /// Bulk Data.
    pub bulk: Bulk,
    /// The limits.
    pub limits: Limits,
}

/// Where a store is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StorePlace {
    /// In a folder: the embedded store.
    Folder(PathBuf),
    /// On MongoDB.
    MongoDb {
        /// The connection string.
        address: String,
        /// The file with the master key.
        key_file: PathBuf,
    },
}

/// Every limit. A request over a limit gets an answer that names it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// The size of a body, after decompression.
    pub body_bytes: usize,
    /// How many arrays and objects may stand inside each other in a body.
    pub json_depth: usize,
    /// The number of entries of a batch or transaction.
    pub bundle_entries: usize,
    /// The entries of a page where `_count` does not say.
    pub page_default: usize,
    /// The greatest `_count`; a greater one is lowered to it.
    pub page_max: usize,
    /// The length of a request's URL.
    pub url_bytes: usize,
    /// The parameters of a search.
    pub search_clauses: usize,
    /// The alternatives, after commas, of one search parameter.
    pub search_or_values: usize,
    /// The key lists and runs of postings that one search may read.
    pub search_steps: u64,
    /// The time for one search, in milliseconds.
    pub search_timeout_ms: u64,
    /// The links of a chain or of nested `_has`.
    pub chain_depth: usize,
    /// The rounds of `:iterate`.
    pub include_depth: usize,
    /// The resources that `_include` and `_revinclude` add to a page.
    pub include_max: usize,
    /// The resources that one conditional delete may delete.
    pub conditional_delete_max: usize,
    /// The steps that the path of one operation of a FHIRPath Patch may take, and for one resource the expressions of all stored
    /// SearchParameters together.
    pub fhirpath_steps: usize,
    /// The time for one request, in milliseconds, from its last byte to its answer.
    pub request_timeout_ms: u64,
    /// The time for a request's headers to arrive, in milliseconds.
    pub header_timeout_ms: u64,
    /// The time between two parts of a body, in milliseconds.
    pub body_stall_timeout_ms: u64,
    /// The least average speed of a body after its first ten seconds, in bytes a second.
    pub body_bytes_per_s: u64,
    /// The connections at a time, of each worker.
    pub connections: usize,
    /// How long a server that SIGTERM tells to stop still takes requests, in seconds, while it says that it is not ready; 5 with MongoDB and 0
    /// with the embedded store when not set.
    pub drain_s: Option<u64>,
    /// The time that requests under way get at a shutdown, in seconds.
    pub shutdown_timeout_s: u64,
    /// The time that a page link stays valid, in seconds.
    pub cursor_lifetime_s: u64,
    /// The requests of one client in a second, on average over ten seconds; no limit when 0. Who shows no good token is counted by
    /// address.
    pub client_requests_per_s: u32,
    /// The requests of all clients of a tenant in a second, on average over ten seconds; no limit when 0.
    pub tenant_requests_per_s: u32,
    /// The jobs of a tenant that wait or are at work.
    pub jobs_per_tenant: usize,
    /// The deferred requests (`Prefer: respond-async`) that a process performs at a time.
    pub deferred_at_once: usize,
    /// Those of one tenant.
    pub deferred_at_once_per_tenant: usize,
    /// The bytes that a tenant may store: of all versions of its resources, as they are kept; no limit when 0.
    pub tenant_storage_bytes: u64,
    /// The tenants, beside the default tenant and those that were deleted.
    pub tenants: usize,
    /// The time that a job which has ended can be asked about, in seconds.
    pub job_lifetime_s: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            store: "file:./pharos-data".to_owned(),
            key_file: None,
            public_url: None,
            insecure_open: false,
            trusted_proxies: Vec::new(),
            workers: 0,
            handling: Handling::Strict,
            check_references: false,
            search_content: false,
            log_format: LogFormat::Text,
            keys: Keys::default(),
            tls: Tls::default(),
            auth: Auth::default(),
            audit: Audit::default(),
            consent: Consent::default(),
            index: Index::default(),
            retention: Retention::default(),
            bulk: Bulk::default(),
            limits: Limits::default(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 64 << 20,
            json_depth: 100,
            bundle_entries: 5_000,
            page_default: 20,
            page_max: 1_000,
            url_bytes: 8_192,
            search_clauses: 64,
            search_or_values: 500,
            search_steps: 50_000_000,
            search_timeout_ms: 15_000,
            chain_depth: 8,
            include_depth: 4,
            include_max: 1_000,
            conditional_delete_max: 100,
            fhirpath_steps: 1_000_000,
            request_timeout_ms: 30_000,
            header_timeout_ms: 10_000,
            body_stall_timeout_ms: 10_000,
            body_bytes_per_s: 1_000,
            connections: 10_000,
            drain_s: None,
            shutdown_timeout_s: 30,
            cursor_lifetime_s: 86_400,
            client_requests_per_s: 2_000,
            tenant_requests_per_s: 20_000,
            jobs_per_tenant: 10,
            deferred_at_once: 4,
            deferred_at_once_per_tenant: 2,
            tenant_storage_bytes: 0,
            tenants: 1_000,
            job_lifetime_s: 7 * 86_400,
        }
    }
}

/// Why the settings can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A source has an unknown name, a wrong type, or can't be read.
    #[error("{0}")]
    Source(String),
    /// A setting's value makes no sense.
    #[error("{setting}: {reason}")]
    Value {
        /// Its name.
        setting: &'static str,
        /// What is wrong, and what would be right.
        reason: String,
    },
}

impl Config {
    /// Reads the settings: defaults, then `file` (which must exist where it is named), then `PHAROS_*`.
    ///
    /// # Errors
    /// When a source can't be read, or has a name that is no setting.
    pub fn load(file: Option<&Path>) -> Result<Self, ConfigError> {
        let mut figment = Figment::from(Serialized::defaults(Self::default()));
        if let Some(file) = file {
            figment = figment.merge(Toml::file_exact(file));
        }
        let variables = Env::prefixed("PHAROS_").split("__").filter(|key| !is_no_setting(key.as_str()));
        figment.merge(variables).extract().map_err(|error| ConfigError::Source(error.to_string()))
    }

    /// Checks the values against each other.
    ///
    /// # Errors
    /// Names the first setting that can't be used.
    pub fn check(&self) -> Result<(), ConfigError> {
        let wrong = |setting, reason: &str| Err(ConfigError::Value { setting, reason: reason.to_owned() });
        if self.insecure_open && !self.listen.ip().is_loopback() {
            return wrong("insecure_open", "an open server may listen on a loopback address only");
        }
        if let Some(url) = &self.public_url
            && !(url.starts_with("http://") || url.starts_with("https://"))
        {
            return wrong("public_url", "must start with http:// or https://");
        }
        if self.limits.page_default == 0 || self.limits.page_default > self.limits.page_max {
            return wrong("limits.page_default", "must be at least 1 and at most limits.page_max");
        }
        if self.limits.deferred_at_once == 0 {
            return wrong("limits.deferred_at_once", "must be at least 1");
        }
        if self.limits.deferred_at_once_per_tenant == 0 {
            return wrong("limits.deferred_at_once_per_tenant", "must be at least 1");
        }
        if let Some((setting, reason)) = self
            .auth
            .fault()
            .or_else(|| self.retention.fault())
            .or_else(|| self.bulk.fault())
            .or_else(|| self.index.fault())
        {
            return wrong(setting, reason);
        }
        self.tls.check()?;
        self.keys.check()?;
        self.place().map(|_| ())
    }

    /// Where the store is.
    ///
    /// # Errors
    /// When `store` names no kind of store, or one on MongoDB without a `key_file`.
    pub fn place(&self) -> Result<StorePlace, ConfigError> {
        let wrong = |setting, reason: &str| Err(ConfigError::Value { setting, reason: reason.to_owned() });
        if self.store.starts_with("mongodb://") {
            let is_in_file = self.keys.provider == KeyProvider::File;
            if is_in_file && self.key_file.is_none() {
                return wrong(
                    "key_file",
                    "must be set for a store on MongoDB: every process needs the same master key",
                );
            }
            let key_file = self.key_file.clone().unwrap_or_default();
            return Ok(StorePlace::MongoDb { address: self.store.clone(), key_file });
        }
        match self.store.strip_prefix("file:").filter(|path| !path.is_empty()) {
            Some(path) => Ok(StorePlace::Folder(path.into())),
            None => wrong("store", "must be file: and a folder, or a connection string that begins with mongodb://"),
        }
    }

    /// The folder of the embedded store.
    ///
    /// # Errors
    /// When `store` names another kind of store.
    pub fn store_path(&self) -> Result<PathBuf, ConfigError> {
        match self.place()? {
            StorePlace::Folder(path) => Ok(path),
            StorePlace::MongoDb { .. } => {
                Err(ConfigError::Value { setting: "store", reason: "must be file: and a folder here".to_owned() })
            }
        }
    }

    /// The folder of the files of exports, where the settings name none.
    #[must_use]
    pub fn exports_path(&self) -> PathBuf {
        let Ok(path) = self.store_path() else { return PathBuf::from("pharos-exports") };
        let mut path = path.into_os_string();
        path.push("-exports");
        path.into()
    }

    /// How long a server that is told to stop still takes requests: where another process serves the same store, until whoever sends them
    /// has found that out.
    #[must_use]
    pub fn drain(&self) -> Duration {
        let unless_set = if matches!(self.place(), Ok(StorePlace::MongoDb { .. })) { DRAIN_S } else { 0 };
        Duration::from_secs(self.limits.drain_s.unwrap_or(unless_set))
    }

    /// `public_url` or what stands for it, without a slash at the end.
    #[must_use]
    pub fn public_url(&self) -> String {
        self.public_url.as_ref().map_or_else(
            || format!("{}://{}", if self.tls.is_on() { "https" } else { "http" }, self.listen),
            |url| url.trim_end_matches('/').to_owned(),
        )
    }

    /// The FHIR base URL of the default tenant, without a slash at the end.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("{}/fhir", self.public_url())
    }
}

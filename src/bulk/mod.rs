//! Bulk Data: <https://hl7.org/fhir/uv/bulkdata/export.html>, version 3.0.0, which clients of 2.0 understand, too.
//!
//! An export is a job ([`export`]). What is to be exported is decided on one snapshot when it is asked for, under the grant of the
//! request, and is written down as lists of resource numbers ([`pins`]) with the moment of that snapshot. The job then reads
//! each resource as it was at that moment, from the current version or from history, and appends it to a file ([`files`]),
//! sealed and chunk by chunk. When it is done, [`manifest`] tells which files there are.
//!
//! An import ([`import`]) is a job, too: what it is to store is read into files of its own first ([`source`]), with an
//! access token where its source wants one ([`credentials`]).

pub mod bucket;
pub mod credentials;
pub mod export;
pub mod files;
pub mod import;
pub mod lines;
pub mod manifest;
mod pause;
pub mod pins;
pub mod pull;
pub mod purged;
pub mod s3;
pub mod shelf;
pub mod source;
pub mod sweep;

use crate::auth::agent::Agent;
use crate::auth::grant::Grant;
use crate::auth::rate::Rates;
use crate::clock::{Clock, Micros};
use crate::config;
use crate::error::{Category, Error, Result};
use crate::jobs::{Job, State};
use crate::store::Store;
use crate::tenant::TenantId;
use bucket::Bucket;
use files::Place;
use serde::{Deserialize, Serialize};
use shelf::{Disk, Shelf};
use source::Sources;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How often the status of one export may be asked for, on average over [`POLLS_WINDOW`].
const POLLS_INTERVAL: Duration = Duration::from_millis(500);
const POLLS_WINDOW: Duration = Duration::from_secs(10);

/// Seconds to wait for a place among the exports of a tenant.
const RETRY_AFTER_S: u32 = 600;

/// An export that is not done after so long can't go on, in microseconds.
pub const LONGEST: i64 = 7 * 86_400_000_000;

/// What is asked for: the parameters of the job.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Asked {
    /// The URL of the request.
    pub request: String,
    /// The base URL, without a slash at the end.
    pub base: String,
    /// The moment of the snapshot, in microseconds since 1970.
    pub moment: i64,
    /// What is to be exported, in the order of the files.
    pub lists: Vec<List>,
    /// `organizeOutputBy`.
    #[serde(default)]
    pub organized_by: Option<String>,
    /// `allowPartialManifests`.
    #[serde(default)]
    pub is_partial: bool,
    /// `_elements`.
    #[serde(default)]
    pub elements: Option<String>,
    /// What the client is told in a file of errors.
    #[serde(default)]
    pub notes: Vec<Note>,
    /// What the request might reach of each type, in a form that can be held against another request's.
    #[serde(default)]
    pub reach: BTreeMap<Box<str>, String>,
}

/// A list of what is to be exported.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct List {
    /// The resource type; in blocks that of the instances that have them.
    pub type_name: Box<str>,
    /// What is written of it.
    #[serde(default)]
    pub form: Form,
    /// In how many pieces it is kept.
    pub chunks: u32,
    /// How many resources it has.
    pub count: u64,
}

/// What is written of a list.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    /// The resources.
    #[default]
    Resources,
    /// The resources in [blocks](pins::BLOCK), each below a header.
    Blocks,
    /// That they were deleted.
    Deletions,
}

/// An issue of an OperationOutcome in a file of errors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// A code of <http://hl7.org/fhir/issue-type>.
    pub code: Box<str>,
    /// A sentence.
    pub text: Box<str>,
}

/// Where exports and the files of imports are kept, and how.
pub struct Exports {
    folder: PathBuf,
    shelf: Arc<dyn Shelf>,
    lifetime: i64,
    file_bytes: u64,
    manifest_files: usize,
    kept: usize,
    kept_answers: usize,
    free_floor: u64,
    polls: Rates,
    sources: Arc<Sources>,
    import_inputs: usize,
}

impl Exports {
    /// By the settings; `folder` is used where they name none.
    #[must_use]
    pub fn new(settings: &config::Bulk, folder: PathBuf, clock: Arc<dyn Clock>) -> Self {
        let folder = settings.folder.clone().unwrap_or(folder);
        let shelf: Arc<dyn Shelf> = match settings.bucket() {
            Some(place) => Arc::new(Bucket::new(&settings.s3, &place)),
            None => Arc::new(Disk(folder.clone())),
        };
        Self {
            folder,
            shelf,
            lifetime: i64::try_from(settings.lifetime_s.saturating_mul(1_000_000)).unwrap_or(i64::MAX),
            file_bytes: settings.file_bytes,
            manifest_files: settings.manifest_files.max(1),
            kept: settings.kept_exports,
            kept_answers: settings.kept_answers,
            free_floor: settings.free_floor_mib.saturating_mul(1 << 20),
            polls: Rates::new(POLLS_INTERVAL, POLLS_WINDOW),
            sources: Arc::new(Sources::new(settings, clock)),
            import_inputs: settings.import_inputs,
        }
    }

    /// The free space below which nothing is written, in bytes.
    #[must_use]
    pub const fn free_floor(&self) -> u64 {
        self.free_floor
    }

    /// The length of a file, about, in bytes.
    #[must_use]
    pub const fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// The files on one page of a manifest that may have several.
    #[must_use]
    pub const fn manifest_files(&self) -> usize {
        self.manifest_files
    }

    /// What imports read from.
    #[must_use]
    pub const fn sources(&self) -> &Arc<Sources> {
        &self.sources
    }

    /// The most inputs of one import.
    #[must_use]
    pub const fn import_inputs(&self) -> usize {
        self.import_inputs
    }

    /// Where the files of a job are.
    #[must_use]
    pub fn place(&self, store: &Store, grant: &Grant, job: &str) -> Place {
        let (shelf, folder) = (Arc::clone(&self.shelf), format!("{}/{job}", grant.tenant().0).into());
        Place { store: store.clone(), grant: grant.clone(), job: job.into(), shelf, folder }
    }

    /// The folder of a tenant's exports, where they are in one.
    #[must_use]
    pub fn folder_of_tenant(&self, tenant: TenantId) -> PathBuf {
        self.folder.join(tenant.0.to_string())
    }

    /// The folder of one export, where it is in one.
    #[must_use]
    pub fn folder_of(&self, tenant: TenantId, job: &str) -> PathBuf {
        self.folder_of_tenant(tenant).join(job)
    }

    /// Until when the files of an export that has ended can be had.
    #[must_use]
    pub const fn expires(&self, job: &Job) -> Option<Micros> {
        match job.ended {
            Some(ended) => Some(Micros(ended.saturating_add(self.lifetime))),
            None => None,
        }
    }

    /// Whether there is anything left of an export to be had, or to be waited for.
    #[must_use]
    pub fn is_kept(&self, job: &Job, now: Micros) -> bool {
        !job.is_cancelled && job.state != State::Cancelled && self.expires(job).is_none_or(|expires| now < expires)
    }

    /// Whether another export may be asked for, where these jobs are there.
    ///
    /// # Errors
    /// 429 where as many are kept as `bulk.kept_exports` allows.
    pub fn check_room(&self, jobs: &[Job], now: Micros) -> Result<()> {
        let is_kept = |job: &&Job| job.kind == export::KIND && job.state != State::Failed && self.is_kept(job, now);
        if jobs.iter().filter(is_kept).count() < self.kept {
            return Ok(());
        }
        Err(throttled(
            "There are as many exports as bulk.kept_exports allows: delete one whose files are not needed any more.",
            RETRY_AFTER_S,
        ))
    }

    /// Whether somebody may ask for another request to be answered later, where these jobs are there.
    ///
    /// # Errors
    /// 429 where as many answers of theirs are kept as `bulk.kept_answers` allows.
    pub fn check_room_for_answer(&self, jobs: &[Job], owner: &Agent, now: Micros) -> Result<()> {
        let is_theirs = |job: &Job| job.owner.client == owner.client && job.owner.user == owner.user;
        let is_kept =
            |job: &&Job| job.kind == DEFERRED && is_theirs(job) && job.state != State::Failed && self.is_kept(job, now);
        if jobs.iter().filter(is_kept).count() < self.kept_answers {
            return Ok(());
        }
        Err(throttled(
            "As many of your answers are kept as bulk.kept_answers allows: delete a job whose answer is not needed any more.",
            RETRY_AFTER_S,
        ))
    }

    /// Counts that somebody asked for the status of a job.
    ///
    /// # Errors
    /// 429 for who asks too often.
    pub fn count_poll(&self, tenant: TenantId, job: &str) -> Result<()> {
        self.polls.count((tenant, job)).map_err(|wait_s| {
            throttled("The status is asked for too often: wait for as long as Retry-After says.", wait_s)
        })
    }
}

fn throttled(text: &'static str, retry_after_s: u32) -> Error {
    let mut error = Error::new(Category::TooManyRequests, "throttled", text);
    error.retry_after_s = Some(retry_after_s);
    error
}

/// The kind of work that performs a request later ([`crate::interaction::deferred`]): its answer is a file, too.
pub const DEFERRED: &str = "deferred";

/// Whether a job of this kind makes files.
#[must_use]
pub fn has_files(job: &Job) -> bool {
    [export::KIND, import::KIND, DEFERRED].contains(&job.kind.as_str())
}

/// What the job of an export was asked for.
///
/// # Errors
/// When it can't be read.
pub fn asked(job: &Job) -> Result<Asked> {
    serde_json::from_value(job.parameters.clone()).map_err(Error::internal)
}

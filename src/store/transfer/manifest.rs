//! The manifests of a folder with backups: `000001.json` and so on, each written when all files of its backup are on disk.
//!
//! A manifest is plain JSON that tells numbers, times and hashes. A hash over it is sealed under the key of the ledgers, and it has the hash of
//! the manifest before it: so neither can be altered, nor one be put in another's place.

use super::content::{Mark, Marks};
use super::files::{FileFacts, Open, check, io};
use crate::clock::{Clock, SystemClock};
use crate::store::embedded::sync_folder;
use crate::store::keys::hex;
use crate::store::schema::{BESIDE, WRITES};
use crate::store::seal::STORE;
use crate::store::{StoreError, StoreResult};
use crate::tenant::TenantId;
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

/// What this program writes.
const FORMAT: u32 = 1;

/// One backup of a folder.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Manifest {
    pub format: u32,
    pub number: u32,
    /// Told from all other backups by this.
    pub id: String,
    /// The hash of the manifest before it.
    pub previous: Option<String>,
    /// On which line of changes the store is: [`super::content::line`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<String>,
    /// The schema in which the newest of its rows may be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<u32>,
    /// The schema in which the oldest of its rows may be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest: Option<u32>,
    /// Of which moment it is, in microseconds since 1970, and as an instant.
    pub moment: i64,
    pub instant: String,
    pub tenants: Vec<OfTenant>,
    pub files: Vec<FileFacts>,
    /// The hash over all the rest, sealed.
    pub seal: String,
}

/// What a backup has of a tenant.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct OfTenant {
    pub tenant: u32,
    /// Whether it is all, or what is new since the backup before.
    pub is_complete: bool,
    /// Whether its rows are of several moments, and only with the last of them of one.
    pub is_in_parts: bool,
    pub mark: Mark,
    /// The keys that what is sealed may be under, in this backup and those that it stands on.
    pub keys: Vec<String>,
}

impl Manifest {
    /// `oldest`: see [`Manifest::oldest_rows`].
    pub(super) fn new(number: u32, previous: Option<&Self>, line: Option<String>, oldest: u32) -> StoreResult<Self> {
        let previous = previous.map(Self::hash).transpose()?;
        let (tenants, files) = (Vec::new(), Vec::new());
        let (id, moment) = (SystemClock.new_id(), SystemClock.now());
        let (moment, instant) = (moment.0, moment.to_instant());
        let (format, schema, oldest, seal) = (FORMAT, Some(WRITES), Some(oldest), String::new());
        Ok(Self { format, number, id, previous, line, schema, oldest, moment, instant, tenants, files, seal })
    }

    /// The oldest schema of which it may have rows; one that does not tell may be of any that a store could have then.
    pub(super) fn oldest_rows(&self) -> u32 {
        self.oldest.unwrap_or(BESIDE)
    }

    /// What is known of a tenant.
    pub(super) fn of(&self, tenant: u32) -> Option<&OfTenant> {
        self.tenants.iter().find(|of| of.tenant == tenant)
    }

    /// Up to where all tenants are known with it.
    pub(super) fn marks(&self) -> Marks {
        self.tenants.iter().map(|of| (of.tenant, of.mark)).collect()
    }

    fn bytes(&self) -> StoreResult<Vec<u8>> {
        serde_json::to_vec_pretty(self).map_err(|error| StoreError::Io(error.to_string()))
    }

    fn hash(&self) -> StoreResult<String> {
        Ok(hex(digest(&SHA256, &self.bytes()?).as_ref()))
    }

    fn sealed_name(&self) -> String {
        format!("backup {} manifest {}", self.id, self.number)
    }

    fn hash_without_seal(&self) -> StoreResult<String> {
        Self { seal: String::new(), ..self.clone() }.hash()
    }

    /// Seals it and writes it: from then on the backup is there.
    pub(super) fn write(
        mut self,
        folder: &Path,
        seal: impl FnOnce(TenantId, &str, &[u8]) -> StoreResult<Vec<u8>>,
    ) -> StoreResult<()> {
        let hash = self.hash_without_seal()?;
        self.seal = STANDARD.encode(seal(STORE, &self.sealed_name(), hash.as_bytes())?);
        let (path, new) = (path(folder, self.number), folder.join("manifest.new"));
        let bytes = self.bytes()?;
        let written = File::create(&new).and_then(|mut file| {
            file.write_all(&bytes)?;
            file.sync_all()?;
            std::fs::rename(&new, &path)?;
            sync_folder(folder)
        });
        written.map_err(|error| io(&path, &error))
    }

    /// Makes sure that it is as it was written.
    pub(super) fn check_seal(&self, folder: &Path, open: Open<'_>) -> StoreResult<()> {
        let path = path(folder, self.number);
        let wrong = |why: &str| StoreError::Damaged(format!("{}: {why}", path.display()));
        let sealed = STANDARD.decode(&self.seal).map_err(|_| wrong("its seal can't be read"))?;
        let opened = open(STORE, &self.sealed_name(), &sealed);
        let opened = opened.map_err(|error| wrong(&format!("its seal does not open with these keys: {error}")))?;
        if opened == self.hash_without_seal()?.as_bytes() { Ok(()) } else { Err(wrong("it was altered")) }
    }

    /// Makes sure that its files are as they were written.
    pub(super) fn check_files(&self, folder: &Path) -> StoreResult<()> {
        self.files.iter().try_for_each(|facts| check(folder, facts))
    }
}

pub(super) fn path(folder: &Path, number: u32) -> PathBuf {
    folder.join(format!("{number:06}.json"))
}

/// With which of some backups a tenant begins: the last one that has all of it. `None` where that is not there any more.
pub(super) fn start_of(manifests: &[Manifest], tenant: u32) -> Option<u32> {
    let is_complete = |one: &&Manifest| one.of(tenant).is_some_and(|of| of.is_complete);
    manifests.iter().rev().find(is_complete).map(|one| one.number)
}

/// The manifests of a folder, in order. None is missing between them.
pub(super) fn load(folder: &Path) -> StoreResult<Vec<Manifest>> {
    let mut found: Vec<Manifest> = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|error| io(folder, &error))? {
        let file = entry.map_err(|error| io(folder, &error))?.path();
        if file.extension().is_none_or(|ending| ending != "json") {
            continue;
        }
        let bytes = std::fs::read(&file).map_err(|error| io(&file, &error))?;
        let wrong = |why: &str| StoreError::Damaged(format!("{}: {why}", file.display()));
        let manifest: Manifest = serde_json::from_slice(&bytes).map_err(|_| wrong("it can't be read"))?;
        if manifest.format != FORMAT || manifest.schema.is_some_and(|schema| schema > WRITES) {
            return Err(wrong("it is of another version of Pharos"));
        }
        if path(folder, manifest.number) != file {
            return Err(wrong("it is another backup's"));
        }
        found.push(manifest);
    }
    found.sort_by_key(|manifest| manifest.number);
    for pair in found.windows(2) {
        let [one, next] = pair else { continue };
        let (path, before) = (path(folder, next.number), path(folder, one.number));
        if next.number != one.number + 1 {
            let missing = one.number + 1;
            return Err(StoreError::Damaged(format!("{}: backup {missing} before it is missing", path.display())));
        }
        if next.previous != Some(one.hash()?) {
            let (before, path) = (before.display(), path.display());
            return Err(StoreError::Damaged(format!(
                "{before} is not the manifest that {path} follows: one of them was altered"
            )));
        }
    }
    Ok(found)
}

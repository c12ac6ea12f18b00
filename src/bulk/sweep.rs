//! What is left of exports that are over: files after their time, and all of those that failed or were cancelled.

use super::{Exports, asked, pins};
use crate::auth::records;
use crate::clock::Micros;
use crate::error::{Error, Result};
use crate::jobs::{Job, State};
use crate::retention::spare;
use crate::store::Store;
use crate::tenant::TenantId;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;
use std::{fs, io};

/// A folder without a job is left alone for so long.
const YOUNG: Duration = Duration::from_mins(10);

fn is_old(folder: &Path) -> bool {
    let age = folder.metadata().and_then(|about| about.modified()).ok().and_then(|made| made.elapsed().ok());
    age.is_some_and(|age| age > YOUNG)
}

impl Exports {
    /// Removes it; answers how many exports that were.
    ///
    /// # Errors
    /// When the store or the disk fails.
    pub async fn sweep(&self, store: &Store, tenant: TenantId, now: Micros) -> Result<usize> {
        let keeper = store.keeper();
        let mut known: BTreeSet<Box<str>> = BTreeSet::new();
        match fs::read_dir(self.folder_of_tenant(tenant)) {
            Ok(folders) => known.extend(folders.filter_map(|entry| Some(entry.ok()?.file_name().to_str()?.into()))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::internal(format!("the folder of exports: {error}"))),
        }
        let spared: BTreeSet<_> = spare::under_way(&*keeper, tenant)?.into_iter().collect();
        let mut removed = 0;
        for id in known.union(&spared) {
            let job = records::get::<Job>(&*keeper, tenant, id)?.map(|(job, _)| job);
            let is_over = match &job {
                Some(job) => job.state == State::Failed || !self.is_kept(job, now),
                // An export that is only beginning has no job and no folder yet; what is uploaded for an import has no job yet.
                None => known.contains(id) && is_old(&self.folder_of(tenant, id)),
            };
            if is_over {
                self.remove(store, tenant, id, job.as_ref()).await?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// Removes the files of all exports and imports of a tenant that was deleted.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn remove_all(&self, tenant: TenantId) -> Result<()> {
        removed(fs::remove_dir_all(self.folder_of_tenant(tenant)))
    }

    /// Removes what there is of an export, but for its job.
    ///
    /// # Errors
    /// As [`Exports::sweep`].
    pub async fn remove(&self, store: &Store, tenant: TenantId, id: &str, job: Option<&Job>) -> Result<()> {
        let lists = job.and_then(|job| asked(job).ok()).map(|asked| asked.lists).unwrap_or_default();
        let mut keeps = pins::removals(id, &lists);
        keeps.push(spare::end(id));
        store.keeper().keep(tenant, keeps).await?;
        removed(fs::remove_dir_all(self.folder_of(tenant, id)))
    }
}

fn removed(done: io::Result<()>) -> Result<()> {
    match done {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::internal(format!("the folder of an export: {error}")))
        }
        _ => Ok(()),
    }
}

//! What is left of exports that are over: files after their time, and all of those that failed or were cancelled.

use super::shelf::Shelf;
use super::{Exports, asked, pins};
use crate::auth::records;
use crate::clock::Micros;
use crate::error::{Error, Result};
use crate::jobs::{Job, State};
use crate::retention::spare;
use crate::store::Store;
use crate::tenant::TenantId;
use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// A folder without a job is left alone for so long.
const YOUNG: Duration = Duration::from_mins(10);

impl Exports {
    /// Removes it; answers how many exports that were.
    ///
    /// # Errors
    /// When the store or the disk fails.
    pub async fn sweep(&self, store: &Store, tenant: TenantId, now: Micros) -> Result<usize> {
        let keeper = store.keeper();
        let mut known: BTreeSet<Box<str>> = BTreeSet::new();
        known.extend(self.on_shelf(move |shelf| shelf.folders(&tenant.0.to_string())).await?);
        let spared: BTreeSet<_> = spare::under_way(&*keeper, tenant)?.into_iter().collect();
        let mut removed = 0;
        for id in known.union(&spared) {
            let job = records::get::<Job>(&*keeper, tenant, id)?.map(|(job, _)| job);
            let is_over = match &job {
                Some(job) => job.state == State::Failed || !self.is_kept(job, now),
                // An export that is only beginning has no job and no folder yet; what is uploaded for an import has no job yet.
                None => known.contains(id) && self.is_old(tenant, id).await,
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
    pub async fn remove_all(&self, tenant: TenantId) -> Result<()> {
        self.on_shelf(move |shelf| shelf.remove_all(&tenant.0.to_string())).await
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
        let folder = format!("{}/{id}", tenant.0);
        self.on_shelf(move |shelf| shelf.remove_all(&folder)).await
    }

    async fn is_old(&self, tenant: TenantId, id: &str) -> bool {
        let folder = format!("{}/{id}", tenant.0);
        let age = self.on_shelf(move |shelf| shelf.age(&folder)).await;
        age.ok().flatten().is_some_and(|age| age > YOUNG)
    }

    /// Does something with the shelf where it may block.
    async fn on_shelf<T: Send + 'static>(
        &self,
        work: impl FnOnce(&dyn Shelf) -> io::Result<T> + Send + 'static,
    ) -> Result<T> {
        let shelf = Arc::clone(&self.shelf);
        let done = tokio::task::spawn_blocking(move || work(&*shelf)).await.map_err(Error::internal)?;
        done.map_err(|error| Error::unavailable("The files of exports can't be reached at the moment.", error))
    }
}

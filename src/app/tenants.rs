//! Changes of tenants, with all that goes along: another form of the index, and the work that erases a deleted one.

use super::App;
use crate::auth::witness::Witness;
use crate::error::Result;
use crate::jobs::{Job, New, State as JobState};
use crate::retention::{compaction, hold, tenant as erasure};
use crate::tenant::{State, Tenant, TenantId};
use serde_json::Value;

impl App {
    /// Makes a tenant as described: see [`crate::auth::tenants::Tenants::create`].
    ///
    /// # Errors
    /// As there.
    pub async fn create_tenant(&self, given: &Value, witness: Option<&Witness>) -> Result<Tenant> {
        let tenant = self.tenants().create(given, self.config.limits.tenants, self.now(), witness).await?;
        self.settle_index(tenant.id()).await?;
        Ok(tenant)
    }

    /// Says anew what can be said of a tenant: see [`crate::auth::tenants::Tenants::configure`].
    ///
    /// # Errors
    /// As there.
    pub async fn configure_tenant(
        &self,
        name: &str,
        version: Option<u64>,
        given: &Value,
        witness: Option<&Witness>,
    ) -> Result<Tenant> {
        let tenant = self.tenants().configure(name, version, given, witness).await?;
        self.settle_index(tenant.id()).await?;
        Ok(tenant)
    }

    /// Deletes a tenant: from now on it is gone for everybody, and a job erases what is stored of it.
    ///
    /// # Errors
    /// As [`crate::auth::tenants::Tenants::set_state`]; 409 while there is a legal hold in it.
    pub async fn delete_tenant(&self, name: &str, version: Option<u64>, witness: Option<&Witness>) -> Result<Tenant> {
        let id = self.tenants().named(name)?.id();
        if !hold::list(&*self.store().keeper(), id, None, 1)?.is_empty() {
            return Err(erasure::held());
        }
        let tenant = self.tenants().set_state(name, version, State::Deleted, witness).await?;
        self.jobs.submit_only(id, New::of_server(erasure::KIND)).await?;
        Ok(tenant)
    }

    /// The job that erases a deleted tenant.
    ///
    /// # Errors
    /// When the store fails.
    pub fn erasure_of(&self, tenant: &Tenant) -> Result<Option<Job>> {
        self.jobs.get(tenant.id(), erasure::KIND)
    }

    /// Whether a tenant is deleted for good: its keys were destroyed.
    #[must_use]
    pub fn is_destroyed(&self, tenant: &Tenant) -> bool {
        self.store().keyring().is_some_and(|ring| ring.is_destroyed(tenant.id()))
    }

    /// The last step of a deletion, when the job has ended: the tenant's keys are destroyed, and what is left of it goes, the job among
    /// it. Then all that leaves the files. Where tenants have no keys of their own there is nothing to do.
    ///
    /// # Errors
    /// When the store fails. It can be done again.
    pub async fn destroy_tenant(&self, tenant: &Tenant) -> Result<()> {
        if self.store().keyring().is_none() {
            return Ok(());
        }
        self.destroy(tenant.id()).await?;
        self.jobs.submit_only(TenantId::DEFAULT, New::of_server(compaction::KIND)).await
    }

    /// Sees to it that of each deleted tenant all is erased, whatever happened while that was under way. `again`: also of those of
    /// which it seems to be.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn finish_deletions(&self, again: bool) -> Result<()> {
        for registered in self.tenants().all()? {
            let tenant = &registered.tenant;
            let is_destroyed = self.is_destroyed(tenant);
            if tenant.state != State::Deleted || (is_destroyed && !again) {
                continue;
            }
            if is_destroyed {
                self.destroy(tenant.id()).await?;
                continue;
            }
            match self.erasure_of(tenant)?.map(|job| job.state) {
                None | Some(JobState::Failed | JobState::Cancelled) => {
                    self.jobs.submit_only(tenant.id(), New::of_server(erasure::KIND)).await?;
                }
                Some(JobState::Queued | JobState::Active) => {}
                Some(JobState::Done) => self.destroy_tenant(tenant).await?,
            }
        }
        Ok(())
    }
}

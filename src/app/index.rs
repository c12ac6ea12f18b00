//! Whether the index of each tenant hides what it shall.

use super::App;
use crate::auth::grant::Grant;
use crate::auth::keeper::Expect;
use crate::auth::records;
use crate::auth::tenants::Tenants;
use crate::config;
use crate::config::IndexMode;
use crate::error::Result;
use crate::jobs::New;
use crate::jobs::index::{KIND, Wanted, form_of};
use crate::key::blind::hidden_by_default;
use crate::store::index::IndexRecord;
use crate::store::{Commit, CommitError, Rid};
use crate::tenant::{State, TenantId};
use std::sync::Arc;

/// What the settings, and what is said of a tenant, want of its index.
pub(super) fn wanted(config: &config::Index, tenants: &Arc<Tenants>) -> Wanted {
    let (config, tenants) = (config.clone(), Arc::clone(tenants));
    Box::new(move |tenant| match tenants.of(tenant).tenant.index.unwrap_or(config.mode) {
        IndexMode::Plain => None,
        IndexMode::Blind => Some(config.hidden.clone().unwrap_or_else(hidden_by_default)),
    })
}

impl App {
    /// Sees to it that the index of every tenant is, or becomes, what it shall be.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn settle_indexes(&self) -> Result<()> {
        for registered in self.tenants().all()? {
            if registered.tenant.state != State::Deleted {
                self.settle_index(registered.id()).await?;
            }
        }
        Ok(())
    }

    /// The same for one tenant. Where there never was a resource it is at once; else a job makes it so.
    ///
    /// # Errors
    /// As [`App::settle_indexes`].
    pub async fn settle_index(&self, tenant: TenantId) -> Result<()> {
        let wanted = wanted(&self.config.index, &self.auth.tenants)(tenant);
        let (record, version) = form_of(self.store(), tenant)?;
        let of_ledger = record.new_of_ledger(wanted.as_ref())?;
        if record.change.is_none() && record.hides(wanted.as_ref()) && !record.is_mixed && of_ledger.is_none() {
            return Ok(());
        }
        let grant = Grant::unrestricted(tenant);
        let is_empty = self.store().open(&grant)?.view().resources(Rid(0)).next().is_none();
        // What the ledger has already is hidden by the job.
        if is_empty && (of_ledger.is_none() || self.store().ledger_head(tenant)?.next == 0) && !record.is_mixed {
            let settled = IndexRecord {
                now: record.reformed(wanted)?,
                ledger: of_ledger.or(record.ledger),
                ..IndexRecord::default()
            };
            let expect = if version == 0 { Expect::Absent } else { Expect::Version(version) };
            let keeps = vec![records::put(IndexRecord::ID, &settled, expect, None)?];
            match self.store().commit(&grant, Commit { keeps, ..Commit::of(tenant) }).await {
                Ok(_) => return Ok(()),
                // There were resources, or are by now.
                Err(CommitError::Stale { .. }) => {}
                Err(error) => return Err(crate::error::Error::internal(error)),
            }
        }
        let under_way = self.jobs.get(tenant, KIND)?.is_some_and(|job| !job.state.is_ended());
        if under_way { Ok(()) } else { self.jobs.submit_only(tenant, New::of_server(KIND)).await }
    }
}

//! What interactions work with, made for a grant: for a request, and for a job that stores resources as requests do.

use super::conformance::Conformances;
use super::cursor::Cursors;
use super::quota::Quotas;
use super::{Context, consenting};
use crate::audit::{Ledger, Trail};
use crate::auth::grant::Grant;
use crate::auth::server::Server;
use crate::auth::tenants::Tenants;
use crate::bulk::Exports;
use crate::clock::Clock;
use crate::config::Limits;
use crate::consent::decide::Defaults;
use crate::error::{Error, Result};
use crate::jobs::Jobs;
use crate::store::Store;
use std::sync::{Arc, OnceLock, Weak};

/// What contexts have in common: the fields are those of [`Context`].
#[allow(missing_docs)]
pub struct Contexts {
    pub store: Store,
    pub clock: Arc<dyn Clock>,
    pub limits: Arc<Limits>,
    /// They have their bases.
    pub tenants: Arc<Tenants>,
    pub cursors: Arc<Cursors>,
    pub conformances: Arc<Conformances>,
    pub check_references: bool,
    pub consent_defaults: Defaults,
    pub auth: Option<Arc<Server>>,
    pub ledger: Arc<Ledger>,
    pub exports: Arc<Exports>,
    pub quotas: Arc<Quotas>,
    /// Set once the jobs are there, which hold this.
    pub jobs: OnceLock<Weak<Jobs>>,
}

impl Contexts {
    /// What an interaction under this grant works with, which leaves this trail.
    ///
    /// # Errors
    /// When the store fails, or the server is stopping.
    pub fn of(&self, grant: Grant, trail: Arc<Trail>) -> Result<Context> {
        let jobs = self.jobs.get().and_then(Weak::upgrade);
        let context = Context {
            store: self.store.clone(),
            clock: Arc::clone(&self.clock),
            limits: Arc::clone(&self.limits),
            base: Arc::clone(&self.tenants.of(grant.tenant()).base),
            cursors: Arc::clone(&self.cursors),
            conformance: self.conformances.of(grant.tenant())?,
            conformances: Arc::clone(&self.conformances),
            check_references: self.check_references,
            consent_defaults: self.consent_defaults,
            auth: self.auth.clone(),
            grant,
            trail,
            ledger: Arc::clone(&self.ledger),
            jobs: jobs.ok_or_else(|| Error::unavailable("The server is stopping.", "stopping"))?,
            exports: Arc::clone(&self.exports),
            quotas: Arc::clone(&self.quotas),
        };
        Ok(Context { grant: consenting::grant(&context)?, ..context })
    }
}

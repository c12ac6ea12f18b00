//! What interactions work with, made for a grant: for a request, and for a job that stores resources as requests do.

use super::conformance::Conformances;
use super::cursor::Cursors;
use super::quota::Quotas;
use super::{Context, Request, consenting, tell};
use crate::audit::record::Content;
use crate::audit::{Ledger, Trail};
use crate::auth::grant::Grant;
use crate::auth::keeper::Keep;
use crate::auth::server::Server;
use crate::auth::tenants::Tenants;
use crate::auth::witness::Witness;
use crate::bulk::Exports;
use crate::clock::Clock;
use crate::config::Limits;
use crate::consent::decide::Defaults;
use crate::error::{Error, Result};
use crate::jobs::{Job, Jobs, New};
use crate::search::Wanted;
use crate::store::Store;
use std::sync::{Arc, OnceLock, Weak};

/// How a request has ended whose job is there.
const OK: u16 = 200;

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
            wanted: Wanted::default(),
            ledger: Arc::clone(&self.ledger),
            jobs: jobs.ok_or_else(|| Error::unavailable("The server is stopping.", "stopping"))?,
            exports: Arc::clone(&self.exports),
            quotas: Arc::clone(&self.quotas),
        };
        Ok(Context { grant: consenting::grant(&context)?, ..context })
    }
}

impl Context {
    /// Who records a request with the job that it begins or ends.
    #[must_use]
    pub fn witness(&self, request: &Request<'_>) -> Witness {
        let (trail, clock, tenant) = (Arc::clone(&self.trail), Arc::clone(&self.clock), self.grant.tenant());
        let mut about = Content::default();
        tell(&request.call, &request.query, &mut about);
        let Content { target, query, .. } = about;
        Witness::new(move |_| {
            let about = |content: &mut Content<'static>| {
                content.target.clone_from(&target);
                content.query.clone_from(&query);
            };
            let entry = trail.entry(OK, clock.now(), about)?;
            Ok(entry.map(|entry| (tenant, entry)).into_iter().collect())
        })
    }

    /// Asks for a job with this id, recorded with the request that begins it, and with other changes of records.
    ///
    /// # Errors
    /// As [`Jobs::submit`].
    pub async fn begin_job(&self, witness: &Witness, id: String, new: New, with: Vec<Keep>) -> Result<Job> {
        let job = self.jobs.submit_with(self.grant.tenant(), id, new, (with, Some(witness))).await?;
        self.has_told(witness);
        Ok(job)
    }

    /// Ends a job, recorded with the request that asks for it.
    ///
    /// # Errors
    /// As [`Jobs::cancel`].
    pub async fn cancel_job(&self, witness: &Witness, id: &str) -> Result<()> {
        self.jobs.cancel(self.grant.tenant(), id, Some(witness)).await?;
        self.has_told(witness);
        Ok(())
    }

    /// What a witness has told is not recorded again when the request ends.
    fn has_told(&self, witness: &Witness) {
        if witness.has_told() {
            self.trail.commit_happened();
        }
    }
}

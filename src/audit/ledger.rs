//! Where records go: into the store's ledger, or the request is refused.

use super::chain::{self, Fault, Verified};
use super::checkpoint::{self, Checkpoint, CheckpointError, Signer};
use super::publish::Places;
use super::record::{Content, Event, Record, Shape};
use super::trail::Trail;
use crate::auth::agent::Agent;
use crate::auth::rate::{Rates, customer};
use crate::auth::witness::{Deed, Witness};
use crate::clock::Clock;
use crate::config;
use crate::error::{Category, Error, Result};
use crate::store::ledger::Entry;
use crate::store::{Store, StoreResult};
use crate::tenant::{Tenant, TenantId};
use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// The ledger of a server.
pub struct Ledger {
    is_kept: bool,
    is_synced: bool,
    store: Store,
    clock: Arc<dyn Clock>,
    signer: Signer,
    places: Places,
    /// Who sent more than a limit allows, and was recorded for it.
    over_limits: Rates,
}

/// Of what one sender is refused for sending too much, so often one is recorded.
const OVER_LIMITS: Duration = Duration::from_secs(10);

/// What verifying a tenant's ledger found.
#[derive(Debug, Clone)]
pub struct Verification {
    /// The chain.
    pub chain: Verified,
    /// The checkpoints that it was compared with.
    pub checkpoints: usize,
}

impl Ledger {
    /// The ledger in this store. `is_open`: the server answers everybody.
    #[must_use]
    pub fn new(settings: &config::Audit, is_open: bool, store: Store, clock: Arc<dyn Clock>, signer: Signer) -> Self {
        let is_kept = settings.enabled.unwrap_or(!is_open);
        let over_limits = Rates::new(OVER_LIMITS, OVER_LIMITS);
        let (is_synced, places) = (settings.sync_before_answer, Places::new(settings));
        Self { is_kept, is_synced, store, clock, signer, places, over_limits }
    }

    /// Whether anything is recorded.
    #[must_use]
    pub const fn is_kept(&self) -> bool {
        self.is_kept
    }

    /// What signs and verifies checkpoints.
    #[must_use]
    pub const fn signer(&self) -> &Signer {
        &self.signer
    }

    /// The trail of a request that asks for this, from there; nothing is recorded of one that asks for `None`.
    #[must_use]
    pub fn trail(&self, event: Option<Event>, from: Option<IpAddr>) -> Trail {
        event.filter(|_| self.is_kept).map_or_else(Trail::none, |event| Trail::new(event, from))
    }

    /// Records how a request ended, where its commits have not. `about` adds what the request named.
    ///
    /// # Errors
    /// The request's own; 503 where the ledger can't take the record: then nothing is answered.
    pub async fn close<T: Send>(
        &self,
        tenant: TenantId,
        trail: &Trail,
        result: Result<T>,
        about: impl FnOnce(&mut Content<'static>) + Send,
    ) -> Result<T> {
        let status = result.as_ref().err().map_or(200, |error| error.category.status());
        if !trail.is_kept() || self.is_told(status, trail.from()) {
            return result;
        }
        if let Some(entry) = trail.entry(status, self.clock.now(), about).map_err(unrecorded)? {
            self.keep(tenant, entry).await?;
        }
        result
    }

    /// Records an event that is no FHIR request.
    ///
    /// # Errors
    /// 503 where the ledger can't take it.
    pub async fn note(&self, tenant: TenantId, record: Record<'_>) -> Result<()> {
        let Shape { event, status, from, .. } = &record.shape;
        if !self.is_kept || (*event == Event::Refusal && self.is_told(*status, *from)) {
            return Ok(());
        }
        let entry = record.entry(self.clock.now()).map_err(unrecorded)?;
        self.keep(tenant, entry).await
    }

    /// Who tells a tenant's ledger what one request changes, with the change itself; `record` is what there is to say of a deed, if
    /// anything.
    ///
    /// Of a change of a tenant that tenant's own ledger hears, too, but not who made it: there it would name a person of another
    /// organisation.
    pub fn witness(
        &self,
        tenant: TenantId,
        record: impl Fn(&Deed<'_>) -> Option<Record<'static>> + Send + Sync + 'static,
    ) -> Arc<Witness> {
        let (is_kept, clock) = (self.is_kept, Arc::clone(&self.clock));
        Arc::new(Witness::new(move |deed| {
            let said = record(deed).map(|record| (tenant, record));
            let of_tenant = match deed {
                Deed::Tenant(tenant, what) => Some((tenant.id(), changed(tenant, what))),
                _ => None,
            };
            let said = said.into_iter().chain(of_tenant).filter(|_| is_kept);
            said.map(|(tenant, record)| Ok((tenant, record.entry(clock.now())?))).collect()
        }))
    }

    /// Whether a request is one of many over a limit, of whose sender the ledger has it already: else who is refused for sending too
    /// much could still fill the ledger.
    fn is_told(&self, status: u16, from: Option<IpAddr>) -> bool {
        status == Category::TooManyRequests.status() && self.over_limits.count(from.map(customer)).is_err()
    }

    /// Signs how far the chains of these tenants have come, keeps that and sends it to the places outside, if any has grown.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn checkpoint(&self, tenants: &[TenantId]) -> Result<Option<Checkpoint>> {
        if !self.is_kept {
            return Ok(None);
        }
        self.store.settled().await?;
        let now = self.clock.now();
        let made = self.signer.make(&self.store, tenants, now).await.map_err(Error::internal)?;
        let Some((checkpoint, jws)) = made else { return Ok(None) };
        self.places.send(&jws, now).await;
        Ok(Some(checkpoint))
    }

    /// Verifies a tenant's chain, and that it has gone through all the checkpoints: those that are kept, or others from a place
    /// outside.
    ///
    /// # Errors
    /// When the store can't be read.
    pub async fn verify(&self, tenant: TenantId, outside: Option<Vec<String>>) -> Result<Verification> {
        self.store.settled().await?;
        let keeper = self.store.keeper();
        let kept = outside.map_or_else(|| checkpoint::kept(&*keeper).map_err(Error::internal), Ok)?;
        let checkpoints = kept.len();
        let (known, fault) = match self.signer.verify(tenant, kept) {
            Ok(known) => (known, None),
            Err(error @ CheckpointError::Bad { .. }) => (Vec::new(), Some(error.to_string())),
            Err(error) => return Err(Error::internal(error)),
        };
        let mut chain = chain::verify(&self.store, tenant, &known)?;
        chain.faults.extend(fault.map(|what| Fault { entry: chain.head.next, what }));
        Ok(Verification { chain, checkpoints })
    }

    async fn keep(&self, tenant: TenantId, entry: Entry) -> Result<()> {
        let kept: StoreResult<()> = match self.store.record(tenant, entry).await {
            Ok(number) if self.is_synced => self.store.synced(number).await,
            Ok(_) => Ok(()),
            Err(error) => Err(error),
        };
        kept.map_err(unrecorded)
    }
}

/// What a tenant's own ledger has of a change of the tenant.
fn changed(tenant: &Tenant, what: &'static str) -> Record<'static> {
    let agent = Agent { name: Some("the operators of the installation".into()), ..Agent::default() };
    let record = Record::of(Event::Administration("tenant".into()), Cow::Owned(agent));
    record.named(tenant.name.to_string()).saying(what)
}

/// Nothing happens that is not recorded.
fn unrecorded(error: crate::store::StoreError) -> Error {
    Error::unavailable("The request can't be recorded in the audit ledger, and so is not answered.", error)
}

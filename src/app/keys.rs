//! Data keys and the master key, as administrators and operators handle them.

use super::App;
use crate::audit::{Event, Record};
use crate::auth::agent::Agent;
use crate::auth::witness::Witness;
use crate::error::{Error, Issue, Result};
use crate::jobs::reseal::{KIND, Parameters};
use crate::jobs::{Job, New};
use crate::store::StoreResult;
use crate::store::keys::{Keyring, Unwrapped};
use crate::store::seal::STORE;
use crate::tenant::TenantId;
use std::borrow::Cow;

impl App {
    /// Records the keys that were unwrapped since this was called last: each in the ledger of its tenant, the store's own in that of the
    /// default tenant.
    ///
    /// # Errors
    /// 503 where the ledger can't take it.
    pub async fn tell_unwrapped(&self, agent: &Agent) -> Result<()> {
        let unwrapped = self.store.keyring().map(Keyring::take_unwrapped).unwrap_or_default();
        for Unwrapped { owner, generation, id, master } in unwrapped {
            let (tenant, name) = match owner {
                STORE => (TenantId::DEFAULT, format!("key {generation} of the store")),
                tenant => (tenant, format!("key {generation} of tenant {}", tenant.0)),
            };
            let record = Record::of(Event::Unwrapping, Cow::Borrowed(agent)).named(name);
            self.ledger.note(tenant, record.saying(format!("{id}, by {master}"))).await?;
        }
        Ok(())
    }

    /// Gives a tenant a new data key, and asks for the job that seals under it what is under older ones.
    ///
    /// # Errors
    /// When the provider of the master key fails, or the tenant has too many jobs: it has a new key then, which an issue says.
    pub async fn rotate_data_key(
        &self,
        tenant: TenantId,
        owner: Agent,
        parameters: Parameters,
        witness: &Witness,
    ) -> Result<Job> {
        self.with_keys(move |ring| ring.rotate(tenant)).await?;
        tracing::info!(tenant = tenant.0, "a tenant has a new data key");
        self.reseal(tenant, owner, parameters, witness).await.map_err(|mut error| {
            let text = "The tenant has a new data key. What was sealed under older ones is not sealed anew yet.";
            error.issues.push(Issue::information("informational", text));
            error
        })
    }

    /// Asks for the job that seals under the newest key what is under older ones.
    ///
    /// # Errors
    /// When the tenant has too many jobs.
    pub async fn reseal(
        &self,
        tenant: TenantId,
        owner: Agent,
        parameters: Parameters,
        witness: &Witness,
    ) -> Result<Job> {
        let parameters = serde_json::to_value(parameters).map_err(Error::internal)?;
        self.jobs.submit_told(tenant, New { kind: KIND, owner, parameters }, witness).await
    }

    /// Gives the ledgers a new key. The one before stays, since the chains hold what it has sealed.
    ///
    /// # Errors
    /// When the provider of the master key fails.
    pub async fn rotate_ledger_key(&self) -> Result<()> {
        self.with_keys(|ring| ring.rotate(STORE)).await?;
        tracing::info!("the ledgers have a new key");
        Ok(())
    }

    /// Wraps all data keys anew, and answers how many there are: see [`Keyring::rotate_master`].
    ///
    /// # Errors
    /// When the provider of the master key fails.
    pub async fn rotate_master_key(&self, agent: &Agent) -> Result<usize> {
        let wrapped = self.with_keys(Keyring::rotate_master).await;
        self.tell_unwrapped(agent).await?;
        tracing::info!("the master key was rotated");
        wrapped
    }

    /// Works with the keys, where it holds up no other request: a provider may be asked over a network.
    async fn with_keys<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Keyring) -> StoreResult<T> + Send + 'static,
    ) -> Result<T> {
        let store = self.store.clone();
        let worked = tokio::task::spawn_blocking(move || store.keyring().map(work)).await.map_err(Error::internal)?;
        let worked = worked.ok_or_else(|| Error::internal("this store has no keys"))?;
        worked.map_err(|error| Error::unavailable("The master key can't be used now.", error))
    }
}

//! Whether the store is of the schema that this program writes: see [`crate::store::schema`].

use super::App;
use crate::error::{Error, Result};
use crate::jobs::State as JobState;
use crate::jobs::migration::{KIND, Parameters};
use crate::store::schema::{Advance, Rewriting, Stand};
use crate::tenant::{State, TenantId};
use std::sync::Arc;
use std::time::Duration;

/// How often it is looked how far the rewriting is, and whether other processes let a schema come into force.
const LOOK_EVERY: Duration = Duration::from_secs(5);

impl App {
    /// Takes the store to the schema that this program writes, for as long as the server runs.
    pub async fn follow_schema(self: Arc<Self>) {
        let mut told = None;
        let mut interval = tokio::time::interval(LOOK_EVERY);
        loop {
            interval.tick().await;
            match self.settle_schema().await {
                Ok((Advance::Waiting(others), stand)) if told != Some(others) => {
                    told = Some(others);
                    tracing::info!(
                        schema = stand.schema,
                        others,
                        "a later schema waits for processes that can't write it"
                    );
                }
                Ok((Advance::Current, Stand { rewriting: None, .. })) if self.store.is_local() => return,
                Ok(_) => {}
                Err(error) => tracing::warn!(?error, "the schema of the store could not be looked after"),
            }
        }
    }

    /// One step there: brings the schema into force if other processes let it, asks for the jobs that rewrite what is older, and ends
    /// that where all have ended. Answers what came of it, and how the store stands.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn settle_schema(&self) -> Result<(Advance, Stand)> {
        let (advance, stand) = self.with_schemas(|schemas| Ok((schemas.advance()?, schemas.stand()?))).await?;
        if advance == Advance::Moved {
            tracing::info!(schema = stand.schema, "a later schema is in force; what is older is rewritten now");
        }
        metrics::gauge!("pharos_store_schema").set(stand.schema);
        metrics::gauge!("pharos_store_schema_oldest").set(stand.oldest());
        let Some(Rewriting { pass, .. }) = stand.rewriting.clone() else { return Ok((advance, stand)) };
        if !self.is_rewritten(&Parameters { pass: pass.clone() }).await? {
            return Ok((advance, stand));
        }
        let stand = self.with_schemas(move |schemas| schemas.finish(&pass).and_then(|()| schemas.stand())).await?;
        tracing::info!(schema = stand.schema, "all is of the schema in force");
        metrics::gauge!("pharos_store_schema_oldest").set(stand.oldest());
        Ok((advance, stand))
    }

    /// Whether the jobs of all tenants have ended. Those that are not there are asked for.
    async fn is_rewritten(&self, pass: &Parameters) -> Result<bool> {
        let mut is_done = true;
        let registered = self.tenants().all()?;
        let living = registered.iter().filter(|one| one.tenant.state != State::Deleted).map(|one| one.id());
        for tenant in living.chain([TenantId::INSTALLATION]) {
            match self.jobs.get(tenant, KIND)?.filter(|job| pass.are_of(job)) {
                Some(job) if job.state == JobState::Done => continue,
                // Who had it may be gone.
                Some(job) if !job.state.is_ended() => self.jobs.queue(tenant, job.id),
                _ => self.jobs.submit_only(tenant, pass.job()?).await?,
            }
            is_done = false;
        }
        Ok(is_done)
    }

    /// Asks what may be across a network, where it holds up no other request.
    async fn with_schemas<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&dyn crate::store::schema::Schemas) -> crate::store::StoreResult<T> + Send + 'static,
    ) -> Result<T> {
        let store = self.store.clone();
        let asked = tokio::task::spawn_blocking(move || store.schemas().map(ask)).await.map_err(Error::internal)?;
        Ok(asked.ok_or_else(|| Error::internal("this store has no schema"))??)
    }
}

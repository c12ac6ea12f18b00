//! What both stores do alike with a queue of commits and rows to read: records that are no resources, above all.

use super::group::Prepared;
use super::{Rows, kept};
use crate::auth::keeper::{Entry, Epochs, Keep, Keeper, KeeperError, Kept, check_form};
use crate::clock::Clock;
use crate::store::index::Indexes;
use crate::store::seal::Sealer;
use crate::store::{Commit, CommitError, Committed, StoreError};
use crate::tenant::TenantId;
use futures_util::future::BoxFuture;

/// A store engine.
pub(in crate::store) trait Engine: Send + Sync {
    /// The rows as they are now, all of one moment.
    fn newest(&self) -> impl Rows + '_;
    /// What opens them.
    fn sealer(&self) -> &Sealer;
    /// What expires is held against it.
    fn clock(&self) -> &dyn Clock;
    /// See [`Keeper::epoch`].
    fn epochs(&self) -> &Epochs;
    /// The forms of tenants' postings, as far as they are known.
    fn indexes(&self) -> &Indexes;
    /// Gives work to the committer.
    fn submit(&self, prepared: Prepared) -> BoxFuture<'static, Result<Committed, CommitError>>;

    /// See [`crate::store::Backend::commit`].
    fn take(&self, commit: Commit) -> BoxFuture<'static, Result<Committed, CommitError>> {
        match check_form(&commit.keeps) {
            Ok(()) => {
                let index = self.indexes().last(commit.tenant);
                self.submit(Prepared::new(commit, &index))
            }
            Err(error) => Box::pin(async move { Err(StoreError::Closed(error.to_string()).into()) }),
        }
    }
}

impl<E: Engine> Keeper for E {
    fn get(&self, tenant: TenantId, kind: &'static str, id: &str) -> Result<Option<Kept>, KeeperError> {
        let (sealer, clock) = (self.sealer(), self.clock());
        Ok(kept::Reading { rows: &self.newest(), sealer, clock, tenant }.get(kind, id)?)
    }

    fn list(
        &self,
        tenant: TenantId,
        kind: &'static str,
        prefix: &str,
        after: Option<&str>,
        count: usize,
    ) -> Result<Vec<Kept>, KeeperError> {
        let (sealer, clock) = (self.sealer(), self.clock());
        Ok(kept::Reading { rows: &self.newest(), sealer, clock, tenant }.list(kind, prefix, after, count)?)
    }

    fn keep_told(
        &self,
        tenant: TenantId,
        changes: Vec<Keep>,
        told: Vec<(TenantId, Entry)>,
    ) -> BoxFuture<'static, Result<(), KeeperError>> {
        let kept = check_form(&changes).map(|()| self.submit(Prepared::with_kept(tenant, changes, told)));
        Box::pin(async {
            match kept?.await {
                Ok(_) => Ok(()),
                Err(CommitError::Stale { change, .. }) => Err(KeeperError::Stale(change)),
                Err(error) => Err(KeeperError::Failed(error.to_string())),
            }
        })
    }

    fn epoch(&self, tenant: TenantId) -> u64 {
        self.epochs().get(tenant)
    }
}

//! A store whose ledger takes nothing any more, once it is told so.

use futures_util::future::BoxFuture;
use pharos::auth::keeper::{Keep, Keeper, KeeperError, Kept};
use pharos::store::ledger::{Blocks, Entry, Head, Ledger};
use pharos::store::{Backend, Commit, CommitError, Committed, NewKeys, StoreError, StoreResult, View};
use pharos::tenant::TenantId;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub struct Deaf {
    pub inner: Arc<dyn Backend>,
    pub is_deaf: Arc<AtomicBool>,
}

impl Backend for Deaf {
    fn view(&self, tenant: TenantId) -> StoreResult<Box<dyn View>> {
        self.inner.view(tenant)
    }

    fn commit(&self, commit: Commit) -> BoxFuture<'static, Result<Committed, CommitError>> {
        self.inner.commit(commit)
    }

    fn reindex(&self, tenant: TenantId, keys: Vec<NewKeys>) -> BoxFuture<'static, Result<usize, CommitError>> {
        self.inner.reindex(tenant, keys)
    }

    fn compact(&self) -> StoreResult<()> {
        self.inner.compact()
    }

    fn seal_file(&self, tenant: TenantId, name: &str, plain: &[u8]) -> StoreResult<Vec<u8>> {
        self.inner.seal_file(tenant, name, plain)
    }

    fn open_file(&self, tenant: TenantId, name: &str, sealed: &[u8]) -> StoreResult<Vec<u8>> {
        self.inner.open_file(tenant, name, sealed)
    }

    fn is_local(&self) -> bool {
        self.inner.is_local()
    }

    fn health(&self) -> StoreResult<()> {
        self.inner.health()
    }

    fn close(&self) -> StoreResult<()> {
        self.inner.close()
    }
}

impl Ledger for Deaf {
    fn record(&self, tenant: TenantId, entry: Entry) -> StoreResult<u64> {
        if self.is_deaf.load(Ordering::Relaxed) { Err(StoreError::Busy) } else { self.inner.record(tenant, entry) }
    }

    fn synced(&self, number: u64) -> BoxFuture<'static, StoreResult<()>> {
        self.inner.synced(number)
    }

    fn settled(&self) -> BoxFuture<'static, StoreResult<()>> {
        self.inner.settled()
    }

    fn head(&self, tenant: TenantId) -> StoreResult<Head> {
        self.inner.head(tenant)
    }

    fn blocks(&self, tenant: TenantId, from: u64, is_open: bool) -> StoreResult<Blocks<'_>> {
        self.inner.blocks(tenant, from, is_open)
    }
}

impl Keeper for Deaf {
    fn get(&self, tenant: TenantId, kind: &'static str, id: &str) -> Result<Option<Kept>, KeeperError> {
        self.inner.get(tenant, kind, id)
    }

    fn list(
        &self,
        tenant: TenantId,
        kind: &'static str,
        prefix: &str,
        after: Option<&str>,
        count: usize,
    ) -> Result<Vec<Kept>, KeeperError> {
        self.inner.list(tenant, kind, prefix, after, count)
    }

    fn keep(&self, tenant: TenantId, changes: Vec<Keep>) -> BoxFuture<'static, Result<(), KeeperError>> {
        self.inner.keep(tenant, changes)
    }

    fn epoch(&self, tenant: TenantId) -> u64 {
        self.inner.epoch(tenant)
    }
}

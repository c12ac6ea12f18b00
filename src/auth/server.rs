//! The authorization server: its parts. What it does stands in the files beside, one for each endpoint or concept.

use super::bearer::Bearers;
use super::fetch::Fetcher;
use super::jwks::RemoteKeys;
use super::keeper::SharedKeeper;
use super::keys::KeyCache;
use super::origins::Origins;
use super::remote::Remote;
use super::slowing::Slowing;
use super::tenants::Tenants;
use super::witness::Witness;
use crate::clock::Clock;
use crate::config;
use crate::tenant::TenantId;
use serde_json::Value;
use std::ops::Deref;
use std::sync::Arc;

/// The authorization server of all tenants. Every call names the tenant. Cheap to clone.
#[derive(Clone)]
pub struct Server {
    parts: Arc<Parts>,
    /// Who sees what a request changes.
    witness: Option<Arc<Witness>>,
}

/// What the server consists of.
pub struct Parts {
    /// Where records are kept.
    pub keeper: SharedKeeper,
    /// Time and ids.
    pub clock: Arc<dyn Clock>,
    /// The settings.
    pub config: config::Auth,
    /// `public_url` without a slash at the end.
    pub public_url: Arc<str>,
    /// Which tenants there are.
    pub tenants: Arc<Tenants>,
    /// The signing keys in memory.
    pub(super) keys: KeyCache,
    /// Fetches documents from others.
    pub(super) fetcher: Arc<Fetcher>,
    /// The key sets of others in memory.
    pub(super) remote: RemoteKeys,
    /// Other documents of others in memory.
    pub(super) documents: Remote<Value>,
    /// The access tokens in memory.
    pub(super) bearers: Bearers,
    /// The origins of clients in memory.
    pub(super) origins: Origins,
    /// Who failed at the token endpoint.
    pub slowing: Slowing,
}

impl Deref for Server {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.parts
    }
}

impl Server {
    /// Puts the parts together.
    #[must_use]
    pub fn new(keeper: SharedKeeper, clock: Arc<dyn Clock>, config: config::Auth, public_url: &str) -> Self {
        let public_url: Arc<str> = public_url.trim_end_matches('/').into();
        let tenants = Arc::new(Tenants::new(Arc::clone(&keeper), &config, Arc::clone(&public_url)));
        let fetcher = Arc::new(Fetcher::new(&config));
        let remote = RemoteKeys::new(&config, Arc::clone(&fetcher));
        let documents = Remote::new(&config, Arc::clone(&fetcher));
        let (keys, bearers) = (KeyCache::default(), Bearers::default());
        let (origins, slowing) = (Origins::default(), Slowing::default());
        let parts = Parts {
            keeper,
            clock,
            config,
            public_url,
            tenants,
            keys,
            fetcher,
            remote,
            documents,
            bearers,
            origins,
            slowing,
        };
        Self { parts: Arc::new(parts), witness: None }
    }

    /// The same server for one request, whose changes are kept with what this witness says of them.
    #[must_use]
    pub fn recording(&self, witness: &Arc<Witness>) -> Self {
        Self { parts: Arc::clone(&self.parts), witness: Some(Arc::clone(witness)) }
    }

    pub(super) fn witness(&self) -> Option<&Witness> {
        self.witness.as_deref()
    }

    /// The FHIR base of a tenant, without a slash at the end: issuer and audience of its tokens, and the `aud` of its launches.
    #[must_use]
    pub fn base(&self, tenant: TenantId) -> String {
        String::from(&*self.tenants.of(tenant).base)
    }

    /// The address of one of the endpoints of a tenant: `/auth/token` of the default tenant for `token`.
    #[must_use]
    pub fn endpoint(&self, tenant: TenantId, name: &str) -> String {
        format!("{}/auth/{name}", self.tenants.of(tenant).root)
    }

    /// Seconds since 1970.
    #[must_use]
    pub fn now_s(&self) -> i64 {
        self.clock.now().0.div_euclid(1_000_000)
    }
}

//! The wired parts: what every request is served with.

use crate::auth::grant::Grant;
use crate::auth::server::Server;
use crate::clock::Clock;
use crate::config::Config;
use crate::error::{Category, Error, Result};
use crate::interaction::Context;
use crate::interaction::call::Call;
use crate::interaction::conformance::Conformances;
use crate::interaction::cursor::Cursors;
use crate::store::Store;
use crate::tenant::TenantId;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The server without its network side.
pub struct App {
    /// The settings.
    pub config: Config,
    store: Store,
    auth: Arc<Server>,
    clock: Arc<dyn Clock>,
    limits: Arc<crate::config::Limits>,
    base: Arc<str>,
    cursors: Arc<Cursors>,
    conformances: Arc<Conformances>,
    stopping: AtomicBool,
}

impl App {
    /// Puts the parts together. `cursor_key` seals page links.
    ///
    /// # Errors
    /// When the settings contradict each other.
    pub fn new(config: Config, store: Store, cursor_key: &[u8; 32], clock: Arc<dyn Clock>) -> Result<Self> {
        config.check().map_err(|error| Error::internal(error.to_string()))?;
        let cursors = Arc::new(Cursors::new(cursor_key, config.limits.cursor_lifetime_s)?);
        let base: Arc<str> = Arc::from(config.base_url());
        let limits = Arc::new(config.limits.clone());
        let conformances = Arc::new(Conformances::new(store.clone(), Arc::clone(&base), config.search_content));
        let auth = Server::new(store.keeper(), Arc::clone(&clock), config.auth.clone(), &config.public_url());
        let auth = Arc::new(auth);
        Ok(Self { config, store, auth, clock, limits, base, cursors, conformances, stopping: AtomicBool::new(false) })
    }

    /// Who asks, and what they may reach: one decision for each request.
    ///
    /// # Errors
    /// 401 where the call needs proof and there is none. Until the authorization server is built, only an open server
    /// (`insecure_open`) answers more than its capabilities.
    pub fn authorize(&self, tenant: TenantId, call: &Call) -> Result<Grant> {
        if self.config.insecure_open || matches!(call, Call::Capabilities) {
            return Ok(Grant::unrestricted(tenant));
        }
        Err(Error::new(Category::Unauthenticated, "login", "This server answers authorized requests only."))
    }

    /// What an interaction under this grant works with.
    ///
    /// # Errors
    /// When the store fails.
    pub fn context(&self, grant: Grant) -> Result<Context> {
        Ok(Context {
            store: self.store.clone(),
            clock: Arc::clone(&self.clock),
            limits: Arc::clone(&self.limits),
            base: Arc::clone(&self.base),
            cursors: Arc::clone(&self.cursors),
            conformance: self.conformances.of(grant.tenant())?,
            conformances: Arc::clone(&self.conformances),
            check_references: self.config.check_references,
            auth: (!self.config.insecure_open).then(|| Arc::clone(&self.auth)),
            grant,
        })
    }

    /// The authorization server.
    #[must_use]
    pub fn auth(&self) -> &Server {
        &self.auth
    }

    /// The door to data.
    #[must_use]
    pub const fn store(&self) -> &Store {
        &self.store
    }

    /// A new id.
    #[must_use]
    pub fn new_id(&self) -> String {
        self.clock.new_id()
    }

    /// Whether requests are welcome: the store takes writes and nobody asked the server to stop.
    ///
    /// # Errors
    /// Why not.
    pub fn ready(&self) -> Result<()> {
        if self.stopping.load(Ordering::Relaxed) {
            return Err(Error::unavailable("The server is stopping.", "stopping"));
        }
        Ok(self.store.health()?)
    }

    /// From now on the server is not ready.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }
}

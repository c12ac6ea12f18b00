//! The web origins whose pages may call: those that clients are registered with. This is what CORS asks; it permits nothing by
//! itself, since every call needs its token all the same.

use super::keeper::KeeperError;
use super::records::{Client, Record, read};
use super::server::Server;
use crate::tenant::TenantId;
use rustc_hash::{FxHashMap, FxHashSet};
use std::sync::{Arc, PoisonError, RwLock};

/// Clients read at a time.
const PAGE: usize = 500;

/// How long a known origin stays known without a look at the clients, in seconds. Epochs change with every sign-in; an origin that
/// was taken away may be let in for so long.
const TRUSTED_S: i64 = 5;

/// The origins of each tenant, as last read.
#[derive(Default)]
pub struct Origins {
    of: RwLock<FxHashMap<TenantId, Arc<Known>>>,
}

struct Known {
    epoch: u64,
    read_s: i64,
    origins: FxHashSet<String>,
}

impl Server {
    /// Whether a client is registered with this origin, spelled as browsers do: `https://app.example.org`.
    ///
    /// # Errors
    /// When the store fails.
    pub fn has_origin(&self, tenant: TenantId, origin: &str) -> Result<bool, KeeperError> {
        let (epoch, now_s) = (self.keeper.epoch(tenant), self.now_s());
        let known = self.origins.of.read().unwrap_or_else(PoisonError::into_inner).get(&tenant).cloned();
        if let Some(known) = known {
            let is_in = known.origins.contains(origin);
            if known.epoch == epoch || (is_in && now_s - known.read_s < TRUSTED_S) {
                return Ok(is_in);
            }
        }
        let origins = self.read_origins(tenant)?;
        let is_in = origins.contains(origin);
        let known = Arc::new(Known { epoch, read_s: now_s, origins });
        self.origins.of.write().unwrap_or_else(PoisonError::into_inner).insert(tenant, known);
        Ok(is_in)
    }

    fn read_origins(&self, tenant: TenantId) -> Result<FxHashSet<String>, KeeperError> {
        let (mut origins, mut after) = (FxHashSet::default(), None);
        loop {
            let page = self.keeper.list(tenant, Client::KIND, "", after.as_deref(), PAGE)?;
            for kept in &page {
                let client: Client = read(&kept.bytes)?;
                origins.extend(client.origins.into_iter().filter(|_| !client.disabled));
            }
            match page.last() {
                Some(last) if page.len() == PAGE => after = Some(last.id.clone()),
                _ => return Ok(origins),
            }
        }
    }
}

//! How much a tenant may store: the bytes of all versions of its resources, as they are kept.
//!
//! What is there is measured in the background when a tenant that has a limit is first written to, and again where it seems full, because
//! erasing gives room back. What is written meanwhile is added.

use crate::auth::tenants::Tenants;
use crate::error::{Category, Error, Result};
use crate::store::Change;
use crate::tenant::TenantId;
use rustc_hash::FxHashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a measurement of a tenant that seems full counts.
const MEASURED_ANEW: Duration = Duration::from_mins(1);

/// Measures how many bytes a tenant stores.
pub type Measure = Box<dyn Fn(TenantId) -> Result<u64> + Send + Sync>;

/// The limits of all tenants, and how far each has come.
pub struct Quotas {
    tenants: Arc<Tenants>,
    /// The limit where a tenant has none of its own; none when 0.
    most: u64,
    measure: Measure,
    used: Mutex<FxHashMap<TenantId, Used>>,
}

/// What a tenant stores.
#[derive(Debug, Clone, Copy, Default)]
struct Used {
    /// When it was last measured to the end.
    measured: Option<Instant>,
    is_measuring: bool,
    /// What was there then, and what was written since.
    bytes: u64,
    /// What was written since the measurement began that is under way.
    since: u64,
}

impl Quotas {
    /// Limits that are told by these tenants.
    #[must_use]
    pub fn new(tenants: Arc<Tenants>, most: u64, measure: Measure) -> Self {
        Self { tenants, most, measure, used: Mutex::default() }
    }

    /// Whether a tenant may write this: it is served, and there is room. What only deletes needs none.
    ///
    /// # Errors
    /// 403 or 410 where the tenant was suspended or deleted meanwhile; 507 where its limit would be passed.
    pub fn check(self: &Arc<Self>, tenant: TenantId, changes: &[Change]) -> Result<()> {
        let registered = self.tenants.of(tenant);
        registered.check_served()?;
        let most = registered.tenant.limits.storage_bytes.unwrap_or(self.most);
        let wanted = bytes_of(changes);
        if most == 0 || wanted == 0 {
            return Ok(());
        }
        let mut used = self.used();
        let used = used.entry(tenant).or_default();
        let is_full = used.bytes.saturating_add(wanted) > most;
        if !used.is_measuring && used.measured.is_none_or(|at| is_full && at.elapsed() >= MEASURED_ANEW) {
            used.is_measuring = true;
            used.since = 0;
            self.start_measuring(tenant);
        }
        if is_full {
            let text = format!("The tenant stores as much as its limit of {most} bytes allows.");
            return Err(Error::new(Category::InsufficientStorage, "too-costly", text));
        }
        Ok(())
    }

    /// Counts what was written.
    pub fn add(&self, tenant: TenantId, bytes: u64) {
        if let Some(used) = self.used().get_mut(&tenant) {
            used.bytes = used.bytes.saturating_add(bytes);
            used.since = used.since.saturating_add(bytes);
        }
    }

    fn start_measuring(self: &Arc<Self>, tenant: TenantId) {
        let this = Arc::clone(self);
        tokio::task::spawn_blocking(move || {
            let measured = (this.measure)(tenant);
            let mut used = this.used();
            let used = used.entry(tenant).or_default();
            used.is_measuring = false;
            match measured {
                // What was written meanwhile may count twice, until it is measured anew.
                Ok(bytes) => {
                    used.bytes = bytes.saturating_add(used.since);
                    used.measured = Some(Instant::now());
                }
                Err(error) => tracing::warn!(?error, tenant = tenant.0, "what a tenant stores can't be measured"),
            }
        });
    }

    fn used(&self) -> MutexGuard<'_, FxHashMap<TenantId, Used>> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What changes would store, in bytes.
#[must_use]
pub fn bytes_of(changes: &[Change]) -> u64 {
    let contents = changes.iter().filter_map(|change| change.content.as_ref());
    contents.map(|content| content.body.packed.len() as u64).sum()
}

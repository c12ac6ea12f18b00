//! A keeper in memory, for tests. It has no ledgers.

use super::keeper::{Entry, Epochs, Expect, Keep, Keeper, KeeperError, Kept, check_form};
use crate::clock::{Clock, Micros};
use crate::tenant::TenantId;
use futures_util::future::BoxFuture;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

type Records = BTreeMap<(TenantId, &'static str, Box<str>), Kept>;

/// Keeps records until it is dropped.
pub struct Memory {
    clock: Arc<dyn Clock>,
    records: Mutex<Records>,
    epochs: Epochs,
}

impl Memory {
    /// A keeper of nothing yet.
    pub fn new(clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self { clock, records: Mutex::default(), epochs: Epochs::default() })
    }

    fn change(&self, tenant: TenantId, changes: Vec<Keep>) -> Result<(), KeeperError> {
        check_form(&changes)?;
        let mut records = self.records.lock().unwrap();
        let now = self.clock.now();
        records.retain(|_, kept| is_there(kept, now));
        for (n, Keep { kind, id, expect, .. }) in changes.iter().enumerate() {
            let version = records.get(&(tenant, kind, id.clone())).map(|kept| kept.version);
            let holds = match expect {
                Expect::Any => true,
                Expect::Absent => version.is_none(),
                Expect::Version(expected) => version == Some(*expected),
            };
            if !holds {
                return Err(KeeperError::Stale(n));
            }
        }
        for Keep { kind, id, bytes, expires, .. } in changes {
            let old = records.remove(&(tenant, kind, id.clone()));
            if Epochs::counts(kind) && (old.is_some() || bytes.is_some()) {
                self.epochs.grow(tenant);
            }
            if let Some(bytes) = bytes {
                let version = old.map_or(0, |old| old.version) + 1;
                records.insert((tenant, kind, id.clone()), Kept { id, version, expires, bytes });
            }
        }
        Ok(())
    }
}

fn is_there(kept: &Kept, now: Micros) -> bool {
    kept.expires.is_none_or(|time| time > now)
}

impl Keeper for Memory {
    fn get(&self, tenant: TenantId, kind: &'static str, id: &str) -> Result<Option<Kept>, KeeperError> {
        let records = self.records.lock().unwrap();
        let kept = records.get(&(tenant, kind, id.into()));
        Ok(kept.filter(|kept| is_there(kept, self.clock.now())).cloned())
    }

    fn list(
        &self,
        tenant: TenantId,
        kind: &'static str,
        prefix: &str,
        after: Option<&str>,
        count: usize,
    ) -> Result<Vec<Kept>, KeeperError> {
        let (records, now) = (self.records.lock().unwrap(), self.clock.now());
        let of_kind = records.iter().filter(|((of, name, _), _)| (*of, *name) == (tenant, kind));
        let listed = of_kind.map(|(_, kept)| kept).filter(|kept| {
            kept.id.starts_with(prefix) && after.is_none_or(|after| &*kept.id > after) && is_there(kept, now)
        });
        Ok(listed.take(count).cloned().collect())
    }

    fn keep_told(
        &self,
        tenant: TenantId,
        changes: Vec<Keep>,
        _told: Vec<(TenantId, Entry)>,
    ) -> BoxFuture<'static, Result<(), KeeperError>> {
        let outcome = self.change(tenant, changes);
        Box::pin(async { outcome })
    }

    fn epoch(&self, tenant: TenantId) -> u64 {
        self.epochs.get(tenant)
    }
}

//! What the server does by itself at intervals.

use super::{Job, Jobs, New};
use crate::auth::agent::Agent;
use crate::auth::keeper::{Expect, KeeperError};
use crate::auth::records::{self, Record};
use crate::clock::Micros;
use crate::error::Result;
use crate::tenant::TenantId;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;

/// Whether something is for a tenant.
pub type IsFor = Arc<dyn Fn(TenantId) -> bool + Send + Sync>;

/// A job that is asked for at intervals, in each tenant that it is for.
#[derive(Clone)]
pub struct Schedule {
    /// The kind of work.
    pub kind: &'static str,
    /// The interval, in seconds.
    pub every_s: u64,
    /// What is asked.
    pub parameters: Value,
    /// In which tenants.
    pub is_for: IsFor,
}

/// When a scheduled job was asked for last. Its id is the kind of work.
#[derive(Serialize, Deserialize)]
struct Last {
    micros: i64,
}

impl Record for Last {
    const KIND: &'static str = "schedule";
}

impl Jobs {
    /// Asks for a scheduled job where it is due. Of several processes one does, since the record of the last time changes with it.
    pub(super) async fn keep_schedule(&self, tenant: TenantId, schedule: &Schedule, now: Micros) -> Result<()> {
        let keeper = self.store.keeper();
        let last = records::get::<Last>(&*keeper, tenant, schedule.kind)?;
        let micros = i64::try_from(schedule.every_s.saturating_mul(1_000_000)).unwrap_or(i64::MAX);
        if last.as_ref().is_some_and(|(last, _)| now.0 < last.micros.saturating_add(micros)) {
            return Ok(());
        }
        let new = New { kind: schedule.kind, owner: Agent::server(), parameters: schedule.parameters.clone() };
        let job = Job::new(self.clock.new_id(), new, now);
        let expect = last.map_or(Expect::Absent, |(_, version)| Expect::Version(version));
        let keeps = vec![
            records::put(schedule.kind, &Last { micros: now.0 }, expect, None)?,
            records::put(&job.id, &job, Expect::Absent, None)?,
        ];
        match keeper.keep(tenant, keeps).await {
            Ok(()) => self.queue(tenant, job.id),
            Err(KeeperError::Stale(_)) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}

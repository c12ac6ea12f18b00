//! Asking for jobs, asking how they are, and cancelling them.

use super::fair::Fair;
use super::run::Runner;
use super::{Job, Schedule, State, Work};
use crate::auth::agent::Agent;
use crate::auth::grant::Grant;
use crate::auth::keeper::{Expect, Keep, Keeper, KeeperError};
use crate::auth::records::{self, Record};
use crate::auth::tenants::Tenants;
use crate::auth::witness::{Deed, Witness, keep};
use crate::clock::{Clock, Micros};
use crate::config::Limits;
use crate::error::{Category, Error, Result};
use crate::store::{Commit, CommitError, Committed, Store};
use crate::tenant::{State as TenantState, TenantId};
use futures_util::future::BoxFuture;
use serde_json::Value;
use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Records read at a time.
const PAGE: usize = 100;
/// Seconds to wait for a place among the jobs of a tenant.
const RETRY_AFTER_S: u32 = 60;
/// So often a change of a job's record is tried.
const ATTEMPTS: usize = 32;

/// How the parts of jobs are committed.
pub type Commits = Box<dyn Fn(Grant, Commit) -> BoxFuture<'static, Result<Committed, CommitError>> + Send + Sync>;

/// What is asked for.
#[derive(Debug, Clone)]
pub struct New {
    /// The kind of work.
    pub kind: &'static str,
    /// Who asks.
    pub owner: Agent,
    /// What exactly; the work's own form.
    pub parameters: Value,
}

impl New {
    /// What the server asks for by itself, without parameters.
    #[must_use]
    pub fn of_server(kind: &'static str) -> Self {
        Self { kind, owner: Agent::server(), parameters: Value::Null }
    }
}

/// The jobs of all tenants.
pub struct Jobs {
    pub(super) store: Store,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) works: Vec<Box<dyn Work>>,
    pub(super) schedules: Vec<Schedule>,
    tenants: Option<Arc<Tenants>>,
    pub(super) commits: Commits,
    /// Tells this process from others in leases.
    process: OnceLock<String>,
    most: usize,
    lifetime: i64,
    pub(super) waiting: Mutex<Waiting>,
    pub(super) arrival: std::sync::Condvar,
    pub(super) runner: Mutex<Option<Runner>>,
    /// Tells who waits that a job has changed.
    pub(super) changed: Notify,
    submitting: tokio::sync::Mutex<()>,
}

/// What the runner looks at next.
#[derive(Default)]
pub(super) struct Waiting {
    pub fair: Fair,
    /// The jobs that wait for something else, each once, and when they are looked at again: the earliest first.
    later: VecDeque<(Instant, TenantId, String)>,
    /// The tenants that are known to have jobs.
    pub tenants: BTreeSet<TenantId>,
    pub is_stopping: bool,
}

impl Waiting {
    /// Gives those their turn that have waited long enough. Answers how long it is until the next has.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<Duration> {
        while self.later.front().is_some_and(|(due, ..)| *due <= now) {
            let (_, tenant, id) = self.later.pop_front()?;
            self.fair.push(tenant, id);
        }
        self.later.front().map(|(due, ..)| due.duration_since(now))
    }

    /// Lets a job wait for a moment, unless it does already.
    pub(super) fn put_off(&mut self, until: Instant, tenant: TenantId, id: String) {
        if !self.later.iter().any(|(_, its, own)| *its == tenant && *own == id) {
            self.later.push_back((until, tenant, id));
        }
    }
}

impl Jobs {
    /// The jobs in a store. `commits` commits their parts.
    #[must_use]
    pub fn new(
        store: Store,
        clock: Arc<dyn Clock>,
        limits: &Limits,
        works: Vec<Box<dyn Work>>,
        commits: Commits,
    ) -> Self {
        let waiting = Waiting { tenants: BTreeSet::from([TenantId::DEFAULT]), ..Waiting::default() };
        Self {
            store,
            process: OnceLock::new(),
            clock,
            works,
            schedules: Vec::new(),
            tenants: None,
            commits,
            most: limits.jobs_per_tenant,
            lifetime: i64::try_from(limits.job_lifetime_s.saturating_mul(1_000_000)).unwrap_or(i64::MAX),
            waiting: Mutex::new(waiting),
            arrival: std::sync::Condvar::new(),
            runner: Mutex::default(),
            changed: Notify::new(),
            submitting: tokio::sync::Mutex::default(),
        }
    }

    /// The same, with jobs that are asked for at intervals.
    #[must_use]
    pub fn with_schedules(self, schedules: Vec<Schedule>) -> Self {
        Self { schedules, ..self }
    }

    /// The same for these tenants: their jobs are looked for, no other's state or limits count.
    #[must_use]
    pub fn with_tenants(self, tenants: Arc<Tenants>) -> Self {
        Self { tenants: Some(tenants), ..self }
    }

    /// How a tenant stands.
    pub(super) fn state_of(&self, tenant: TenantId) -> TenantState {
        self.tenants.as_ref().map_or(TenantState::Active, |tenants| tenants.of(tenant).tenant.state)
    }

    /// The tenants that may have jobs.
    pub(super) fn all_tenants(&self) -> Result<BTreeSet<TenantId>> {
        let mut all = self.waiting().tenants.clone();
        if let Some(tenants) = &self.tenants {
            all.extend(tenants.all()?.iter().map(|registered| registered.id()));
        }
        Ok(all)
    }

    fn most_of(&self, tenant: TenantId) -> usize {
        let own = self.tenants.as_ref().and_then(|tenants| tenants.of(tenant).tenant.limits.jobs);
        own.unwrap_or(self.most)
    }

    pub(super) fn process(&self) -> &str {
        self.process.get_or_init(|| self.clock.new_id())
    }

    pub(super) fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the runner look at a job.
    pub fn queue(&self, tenant: TenantId, id: String) {
        let mut waiting = self.waiting();
        waiting.tenants.insert(tenant);
        waiting.fair.push(tenant, id);
        drop(waiting);
        self.arrival.notify_all();
    }

    /// Asks for a job.
    ///
    /// # Errors
    /// 429 where the tenant has as many as `limits.jobs_per_tenant`, or its own limit, allows that have not ended.
    pub async fn submit(&self, tenant: TenantId, new: New) -> Result<Job> {
        self.submit_with(tenant, self.clock.new_id(), new, (Vec::new(), None)).await
    }

    /// The same as the change of a request, which the ledger hears of with it.
    ///
    /// # Errors
    /// As [`Jobs::submit`].
    pub async fn submit_told(&self, tenant: TenantId, new: New, witness: &Witness) -> Result<Job> {
        self.submit_with(tenant, self.clock.new_id(), new, (Vec::new(), Some(witness))).await
    }

    /// Asks for a job with an id that is known beforehand, together with other changes of records, and with what the ledger hears of it.
    ///
    /// # Errors
    /// As [`Jobs::submit`].
    pub async fn submit_with(
        &self,
        tenant: TenantId,
        id: String,
        new: New,
        (mut with, witness): (Vec<Keep>, Option<&Witness>),
    ) -> Result<Job> {
        let _one_after_the_other = self.submitting.lock().await;
        self.check_room(tenant)?;
        let job = Job::new(id, new, self.clock.now());
        with.push(records::put(&job.id, &job, Expect::Absent, None)?);
        keep(&*self.store.keeper(), tenant, with, (witness, &Deed::Asked)).await?;
        self.queue(tenant, job.id.clone());
        Ok(job)
    }

    /// Whether another job may be asked for: for who has much to do before.
    ///
    /// # Errors
    /// As [`Jobs::submit`].
    pub fn check_room(&self, tenant: TenantId) -> Result<()> {
        let under_way = self.all(tenant)?.iter().filter(|(job, _)| !job.state.is_ended()).count();
        if under_way >= self.most_of(tenant) {
            let text = "There are as many jobs as limits.jobs_per_tenant allows: wait until one has ended.";
            let mut error = Error::new(Category::TooManyRequests, "throttled", text);
            error.retry_after_s = Some(RETRY_AFTER_S);
            return Err(error);
        }
        Ok(())
    }

    /// Asks for a job of which a tenant has one at most, by the server itself and whatever the limits. One that is at work begins anew.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn submit_only(&self, tenant: TenantId, new: New) -> Result<()> {
        let kind = new.kind;
        self.store.keeper().keep(tenant, vec![Job::only(new, self.clock.now())?]).await?;
        self.queue(tenant, kind.to_owned());
        Ok(())
    }

    /// A job.
    ///
    /// # Errors
    /// When the store fails.
    pub fn get(&self, tenant: TenantId, id: &str) -> Result<Option<Job>> {
        Ok(self.versioned(tenant, id)?.map(|(job, _)| job))
    }

    pub(super) fn versioned(&self, tenant: TenantId, id: &str) -> Result<Option<(Job, u64)>> {
        Ok(records::get(&*self.store.keeper(), tenant, id)?)
    }

    /// The jobs of a tenant, the newest first: those that have not ended, and those that have not been over for longer than
    /// `limits.job_lifetime_s`.
    ///
    /// # Errors
    /// When the store fails.
    pub fn list(&self, tenant: TenantId) -> Result<Vec<Job>> {
        let mut jobs: Vec<Job> = self.all(tenant)?.into_iter().map(|(job, _)| job).collect();
        jobs.sort_by(|a, b| (b.created, &b.id).cmp(&(a.created, &a.id)));
        Ok(jobs)
    }

    pub(super) fn all(&self, tenant: TenantId) -> Result<Vec<(Job, u64)>> {
        all_of(&*self.store.keeper(), tenant)
    }

    /// Ends a job. What it did stays done; one at work ends before its next part.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn cancel(&self, tenant: TenantId, id: &str, witness: Option<&Witness>) -> Result<Option<Job>> {
        for _ in 0..ATTEMPTS {
            let Some((mut job, version)) = self.versioned(tenant, id)? else { return Ok(None) };
            if job.state.is_ended() || job.is_cancelled {
                return Ok(Some(job));
            }
            job.is_cancelled = true;
            if job.lease.is_none() {
                self.end(&mut job, State::Cancelled);
            }
            let changes = vec![self.kept(&job, version)?];
            match keep(&*self.store.keeper(), tenant, changes, (witness, &Deed::Asked)).await {
                Ok(()) => {
                    self.changed.notify_waiters();
                    return Ok(Some(job));
                }
                Err(KeeperError::Stale(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Error::new(Category::Conflict, "conflict", "The job kept changing. Try again."))
    }

    /// Forgets a job that has ended.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn forget(&self, tenant: TenantId, id: &str) -> Result<()> {
        let Some((job, version)) = self.versioned(tenant, id)? else { return Ok(()) };
        if job.state.is_ended() {
            let removed = records::remove::<Job>(id, Expect::Version(version));
            self.store.keeper().keep(tenant, vec![removed]).await?;
        }
        Ok(())
    }

    /// Waits until a job has ended, at most for a time.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn wait(&self, tenant: TenantId, id: &str, most: Duration) -> Result<Option<Job>> {
        let until = tokio::time::Instant::now() + most;
        loop {
            let changed = self.changed.notified();
            let job = self.get(tenant, id)?;
            if job.as_ref().is_none_or(|job| job.state.is_ended())
                || tokio::time::timeout_at(until, changed).await.is_err()
            {
                return Ok(job);
            }
        }
    }

    pub(super) fn end(&self, job: &mut Job, state: State) {
        let now = self.clock.now().0;
        job.state = state;
        job.lease = None;
        (job.changed, job.ended) = (Some(now), Some(now));
    }

    /// The change that keeps a job which had this version so far.
    pub(super) fn kept(&self, job: &Job, version: u64) -> Result<Keep> {
        let expires = job.ended.map(|ended| Micros(ended.saturating_add(self.lifetime)));
        Ok(records::put(&job.id, job, Expect::Version(version), expires)?)
    }
}

/// All jobs of a tenant that are kept, with their versions.
pub(super) fn all_of(keeper: &dyn Keeper, tenant: TenantId) -> Result<Vec<(Job, u64)>> {
    let (mut jobs, mut after): (Vec<_>, Option<Box<str>>) = (Vec::new(), None);
    loop {
        let page = keeper.list(tenant, Job::KIND, "", after.as_deref(), PAGE)?;
        for kept in &page {
            jobs.push((records::read::<Job>(&kept.bytes)?, kept.version));
        }
        match page.last() {
            Some(last) if page.len() == PAGE => after = Some(last.id.clone()),
            _ => return Ok(jobs),
        }
    }
}

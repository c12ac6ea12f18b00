//! The runner: one part of one job after the other.

use super::queue::Waiting;
use super::{Job, Jobs, Lease, Part, Schedule, State, Turn};
use crate::auth::grant::Grant;
use crate::auth::keeper::KeeperError;
use crate::clock::Micros;
use crate::error::{Category, Error, Result};
use crate::store::{CommitError, StoreError};
use crate::tenant::{State as TenantState, TenantId};
use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a lease lasts: far longer than a part takes.
const LEASE: i64 = 60_000_000;
/// How often the runner looks for jobs that it was not told of: those of ended leases, of other processes, and scheduled ones.
const POLL: Duration = Duration::from_secs(5);
/// For how long a job is left alone that waits for something else.
const MOMENT: Duration = Duration::from_millis(50);
/// What the thread adds to its niceness, so that the system lets requests go first.
const NICENESS: i32 = 10;

/// The thread that runs jobs.
pub(super) struct Runner(JoinHandle<()>);

/// What comes after a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// Another turn.
    Again,
    /// Another turn after a [`MOMENT`].
    Later,
    /// Nothing, or nothing before the next look around.
    Nothing,
}

impl Jobs {
    /// Runs jobs in a thread of their own until [`Jobs::stop`]; does nothing where they run already.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(self: &Arc<Self>) -> Result<()> {
        let mut runner = self.runner.lock().unwrap_or_else(PoisonError::into_inner);
        if runner.is_some() {
            return Ok(());
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().map_err(Error::internal)?;
        let jobs = Arc::clone(self);
        let run = move || {
            if let Err(error) = rustix::process::nice(NICENESS) {
                tracing::debug!(%error, "jobs run with the priority of requests");
            }
            runtime.block_on(jobs.run());
        };
        let thread = std::thread::Builder::new().name("pharos-jobs".into()).spawn(run).map_err(Error::internal)?;
        *runner = Some(Runner(thread));
        Ok(())
    }

    /// Ends the thread after the part it is at. What was not done goes on at the next start.
    pub fn stop(&self) {
        if let Some(Runner(thread)) = self.dismiss()
            && thread.join().is_err()
        {
            tracing::error!("the thread of the jobs ended abnormally");
        }
    }

    /// The same, but waits for nothing: the thread ends by itself, or with the process. A later [`Jobs::stop`] does not wait for it either.
    pub fn leave(&self) {
        drop(self.dismiss());
    }

    /// Says that there are no more turns, and gives the thread.
    fn dismiss(&self) -> Option<Runner> {
        self.waiting().is_stopping = true;
        self.arrival.notify_all();
        self.runner.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    async fn run(&self) {
        let mut looked: Option<Instant> = None;
        while !matches!(self.store.health(), Err(StoreError::Closed(_))) {
            if looked.is_none_or(|looked| looked.elapsed() >= POLL) {
                self.look_around().await;
                looked = Some(Instant::now());
            }
            let next = {
                let is_idle = |waiting: &mut Waiting| !waiting.is_stopping && waiting.fair.is_empty();
                let mut waiting = self.waiting();
                let most = waiting.take_due(Instant::now()).map_or(POLL, |left| left.min(POLL));
                let waited = self.arrival.wait_timeout_while(waiting, most, is_idle);
                let (mut waiting, _) = waited.unwrap_or_else(PoisonError::into_inner);
                if waiting.is_stopping {
                    return;
                }
                waiting.fair.pop()
            };
            if let Some((tenant, id)) = next {
                self.turn_and_queue(tenant, id).await;
            }
        }
    }

    /// Queues what waits in the store, and what is due.
    pub(super) async fn look_around(&self) {
        let tenants = self.all_tenants().unwrap_or_else(|error| {
            tracing::warn!(?error, "the tenants can't be read");
            BTreeSet::new()
        });
        for tenant in tenants {
            let state = self.state_of(tenant);
            let is_due = |schedule: &&Schedule| state == TenantState::Active && (schedule.is_for)(tenant);
            for schedule in self.schedules.iter().filter(is_due) {
                if let Err(error) = self.keep_schedule(tenant, schedule, self.clock.now()).await {
                    tracing::warn!(?error, kind = schedule.kind, "a scheduled job can't be asked for");
                }
            }
            match self.all(tenant) {
                Ok(jobs) => {
                    let under_way = jobs.into_iter().map(|(job, _)| job).filter(|job| !job.state.is_ended());
                    under_way
                        .filter(|job| state != TenantState::Suspended || self.is_for_suspended(&job.kind))
                        .filter(|job| self.may_take(job, self.clock.now()))
                        .for_each(|job| self.queue(tenant, job.id));
                }
                Err(error) => tracing::warn!(?error, "the jobs of a tenant can't be read"),
            }
        }
    }

    /// Gives a job turns until it has ended or can't go on now: for the command line.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn run_to_end(&self, tenant: TenantId, id: &str) -> Result<Option<Job>> {
        loop {
            match self.turn(tenant, id).await? {
                Next::Again => {}
                Next::Later => tokio::time::sleep(MOMENT).await,
                Next::Nothing => return self.get(tenant, id),
            }
        }
    }

    async fn turn_and_queue(&self, tenant: TenantId, id: String) {
        match self.turn(tenant, &id).await {
            Ok(Next::Again) => self.queue(tenant, id),
            Ok(Next::Later) => self.waiting().put_off(Instant::now() + MOMENT, tenant, id),
            Ok(Next::Nothing) => {}
            Err(error) => tracing::warn!(?error, job = id, "a job had no turn"),
        }
    }

    /// Whether a kind of work is done in tenants that are suspended.
    fn is_for_suspended(&self, kind: &str) -> bool {
        self.works.iter().any(|work| work.kind() == kind && work.is_for_suspended())
    }

    /// Whether this process may work at a job: nobody does, or who did is gone. Only one process can have a local store open.
    fn may_take(&self, job: &Job, now: Micros) -> bool {
        job.lease.as_ref().is_none_or(|lease| lease.is_free_for(self.process(), now, self.store.is_local()))
    }

    /// One turn of one job.
    async fn turn(&self, tenant: TenantId, id: &str) -> Result<Next> {
        let found = self.versioned(tenant, id)?;
        let now = self.clock.now();
        let is_wanted = |job: &Job| !job.is_cancelled && !job.state.is_ended() && self.may_take(job, now);
        if !found.as_ref().is_some_and(|(job, _)| is_wanted(job)) {
            self.works.iter().for_each(|work| work.give_up(tenant, id));
        }
        let Some((mut job, version)) = found else { return Ok(Next::Nothing) };
        if job.state.is_ended() || !self.may_take(&job, now) {
            return Ok(Next::Nothing);
        }
        if job.is_cancelled {
            self.end(&mut job, State::Cancelled);
            return self.save(tenant, &job, version).await;
        }
        let Some(work) = self.works.iter().find(|work| work.kind() == job.kind) else {
            return self.fail(tenant, job, version, "This version of the server has no such work.".into()).await;
        };
        match self.state_of(tenant) {
            TenantState::Suspended if !work.is_for_suspended() => {
                work.rest(tenant, id);
                return Ok(Next::Nothing);
            }
            TenantState::Deleted if !work.is_for_deleted() => {
                return self.fail(tenant, job, version, "The tenant was deleted.".into()).await;
            }
            TenantState::Active | TenantState::Suspended | TenantState::Deleted => {}
        }
        let is_mine = job.lease.as_ref().is_some_and(|lease| lease.process == self.process());
        let is_leased = job.lease.as_ref().is_some_and(|lease| lease.until.saturating_sub(now.0) > LEASE / 2);
        job.lease = Some(Lease { process: self.process().to_owned(), until: now.0.saturating_add(LEASE) });
        if !is_mine {
            // Taken first, so that no other process begins the same part.
            job.state = State::Active;
            job.started.get_or_insert(now.0);
            return self.save(tenant, &job, version).await;
        }
        let grant = Grant::unrestricted(tenant);
        let turn = Turn { job: &job, store: &self.store, grant: grant.clone(), now };
        let step = std::panic::catch_unwind(AssertUnwindSafe(|| work.step(&turn)));
        match step.unwrap_or_else(|_| Err(Error::internal("a job panicked"))) {
            Ok(part) if part.is_waiting && is_leased => Ok(Next::Later),
            Ok(part) => self.commit(grant, job, version, part).await,
            Err(error) if error.category == Category::Unavailable => self.postpone(tenant, job, version, &error).await,
            Err(error) => {
                tracing::warn!(?error, job = job.id, kind = job.kind, "a job failed");
                let text = error.issues.iter().map(|issue| &*issue.diagnostics).collect::<Vec<_>>().join(" ");
                self.fail(tenant, job, version, text).await
            }
        }
    }

    /// Commits a part and the job's record as one.
    async fn commit(&self, grant: Grant, mut job: Job, version: u64, part: Part) -> Result<Next> {
        let Part { mut commit, position, report, done, total, is_last, .. } = part;
        let before = job.clone();
        (job.position, job.report, job.total, job.failure) = (position, report, total, None);
        job.done += done;
        job.changed = Some(self.clock.now().0);
        if is_last {
            self.end(&mut job, State::Done);
        }
        commit.keeps.push(self.kept(&job, version)?);
        let tenant = grant.tenant();
        match (self.commits)(grant, commit).await {
            Ok(_) => {
                self.changed.notify_waiters();
                Ok(if is_last { Next::Nothing } else { Next::Again })
            }
            Err(CommitError::Stale { .. } | CommitError::Touched) => Ok(Next::Again),
            // Whether it happened, the record tells at the next turn.
            Err(CommitError::Store(
                error @ (StoreError::OutcomeUnknown(_)
                | StoreError::Busy
                | StoreError::Unreachable(_)
                | StoreError::ReadOnly(_)
                | StoreError::Closed(_)),
            )) => {
                tracing::warn!(%error, job = job.id, "the part of a job could not be committed");
                Ok(Next::Nothing)
            }
            Err(CommitError::Store(error)) => {
                tracing::error!(%error, job = job.id, kind = job.kind, "a job failed");
                let text = "The store can't read what this job is about: `pharos check` names it.";
                self.fail(tenant, before, version, text.into()).await
            }
        }
    }

    async fn postpone(&self, tenant: TenantId, mut job: Job, version: u64, error: &Error) -> Result<Next> {
        tracing::warn!(?error, job = job.id, kind = job.kind, "a job can't go on now");
        job.failure = error.issues.first().map(|issue| issue.diagnostics.clone().into_owned());
        self.save(tenant, &job, version).await.map(|_| Next::Nothing)
    }

    async fn fail(&self, tenant: TenantId, mut job: Job, version: u64, why: String) -> Result<Next> {
        // It has no other turn in which that could be seen.
        self.works.iter().for_each(|work| work.give_up(tenant, &job.id));
        job.failure = Some(why);
        self.end(&mut job, State::Failed);
        self.save(tenant, &job, version).await
    }

    /// Keeps the record. Where another changed it, the next turn sees what is wanted.
    async fn save(&self, tenant: TenantId, job: &Job, version: u64) -> Result<Next> {
        match self.store.keeper().keep(tenant, vec![self.kept(job, version)?]).await {
            Ok(()) => {
                self.changed.notify_waiters();
                Ok(if job.state.is_ended() { Next::Nothing } else { Next::Again })
            }
            Err(KeeperError::Stale(_)) => Ok(Next::Again),
            Err(error) => Err(error.into()),
        }
    }
}

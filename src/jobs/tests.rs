//! Jobs on a store of their own.

use super::*;
use crate::auth::tenants::Tenants;
use crate::clock::Clock;
use crate::config::{self, Limits};
use crate::error::{Category, Error};
use crate::store::contract::{commit, put};
use crate::store::embedded::{Embedded, Options};
use crate::store::{Backend, Rid};
use crate::tenant::State as TenantState;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

const TENANT: TenantId = TenantId(3);
const HOUR: i64 = 3_600_000_000;

/// A clock that stands still until it is moved.
#[derive(Default)]
struct Still {
    now: AtomicI64,
    ids: AtomicU64,
}

impl Clock for Still {
    fn now(&self) -> Micros {
        Micros(self.now.load(Ordering::SeqCst))
    }

    fn new_id(&self) -> String {
        format!("id-{:04}", self.ids.fetch_add(1, Ordering::SeqCst))
    }
}

/// What a test does before each part: with the number of the part.
type Before = Box<dyn Fn(u64) -> Result<()> + Send + Sync>;

/// Writes `Basic/{job}-{n}` for each n up to a number, one a part.
struct Writing {
    before: Before,
    turns: Mutex<Vec<String>>,
}

impl Work for Arc<Writing> {
    fn kind(&self) -> &'static str {
        "writing"
    }

    fn step(&self, turn: &Turn<'_>) -> Result<Part> {
        let (n, last) = (turn.job.position.as_u64().unwrap_or(1), turn.job.parameters.as_u64().unwrap());
        (self.before)(n)?;
        self.turns.lock().unwrap().push(format!("{} {n}", turn.tenant().0));
        let mut part = turn.part();
        part.commit.changes.push(put("Basic", &format!("{}-{n}", turn.job.id), "", &["k\0x"]));
        Ok(Part { position: (n + 1).into(), done: 1, total: Some(last), is_last: n == last, ..part })
    }
}

struct House {
    _folder: tempfile::TempDir,
    store: Arc<Embedded>,
    clock: Arc<Still>,
    work: Arc<Writing>,
    jobs: Arc<Jobs>,
}

fn jobs(store: &Arc<Embedded>, clock: &Arc<Still>, work: &Arc<Writing>) -> Jobs {
    let limits = Limits { jobs_per_tenant: 3, job_lifetime_s: 3600, ..Limits::default() };
    let store = Store::new(Arc::clone(store) as Arc<dyn Backend>);
    let commits = store.clone();
    let commit: Commits = Box::new(move |grant, commit| {
        let store = commits.clone();
        Box::pin(async move { store.commit(&grant, commit).await })
    });
    Jobs::new(store, Arc::clone(clock) as Arc<dyn Clock>, &limits, vec![Box::new(Arc::clone(work))], commit)
}

fn house(before: impl Fn(u64) -> Result<()> + Send + Sync + 'static) -> House {
    let (folder, clock) = (tempfile::tempdir().unwrap(), Arc::new(Still::default()));
    let options = Options { free_floor_mib: 0, ..Options::at(folder.path().join("store")) };
    let store = Arc::new(Embedded::open(options, Arc::clone(&clock) as Arc<dyn Clock>).unwrap());
    let work = Arc::new(Writing { before: Box::new(before), turns: Mutex::default() });
    let jobs = Arc::new(jobs(&store, &clock, &work));
    House { _folder: folder, store, clock, work, jobs }
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
}

fn writing(count: u64) -> New {
    New { kind: "writing", owner: Agent::server(), parameters: count.into() }
}

impl House {
    fn submit(&self, count: u64) -> Job {
        block_on(self.jobs.submit(TENANT, writing(count))).unwrap()
    }

    fn run(&self, job: &Job) -> Job {
        block_on(self.jobs.run_to_end(TENANT, &job.id)).unwrap().unwrap()
    }

    /// The versions that there are of what a job wrote.
    fn written(&self, job: &Job) -> Vec<u64> {
        let view = self.store.view(TENANT).unwrap();
        let own = |outline: &crate::store::Outline| outline.id.starts_with(&job.id);
        view.resources(Rid(0)).map(Result::unwrap).filter(own).map(|outline| outline.version).collect()
    }
}

#[test]
fn a_job_runs_part_by_part_and_is_forgotten_after_its_time() {
    let house = house(|_| Ok(()));
    let job = house.submit(5);
    assert_eq!((job.state, job.rate_per_s()), (State::Queued, None));
    let done = house.run(&job);
    assert_eq!((done.state, done.done, done.total, done.lease.clone()), (State::Done, 5, Some(5), None));
    assert_eq!(house.written(&job), [1; 5]);
    assert_eq!(house.jobs.list(TENANT).unwrap(), std::slice::from_ref(&done));
    house.clock.now.store(HOUR, Ordering::SeqCst);
    assert_eq!(house.jobs.get(TENANT, &job.id).unwrap(), None);
    let half = Job { started: Some(0), changed: Some(2_000_000), ended: None, total: Some(25), ..done };
    assert_eq!((half.rate_per_s(), half.left_s()), (Some(2.5), Some(8)));
}

#[test]
fn a_tenant_has_only_so_many_jobs() {
    let house = house(|_| Ok(()));
    let first = house.submit(1);
    house.submit(1);
    house.submit(1);
    let error = block_on(house.jobs.submit(TENANT, writing(1))).unwrap_err();
    assert_eq!((error.category, error.retry_after_s.is_some()), (Category::TooManyRequests, true));
    assert!(error.to_string().contains("limits.jobs_per_tenant"));
    block_on(house.jobs.submit(TenantId(4), writing(1))).unwrap();
    house.run(&first);
    house.submit(1);
}

#[test]
fn a_part_whose_job_was_cancelled_changes_nothing() {
    let jobs: Arc<OnceLock<(Arc<Jobs>, Job)>> = Arc::default();
    let cancels = Arc::clone(&jobs);
    let house = house(move |n| {
        let (jobs, job) = cancels.get().unwrap();
        // In a thread of its own, as a request would be.
        let cancel = || block_on(jobs.cancel(TENANT, &job.id, None)).unwrap();
        if n == 3 {
            std::thread::scope(|scope| drop(scope.spawn(cancel).join().unwrap()));
        }
        Ok(())
    });
    let job = house.submit(5);
    assert!(jobs.set((Arc::clone(&house.jobs), job.clone())).is_ok());
    let ended = house.run(&job);
    assert_eq!((ended.state, ended.done), (State::Cancelled, 2));
    assert_eq!(house.written(&job), [1, 1]);
    let waiting = house.submit(5);
    let cancelled = block_on(house.jobs.cancel(TENANT, &waiting.id, None)).unwrap().unwrap();
    assert_eq!(cancelled.state, State::Cancelled, "nobody was at it");
    assert_eq!(house.run(&waiting).done, 0);
    block_on(house.jobs.forget(TENANT, &waiting.id)).unwrap();
    assert_eq!(house.jobs.get(TENANT, &waiting.id).unwrap(), None);
    assert_eq!(block_on(house.jobs.cancel(TENANT, "never", None)).unwrap(), None);
}

#[test]
fn what_fails_is_told_and_what_may_go_better_goes_on() {
    let house = house(|n| match n {
        2 => Err(Error::unavailable("The disk is busy.", "log")),
        _ => Ok(()),
    });
    let waits = house.run(&house.submit(3));
    assert_eq!((waits.state, waits.done, waits.failure.as_deref()), (State::Active, 1, Some("The disk is busy.")));
    let other =
        jobs(&house.store, &house.clock, &Arc::new(Writing { before: Box::new(|_| Ok(())), turns: Mutex::default() }));
    let done = block_on(other.run_to_end(TENANT, &waits.id)).unwrap().unwrap();
    assert_eq!((done.state, done.done, done.failure.clone()), (State::Done, 3, None));
    assert_eq!(house.written(&done), [1; 3]);
}

#[test]
#[allow(clippy::panic)]
fn a_failure_ends_a_job_and_a_panic_too() {
    let house = house(|n| match n {
        2 => Err(Error::invalid("There is no such type.")),
        _ => panic!("on purpose"),
    });
    let panicked = house.run(&house.submit(3));
    assert_eq!((panicked.state, panicked.done), (State::Failed, 0));
    let job = house.submit(3);
    let job = Job { position: 2.into(), ..job };
    block_on(house.jobs.store.keeper().keep(TENANT, vec![house.jobs.kept(&job, 1).unwrap()])).unwrap();
    let failed = house.run(&job);
    assert_eq!((failed.state, failed.failure.as_deref()), (State::Failed, Some("There is no such type.")));
    let unknown = New { kind: "other", ..writing(1) };
    let unknown = block_on(house.jobs.submit(TENANT, unknown)).unwrap();
    assert_eq!(house.run(&unknown).state, State::Failed);
}

#[test]
fn a_lease_is_respected_until_it_ends() {
    let lease = Lease { process: "a".into(), until: 10 };
    assert!(lease.is_free_for("a", Micros(5), false));
    assert!(!lease.is_free_for("b", Micros(10), false));
    assert!(lease.is_free_for("b", Micros(11), false));
    assert!(lease.is_free_for("b", Micros(5), true), "the process that had it is gone");
}

/// Two that work at one job, each taking it from the other, do nothing twice.
#[test]
fn whoever_works_at_it_no_part_happens_twice() {
    let house = house(|_| Ok(()));
    let job = house.submit(20);
    let other = jobs(&house.store, &house.clock, &house.work);
    std::thread::scope(|scope| {
        for jobs in [&*house.jobs, &other] {
            scope.spawn(|| block_on(jobs.run_to_end(TENANT, &job.id)).unwrap());
        }
    });
    let done = house.jobs.get(TENANT, &job.id).unwrap().unwrap();
    assert_eq!((done.state, done.done), (State::Done, 20));
    assert_eq!(house.written(&job), [1; 20]);
}

#[test]
fn the_thread_gives_every_tenant_its_turn() {
    let house = house(|_| Ok(()));
    let long = house.submit(30);
    let small = block_on(house.jobs.submit(TenantId(4), writing(3))).unwrap();
    house.jobs.start().unwrap();
    let minute = std::time::Duration::from_mins(1);
    let done = block_on(house.jobs.wait(TENANT, &long.id, minute)).unwrap().unwrap();
    assert_eq!(done.state, State::Done);
    assert_eq!(house.jobs.get(TenantId(4), &small.id).unwrap().unwrap().state, State::Done);
    let turns = house.work.turns.lock().unwrap().clone();
    let last_of_small = turns.iter().position(|turn| turn == "4 3").unwrap();
    assert!(last_of_small <= 7, "{turns:?}");
    house.jobs.stop();
    let later = house.submit(1);
    let job = block_on(house.jobs.wait(TENANT, &later.id, std::time::Duration::ZERO)).unwrap().unwrap();
    assert_eq!(job.state, State::Queued, "nobody runs it");
}

#[test]
fn what_is_scheduled_is_asked_for_when_it_is_due() {
    let house = house(|_| Ok(()));
    let schedule = Schedule { kind: "writing", every_s: 3600, parameters: 1.into(), is_for: Arc::new(|_| true) };
    let own = jobs(&house.store, &house.clock, &house.work).with_schedules(vec![schedule]);
    let look = || {
        block_on(own.look_around());
        own.list(TenantId::DEFAULT).unwrap().len()
    };
    assert_eq!((look(), look()), (1, 1));
    house.clock.now.store(HOUR - 1, Ordering::SeqCst);
    assert_eq!(look(), 1);
    house.clock.now.store(HOUR, Ordering::SeqCst);
    assert_eq!((look(), look()), (2, 2));
    let jobs = own.list(TenantId::DEFAULT).unwrap();
    assert_eq!((jobs[0].created, &jobs[0].parameters), (HOUR, &1.into()));
}

#[test]
fn a_commit_that_others_make_does_not_disturb_a_job() {
    let house = house(|_| Ok(()));
    let job = house.submit(3);
    commit(&*house.store, TENANT, vec![put("Basic", &format!("{}-2", job.id), "", &[])]).unwrap();
    house.run(&job);
    let mut written = house.written(&job);
    written.sort_unstable();
    assert_eq!(written, [1, 1, 2]);
}

/// Waits in its first turns for something else.
struct Waits {
    turns: AtomicU64,
    clock: Arc<Still>,
}

impl Work for Waits {
    fn kind(&self) -> &'static str {
        "writing"
    }

    fn step(&self, turn: &Turn<'_>) -> Result<Part> {
        let nth = self.turns.fetch_add(1, Ordering::SeqCst);
        // In the fourth turn most of the lease is over.
        self.clock.now.store(if nth < 2 { 0 } else { 40_000_000 }, Ordering::SeqCst);
        Ok(Part { is_waiting: nth < 5, is_last: nth == 5, ..turn.part() })
    }
}

#[test]
fn while_a_job_waits_nothing_is_kept_but_its_lease() {
    let house = house(|_| Ok(()));
    let mut jobs = jobs(&house.store, &house.clock, &house.work);
    jobs.works = vec![Box::new(Waits { turns: AtomicU64::new(0), clock: Arc::clone(&house.clock) })];
    let job = block_on(jobs.submit(TENANT, writing(1))).unwrap();
    let done = block_on(jobs.run_to_end(TENANT, &job.id)).unwrap().unwrap();
    assert_eq!(done.state, State::Done);
    let (_, version) = jobs.versioned(TENANT, &job.id).unwrap().unwrap();
    assert_eq!(version, 4, "asked for, taken, the lease made longer once, done");
}

/// Never has a part, and hears what it has to leave.
#[derive(Default)]
struct Leaves(Mutex<Vec<String>>);

impl Work for Arc<Leaves> {
    fn kind(&self) -> &'static str {
        "writing"
    }

    fn step(&self, _: &Turn<'_>) -> Result<Part> {
        Err(Error::invalid("There is no such type."))
    }

    fn give_up(&self, tenant: TenantId, id: &str) {
        self.0.lock().unwrap().push(format!("{} {id} is given up", tenant.0));
    }

    fn rest(&self, tenant: TenantId, id: &str) {
        self.0.lock().unwrap().push(format!("{} {id} rests", tenant.0));
    }
}

#[test]
fn what_a_job_has_is_left_when_it_fails_and_while_its_tenant_is_suspended() {
    let house = house(|_| Ok(()));
    let mut jobs = jobs(&house.store, &house.clock, &house.work);
    let left = Arc::new(Leaves::default());
    jobs.works = vec![Box::new(Arc::clone(&left))];
    let tenants = Arc::new(Tenants::new(jobs.store.keeper(), &config::Auth::default(), "https://a.example".into()));
    let own = block_on(tenants.create(&serde_json::json!({ "name": "a" }), 1, Micros(0), None)).unwrap().id();
    let jobs = jobs.with_tenants(Arc::clone(&tenants));
    let turn_of = |state| {
        block_on(tenants.set_state("a", None, state, None)).unwrap();
        let job = block_on(jobs.submit(own, writing(1))).unwrap();
        let ended = block_on(jobs.run_to_end(own, &job.id)).unwrap().unwrap();
        let left = std::mem::take(&mut *left.0.lock().unwrap());
        (ended.state, left.into_iter().map(|what| what.replace(&job.id, "it")).collect::<Vec<_>>())
    };
    assert_eq!(turn_of(TenantState::Active), (State::Failed, vec!["1 it is given up".to_owned()]));
    assert_eq!(turn_of(TenantState::Suspended), (State::Queued, vec!["1 it rests".to_owned()]));
    assert_eq!(turn_of(TenantState::Deleted), (State::Failed, vec!["1 it is given up".to_owned()]));
}

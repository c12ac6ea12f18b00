//! The job that rewrites what a tenant has in older forms, cut off in the middle.

use super::migration::{KIND, Migrate, Parameters};
use super::{Commits, Job, Jobs, State};
use crate::clock::{Clock, FixedClock, Micros};
use crate::config::Limits;
use crate::store::contract::erase::before;
use crate::store::contract::{commit, put, wait};
use crate::store::embedded::{Embedded, Options};
use crate::store::schema::{BESIDE, MIGRATIONS, Program, Stand, WRITES};
use crate::store::{Backend, Commit, Store, StoreError};
use crate::tenant::TenantId;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const TENANT: TenantId = TenantId(3);
const RESOURCES: usize = 450;

static OLDER: Program = Program { writes: BESIDE, beside: BESIDE, opens: BESIDE, migrations: MIGRATIONS };

fn open(folder: &tempfile::TempDir, program: &'static Program) -> Arc<Embedded> {
    let options = Options { free_floor_mib: 0, program, ..Options::at(folder.path().join("store")) };
    Arc::new(Embedded::open(options, FixedClock::at(Micros(0)) as Arc<dyn Clock>).unwrap())
}

/// Jobs of which so many parts are committed.
fn jobs(store: &Arc<Embedded>, parts: usize) -> Jobs {
    let store = Store::new(Arc::clone(store) as Arc<dyn Backend>);
    let (commits, left) = (store.clone(), AtomicUsize::new(parts));
    let commit: Commits = Box::new(move |grant, commit| {
        let store = commits.clone();
        let is_cut = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_err();
        Box::pin(async move {
            if is_cut { Err(StoreError::Closed("cut off".into()).into()) } else { store.commit(&grant, commit).await }
        })
    });
    Jobs::new(store, FixedClock::at(Micros(0)) as Arc<dyn Clock>, &Limits::default(), vec![Box::new(Migrate)], commit)
}

fn run(jobs: &Jobs) -> Job {
    wait(async { Ok::<_, StoreError>(jobs.run_to_end(TENANT, KIND).await.unwrap().unwrap()) }).unwrap()
}

#[test]
fn a_migration_that_is_cut_off_goes_on_where_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder, &OLDER);
    for text in ["first", "second"] {
        let all = (0..RESOURCES).map(|n| put("Basic", &format!("b{n}"), text, &[]));
        commit(&*store, TENANT, all.collect()).unwrap();
    }
    let erasures = (0..RESOURCES).map(|n| before("Basic", &format!("b{n}"), 2)).collect();
    wait(store.commit(Commit { erasures, ..Commit::of(TENANT) })).unwrap();
    store.close().unwrap();
    drop(store);

    let store = open(&folder, &crate::store::schema::PHAROS);
    let schemas = store.schemas().unwrap();
    schemas.advance().unwrap();
    let parameters = Parameters { pass: schemas.stand().unwrap().rewriting.unwrap().pass };
    let cut = jobs(&store, 3);
    wait(async {
        cut.submit_only(TENANT, parameters.job().unwrap()).await.unwrap();
        Ok::<_, StoreError>(())
    })
    .unwrap();
    let job = run(&cut);
    assert_eq!((job.state, job.done), (State::Active, 300), "three parts of a hundred");
    assert!(parameters.are_of(&job) && !Parameters { pass: "another".into() }.are_of(&job));
    store.close().unwrap();
    drop((cut, store));

    let store = open(&folder, &crate::store::schema::PHAROS);
    let done = run(&jobs(&store, usize::MAX));
    assert_eq!((done.state, done.done), (State::Done, RESOURCES as u64), "none twice");
    let schemas = store.schemas().unwrap();
    schemas.finish(&parameters.pass).unwrap();
    assert_eq!(schemas.stand().unwrap(), Stand::of(WRITES));
}

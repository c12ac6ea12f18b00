//! Random histories of several clients, held against an oracle, with the store closed and opened again in between.

use crate::support::mongodb::new_database;
use crate::workload::{Oracle, Rng, commit, first_seed, step, verify_all};
use futures_util::future::join_all;
use pharos::clock::{FixedClock, Micros};
use pharos::store::embedded::{Embedded, Options, check};
use pharos::store::mongo::{self, Mongo};
use pharos::store::{Backend, Commit};
use pharos::tenant::TenantId;

const CLIENTS: [&str; 4] = ["a", "b", "c", "d"];

#[test]
fn random_histories_agree_with_an_oracle() {
    let first = first_seed(1);
    for seed in first..first + 12 {
        println!("seed {seed}");
        let folder = tempfile::tempdir().unwrap();
        // Checkpoints come every few groups.
        let options = Options { most_groups_in_journals: 3, ..Options::at(folder.path().join("store")) };
        let open = |time| Embedded::open(options.clone(), FixedClock::at(time)).unwrap();
        one_history(seed, open, || assert_eq!(check(&options).unwrap().problems, Vec::<String>::new()));
    }
}

#[test]
fn random_histories_agree_with_an_oracle_on_mongodb() {
    let first = first_seed(1);
    for seed in first..first + 3 {
        let Some(address) = new_database() else { return };
        println!("seed {seed}");
        let folder = tempfile::tempdir().unwrap();
        let options = mongo::Options::at(address, folder.path().join("key"));
        one_history(seed, |time| Mongo::open(options.clone(), FixedClock::at(time)).unwrap(), || {});
    }
}

/// Commits are handed over many at a time, so that groups of every size are made. `check` looks at what a closed store has left.
fn one_history<S: Backend>(seed: u64, open: impl Fn(Micros) -> S, check: impl Fn()) {
    let tenant = TenantId(7);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut rng = Rng(seed);
    let mut oracle = Oracle::default();
    let mut steps = [0; 4];
    for life in 0..3 {
        let store = open(Micros(life * 1000));
        // While a tenant's key is made, commits that come together wait for it, and go on in any order.
        runtime.block_on(store.commit(Commit::of(tenant))).unwrap();
        for _ in 0..10 {
            let (mut waiting, mut committed) = (Vec::new(), Vec::new());
            for _ in 0..=rng.below(12) {
                let client = rng.below(4) as usize;
                let ops = step(seed, CLIENTS[client], steps[client]);
                steps[client] += 1;
                oracle.apply(&ops);
                // What is erased depends on what is there.
                if ops.iter().any(|op| op.is_erasure) {
                    committed.extend(runtime.block_on(join_all(waiting.drain(..))).into_iter().map(Result::unwrap));
                }
                waiting.push(store.commit(commit(&*store.view(tenant).unwrap(), tenant, &ops)));
            }
            committed.extend(runtime.block_on(join_all(waiting)).into_iter().map(Result::unwrap));
            assert!(committed.is_sorted_by(|a, b| a.time < b.time), "time rises, whatever the clock says");
        }
        let view = store.view(tenant).unwrap();
        for (client, steps) in CLIENTS.iter().zip(steps) {
            assert_eq!(Oracle::observe(&*view, client), Oracle::after(seed, client, steps));
        }
        verify_all(&*view, &oracle);
        drop(view);
        store.close().unwrap();
        drop(store);
        check();
    }
}

//! Power cuts: kill -9 keeps what the system has cached, so it proves no fsync. Here a killed process also loses every byte
//! that it did not sync, at the file layer.

use crate::crash::{verify_answered, write_until_killed};
use crate::disk::Disk;
use crate::workload::{Rng, first_seed};
use pharos::clock::SystemClock;
use pharos::store::Backend;
use pharos::store::embedded::{Embedded, Options, check};
use std::sync::Arc;

#[test]
fn answered_writes_survive_the_loss_of_what_was_not_synced() {
    let first = first_seed(500);
    for life in 0..3 {
        let folder = tempfile::tempdir().unwrap();
        let options = Options::at(folder.path().join("root/store"));
        let disk = Disk::new(&folder.path().join("root"), &folder.path().join("orders"));
        for round in 0..4 {
            let seed = first + life * 10 + round;
            let answers = 1 + Rng(seed).below(1000);
            disk.all_is_safe();
            let told =
                write_until_killed(&options.folder, seed, &format!("r{round}"), answers, |writer| disk.under(writer));
            let lost = disk.lose_what_was_not_synced();
            let store = Embedded::open(options.clone(), Arc::new(SystemClock)).unwrap();
            verify_answered(&store, seed, &told);
            println!("seed {seed}: {answers} answers, then {lost} bytes were lost");
            store.close().unwrap();
        }
        assert_eq!(check(&options).unwrap().problems, Vec::<String>::new());
    }
}

//! Processes that are killed while 64 clients write.
//!
//! A test starts this binary again with [`WRITER`] in its environment: that process opens the store, lets 64 clients write,
//! and tells each answered commit on its standard output, until it is killed. Before each commit a client uses up its code and
//! gets the next one, as when a refresh token is rotated.

use crate::workload::{Oracle, Rng, commit, first_seed, step};
use pharos::auth::keeper::{Expect, Keep, Keeper};
use pharos::clock::{Micros, SystemClock};
use pharos::store::Backend;
use pharos::store::contract::keeper::{put, remove};
use pharos::store::embedded::{Embedded, Options, check};
use pharos::tenant::TenantId;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

const WRITER: &str = "PHAROS_TEST_WRITER";
pub const TENANT: TenantId = TenantId(1);
pub const CLIENTS: usize = 64;

/// The other process; in an ordinary run there is nothing to do.
#[test]
fn writer_process() {
    let Ok(folder) = std::env::var(WRITER) else { return };
    let name = std::env::var("PHAROS_TEST_ROUND").unwrap();
    let seed = std::env::var("PHAROS_TEST_SEED").unwrap().parse().unwrap();
    let store = Arc::new(Embedded::open(options_at(folder), Arc::new(SystemClock)).unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let clients = (0..CLIENTS).map(|n| runtime.spawn(write_on(Arc::clone(&store), seed, format!("{name}c{n}"))));
    runtime.block_on(futures_util::future::join_all(clients));
}

async fn write_on(store: Arc<Embedded>, seed: u64, client: String) {
    for n in 0.. {
        store.keep(TENANT, next_code(&client, n)).await.unwrap();
        let commit = commit(&*store.view(TENANT).unwrap(), TENANT, &step(seed, &client, n));
        store.commit(commit).await.unwrap();
        writeln!(std::io::stdout().lock(), "ack {client} {n}").unwrap();
    }
}

/// The change that uses up code `n - 1` of a client and makes code `n`.
fn next_code(client: &str, n: u64) -> Vec<Keep> {
    let id = |n| format!("{client}~{n}");
    let code = Keep { expires: Some(Micros(i64::MAX / 2)), expect: Expect::Absent, ..put("code", &id(n), client) };
    let used = n.checked_sub(1).map(|n| Keep { expect: Expect::Version(1), ..remove("code", &id(n)) });
    used.into_iter().chain([code]).collect()
}

/// The writer's options: with a checkpoint every fifty groups, so that some rounds end in the middle of one.
fn options_at(folder: impl Into<std::path::PathBuf>) -> Options {
    Options { most_groups_in_journals: 100, ..Options::at(folder) }
}

/// Starts the writer, kills it at the given answer, and returns for each client how many steps were answered.
pub fn write_until_killed(
    folder: &Path,
    seed: u64,
    round: &str,
    answers_before: u64,
    prepare: impl FnOnce(&mut Command),
) -> BTreeMap<String, u64> {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "crash::writer_process", "--nocapture"]);
    command.env(WRITER, folder).env("PHAROS_TEST_ROUND", round).env("PHAROS_TEST_SEED", seed.to_string());
    command.stdout(Stdio::piped()).stderr(Stdio::inherit());
    prepare(&mut command);
    let mut writer = command.spawn().unwrap();
    let mut told = BTreeMap::new();
    let mut heard = 0;
    for line in BufReader::new(writer.stdout.take().unwrap()).lines().map_while(Result::ok) {
        let Some((client, step)) = line.strip_prefix("ack ").and_then(|ack| ack.split_once(' ')) else { continue };
        // The last line can be torn by the kill: then a smaller step is read, of which more than enough is there.
        let Ok(number) = step.parse::<u64>() else { continue };
        let known = told.entry(client.to_owned()).or_insert(0);
        *known = (number + 1).max(*known);
        heard += 1;
        if heard == answers_before {
            writer.kill().unwrap();
        }
    }
    assert!(!writer.wait().unwrap().success());
    assert!(heard >= answers_before, "the writer ended by itself after {heard} answers");
    told
}

/// Each client must see what it was told, or that and its next step, whole; of its codes the one that was made before its
/// last commit or the one after.
pub fn verify_answered(store: &Embedded, seed: u64, answered: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    let view = store.view(TENANT).unwrap();
    let verified = |(client, told): (&String, &u64)| {
        let found = Oracle::observe(&*view, client);
        let told = [*told, *told + 1].into_iter().find(|told| Oracle::after(seed, client, *told) == found);
        let told = told.unwrap_or_else(|| panic!("{client} does not see what it was told"));
        let codes = store.list(TENANT, "code", &format!("{client}~"), None, 9).unwrap();
        let [code] = codes.as_slice() else { panic!("{client} has {} codes after step {told}", codes.len()) };
        assert!([told - 1, told].iter().any(|n| *code.id == format!("{client}~{n}")), "{client} {told}: {}", code.id);
        assert_eq!(code.bytes, client.as_bytes());
        (client.clone(), told)
    };
    answered.iter().map(verified).collect()
}

#[test]
fn answered_writes_survive_a_kill_and_nothing_is_half_there() {
    let first = first_seed(100);
    for life in 0..5 {
        let folder = tempfile::tempdir().unwrap();
        let options = Options::at(folder.path().join("store"));
        let mut all = BTreeMap::new();
        for round in 0..10 {
            let seed = first + life * 10 + round;
            let answers = 1 + Rng(seed).below(1500);
            let told = write_until_killed(&options.folder, seed, &format!("r{round}"), answers, |_| ());
            let store = Embedded::open(options.clone(), Arc::new(SystemClock)).unwrap();
            let found = verify_answered(&store, seed, &told);
            println!("seed {seed}: killed after {answers} answers of {} clients", told.len());
            all.insert(seed, found);
            store.close().unwrap();
        }
        let report = check(&options).unwrap();
        assert_eq!(report.problems, Vec::<String>::new());
        let store = Embedded::open(options, Arc::new(SystemClock)).unwrap();
        for (seed, found) in &all {
            let again = verify_answered(&store, *seed, found);
            assert_eq!(&again, found, "earlier rounds stay as they were");
        }
    }
}

//! The ledger under fire: processes that are killed while they record, disks that fill up and hang, and hands that alter what is
//! written.

use crate::crash::TENANT;
use crate::disk::Disk;
use crate::faults::on_a_bad_disk;
use pharos::audit::chain::{Known, Verified, verify};
use pharos::clock::{Micros, SystemClock};
use pharos::store::contract::put;
use pharos::store::embedded::{Embedded, Options, check, rebuild};
use pharos::store::ledger::{Entry, HEADER_LEN, Head, Ledger};
use pharos::store::{Backend, Commit, Rid, Store, StoreError};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

const RECORDER: &str = "PHAROS_TEST_RECORDER";

fn open(options: &Options) -> Arc<Embedded> {
    Arc::new(Embedded::open(options.clone(), Arc::new(SystemClock)).unwrap())
}

fn entry(text: &str) -> Entry {
    Entry { time: Micros(1_700_000_000_000_000), bytes: text.as_bytes().into() }
}

fn wait<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

fn record(store: &Embedded, text: &str) -> Result<u64, StoreError> {
    wait(store.record(TENANT, entry(text)))
}

fn settle(store: &Embedded) {
    wait(store.settled()).unwrap();
}

/// What the chain holds, in order.
fn texts(store: &Embedded) -> Vec<String> {
    let blocks = store.blocks(TENANT, 0, true).unwrap();
    let entries = blocks.flat_map(|block| block.unwrap().entries.unwrap());
    entries.map(|entry| String::from_utf8(entry.bytes.into()).unwrap()).collect()
}

fn verified(store: &Arc<Embedded>, known: &[Known]) -> Verified {
    verify(&Store::new(Arc::clone(store) as Arc<dyn Backend>), TENANT, known).unwrap()
}

/// The other process of a kill; in an ordinary run there is nothing to do. Four threads record, and four commit.
#[test]
fn recorder_process() {
    let Ok(folder) = std::env::var(RECORDER) else { return };
    let round = std::env::var("PHAROS_TEST_ROUND").unwrap();
    let store = open(&Options::at(folder));
    let tell = |text: &str| writeln!(std::io::stdout().lock(), "ack {text}").unwrap();
    std::thread::scope(|scope| {
        for client in 0..4 {
            let (store, round) = (&store, &round);
            scope.spawn(move || {
                for n in 0.. {
                    let text = format!("read {round} {client} {n}");
                    record(store, &text).unwrap();
                    tell(&text);
                }
            });
            scope.spawn(move || {
                for n in 0.. {
                    let id = format!("{round}-{client}-{n}");
                    let text = format!("write {id}");
                    let changes = vec![put("Basic", &id, "", &[])];
                    wait(store.commit(Commit { changes, entry: Some(entry(&text)), ..Commit::of(TENANT) })).unwrap();
                    tell(&text);
                }
            });
        }
    });
}

fn record_until_killed(folder: &Path, round: &str, answers: usize, prepare: impl FnOnce(&mut Command)) -> Vec<String> {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "ledger::recorder_process", "--nocapture"]);
    command.env(RECORDER, folder).env("PHAROS_TEST_ROUND", round).stdout(Stdio::piped());
    prepare(&mut command);
    let mut process = command.spawn().unwrap();
    let mut told = Vec::new();
    for line in BufReader::new(process.stdout.take().unwrap()).lines().map_while(Result::ok) {
        told.extend(line.strip_prefix("ack ").map(str::to_owned));
        if told.len() == answers {
            process.kill().unwrap();
        }
    }
    process.wait().unwrap();
    // The last line can be torn by the kill.
    told.pop();
    told
}

#[test]
fn a_kill_loses_no_answered_entry_and_no_write_is_without_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options::at(folder.path().join("store"));
    let mut told = BTreeSet::new();
    for (round, answers) in [("a", 40), ("b", 700), ("c", 9_000), ("d", 1), ("e", 3_000)] {
        told.extend(record_until_killed(&options.folder, round, answers, |_| ()));
        let store = open(&options);
        settle(&store);
        let found = texts(&store);
        let once: BTreeSet<_> = found.iter().cloned().collect();
        assert_eq!(once.len(), found.len(), "no entry is there twice");
        assert_eq!(told.difference(&once).next(), None, "what was answered is there");
        let view = store.view(TENANT).unwrap();
        let is_there = |id: &str| view.find("Basic", id).unwrap().is_some();
        let recorded: Vec<_> = found.iter().filter_map(|text| text.strip_prefix("write ")).collect();
        assert!(recorded.iter().all(|id| is_there(id)), "an entry of a write that did not happen");
        let written = view.rids("Basic", pharos::key::last_updated::ALL, Rid(0)).count();
        assert_eq!(written, recorded.len(), "each write has its entry");
        let verified = verified(&store, &[]);
        assert!(verified.is_sound(), "{:?}", verified.faults);
        assert_eq!(verified.head.next, found.len() as u64);
        println!("{round}: {} told, {} recorded", told.len(), found.len());
        drop(view);
        store.close().unwrap();
    }
    assert_eq!(check(&options).unwrap().problems, Vec::<String>::new());
    rebuild(&options, None).unwrap();
    assert_eq!(check(&options).unwrap().problems, Vec::<String>::new());
}

#[test]
fn a_power_cut_loses_at_most_what_was_not_synced() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options::at(folder.path().join("root/store"));
    let disk = Disk::new(&folder.path().join("root"), &folder.path().join("orders"));
    for (round, answers) in [("a", 500), ("b", 4_000)] {
        disk.all_is_safe();
        let told = record_until_killed(&options.folder, round, answers, |writer| disk.under(writer));
        disk.lose_what_was_not_synced();
        let store = open(&options);
        settle(&store);
        let found: BTreeSet<_> = texts(&store).into_iter().collect();
        let is_lost_write = |text: &&String| text.starts_with("write ") && !found.contains(*text);
        assert_eq!(told.iter().find(is_lost_write), None, "the entry of an answered write is as safe as the write");
        // Of each client the first so many are there: what is lost is at the end.
        let mut last = BTreeMap::new();
        for text in found.iter().filter(|text| text.starts_with(&format!("read {round}"))) {
            let (client, n) = text.rsplit_once(' ').unwrap();
            let known = last.entry(client.to_owned()).or_insert((0, 0));
            *known = (known.0 + 1, n.parse::<u64>().unwrap().max(known.1));
        }
        assert!(last.values().all(|(count, last)| *count == last + 1), "{last:?}");
        let verified = verified(&store, &[]);
        assert!(verified.is_sound(), "{:?}", verified.faults);
        store.close().unwrap();
    }
}

#[test]
fn a_full_disk_takes_no_entry_and_loses_none() {
    on_a_bad_disk("ledger::a_full_disk_takes_no_entry_and_loses_none", |options, disk| {
        let store = open(options);
        record(&store, "before").unwrap();
        disk.order("full");
        let error = record(&store, "during").unwrap_err();
        assert!(matches!(error, StoreError::Io(_)), "{error}");
        disk.revoke("full");
        record(&store, "after").unwrap();
        settle(&store);
        assert_eq!(texts(&store), ["before", "after"]);
        store.close().unwrap();
        drop(store);
        assert_eq!(texts(&open(options)), ["before", "after"]);
    });
}

#[test]
fn a_hung_disk_is_refused_and_caught_up_with() {
    on_a_bad_disk("ledger::a_hung_disk_is_refused_and_caught_up_with", |options, disk| {
        let store = open(options);
        record(&store, "before").unwrap();
        settle(&store);
        record(&store, "taken").unwrap();
        disk.order("hang");
        let deadline = Instant::now() + Duration::from_mins(1);
        let refused = loop {
            match record(&store, "waiting") {
                Err(error) => break error,
                Ok(_) => assert!(Instant::now() < deadline, "entries are taken that nothing syncs"),
            }
            std::thread::yield_now();
        };
        assert!(matches!(refused, StoreError::Closed(_)), "{refused}");
        disk.revoke("hang");
        while record(&store, "again").is_err() {
            assert!(Instant::now() < deadline, "the ledger does not come back");
            std::thread::yield_now();
        }
        settle(&store);
        let found = texts(&store);
        assert_eq!((&*found[0], &*found[1]), ("before", "taken"));
        assert_eq!(found.last().map(String::as_str), Some("again"));
        assert!(verified(&store, &[]).is_sound());
        store.close().unwrap();
    });
}

/// A stopped store with six blocks, and the head after the third of them.
fn with_blocks(options: &Options) -> Head {
    let store = open(options);
    let mut middle = Head::FIRST;
    for block in 0..6 {
        for n in 0..10 {
            record(&store, &format!("entry {block} {n}")).unwrap();
        }
        settle(&store);
        if block == 2 {
            middle = store.head(TENANT).unwrap();
        }
    }
    assert_eq!(store.blocks(TENANT, 0, false).unwrap().count(), 6);
    store.close().unwrap();
    middle
}

/// The key of the block that begins with this entry.
fn key(first: u64) -> Vec<u8> {
    [&TENANT.0.to_be_bytes()[..], b"a", &first.to_be_bytes()].concat()
}

/// Changes the files of a stopped store by hand.
fn by_hand(options: &Options, change: impl FnOnce(&fjall::Keyspace)) {
    let db = fjall::Database::builder(options.folder.join("db")).open().unwrap();
    let history = db.keyspace("history", fjall::KeyspaceCreateOptions::default).unwrap();
    change(&history);
    history.rotate_memtable_and_wait().unwrap();
}

/// What somebody does to the files.
type Hand<'h> = &'h dyn Fn(&fjall::Keyspace);

#[test]
fn what_hands_alter_is_found_and_named() {
    let get = |history: &fjall::Keyspace, first| history.get(key(first)).unwrap().unwrap().to_vec();
    let hands: [(&str, u64, Hand<'_>); 6] = [
        ("altered", 20, &|history| {
            let mut block = get(history, 20);
            let last = block.len() - 1;
            block[last] ^= 1;
            history.insert(key(20), block).unwrap();
        }),
        ("missing", 20, &|history| history.remove(key(20)).unwrap()),
        ("moved", 10, &|history| {
            let (one, other) = (get(history, 10), get(history, 30));
            history.insert(key(10), other).unwrap();
            history.insert(key(30), one).unwrap();
        }),
        ("not the one that was written", 59, &|history| {
            // The last block, made anew from an old one: it does not open there, and its hash is another.
            let mut block = get(history, 40);
            block[1..9].copy_from_slice(&50_u64.to_be_bytes());
            let before = get(history, 50);
            let hash = HEADER_LEN - 32..HEADER_LEN;
            block[hash.clone()].copy_from_slice(&before[hash]);
            history.insert(key(50), block).unwrap();
        }),
        ("missing", 50, &|history| history.remove(key(50)).unwrap()),
        ("missing", 0, &|history| history.remove(key(0)).unwrap()),
    ];
    for (what, first, hand) in hands {
        let folder = tempfile::tempdir().unwrap();
        let options = Options::at(folder.path().join("store"));
        with_blocks(&options);
        by_hand(&options, hand);
        assert!(!check(&options).unwrap().is_sound(), "{what} {first}");
        let store = open(&options);
        let found = verified(&store, &[]);
        let named = found.faults.first().unwrap_or_else(|| panic!("{what} {first} is not found"));
        let is_named = found.faults.iter().any(|fault| fault.what.contains(what));
        assert!(is_named && named.entry <= first && named.entry + 10 > first, "{what} {first}: {:?}", found.faults);
    }
}

#[test]
fn a_ledger_that_was_cut_short_is_found_by_a_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options::at(folder.path().join("store"));
    let middle = with_blocks(&options);
    let head = open(&options).head(TENANT).unwrap();
    by_hand(&options, |history| {
        for first in [30, 40, 50] {
            history.remove(key(first)).unwrap();
        }
        history.insert([&TENANT.0.to_be_bytes()[..], b"b"].concat(), middle.pack()).unwrap();
    });
    let store = open(&options);
    assert!(verified(&store, &[]).is_sound(), "the chain alone can't tell");
    assert!(verified(&store, &[Known { checkpoint: 1, head: middle }]).is_sound());
    let found = verified(&store, &[Known { checkpoint: 1, head: middle }, Known { checkpoint: 2, head }]);
    assert_eq!(found.faults[0].entry, 30, "{:?}", found.faults);
    assert!(found.faults[0].what.contains("checkpoint 2"), "{:?}", found.faults);
    let other = Known { checkpoint: 1, head: Head { hash: [7; 32], ..middle } };
    assert!(verified(&store, &[other]).faults[0].what.contains("another chain"));
}

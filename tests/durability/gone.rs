//! A server whose database is gone for good ends when it is told to, soon after it has told others.

use crate::support::{Process, free_address};
use rustix::process::{Pid, Signal, kill_process};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// How long requests are taken after it was told.
const DRAIN: Duration = Duration::from_secs(1);
/// What the end takes beyond that at most, on a machine that is busy.
const SOON: Duration = Duration::from_secs(20);

/// A stand-in for MongoDB of this test's own.
struct StandIn {
    child: Child,
    address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl StandIn {
    /// Starts it where `tests/run` has installed it; `None`, which is said, where it has not.
    fn start() -> Option<Self> {
        let folder = |name: &str| std::env::var_os(name).map(PathBuf::from);
        let cache = folder("XDG_CACHE_HOME").or_else(|| Some(folder("HOME")?.join(".cache")))?;
        let program = cache.join("pharos/mongodb/bin/secantusd-py");
        if !program.exists() {
            println!("skipped: there is no stand-in for MongoDB");
            return None;
        }
        let (folder, address) = (tempfile::tempdir().unwrap(), free_address());
        let mut command = Command::new(program);
        command.args(["--port", &address.port().to_string(), "--log-level", "ERROR", "--storage-path"]);
        let child = command.arg(folder.path()).spawn().unwrap();
        let began = Instant::now();
        while TcpStream::connect(address).is_err() {
            assert!(began.elapsed() < Duration::from_mins(1), "the stand-in does not start");
            std::thread::sleep(Duration::from_millis(50));
        }
        Some(Self { child, address, _folder: folder })
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        // It may have ended already.
        let (_killed, _ended) = (self.child.kill(), self.child.wait());
    }
}

/// What a server needs to end after `signal` has come to its database, and so long has passed.
fn ends_after(signal: Signal, wait: Duration) {
    let Some(database) = StandIn::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (key, settings) = (folder.path().join("key"), folder.path().join("pharos.toml"));
    std::fs::write(&settings, format!("[limits]\ndrain_s = {}\n", DRAIN.as_secs())).unwrap();
    let store = format!("mongodb://{}/pharos?directConnection=true", database.address);
    let listen = free_address();
    let process = Process::start([
        "serve",
        "--listen",
        &listen.to_string(),
        "--store",
        &store,
        "--key-file",
        key.to_str().unwrap(),
        "--config",
        settings.to_str().unwrap(),
    ]);
    process.lines_until("serving FHIR");
    database.signal(signal);
    std::thread::sleep(wait);
    let told = Instant::now();
    process.terminate();
    while !process.has_ended() {
        assert!(told.elapsed() < DRAIN + SOON, "it does not end: {}", process.said());
        std::thread::sleep(Duration::from_millis(20));
    }
    let took = told.elapsed();
    assert!(!process.wait().success(), "that it ended is not in the ledger: {}", process.said());
    assert!(process.said().contains("the database does not answer"), "{}", process.said());
    println!("it ended {took:?} after it was told, of which it drained for {DRAIN:?}");
    assert!(took >= DRAIN, "{took:?}: {}", process.said());
}

#[test]
fn a_server_whose_database_was_killed_ends() {
    ends_after(Signal::KILL, Duration::ZERO);
}

#[test]
fn a_server_whose_database_has_been_gone_for_a_while_ends() {
    ends_after(Signal::KILL, Duration::from_secs(8));
}

#[test]
fn a_server_whose_database_hangs_ends() {
    ends_after(Signal::STOP, Duration::from_secs(2));
}

//! The MongoDB of the tests: `PHAROS_TEST_MONGODB` names one, and each test has a database of its own there.

use std::sync::atomic::{AtomicU64, Ordering};

/// The variable with the address, `mongodb://…` without a database.
const VARIABLE: &str = "PHAROS_TEST_MONGODB";

/// The address of a new database, and what drops it; `None`, which is said, where there is no MongoDB.
pub fn new_database() -> Option<String> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let Ok(server) = std::env::var(VARIABLE) else {
        println!("skipped: {VARIABLE} names no MongoDB");
        return None;
    };
    let (hosts, query) = server.split_once('?').unwrap_or((&server, ""));
    let (process, count) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let began = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
    Some(format!("{}/pharos-{began}-{process}-{count}?{query}", hosts.trim_end_matches('/')))
}

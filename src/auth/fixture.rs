//! What the tests of authorization start with: a server that keeps its records in memory, and a clock that they can move.

use super::memory::Memory;
use super::records::{Client, ClientProof};
use super::scope::Scopes;
use super::server::Server;
use crate::clock::{Clock, Micros};
use crate::config::Auth;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// When the tests begin: 2025-06-01T00:00:00Z, in seconds since 1970.
pub const START_S: i64 = 1_748_736_000;

/// A clock that stands still until it is moved.
pub struct StillClock {
    seconds: AtomicI64,
    ids: AtomicU64,
}

impl StillClock {
    /// Moves it.
    pub fn pass(&self, seconds: i64) {
        self.seconds.fetch_add(seconds, Ordering::SeqCst);
    }
}

impl Clock for StillClock {
    fn now(&self) -> Micros {
        Micros(self.seconds.load(Ordering::SeqCst) * 1_000_000)
    }

    fn new_id(&self) -> String {
        format!("id-{}", self.ids.fetch_add(1, Ordering::SeqCst) + 1)
    }
}

/// A server under `https://pharos.example.org`, with its clock.
pub fn server(config: Auth) -> (Arc<Server>, Arc<StillClock>) {
    let clock = Arc::new(StillClock { seconds: AtomicI64::new(START_S), ids: AtomicU64::default() });
    let keeper = Memory::new(Arc::clone(&clock) as Arc<dyn Clock>);
    let server = Server::new(keeper, Arc::clone(&clock) as Arc<dyn Clock>, config, "https://pharos.example.org");
    (Arc::new(server), clock)
}

/// A client with nothing but its name and its proof.
pub fn client(client_id: &str, proof: ClientProof) -> Client {
    Client {
        client_id: client_id.into(),
        name: client_id.into(),
        proof,
        redirect_uris: vec!["https://app.example.org/back".into()],
        launch_url: None,
        origins: Vec::new(),
        grant_types: vec!["authorization_code".into()],
        scopes: Scopes::parse("patient/*.rs"),
        about: serde_json::Map::new(),
        created: START_S,
        disabled: false,
        purpose_of_use: Vec::new(),
        recipient: None,
    }
}

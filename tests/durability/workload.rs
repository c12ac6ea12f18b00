//! Random histories from a seed, and what a store must hold after them.

use pharos::clock::Micros;
use pharos::key::KeyRange;
use pharos::store::contract::{delete, erase, put};
use pharos::store::{Change, Commit, View};
use pharos::tenant::TenantId;
use std::collections::{BTreeMap, BTreeSet};

/// SplitMix64: small, and the same everywhere.
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

/// Where the rounds of a test begin; `PHAROS_TEST_SEED` repeats one.
pub fn first_seed(default: u64) -> u64 {
    std::env::var("PHAROS_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(default)
}

pub const TYPES: [&str; 2] = ["Basic", "Group"];
const IDS: u64 = 6;
const KEYS: u64 = 8;

/// One change: `None` deletes, else text and search keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Op {
    pub type_name: &'static str,
    pub id: String,
    pub content: Option<(String, BTreeSet<String>)>,
    /// Whether the resource is erased instead, if there is one.
    pub is_erasure: bool,
}

/// What a client does in one step: one commit on one to three of its own resources.
pub fn step(seed: u64, client: &str, step: u64) -> Vec<Op> {
    let name = client.bytes().fold(seed, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte)));
    let mut rng = Rng(name.wrapping_mul(0x0001_0000_0001_B3B5) ^ step);
    let mut ops: Vec<Op> = Vec::new();
    for _ in 0..=rng.below(3) {
        let type_name = TYPES[rng.below(2) as usize];
        let id = format!("{client}-{}", rng.below(IDS));
        if ops.iter().any(|op| op.type_name == type_name && op.id == id) {
            continue;
        }
        let keys = (0..rng.below(5)).map(|_| format!("k\0v{}", rng.below(KEYS))).collect();
        let text = format!("{client} {step} {}", "x".repeat(rng.below(900) as usize));
        let content = (rng.below(5) > 0).then_some((text, keys));
        ops.push(Op { type_name, id, content, is_erasure: rng.below(12) == 0 });
    }
    ops
}

/// The commit of a step, by what is there.
pub fn commit(view: &dyn View, tenant: TenantId, ops: &[Op]) -> Commit {
    let erasure = |op: &Op| {
        let current = view.current(view.find(op.type_name, &op.id).unwrap()?).unwrap().unwrap();
        Some(erase::whole(op.type_name, &op.id, current.version))
    };
    let erasures = ops.iter().filter(|op| op.is_erasure).filter_map(erasure).collect();
    Commit { changes: changes(ops), erasures, ..Commit::of(tenant) }
}

fn changes(ops: &[Op]) -> Vec<Change> {
    let change = |op: &Op| match &op.content {
        Some((text, keys)) => {
            let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
            put(op.type_name, &op.id, text, &keys)
        }
        None => delete(op.type_name, &op.id),
    };
    ops.iter().filter(|op| !op.is_erasure).map(change).collect()
}

/// One version: `None` is a deletion, else the text and the keys.
pub type OneVersion = Option<(String, BTreeSet<String>)>;

/// The versions of resources by type and id.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Oracle(pub BTreeMap<(&'static str, String), Vec<OneVersion>>);

impl Oracle {
    pub fn apply(&mut self, ops: &[Op]) {
        for op in ops {
            if op.is_erasure {
                self.0.remove(&(op.type_name, op.id.clone()));
                continue;
            }
            let versions = self.0.entry((op.type_name, op.id.clone())).or_default();
            if op.content.is_some() || matches!(versions.last(), Some(Some(_))) {
                versions.push(op.content.clone());
            }
        }
        self.0.retain(|_, versions| !versions.is_empty());
    }

    /// What a client's first `steps` steps come to.
    pub fn after(seed: u64, client: &str, steps: u64) -> Self {
        let mut oracle = Self::default();
        for n in 0..steps {
            oracle.apply(&step(seed, client, n));
        }
        oracle
    }

    /// What a store holds of a client's resources: bodies and key lists of all versions.
    pub fn observe(view: &dyn View, client: &str) -> Self {
        let mut oracle = Self::default();
        for type_name in TYPES {
            for id in (0..IDS).map(|n| format!("{client}-{n}")) {
                let Some(rid) = view.find(type_name, &id).unwrap() else { continue };
                let current = view.current(rid).unwrap().unwrap();
                assert_eq!((&*current.type_name, &*current.id), (type_name, &*id));
                let versions = (1..=current.version).map(|version| observe_version(view, rid, version)).collect();
                assert!(view.version(rid, current.version + 1).unwrap().is_none());
                oracle.0.insert((type_name, id), versions);
            }
        }
        oracle
    }

    /// The ids that have a key now, by type, as postings should tell.
    pub fn having(&self, type_name: &str, key: &str) -> BTreeSet<&str> {
        let has = |versions: &Vec<OneVersion>| matches!(versions.last(), Some(Some((_, keys))) if keys.contains(key));
        let found = self.0.iter().filter(|((name, _), versions)| *name == type_name && has(versions));
        found.map(|((_, id), _)| id.as_str()).collect()
    }

    pub fn version_count(&self) -> usize {
        self.0.values().map(Vec::len).sum()
    }
}

fn observe_version(view: &dyn View, rid: pharos::store::Rid, number: u64) -> OneVersion {
    let version = view.version(rid, number).unwrap().unwrap_or_else(|| panic!("version {number} is missing"));
    assert_eq!(version.version, number);
    let keys = view.version_keys(rid, number).unwrap().unwrap();
    let body = version.body?.unpack(version.version, version.time).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(json["meta"]["versionId"], number.to_string());
    let keys = keys.iter().map(|key| String::from_utf8_lossy(key).into_owned());
    Some((json["text"].as_str().unwrap().to_owned(), keys.filter(|key| key.starts_with("k\0")).collect()))
}

/// Holds postings (both ways) and log of a store against an oracle that knows all that is in the tenant.
pub fn verify_all(view: &dyn View, oracle: &Oracle) {
    for type_name in TYPES {
        for n in 0..KEYS {
            let key = format!("k\0v{n}");
            let range = KeyRange::exactly(key.as_bytes());
            let forwards: Vec<_> = view.scan(type_name, &range).map(|posting| posting.unwrap().rid).collect();
            let mut backwards: Vec<_> = view.scan_back(type_name, &range).map(|posting| posting.unwrap().rid).collect();
            backwards.reverse();
            assert_eq!(forwards, backwards);
            assert!(forwards.is_sorted_by(|a, b| a < b), "numbers ascend");
            let ids: BTreeSet<String> =
                forwards.iter().map(|rid| view.current(*rid).unwrap().unwrap().id.into_string()).collect();
            assert_eq!(ids.iter().map(String::as_str).collect::<BTreeSet<_>>(), oracle.having(type_name, &key));
        }
    }
    let log: Vec<_> = view.log_back(None, (Micros(i64::MAX), 0)).map(|entry| entry.unwrap()).collect();
    assert_eq!(log.len(), oracle.version_count());
    assert!(log.is_sorted_by(|a, b| (a.time, a.index) > (b.time, b.index)), "the log goes backwards");
}

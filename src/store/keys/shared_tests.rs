//! Keyrings of several processes over one table.

use super::*;
use crate::clock::Micros;
use crate::store::Rid;
use crate::store::seal::{OVERHEAD, Place, Purpose, STORE};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

const TENANT: TenantId = TenantId(7);
const PLACE: Place = Place { purpose: Purpose::Body, tenant: TENANT, rid: Rid(1), version: 1 };

/// A table that several rings have.
#[derive(Default)]
struct Common {
    rows: Mutex<(u64, BTreeMap<u32, OwnersKeys>)>,
    loads: AtomicU32,
}

impl KeyTable for Arc<Common> {
    fn load(&self) -> StoreResult<Loaded> {
        self.loads.fetch_add(1, Ordering::Relaxed);
        let (revision, owners) = &*self.rows.lock().unwrap();
        Ok(Loaded { revision: *revision, owners: owners.values().cloned().collect() })
    }

    fn replace(&self, revision: u64, keys: &OwnersKeys) -> StoreResult<bool> {
        let mut rows = self.rows.lock().unwrap();
        if rows.0 != revision {
            return Ok(false);
        }
        rows.0 += 1;
        rows.1.insert(keys.owner, keys.clone());
        Ok(true)
    }
}

/// A ring that shares the table, with its master key in this file.
fn ring(table: &Arc<Common>, key_file: &Path) -> Arc<Keyring> {
    let path = key_file.to_path_buf();
    let masters = move || Masters::of(&Keys::default(), &path, true);
    let ring = Arc::new(Keyring::open(masters().unwrap(), Box::new(Arc::clone(table))).unwrap());
    Keyring::share(&ring, masters);
    ring
}

fn seal(ring: &Keyring) -> Vec<u8> {
    let mut out = Vec::new();
    ring.sealer().seal(PLACE, Micros(0), b"secret", &mut out).unwrap();
    out
}

fn opens(ring: &Keyring, sealed: &[u8]) -> bool {
    ring.sealer().open(PLACE, b"", sealed).is_ok_and(|plain| *plain == *b"secret")
}

#[test]
fn what_one_changes_the_others_take_over() {
    let (table, folder) = (Arc::new(Common::default()), tempfile::tempdir().unwrap());
    let rings = [0, 1, 2].map(|_| ring(&table, &folder.path().join("key")));
    std::thread::scope(|scope| {
        for ring in &rings {
            scope.spawn(|| ring.ensure(TENANT).unwrap());
        }
    });
    let first = seal(&rings[0]);
    for ring in &rings {
        assert!(ring.facts(TENANT).len() == 1 && opens(ring, &first));
    }
    for (round, ring) in rings.iter().cycle().take(7).enumerate() {
        ring.rotate(TENANT).unwrap();
        let generations: Vec<u32> = ring.facts(TENANT).iter().map(|fact| fact.generation).collect();
        assert_eq!(generations, (1..=2 + u32::try_from(round).unwrap()).collect::<Vec<_>>());
    }
    // A pass that began with the seventh key tells nothing of what is under it.
    rings[1].retire(TENANT, 7).unwrap();
    rings[2].renew().unwrap();
    let states: Vec<State> = rings[2].facts(TENANT).into_iter().map(|fact| fact.state).collect();
    assert_eq!(states, [[State::Retired; 6].as_slice(), &[State::Replaced, State::Newest]].concat());
    assert_eq!(rings[2].drop_retired(TENANT, u32::MAX).unwrap(), 6);
    assert_eq!(rings[0].drop_retired(TENANT, u32::MAX).unwrap(), 0);
    rings[0].renew().unwrap();
    assert!(!opens(&rings[0], &first));

    rings[1].destroy(TENANT).unwrap();
    rings[2].renew().unwrap();
    assert!(rings[2].is_destroyed(TENANT) && !rings[2].sealer().has(TENANT));
    assert!(rings[0].rotate(TENANT).is_err() && rings[0].is_destroyed(TENANT));
}

#[test]
fn a_key_that_a_value_names_is_looked_for_and_a_damaged_value_does_not_ask_again_and_again() {
    let (table, folder) = (Arc::new(Common::default()), tempfile::tempdir().unwrap());
    let [one, other] = [0, 1].map(|_| ring(&table, &folder.path().join("key")));
    one.ensure(TENANT).unwrap();
    assert!(opens(&other, &seal(&one)));
    assert_eq!(other.take_unwrapped().len(), 1);
    let loads = table.loads.load(Ordering::Relaxed);
    for _ in 0..100 {
        assert!(!opens(&other, &[0; OVERHEAD + 6]));
    }
    assert!(table.loads.load(Ordering::Relaxed) - loads < 10);
}

#[test]
fn of_two_master_keys_one_wraps_and_who_has_the_other_makes_no_key() {
    let (table, folder) = (Arc::new(Common::default()), tempfile::tempdir().unwrap());
    let [own, copy] = ["own", "copy"].map(|name| folder.path().join(name));
    let one = ring(&table, &own);
    one.ensure(STORE).unwrap();
    one.ensure(TENANT).unwrap();
    std::fs::copy(&own, &copy).unwrap();
    let other = ring(&table, &copy);
    let sealed = seal(&one);
    assert_eq!(one.rotate_master().unwrap(), 2);
    assert!(opens(&other, &sealed), "it is unwrapped already");
    for refused in [other.ensure(TenantId(8)), other.rotate(TENANT)] {
        let told = refused.unwrap_err().to_string();
        assert!(told.contains("the master key was rotated by another process"), "{told}");
    }
    std::fs::copy(&own, &copy).unwrap();
    other.ensure(TenantId(8)).unwrap();
    one.renew().unwrap();
    assert_eq!(one.facts(TenantId(8)).len(), 1);
    // With one file for both, who did not rotate it reads it anew before it does.
    let third = ring(&table, &own);
    assert_eq!(third.rotate_master().unwrap(), 3);
    assert_eq!(one.rotate_master().unwrap(), 3);
    assert!(opens(&ring(&table, &own), &sealed));
}

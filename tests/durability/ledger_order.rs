//! The entries of the ledger that are found by their order are found as if each key had its posting.

use crate::crash::TENANT;
use pharos::audit::form::AuditEvents;
use pharos::audit::record::{Event, Record};
use pharos::auth::agent::Agent;
use pharos::clock::{Micros, SystemClock};
use pharos::key::KeyRange;
use pharos::store::embedded::{Embedded, Options};
use pharos::store::ledger::Ledger;
use pharos::store::{Backend, Posting, Rid, StoreResult, View};
use proptest::prelude::*;
use std::borrow::Cow;
use std::sync::Arc;

type Pair = (Vec<u8>, u64);

fn pairs(found: impl Iterator<Item = StoreResult<Posting>>) -> Vec<Pair> {
    found.map(|posting| posting.map(|posting| (posting.key.to_vec(), posting.rid.0)).unwrap()).collect()
}

/// Records entries with these times and patients, and settles after each list.
fn recorded(folder: &std::path::Path, lists: &[Vec<(i64, u8)>]) -> Embedded {
    let options = Options { form: Arc::new(AuditEvents::new("http://localhost/fhir")), ..Options::at(folder) };
    let store = Embedded::open(options, Arc::new(SystemClock)).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for list in lists {
        for (time, patients) in list {
            let mut record = Record::of(Event::Interaction("read".into()), Cow::Owned(Agent::client("app")));
            record.content.patients = (0..*patients).map(|patient| format!("p{patient}").into()).collect();
            let entry = record.entry(Micros(1_700_000_000_000_000 + time)).unwrap();
            runtime.block_on(store.record(TENANT, entry)).unwrap();
        }
        runtime.block_on(store.settled()).unwrap();
    }
    store
}

fn all_postings(view: &dyn View, count: u64) -> Vec<Pair> {
    let keys_of = |number| {
        let rid = Rid::of_entry(number);
        let keys = view.keys(rid).unwrap().unwrap();
        keys.iter().map(|key| (key.to_vec(), rid.0)).collect::<Vec<_>>()
    };
    let mut all: Vec<Pair> = (0..count).flat_map(keys_of).collect();
    all.sort();
    all
}

fn compare(view: &dyn View, all: &[Pair], range: &KeyRange) {
    let mut expected: Vec<Pair> = all.iter().filter(|(key, _)| range.holds(key)).cloned().collect();
    assert_eq!(pairs(view.scan("AuditEvent", range)), expected, "{range:?}");
    expected.reverse();
    assert_eq!(pairs(view.scan_back("AuditEvent", range)), expected, "{range:?}, backward");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn an_order_is_as_good_as_postings(
        lists in prop::collection::vec(prop::collection::vec((0_i64..3_000, 0_u8..4), 1..150), 1..4),
        picks in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0_usize..3), 40),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let store = recorded(&folder.path().join("store"), &lists);
        let view = store.view(TENANT).unwrap();
        let all = all_postings(&*view, store.head(TENANT).unwrap().next);
        let times = |prefix: &[u8]| all.iter().filter(|(key, _)| key.starts_with(prefix)).map(|(_, rid)| *rid).collect::<Vec<_>>();
        prop_assert!(times(b"_lastUpdated\0").is_sorted() && times(b"_id\0").is_sorted());
        for prefix in [&b""[..], b"_", b"_id\0", b"_id\0i", b"_lastUpdated\0", b"date\0", b"date\0l", b"date\0h", b"patient\0"] {
            compare(&*view, &all, &KeyRange::prefix(prefix));
        }
        for (one, other, cut) in picks {
            let (one, other) = (one.get(&all), other.get(&all));
            let (from, to) = if one.0 <= other.0 { (one, other) } else { (other, one) };
            let from = &from.0[..from.0.len() - cut];
            compare(&*view, &all, &KeyRange { from: from.into(), to: to.0.as_slice().into(), tail: None });
            compare(&*view, &all, &KeyRange::exactly(&one.0));
            let expected: Vec<u64> = all.iter().filter(|(key, rid)| *key == one.0 && *rid >= other.1).map(|(_, rid)| *rid).collect();
            let runs: Vec<Vec<Rid>> = view.runs("AuditEvent", &one.0, Rid(other.1)).map(Result::unwrap).collect();
            prop_assert!(runs.iter().all(|run| !run.is_empty()));
            prop_assert_eq!(runs.concat().iter().map(|rid| rid.0).collect::<Vec<_>>(), expected);
        }
    }
}

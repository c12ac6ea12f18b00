//! A store that gets from one schema to the next, step by step, while it is written to.

use super::{Embedded, Options, check, layout, open};
use crate::clock::{Clock, FixedClock, Micros};
use crate::store::contract::erase::{before, erase};
use crate::store::contract::{commit, put, wait};
use crate::store::rows::rewriting::Marks;
use crate::store::rows::{Rows, Table};
use crate::store::schema::{Advance, How, Migration, PHAROS, Program, Rewrite, SEALED_MARKS, Span, Stand, WRITES};
use crate::store::seal::Sealer;
use crate::store::{Backend, Commit, NewKeys, Rid, StoreResult};
use crate::tenant::TenantId;
use std::sync::Arc;

pub(super) const TENANT: TenantId = TenantId(7);

/// A program from before marks were sealed.
pub(super) static OLDER: Program =
    Program { writes: SEALED_MARKS - 1, beside: SEALED_MARKS - 1, opens: 3, migrations: &[] };

/// One that comes later, and knows of one more change.
pub(super) static LATER: Program =
    Program { writes: SEALED_MARKS + 1, beside: SEALED_MARKS, opens: 4, migrations: LATER_STEPS };
const LATER_STEPS: &[Migration] = &[
    Migration { from: SEALED_MARKS - 1, name: "sealed-marks", what: "", how: How::Rows(&Marks) },
    Migration { from: SEALED_MARKS, name: "longer-times", what: "", how: How::Rows(&LongerTimes) },
];

/// When key lists were replaced is told in nine bytes.
#[derive(Debug)]
struct LongerTimes;

impl Rewrite for LongerTimes {
    fn among(&self, tenant: TenantId) -> Vec<Span> {
        vec![Span { table: Table::Records, prefix: layout::rekeyed(tenant) }]
    }

    fn row(&self, _: &Sealer, _: TenantId, _: &[u8], value: &[u8]) -> StoreResult<Option<Vec<u8>>> {
        Ok((value.len() == 8).then(|| [value, &[9]].concat()))
    }
}

pub(super) fn options(folder: &tempfile::TempDir, program: &'static Program) -> Options {
    Options { free_floor_mib: 0, program, ..Options::at(folder.path().join("store")) }
}

pub(super) fn opened(options: &Options) -> StoreResult<Embedded> {
    Embedded::open(options.clone(), FixedClock::at(Micros(0)) as Arc<dyn Clock>)
}

/// Resources of which the first version was erased.
pub(super) fn fill(store: &Embedded, names: &str, count: usize) {
    for n in 0..count {
        let id = format!("{names}{n}");
        for text in ["first", "second"] {
            commit(store, TENANT, vec![put("Basic", &id, text, &["k\0v"])]).unwrap();
        }
        erase(store, TENANT, vec![before("Basic", &id, 2)]).unwrap();
    }
}

/// How long the marks are.
fn marks(store: &Embedded) -> Vec<usize> {
    let all = store.shared.tables.records.prefix(layout::all_erased(TENANT));
    all.map(|row| row.value().unwrap().len()).collect()
}

/// Rewrites some rows, as a part of the job does; where to go on, and how many.
fn step(store: &Embedded, after: &[u8], most: usize) -> (Option<Box<[u8]>>, usize) {
    let found = store.schemas().unwrap().old_forms(TENANT, after, most).unwrap();
    let count = found.rows.len();
    wait(store.commit(Commit { reseals: found.rows, ..Commit::of(TENANT) })).unwrap();
    (found.next, count)
}

pub(super) fn rewrite(store: &Embedded, mut after: Option<Box<[u8]>>) -> usize {
    let mut count = 0;
    while let Some(from) = after {
        let (next, some) = step(store, &from, 3);
        (after, count) = (next, count + some);
    }
    count
}

pub(super) fn close(store: Embedded) {
    store.close().unwrap();
    drop(store);
}

#[test]
fn marks_become_sealed_while_more_are_made() {
    let folder = tempfile::tempdir().unwrap();
    let (older, newer) = (options(&folder, &OLDER), options(&folder, &PHAROS));
    let store = opened(&older).unwrap();
    fill(&store, "old", 10);
    assert_eq!(marks(&store), [1; 10]);
    close(store);
    assert_eq!(check(&newer).unwrap().problems, Vec::<String>::new());
    assert_eq!(check(&newer).unwrap().stand, Stand::of(4), "to look at it changes nothing");

    let store = opened(&newer).unwrap();
    let schemas = store.schemas().unwrap();
    fill(&store, "still-plain", 1);
    assert_eq!(marks(&store), [1; 11], "nothing is written in the newer form before it is in force");
    assert_eq!((schemas.advance().unwrap(), schemas.advance().unwrap()), (Advance::Moved, Advance::Current));
    fill(&store, "sealed", 1);
    let (next, count) = step(&store, &[], 4);
    assert_eq!((marks(&store).iter().filter(|length| **length > 1).count(), count), (1 + 4, 4));
    let stand = schemas.stand().unwrap();
    assert_eq!((stand.schema, stand.oldest()), (WRITES, 4));
    close(store);
    assert!(opened(&older).err().unwrap().to_string().contains("newer version"));
    assert_eq!(check(&newer).unwrap().problems, Vec::<String>::new());

    let store = opened(&newer).unwrap();
    let schemas = store.schemas().unwrap();
    assert_eq!(schemas.stand().unwrap(), stand, "it goes on with the same pass");
    assert_eq!((rewrite(&store, next), rewrite(&store, Some(Box::default()))), (7, 0));
    schemas.finish("another pass").unwrap();
    assert_eq!(schemas.stand().unwrap(), stand);
    schemas.finish(&stand.rewriting.unwrap().pass).unwrap();
    assert!(marks(&store).iter().all(|length| *length > 1));
    let view = store.view(TENANT).unwrap();
    let outlines: Vec<_> = view.resources(Rid(0)).map(Result::unwrap).collect();
    assert!(outlines.len() == 12 && outlines.iter().all(|outline| (outline.oldest, outline.version) == (2, 2)));
    drop(view);
    close(store);
    let report = check(&newer).unwrap();
    assert_eq!((report.problems, report.stand), (Vec::new(), Stand::of(WRITES)));
}

#[test]
fn marks_are_sealed_anew_with_all_else() {
    let folder = tempfile::tempdir().unwrap();
    let options = options(&folder, &PHAROS);
    let store = opened(&options).unwrap();
    fill(&store, "b", 4);
    let ring = store.keyring().unwrap();
    ring.rotate(TENANT).unwrap();
    let old = store.old_rows(TENANT, &[], 100).unwrap().rows;
    assert_eq!(old.len(), 3 * 4, "record, keys and mark of each");
    wait(store.commit(Commit { reseals: old, ..Commit::of(TENANT) })).unwrap();
    assert!(store.old_rows(TENANT, &[], 100).unwrap().rows.is_empty());
    ring.retire(TENANT, ring.newest(TENANT)).unwrap();
    assert_eq!(ring.drop_retired(TENANT, ring.newest(TENANT)).unwrap(), 1);
    close(store);
    assert_eq!(check(&options).unwrap().problems, Vec::<String>::new());
}

#[test]
fn a_store_may_pass_over_a_schema_and_a_pass_ends_with_the_newest_form() {
    let folder = tempfile::tempdir().unwrap();
    let store = opened(&options(&folder, &OLDER)).unwrap();
    fill(&store, "b", 2);
    let keys = crate::key::KeyList::new(vec![b"k\0other".as_slice().into()]);
    let new = NewKeys { type_name: "Basic".into(), id: "b0".into(), version: 2, keys };
    wait(store.commit(Commit { new_keys: vec![new], ..Commit::of(TENANT) })).unwrap();
    close(store);
    let newer = options(&folder, &PHAROS);
    let store = opened(&newer).unwrap();
    assert_eq!(store.schemas().unwrap().advance().unwrap(), Advance::Moved);
    let first = store.schemas().unwrap().stand().unwrap().rewriting.unwrap();
    assert_eq!(step(&store, &[], 1).1, 1);
    close(store);

    // What one program has begun, the next one ends together with its own.
    let later = options(&folder, &LATER);
    let store = opened(&later).unwrap();
    let schemas = store.schemas().unwrap();
    assert_eq!(schemas.advance().unwrap(), Advance::Moved);
    let second = schemas.stand().unwrap().rewriting.unwrap();
    assert!((second.from, first.from) == (4, 4) && first.pass != second.pass);
    assert_eq!(rewrite(&store, Some(Box::default())), 2, "the other mark, and the time");
    let time = store.shared.tables.get(Table::Records, &layout::rekeyed(TENANT)).unwrap().unwrap();
    assert_eq!((time.len(), time.last()), (9, Some(&9)));
    schemas.finish(&first.pass).unwrap();
    assert!(schemas.stand().unwrap().rewriting.is_some(), "of an earlier pass");
    schemas.finish(&second.pass).unwrap();
    assert_eq!(schemas.stand().unwrap(), Stand::of(SEALED_MARKS + 1));
    close(store);
    assert!(open::open(&newer).err().unwrap().to_string().contains("newer version"));
}

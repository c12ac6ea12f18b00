//! What every backend must do: clauses that tests run over each of them. Test support; nothing here serves requests.
//!
//! Each clause works in a tenant of its own, so that all of them can run on one store, whatever else it holds.

use super::body::Body;
use super::{
    Backend, Change, Commit, CommitError, Committed, Content, Expect, Guard, Method, NewKeys, Posting, Rid, StoreError,
    StoreResult, Version, View,
};
use crate::auth::keeper::KeeperError;
use crate::clock::Micros;
use crate::fhir::tree::{Object, Value};
use crate::key::last_updated::{ALL, last_updated_key};
use crate::key::range::{Bound, Step, Test};
use crate::key::{KeyList, KeyRange};
use crate::tenant::TenantId;

/// How a backend broke the contract.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Breach(pub String);

impl<E: std::error::Error> From<E> for Breach
where
    E: Into<CommitError>,
{
    fn from(error: E) -> Self {
        Self(format!("an unexpected error: {error}"))
    }
}

impl From<KeeperError> for Breach {
    fn from(error: KeeperError) -> Self {
        Self(format!("an unexpected error: {error}"))
    }
}

/// One clause: passes, or says how it is broken.
pub type Clause = fn(&dyn Backend, TenantId) -> Result<(), Breach>;

/// Every clause with its name.
pub const CLAUSES: &[(&str, Clause)] = &[
    ("versions count from 1 and come back", versions_come_back),
    ("expectations are kept", expectations_are_kept),
    ("a refused commit leaves nothing", a_refused_commit_leaves_nothing),
    ("deletes keep the past", deletes_keep_the_past),
    ("postings follow the current version", postings_follow),
    ("scans are in order both ways and bounded", scans_are_in_order),
    ("one key is read from a number on", one_key_is_read_from_a_number_on),
    ("guards refuse what was decided on the past", guards_refuse),
    ("the log tells all changes, newest first", the_log_tells_all),
    ("a view stays as it was", a_view_stays),
    ("tenants share nothing", tenants_share_nothing),
    ("new keys replace those of the current version", new_keys_replace),
    ("big commits work", big_commits_work),
    ("several are read at once", several_are_read_at_once),
    ("what is told goes with the change", keeper::told_with_the_change),
];

macro_rules! hold {
    ($what:expr, $left:expr, $right:expr $(,)?) => {{
        let (left, right) = (&$left, &$right);
        if left != right {
            return Err(Breach(format!("{}: {left:?} is not {right:?}", $what)));
        }
    }};
}

pub mod erase;
pub mod index;
pub mod keeper;
pub mod large;
pub mod lists;

/// Runs every clause, those of the modules here too, each in a tenant of its own from `first_tenant` on.
///
/// # Errors
/// The first clause that is broken, and how.
pub fn check_all(backend: &dyn Backend, first_tenant: TenantId) -> Result<(), Breach> {
    for (offset, (name, clause)) in (0..)
        .zip(CLAUSES)
        .chain((20..).zip(erase::CLAUSES))
        .chain((35..).zip(index::CLAUSES))
        .chain((40..).zip(lists::CLAUSES))
    {
        clause(backend, TenantId(first_tenant.0 + offset)).map_err(|Breach(how)| Breach(format!("{name}: {how}")))?;
    }
    keeper::check_all(backend, TenantId(first_tenant.0 + 50))
}

/// Commits and waits.
///
/// # Errors
/// As [`Backend::commit`].
pub fn commit(backend: &dyn Backend, tenant: TenantId, changes: Vec<Change>) -> Result<Committed, CommitError> {
    wait(backend.commit(Commit { changes, ..Commit::of(tenant) }))
}

/// Waits for a write on this thread.
///
/// # Errors
/// As the write's; and when the thread can't wait.
pub fn wait<T, E: From<StoreError>>(future: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    runtime.map_err(|error| StoreError::Io(error.to_string()))?.block_on(future)
}

/// A small resource: its text tells one from another.
#[must_use]
pub fn body(type_name: &str, id: &str, text: &str) -> Body {
    let mut object = Object::new();
    object.set("resourceType", Value::from(type_name));
    object.set("id", Value::from(id));
    object.set("text", Value::from(text));
    Body::pack(&object)
}

/// A change that writes [`body`] with these search keys.
#[must_use]
pub fn put(type_name: &str, id: &str, text: &str, keys: &[&str]) -> Change {
    let keys = KeyList::new(keys.iter().map(|key| key.as_bytes().into()).collect());
    Change {
        type_name: type_name.into(),
        id: id.into(),
        expect: Expect::Any,
        method: Method::Update,
        content: Some(Content { body: body(type_name, id, text), keys }),
    }
}

/// A change that deletes.
#[must_use]
pub fn delete(type_name: &str, id: &str) -> Change {
    Change { type_name: type_name.into(), id: id.into(), expect: Expect::Any, method: Method::Delete, content: None }
}

fn expecting(change: Change, expect: Expect) -> Change {
    Change { expect, ..change }
}

/// A view of this moment: one that was read from.
fn begun(store: &dyn Backend, tenant: TenantId) -> StoreResult<Box<dyn View>> {
    let view = store.view(tenant)?;
    view.position();
    Ok(view)
}

/// The current version's JSON.
fn read(view: &dyn View, type_name: &str, id: &str) -> StoreResult<Option<String>> {
    let Some(rid) = view.find(type_name, id)? else { return Ok(None) };
    let Some(version) = view.current(rid)? else { return Ok(None) };
    let Some(body) = version.body else { return Ok(None) };
    Ok(Some(String::from_utf8_lossy(&body.unpack(version.version, version.time)?).into_owned()))
}

/// The ids of the resources in a range, in the order of the scan.
fn ids(view: &dyn View, range: &KeyRange, backwards: bool) -> StoreResult<Vec<String>> {
    let scan = if backwards { view.scan_back("Basic", range) } else { view.scan("Basic", range) };
    let id = |posting: StoreResult<Posting>| {
        let version = view.current(posting?.rid)?;
        Ok(version.map(|version| version.id.into_string()).unwrap_or_default())
    };
    scan.map(id).collect()
}

fn having(view: &dyn View, key: &str) -> StoreResult<Vec<String>> {
    ids(view, &KeyRange::exactly(key.as_bytes()), false)
}

fn versions_come_back(store: &dyn Backend, tenant: TenantId) -> Result<(), Breach> {
    let first = commit(store, tenant, vec![put("Basic", "a", "one", &[])])?;
    let second = commit(store, tenant, vec![put("Basic", "a", "two", &[])])?;
    hold!("the time rises", first.time < second.time, true);
    let written = first.written.first().ok_or_else(|| Breach("nothing written".into()))?;
    hold!("the first version", (written.version, written.created, written.changed), (1, true, true));
    let later = second.written.first().ok_or_else(|| Breach("nothing written".into()))?;
    hold!("the second version", (later.version, later.created, later.rid), (2, false, written.rid));
    let view = store.view(tenant)?;
    let text = |text: &str, version: u64, time: Micros| {
        let time = time.to_instant();
        let meta = format!(r#""meta":{{"versionId":"{version}","lastUpdated":"{time}"}}"#);
        format!(r#"{{"resourceType":"Basic","id":"a",{meta},"text":"{text}"}}"#)
    };
    hold!("the current version", read(&*view, "Basic", "a")?, Some(text("two", 2, second.time)));
    let rid = view.find("Basic", "a")?.ok_or_else(|| Breach("no such id".into()))?;
    let old = view.version(rid, 1)?.ok_or_else(|| Breach("no old version".into()))?;
    let old_body = old.body.ok_or_else(|| Breach("no old body".into()))?.unpack(old.version, old.time)?;
    hold!("the old version", String::from_utf8_lossy(&old_body), text("one", 1, first.time));
    hold!("its time", old.time, first.time);
    hold!("a version that never was", view.version(rid, 3)?.is_some(), false);
    hold!("an id that never was", view.find("Basic", "b")?, None);
    hold!("a type that never was", view.find("Group", "a")?, None);
    hold!("the position", view.position(), second.time);
    Ok(())
}

fn stale(result: &Result<Committed, CommitError>) -> Option<(usize, Option<u64>)> {
    match result {
        Err(CommitError::Stale { change, current }) => Some((*change, *current)),
        _ => None,
    }
}

fn expectations_are_kept(store: &dyn Backend, tenant: TenantId) -> Result<(), Breach> {
    let make = |text| put("Basic", "a", text, &[]);
    hold!(
        "no version yet",
        stale(&commit(store, tenant, vec![expecting(make("0"), Expect::Version(1))])),
        Some((0, None))
    );
    commit(store, tenant, vec![expecting(make("1"), Expect::Absent)])?;
    hold!("not absent", stale(&commit(store, tenant, vec![expecting(make("2"), Expect::Absent)])), Some((0, Some(1))));
    commit(store, tenant, vec![expecting(make("2"), Expect::Version(1))])?;
    let late = commit(store, tenant, vec![put("Basic", "b", "", &[]), expecting(make("3"), Expect::Version(1))]);
    hold!("a stale version", stale(&late), Some((1, Some(2))));
    commit(store, tenant, vec![expecting(delete("Basic", "a"), Expect::Version(2))])?;
    let after = commit(store, tenant, vec![expecting(make("4"), Expect::Absent)]);
    hold!("deleted is not absent", stale(&after), Some((0, Some(3))));
    commit(store, tenant, vec![expecting(make("4"), Expect::Version(3))])?;
    let twice = commit(store, tenant, vec![make("5"), make("6")]);
    hold!("one change for each resource", stale(&twice), Some((1, Some(4))));
    Ok(())
}

fn a_refused_commit_leaves_nothing(store: &dyn Backend, tenant: TenantId) -> Result<(), Breach> {
    commit(store, tenant, vec![put("Basic", "a", "one", &["k\0one"])])?;
    let before = store.view(tenant)?.position();
    let refused = vec![
        put("Basic", "a", "two", &["k\0two"]),
        put("Basic", "b", "two", &["k\0two"]),
        expecting(put("Basic", "c", "two", &["k\0two"]), Expect::Version(1)),
    ];
    hold!("refused", stale(&commit(store, tenant, refused)), Some((2, None)));
    let view = store.view(tenant)?;
    hold!("the position", view.position(), before);
    hold!("no new id", view.find("Basic", "b")?, None);
    hold!("no posting", having(&*view, "k\0two")?.len(), 0);
    hold!("the old posting", having(&*view, "k\0one")?, ["a"]);
    hold!("the log", view.log_back(None, (Micros(i64::MAX), 0)).count(), 1);
    Ok(())
}

fn deletes_keep_the_past(store: &dyn Backend, tenant: TenantId) -> Result<(), Breach> {
    let absent = commit(store, tenant, vec![delete("Basic", "a")])?;
    hold!("what never was", absent.written.first().map(|w| (w.rid, w.version, w.changed)), Some((None, 0, false)));
    commit(store, tenant, vec![put("Basic", "a", "one", &["k\0x"])])?;
    let gone = commit(store, tenant, vec![delete("Basic", "a")])?;
    hold!("a deletion", gone.written.first().map(|w| (w.version, w.created, w.changed)), Some((2, false, true)));
    let again = commit(store, tenant, vec![delete("Basic", "a")])?;
    hold!("a second one", again.written.first().map(|w| (w.version, w.changed)), Some((2, false)));
    let view = store.view(tenant)?;
    let rid = view.find("Basic", "a")?.ok_or_else(|| Breach("the id is forgotten".into()))?;
    let current = view.current(rid)?.ok_or_else(|| Breach("no current version".into()))?;
    hold!("it has no body", (current.version, current.method, current.body.is_some()), (2, Method::Delete, false));
    hold!("the past has", view.version(rid, 1)?.is_some_and(|version| version.body.is_some()), true);
    hold!("no postings", having(&*view, "k\0x")?.len() + ids(&*view, &KeyRange::exactly(ALL), false)?.len(), 0);
    hold!("no keys", view.keys(rid)?, Some(KeyList::default()));
    hold!("old keys", view.version_keys(rid, 1)?.is_some_and(|keys| keys.any_in(&KeyRange::exactly(b"k\0x"))), true);
    let back = commit(store, tenant, vec![put("Basic", "a", "two", &["k\0x"])])?;
    hold!("it comes back", back.written.first().map(|w| (w.rid, w.version, w.created)), Some((Some(rid), 3, true)));
    hold!("its posting", having(&*store.view(tenant)?, "k\0x")?, ["a"]);
    Ok(())
}

fn postings_follow(store: &dyn Backend, tenant: TenantId) -> Result<(), Breach> {
    let many: Vec<Change> = (0..50).map(|n| put("Basic", &format!("r{n:02}"), "", &["k\0all", "k\0old"])).collect();
    commit(store, tenant, many)?;
    let odd = (0..50).filter(|n| n % 2 == 1).map(|n| put("Basic", &format!("r{n:02}"), "", &["k\0all", "k\0new"]));
    let update = commit(store, tenant, odd.collect())?;
    commit(store, tenant, vec![delete("Basic", "r00"), delete("Basic", "r01")])?;
    let view = store.view(tenant)?;
    let expected = |keep: fn(&u32) -> bool| (2..50).filter(keep).map(|n| format!("r{n:02}")).collect::<Vec<_>>();
    hold!("those that changed", having(&*view, "k\0new")?, expected(|n| n % 2 == 1));
    hold!("those that did not", having(&*view, "k\0old")?, expected(|n| n % 2 == 0));
    hold!("all", having(&*view, "k\0all")?, expected(|_| true));
    hold!("all of the type", ids(&*view, &KeyRange::exactly(ALL), false)?, expected(|_| true));
    let key = last_updated_key(update.time);
    hold!("_lastUpdated", ids(&*view, &KeyRange::exactly(&key), false)?, expected(|n| n % 2 == 1));
    let rid = view.find("Basic", "r03")?.ok_or_else(|| Breach("no such id".into()))?;
    let mut keys: Vec<Box<[u8]>> = vec![ALL.into(), b"k\0all"[..].into(), b"k\0new"[..].into()];
    keys.push(last_updated_key(update.time));
    hold!("the key list", view.keys(rid)?, Some(KeyList::new(keys)));
    Ok(())
}

fn scans_are_in_order(store: &dyn Backend, tenant: TenantId) -> Result<(), Breach> {
    for (id, keys) in [("a", ["k\x002x", "z"]), ("b", ["k\x001", "k\x001\x00"]), ("c", ["k\x002y", "k\x001"])] {
        commit(store, tenant, vec![put("Basic", id, "", &keys)])?;
    }
    commit(store, tenant, vec![put("Group", "other", "", &["k\x001"])])?;
    let view = store.view(tenant)?;
    let all = KeyRange::prefix(b"k\0");
    hold!("forwards", ids(&*view, &all, false)?, ["b", "c", "b", "a", "c"]);
    hold!("backwards", ids(&*view, &all, true)?, ["c", "a", "b", "c", "b"]);
    hold!("one key and not a longer one", having(&*view, "k\x001")?, ["b", "c"]);
    let half_open = KeyRange { from: b"k\x001\x00"[..].into(), to: b"k\x002y"[..].into(), tail: None };
    hold!("from is in, to is out", ids(&*view, &half_open, false)?, ["b", "a"]);
    let test = Test::Between(b"y"[..].into(), b"z"[..].into());
    let tailed = all.bounded(Bound { at: vec![Step::Bytes(3)], test });
    hold!("a bound on the rest", ids(&*view, &tailed, false)?, ["c"]);
    let empty = KeyRange { from: b"z"[..].into(), to: b"a"[..].into(), tail: None };
    hold!("an empty range", ids(&*view, &empty, false)?.len() + ids(&*view, &empty, true)?.len(), 0);
    Ok(())
}

fn one_key_is_read_from_a_number_on(store: &dyn Backend, tenant: TenantId) -> Result<(), Breach> {
    let mut written = Vec::new();
    for batch in 0..5 {
        let changes = (0..300).map(|n| put("Basic", &format!("r{batch}-{n}"), "", &["one"])).collect();
        written.extend(commit(store, tenant, changes)?.written.iter().filter_map(|written| written.rid));
        commit(store, tenant, vec![put("Basic", &format!("o{batch}"), "", &["one\0", "ones", "on"])])?;
    }
    let view = store.view(tenant)?;
    for at in [0, 1, 299, 300, 511, 512, 513, 1024, 1499] {
        let Some(from) = written.get(at) else { continue };
        let read = view.rids("Basic", b"one", *from).collect::<Result<Vec<_>, _>>()?;
        hold!("from a number on", Some(&*read), written.get(at..));
    }
    let Some(last) = written.last() else { return Ok(()) };
    hold!("behind the last", view.rids("Basic", b"one", Rid(last.0 + 1)).count(), 0);
    let runs = view.runs("Basic", b"one", Rid(0)).collect::<Result<Vec<_>, _>>()?;
    hold!("no run is empty", runs.iter().filter(|run| run.is_empty()).count(), 0);
    hold!("runs ascend", runs.concat(), written);
    let types = view.types()?;
    hold!("the types that there are", types.iter().map(|name| &**name).collect::<Vec<_>>(), ["Basic"]);
    hold!("from the start", view.rids("Basic", b"one", Rid(0)).count(), written.len());
    Ok(())
}

fn guards_refuse(store: &dyn Backend, tenant: TenantId) -> Result<(), Breach> {
    let guarded = |id: &str, key: &str, read_at: Micros| {
        let guards = vec![Guard { type_name: "Basic".into(), range: KeyRange::exactly(key.as_bytes()) }];
        wait(store.commit(Commit {
            changes: vec![put("Basic", id, "", &[key])],
            guards,
            read_at,
            ..Commit::of(tenant)
        }))
    };
    let before = store.view(tenant)?.position();
    guarded("a", "k\0x", before)?;
    hold!("touched by a new key", matches!(guarded("b", "k\0x", before), Err(CommitError::Touched)), true);
    let at = guarded("b", "k\0y", before)?.time;
    commit(store, tenant, vec![put("Group", "g", "", &["k\0x"])])?;
    commit(store, tenant, vec![put("Basic", "c", "", &["k\0z"])])?;
    guarded("d", "k\0y", at)?;
    let at = store.view(tenant)?.position();
    commit(store, tenant, vec![put("Basic", "a", "", &[])])?;
    hold!("touched by an old key", matches!(guarded("e", "k\0x", at), Err(CommitError::Touched)), true);
    let at = store.view(tenant)?.position();
    let both = [guarded_future(store, tenant, "f", at), guarded_future(store, tenant, "g", at)];
    let results = both.map(wait);
    hold!("of two at once one wins", results.iter().filter(|result| result.is_ok()).count(), 1);
    Ok(())
}

fn guarded_future(
    store: &dyn Backend,
    tenant: TenantId,
    id: &str,
    read_at: Micros,
) -> futures_util::future::BoxFuture<'static, Result<Committed, CommitError>> {
    let guards = vec![Guard { type_name: "Basic".into(), range: KeyRange::prefix(b"u\0") }];
    store.commit(Commit { changes: vec![put("Basic", id, "", &["u\0only"])], guards, read_at, ..Commit::of(tenant) })
}

fn the_log_tells_all(store: &dyn Backend, tenant: TenantId) -> Result<(), Breach> {
    let first = commit(store, tenant, vec![put("Basic", "a", "", &[]), put("Group", "b", "", &[])])?;
    commit(store, tenant, vec![delete("Basic", "never")])?;
    let last =
        commit(store, tenant, vec![delete("Group", "b"), put("Basic", "a", "", &[]), put("Basic", "c", "", &[])])?;
    let view = store.view(tenant)?;
    let log = |type_name, before| -> StoreResult<Vec<(Micros, u32, u64)>> {
        let entries = view.log_back(type_name, before);
        entries.map(|entry| entry.map(|entry| (entry.time, entry.index, entry.version))).collect()
    };
    let end = (Micros(i64::MAX), 0);
    let all = [(last.time, 2, 1), (last.time, 1, 2), (last.time, 0, 2), (first.time, 1, 1), (first.time, 0, 1)];
    hold!("everything", log(None, end)?, all);
    hold!("of a type", log(Some("Group"), end)?, [(last.time, 0, 2), (first.time, 1, 1)]);
    hold!("strictly before", log(None, (last.time, 1))?, all.get(2..).unwrap_or_default());
    hold!("before a commit", log(Some("Basic"), (last.time, 0))?, [(first.time, 0, 1)]);
    hold!("before all", log(None, (first.time, 0))?.len(), 0);
    let newest = view.log_back(None, end).next().transpose()?.map(|entry| entry.rid);
    hold!("the number", newest, view.find("Basic", "c")?);
    Ok(())
}

fn a_view_stays(store: &dyn Backend, tenant: TenantId) -> Result<(), Breach> {
    let first = commit(store, tenant, vec![put("Basic", "a", "one", &["k\0x"])])?;
    let view = begun(store, tenant)?;
    commit(store, tenant, vec![put("Basic", "a", "two", &["k\0y"]), put("Basic", "b", "", &["k\0x"])])?;
    hold!("the body", read(&*view, "Basic", "a")?.is_some_and(|json| json.contains("one")), true);
    hold!("the postings", (having(&*view, "k\0x")?.len(), having(&*view, "k\0y")?.len()), (1, 0));
    hold!("the ids", view.find("Basic", "b")?, None);
    hold!("the position", view.position(), first.time);
    hold!("the log", view.log_back(None, (Micros(i64::MAX), 0)).count(), 1);
    Ok(())
}

fn tenants_share_nothing(store: &dyn Backend, tenant: TenantId) -> Result<(), Breach> {
    let other = TenantId(tenant.0 | 1 << 30);
    commit(store, tenant, vec![put("Basic", "a", "ours", &["k\0x"])])?;
    let view = store.view(other)?;
    hold!("ids", view.find("Basic", "a")?, None);
    hold!("postings", having(&*view, "k\0x")?.len(), 0);
    hold!("the log", view.log_back(None, (Micros(i64::MAX), 0)).count(), 0);
    commit(store, other, vec![put("Basic", "a", "theirs", &["k\0x"])])?;
    hold!("ours", read(&*store.view(tenant)?, "Basic", "a")?.is_some_and(|json| json.contains("ours")), true);
    Ok(())
}

fn new_keys_replace(store: &dyn Backend, tenant: TenantId) -> Result<(), Breach> {
    let many = (0..40).map(|n| put("Basic", &format!("r{n:02}"), "", &["k\0all", "k\0old"])).collect();
    commit(store, tenant, many)?;
    let second =
        commit(store, tenant, vec![put("Basic", "r00", "", &["k\0all", "k\0second"]), delete("Basic", "r01")])?;
    let snapshot = begun(store, tenant)?;
    let new = |n: u32| {
        let keys = KeyList::new(vec![b"k\0all"[..].into(), b"k\0new"[..].into()]);
        NewKeys { type_name: "Basic".into(), id: format!("r{n:02}").into(), version: 1, keys }
    };
    let guarded = |read_at| {
        let guards = vec![Guard { type_name: "Basic".into(), range: KeyRange::exactly(b"k\0new") }];
        wait(store.commit(Commit {
            changes: vec![put("Basic", "guarded", "", &[])],
            guards,
            read_at,
            ..Commit::of(tenant)
        }))
    };
    let new_keys = (0..42).map(new).collect();
    let replaced = wait(store.commit(Commit { new_keys, ..Commit::of(tenant) }))?;
    hold!("those still current", replaced.written.iter().filter(|written| written.changed).count(), 38);
    hold!("what was decided before", matches!(guarded(second.time), Err(CommitError::Touched)), true);
    let view = store.view(tenant)?;
    let expected: Vec<String> = (2..40).map(|n| format!("r{n:02}")).collect();
    hold!("the new key", having(&*view, "k\0new")?, expected);
    hold!("the old key", having(&*view, "k\0old")?, Vec::<String>::new());
    hold!("the other version's", having(&*view, "k\0second")?, vec!["r00".to_owned()]);
    hold!("the snapshot", (having(&*snapshot, "k\0old")?.len(), having(&*snapshot, "k\0new")?.len()), (38, 0));
    let rid = view.find("Basic", "r05")?.ok_or_else(|| Breach("no such id".into()))?;
    let version = view.current(rid)?.ok_or_else(|| Breach("no current version".into()))?;
    hold!("the version", version.version, 1);
    let mut keys: Vec<Box<[u8]>> = vec![ALL.into(), b"k\0all"[..].into(), b"k\0new"[..].into()];
    keys.push(last_updated_key(version.time));
    hold!("the key list", view.keys(rid)?, Some(KeyList::new(keys)));
    hold!("the log", view.log_back(None, (Micros(i64::MAX), 0)).count(), 42);
    commit(store, tenant, vec![put("Basic", "r05", "", &["k\0all"])])?;
    hold!("after an update", having(&*store.view(tenant)?, "k\0new")?.len(), 37);
    Ok(())
}

fn several_are_read_at_once(store: &dyn Backend, tenant: TenantId) -> Result<(), Breach> {
    commit(store, tenant, (0..200).map(|n| put("Basic", &format!("r{n:03}"), "one", &["k\0z"])).collect())?;
    commit(store, tenant, (0..20).map(|n| delete("Basic", &format!("r{:03}", n * 9))).collect())?;
    let view = store.view(tenant)?;
    let mut rids = (0..200)
        .map(|n| view.find("Basic", &format!("r{n:03}"))?.ok_or_else(|| Breach("no such id".into())))
        .collect::<Result<Vec<_>, Breach>>()?;
    rids.push(Rid(u64::MAX >> 1));
    let told = |version: Option<Version>| version.map(|version| (version.id, version.version, version.body.is_some()));
    for step in [1, 2, 5, 40] {
        let some: Vec<Rid> = rids.iter().rev().step_by(step).copied().collect();
        let found: Vec<_> = view.currents(&some)?.into_iter().map(told).collect();
        let single: Vec<_> = some.iter().map(|rid| view.current(*rid).map(told)).collect::<StoreResult<_>>()?;
        hold!("the same as one by one", found, single);
    }
    hold!("none", view.currents(&[])?.len(), 0);
    Ok(())
}

fn big_commits_work(store: &dyn Backend, tenant: TenantId) -> Result<(), Breach> {
    let changes = |text: &'static str, keys: &'static [&'static str]| {
        (0..3000).map(move |n| put("Basic", &format!("r{n:04}"), text, keys)).collect::<Vec<_>>()
    };
    commit(store, tenant, changes("one", &["k\0x", "k\0y"]))?;
    hold!("all are there", having(&*store.view(tenant)?, "k\0x")?.len(), 3000);
    commit(store, tenant, changes("two", &["k\0y"]))?;
    let view = store.view(tenant)?;
    hold!("none are left", having(&*view, "k\0x")?.len(), 0);
    hold!("in order", having(&*view, "k\0y")?.is_sorted(), true);
    hold!("all stayed", having(&*view, "k\0y")?.len(), 3000);
    hold!("the log", view.log_back(Some("Basic"), (Micros(i64::MAX), 0)).count(), 6000);
    Ok(())
}

//! What erasing must do, and what kept records do that change with a commit.

use super::keeper::put as keep;
use super::{Breach, Clause, begun, body, commit, delete, having, put, read, stale, wait};
use crate::auth::keeper;
use crate::clock::Micros;
use crate::key::KeyRange;
use crate::key::last_updated::ALL;
use crate::store::{
    Backend, Change, Commit, CommitError, Committed, Erasure, Expect, Extent, Guard, Method, Outline, Rid, StoreResult,
    View,
};
use crate::tenant::TenantId;

/// Every clause with its name.
pub const CLAUSES: &[(&str, Clause)] = &[
    ("old versions are erased", old_versions_are_erased),
    ("a resource is erased whole, and its id is free", whole_resources_are_erased),
    ("an erasure expects what was seen", erasures_expect),
    ("erasures touch what was decided on", erasures_touch),
    ("a view keeps what is erased after it", a_view_keeps),
    ("kept records change with a commit or not at all", kept_records_change_with_a_commit),
    ("many are erased in one commit", many_are_erased),
    ("all resources are told in order", all_are_told),
    ("files open under their own names only", files_are_sealed),
];

/// An erasure of a whole resource.
#[must_use]
pub fn whole(type_name: &str, id: &str, version: u64) -> Erasure {
    Erasure { type_name: type_name.into(), id: id.into(), extent: Extent::Whole { version } }
}

/// An erasure of the versions before one.
#[must_use]
pub fn before(type_name: &str, id: &str, version: u64) -> Erasure {
    Erasure { extent: Extent::Before(version), ..whole(type_name, id, version) }
}

/// Erases and waits.
///
/// # Errors
/// As [`Backend::commit`].
pub fn erase(store: &dyn Backend, tenant: TenantId, erasures: Vec<Erasure>) -> Result<Committed, CommitError> {
    wait(store.commit(Commit { erasures, ..Commit::of(tenant) }))
}

fn rid_of(view: &dyn View, id: &str) -> Result<Rid, Breach> {
    view.find("Basic", id)?.ok_or_else(|| Breach(format!("{id} is forgotten")))
}

/// The versions of a resource that can be read.
fn versions(view: &dyn View, rid: Rid) -> StoreResult<Vec<u64>> {
    let mut found = Vec::new();
    for number in 0..9 {
        let version = view.version(rid, number)?;
        let keys = view.version_keys(rid, number)?;
        found.extend(version.filter(|_| keys.is_some()).map(|version| version.version));
    }
    Ok(found)
}

/// The number and version of each entry of a log, newest first.
fn log(view: &dyn View, type_name: Option<&str>) -> StoreResult<Vec<(Rid, u64)>> {
    let entries = view.log_back(type_name, (Micros(i64::MAX), 0));
    entries.map(|entry| entry.map(|entry| (entry.rid, entry.version))).collect()
}

fn old_versions_are_erased(store: &dyn Backend, tenant: TenantId) -> Result<(), Breach> {
    for text in ["one", "two", "three", "four"] {
        commit(store, tenant, vec![put("Basic", "a", text, &["k\0x"]), put("Group", text, "", &[])])?;
    }
    erase(store, tenant, vec![before("Basic", "a", 3)])?;
    let view = store.view(tenant)?;
    let rid = rid_of(&*view, "a")?;
    hold!("those left", versions(&*view, rid)?, [3, 4]);
    hold!("the oldest", view.oldest(rid)?, 3);
    hold!("the current one", read(&*view, "Basic", "a")?.is_some_and(|json| json.contains("four")), true);
    hold!("its posting", having(&*view, "k\0x")?, ["a"]);
    hold!("the log of the type", log(&*view, Some("Basic"))?, [(rid, 4), (rid, 3)]);
    hold!("the log of all", log(&*view, None)?.len(), 6);
    erase(store, tenant, vec![before("Basic", "a", 2)])?;
    let view = store.view(tenant)?;
    hold!("less than was erased before", (versions(&*view, rid)?, view.oldest(rid)?), (vec![3, 4], 3));
    commit(store, tenant, vec![delete("Basic", "a")])?;
    erase(store, tenant, vec![before("Basic", "a", 5)])?;
    let view = store.view(tenant)?;
    hold!("of a deleted one", (versions(&*view, rid)?, view.oldest(rid)?), (vec![5], 5));
    let back = commit(store, tenant, vec![put("Basic", "a", "six", &["k\0x"])])?;
    hold!("it goes on counting", back.written.first().map(|w| (w.rid, w.version)), Some((Some(rid), 6)));
    hold!("a new one has all", view.oldest(Rid(u64::MAX))?, 1);
    Ok(())
}

fn whole_resources_are_erased(store: &dyn Backend, tenant: TenantId) -> Result<(), Breach> {
    commit(store, tenant, vec![put("Basic", "a", "one", &["k\0x"]), put("Basic", "b", "", &["k\0x"])])?;
    commit(store, tenant, vec![put("Basic", "a", "two", &["k\0x", "k\0y"]), put("Basic", "d", "", &[])])?;
    commit(store, tenant, vec![delete("Basic", "d")])?;
    let view = store.view(tenant)?;
    let (gone, deleted) = (rid_of(&*view, "a")?, rid_of(&*view, "d")?);
    let at = view.position();
    let erased = erase(store, tenant, vec![whole("Basic", "a", 2), whole("Basic", "d", 2)])?;
    hold!("the time rises", at < erased.time, true);
    let view = store.view(tenant)?;
    hold!("the ids", (view.find("Basic", "a")?, view.find("Basic", "d")?), (None, None));
    for rid in [gone, deleted] {
        hold!("the record", (view.current(rid)?.is_some(), view.keys(rid)?.is_some()), (false, false));
        hold!("the versions", versions(&*view, rid)?.len(), 0);
    }
    hold!("the postings", (having(&*view, "k\0x")?, having(&*view, "k\0y")?), (vec!["b".into()], vec![]));
    hold!("of the type", view.rids("Basic", ALL, Rid(0)).count(), 1);
    let left = rid_of(&*view, "b")?;
    hold!("the logs", (log(&*view, None)?, log(&*view, Some("Basic"))?), (vec![(left, 1)], vec![(left, 1)]));
    let stale = commit(store, tenant, vec![Change { expect: Expect::Version(2), ..put("Basic", "a", "", &[]) }]);
    hold!("who changes it hears", super::stale(&stale), Some((0, None)));
    let created = Change { expect: Expect::Absent, method: Method::Create, ..put("Basic", "a", "new", &["k\0x"]) };
    let again = commit(store, tenant, vec![created])?;
    let written = again.written.first().map(|w| (w.version, w.created, w.rid > Some(left) && w.rid != Some(gone)));
    hold!("it begins anew", written, Some((1, true, true)));
    let view = store.view(tenant)?;
    hold!("the new one", read(&*view, "Basic", "a")?.is_some_and(|json| json.contains("new")), true);
    hold!("its postings", having(&*view, "k\0x")?, ["b", "a"]);
    Ok(())
}

fn erasures_expect(store: &dyn Backend, tenant: TenantId) -> Result<(), Breach> {
    let make = |id: &str| put("Basic", id, "", &["k\0x"]);
    commit(store, tenant, vec![make("a"), make("b")])?;
    commit(store, tenant, vec![make("a")])?;
    let cases = [
        (vec![whole("Basic", "b", 1), whole("Basic", "a", 1)], (1, Some(2))),
        (vec![whole("Basic", "b", 1), whole("Basic", "never", 1)], (1, None)),
        (vec![whole("Basic", "b", 1), before("Basic", "a", 3)], (1, Some(2))),
        (vec![whole("Basic", "b", 1), before("Basic", "b", 1)], (1, Some(1))),
    ];
    for (erasures, expected) in cases {
        hold!("refused", stale(&erase(store, tenant, erasures)), Some(expected));
    }
    let both = Commit { changes: vec![make("b")], erasures: vec![whole("Basic", "b", 1)], ..Commit::of(tenant) };
    hold!("changed by the same commit", stale(&wait(store.commit(both))), Some((1, Some(1))));
    let view = store.view(tenant)?;
    hold!("nothing happened", (having(&*view, "k\0x")?.len(), log(&*view, None)?.len()), (2, 3));
    let two = [(); 2].map(|()| store.commit(Commit { erasures: vec![whole("Basic", "a", 2)], ..Commit::of(tenant) }));
    hold!("of two one wins", two.map(wait).iter().filter(|outcome| outcome.is_ok()).count(), 1);
    Ok(())
}

fn erasures_touch(store: &dyn Backend, tenant: TenantId) -> Result<(), Breach> {
    commit(store, tenant, vec![put("Basic", "a", "", &["k\0x"]), put("Basic", "b", "", &["k\0y"])])?;
    let read_at = store.view(tenant)?.position();
    erase(store, tenant, vec![whole("Basic", "a", 1)])?;
    let decided = |key: &str| {
        let guards = vec![Guard { type_name: "Basic".into(), range: KeyRange::exactly(key.as_bytes()) }];
        wait(store.commit(Commit { changes: vec![put("Group", key, "", &[])], guards, read_at, ..Commit::of(tenant) }))
    };
    hold!("on what is erased", matches!(decided("k\0x"), Err(CommitError::Touched)), true);
    hold!("on something else", decided("k\0y").is_ok(), true);
    Ok(())
}

fn a_view_keeps(store: &dyn Backend, tenant: TenantId) -> Result<(), Breach> {
    commit(store, tenant, vec![put("Basic", "a", "one", &["k\0x"])])?;
    commit(store, tenant, vec![put("Basic", "a", "two", &["k\0x"])])?;
    let view = begun(store, tenant)?;
    erase(store, tenant, vec![whole("Basic", "a", 2)])?;
    commit(store, tenant, vec![put("Basic", "a", "new", &[])])?;
    let later = begun(store, tenant)?;
    hold!("later", read(&*later, "Basic", "a")?.is_some_and(|json| json.contains("new")), true);
    hold!("its version", read(&*view, "Basic", "a")?.is_some_and(|json| json.contains("two")), true);
    hold!("its versions", versions(&*view, rid_of(&*view, "a")?)?, [1, 2]);
    hold!("its postings and log", (having(&*view, "k\0x")?.len(), log(&*view, None)?.len()), (1, 2));
    store.compact()?;
    hold!("after compaction", versions(&*view, rid_of(&*view, "a")?)?, [1, 2]);
    hold!("later still", versions(&*later, rid_of(&*later, "a")?)?, [1]);
    Ok(())
}

fn kept_records_change_with_a_commit(store: &dyn Backend, tenant: TenantId) -> Result<(), Breach> {
    let with = |expect, erasures: Vec<Erasure>| {
        let keeps = vec![keep("note", "other", ""), keeper::Keep { expect, ..keep("job", "a", "text") }];
        let changes = vec![put("Basic", "changed", "", &[])];
        wait(store.commit(Commit { changes, erasures, keeps, ..Commit::of(tenant) }))
    };
    commit(store, tenant, vec![put("Basic", "a", "", &[])])?;
    let erasures = || vec![whole("Basic", "a", 1)];
    hold!("a stale record", stale(&with(keeper::Expect::Version(1), erasures())), Some((3, None)));
    hold!("nothing is kept", store.get(tenant, "note", "other")?, None);
    hold!("nothing is changed", store.view(tenant)?.find("Basic", "changed")?, None);
    with(keeper::Expect::Absent, erasures())?;
    hold!("all is", store.view(tenant)?.find("Basic", "a")?, None);
    hold!("the record", store.get(tenant, "job", "a")?.map(|kept| kept.version), Some(1));
    hold!("a stale erasure", stale(&with(keeper::Expect::Version(1), erasures())), Some((1, None)));
    hold!("the record stays", store.get(tenant, "job", "a")?.map(|kept| kept.version), Some(1));
    Ok(())
}

fn many_are_erased(store: &dyn Backend, tenant: TenantId) -> Result<(), Breach> {
    let id = |n: u32| format!("r{n:04}");
    let all = |keys: &'static [&'static str]| (0..1500).map(|n| put("Basic", &id(n), "", keys)).collect::<Vec<_>>();
    commit(store, tenant, all(&["k\0x"]))?;
    commit(store, tenant, all(&["k\0y"]))?;
    let erasures = (0..1500).filter(|n| n % 3 == 0).map(|n| whole("Basic", &id(n), 2));
    erase(
        store,
        tenant,
        erasures.chain((0..1500).filter(|n| n % 3 == 1).map(|n| before("Basic", &id(n), 2))).collect(),
    )?;
    let view = store.view(tenant)?;
    let left: Vec<String> = (0..1500).filter(|n| n % 3 > 0).map(id).collect();
    hold!("those left", having(&*view, "k\0y")?, left);
    hold!("the log", log(&*view, None)?.len(), 500 + 1000);
    hold!("of the type", log(&*view, Some("Basic"))?.len(), 500 + 1000);
    Ok(())
}

fn all_are_told(store: &dyn Backend, tenant: TenantId) -> Result<(), Breach> {
    for text in ["one", "two"] {
        commit(store, tenant, vec![put("Basic", "a", text, &[]), put("Group", "b", text, &[])])?;
    }
    let last = commit(store, tenant, vec![delete("Group", "b")])?;
    erase(store, tenant, vec![before("Group", "b", 2)])?;
    let view = store.view(tenant)?;
    let told = view.resources(Rid(0)).collect::<StoreResult<Vec<_>>>()?;
    let rids: Vec<Rid> = told.iter().map(|outline| outline.rid).collect();
    hold!("in order", rids.is_sorted(), true);
    let ids: Vec<_> = told.iter().map(|outline| (&*outline.type_name, &*outline.id, outline.version)).collect();
    hold!("all of them", ids, [("Basic", "a", 2), ("Group", "b", 3)]);
    let Some(second) = told.last() else { return Ok(()) };
    let expected = Outline { oldest: 2, time: last.time, is_deleted: true, ..second.clone() };
    hold!("a deleted one", second, &expected);
    hold!("from a number on", view.resources(second.rid).count(), 1);
    hold!("and none behind", view.resources(Rid(second.rid.0 + 1)).count(), 0);
    Ok(())
}

fn files_are_sealed(store: &dyn Backend, tenant: TenantId) -> Result<(), Breach> {
    let plain = body("Basic", "a", "text").packed;
    let sealed = store.seal_file(tenant, "one", &plain)?;
    hold!("it opens", store.open_file(tenant, "one", &sealed)? == *plain, true);
    hold!("as another", store.open_file(tenant, "two", &sealed).is_err(), true);
    hold!("of another", store.open_file(TenantId(tenant.0 | 1 << 30), "one", &sealed).is_err(), true);
    Ok(())
}

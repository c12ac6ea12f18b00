//! What a backend must do with key lists, however it remembers them: each moment has its own.

use super::{Breach, Clause, NewKeys, commit, delete, put, wait};
use crate::key::KeyList;
use crate::store::{Backend, Commit, Rid, View};
use crate::tenant::TenantId;
use std::sync::atomic::{AtomicBool, Ordering};

/// Every clause with its name.
pub const CLAUSES: &[(&str, Clause)] = &[
    ("each moment has its own key lists", each_moment_has_its_own),
    ("key lists are of one moment while others write", lists_are_of_one_moment),
];

/// So many resources change.
const RESOURCES: u64 = 4;
/// So often.
const STEPS: u64 = 160;
/// So many moments are looked at while others follow.
const HELD: usize = 5;

/// The key that a list must have, by the body's text.
fn key_of(text: u64) -> String {
    format!("k\0{text}")
}

fn id_of(resource: u64) -> String {
    format!("r{resource}")
}

/// Whether the key list of a resource has a key, and no other of ours.
fn has(view: &dyn View, resource: u64, expected: Option<u64>) -> Result<bool, Breach> {
    let rid = view.find("Basic", &id_of(resource))?;
    let list = rid.map_or(Ok(None), |rid| view.keys(rid))?;
    let own = list.iter().flat_map(KeyList::iter).filter(|key| key.starts_with(b"k\0"));
    let expected = expected.map(key_of);
    Ok(own.eq(expected.iter().map(String::as_bytes)))
}

/// What a resource is at a moment.
#[derive(Clone, Default)]
struct Resource {
    /// Of its key; nothing while it is not there.
    text: Option<u64>,
    version: u64,
}

/// Moments are held while resources are changed, deleted, made again, and given other keys without another version; and asked in turns.
fn each_moment_has_its_own(store: &dyn Backend, tenant: TenantId) -> Result<(), Breach> {
    let mut now = vec![Resource::default(); usize::try_from(RESOURCES).unwrap_or_default()];
    let mut held: Vec<(Box<dyn View>, Vec<Resource>)> = Vec::new();
    for step in 0..STEPS {
        // A walk without a short period.
        let turn = step.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 33;
        let resource = turn % RESOURCES;
        let Some(Resource { text, version }) = usize::try_from(resource).ok().and_then(|at| now.get_mut(at)) else {
            continue;
        };
        let id = id_of(resource);
        if turn % 7 == 0 && text.is_some() {
            commit(store, tenant, vec![delete("Basic", &id)])?;
            (*text, *version) = (None, *version + 1);
        } else if turn % 5 == 0 && text.is_some() {
            let keys = KeyList::new(vec![key_of(step).into_bytes().into()]);
            let new_keys = vec![NewKeys { type_name: "Basic".into(), id: id.into(), version: *version, keys }];
            wait(store.commit(Commit { new_keys, ..Commit::of(tenant) }))?;
            *text = Some(step);
        } else {
            commit(store, tenant, vec![put("Basic", &id, "", &[&key_of(step)])])?;
            (*text, *version) = (Some(step), *version + 1);
        }
        if held.len() == HELD {
            held.remove(usize::try_from(turn).unwrap_or_default() % HELD);
        }
        held.push((super::begun(store, tenant)?, now.clone()));
        for (view, then) in held.iter().rev() {
            for (resource, Resource { text, .. }) in (0..).zip(then) {
                let of = format!("step {step}, resource {resource}, of a moment that has {text:?}");
                hold!(of, has(&**view, resource, *text)?, true);
            }
        }
    }
    Ok(())
}

/// Whoever reads while others write finds with each version the list that was written with it.
fn lists_are_of_one_moment(store: &dyn Backend, tenant: TenantId) -> Result<(), Breach> {
    let rounds: u64 = if store.is_local() { 400 } else { 30 };
    let all = |round: u64| (0..RESOURCES).map(move |resource| put("Basic", &id_of(resource), "", &[&key_of(round)]));
    commit(store, tenant, all(1).collect())?;
    let is_over = AtomicBool::new(false);
    let read = || -> Result<u64, Breach> {
        loop {
            let is_last = is_over.load(Ordering::SeqCst);
            let view = super::begun(store, tenant)?;
            let mut last = 0;
            for resource in 0..RESOURCES {
                let rid = view.find("Basic", &id_of(resource))?.unwrap_or(Rid(0));
                last = view.current(rid)?.map_or(0, |version| version.version);
                hold!(format!("version {last}"), has(&*view, resource, Some(last))?, true);
            }
            if is_last {
                return Ok(last);
            }
        }
    };
    std::thread::scope(|scope| {
        let readers = [scope.spawn(read), scope.spawn(read)];
        let written = (2..=rounds).try_for_each(|round| commit(store, tenant, all(round).collect()).map(drop));
        is_over.store(true, Ordering::SeqCst);
        written?;
        for reader in readers {
            let read = reader.join().map_err(|_| Breach("a reader ended abnormally".into()))?;
            hold!("the last version that was read", read?, rounds);
        }
        Ok(())
    })
}

//! What a backend must do while a tenant's index changes its form: find the same resources at every step.

use super::{Breach, Clause, commit, delete, put, wait};
use crate::auth::keeper::Expect;
use crate::auth::records;
use crate::key::blind::{Blind, hidden_by_default};
use crate::key::string::{matching_exact, matching_start};
use crate::key::{KeyList, KeyRange, prefix_of};
use crate::store::index::{Change, Form, IndexRecord, Stage};
use crate::store::{self, Backend, Commit, CommitError, Rid, View};
use crate::tenant::TenantId;
use std::collections::BTreeSet;

/// Every clause with its name.
pub const CLAUSES: &[(&str, Clause)] = &[
    ("the index changes its form while it is read and written", forms_change),
    ("a form is chosen at once only where there was no resource", forms_are_chosen_once),
];

const TYPE: &str = "Patient";
const NAMES: [&str; 5] = ["alder", "alderney", "birch", "cedar", "zz"];

fn person(number: usize, round: usize) -> store::Change {
    let name = NAMES.get((number + round) % NAMES.len()).copied().unwrap_or_default();
    let family = matching_exact(name).under(&prefix_of("family")).from;
    let family = String::from_utf8_lossy(&family).into_owned();
    put(TYPE, &format!("p{number:02}"), name, &[&family, "gender\0cfemale\0\0\0"])
}

/// Sets the record, as the step after the one there is.
fn set(backend: &dyn Backend, tenant: TenantId, record: &IndexRecord) -> Result<(), CommitError> {
    let keep = records::put(IndexRecord::ID, record, Expect::Any, None);
    let keep = keep.map_err(|error| store::StoreError::Io(error.to_string()))?;
    wait(backend.commit(Commit { keeps: vec![keep], ..Commit::of(tenant) })).map(drop)
}

fn repost(backend: &dyn Backend, tenant: TenantId) -> Result<(), Breach> {
    let view = backend.view(tenant)?;
    let all = view.resources(Rid(0)).collect::<Result<Vec<_>, _>>()?;
    for some in all.chunks(7) {
        let reposts = some.iter().map(|outline| (outline.type_name.clone(), outline.id.clone())).collect();
        wait(backend.commit(Commit { reposts, ..Commit::of(tenant) }))?;
    }
    Ok(())
}

/// The resources in a range, by the postings.
fn found(view: &dyn View, blind: Option<&Blind>, range: &KeyRange) -> Result<BTreeSet<Rid>, Breach> {
    let cover = blind.and_then(|blind| blind.cover(TYPE, range));
    let ranges = cover.map_or_else(|| vec![range.clone()], |cover| cover.postings);
    let postings = ranges.iter().flat_map(|range| view.scan(TYPE, range));
    Ok(postings.map(|posting| posting.map(|posting| posting.rid)).collect::<Result<_, _>>()?)
}

/// Holds the postings against the key lists: what searches read always, and where `is_settled` all of them.
fn check(backend: &dyn Backend, tenant: TenantId, is_settled: bool) -> Result<(), Breach> {
    let view = backend.view(tenant)?;
    let blind = view.blind(TYPE)?;
    let mut lists: Vec<(Rid, KeyList)> = Vec::new();
    for outline in view.resources(Rid(0)).collect::<Result<Vec<_>, _>>()? {
        let keys = view.keys(outline.rid)?.filter(|keys| !keys.is_empty());
        lists.extend(keys.map(|keys| (outline.rid, keys)));
    }
    for name in NAMES {
        for range in [matching_exact(name), matching_start(name), matching_start("al"), matching_start("no")] {
            let range = range.under(&prefix_of("family"));
            let held = lists.iter().filter(|(_, keys)| keys.any_in(&range)).map(|(rid, _)| *rid);
            hold!(format!("those like {name}"), found(&*view, blind.as_deref(), &range)?, held.collect());
        }
    }
    let all = KeyRange { from: Box::default(), to: vec![0xFF].into(), tail: None };
    let postings = view.scan(TYPE, &all).map(|posting| posting.map(|posting| (posting.key.to_vec(), posting.rid)));
    let postings = postings.collect::<Result<BTreeSet<_>, _>>()?;
    let made = |(rid, keys): &(Rid, KeyList)| {
        let made = blind.as_ref().map_or_else(|| keys.clone(), |blind| blind.postings(TYPE, keys));
        made.iter().map(|key| (key.to_vec(), *rid)).collect::<Vec<_>>()
    };
    if is_settled {
        hold!("all postings", postings, lists.iter().flat_map(made).collect());
    }
    Ok(())
}

/// Changes the form step by step; `write` is what others do meanwhile.
fn reform(
    backend: &dyn Backend,
    tenant: TenantId,
    now: Option<&Form>,
    to: Option<&Form>,
    write: &mut dyn FnMut() -> Result<(), Breach>,
) -> Result<(), Breach> {
    let stage = |stage| IndexRecord {
        now: now.cloned(),
        change: Some(Change { to: to.cloned(), stage }),
        ..IndexRecord::default()
    };
    let mut step = |record: &IndexRecord, reposts: bool| {
        set(backend, tenant, record)?;
        check(backend, tenant, false)?;
        write()?;
        check(backend, tenant, false)?;
        if reposts {
            repost(backend, tenant)?;
        }
        write()
    };
    step(&stage(Stage::Filling), true)?;
    step(&stage(Stage::Settling), false)?;
    step(&stage(Stage::Sweeping), true)?;
    set(backend, tenant, &IndexRecord { now: to.cloned(), ..IndexRecord::default() })?;
    check(backend, tenant, true)
}

fn forms_change(backend: &dyn Backend, tenant: TenantId) -> Result<(), Breach> {
    commit(backend, tenant, (0..40).map(|number| person(number, 0)).collect())?;
    let mut round = 0;
    let mut write = || {
        round += 1;
        let changed = (0..50).filter(|number| number % 7 == round % 7).map(|number| person(number, round));
        commit(backend, tenant, changed.collect())?;
        commit(backend, tenant, vec![delete(TYPE, &format!("p{:02}", round % 40))]).map(drop)?;
        Ok(())
    };
    let blind = Form::new(hidden_by_default())?;
    let none_but_gender = [(Box::from(TYPE), BTreeSet::from([Box::from("gender")]))].into_iter().collect();
    let other = blind.with(none_but_gender);
    reform(backend, tenant, None, Some(&blind), &mut write)?;
    reform(backend, tenant, Some(&blind), Some(&other), &mut write)?;
    reform(backend, tenant, Some(&other), None, &mut write)
}

fn forms_are_chosen_once(backend: &dyn Backend, tenant: TenantId) -> Result<(), Breach> {
    let blind = IndexRecord { now: Some(Form::new(hidden_by_default())?), ..IndexRecord::default() };
    set(backend, tenant, &blind)?;
    commit(backend, tenant, vec![person(1, 0), person(2, 0)])?;
    check(backend, tenant, true)?;
    let sweeping = Change { to: None, stage: Stage::Sweeping };
    let too_far = [IndexRecord::default(), IndexRecord { change: Some(sweeping), ..blind }];
    for record in too_far {
        let refused = matches!(set(backend, tenant, &record), Err(CommitError::Stale { .. }));
        hold!("a step that passes over others is refused", refused, true);
    }
    check(backend, tenant, true)
}

//! The resources of an export: which they are, on one snapshot and under one grant.

use super::organize::{Organized, organize};
use super::wanted::Wanted;
use super::{Level, deleted, members, provenance};
use crate::auth::compartment::{of_any_patient, ties_to};
use crate::clock::Micros;
use crate::error::Result;
use crate::interaction::Context;
use crate::key::last_updated::last_updated_key;
use crate::key::{Expr, KeyRange, id_key};
use crate::search::{self, Budget, Target};
use crate::store::{Records, Rid};
use std::collections::BTreeMap;
use std::time::Duration;

/// Numbers of resources by type, ascending.
pub type ByType = BTreeMap<Box<str>, Vec<Rid>>;

/// What is to be exported.
#[derive(Debug, Default)]
pub struct Gathered {
    /// The resources.
    pub resources: ByType,
    /// The same in blocks, where they are to be organized so.
    pub organized: Option<Organized>,
    /// Those that are told as deleted.
    pub deleted: ByType,
}

/// Decides what is to be exported.
///
/// # Errors
/// See [`super::export`].
pub fn gather(context: &Context, records: &Records, wanted: &mut Wanted, level: Level<'_>) -> Result<Gathered> {
    let patients = members::patients(context, records, wanted, level)?;
    if let Some(note) = members::missing(wanted, patients.as_ref())? {
        wanted.notes.push(note);
    }
    let time = Duration::from_millis(context.limits.request_timeout_ms) * 2 / 3;
    let budget = Budget::new(u64::MAX, time);
    let stored = records.view().types()?;
    let mut resources = ByType::new();
    for name in wanted.types.iter().filter(|name| stored.contains(name.as_str())) {
        let rids = match &patients {
            Some(patients) => of_patients(records, wanted, name, patients, &budget)?,
            None => of_all(records, wanted, name, level, &budget)?,
        };
        if !rids.is_empty() {
            resources.insert(name.as_str().into(), rids);
        }
    }
    if stored.contains("Provenance") {
        provenance::add(records, wanted, &mut resources, &budget)?;
    }
    let organized = match &wanted.organize {
        Some(by) => Some(organize(context, records, (by, patients.as_ref()), &resources, &budget)?),
        None => None,
    };
    let deleted = match wanted.since {
        Some(since) => deleted::deleted(context, records, wanted, (since, level, patients.as_ref()))?,
        None => ByType::new(),
    };
    Ok(Gathered { resources, organized, deleted })
}

/// When a resource has to have changed, if that matters.
fn changed(wanted: &Wanted, is_whole: bool) -> Option<Expr> {
    let since = wanted.since.filter(|_| !is_whole);
    if since.is_none() && wanted.until.is_none() {
        return None;
    }
    let key = |time: i64| last_updated_key(Micros(time));
    let from = since.map_or(i64::MIN, |since| since.saturating_add(1));
    Some(Expr::Keys(KeyRange { from: key(from), to: key(wanted.until.unwrap_or(i64::MAX)), tail: None }))
}

fn of_all(records: &Records, wanted: &Wanted, name: &str, level: Level<'_>, budget: &Budget) -> Result<Vec<Rid>> {
    let inside = if level == Level::System { Expr::All } else { of_any_patient(name) };
    let filter = wanted.filters.get(name).cloned();
    let expr = Expr::and([inside].into_iter().chain(filter).chain(changed(wanted, false)));
    let mut rids = Vec::new();
    let target = Target { type_name: name.into(), expr };
    search::walk(records, &target, budget, &mut |rid| {
        rids.push(rid);
        Ok(())
    })?;
    Ok(rids)
}

/// Patient by patient: what belongs to several of them comes once.
fn of_patients(
    records: &Records,
    wanted: &Wanted,
    name: &str,
    patients: &BTreeMap<String, bool>,
    budget: &Budget,
) -> Result<Vec<Rid>> {
    let mut rids = Vec::new();
    for (id, is_whole) in patients {
        let own = match name {
            "Patient" => Expr::Keys(KeyRange::exactly(&id_key(id))),
            _ => Expr::any(ties_to(name, id)),
        };
        let filter = wanted.filters.get(name).cloned();
        let expr = Expr::and([own].into_iter().chain(filter).chain(changed(wanted, *is_whole)));
        let target = Target { type_name: name.into(), expr };
        search::walk(records, &target, budget, &mut |rid| {
            rids.push(rid);
            Ok(())
        })?;
    }
    rids.sort_unstable();
    rids.dedup();
    Ok(rids)
}

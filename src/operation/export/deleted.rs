//! What was deleted since `_since`, and would have been exported: by the change log.

use super::Level;
use super::gather::ByType;
use super::wanted::Wanted;
use crate::auth::scope::Letters;
use crate::clock::Micros;
use crate::error::Result;
use crate::interaction::{Context, LEDGER, reach};
use crate::search;
use crate::store::{Records, Rid, Version};
use rustc_hash::FxHashSet;
use std::collections::BTreeMap;

/// The resources of the wanted types that were deleted in the wanted time, by type.
///
/// # Errors
/// When the store fails.
pub fn deleted(
    context: &Context,
    records: &Records,
    wanted: &Wanted,
    (since, level, patients): (i64, Level<'_>, Option<&BTreeMap<String, bool>>),
) -> Result<ByType> {
    let view = records.view();
    let mut found = ByType::new();
    for name in wanted.types.iter().filter(|name| *name != LEDGER) {
        let (mut seen, mut rids) = (FxHashSet::default(), Vec::<Rid>::new());
        for entry in view.log_back(Some(name), (Micros(i64::MAX), 0)) {
            let entry = entry?;
            if entry.time.0 <= since {
                break;
            }
            // The newest entry of a resource comes first.
            if !seen.insert(entry.rid) || view.id_of(entry.rid)?.is_some() {
                continue;
            }
            let Some(version) = view.current(entry.rid)?.filter(|version| version.body.is_none()) else { continue };
            let is_whose = |id: &str| patients.is_none_or(|patients| patients.contains_key(id));
            let is_inside = level == Level::System || version.patients.iter().any(|id| is_whose(id));
            let is_in_time = wanted.until.is_none_or(|until| version.time.0 < until);
            if is_inside && is_in_time && was_wanted(context, records, wanted, &version)? {
                rids.push(entry.rid);
            }
        }
        rids.sort_unstable();
        if !rids.is_empty() {
            found.insert(name.as_str().into(), rids);
        }
    }
    Ok(found)
}

/// Whether what was deleted was to be seen, and met the filter.
fn was_wanted(context: &Context, records: &Records, wanted: &Wanted, deletion: &Version) -> Result<bool> {
    if !reach::reaches_version(context, records, Letters::SEARCH, deletion)? {
        return Ok(false);
    }
    let Some(filter) = wanted.filters.get(&*deletion.type_name) else { return Ok(true) };
    let keys = records.view().version_keys(deletion.rid, deletion.version.saturating_sub(1))?;
    match keys {
        Some(keys) if !keys.is_empty() => {
            search::holds(records, &deletion.type_name, &keys, filter, &context.search_budget())
        }
        _ => Ok(false),
    }
}

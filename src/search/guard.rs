//! The criteria of conditional interactions: what they match, and what the commit has to be guarded with.

use super::budget::Budget;
use super::engine::Run;
use super::explain::Trace;
use super::grant::restricted;
use super::inner::{of_type, unfolded};
use super::query::Query;
use super::results::after;
use crate::error::Result;
use crate::key::last_updated::ALL;
use crate::key::{Expr, KeyList, KeyRange, prefix_of};
use crate::store::{Guard, Records, Rid};

/// The first matches of a query over one type, at most `limit`, and the ranges of keys that the answer rests on.
///
/// # Errors
/// When the store fails or the budget is spent.
pub fn find_up_to(records: &Records, query: &Query, limit: usize, budget: &Budget) -> Result<(Vec<Rid>, Vec<Guard>)> {
    let run = Run::new(records.view(), budget, Trace::default());
    let (mut found, mut guards) = (Vec::new(), Vec::new());
    for target in &query.targets {
        let expr = restricted(records, target);
        guard(&target.type_name, &expr, &mut guards);
        let expr = unfolded(run.view, &target.type_name, &expr)?;
        let mut stream = run.stream(&target.type_name, &expr)?;
        let mut from = Rid(0);
        while found.len() < limit {
            let Some(rid) = stream.next_from(from)? else { break };
            found.push(rid);
            from = after(rid);
        }
    }
    Ok((found, guards))
}

/// The numbers of the resources of a type in a set, from one on, at most `limit`. No grant narrows the set.
///
/// # Errors
/// As [`find_up_to`].
pub fn members(
    records: &Records,
    (type_name, expr): (&str, &Expr),
    mut from: Rid,
    limit: usize,
    budget: &Budget,
) -> Result<Vec<Rid>> {
    let run = Run::new(records.view(), budget, Trace::default());
    let expr = unfolded(run.view, type_name, expr)?;
    let (mut stream, mut found) = (run.stream(type_name, &expr)?, Vec::new());
    while found.len() < limit {
        let Some(rid) = stream.next_from(from)? else { break };
        found.push(rid);
        from = after(rid);
    }
    Ok(found)
}

/// Whether a resource that is not stored yet, and has these keys, would match a query over one type.
///
/// # Errors
/// As [`find_up_to`].
pub fn would_match(records: &Records, query: &Query, keys: &KeyList, budget: &Budget) -> Result<bool> {
    let run = Run::new(records.view(), budget, Trace::default());
    for target in &query.targets {
        if run.holds(&target.type_name, keys, &restricted(records, target))? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Every range whose postings can change what is in the set.
fn guard(type_name: &str, expr: &Expr, guards: &mut Vec<Guard>) {
    let mut add = |type_name: &str, range| guards.push(Guard { type_name: type_name.into(), range });
    match expr {
        // No criteria decide anything where the patients' rules narrow what may be seen (`interaction::reach`).
        Expr::All | Expr::InPatients(_) => add(type_name, KeyRange::exactly(ALL)),
        Expr::Keys(range) | Expr::Covered(range, _) => add(type_name, range.clone()),
        Expr::Not(inner) => {
            add(type_name, KeyRange::exactly(ALL));
            guard(type_name, inner, guards);
        }
        Expr::And(parts) | Expr::Or(parts) => parts.iter().for_each(|part| guard(type_name, part, guards)),
        Expr::Refers { code, target, expr } => {
            add(type_name, KeyRange::prefix(&prefix_of(code)));
            add(type_name, of_type(target));
            guard(target, expr, guards);
        }
        Expr::ReferredBy { source, code, expr } => {
            add(type_name, KeyRange::exactly(ALL));
            add(source, KeyRange::prefix(&prefix_of(code)));
            guard(source, expr, guards);
        }
    }
}

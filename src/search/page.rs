//! One page of a search: its matches in order, what they include, where the next page starts, the total.

use super::budget::Budget;
use super::cursor::Cursor;
use super::engine::{Run, failed};
use super::explain::Trace;
use super::grant::restricted;
use super::include;
use super::order::{Place, Step, Walk};
use super::query::{Query, Sort, Summary, Total};
use super::results::after;
use crate::error::Result;
use crate::key::{Expr, KeyRange};
use crate::store::{Records, Rid, Version};

/// So many matches are looked for before an order is walked beside that.
const SOON: usize = 500;
/// More matches than these are not sorted at once.
const SORT_MAX: usize = 20_000;
/// Matches that are gathered for each step of the walk.
const GATHER_PER_ROUND: usize = 64;
/// Steps of the walk in one round.
const WALK_PER_ROUND: usize = 16;

/// A page of a search.
#[derive(Debug, Default)]
pub struct Page {
    /// The matches, in order.
    pub matches: Vec<Version>,
    /// What `_include` and `_revinclude` add.
    pub included: Vec<Version>,
    /// Whether more would be included than the limit allows.
    pub is_cut: bool,
    /// Where the next page starts, where there is one.
    pub next: Option<Cursor>,
    /// The number of all matches, where it was asked for or is known anyway.
    pub total: Option<u64>,
    /// How many postings and key lists were read.
    pub steps: u64,
    /// What was done, in words, where `_explain` asks for it.
    pub plan: Vec<String>,
}

/// Runs a query: the page after `cursor`, or the first one.
///
/// # Errors
/// When the store fails, the budget is spent, or a sort has too many ties.
pub fn run(records: &Records, query: &Query, cursor: Option<&Cursor>, budget: &Budget) -> Result<Page> {
    let run = Run { view: records.view(), budget, trace: Trace::new(query.explain) };
    let exprs: Vec<_> = query.targets.iter().map(|target| restricted(records, target)).collect();
    let counts_only = query.count == 0 || query.summary == Some(Summary::Count);
    let mut places = Vec::new();
    if !counts_only {
        // Without an order, the types follow each other; with one, the first places of all types are merged.
        let is_merged = !query.sort.is_empty();
        let first = cursor.filter(|_| !is_merged).map_or(0, |cursor| usize::from(cursor.target));
        for (index, (target, expr)) in query.targets.iter().zip(&exprs).enumerate().skip(first) {
            let wanted = (query.count + 1).saturating_sub(if is_merged { 0 } else { places.len() });
            let after = cursor.filter(|_| is_merged || index == first).map(Cursor::place);
            let found = find(&run, &target.type_name, expr, &query.sort, after.as_ref(), wanted)?;
            places.extend(found.into_iter().map(|place| (index, place)));
            if places.len() > query.count && !is_merged {
                break;
            }
        }
        if is_merged && query.targets.len() > 1 {
            places.sort_unstable_by(|(_, a), (_, b)| a.compare(b, &query.sort));
        }
    }
    let has_more = places.len() > query.count;
    places.truncate(query.count);
    let last = places.last().filter(|_| has_more);
    let next = last.map(|(target, place)| Cursor::at(u16::try_from(*target).unwrap_or(u16::MAX), place));
    let total = if counts_only || query.total != Total::None {
        Some(count(&run, query, &exprs)?)
    } else {
        let len = u64::try_from(places.len()).unwrap_or(u64::MAX);
        (cursor.is_none() && !has_more).then_some(len)
    };
    let matches: Vec<_> = places.iter().map(|(_, place)| place.rid).collect();
    let (included, is_cut) = include::included(&run, records, query, &matches)?;
    let (matches, included) = (versions(&run, &matches)?, versions(&run, &included)?);
    Ok(Page { matches, included, is_cut, next, total, steps: budget.taken(), plan: run.trace.finish(budget) })
}

fn count(run: &Run<'_>, query: &Query, exprs: &[Expr]) -> Result<u64> {
    let mut total = 0;
    for (target, expr) in query.targets.iter().zip(exprs) {
        let mut stream = run.stream(&target.type_name, expr)?;
        let mut from = Rid(0);
        while let Some(rid) = stream.next_from(from)? {
            total += 1;
            from = after(rid);
        }
    }
    Ok(total)
}

pub(super) fn versions(run: &Run<'_>, rids: &[Rid]) -> Result<Vec<Version>> {
    let current = rids.iter().map(|rid| run.view.current(*rid).map_err(failed));
    let found = current.collect::<Result<Vec<_>>>()?;
    Ok(found.into_iter().flatten().filter(|version| version.body.is_some()).collect())
}

/// The first matches after a place, at most `wanted`.
fn find(
    run: &Run<'_>,
    type_name: &str,
    expr: &Expr,
    sort: &[Sort],
    after_place: Option<&Place>,
    wanted: usize,
) -> Result<Vec<Place>> {
    if let Some(first) = sort.first() {
        return find_sorted(run, type_name, expr, (first, sort), after_place, wanted);
    }
    let mut stream = run.stream(type_name, expr)?;
    let mut from = after_place.map_or(Rid(0), |place| after(place.rid));
    let mut places = Vec::new();
    while places.len() < wanted {
        let Some(rid) = stream.next_from(from)? else { break };
        places.push(Place { keys: Vec::new(), rid });
        from = after(rid);
    }
    Ok(places)
}

/// Few matches are gathered and sorted; for many, the keys of the first parameter are walked in order until the page is full.
/// Which it is shows by doing both by turns.
fn find_sorted(
    run: &Run<'_>,
    type_name: &str,
    expr: &Expr,
    (first, sort): (&Sort, &[Sort]),
    after_place: Option<&Place>,
    wanted: usize,
) -> Result<Vec<Place>> {
    let without = Expr::and([expr.clone(), Expr::Keys(KeyRange::prefix(&first.prefix)).negate()]);
    let mut stream = run.stream(type_name, expr)?;
    let (mut gathered, mut from) = (Vec::new(), Rid(0));
    let mut walk: Option<Walk<'_>> = None;
    let mut places = Vec::new();
    loop {
        for _ in 0..if gathered.len() < SORT_MAX { GATHER_PER_ROUND } else { 0 } {
            let Some(rid) = stream.next_from(from)? else {
                return sorted(run, &gathered, sort, after_place, wanted);
            };
            gathered.push(rid);
            from = after(rid);
        }
        if gathered.len() < SOON {
            continue;
        }
        let walk = match &mut walk {
            Some(walk) => walk,
            none => {
                run.trace.note(|| format!("{type_name}: more than {SOON} match; the order is walked beside that."));
                none.insert(Walk::new(run, type_name, (expr, &without), (first, sort), after_place)?)
            }
        };
        for _ in 0..WALK_PER_ROUND {
            match walk.step()? {
                Step::Match(place) => places.push(place),
                Step::Nothing => {}
                Step::End => return Ok(places),
            }
            if places.len() == wanted {
                return Ok(places);
            }
        }
    }
}

fn sorted(
    run: &Run<'_>,
    rids: &[Rid],
    sort: &[Sort],
    after_place: Option<&Place>,
    wanted: usize,
) -> Result<Vec<Place>> {
    let mut places = Vec::new();
    for rid in rids {
        if let Some(keys) = run.keys(*rid)? {
            let place = Place::of(*rid, &keys, sort);
            if after_place.is_none_or(|after| after.compare(&place, sort).is_lt()) {
                places.push(place);
            }
        }
    }
    places.sort_unstable_by(|a, b| a.compare(b, sort));
    places.truncate(wanted);
    Ok(places)
}

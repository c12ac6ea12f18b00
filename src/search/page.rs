//! One page of a search: its matches in order, what they include, where the next page starts, the total.

use super::back::{Start, WalkBack};
use super::budget::Budget;
use super::cursor::Cursor;
use super::engine::{Run, failed};
use super::explain::Trace;
use super::include;
use super::inner::{self, Begin, Source};
use super::order::{Place, Step, Walk};
use super::query::{Query, Sort, Summary, Total};
use super::results::after;
use crate::error::Result;
use crate::key::inner::Inner;
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

/// One match.
#[derive(Debug, Clone)]
pub struct Match {
    /// The resource.
    pub version: Version,
    /// Where not the resource itself is the match, but one that is contained in it.
    pub inner: Option<Inner>,
}

/// A page of a search.
#[derive(Debug, Default)]
pub struct Page {
    /// The matches, in order.
    pub matches: Vec<Match>,
    /// What `_include` and `_revinclude` add.
    pub included: Vec<Version>,
    /// Whether more would be included than the limit allows.
    pub is_cut: bool,
    /// Where the next page starts, where there is one.
    pub next: Option<Cursor>,
    /// Where the page before ends, where there is one.
    pub prev: Option<Cursor>,
    /// The number of all matches, where it was asked for or is known anyway.
    pub total: Option<u64>,
    /// How many postings and key lists were read.
    pub steps: u64,
    /// What was done, in words, where `_explain` asks for it.
    pub plan: Vec<String>,
}

/// Runs a query: the page after `cursor`, or before it, or the first one.
///
/// # Errors
/// When the store fails, the budget is spent, or a sort has too many ties.
pub fn run(records: &Records, query: &Query, cursor: Option<&Cursor>, budget: &Budget) -> Result<Page> {
    let run = Run { view: records.view(), budget, trace: Trace::new(query.explain) };
    let sources = inner::sources(records, query)?;
    let counts_only = query.count == 0 || query.summary == Some(Summary::Count);
    let mut places = if counts_only { Vec::new() } else { places(&run, query, &sources, cursor)? };
    let has_more = places.len() > query.count;
    places.truncate(query.count);
    let is_back = cursor.is_some_and(|cursor| cursor.is_back);
    if is_back {
        places.reverse();
    }
    // Where this page was come to from, there is something; on the other side where more was found.
    let at = |place: Option<&(usize, Place)>, is_back| {
        let (source, place) = place?;
        Some(Cursor::at(sources.get(*source)?.number, place, is_back))
    };
    let next = at(places.last().filter(|_| has_more || is_back), false);
    let prev = at(places.first().filter(|_| if is_back { has_more } else { cursor.is_some() }), true);
    let total = if counts_only || query.total != Total::None {
        Some(count(&run, &sources)?)
    } else {
        let len = u64::try_from(places.len()).unwrap_or(u64::MAX);
        (cursor.is_none() && !has_more).then_some(len)
    };
    let found: Vec<_> = places
        .iter()
        .map(|(source, place)| (place.rid, sources.get(*source).and_then(|source| source.inner.clone())))
        .collect();
    let (included, is_cut) = include::included(&run, records, query, &found)?;
    let mut matches = Vec::with_capacity(found.len());
    for (rid, inner) in found {
        matches.extend(versions(&run, &[rid])?.into_iter().map(|version| Match { version, inner: inner.clone() }));
    }
    let included = versions(&run, &included)?;
    Ok(Page { matches, included, is_cut, next, prev, total, steps: budget.taken(), plan: run.trace.finish(budget) })
}

/// The places of a page and one more, each with the position of its set, in the direction in which the page goes on.
fn places(run: &Run<'_>, query: &Query, sources: &[Source], cursor: Option<&Cursor>) -> Result<Vec<(usize, Place)>> {
    // Without an order, the sets follow each other; with one, the first places of all sets are merged.
    let is_merged = !query.sort.is_empty();
    let is_back = cursor.is_some_and(|cursor| cursor.is_back);
    let mut in_turn: Vec<_> = sources.iter().enumerate().collect();
    if is_back {
        in_turn.reverse();
    }
    let mut places = Vec::new();
    for (index, source) in in_turn {
        let begin = cursor.map_or(Begin::AtTheEdge, |cursor| source.begin(cursor, &query.sort));
        let place = match begin {
            Begin::Nowhere => continue,
            Begin::AtTheEdge => None,
            Begin::Beyond(place) => Some(place),
        };
        let wanted = (query.count + 1).saturating_sub(if is_merged { 0 } else { places.len() });
        let start = Start { place: place.as_ref(), is_back };
        let found = find(run, &source.type_name, &source.expr, &source.sort, start, wanted)?;
        places.extend(found.iter().map(|place| (index, source.shared(place, &query.sort))));
        if places.len() > query.count && !is_merged {
            break;
        }
    }
    if is_merged && sources.len() > 1 {
        places.sort_unstable_by(|(source, a), (other, b)| a.compare(b, &query.sort).then(source.cmp(other)));
        if is_back {
            places.reverse();
        }
    }
    Ok(places)
}

fn count(run: &Run<'_>, sources: &[Source]) -> Result<u64> {
    let mut total = 0;
    for source in sources {
        let mut stream = run.stream(&source.type_name, &source.expr)?;
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

/// The first matches after a place, or the last before it from there on backward, at most `wanted`.
fn find(
    run: &Run<'_>,
    type_name: &str,
    expr: &Expr,
    sort: &[Sort],
    start: Start<'_>,
    wanted: usize,
) -> Result<Vec<Place>> {
    if let Some(first) = sort.first() {
        return find_sorted(run, type_name, expr, (first, sort), start, wanted);
    }
    if start.is_back {
        return run.find_back(type_name, expr, start, wanted);
    }
    let mut stream = run.stream(type_name, expr)?;
    let mut from = start.place.map_or(Rid(0), |place| after(place.rid));
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
    start: Start<'_>,
    wanted: usize,
) -> Result<Vec<Place>> {
    let without = Expr::and([expr.clone(), Expr::Keys(KeyRange::prefix(&first.prefix)).negate()]);
    let mut stream = run.stream(type_name, expr)?;
    let (mut gathered, mut from) = (Vec::new(), Rid(0));
    let mut walk: Option<Box<dyn FnMut() -> Result<Step> + '_>> = None;
    let mut places = Vec::new();
    loop {
        for _ in 0..if gathered.len() < SORT_MAX { GATHER_PER_ROUND } else { 0 } {
            let Some(rid) = stream.next_from(from)? else {
                return sorted(run, &gathered, sort, start, wanted);
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
                let (sets, order) = ((expr, &without), (first, sort));
                none.insert(if start.is_back {
                    let mut walk = WalkBack::new(run, type_name, sets, order, start.place)?;
                    Box::new(move || walk.step())
                } else {
                    let mut walk = Walk::new(run, type_name, sets, order, start.place)?;
                    Box::new(move || walk.step())
                })
            }
        };
        for _ in 0..WALK_PER_ROUND {
            match walk()? {
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

fn sorted(run: &Run<'_>, rids: &[Rid], sort: &[Sort], start: Start<'_>, wanted: usize) -> Result<Vec<Place>> {
    let mut places = Vec::new();
    for rid in rids {
        if let Some(keys) = run.keys(*rid)? {
            let place = Place::of(*rid, &keys, sort);
            if start.admits(&place, sort) {
                places.push(place);
            }
        }
    }
    start.arrange(&mut places, sort);
    places.truncate(wanted);
    Ok(places)
}

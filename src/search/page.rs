//! One page of a search: its matches in order, what they include, where the next page starts, the total.

use super::back::{Start, WalkBack};
use super::budget::Budget;
use super::cursor::Cursor;
use super::engine::{Run, failed};
use super::explain::Trace;
use super::include;
use super::inner::{self, Begin, Source};
use super::order::{Place, Step, Walk, Way};
use super::plan::LIST_COST;
use super::query::{Query, Sort, Summary, Total};
use super::results::{Stream, after};
use crate::error::Result;
use crate::key::inner::Inner;
use crate::key::{Expr, KeyRange};
use crate::store::{Records, Rid, Version};
use std::rc::Rc;

/// What gathering the matches may cost more than walking the order has cost so far, in postings. Tests do both.
const HEAD_START: u64 = if cfg!(test) { 4 } else { 500 };
/// Matches that are gathered at a time.
const GATHERED_AT_ONCE: usize = if cfg!(test) { 2 } else { 64 };
/// More matches than these are not gathered.
const GATHER_MAX: usize = 250_000;
/// So few matches for each one wanted are sorted without more ado.
const FEW: usize = 2;

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
    let mut matches = Vec::with_capacity(places.len());
    for (source, place) in &places {
        let inner = sources.get(*source).and_then(|source| source.inner.as_ref());
        matches.extend(current(&run, place.rid)?.map(|version| Match { version, inner: inner.cloned() }));
    }
    let (included, is_cut) = include::included(&run, records, query, &matches)?;
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
        total += run.stream(&source.type_name, &source.expr)?.count()?;
    }
    Ok(total)
}

/// The current version of a resource, unless it is deleted.
pub(super) fn current(run: &Run<'_>, rid: Rid) -> Result<Option<Version>> {
    Ok(run.view.current(rid).map_err(failed)?.filter(|version| version.body.is_some()))
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

/// The first matches in order. To gather all matches and to walk the keys of the first parameter in order goes on side by side.
/// Once all are gathered, the walk need only look whether what it meets is among them; and where it goes on for longer than
/// sorting them would take, they are sorted.
fn find_sorted(
    run: &Run<'_>,
    type_name: &str,
    expr: &Expr,
    (first, sort): (&Sort, &[Sort]),
    start: Start<'_>,
    wanted: usize,
) -> Result<Vec<Place>> {
    let without = Expr::and([expr.clone(), Expr::Keys(KeyRange::prefix(&first.prefix)).negate()]);
    let (sets, order) = ((expr, &without), (first, sort));
    let mut walk: Box<dyn Way + '_> = if start.is_back {
        Box::new(WalkBack::new(run, type_name, sets, order, start.place)?)
    } else {
        Box::new(Walk::new(run, type_name, sets, order, start.place))
    };
    let mut stream = if *expr == Expr::All { None } else { Some(run.stream(type_name, expr)?) };
    let (mut gathered, mut from, mut gathering, mut walking) = (Vec::new(), Rid(0), 0, 0);
    let mut matches: Option<Rc<[Rid]>> = None;
    let mut places = Vec::new();
    loop {
        let begin = run.spent();
        while let Some(open) = stream.as_mut().filter(|_| gathering + run.spent() - begin < walking + HEAD_START) {
            let is_end = gather(open, &mut gathered, &mut from)?;
            gathering += 1;
            if is_end {
                run.trace.note(|| format!("{type_name}: all {} matches are gathered.", gathered.len()));
                let all: Rc<[Rid]> = std::mem::take(&mut gathered).into();
                if all.len() <= FEW * wanted {
                    return sorted(run, &all, sort, start, wanted);
                }
                walk.narrow(Rc::clone(&all));
                (matches, walking) = (Some(all), 0);
            }
            if is_end || gathered.len() > GATHER_MAX {
                (stream, gathered) = (None, Vec::new());
            }
        }
        gathering += run.spent() - begin;
        if let Some(matches) = matches.as_ref().filter(|matches| walking > LIST_COST * matches.len() as u64) {
            run.trace.note(|| format!("{type_name}: the matches are sorted, since few are met on the way."));
            return sorted(run, matches, sort, start, wanted);
        }
        let begin = run.spent();
        match walk.step()? {
            Step::Match(place) => places.push(place),
            Step::Nothing => {}
            Step::End => return Ok(places),
        }
        walking += run.spent() - begin;
        if places.len() == wanted {
            run.trace.note(|| format!("{type_name}: the order was walked."));
            return Ok(places);
        }
    }
}

/// Gathers a few more matches; whether that was all.
fn gather(stream: &mut Stream<'_>, gathered: &mut Vec<Rid>, from: &mut Rid) -> Result<bool> {
    for _ in 0..GATHERED_AT_ONCE {
        let Some(rid) = stream.next_from(*from)? else { return Ok(true) };
        gathered.push(rid);
        *from = after(rid);
    }
    Ok(false)
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

//! One page of a search: its matches in order, what they include, where the next page starts, the total.

use super::back::Start;
use super::budget::Budget;
use super::cursor::Cursor;
use super::engine::{Run, failed};
use super::explain::Trace;
use super::find::find;
use super::include;
use super::inner::{self, Begin, Source};
use super::order::Place;
use super::query::{Query, Summary, Total};
use crate::error::Result;
use crate::key::inner::Inner;
use crate::store::{Records, Rid, Version};

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
    let run = Run::new(records.view(), budget, Trace::new(query.explain));
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
    let rids: Vec<Rid> = places.iter().map(|(_, place)| place.rid).collect();
    for ((source, _), version) in places.iter().zip(run.view.currents(&rids).map_err(failed)?) {
        let inner = sources.get(*source).and_then(|source| source.inner.as_ref());
        let live = version.filter(|version| version.body.is_some());
        matches.extend(live.map(|version| Match { version, inner: inner.cloned() }));
    }
    let (included, is_cut) = include::included(&run, records, query, &matches)?;
    Ok(Page { matches, included, is_cut, next, prev, total, steps: budget.taken(), plan: run.trace.finish(budget) })
}

/// The places of a page and one more, each with the position of its set, in the direction in which the page goes on.
fn places(run: &Run<'_>, query: &Query, sources: &[Source], cursor: Option<&Cursor>) -> Result<Vec<(usize, Place)>> {
    // Without an order, the sets follow each other; with one, the first places of all sets are merged.
    let is_merged = !query.sort.is_empty();
    // What is before or behind a set of several has to be known whatever way was taken through it.
    let is_free = !is_merged && sources.len() == 1 && cursor.is_none();
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
        let found = find(run, &source.type_name, &source.expr, &source.sort, start, is_free, wanted)?;
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

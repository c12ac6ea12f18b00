//! The order of matches backward, for `prev` links.
//!
//! Numbers can only be read ascending. So going back reads windows that end where the last one began, and that grow or shrink
//! with how many numbers they hold.

use super::engine::{Run, failed};
use super::order::{GATHER_MAX, Place, Step, TIES_MAX, Way, first_key, too_many_ties};
use super::query::Sort;
use super::results::{Stream, after};
use crate::error::Result;
use crate::key::bytes::END;
use crate::key::last_updated::ALL;
use crate::key::{Expr, KeyRange};
use crate::store::{Rid, Rids};
use std::rc::Rc;
use std::sync::Arc;

/// The width of the first window.
const FIRST_SPAN: u64 = 64;
/// A window with more numbers is narrowed.
const WINDOW_MAX: usize = 512;
/// A window grows and shrinks by this.
const FACTOR: u64 = 8;

/// Where a page starts, and in which direction it goes on from there.
#[derive(Clone, Copy)]
pub struct Start<'p> {
    pub place: Option<&'p Place>,
    pub is_back: bool,
}

impl Start<'_> {
    /// Whether a place lies behind the start.
    pub fn admits(self, place: &Place, sort: &[Sort]) -> bool {
        self.place.is_none_or(|start| {
            let order = place.compare(start, sort);
            if self.is_back { order.is_lt() } else { order.is_gt() }
        })
    }

    /// Puts places in the order in which they come from here on.
    pub fn arrange(self, places: &mut [Place], sort: &[Sort]) {
        places.sort_unstable_by(|a, b| a.compare(b, sort));
        if self.is_back {
            places.reverse();
        }
    }
}

/// Opens numbers ascending from one on.
type Open<'r> = Box<dyn Fn(Rid) -> Result<Ordered<'r>> + 'r>;

/// Numbers in ascending order, or all of them in descending order.
pub type Ordered<'r> = Box<dyn Iterator<Item = Result<Rid>> + 'r>;

/// Numbers below one, descending, of what is read ascending.
struct Back<'r> {
    open: Open<'r>,
    below: Rid,
    span: u64,
    found: Vec<Rid>,
}

impl<'r> Back<'r> {
    fn new(below: Rid, open: Open<'r>) -> Self {
        Self { open, below, span: FIRST_SPAN, found: Vec::new() }
    }

    /// Reads the next window; it may be empty.
    fn read(&mut self) -> Result<()> {
        let from = Rid(self.below.0.saturating_sub(self.span));
        for rid in (self.open)(from)? {
            let rid = rid?;
            if rid >= self.below {
                break;
            }
            if self.found.len() == WINDOW_MAX {
                self.found.clear();
                self.span /= FACTOR;
                return Ok(());
            }
            self.found.push(rid);
        }
        self.below = from;
        if self.found.len() <= WINDOW_MAX / 8 {
            self.span = self.span.saturating_mul(FACTOR);
        }
        Ok(())
    }
}

impl Iterator for Back<'_> {
    type Item = Result<Rid>;

    fn next(&mut self) -> Option<Result<Rid>> {
        loop {
            if let Some(rid) = self.found.pop() {
                return Some(Ok(rid));
            }
            if self.below == Rid(0) {
                return None;
            }
            if let Err(error) = self.read() {
                return Some(Err(error));
            }
        }
    }
}

/// The numbers of a stream, ascending.
struct Ascending<'r> {
    stream: Stream<'r>,
    from: Rid,
}

impl Iterator for Ascending<'_> {
    type Item = Result<Rid>;

    fn next(&mut self) -> Option<Result<Rid>> {
        let next = self.stream.next_from(self.from).transpose()?;
        if let Ok(rid) = next {
            self.from = after(rid);
        }
        Some(next)
    }
}

impl<'r> Run<'r> {
    /// The resources of a type in a set, descending by number, below one or all of them.
    pub fn back(&'r self, type_name: &'r str, expr: &'r Expr, below: Option<Rid>) -> Result<Ordered<'r>> {
        let below = match below {
            Some(below) => below,
            None => match self.view.scan_back(type_name, &KeyRange::exactly(ALL)).next() {
                Some(last) => after(last.map_err(failed)?.rid),
                None => Rid(0),
            },
        };
        let open = move |from| Ok(Box::new(Ascending { stream: self.stream(type_name, expr)?, from }) as _);
        Ok(Box::new(Back::new(below, Box::new(open))))
    }

    /// The resources with a key that come after a number in one of the two directions, or all of them.
    pub fn with_key(&'r self, type_name: &'r str, key: &Arc<[u8]>, start: Option<Rid>, is_back: bool) -> Ordered<'r> {
        if !is_back {
            let rids = self.view.rids(type_name, key, start.map_or(Rid(0), after));
            return Box::new(rids.map(|rid| rid.map_err(failed)));
        }
        let Some(below) = start else {
            let all = self.view.scan_back(type_name, &KeyRange::exactly(key));
            return Box::new(all.map(|posting| posting.map(|posting| posting.rid).map_err(failed)));
        };
        let key = Arc::clone(key);
        let open = move |from| {
            let rids: Rids<'r> = self.view.rids(type_name, &key, from);
            Ok(Box::new(rids.map(|rid| rid.map_err(failed))) as _)
        };
        Box::new(Back::new(below, Box::new(open)))
    }

    /// The last matches before a place, the last first, in the order of their numbers.
    pub fn find_back(
        &'r self,
        type_name: &'r str,
        expr: &'r Expr,
        start: Start<'_>,
        wanted: usize,
    ) -> Result<Vec<Place>> {
        let places = self.back(type_name, expr, start.place.map(|place| place.rid))?;
        places.take(wanted).map(|rid| rid.map(|rid| Place { keys: Vec::new(), rid })).collect()
    }
}

/// Walks the keys of the first part of `_sort` backward and gives the matches in that order.
pub struct WalkBack<'r> {
    run: &'r Run<'r>,
    type_name: &'r str,
    expr: &'r Expr,
    first: &'r Sort,
    sort: &'r [Sort],
    before: Option<Place>,
    rest: KeyRange,
    /// The key at which the walk stands, `None` for the matches without one, and the resources there.
    group: Option<(Option<Arc<[u8]>>, Ordered<'r>)>,
    /// Matches with the same first key, where more parts decide.
    ties: Vec<Place>,
    ready: std::vec::IntoIter<Place>,
    /// All matches, where they are known.
    matches: Option<Rc<[Rid]>>,
}

impl<'r> WalkBack<'r> {
    /// A walk over the matches before a place. `without` is the expression narrowed to the resources that have no first key.
    pub fn new(
        run: &'r Run<'r>,
        type_name: &'r str,
        (expr, without): (&'r Expr, &'r Expr),
        (first, sort): (&'r Sort, &'r [Sort]),
        before: Option<&Place>,
    ) -> Result<Self> {
        let mut walk = Self {
            run,
            type_name,
            expr,
            first,
            sort,
            before: before.cloned(),
            rest: KeyRange::prefix(&first.prefix),
            group: None,
            ties: Vec::new(),
            ready: Vec::new().into_iter(),
            matches: None,
        };
        // Where ties are sorted all of them are needed; else the walk goes on in the middle of them.
        let below = before.filter(|_| sort.len() == 1).map(|place| place.rid);
        let key = before.and_then(|place| place.keys.first()?.as_deref());
        walk.group = Some(match key {
            Some(key) => {
                let key: Arc<[u8]> = Arc::from(key);
                walk.leave_behind(&key);
                let group = run.with_key(type_name, &key, below, true);
                (Some(key), group)
            }
            None => (None, run.back(type_name, without, below)?),
        });
        Ok(walk)
    }

    fn leave_behind(&mut self, key: &[u8]) {
        if self.first.descending {
            self.rest.from = [key, &[END]].concat().into();
        } else {
            self.rest.to = key.into();
        }
    }

    /// Goes to the key before; says whether there is one.
    fn next_group(&mut self) -> Result<bool> {
        self.run.budget.step()?;
        let (view, name) = (self.run.view, self.type_name);
        let next = if self.first.descending {
            view.scan(name, &self.rest).next()
        } else {
            view.scan_back(name, &self.rest).next()
        };
        let Some(posting) = next else { return Ok(false) };
        let key = posting.map_err(failed)?.key;
        self.leave_behind(&key);
        let group = self.run.with_key(self.type_name, &key, None, true);
        self.group = Some((Some(key), group));
        Ok(true)
    }

    fn release_ties(&mut self) {
        let start = Start { place: self.before.as_ref(), is_back: true };
        let mut ties = std::mem::take(&mut self.ties);
        ties.retain(|place| start.admits(place, self.sort));
        start.arrange(&mut ties, self.sort);
        self.ready = ties.into_iter();
    }
}

impl Way for WalkBack<'_> {
    fn step(&mut self) -> Result<Step> {
        if let Some(place) = self.ready.next() {
            return Ok(Step::Match(place));
        }
        let Some((key, rids)) = &mut self.group else {
            return Ok(if self.next_group()? { Step::Nothing } else { Step::End });
        };
        self.run.budget.step()?;
        let Some(rid) = rids.next().transpose()? else {
            self.group = None;
            self.release_ties();
            return Ok(Step::Nothing);
        };
        // Those without a key come from a stream of matches.
        let is_match = match &self.matches {
            Some(matches) => Some(matches.binary_search(&rid).is_ok()),
            None => key.is_none().then_some(true),
        };
        if is_match == Some(false) {
            return Ok(Step::Nothing);
        }
        let Some(keys) = self.run.keys(rid)? else { return Ok(Step::Nothing) };
        let is_its_place = first_key(&keys, self.first) == key.as_deref();
        if !is_its_place || (is_match.is_none() && !self.run.holds(self.type_name, &keys, self.expr)?) {
            return Ok(Step::Nothing);
        }
        let place = Place::of(rid, &keys, self.sort);
        if self.sort.len() == 1 {
            return Ok(Step::Match(place));
        }
        let is_known = self.matches.is_some() || *self.expr == Expr::All;
        if self.ties.len() >= if is_known { GATHER_MAX } else { TIES_MAX } {
            return Err(too_many_ties());
        }
        self.ties.push(place);
        Ok(Step::Nothing)
    }

    fn narrow(&mut self, matches: Rc<[Rid]>) {
        self.matches = Some(matches);
    }
}

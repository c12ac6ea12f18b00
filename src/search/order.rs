//! `_sort`: the order of places, and walking the keys of a parameter in it.
//!
//! A resource stands where its first key does: the least one in ascending, the greatest in descending order. Those without any
//! come last either way, and ties go by number. <https://hl7.org/fhir/R4/search.html#sort>

use super::engine::{Run, failed};
use super::query::Sort;
use super::results::{Stream, after};
use super::route::Route;
use crate::error::{Category, Error, Result};
use crate::key::bytes::END;
use crate::key::{Expr, KeyList, KeyRange};
use crate::store::{Posting, Postings, Rid, Rids};
use rustc_hash::FxHashSet;
use std::cmp::Ordering;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

/// So many postings of one key are kept at once; more are read in order from the store.
const GROUP_MAX: usize = 512;
/// More matches than these are not gathered.
pub const GATHER_MAX: usize = 250_000;
/// To meet so many numbers is a step, as reading a run of them is.
const RIDS_PER_STEP: u64 = 64;
/// So many resources may share the first key of a sort by several parameters, where each has to be looked into.
pub const TIES_MAX: usize = 20_000;

/// Where a resource stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The keys that decide, one for each part of `_sort`.
    pub keys: Vec<Option<Box<[u8]>>>,
    /// The resource.
    pub rid: Rid,
}

impl Place {
    /// The place of a resource with these keys.
    pub fn of(rid: Rid, keys: &KeyList, sort: &[Sort]) -> Self {
        Self { keys: sort.iter().map(|part| first_key(keys, part).map(Into::into)).collect(), rid }
    }

    /// Which place comes first.
    pub fn compare(&self, other: &Self, sort: &[Sort]) -> Ordering {
        for ((mine, theirs), part) in self.keys.iter().zip(&other.keys).zip(sort) {
            let order = match (mine, theirs) {
                (Some(mine), Some(theirs)) if part.descending => theirs.cmp(mine),
                (Some(mine), Some(theirs)) => mine.cmp(theirs),
                (mine, theirs) => theirs.is_some().cmp(&mine.is_some()),
            };
            if order.is_ne() {
                return order;
            }
        }
        self.rid.cmp(&other.rid)
    }
}

/// What decides on places.
#[derive(Clone, Copy)]
pub enum Order<'r> {
    /// `_sort`.
    Sorted(&'r [Sort]),
    /// A route.
    Along(&'r Route<'r>),
}

/// Places on a route compare as those by one key do.
const BY_KEY: &[Sort] = &[Sort { prefix: Vec::new(), descending: false }];

impl<'r> Order<'r> {
    /// By what places compare.
    pub const fn parts(self) -> &'r [Sort] {
        match self {
            Self::Sorted(sort) => sort,
            Self::Along(_) => BY_KEY,
        }
    }

    /// Where a match stands.
    pub fn place(self, run: &Run<'_>, type_name: &str, rid: Rid, keys: &KeyList) -> Result<Option<Place>> {
        Ok(match self {
            Self::Sorted(sort) => Some(Place::of(rid, keys, sort)),
            Self::Along(route) => {
                let place = route.place(run, type_name, keys)?;
                place.map(|place| Place { keys: vec![Some(place.into())], rid })
            }
        })
    }
}

/// The key by which a resource stands where it does.
pub fn first_key<'k>(keys: &'k KeyList, part: &Sort) -> Option<&'k [u8]> {
    let mut own = keys.starting_with(&part.prefix);
    if part.descending { own.next_back() } else { own.next() }
}

/// Whether a key alone shows that the resource that has it is in a set.
pub fn shows(expr: &Expr, key: &[u8]) -> bool {
    match expr {
        Expr::All => true,
        Expr::Keys(range) | Expr::Covered(range, _) => range.holds(key),
        Expr::And(parts) => parts.iter().all(|part| shows(part, key)),
        Expr::Or(parts) => parts.iter().any(|part| shows(part, key)),
        Expr::Not(_) | Expr::Refers { .. } | Expr::ReferredBy { .. } | Expr::InPatients(_) => false,
    }
}

/// There are more ties than can be sorted.
pub fn too_many_ties() -> Error {
    let text = "Too many resources are equal in the first parameter of `_sort`. Add criteria that fewer meet.";
    Error::new(Category::Invalid, "too-costly", text)
}

/// One step of a walk.
pub enum Step {
    /// The next match.
    Match(Place),
    /// All matches that have a key, where more parts of the order decide between them. Some may stand at another key.
    Tied(Arc<[u8]>, Vec<Rid>),
    /// A resource that is none.
    Nothing,
    /// There are no more.
    End,
}

/// A walk along an order, in one direction.
pub trait Way {
    /// Takes a step.
    fn step(&mut self) -> Result<Step>;

    /// Tells the walk all matches, ascending: from now on it need not look into what it meets.
    fn narrow(&mut self, matches: Rc<[Rid]>);
}

/// Walks the keys of the first part of `_sort` and gives the matches in order.
pub struct Walk<'r> {
    run: &'r Run<'r>,
    type_name: &'r str,
    expr: &'r Expr,
    first: &'r Sort,
    sort: &'r [Sort],
    after: Option<Place>,
    rest: KeyRange,
    scan: Option<Postings<'r>>,
    peeked: Option<Posting>,
    group: Option<(Arc<[u8]>, Rids<'r>)>,
    /// Whether nothing of the group was looked at yet.
    is_fresh: bool,
    /// How many numbers of groups were met so far.
    met_in_all: u64,
    /// Matches with the same first key, where more parts decide.
    ties: Vec<Place>,
    ready: VecDeque<Place>,
    /// All matches, where they are known.
    matches: Option<Rc<[Rid]>>,
    /// The matches that were met already, where their first key is the one by which they were met first.
    met: FxHashSet<Rid>,
    /// Matches without the first key: which they are, and, once it is their turn, their stream.
    without: &'r Expr,
    without_open: Option<Stream<'r>>,
    without_from: Rid,
    is_without: bool,
}

impl<'r> Walk<'r> {
    /// A walk over the matches after a place. `without` is the expression narrowed to the resources that have no first key.
    pub fn new(
        run: &'r Run<'r>,
        type_name: &'r str,
        (expr, without): (&'r Expr, &'r Expr),
        (first, sort): (&'r Sort, &'r [Sort]),
        after_place: Option<&Place>,
    ) -> Self {
        let mut walk = Self {
            run,
            type_name,
            expr,
            first,
            sort,
            after: after_place.cloned(),
            rest: KeyRange::prefix(&first.prefix),
            scan: None,
            peeked: None,
            group: None,
            is_fresh: true,
            met_in_all: 0,
            ties: Vec::new(),
            ready: VecDeque::new(),
            matches: None,
            met: FxHashSet::default(),
            without,
            without_open: None,
            without_from: Rid(0),
            is_without: false,
        };
        if let Some(place) = after_place {
            let start = if sort.len() == 1 { after(place.rid) } else { Rid(0) };
            if let Some(Some(key)) = place.keys.first() {
                walk.leave_behind(key);
                walk.group = Some((Arc::from(&**key), run.view.rids(type_name, key, start)));
            } else {
                (walk.is_without, walk.without_from) = (true, start);
            }
        }
        walk
    }

    fn leave_behind(&mut self, key: &[u8]) {
        if self.first.descending {
            self.rest.to = key.into();
        } else {
            self.rest.from = [key, &[END]].concat().into();
        }
    }

    fn next_posting(&mut self) -> Result<Option<Posting>> {
        if let Some(posting) = self.peeked.take() {
            return Ok(Some(posting));
        }
        self.run.budget.step()?;
        let scan = self.scan.get_or_insert_with(|| {
            let (view, name) = (self.run.view, self.type_name);
            if self.first.descending { view.scan_back(name, &self.rest) } else { view.scan(name, &self.rest) }
        });
        scan.next().transpose().map_err(failed)
    }

    /// Goes to the next key.
    fn next_group(&mut self) -> Result<()> {
        let Some(first) = self.next_posting()? else {
            self.is_without = true;
            return Ok(());
        };
        let key = first.key;
        let mut rids = vec![first.rid];
        loop {
            match self.next_posting()? {
                Some(posting) if posting.key == key => rids.push(posting.rid),
                other => {
                    self.peeked = other;
                    break;
                }
            }
            if rids.len() > GROUP_MAX {
                self.scan = None;
                self.leave_behind(&key);
                let all = self.run.view.rids(self.type_name, &key, Rid(0));
                self.group = Some((key, all));
                return Ok(());
            }
        }
        rids.sort_unstable();
        self.group = Some((key, Box::new(rids.into_iter().map(Ok))));
        Ok(())
    }

    fn count_met(&mut self) -> Result<()> {
        self.met_in_all += 1;
        if self.met_in_all.is_multiple_of(RIDS_PER_STEP) { self.run.budget.step() } else { Ok(()) }
    }

    /// All matches of the group.
    fn tied(&mut self) -> Result<Step> {
        let Some((key, rids)) = self.group.take() else { return Ok(Step::Nothing) };
        let mut found = Vec::new();
        for rid in rids {
            let rid = rid.map_err(failed)?;
            self.count_met()?;
            if self.is_match(&key, rid) == Some(true) {
                found.push(rid);
            }
            if found.len() > GATHER_MAX {
                return Err(too_many_ties());
            }
        }
        Ok(Step::Tied(key, found))
    }

    /// Whether a resource with this key is a match, where that is known.
    fn is_match(&self, key: &[u8], rid: Rid) -> Option<bool> {
        match &self.matches {
            Some(matches) => Some(matches.binary_search(&rid).is_ok()),
            None => shows(self.expr, key).then_some(true),
        }
    }

    /// Looks at a resource that has a key.
    fn meet(&mut self, key: &[u8], rid: Rid) -> Result<Step> {
        let is_match = self.is_match(key, rid);
        if is_match == Some(false) {
            return Ok(Step::Nothing);
        }
        if is_match == Some(true) && self.after.is_none() && self.sort.len() == 1 {
            let is_first = self.met.insert(rid);
            let place = Place { keys: vec![Some(key.into())], rid };
            return Ok(if is_first { Step::Match(place) } else { Step::Nothing });
        }
        let Some(keys) = self.run.keys(rid)? else { return Ok(Step::Nothing) };
        let is_its_place = first_key(&keys, self.first) == Some(key);
        if !is_its_place || (is_match.is_none() && !self.run.holds(self.type_name, &keys, self.expr)?) {
            return Ok(Step::Nothing);
        }
        self.matched(Place::of(rid, &keys, self.sort))
    }

    fn step_without(&mut self) -> Result<Step> {
        let stream = match &mut self.without_open {
            Some(open) => open,
            none => none.insert(self.run.stream(self.type_name, self.without)?),
        };
        let Some(rid) = stream.next_from(self.without_from)? else {
            self.release_ties();
            return Ok(self.ready.pop_front().map_or(Step::End, Step::Match));
        };
        self.without_from = after(rid);
        match self.run.keys(rid)? {
            Some(keys) => self.matched(Place::of(rid, &keys, self.sort)),
            None => Ok(Step::Nothing),
        }
    }

    fn matched(&mut self, place: Place) -> Result<Step> {
        if self.sort.len() == 1 {
            self.met.insert(place.rid);
            return Ok(Step::Match(place));
        }
        if self.ties.len() >= TIES_MAX {
            return Err(too_many_ties());
        }
        self.ties.push(place);
        Ok(Step::Nothing)
    }

    fn release_ties(&mut self) {
        let mut ties = std::mem::take(&mut self.ties);
        if let Some(after) = &self.after {
            ties.retain(|place| after.compare(place, self.sort).is_lt());
        }
        ties.sort_unstable_by(|a, b| a.compare(b, self.sort));
        self.ready.extend(ties);
    }
}

impl Way for Walk<'_> {
    fn step(&mut self) -> Result<Step> {
        if let Some(place) = self.ready.pop_front() {
            return Ok(Step::Match(place));
        }
        if self.is_without {
            return self.step_without();
        }
        let Some((key, rids)) = &mut self.group else {
            self.next_group()?;
            self.is_fresh = true;
            return Ok(Step::Nothing);
        };
        if self.sort.len() > 1 && self.is_fresh && (self.matches.is_some() || *self.expr == Expr::All) {
            return self.tied();
        }
        self.is_fresh = false;
        let Some(rid) = rids.next().transpose().map_err(failed)? else {
            self.group = None;
            self.release_ties();
            return Ok(Step::Nothing);
        };
        let key = Arc::clone(key);
        self.count_met()?;
        self.meet(&key, rid)
    }

    fn narrow(&mut self, matches: Rc<[Rid]>) {
        self.matches = Some(matches);
    }
}

//! The first matches of one type after a place, or before it, in order.
//!
//! Two ways lead to an order, and which is the quicker shows only on the way: so they go side by side, each for about the same
//! cost, and the first that is there is taken. Without `_sort`, the first page takes the order in which it is found.

use super::back::{Start, WalkBack};
use super::cursor;
use super::engine::Run;
use super::explain::describe;
use super::follow::Follow;
use super::order::{GATHER_MAX, Order, Place, Step, Walk, Way, first_key};
use super::plan::LIST_COST;
use super::query::Sort;
use super::results::{Met, Stream, after, step_along};
use super::route::Route;
use crate::error::Result;
use crate::key::{Expr, KeyRange};
use crate::store::Rid;
use std::rc::Rc;

/// What gathering the matches may cost more than walking the order has cost so far, in postings. Tests do both.
const HEAD_START: u64 = if cfg!(test) { 4 } else { 64 };
/// What following a route may cost before the matches are also gathered by number.
const ROUTE_HEAD_START: u64 = if cfg!(test) { 8 } else { 512 };
/// Looks of one step of gathering, as long as they cost next to nothing.
const LOOKS_AT_ONCE: usize = if cfg!(test) { 2 } else { 64 };
/// So few matches for each one wanted are sorted without more ado.
const FEW: usize = 2;

/// The first matches after a place, or the last before it from there on backward, at most `wanted`. `is_free`: without `_sort`,
/// any order will do; places tell which it was.
pub fn find(
    run: &Run<'_>,
    type_name: &str,
    expr: &Expr,
    sort: &[Sort],
    start: Start<'_>,
    is_free: bool,
    wanted: usize,
) -> Result<Vec<Place>> {
    let Some(first) = sort.first() else { return unsorted(run, type_name, expr, start, is_free, wanted) };
    let without = Expr::and([expr.clone(), Expr::Keys(KeyRange::prefix(&first.prefix)).negate()]);
    let (sets, order) = ((expr, &without), (first, sort));
    let walk: Box<dyn Way + '_> = if start.is_back {
        Box::new(WalkBack::new(run, type_name, sets, order, start.place)?)
    } else {
        Box::new(Walk::new(run, type_name, sets, order, start.place))
    };
    let gathering = (*expr != Expr::All).then(|| Gathering::new(type_name, expr));
    Sorting { gathering, ..Sorting::new(run, type_name, Order::Sorted(sort), start, wanted, walk) }.run()
}

fn unsorted(
    run: &Run<'_>,
    type_name: &str,
    expr: &Expr,
    start: Start<'_>,
    is_free: bool,
    wanted: usize,
) -> Result<Vec<Place>> {
    let on_a_route = start.place.and_then(|place| place.keys.first());
    let route = match on_a_route {
        Some(key) => {
            let is_on = |route: &Route<'_>| key.as_ref().is_some_and(|key| route.admits(key));
            Some(Route::of(expr).filter(is_on).ok_or_else(cursor::bad)?)
        }
        None if is_free => Route::where_quicker(expr),
        None => None,
    };
    if let Some(route) = route {
        run.trace.note(|| format!("{type_name}: along {}, and by number beside that.", describe(expr)));
        let walk = Box::new(Follow::new(run, type_name, &route, start));
        let gathering = Some(Gathering::new(type_name, expr));
        let sorting = Sorting::new(run, type_name, Order::Along(&route), start, wanted, walk);
        return Sorting { gathering, is_free, ..sorting }.run();
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

/// Walks the keys of the first part of an order, and gathers the matches beside that. Once all are gathered, the walk need only
/// look whether what it meets is among them; and where it goes on for longer than sorting them would take, they are sorted.
struct Sorting<'r> {
    run: &'r Run<'r>,
    type_name: &'r str,
    order: Order<'r>,
    start: Start<'r>,
    wanted: usize,
    walk: Box<dyn Way + 'r>,
    /// What the walk has cost so far: since all matches are known, or from the start.
    walked: u64,
    gathering: Option<Gathering<'r>>,
    matches: Option<Rc<[Rid]>>,
    /// Whether this is about matches that another order left equal. Its walk does not give those without a key.
    is_part: bool,
    /// Whether matches may as well be given in the order of their numbers.
    is_free: bool,
    places: Vec<Place>,
}

impl<'r> Sorting<'r> {
    fn new(
        run: &'r Run<'r>,
        type_name: &'r str,
        order: Order<'r>,
        start: Start<'r>,
        wanted: usize,
        walk: Box<dyn Way + 'r>,
    ) -> Self {
        let (gathering, matches, is_part, is_free, places) = (None, None, false, false, Vec::new());
        Self { run, type_name, order, start, wanted, walk, walked: 0, gathering, matches, is_part, is_free, places }
    }

    fn run(mut self) -> Result<Vec<Place>> {
        loop {
            if let Some(found) = self.gather()? {
                self.run.trace.note(|| format!("{}: by number it was quicker.", self.type_name));
                return Ok(found);
            }
            if let Some(matches) = &self.matches
                && (matches.len() <= FEW * self.wanted || self.walked > LIST_COST * matches.len() as u64)
            {
                self.run.trace.note(|| format!("{}: {} matches are sorted.", self.type_name, matches.len()));
                return self.sorted(matches);
            }
            let begin = self.run.spent();
            match self.walk.step()? {
                Step::Match(place) => self.places.push(place),
                Step::Tied(key, set) => self.add_tied(&key, &set.into())?,
                Step::Nothing => {}
                Step::End => {
                    return match self.matches.as_ref().filter(|_| self.is_part) {
                        Some(matches) => self.sorted(matches),
                        None => Ok(self.places),
                    };
                }
            }
            self.walked += self.run.spent() - begin;
            if self.places.len() == self.wanted {
                self.run.trace.note(|| format!("{}: the order was walked.", self.type_name));
                return Ok(self.places);
            }
        }
    }

    /// Adds the first of the matches that have a key, in the order of the further parts.
    fn add_tied(&mut self, key: &[u8], set: &Rc<[Rid]>) -> Result<()> {
        let Some((first, rest)) = self.order.parts().split_first() else { return Ok(()) };
        let Some(second) = rest.first() else { return Ok(()) };
        if set.len() <= FEW * self.wanted {
            let mut places = self.sorted(set)?;
            places.retain(|place| matches!(place.keys.first(), Some(Some(own)) if **own == *key));
            places.truncate(self.wanted - self.places.len());
            self.places.extend(places);
            return Ok(());
        }
        let mut place = self.start.place.and_then(|place| match place.keys.split_first() {
            Some((Some(own), keys)) if **own == *key => Some(Place { keys: keys.to_vec(), rid: place.rid }),
            _ => None,
        });
        let nothing = Expr::none();
        while self.places.len() < self.wanted {
            let wanted = self.wanted - self.places.len();
            let start = Start { place: place.as_ref(), is_back: false };
            let mut walk = Walk::new(self.run, self.type_name, (&Expr::All, &nothing), (second, rest), start.place);
            walk.narrow(Rc::clone(set));
            let order = Order::Sorted(rest);
            let mut part = Sorting::new(self.run, self.type_name, order, start, wanted, Box::new(walk));
            (part.matches, part.is_part) = (Some(Rc::clone(set)), true);
            let found = part.run()?;
            for place in &found {
                let Some(keys) = self.run.keys(place.rid)? else { continue };
                if first_key(&keys, first) == Some(key) {
                    let keys = std::iter::once(Some(key.into())).chain(place.keys.iter().cloned()).collect();
                    self.places.push(Place { keys, rid: place.rid });
                }
            }
            if found.len() < wanted {
                break;
            }
            place = found.last().cloned();
        }
        Ok(())
    }

    /// Gathers matches for about as much as the walk has cost; gives the page where that is filled so.
    fn gather(&mut self) -> Result<Option<Vec<Place>>> {
        let Some(gathering) = &mut self.gathering else { return Ok(None) };
        let ahead = if self.is_free { 0 } else { HEAD_START };
        let behind = if self.is_free { ROUTE_HEAD_START } else { 0 };
        while gathering.spent + behind < self.walked + ahead {
            let begin = self.run.spent();
            let is_end = gathering.step(self.run)?;
            gathering.spent += (self.run.spent() - begin).max(1);
            if self.is_free && (is_end || gathering.found.len() >= self.wanted) {
                let by_number = gathering.found.iter().map(|rid| Place { keys: Vec::new(), rid: *rid });
                return Ok(Some(by_number.take(self.wanted).collect()));
            }
            if is_end {
                let all: Rc<[Rid]> = std::mem::take(&mut gathering.found).into();
                self.run.trace.note(|| format!("{}: all {} matches are gathered.", self.type_name, all.len()));
                self.walk.narrow(Rc::clone(&all));
                (self.matches, self.walked) = (Some(all), 0);
            }
            if is_end || gathering.found.len() > GATHER_MAX {
                self.gathering = None;
                return Ok(None);
            }
        }
        Ok(None)
    }

    fn sorted(&self, matches: &[Rid]) -> Result<Vec<Place>> {
        let mut places = Vec::new();
        for rid in matches {
            if let Some(keys) = self.run.keys(*rid)? {
                let place = self.order.place(self.run, self.type_name, *rid, &keys)?;
                places.extend(place.filter(|place| self.start.admits(place, self.order.parts())));
            }
        }
        self.start.arrange(&mut places, self.order.parts());
        places.truncate(self.wanted);
        Ok(places)
    }
}

/// Matches gathered in the order of their numbers.
struct Gathering<'r> {
    type_name: &'r str,
    expr: &'r Expr,
    /// Nothing before the first step.
    stream: Option<Stream<'r>>,
    found: Vec<Rid>,
    from: Rid,
    spent: u64,
}

impl<'r> Gathering<'r> {
    const fn new(type_name: &'r str, expr: &'r Expr) -> Self {
        Self { type_name, expr, stream: None, found: Vec::new(), from: Rid(0), spent: 0 }
    }

    /// Gathers a few more matches; whether that was all.
    fn step(&mut self, run: &'r Run<'r>) -> Result<bool> {
        let begin = run.spent();
        let stream = match &mut self.stream {
            Some(open) => open,
            none => none.insert(run.stream(self.type_name, self.expr)?),
        };
        for _ in 0..LOOKS_AT_ONCE {
            match step_along(stream, &mut self.from)? {
                Met::At(rid) => self.found.push(rid),
                Met::Nothing => {}
                Met::End => return Ok(true),
            }
            if run.spent() > begin + 1 {
                break;
            }
        }
        Ok(false)
    }
}

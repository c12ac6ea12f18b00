//! Following a route, forward or backward.

use super::ahead::{Ahead, leads_elsewhere};
use super::back::{Ordered, Start};
use super::engine::{Run, failed, reference_key, references};
use super::order::{Place, Step, Way, shows};
use super::results::{Met, Stream, after, step_along};
use super::route::{Chain, Has, Leg, Route, at_target, target_of};
use super::scan::{Scan, Scanned};
use crate::error::Result;
use crate::key::{Expr, KeyRange};
use crate::store::Rid;
use rustc_hash::FxHashSet;
use std::rc::Rc;
use std::sync::Arc;

/// Gives the matches on a route.
pub struct Follow<'r> {
    run: &'r Run<'r>,
    type_name: &'r str,
    route: &'r Route<'r>,
    is_back: bool,
    /// The leg that it is on, and the place on it where it starts.
    at: u8,
    start: Option<(Vec<u8>, Rid)>,
    leg: Option<Box<dyn Follower + 'r>>,
    /// Where other resources have to be looked at to tell what is a match, several are taken at once.
    ahead: Option<Ahead<Spot>>,
    /// What was met, where that is all from the beginning on: it stands where it was met first.
    met: Option<FxHashSet<Rid>>,
    /// All matches, where they are known.
    matches: Option<Rc<[Rid]>>,
}

/// A resource, at a spot, perhaps with the search key that led there.
type Spot = (Vec<u8>, Rid, Option<Arc<[u8]>>);

/// Gives what is met on a leg.
trait Follower {
    fn step(&mut self) -> Result<Met<Spot>>;
}

impl<'r> Follow<'r> {
    pub fn new(run: &'r Run<'r>, type_name: &'r str, route: &'r Route<'r>, start: Start<'_>) -> Self {
        let place = start.place.and_then(|place| Some((place.keys.first()?.as_deref()?.split_first()?, place.rid)));
        let last = u8::try_from(route.legs.len().saturating_sub(1)).unwrap_or(u8::MAX);
        let (at, place) = match place {
            Some(((leg, spot), rid)) => (*leg, Some((spot.to_vec(), rid))),
            None => (if start.is_back { last } else { 0 }, None),
        };
        let met = (place.is_none() && !start.is_back).then(FxHashSet::default);
        let leads_on = run.is_far && route.rest.iter().any(|part| leads_elsewhere(part));
        let ahead = leads_on.then(Ahead::default);
        let is_back = start.is_back;
        Self { run, type_name, route, is_back, at, start: place, leg: None, ahead, met, matches: None }
    }

    fn open(&mut self, leg: &'r Leg<'r>) -> Result<Box<dyn Follower + 'r>> {
        let (run, type_name, is_back) = (self.run, self.type_name, self.is_back);
        let start = self.start.take();
        Ok(match leg {
            Leg::Range(range) => Box::new(AlongKeys::new(self, range, start)),
            Leg::Chain(chain) => Box::new(ByTarget::new(self, chain, start)?),
            Leg::Has(has) => Box::new(ByReferrer::new(self, has, start)?),
            Leg::Numbers(expr) => Box::new(ByNumber::new(run, type_name, expr, start.map(|(_, rid)| rid), is_back)?),
        })
    }

    /// Looks at a resource that was met.
    fn meet(&mut self, spot: &[u8], rid: Rid, key: Option<&[u8]>) -> Result<Step> {
        let is_known = match &self.matches {
            Some(matches) if matches.binary_search(&rid).is_err() => return Ok(Step::Nothing),
            Some(_) => true,
            None => self.route.rest.iter().all(|part| key.is_some_and(|key| shows(part, key))),
        };
        if self.met.as_mut().is_some_and(|met| !met.insert(rid)) {
            return Ok(Step::Nothing);
        }
        let place = [&[self.at], spot].concat();
        if self.met.is_none() || !is_known {
            let Some(keys) = self.run.keys(rid)? else { return Ok(Step::Nothing) };
            let (run, type_name) = (self.run, self.type_name);
            if self.met.is_none() && !self.route.is_its_place(run, type_name, &keys, &place)? {
                return Ok(Step::Nothing);
            }
            for part in self.route.rest.iter().filter(|_| !is_known) {
                if !run.holds(type_name, &keys, part)? {
                    return Ok(Step::Nothing);
                }
            }
        }
        Ok(Step::Match(Place { keys: vec![Some(place.into())], rid }))
    }
}

impl Way for Follow<'_> {
    fn step(&mut self) -> Result<Step> {
        let Some(leg) = &mut self.leg else {
            let Some(leg) = self.route.legs.get(usize::from(self.at)) else { return Ok(Step::End) };
            self.leg = Some(self.open(leg)?);
            return Ok(Step::Nothing);
        };
        let met = match &mut self.ahead {
            None => leg.step()?,
            Some(ahead) => {
                let (run, type_name, rest) = (self.run, self.type_name, &self.route.rest);
                let foresee = |met: &[Spot]| {
                    if self.matches.is_some() {
                        return Ok(());
                    }
                    let rids: Vec<Rid> = met.iter().map(|(_, rid, _)| *rid).collect();
                    run.foresee(type_name, &rids, rest)
                };
                ahead.next(run, || leg.step(), foresee)?
            }
        };
        match met {
            Met::At((spot, rid, key)) => self.meet(&spot, rid, key.as_deref()),
            Met::Nothing => Ok(Step::Nothing),
            Met::End => {
                let next = if self.is_back { self.at.checked_sub(1) } else { self.at.checked_add(1) };
                (self.at, self.leg) = (next.unwrap_or(u8::MAX), None);
                Ok(Step::Nothing)
            }
        }
    }

    fn narrow(&mut self, matches: Rc<[Rid]>) {
        self.matches = Some(matches);
    }
}

/// Along the keys in a range.
struct AlongKeys<'r> {
    run: &'r Run<'r>,
    /// What is left of the key at which it starts.
    first: Option<(Arc<[u8]>, Ordered<'r>)>,
    scan: Scan<'r>,
}

impl<'r> AlongKeys<'r> {
    fn new(follow: &Follow<'r>, range: &KeyRange, start: Option<(Vec<u8>, Rid)>) -> Self {
        let mut scan = Scan::new(follow.run, follow.type_name, range.clone(), follow.is_back);
        let first = start.map(|(key, rid)| {
            scan.leave_behind(&key);
            let key: Arc<[u8]> = key.into();
            let rids = follow.run.with_key(follow.type_name, &key, Some(rid), follow.is_back);
            (key, rids)
        });
        Self { run: follow.run, first, scan }
    }
}

impl Follower for AlongKeys<'_> {
    fn step(&mut self) -> Result<Met<Spot>> {
        if let Some((key, rids)) = &mut self.first {
            self.run.budget.step()?;
            let Some(rid) = rids.next().transpose()? else {
                self.first = None;
                return Ok(Met::Nothing);
            };
            return Ok(Met::At((key.to_vec(), rid, Some(Arc::clone(key)))));
        }
        Ok(match self.scan.step()? {
            Scanned::Posting(posting) => Met::At((posting.key.to_vec(), posting.rid, Some(posting.key))),
            Scanned::Unwanted => Met::Nothing,
            Scanned::End => Met::End,
        })
    }
}

/// From target to target of a chain.
struct ByTarget<'r> {
    run: &'r Run<'r>,
    type_name: &'r str,
    is_back: bool,
    chain: &'r Chain<'r>,
    targets: Follow<'r>,
    ahead: Ahead<Place>,
    /// The spot of a target, and what refers to that.
    group: Option<(Vec<u8>, Ordered<'r>)>,
}

impl<'r> ByTarget<'r> {
    fn new(follow: &Follow<'r>, chain: &'r Chain<'r>, start: Option<(Vec<u8>, Rid)>) -> Result<Self> {
        let Follow { run, type_name, is_back, .. } = *follow;
        let at = start.and_then(|(spot, rid)| target_of(&spot).map(|(place, target)| (place, target, rid)));
        let place = at.as_ref().map(|(key, target, _)| Place { keys: vec![Some(key.as_slice().into())], rid: *target });
        let targets = Follow::new(run, chain.target, &chain.route, Start { place: place.as_ref(), is_back });
        let mut by_target = Self { run, type_name, is_back, chain, targets, ahead: Ahead::default(), group: None };
        if let Some((place, target, rid)) = at {
            by_target.enter(&place, target, Some(rid))?;
        }
        Ok(by_target)
    }

    /// Goes to what refers to a target.
    fn enter(&mut self, place: &[u8], target: Rid, start: Option<Rid>) -> Result<()> {
        if let Some(id) = self.run.id_of(target)? {
            let key = Arc::from(reference_key(self.chain.code, self.chain.target, &id));
            self.group = Some((at_target(place, target), self.run.with_key(self.type_name, &key, start, self.is_back)));
        }
        Ok(())
    }
}

impl Follower for ByTarget<'_> {
    fn step(&mut self) -> Result<Met<Spot>> {
        if let Some((spot, rids)) = &mut self.group {
            self.run.budget.step()?;
            match rids.next().transpose()? {
                Some(rid) => return Ok(Met::At((spot.clone(), rid, None))),
                None => self.group = None,
            }
        }
        let (run, type_name, chain, is_back) = (self.run, self.type_name, self.chain, self.is_back);
        let mut take = || {
            Ok(match self.targets.step()? {
                Step::Match(target) => Met::At(target),
                Step::Nothing | Step::Tied(..) => Met::Nothing,
                Step::End => Met::End,
            })
        };
        let foresee = |targets: &[Place]| {
            let targets: Vec<Rid> = targets.iter().map(|target| target.rid).collect();
            run.foresee_referrers(type_name, chain.code, chain.target, &targets)
        };
        // Back to front a key is read from its end, which is not foreseen.
        let Place { keys, rid } = match if is_back { take()? } else { self.ahead.next(run, take, foresee)? } {
            Met::At(target) => target,
            Met::Nothing => return Ok(Met::Nothing),
            Met::End => return Ok(Met::End),
        };
        let place = keys.into_iter().next().flatten().unwrap_or_default();
        self.enter(&place, rid, None)?;
        Ok(Met::Nothing)
    }
}

/// By number.
enum ByNumber<'r> {
    Ahead(Stream<'r>, Rid),
    Back(Ordered<'r>),
}

impl<'r> ByNumber<'r> {
    fn new(run: &'r Run<'r>, type_name: &'r str, expr: &'r Expr, start: Option<Rid>, is_back: bool) -> Result<Self> {
        if is_back {
            return Ok(Self::Back(run.back(type_name, expr, start)?));
        }
        Ok(Self::Ahead(run.stream(type_name, expr)?, start.map_or(Rid(0), after)))
    }

    fn next(&mut self) -> Result<Met<Rid>> {
        match self {
            Self::Ahead(stream, from) => step_along(stream, from),
            Self::Back(rids) => Ok(rids.next().transpose()?.map_or(Met::End, Met::At)),
        }
    }
}

impl Follower for ByNumber<'_> {
    fn step(&mut self) -> Result<Met<Spot>> {
        Ok(self.next()?.map(|rid| (Vec::new(), rid, None)))
    }
}

/// From resource to resource of those that refer.
struct ByReferrer<'r> {
    run: &'r Run<'r>,
    type_name: &'r str,
    is_back: bool,
    has: Has<'r>,
    sources: ByNumber<'r>,
    ahead: Ahead<Rid>,
    /// One that refers, and what it refers to; the next one last.
    group: Option<(Rid, Vec<Rid>)>,
}

impl<'r> ByReferrer<'r> {
    fn new(follow: &Follow<'r>, has: &Has<'r>, start: Option<(Vec<u8>, Rid)>) -> Result<Self> {
        let Follow { run, type_name, is_back, .. } = *follow;
        let at = start.and_then(|(spot, rid)| Some((Rid(u64::from_be_bytes(spot.try_into().ok()?)), rid)));
        let sources = ByNumber::new(run, has.source, has.expr, at.map(|(source, _)| source), is_back)?;
        let mut by_referrer =
            Self { run, type_name, is_back, has: *has, sources, ahead: Ahead::default(), group: None };
        if let Some((source, start)) = at {
            by_referrer.enter(source)?;
            if let Some((_, rids)) = &mut by_referrer.group {
                rids.retain(|rid| if is_back { *rid < start } else { *rid > start });
            }
        }
        Ok(by_referrer)
    }

    /// Goes to what a resource refers to.
    fn enter(&mut self, source: Rid) -> Result<()> {
        let Some(keys) = self.run.keys(source)? else { return Ok(()) };
        let mut rids = Vec::new();
        for (type_name, id) in references(&keys, self.has.code).filter(|(name, _)| *name == self.type_name) {
            rids.extend(self.run.view.find(type_name, id).map_err(failed)?);
        }
        rids.sort_unstable();
        if !self.is_back {
            rids.reverse();
        }
        self.group = Some((source, rids));
        Ok(())
    }
}

impl Follower for ByReferrer<'_> {
    fn step(&mut self) -> Result<Met<Spot>> {
        if let Some((source, rids)) = &mut self.group {
            match rids.pop() {
                Some(rid) => return Ok(Met::At((source.0.to_be_bytes().to_vec(), rid, None))),
                None => self.group = None,
            }
        }
        let (run, has, type_name) = (self.run, self.has, self.type_name);
        let foresee = |sources: &[Rid]| run.foresee_targets(sources, has.code, type_name);
        match self.ahead.next(run, || self.sources.next(), foresee)? {
            Met::At(source) => self.enter(source).map(|()| Met::Nothing),
            Met::Nothing => Ok(Met::Nothing),
            Met::End => Ok(Met::End),
        }
    }
}

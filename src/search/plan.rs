//! How a set of resources is streamed in the order of their numbers.
//!
//! Postings of exact keys come in that order: they are merged and intersected. What does not (ranges, chains) is either
//! collected and sorted, if there is little of it, or checked against each resource that the rest gives. Which of the two is
//! cheaper is not guessed: both go on side by side, a little at a time, and the first that ends is taken.

use super::ahead::{Ahead, leads_elsewhere};
use super::engine::{Run, failed, reference_key, references};
use super::explain::{describe, joined};
use super::results::{
    Checked, Collected, Difference, Intersection, Look, Met, Numbers, OfKey, Stream, Union, by_looking, step_along,
};
use super::scan::{Scan, Scanned};
use crate::error::Result;
use crate::key::last_updated::ALL;
use crate::key::{Expr, KeyRange};
use crate::store::{Rid, Rids};
use std::borrow::Cow;
use std::sync::Arc;

/// A range with so few distinct keys is read key by key.
const FEW_KEYS: usize = 8;
/// A range that a bound cuts into so few pieces is read piece by piece.
const FEW_PIECES: usize = 32;
/// A key list costs as much time as so many postings.
pub(super) const LIST_COST: u64 = 24;
/// To seek costs as much time as so many postings.
const SEEK_COST: u64 = 8;
/// What collecting may cost more than checking has cost so far.
const AHEAD: u64 = 2 * LIST_COST;
/// What checking may cost before it is looked how many of those checked are matches.
const LOOK_AFTER: u64 = if cfg!(test) { 2 } else { 16 } * LIST_COST;
/// Where one of so many that are checked is a match, that fills a page soon enough.
const ONE_OF: u64 = 4;
/// Matches that are a page at least.
const PAGE: u64 = 100;
/// More than these are not collected.
const MAX_COLLECTED: usize = 1_000_000;
impl<'r> Run<'r> {
    /// The resources of a type in a set, by number.
    pub fn stream(&'r self, type_name: &'r str, expr: &'r Expr) -> Result<Stream<'r>> {
        let parts = match expr {
            Expr::All => return Ok(Box::new(OfKey::new(self, type_name, ALL))),
            Expr::And(parts) => parts.as_slice(),
            Expr::Or(parts) if !parts.iter().all(|part| matches!(part, Expr::Keys(_) | Expr::Covered(..))) => {
                let streams = parts.iter().map(|part| self.stream(type_name, part)).collect::<Result<Vec<_>>>()?;
                return Ok(Box::new(Union(streams)));
            }
            single => std::slice::from_ref(single),
        };
        let (mut sets, mut collectors, mut rest) = (Sets::default(), Vec::new(), Vec::new());
        for part in parts {
            if let Expr::Not(inner) = part {
                match self.read(type_name, inner)? {
                    Reading::Seekable(keys, true) => sets.without.push(keys),
                    _ => rest.push(part),
                }
                continue;
            }
            match self.read(type_name, part)? {
                Reading::Seekable(keys, is_exact) => {
                    sets.with.push(keys);
                    rest.extend((!is_exact).then_some(part));
                }
                Reading::Collected(collector, is_exact) => {
                    collectors.push((rest.len(), is_exact, collector));
                    rest.push(part);
                }
                Reading::Checked => rest.push(part),
            }
        }
        self.trace.note(|| {
            let whole = joined(parts, " and ");
            let keys = sets.with.iter().chain(&sets.without).map(Vec::len).sum::<usize>();
            format!(
                "{type_name}: {whole}. Read in order by {keys} keys; to be collected or checked: {} of {} parts.",
                rest.len(),
                parts.len()
            )
        });
        if self.is_far {
            let mut several = sets.with.iter().filter(|keys| keys.len() > 1);
            several.try_for_each(|keys| self.postings(type_name, keys))?;
        }
        let driver = self.driver(type_name, &sets, None);
        if rest.is_empty() {
            return Ok(driver);
        }
        let walk = self.checked(type_name, driver, &rest);
        let running = collectors.into_iter().map(|(part, is_exact, from)| Running {
            part,
            is_exact,
            from,
            found: Vec::new(),
            spent: 0,
        });
        let running = running.collect();
        let counts = Counts::default();
        Ok(Box::new(Race { run: self, type_name, sets, rest, walk, counts, running, decided: None }))
    }

    /// The resources that are in the sets, and among those collected.
    fn driver(&'r self, type_name: &'r str, sets: &Sets, collected: Option<Vec<Rid>>) -> Stream<'r> {
        let of_key = |key: &[u8]| Box::new(OfKey::new(self, type_name, key)) as Stream<'r>;
        let of_any = |keys: &Vec<Arc<[u8]>>| match keys.as_slice() {
            [key] => of_key(key),
            keys => Box::new(Union(keys.iter().map(|key| of_key(key)).collect())),
        };
        let mut streams: Vec<Stream<'r>> = Vec::new();
        streams.extend(collected.map(|found| Box::new(Collected::new(found)) as Stream<'r>));
        streams.extend(sets.with.iter().map(of_any));
        let within = match streams.len() {
            0 => of_key(ALL),
            1 => streams.pop().unwrap_or_else(|| of_key(ALL)),
            _ => Box::new(Intersection(streams)),
        };
        sets.without.iter().map(of_any).fold(within, |within, without| Box::new(Difference(within, without)))
    }

    fn checked(&'r self, type_name: &'r str, stream: Stream<'r>, rest: &[&'r Expr]) -> Checked<'r> {
        let expr = match rest {
            [single] => Cow::Borrowed(*single),
            parts => Cow::Owned(Expr::and(parts.iter().map(|part| (*part).clone()))),
        };
        let ahead = (self.is_far && leads_elsewhere(&expr)).then(Ahead::default);
        Checked { run: self, type_name, stream, expr, ahead }
    }

    /// What this search has cost so far, in postings.
    pub fn spent(&self) -> u64 {
        self.budget.taken() + LIST_COST * self.trace.checked() + SEEK_COST * self.trace.sought()
    }

    /// How one part of a conjunction can be read.
    fn read(&'r self, type_name: &'r str, part: &'r Expr) -> Result<Reading<'r>> {
        match part {
            Expr::Refers { code, target, expr } => {
                let targets = self.stream(target, expr)?;
                let ahead = Ahead::default();
                let chain = Chain { run: self, type_name, code, target, targets, from: Rid(0), ahead, open: None };
                return Ok(Reading::Collected(Box::new(chain), true));
            }
            Expr::ReferredBy { source, code, expr } => {
                let sources = self.stream(source, expr)?;
                let (ahead, found) = (Ahead::default(), Vec::new());
                let reverse = Reverse { run: self, type_name, code, sources, from: Rid(0), ahead, found };
                return Ok(Reading::Collected(Box::new(reverse), true));
            }
            _ => {}
        }
        let Some((ranges, is_exact)) = ranges_of(part) else { return Ok(Reading::Checked) };
        let (keys, mut open) = self.read_ranges(type_name, &ranges)?;
        if open.is_empty() {
            return Ok(Reading::Seekable(keys, is_exact));
        }
        open.extend(keys.iter().map(|key| KeyRange::exactly(key)));
        let ranges = open.into_iter().map(|range| Scan::new(self, type_name, range, false)).collect();
        Ok(Reading::Collected(Box::new(Scanning { ranges }), is_exact))
    }

    /// The few keys by which a part of a conjunction can be read, where there are no more.
    pub fn seekable(&self, type_name: &str, part: &Expr) -> Result<Option<Vec<Arc<[u8]>>>> {
        let Some((ranges, true)) = ranges_of(part) else { return Ok(None) };
        let (keys, open) = self.read_ranges(type_name, &ranges)?;
        Ok(open.is_empty().then_some(keys))
    }

    /// Some ranges of postings as single keys, and what has too many of them.
    fn read_ranges(&self, type_name: &str, ranges: &[&KeyRange]) -> Result<KeysAndRanges> {
        let (mut keys, mut open) = (Vec::new(), Vec::new());
        for range in ranges {
            match range.only_key() {
                Some(key) if range.tail.is_none() => keys.push(Arc::from(key)),
                _ => self.read_range(type_name, range, &mut keys, &mut open)?,
            }
        }
        Ok((keys, open))
    }

    fn read_range(
        &self,
        type_name: &str,
        range: &KeyRange,
        keys: &mut Vec<Arc<[u8]>>,
        open: &mut Vec<KeyRange>,
    ) -> Result<()> {
        for piece in self.narrowed(type_name, range, FEW_PIECES)? {
            // With one open range all are collected, so that it does not help to know the keys of the others.
            let room = FEW_KEYS.saturating_sub(keys.len());
            let few = if open.is_empty() && room > 0 { self.few_keys(type_name, &piece, room)? } else { None };
            match few {
                Some(few) => keys.extend(few),
                None => open.push(piece),
            }
        }
        Ok(())
    }
}

/// Single keys, and what has too many of them.
type KeysAndRanges = (Vec<Arc<[u8]>>, Vec<KeyRange>);

/// The ranges of postings that a set is made of, where it is made of nothing else; and whether they tell all, or each resource that has one
/// is still to be checked.
fn ranges_of(part: &Expr) -> Option<(Vec<&KeyRange>, bool)> {
    let parts = if let Expr::Or(parts) = part { parts } else { std::slice::from_ref(part) };
    let (mut ranges, mut is_exact) = (Vec::with_capacity(parts.len()), true);
    for part in parts {
        match part {
            Expr::Keys(range) => ranges.push(range),
            Expr::Covered(_, cover) => {
                ranges.extend(&cover.postings);
                is_exact &= cover.is_exact;
            }
            _ => return None,
        }
    }
    Some((ranges, is_exact))
}

/// What can be read in the order of the numbers: resources with any key of each list of `with`, and with none of those of
/// `without`.
#[derive(Default)]
struct Sets {
    with: Vec<Vec<Arc<[u8]>>>,
    without: Vec<Vec<Arc<[u8]>>>,
}

/// How a part can be read.
enum Reading<'r> {
    /// By the postings of these keys, in the order of the numbers. Without the flag some that have them are not in the set.
    Seekable(Vec<Arc<[u8]>>, bool),
    /// By collecting them, in any order; the flag is the same.
    Collected(Box<dyn Collect + 'r>, bool),
    /// Not at all: only checked.
    Checked,
}

/// Gives resource numbers in any order, some perhaps twice.
trait Collect {
    fn step(&mut self) -> Result<Met<Rid>>;
}

/// A collector at work on one of the parts.
struct Running<'r> {
    part: usize,
    /// Whether all that it gives is in the part.
    is_exact: bool,
    from: Box<dyn Collect + 'r>,
    found: Vec<Rid>,
    /// What it has cost so far.
    spent: u64,
}

/// Checks resource by resource, and collects beside that, until one of the collectors ends.
struct Race<'r> {
    run: &'r Run<'r>,
    type_name: &'r str,
    sets: Sets,
    rest: Vec<&'r Expr>,
    walk: Checked<'r>,
    counts: Counts,
    running: Vec<Running<'r>>,
    decided: Option<Stream<'r>>,
}

/// What checking has cost so far, how many resources were checked, and how many of them were matches.
#[derive(Clone, Copy, Default)]
struct Counts {
    spent: u64,
    checked: u64,
    matched: u64,
}

impl Race<'_> {
    /// Collects until that has cost as much as checking; takes the collector that ends. Where many of those that are checked are
    /// matches, nothing fills a page quicker than to go on with that; who has read so many wants all of them.
    fn collect(&mut self) -> Result<()> {
        let mut ended = None;
        let Counts { spent, checked, matched } = self.counts;
        let fills_a_page = spent < LOOK_AFTER || (matched < PAGE && ONE_OF * matched > checked);
        let most = if fills_a_page { AHEAD } else { spent + AHEAD };
        'collectors: for (position, running) in self.running.iter_mut().enumerate() {
            while running.spent < most {
                let before = self.run.spent();
                let found = running.from.step()?;
                running.spent += (self.run.spent() - before).max(1);
                match found {
                    Met::At(rid) => running.found.push(rid),
                    Met::Nothing => {}
                    Met::End => {
                        ended = Some(position);
                        break 'collectors;
                    }
                }
            }
        }
        self.running.retain(|running| running.found.len() <= MAX_COLLECTED);
        let Some(mut ended) = ended.filter(|at| *at < self.running.len()).map(|at| self.running.swap_remove(at)) else {
            return Ok(());
        };
        self.running.clear();
        ended.found.sort_unstable();
        ended.found.dedup();
        self.run.trace.note(|| {
            let part = self.rest.get(ended.part).map_or_else(String::new, |part| describe(part));
            format!("{}: {part} drives, with {} resources.", self.type_name, ended.found.len())
        });
        let driver = self.run.driver(self.type_name, &self.sets, Some(ended.found));
        if ended.is_exact {
            self.rest.remove(ended.part);
        }
        self.decided = Some(if self.rest.is_empty() {
            driver
        } else {
            Box::new(self.run.checked(self.type_name, driver, &self.rest))
        });
        Ok(())
    }
}

impl Numbers for Race<'_> {
    fn next_from(&mut self, from: Rid) -> Result<Option<Rid>> {
        by_looking(self, from)
    }

    fn look(&mut self, from: Rid) -> Result<Look> {
        if self.decided.is_none() {
            self.collect()?;
        }
        if let Some(decided) = &mut self.decided {
            return decided.look(from);
        }
        let before = self.run.spent();
        let look = self.walk.look(from)?;
        self.counts.spent += self.run.spent() - before;
        self.counts.checked += u64::from(matches!(look, Look::Found(_) | Look::Passed(_)));
        self.counts.matched += u64::from(matches!(look, Look::Found(_)));
        Ok(look)
    }
}

/// Collects the postings in ranges.
struct Scanning<'r> {
    ranges: Vec<Scan<'r>>,
}

impl Collect for Scanning<'_> {
    fn step(&mut self) -> Result<Met<Rid>> {
        let Some(open) = self.ranges.last_mut() else { return Ok(Met::End) };
        match open.step()? {
            Scanned::Posting(posting) => return Ok(Met::At(posting.rid)),
            Scanned::Unwanted => {}
            Scanned::End => drop(self.ranges.pop()),
        }
        Ok(Met::Nothing)
    }
}

/// Collects what refers to the resources of a stream.
struct Chain<'r> {
    run: &'r Run<'r>,
    type_name: &'r str,
    code: &'r str,
    target: &'r str,
    targets: Stream<'r>,
    from: Rid,
    ahead: Ahead<Rid>,
    open: Option<Rids<'r>>,
}

impl Collect for Chain<'_> {
    fn step(&mut self) -> Result<Met<Rid>> {
        if let Some(open) = &mut self.open {
            self.run.budget.step()?;
            match open.next() {
                Some(rid) => return rid.map(Met::At).map_err(failed),
                None => self.open = None,
            }
        }
        let (run, type_name, code, target) = (self.run, self.type_name, self.code, self.target);
        let take = || step_along(&mut self.targets, &mut self.from);
        let foresee = |targets: &[Rid]| run.foresee_referrers(type_name, code, target, targets);
        let target = match self.ahead.next(run, take, foresee)? {
            Met::At(target) => target,
            other => return Ok(other),
        };
        if let Some(id) = self.run.id_of(target)? {
            let key = reference_key(self.code, self.target, &id);
            self.open = Some(self.run.view.rids(self.type_name, &key, Rid(0)));
        }
        Ok(Met::Nothing)
    }
}

/// Collects what the resources of a stream refer to.
struct Reverse<'r> {
    run: &'r Run<'r>,
    type_name: &'r str,
    code: &'r str,
    sources: Stream<'r>,
    from: Rid,
    ahead: Ahead<Rid>,
    found: Vec<Rid>,
}

impl Collect for Reverse<'_> {
    fn step(&mut self) -> Result<Met<Rid>> {
        if let Some(rid) = self.found.pop() {
            return Ok(Met::At(rid));
        }
        let (run, type_name, code) = (self.run, self.type_name, self.code);
        let take = || step_along(&mut self.sources, &mut self.from);
        let foresee = |sources: &[Rid]| run.foresee_targets(sources, code, type_name);
        let source = match self.ahead.next(run, take, foresee)? {
            Met::At(source) => source,
            other => return Ok(other),
        };
        let Some(keys) = self.run.keys(source)? else { return Ok(Met::Nothing) };
        for (type_name, id) in references(&keys, self.code).filter(|(type_name, _)| *type_name == self.type_name) {
            self.found.extend(self.run.view.find(type_name, id).map_err(failed)?);
        }
        Ok(Met::Nothing)
    }
}

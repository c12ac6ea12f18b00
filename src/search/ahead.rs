//! Looking ahead, for a store that is far away: what many resources lead to is asked for together, before it is looked up one by one.
//!
//! Nothing is decided here, and nothing given out: what is read ahead is at hand when the search comes to it. So a search finds the same
//! whether its store is near or far.

use super::engine::{Run, failed, reference_key, references};
use super::results::{Met, after};
use crate::error::{Category, Error, Result};
use crate::key::{Expr, KeyList, id_in};
use crate::store::{Expected, Rid};
use std::collections::VecDeque;

/// So many are taken together at first, and at most.
const TOGETHER: (usize, usize) = if cfg!(test) { (2, 8) } else { (32, 512) };
/// What taking may cost, in postings, before others have their turn.
const AT_ONCE: u64 = if cfg!(test) { 8 } else { 512 };

/// What is taken from a stream, one by one; several at once where the store is far away.
pub struct Ahead<T> {
    taken: VecDeque<T>,
    together: usize,
    /// Whether more is to be taken before any of it is given out.
    is_taking: bool,
    /// What comes behind what was taken, where that is known: the end, or a failure.
    behind: Option<Result<()>>,
}

impl<T> Default for Ahead<T> {
    fn default() -> Self {
        Self { taken: VecDeque::new(), together: 0, is_taking: false, behind: None }
    }
}

impl<T> Ahead<T> {
    /// The next of what `take` gives, or nothing yet: each call does bounded work. `foresee` hears of several before the first of them
    /// is given.
    ///
    /// # Errors
    /// Those of `take`, once what it gave before is given out, as where nothing is taken ahead; and those of `foresee`.
    pub fn next(
        &mut self,
        run: &Run<'_>,
        mut take: impl FnMut() -> Result<Met<T>>,
        foresee: impl FnOnce(&[T]) -> Result<()>,
    ) -> Result<Met<T>> {
        if !run.is_far {
            return take();
        }
        if !self.fill(run, take, foresee)? {
            return Ok(Met::Nothing);
        }
        self.taken.pop_front().map_or_else(|| self.end(), |one| Ok(Met::At(one)))
    }

    fn end(&mut self) -> Result<Met<T>> {
        self.behind.take().unwrap_or(Ok(())).map(|()| Met::End)
    }

    /// Takes some more, unless there are some to be given out; whether there are then.
    fn fill(
        &mut self,
        run: &Run<'_>,
        mut take: impl FnMut() -> Result<Met<T>>,
        foresee: impl FnOnce(&[T]) -> Result<()>,
    ) -> Result<bool> {
        if !self.is_taking {
            if !self.taken.is_empty() || self.behind.is_some() {
                return Ok(true);
            }
            (self.is_taking, self.together) = (true, (4 * self.together).clamp(TOGETHER.0, TOGETHER.1));
        }
        let mut spent = 0;
        while self.taken.len() < self.together {
            if spent >= AT_ONCE {
                if self.taken.is_empty() {
                    return Ok(false);
                }
                break;
            }
            let begin = run.spent();
            match take() {
                Ok(Met::At(one)) => self.taken.push_back(one),
                Ok(Met::Nothing) => {}
                other => {
                    self.behind = Some(other.map(drop));
                    break;
                }
            }
            spent += (run.spent() - begin).max(1);
        }
        self.is_taking = false;
        foresee(self.taken.make_contiguous()).or_else(unless_damaged)?;
        Ok(true)
    }
}

/// What is damaged fails where the search comes to it, which it may never do.
fn unless_damaged(error: Error) -> Result<()> {
    if error.category == Category::Internal { Ok(()) } else { Err(error) }
}

impl Ahead<Rid> {
    /// The first number from `from` on, of those that `take` gives, which is told from which number on the next one is wanted; or
    /// nothing yet. It stays to be asked for again.
    ///
    /// # Errors
    /// As [`Ahead::next`].
    pub fn first_from(
        &mut self,
        run: &Run<'_>,
        from: Rid,
        mut take: impl FnMut(Rid) -> Result<Option<Rid>>,
        foresee: impl FnOnce(&[Rid]) -> Result<()>,
    ) -> Result<Met<Rid>> {
        while self.taken.front().is_some_and(|passed| *passed < from) {
            self.taken.pop_front();
        }
        let mut next = self.taken.back().map_or(from, |last| after(*last));
        let take = || {
            let taken = take(next)?;
            next = taken.map_or(next, after);
            Ok(taken.map_or(Met::End, Met::At))
        };
        if !self.fill(run, take, foresee)? {
            return Ok(Met::Nothing);
        }
        self.taken.front().copied().map_or_else(|| self.end(), |first| Ok(Met::At(first)))
    }
}

/// Whether it takes a look at other resources to tell whether one is in a set.
pub fn leads_elsewhere(expr: &Expr) -> bool {
    match expr {
        Expr::Refers { .. } | Expr::ReferredBy { .. } => true,
        Expr::And(parts) | Expr::Or(parts) => parts.iter().any(leads_elsewhere),
        Expr::Not(inner) => leads_elsewhere(inner),
        Expr::All | Expr::Keys(_) | Expr::Covered(..) | Expr::InPatients(_) => false,
    }
}

impl Run<'_> {
    fn expect(&self, expected: Expected<'_>) -> Result<()> {
        self.view.expect(expected).map_err(failed)
    }

    /// The key lists of resources, read together.
    fn lists(&self, rids: &[Rid]) -> Result<Vec<KeyList>> {
        self.expect(Expected { keys_of: rids, ..Expected::default() })?;
        let lists = rids.iter().map(|rid| self.view.keys(*rid).map_err(failed)).collect::<Result<Vec<_>>>()?;
        Ok(lists.into_iter().flatten().collect())
    }

    /// These are about to be held against sets.
    pub fn foresee(&self, type_name: &str, rids: &[Rid], sets: &[&Expr]) -> Result<()> {
        let lists = self.lists(rids)?;
        sets.iter().try_for_each(|expr| self.foresee_of(type_name, &lists, expr))
    }

    fn foresee_of(&self, type_name: &str, lists: &[KeyList], expr: &Expr) -> Result<()> {
        match expr {
            Expr::All | Expr::Keys(_) | Expr::Covered(..) | Expr::InPatients(_) => Ok(()),
            Expr::Not(inner) => self.foresee_of(type_name, lists, inner),
            Expr::And(parts) | Expr::Or(parts) => {
                parts.iter().try_for_each(|part| self.foresee_of(type_name, lists, part))
            }
            Expr::Refers { code, target, expr } => {
                let ids = self.targets(lists, code, target)?;
                if !leads_elsewhere(expr) {
                    return Ok(());
                }
                let found = ids.iter().map(|(type_name, id)| self.view.find(type_name, id).map_err(failed));
                let rids: Vec<Rid> = found.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect();
                self.foresee(target, &rids, &[expr])
            }
            Expr::ReferredBy { source, code, expr } => {
                // Each is then held against the postings of these.
                let with = self.referrers(source, expr)?;
                self.postings(source, &with.keys().collect::<Vec<_>>())?;
                let ids = lists.iter().filter_map(id_in);
                let keys: Vec<Box<[u8]>> = ids.map(|id| reference_key(code, type_name, id)).collect();
                self.postings(source, &keys)
            }
        }
    }

    /// Reads what resources with these keys refer to, with its keys.
    fn targets<'k>(&self, lists: &'k [KeyList], code: &str, target: &str) -> Result<Vec<(&'k str, &'k str)>> {
        let all = lists.iter().flat_map(|keys| references(keys, code));
        let mut ids: Vec<_> = all.filter(|(type_name, _)| *type_name == target).collect();
        ids.sort_unstable();
        ids.dedup();
        self.expect(Expected { ids: &ids, ..Expected::default() })?;
        Ok(ids)
    }

    /// Reads the first postings of these keys.
    pub fn postings(&self, type_name: &str, keys: &[impl AsRef<[u8]>]) -> Result<()> {
        let having: Vec<(&str, &[u8])> = keys.iter().map(|key| (type_name, key.as_ref())).collect();
        self.expect(Expected { having: &having, ..Expected::default() })
    }

    /// It is about to be asked what refers to these.
    pub fn foresee_referrers(&self, type_name: &str, code: &str, target: &str, targets: &[Rid]) -> Result<()> {
        self.expect(Expected { currents: targets, ..Expected::default() })?;
        let ids = targets.iter().map(|rid| self.view.id_of(*rid).map_err(failed)).collect::<Result<Vec<_>>>()?;
        let keys: Vec<Box<[u8]>> = ids.iter().flatten().map(|id| reference_key(code, target, id)).collect();
        self.postings(type_name, &keys)
    }

    /// It is about to be asked what of a type these refer to.
    pub fn foresee_targets(&self, sources: &[Rid], code: &str, target: &str) -> Result<()> {
        let lists = self.lists(sources)?;
        self.targets(&lists, code, target).map(drop)
    }
}

//! Looking ahead, for a store that is far away: what many resources lead to is asked for together, before it is looked up one by one.
//!
//! Nothing is decided here, and nothing given out: what is read ahead is at hand when the search comes to it. So a search finds the same
//! whether its store is near or far.

use super::engine::{Run, failed, reference_key, references};
use crate::error::Result;
use crate::key::{Expr, KeyList, id_in};
use crate::store::{Expected, Rid};
use std::collections::VecDeque;

/// So many are taken together at first, and at most.
const TOGETHER: (usize, usize) = if cfg!(test) { (2, 8) } else { (32, 512) };

/// What is taken from a stream, one by one; several at once where the store is far away.
pub struct Ahead<T> {
    taken: VecDeque<T>,
    together: usize,
}

impl<T> Default for Ahead<T> {
    fn default() -> Self {
        Self { taken: VecDeque::new(), together: 0 }
    }
}

impl<T> Ahead<T> {
    /// The next of what `take` gives. `foresee` hears of several before the first of them is given.
    pub fn next(
        &mut self,
        run: &Run<'_>,
        mut take: impl FnMut() -> Result<Option<T>>,
        foresee: impl FnOnce(&[T]) -> Result<()>,
    ) -> Result<Option<T>> {
        if !run.is_far {
            return take();
        }
        self.fill(take, foresee)?;
        Ok(self.taken.pop_front())
    }

    fn fill(
        &mut self,
        mut take: impl FnMut() -> Result<Option<T>>,
        foresee: impl FnOnce(&[T]) -> Result<()>,
    ) -> Result<()> {
        if !self.taken.is_empty() {
            return Ok(());
        }
        self.together = (4 * self.together).clamp(TOGETHER.0, TOGETHER.1);
        while self.taken.len() < self.together
            && let Some(one) = take()?
        {
            self.taken.push_back(one);
        }
        foresee(self.taken.make_contiguous())
    }
}

impl Ahead<Rid> {
    /// The first number from `from` on, of what `take` gives, which ascends. It stays to be asked for again.
    pub fn first_from(
        &mut self,
        from: Rid,
        take: impl FnMut() -> Result<Option<Rid>>,
        foresee: impl FnOnce(&[Rid]) -> Result<()>,
    ) -> Result<Option<Rid>> {
        while self.taken.front().is_some_and(|passed| *passed < from) {
            self.taken.pop_front();
        }
        self.fill(take, foresee)?;
        Ok(self.taken.front().copied())
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

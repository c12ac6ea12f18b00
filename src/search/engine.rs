//! One search over one snapshot: whether a resource is in a set, by its key list.

use super::budget::Budget;
use super::explain::Trace;
use super::results::{Intersection, Numbers, OfKey, Stream, Union, after};
use super::scan::{Scan, Scanned};
use crate::error::{Error, Result};
use crate::key::reference::{matching_resource, target_in};
use crate::key::{Expr, KeyList, KeyRange, id_in, prefix_of};
use crate::store::{Rid, StoreError, View};
use rustc_hash::FxHashMap;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

/// What every part of a search shares.
pub struct Run<'r> {
    pub view: &'r dyn View,
    pub budget: &'r Budget,
    pub trace: Trace,
    /// Whether the store is far away: see [`super::ahead`].
    pub is_far: bool,
    memory: RefCell<Memory>,
}

/// So many postings of one key are read over before a seek.
const SKIP_AFTER: usize = 8;

/// So many sets are remembered, and so many of their resources.
const REMEMBERED: (usize, usize) = (32, 10_000);

/// What was found out before and will be asked again.
#[derive(Default)]
struct Memory {
    /// Which targets of chains are in a set.
    targets: Vec<(Expr, FxHashMap<Rid, bool>)>,
    /// How the sets of what refers are read.
    referrers: Vec<(Box<str>, Expr, Rc<Referrers>)>,
}

/// How it is told whether a resource of a set refers to another one.
pub(super) struct Referrers {
    /// By the postings of any key of each of these lists,
    with: Vec<Vec<Arc<[u8]>>>,
    /// and by the key lists.
    rest: Expr,
}

impl Referrers {
    /// The keys by whose postings it is told.
    pub(super) fn keys(&self) -> impl Iterator<Item = &[u8]> {
        self.with.iter().flatten().map(AsRef::as_ref)
    }
}

/// What a failure of the store means for a search.
pub fn failed(error: StoreError) -> Error {
    match error {
        StoreError::Damaged(_) | StoreError::Io(_) => Error::internal(error),
        _ => Error::unavailable("The store can't answer now.", error),
    }
}

/// The key that a resource has for a reference to another one.
pub fn reference_key(code: &str, type_name: &str, id: &str) -> Box<[u8]> {
    matching_resource(type_name, id).under(&prefix_of(code)).from
}

impl<'r> Run<'r> {
    pub fn new(view: &'r dyn View, budget: &'r Budget, trace: Trace) -> Self {
        Self { view, budget, trace, is_far: view.is_far(), memory: RefCell::default() }
    }

    /// The key list of a resource; `None` where there is none, or it is deleted.
    pub fn keys(&self, rid: Rid) -> Result<Option<KeyList>> {
        self.budget.step()?;
        self.trace.count_checked();
        Ok(self.view.keys(rid).map_err(failed)?.filter(|keys| !keys.is_empty()))
    }

    /// The id of a resource; `None` where it is deleted.
    pub fn id_of(&self, rid: Rid) -> Result<Option<Box<str>>> {
        self.budget.step()?;
        self.trace.count_sought();
        self.view.id_of(rid).map_err(failed)
    }

    /// Whether a resource is in a set.
    pub fn contains(&self, type_name: &str, rid: Rid, expr: &Expr) -> Result<bool> {
        if let Expr::ReferredBy { source, code, expr } = expr {
            let id = self.id_of(rid)?;
            return id.map_or(Ok(false), |id| self.is_referred_by(type_name, &id, source, code, expr));
        }
        match self.keys(rid)? {
            Some(keys) => self.holds(type_name, &keys, expr),
            None => Ok(false),
        }
    }

    /// Whether a resource with these keys is in a set.
    pub fn holds(&self, type_name: &str, keys: &KeyList, expr: &Expr) -> Result<bool> {
        match expr {
            Expr::All => Ok(true),
            Expr::Keys(range) | Expr::Covered(range, _) => Ok(keys.any_in(range)),
            Expr::Not(inner) => Ok(!self.holds(type_name, keys, inner)?),
            Expr::And(parts) => {
                for part in parts {
                    if !self.holds(type_name, keys, part)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Expr::Or(parts) => {
                for part in parts {
                    if self.holds(type_name, keys, part)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Expr::Refers { code, target, expr } => {
                Ok(self.refers(keys, code, target, expr)? || self.refers_inside(type_name, keys, code, target, expr)?)
            }
            Expr::ReferredBy { source, code, expr } => match id_in(keys) {
                Some(id) => self.is_referred_by(type_name, id, source, code, expr),
                None => Ok(false),
            },
            Expr::InPatients(rules) => self.is_permitted(type_name, keys, rules),
        }
    }

    fn refers(&self, keys: &KeyList, code: &str, target: &str, expr: &Expr) -> Result<bool> {
        for (type_name, id) in references(keys, code) {
            if type_name == target
                && let Some(rid) = self.view.find(type_name, id).map_err(failed)?
                && self.is_target(target, rid, expr)?
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether the target of a chain is in a set: many resources refer to the same.
    fn is_target(&self, target: &str, rid: Rid, expr: &Expr) -> Result<bool> {
        let known = |memory: &Memory| {
            let (_, targets) = memory.targets.iter().find(|(set, _)| set == expr)?;
            targets.get(&rid).copied()
        };
        if let Some(known) = known(&self.memory.borrow()) {
            return Ok(known);
        }
        let is_in = self.contains(target, rid, expr)?;
        let sets = &mut self.memory.borrow_mut().targets;
        if !sets.iter().any(|(set, _)| set == expr) && sets.len() < REMEMBERED.0 {
            sets.push((expr.clone(), FxHashMap::default()));
        }
        if let Some((_, targets)) = sets.iter_mut().find(|(set, _)| set == expr)
            && targets.len() < REMEMBERED.1
        {
            targets.insert(rid, is_in);
        }
        Ok(is_in)
    }

    fn is_referred_by(&self, type_name: &str, id: &str, source: &str, code: &str, expr: &Expr) -> Result<bool> {
        Ok(self.first_referrer((type_name, id), source, code, expr)?.is_some())
    }

    /// The first resource of a set that refers to a resource.
    pub fn first_referrer(
        &self,
        (type_name, id): (&str, &str),
        source: &str,
        code: &str,
        expr: &Expr,
    ) -> Result<Option<Rid>> {
        let referrers = self.referrers(source, expr)?;
        let of_key = |key: &[u8]| Box::new(OfKey::new(self, source, key)) as Stream<'_>;
        let of_any =
            |keys: &Vec<Arc<[u8]>>| Box::new(Union(keys.iter().map(|key| of_key(key)).collect())) as Stream<'_>;
        let mut all = vec![of_key(&reference_key(code, type_name, id))];
        all.extend(referrers.with.iter().map(of_any));
        let (mut found, mut from) = (Intersection(all), Rid(0));
        while let Some(rid) = found.next_from(from)? {
            if referrers.rest == Expr::All || self.contains(source, rid, &referrers.rest)? {
                return Ok(Some(rid));
            }
            from = after(rid);
        }
        Ok(None)
    }

    /// Looks once which parts of a set can be read by few keys.
    pub(super) fn referrers(&self, source: &str, expr: &Expr) -> Result<Rc<Referrers>> {
        let is_it = |(of, set, _): &&(Box<str>, Expr, Rc<Referrers>)| **of == *source && set == expr;
        if let Some((.., known)) = self.memory.borrow().referrers.iter().find(is_it) {
            return Ok(Rc::clone(known));
        }
        let parts = if let Expr::And(parts) = expr { parts.as_slice() } else { std::slice::from_ref(expr) };
        let (mut with, mut rest) = (Vec::new(), Vec::new());
        for part in parts {
            match self.seekable(source, part)? {
                Some(keys) => with.push(keys),
                None => rest.push(part.clone()),
            }
        }
        let referrers = Rc::new(Referrers { with, rest: Expr::and(rest) });
        let sets = &mut self.memory.borrow_mut().referrers;
        if sets.len() < REMEMBERED.0 {
            sets.push((source.into(), expr.clone(), Rc::clone(&referrers)));
        }
        Ok(referrers)
    }

    /// The distinct keys in a range, where they are no more than `max`.
    pub fn few_keys(&self, type_name: &str, range: &KeyRange, max: usize) -> Result<Option<Vec<Arc<[u8]>>>> {
        let mut keys: Vec<Arc<[u8]>> = Vec::new();
        let mut scan = Scan::new(self, type_name, KeyRange { tail: None, ..range.clone() }, false);
        let mut of_one_key = 0;
        loop {
            let Scanned::Posting(posting) = scan.step()? else {
                keys.retain(|key| range.holds(key));
                return Ok(Some(keys));
            };
            of_one_key = if keys.last() == Some(&posting.key) { of_one_key + 1 } else { 0 };
            if of_one_key == SKIP_AFTER {
                scan.leave_behind(&posting.key);
            } else if of_one_key == 0 && keys.len() == max {
                return Ok(None);
            } else if of_one_key == 0 {
                keys.push(posting.key);
            }
        }
    }

    /// The same keys in several short ranges, where a range is of a whole prefix and bounds a later part.
    pub fn narrowed(&self, type_name: &str, range: &KeyRange, max: usize) -> Result<Vec<KeyRange>> {
        let mut found = Vec::new();
        let mut rest = range.clone();
        for _ in 0..=max {
            self.budget.step()?;
            let all = KeyRange { tail: None, ..rest.clone() };
            let Some(posting) = self.view.scan(type_name, &all).next() else { return Ok(found) };
            let key = posting.map_err(failed)?.key;
            let (Some(narrow), Some(after)) = (range.narrowed_at(&key), range.after_narrowed(&key)) else { break };
            found.push(narrow);
            rest = after;
        }
        Ok(vec![range.clone()])
    }
}

/// The resources of this server that a resource refers to by a parameter: type and id.
pub fn references<'k>(keys: &'k KeyList, code: &str) -> impl Iterator<Item = (&'k str, &'k str)> + use<'k> {
    let code_len = code.len();
    let prefix = [&prefix_of(code)[..], b"r"].concat();
    keys.starting_with(&prefix).filter_map(move |key| target_in(key, code_len))
}

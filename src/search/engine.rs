//! One search over one snapshot: whether a resource is in a set, by its key list.

use super::budget::Budget;
use super::explain::Trace;
use crate::error::{Error, Result};
use crate::key::bytes::END;
use crate::key::reference::{matching_resource, target_in};
use crate::key::{Expr, KeyList, KeyRange, id_in, prefix_of};
use crate::store::{Rid, StoreError, View};
use std::sync::Arc;

/// What every part of a search shares.
pub struct Run<'r> {
    pub view: &'r dyn View,
    pub budget: &'r Budget,
    pub trace: Trace,
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

impl Run<'_> {
    /// The key list of a resource; `None` where there is none, or it is deleted.
    pub fn keys(&self, rid: Rid) -> Result<Option<KeyList>> {
        self.budget.step()?;
        self.trace.count_checked();
        Ok(self.view.keys(rid).map_err(failed)?.filter(|keys| !keys.is_empty()))
    }

    /// Whether a resource is in a set.
    pub fn contains(&self, type_name: &str, rid: Rid, expr: &Expr) -> Result<bool> {
        match self.keys(rid)? {
            Some(keys) => self.holds(type_name, &keys, expr),
            None => Ok(false),
        }
    }

    /// Whether a resource with these keys is in a set.
    pub fn holds(&self, type_name: &str, keys: &KeyList, expr: &Expr) -> Result<bool> {
        match expr {
            Expr::All => Ok(true),
            Expr::Keys(range) => Ok(keys.any_in(range)),
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
            Expr::ReferredBy { source, code, expr } => self.is_referred_by(type_name, keys, source, code, expr),
            Expr::InPatients(rules) => self.is_permitted(type_name, keys, rules),
        }
    }

    fn refers(&self, keys: &KeyList, code: &str, target: &str, expr: &Expr) -> Result<bool> {
        for (type_name, id) in references(keys, code) {
            if type_name == target
                && let Some(rid) = self.view.find(type_name, id).map_err(failed)?
                && self.contains(target, rid, expr)?
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn is_referred_by(&self, type_name: &str, keys: &KeyList, source: &str, code: &str, expr: &Expr) -> Result<bool> {
        let Some(id) = id_in(keys) else { return Ok(false) };
        for rid in self.view.rids(source, &reference_key(code, type_name, id), Rid(0)) {
            self.budget.step()?;
            let rid = rid.map_err(failed)?;
            if *expr == Expr::All || self.contains(source, rid, expr)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The distinct keys in a range, where they are no more than `max`.
    pub fn few_keys(&self, type_name: &str, range: &KeyRange, max: usize) -> Result<Option<Vec<Arc<[u8]>>>> {
        let mut keys = Vec::new();
        let mut rest = KeyRange { tail: None, ..range.clone() };
        for _ in 0..=max {
            self.budget.step()?;
            let Some(posting) = self.view.scan(type_name, &rest).next() else { return Ok(Some(keys)) };
            let key = posting.map_err(failed)?.key;
            rest.from = [&key, &[END][..]].concat().into();
            if range.holds(&key) {
                keys.push(key);
            }
        }
        Ok(None)
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

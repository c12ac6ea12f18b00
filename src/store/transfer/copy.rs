//! Making a store equal to another one.
//!
//! All is read once, of one moment where the source can give that for so long; how far that has come stands in the target, with the rows
//! themselves. A run that goes on where another was, or a source that was read as it changed, has rows of several moments then: what became new
//! meanwhile is read as of one moment. At the end both sides are counted and hashed.

use super::changes::{self, Sink};
use super::content::{self, Marks, TABLES, Walk};
use super::restore::RowsTo;
use super::settle::settle;
use super::tally::tally;
use super::{Filling, Source, Tally, Target, index, turns};
use crate::store::keys::OwnersKeys;
use crate::store::ledger::Form;
use crate::store::rows::{Rows, Table, Writes};
use crate::store::seal::STORE;
use crate::store::{StoreError, StoreResult};
use crate::tenant::TenantId;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Bytes that are written together, and after which it is kept how far it has come.
const TOGETHER: usize = 4 << 20;
/// How often it is caught up with a source that changes, before it is given up.
const ROUNDS: usize = 3;
/// How often what is new is copied by who follows.
const FOLLOW_EVERY: Duration = Duration::from_secs(2);

fn copied((since, keys): (&Marks, &KeyIds), at: Option<At>) -> Filling {
    Filling::Copy { since: since.clone(), keys: keys.clone(), at }
}

/// A place among the rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::store) struct At {
    tenant: u32,
    is_history: bool,
    /// The key from which on rows are missing; empty for the first of the tenant.
    key: Vec<u8>,
}

/// The ids of data keys, by their owner's number.
pub(in crate::store) type KeyIds = BTreeMap<u32, BTreeSet<String>>;

fn ids_of(keys: &[OwnersKeys]) -> KeyIds {
    keys.iter().map(|keys| (keys.owner, keys.keys.iter().map(|key| key.id.clone()).collect())).collect()
}

/// Of a tenant whose keys are others now nothing is known: no log tells what was sealed anew.
fn unknown_again(since: &mut Marks, before: &KeyIds, now: &KeyIds) {
    let is_same = |owner: &u32| before.get(owner) == now.get(owner);
    since.retain(|tenant, _| is_same(tenant) && is_same(&STORE.0));
}

/// A copy in the making.
#[derive(Clone, Copy)]
pub(super) struct Copying<'c> {
    pub source: &'c dyn Source,
    pub target: &'c dyn Target,
    pub form: &'c dyn Form,
}

impl<'c> Copying<'c> {
    /// Does all; answers what both sides hold, and the oldest schema of which there may be rows.
    pub(super) fn run(self, is_following: bool, told: &mut dyn FnMut(u64)) -> StoreResult<(Tally, u32)> {
        let Self { source, target, form } = self;
        let mut oldest = source.oldest_rows()?;
        let keys = ids_of(&source.wrapped_keys()?);
        source.settle()?;
        let rows = source.snapshot()?;
        let walk = source.walk()?;
        let (mut since, at, is_new) = match Filling::read(target.rows())? {
            Some(Filling::Copy { mut since, keys: before, at }) => {
                unknown_again(&mut since, &before, &keys);
                (since, at, false)
            }
            Some(Filling::Restore) => return Err(super::not_whole("the store")),
            Some(Filling::Begun) | None => {
                super::check_empty(target)?;
                (content::marks(&*rows)?, Some(At { tenant: 0, is_history: false, key: Vec::new() }), true)
            }
        };
        if let Some(at) = at {
            self.walk(walk.as_deref().unwrap_or(&*rows), (&since, &keys), &at, told)?;
        }
        let mut is_caught_up = is_new && walk.is_none();
        let mut rows = Some(rows);
        for _ in 0..ROUNDS {
            if !is_caught_up {
                drop(rows.take());
                oldest = source.oldest_rows()?;
                source.settle()?;
                (since, rows) = self.catch_up(walk.as_deref(), (&since, &keys), oldest)?;
            }
            if is_following {
                drop(rows.take());
                return self.follow(walk.as_deref(), since, &keys);
            }
            self.check_keys(&keys)?;
            index::make(target, form, oldest)?;
            let read = walk.as_deref().or(rows.as_deref()).ok_or_else(|| StoreError::Closed("no rows".into()))?;
            let tally = |rows| tally(rows, target.ring(), form.type_name());
            let (there, here) = (tally(read)?, tally(target.rows())?);
            if there == here {
                return Ok((here, oldest));
            }
            is_caught_up = false;
        }
        Err(StoreError::Closed(
            "the store that is copied changes faster than it can be compared: stop what writes to it, and run this again".into(),
        ))
    }

    /// Copies all rows from a place on.
    fn walk(self, rows: &dyn Rows, known: (&Marks, &KeyIds), at: &At, told: &mut dyn FnMut(u64)) -> StoreResult<()> {
        let (mut writes, mut bytes, mut count) = (Writes::default(), 0, 0_u64);
        for tenant in content::tenants(rows)?.into_iter().filter(|tenant| tenant.0 >= at.tenant) {
            for table in TABLES {
                let is_history = table == Table::History;
                let mut from = tenant.0.to_be_bytes().to_vec();
                if tenant.0 == at.tenant {
                    if at.is_history && !is_history {
                        continue;
                    }
                    if at.is_history == is_history && !at.key.is_empty() {
                        from.clone_from(&at.key);
                    }
                }
                for row in Walk::from(rows, table, &tenant.0.to_be_bytes(), from) {
                    let (key, value) = row?;
                    (bytes, count) = (bytes + key.len() + value.len(), count + 1);
                    let next = (bytes >= TOGETHER).then(|| [&key[..], &[0]].concat());
                    writes.put(table, key, value);
                    if let Some(key) = next {
                        let at = Some(At { tenant: tenant.0, is_history, key });
                        copied(known, at).put(&mut writes)?;
                        self.target.write(std::mem::take(&mut writes))?;
                        bytes = 0;
                        told(count);
                    }
                }
            }
        }
        self.target.write(writes)?;
        let mut staged = RowsTo::new(self.target);
        changes::staged(rows, &mut staged)?;
        staged.finish()?;
        told(count);
        copied(known, None).write(self.target)
    }

    /// Copies what became new since some marks, of rows of a schema and later ones; answers up to where all is known then, and the snapshot that
    /// was read, if it was one.
    fn catch_up(
        self,
        walk: Option<&dyn Rows>,
        (since, keys): (&Marks, &KeyIds),
        oldest: u32,
    ) -> StoreResult<(Marks, Option<Box<dyn Rows + 'c>>)> {
        let mut sink = RowsTo::new(self.target);
        let (now, rows): (Marks, _) = if let Some(walk) = walk {
            let given = turns::give(self.source, walk, since, &mut sink)?;
            (given.into_iter().map(|(tenant, given)| (tenant, given.mark)).collect(), None)
        } else {
            let rows = self.source.snapshot()?;
            let now = content::marks(&*rows)?;
            for tenant in now.keys() {
                changes::since(&*rows, TenantId(*tenant), since.get(tenant).copied(), &mut sink)?;
            }
            changes::staged(&*rows, &mut sink)?;
            (now, Some(rows))
        };
        let gone = content::tenants(self.target.rows())?.into_iter().filter(|tenant| !now.contains_key(&tenant.0));
        for (tenant, table) in gone.flat_map(|tenant| TABLES.map(|table| (tenant, table))) {
            sink.all_of(table, &tenant.0.to_be_bytes())?;
        }
        for (tenant, living) in sink.finish()? {
            settle(self.target, tenant, (&living, oldest), None)?;
        }
        copied((&now, keys), None).write(self.target)?;
        Ok((now, rows))
    }

    /// Catches up again and again, until the process is ended or the source is gone.
    fn follow(self, walk: Option<&dyn Rows>, mut since: Marks, keys: &KeyIds) -> StoreResult<(Tally, u32)> {
        loop {
            std::thread::sleep(FOLLOW_EVERY);
            self.check_keys(keys)?;
            let oldest = self.source.oldest_rows()?;
            self.source.settle()?;
            since = self.catch_up(walk, (&since, keys), oldest)?.0;
        }
    }

    /// The target has the keys that the source had at the beginning.
    fn check_keys(self, keys: &KeyIds) -> StoreResult<()> {
        if ids_of(&self.source.wrapped_keys()?) == *keys {
            Ok(())
        } else {
            Err(StoreError::Closed(
                "data keys were made or destroyed meanwhile: run this again, it goes on where it was".into(),
            ))
        }
    }
}

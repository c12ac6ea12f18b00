//! What a tenant has, where a snapshot lives for a short time only (MongoDB ends a transaction after a minute).
//!
//! 1. What grew is read as it is whenever it is read: all of the tenant, or what is new by the change log. Then what became new meanwhile, and so
//!    on, until that is little. Each time the log is read up to a mark that was taken before, so what changes while it is read comes again.
//! 2. One snapshot has the rest of it, with what has to be of one moment: the head, the records that are no resources, the entries that wait for
//!    the ledger. This is the moment of the tenant.
//! 3. Which resources there are, and of which old versions were erased, is read as it is after that: what is erased meanwhile is not in
//!    the result either, and what is made meanwhile has no rows in it ([`super::settle`]).
//!
//! So a snapshot reads no more than a few changes and the records of one tenant that are no resources.

use super::Source;
use super::changes::{self, Changes, Sink};
use super::content::{Mark, is_rekeyed_since, mark_of, tenants};
use crate::clock::Micros;
use crate::store::rows::ledger::owner_of_row;
use crate::store::rows::{Rows, Table, layout};
use crate::store::{StoreError, StoreResult};
use crate::tenant::TenantId;
use std::collections::BTreeMap;

/// Resources that may have changed since the last round when the snapshot is made.
const FEW: usize = 200;
/// Rounds after which it is made anyway: the store changes as fast as it is read.
const ROUNDS: usize = 20;
/// So often all of a tenant is read whose key lists are made anew meanwhile.
const WHOLE: usize = 3;

/// What was given of a tenant.
pub(super) struct Given {
    /// Up to where.
    pub mark: Mark,
    /// Whether all of it was.
    pub is_all: bool,
}

/// Gives what each tenant has that it had not at its mark, and all of those that have none. `walk` has the rows as they are.
pub(super) fn give(
    source: &dyn Source,
    walk: &dyn Rows,
    known: &BTreeMap<u32, Mark>,
    sink: &mut dyn Sink,
) -> StoreResult<BTreeMap<u32, Given>> {
    sink.all_of(Table::History, &layout::all_staged())?;
    let mut given = BTreeMap::new();
    // The record of each tenant belongs to the last one: there is none that has data and no record.
    for tenant in tenants(walk)? {
        let one = Giving { source, walk, tenant }.give(known.get(&tenant.0).copied(), sink)?;
        given.insert(tenant.0, one);
    }
    let others = |tenant: TenantId| !given.contains_key(&tenant.0);
    staged(&*source.snapshot()?, &others, sink)?;
    Ok(given)
}

/// Gives the entries that commits have staged for the ledgers of some tenants.
fn staged(rows: &dyn Rows, is_wanted: &dyn Fn(TenantId) -> bool, sink: &mut dyn Sink) -> StoreResult<()> {
    for row in super::content::Walk::over(rows, Table::History, &layout::all_staged()) {
        let (key, value) = row?;
        if is_wanted(owner_of_row(&value)?) {
            sink.row(Table::History, key, value)?;
        }
    }
    Ok(())
}

struct Giving<'t> {
    source: &'t dyn Source,
    walk: &'t dyn Rows,
    tenant: TenantId,
}

impl Giving<'_> {
    fn give(&self, known: Option<Mark>, sink: &mut dyn Sink) -> StoreResult<Given> {
        let Self { source, walk, tenant } = *self;
        let (mut known, mut is_all) = (known, false);
        for _ in 0..WHOLE {
            let mark = match known {
                Some(mark) if !is_rekeyed_since(walk, tenant, Micros(mark.time))? => mark,
                _ => {
                    is_all = true;
                    let mark = mark_of(walk, tenant)?;
                    changes::all(walk, tenant, sink)?;
                    mark
                }
            };
            let mark = self.catch_up(mark, sink)?;
            let rows = source.snapshot()?;
            if is_rekeyed_since(&*rows, tenant, Micros(mark.time))? {
                known = None;
                continue;
            }
            changes::of_one_moment(&*rows, tenant, sink)?;
            Changes { rows: &*rows, tenant, mark }.grown(sink)?;
            staged(&*rows, &|owner| owner == tenant, sink)?;
            let mark = mark_of(&*rows, tenant)?;
            drop(rows);
            changes::of_later(walk, tenant, sink)?;
            return Ok(Given { mark, is_all });
        }
        let text = "its search keys are made anew all the time: run this again when the job that does it has ended";
        Err(StoreError::Closed(format!("tenant {}: {text}", tenant.0)))
    }

    /// Gives what is new, until it is little. Answers up to where all is given.
    fn catch_up(&self, mut mark: Mark, sink: &mut dyn Sink) -> StoreResult<Mark> {
        let Self { walk, tenant, .. } = *self;
        for _ in 0..ROUNDS {
            let next = mark_of(walk, tenant)?;
            let changed = Changes { rows: walk, tenant, mark }.grown(sink)?;
            mark = next;
            if changed <= FEW {
                break;
            }
        }
        Ok(mark)
    }
}

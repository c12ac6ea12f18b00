//! What a tenant has, and what of it is new since a moment.
//!
//! The change log names the resources that have new versions. Old versions, the log and the ledger only grow. What the log does not tell
//! is told otherwise: of records that are no resources all are given again; erased resources are those that are missing among the
//! [`Sink::living`]; and where key lists were replaced without a new version, all of the tenant is given again.

use super::content::{Mark, TABLES, Walk, is_rekeyed_since};
use crate::clock::Micros;
use crate::key::range::after_prefix;
use crate::store::rows::record::rid_of;
use crate::store::rows::{Rows, Table, layout, log};
use crate::store::{Rid, StoreResult};
use crate::tenant::TenantId;
use std::collections::BTreeMap;

/// Takes what is moved.
pub(super) trait Sink {
    /// A row that is there.
    fn row(&mut self, table: Table, key: Vec<u8>, value: Vec<u8>) -> StoreResult<()>;
    /// All rows whose keys start so are given now; any others are gone.
    fn all_of(&mut self, table: Table, prefix: &[u8]) -> StoreResult<()>;
    /// The resources that there are, ascending: any others of the tenant were erased.
    fn living(&mut self, tenant: TenantId, rids: Vec<Rid>) -> StoreResult<()>;
}

/// Gives all rows of a tenant.
pub(super) fn all(rows: &dyn Rows, tenant: TenantId, sink: &mut dyn Sink) -> StoreResult<()> {
    for table in TABLES {
        for row in Walk::of(rows, table, tenant) {
            let (key, value) = row?;
            sink.row(table, key, value)?;
        }
    }
    Ok(())
}

/// Gives what a tenant has that it had not at a mark, as of one moment, and which resources there are. Without a mark, and where the log does
/// not tell it, gives all. Answers whether it gave all.
pub(super) fn since(rows: &dyn Rows, tenant: TenantId, mark: Option<Mark>, sink: &mut dyn Sink) -> StoreResult<bool> {
    let mark = match mark {
        Some(mark) if !is_rekeyed_since(rows, tenant, Micros(mark.time))? => Some(mark),
        _ => None,
    };
    if let Some(mark) = mark {
        Changes { rows, tenant, mark }.grown(sink)?;
        of_one_moment(rows, tenant, sink)?;
        of_later(rows, tenant, sink)?;
    } else {
        for prefix in single(tenant).into_iter().chain([layout::all_kept(tenant)]) {
            sink.all_of(Table::Records, &prefix)?;
        }
        all(rows, tenant, sink)?;
        living(rows, tenant, sink)?;
    }
    Ok(mark.is_none())
}

/// Gives what the log does not tell and has to be of the moment of the tenant. What is not there is gone, as in a tenant that was deleted.
pub(super) fn of_one_moment(rows: &dyn Rows, tenant: TenantId, sink: &mut dyn Sink) -> StoreResult<()> {
    for key in single(tenant).into_iter().chain([layout::all_kept(tenant)]) {
        give_all_of(rows, Table::Records, &key, sink)?;
    }
    Ok(())
}

/// Gives what was erased, and may be of a later moment.
pub(super) fn of_later(rows: &dyn Rows, tenant: TenantId, sink: &mut dyn Sink) -> StoreResult<()> {
    give_all_of(rows, Table::Records, &layout::all_erased(tenant), sink)?;
    living(rows, tenant, sink)
}

/// Gives the numbers of the resources that there are.
fn living(rows: &dyn Rows, tenant: TenantId, sink: &mut dyn Sink) -> StoreResult<()> {
    let ids = Walk::over(rows, Table::Index, &layout::all_ids(tenant));
    let mut living = ids.map(|row| rid_of(&row?.1)).collect::<StoreResult<Vec<_>>>()?;
    living.sort_unstable();
    sink.living(tenant, living)
}

/// The rows of which a tenant has one or none.
fn single(tenant: TenantId) -> [Vec<u8>; 3] {
    [layout::head(tenant), layout::untold(tenant), layout::rekeyed(tenant)]
}

/// Gives the entries that commits have staged for the ledger, of all tenants.
pub(super) fn staged(rows: &dyn Rows, sink: &mut dyn Sink) -> StoreResult<()> {
    give_all_of(rows, Table::History, &layout::all_staged(), sink)
}

fn give_all_of(rows: &dyn Rows, table: Table, prefix: &[u8], sink: &mut dyn Sink) -> StoreResult<()> {
    sink.all_of(table, prefix)?;
    for row in Walk::over(rows, table, prefix) {
        let (key, value) = row?;
        sink.row(table, key, value)?;
    }
    Ok(())
}

/// What became new in a tenant since a mark.
pub(super) struct Changes<'c> {
    pub rows: &'c dyn Rows,
    pub tenant: TenantId,
    pub mark: Mark,
}

/// Resources whose rows are asked for together.
const TOGETHER: usize = 200;

impl Changes<'_> {
    /// Gives what grew: new versions, the log, the ledger. Answers how many resources changed.
    pub(super) fn grown(&self, sink: &mut dyn Sink) -> StoreResult<usize> {
        let Self { rows, tenant, mark } = *self;
        let changed: Vec<_> = self.logged(sink)?.into_iter().collect();
        for part in changed.chunks(TOGETHER) {
            let current = part.iter().flat_map(|(rid, _)| [layout::current(tenant, *rid), layout::keys(tenant, *rid)]);
            self.give_rows(Table::Records, current.map(Vec::from).collect(), sink)?;
            let before = |rid: Rid| move |version: &u64| layout::history(tenant, rid, version.saturating_sub(1));
            let old = part.iter().flat_map(|(rid, versions)| versions.iter().map(before(*rid)));
            self.give_rows(Table::History, old.collect(), sink)?;
        }
        let new = layout::ledger(tenant, mark.entries);
        for row in Walk::from(rows, Table::History, &layout::all_ledger(tenant), new) {
            let (key, value) = row?;
            sink.row(Table::History, key, value)?;
        }
        let head = layout::ledger_head(tenant);
        if let Some(value) = rows.get(Table::History, &head)? {
            sink.row(Table::History, head, value)?;
        }
        Ok(changed.len())
    }

    fn give_rows(&self, table: Table, keys: Vec<Vec<u8>>, sink: &mut dyn Sink) -> StoreResult<()> {
        self.rows.ahead(table, &keys)?;
        for key in keys {
            if let Some(value) = self.rows.get(table, &key)? {
                sink.row(table, key, value)?;
            }
        }
        Ok(())
    }

    /// Gives the log since the mark, and answers which versions of which resources it names.
    fn logged(&self, sink: &mut dyn Sink) -> StoreResult<BTreeMap<Rid, Vec<u64>>> {
        let Self { rows, tenant, mark } = *self;
        let mut changed: BTreeMap<Rid, Vec<u64>> = BTreeMap::new();
        for scope in self.scopes()? {
            let from = layout::log(tenant, &scope, Micros(mark.time.saturating_add(1)), 0);
            for row in Walk::from(rows, Table::History, &layout::log_scope(tenant, &scope), from) {
                let (key, value) = row?;
                if scope.is_empty() {
                    for entry in log::unpack(&key, &value)? {
                        changed.entry(entry.rid).or_default().push(entry.version);
                    }
                }
                sink.row(Table::History, key, value)?;
            }
        }
        Ok(changed)
    }

    /// The scopes of the log: the tenant, and the types.
    fn scopes(&self) -> StoreResult<Vec<String>> {
        let all = layout::all_log(self.tenant);
        let (mut next, after) = (all.clone(), after_prefix(&all));
        let mut scopes = Vec::new();
        while let Some((key, _)) = self.rows.range(Table::History, &next, &after, 1)?.first() {
            let Some(scope) = layout::log_scope_of(key) else { break };
            next = after_prefix(&layout::log_scope(self.tenant, scope));
            scopes.push(scope.to_owned());
        }
        Ok(scopes)
    }
}

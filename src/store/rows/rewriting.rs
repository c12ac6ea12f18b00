//! Rows of older forms: finding them, and what they are in the newer one. See [`crate::store::schema`].

use super::sealing::walk;
use super::{Rows, Table, erase, layout};
use crate::store::schema::{Rewrite, Schema, Span};
use crate::store::seal::Sealer;
use crate::store::{OldRows, StoreResult};
use crate::tenant::TenantId;

/// The rows of a tenant after one of them that are not as the schema in force has them.
pub(in crate::store) fn old_forms(
    rows: &dyn Rows,
    sealer: &Sealer,
    schema: &Schema,
    tenant: TenantId,
    (after, most): (&[u8], usize),
) -> StoreResult<OldRows> {
    let mut spans: Vec<Span> = schema.rewrites().iter().flat_map(|rewrite| rewrite.among(tenant)).collect();
    spans.sort_unstable();
    spans.dedup();
    // What can't be read stays as it is, and the check names it.
    let is_old = |table, row: &_| schema.rewritten(sealer, tenant, table, row).is_ok_and(|new| new.is_some());
    walk(rows, &spans, (after, most), is_old)
}

/// Marks of erased versions, which were plain, become sealed.
#[derive(Debug)]
pub(in crate::store) struct Marks;

impl Rewrite for Marks {
    fn among(&self, tenant: TenantId) -> Vec<Span> {
        vec![Span { table: Table::Records, prefix: layout::all_erased(tenant) }]
    }

    fn row(&self, sealer: &Sealer, tenant: TenantId, key: &[u8], value: &[u8]) -> StoreResult<Option<Vec<u8>>> {
        erase::sealed_mark(sealer, tenant, key, value)
    }
}

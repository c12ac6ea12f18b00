//! The schema of an embedded store, which one process has open.

use super::{Shared, folder};
use crate::store::rows::rewriting::old_forms;
use crate::store::schema::{Advance, Schemas, Stand};
use crate::store::{OldRows, StoreResult};
use crate::tenant::TenantId;

impl Schemas for Shared {
    fn stand(&self) -> StoreResult<Stand> {
        Ok(self.schema.stand().clone())
    }

    /// Groups that the committer has begun before are written before anything that is asked for after this, and so before rows are looked for.
    fn advance(&self) -> StoreResult<Advance> {
        let is_moved = self.schema.change(|now| self.written(self.schema.next(now)?))?;
        Ok(if is_moved { Advance::Moved } else { Advance::Current })
    }

    fn old_forms(&self, tenant: TenantId, after: &[u8], most: usize) -> StoreResult<OldRows> {
        old_forms(&self.tables.snapshot(), &self.sealer, &self.schema, tenant, (after, most))
    }

    fn finish(&self, pass: &str) -> StoreResult<()> {
        let is_of_pass = |now: &Stand| now.rewriting.as_ref().is_some_and(|rewriting| rewriting.pass == pass);
        let finished = |now: &Stand| is_of_pass(now).then(|| Stand::of(now.schema));
        self.schema.change(|now| self.written(finished(now))).map(drop)
    }
}

impl Shared {
    /// Keeps how the store stands from now on.
    fn written(&self, new: Option<Stand>) -> StoreResult<Option<Stand>> {
        if let Some(new) = &new {
            folder::write_format(&self.options.folder, &self.sealer, new)?;
        }
        Ok(new)
    }
}

//! The work that makes what was erased leave the files of the database: it follows each job that erased something.

use crate::error::Result;
use crate::jobs::{Part, Turn, Work};

/// The kind of work, and the id of the one job of it in a tenant.
pub const KIND: &str = "compaction";

/// See [`crate::store::Backend::compact`].
#[derive(Debug)]
pub struct Compaction;

impl Work for Compaction {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn is_for_deleted(&self) -> bool {
        true
    }

    fn step(&self, turn: &Turn<'_>) -> Result<Part> {
        turn.store.compact()?;
        Ok(Part { done: 1, total: Some(1), is_last: true, ..turn.part() })
    }
}

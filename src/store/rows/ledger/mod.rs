//! The ledger's chain in rows: making it longer, and reading it.

pub(in crate::store) mod fold;
mod order;
mod read;
mod staged;

pub(in crate::store) use fold::Fold;
pub(in crate::store) use read::{Entries, Place, block_of, head};
pub(in crate::store) use staged::{Staged, Unfolded, open_row, owner_of_row, seal_row, staged_place};

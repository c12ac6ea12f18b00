//! Markers: each group writes its number into every keyspace, so that a hole can be told after an unclean stop.
//!
//! A marker's key is a slot, the number modulo [`SLOTS`], and its value the number: a slot is used again only when every
//! keyspace is known to be on disk past its old number, so that markers cost no removals.

/// How many groups may follow a checkpoint.
pub(super) const SLOTS: u64 = 1 << 16;

/// The slot of a group.
pub(super) fn slot(number: u64) -> u32 {
    u32::try_from(number % SLOTS).unwrap_or_default()
}

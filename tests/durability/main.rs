//! What the store promises, held against crashes and faults.

mod contract;

//! What the store promises, held against crashes and faults.
//!
//! Random rounds print their seeds; `PHAROS_TEST_SEED=n` starts with another one.

mod contract;
mod crash;
mod model;
mod workload;

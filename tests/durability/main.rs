//! What the store promises, held against crashes and faults.
//!
//! Random rounds print their seeds; `PHAROS_TEST_SEED=n` starts with another one.

mod contract;
mod crash;
mod damage;
#[cfg(target_os = "linux")]
mod disk;
#[cfg(target_os = "linux")]
mod faults;
mod model;
#[cfg(target_os = "linux")]
mod power;
mod workload;

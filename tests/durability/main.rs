//! What the store promises, held against crashes and faults.
//!
//! Random rounds print their seeds; `PHAROS_TEST_SEED=n` starts with another one.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    reason = "clippy allows these in #[test] functions, but not in the functions beside them"
)]

mod backup;
mod backup_http;
mod contract;
mod copy;
mod crash;
mod damage;
#[cfg(target_os = "linux")]
mod disk;
mod export_kill;
mod export_processes;
#[cfg(target_os = "linux")]
mod faults;
mod gone;
mod http_kill;
mod import_kill;
mod keeper;
#[cfg(target_os = "linux")]
mod ledger;
mod ledger_order;
mod model;
mod mongodb;
mod mongodb_fold;
mod mongodb_keys;
mod mongodb_large;
mod mongodb_schema;
mod mongodb_together;
mod mongodb_turns;
mod place;
#[cfg(target_os = "linux")]
mod power;
mod purge_kill;
mod schema;
#[path = "../api/support/mod.rs"]
mod support;
mod told;
mod workload;

//! The server over HTTP, as a client sees it: one module for each interaction and operation.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod batch;
mod create;
mod delete;
mod harness;
mod history;
mod read;
mod support;
mod transaction;
mod update;
mod vread;

//! The server over HTTP, as a client sees it: one module for each interaction and operation.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod harness;
mod support;

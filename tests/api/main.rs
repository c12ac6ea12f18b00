//! The server over HTTP, as a client sees it: one module for each interaction and operation.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::print_stdout)]

mod authorization;
mod authorize;
mod batch;
mod binary;
mod broker;
mod capabilities;
mod cors;
mod create;
mod delete;
mod demo;
mod docref;
mod everything;
mod examples;
mod fhirpath_suite;
mod harness;
mod history;
mod hostile;
mod lastn;
mod limits;
mod meta;
mod oauth;
mod package;
mod patch;
mod races;
mod read;
mod registration;
mod reindex;
mod search;
mod search_contained;
mod search_modifiers;
mod search_pages;
mod search_parameters;
mod search_refusals;
mod search_results;
mod smart_discovery;
mod support;
mod synthea;
mod transaction;
mod update;
mod us_core;
mod users;
mod vread;
mod who_sees_what;

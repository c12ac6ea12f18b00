//! Pharos, a FHIR R4 server with SMART on FHIR: the map of the house.
//!
//! Each layer uses only what stands below it in this list (`tests/tidy.rs` checks it).
//! `docs/architecture.md` tells the same at length.

/// The wired parts: what every request is served with.
pub mod app;
/// The audit ledger: who did what to whose data.
pub mod audit;
/// Who may do what.
pub mod auth;
/// Bulk Data: exports as jobs, and their files.
pub mod bulk;
/// The command line: one file per subcommand.
pub mod cli;
/// What patients consent to, as sets in the algebra of search keys.
pub mod consent;
/// Numbers, strings and trees of FHIR; definitions; nothing above is known here.
pub mod fhir;
/// FHIRPath: compiled once, evaluated over the tree.
pub mod fhirpath;
/// HTTP: what a request asks for and what an answer looks like.
pub mod http;
/// One file per FHIR interaction.
pub mod interaction;
/// Long work: states, leases, progress, limits by tenant.
pub mod jobs;
/// Search keys, ranges over them, and their algebra.
pub mod key;
/// One file per `$operation`.
pub mod operation;
/// What is kept for how long, what is erased, and what is held.
pub mod retention;
/// The search engine: query text to algebra to results.
pub mod search;
/// The way of one request.
pub mod serve;
/// The one door to data.
pub mod store;
/// Structural validation of resources.
pub mod validate;

/// Time and ids as arguments.
pub mod clock;
/// Every setting and limit.
pub mod config;
/// Errors as values.
pub mod error;
/// Tenants.
pub mod tenant;

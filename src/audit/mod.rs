//! The audit ledger: who did what to whose data, when, from where, and who was refused.
//!
//! A [`record::Record`] is what is kept of one request or event; the store chains it (`store::ledger`), and [`form`] serves it as an
//! AuditEvent, found by search as any resource is. [`trail`] gathers during a request what its record says. [`chain`] verifies, and
//! [`checkpoint`] signs how far the chains have come.

pub mod chain;
pub mod checkpoint;
pub mod event;
pub mod form;
pub mod ledger;
pub mod publish;
pub mod reader;
pub mod record;
pub mod trail;

#[cfg(test)]
mod form_tests;

pub use ledger::Ledger;
pub use record::{Event, Record};
pub use trail::Trail;

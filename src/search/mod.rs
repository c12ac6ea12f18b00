//! The search engine: query text to a [`Query`], to the algebra of [`crate::key`], to results from a snapshot.
//!
//! <https://hl7.org/fhir/R4/search.html>. The way through: `text` (escapes and separators), `query` (parameters and their
//! modifiers, chains, result parameters), `value` (a value of each type as ranges of keys), `engine` (the algebra over a
//! snapshot, streaming), `page` (order, cursors, totals), `route` (the order that an unsorted search takes), `back` (pages backward), `include`. Beside it: `inner` (resources inside
//! of others), `blind` (what a blind index can answer), `stored` (what stored value sets, code systems and hierarchies say of a value). Nothing outside of the algebra filters results.

mod ahead;
mod back;
mod blind;
mod budget;
mod by_patient;
mod criteria;
mod cursor;
mod engine;
mod explain;
mod filter;
mod find;
mod follow;
mod grant;
mod guard;
mod include;
mod inner;
mod labels;
mod latest;
mod order;
mod page;
mod plan;
mod query;
mod referred;
mod registry;
mod results;
mod route;
mod scan;
mod stored;
mod text;
mod value;
mod walk;
mod words;

#[cfg(test)]
mod ahead_tests;
#[cfg(test)]
mod inner_tests;
#[cfg(test)]
mod memory;
#[cfg(test)]
mod oracle_tests;
#[cfg(test)]
mod route_tests;
#[cfg(test)]
mod self_tests;
#[cfg(test)]
mod special_tests;
#[cfg(test)]
mod tests;

pub use budget::{Budget, Wanted};
pub use by_patient::with_stored;
pub use criteria::is_special;
pub use cursor::Cursor;
pub use engine::references;
pub use grant::{Compiler, holds, is_of_results, is_uncovered};
pub use guard::{find_up_to, members, would_match};
pub use labels::keys_in_use;
pub use latest::{Grouping, LatestPlace, latest};
pub use page::{Match, Page, run};
pub use query::{
    Contained, ContainedType, Handling, Include, Options, Query, Sort, Summary, Target, Total, parse, self_pairs,
};
pub use referred::{ReferredPlace, Sources, referred};
pub use registry::Registry;
pub use stored::Stored;
pub use walk::walk;

/// How much one search may ask for. Each has a setting of the same name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Parameters in one query.
    pub clauses: usize,
    /// Values of one parameter, separated by commas.
    pub or_values: usize,
    /// Steps of a chain, `_has` included.
    pub chain_depth: usize,
    /// Rounds of `:iterate`.
    pub include_depth: usize,
    /// Resources that `_include` and `_revinclude` add to one page.
    pub includes: usize,
    /// Matches of a page where the query names no `_count`.
    pub page_default: usize,
    /// Matches of a page; a greater `_count` is taken as this one.
    pub page_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            clauses: 64,
            or_values: 500,
            chain_depth: 8,
            include_depth: 4,
            includes: 1000,
            page_default: 20,
            page_max: 1000,
        }
    }
}

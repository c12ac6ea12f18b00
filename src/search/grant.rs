//! Where a grant meets sets of resources: the one place where it narrows a search, before anything is counted or sorted.

use super::budget::Budget;
use super::engine::Run;
use super::explain::Trace;
use super::query::{Options, Target, parse};
use super::registry::Registry;
use crate::auth::access::{Allowed, Restrictions};
use crate::auth::grant::Grant;
use crate::auth::scope::Letters;
use crate::error::Result;
use crate::key::{Expr, KeyList};
use crate::store::Records;

/// What of a set the grant lets through. Chains and `_has` see of other types only what could be searched for itself.
pub(super) fn restricted(records: &Records, target: &Target) -> Expr {
    let grant = records.grant();
    if grant.is_unrestricted() {
        return target.expr.clone();
    }
    within(grant, &target.type_name, narrowed(grant, &target.expr))
}

/// A set of resources of a type, as far as it may be searched.
fn within(grant: &Grant, type_name: &str, expr: Expr) -> Expr {
    match grant.allowed(type_name, Letters::SEARCH) {
        Allowed::Nothing => Expr::none(),
        Allowed::Everything => expr,
        Allowed::Part(allowed) => Expr::and([(*allowed).clone(), expr]),
    }
}

fn narrowed(grant: &Grant, expr: &Expr) -> Expr {
    match expr {
        Expr::All | Expr::Keys(_) | Expr::Covered(..) | Expr::InPatients(_) => expr.clone(),
        Expr::Not(inner) => narrowed(grant, inner).negate(),
        Expr::And(parts) => Expr::And(parts.iter().map(|part| narrowed(grant, part)).collect()),
        Expr::Or(parts) => Expr::Or(parts.iter().map(|part| narrowed(grant, part)).collect()),
        Expr::Refers { code, target, expr } => {
            let expr = Box::new(within(grant, target, narrowed(grant, expr)));
            Expr::Refers { code: code.clone(), target: target.clone(), expr }
        }
        Expr::ReferredBy { source, code, expr } => {
            let expr = Box::new(within(grant, source, narrowed(grant, expr)));
            Expr::ReferredBy { source: source.clone(), code: code.clone(), expr }
        }
    }
}

/// Whether a set asks about a type that the grant does not let search at all, so that it should be refused instead of answered as
/// if nothing were there. Of alternatives, all have to.
#[must_use]
pub fn is_uncovered(grant: &Grant, expr: &Expr) -> bool {
    let is_closed = |type_name: &str| grant.allowed(type_name, Letters::SEARCH) == Allowed::Nothing;
    match expr {
        Expr::All | Expr::Keys(_) | Expr::Covered(..) | Expr::InPatients(_) => false,
        Expr::Not(inner) => is_uncovered(grant, inner),
        Expr::And(parts) => parts.iter().any(|part| is_uncovered(grant, part)),
        Expr::Or(parts) => !parts.is_empty() && parts.iter().all(|part| is_uncovered(grant, part)),
        Expr::Refers { target, expr, .. } => is_closed(target) || is_uncovered(grant, expr),
        Expr::ReferredBy { source, expr, .. } => is_closed(source) || is_uncovered(grant, expr),
    }
}

/// Whether a resource with these keys, stored or not, is in a set.
///
/// # Errors
/// When the store fails or the budget is spent.
pub fn holds(records: &Records, type_name: &str, keys: &KeyList, expr: &Expr, budget: &Budget) -> Result<bool> {
    Run::new(records.view(), budget, Trace::default()).holds(type_name, keys, expr)
}

/// Compiles the search restrictions of scopes: they are read as any query, but may hold criteria only.
pub struct Compiler<'r> {
    /// The search parameters of the tenant.
    pub registry: &'r Registry,
    /// How queries are read there.
    pub options: &'r Options,
}

impl Restrictions for Compiler<'_> {
    fn compile(&self, type_name: &str, query: &str) -> Option<Expr> {
        let pairs: Vec<_> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let query = parse(self.registry, Some(type_name), &pairs, self.options).ok()?;
        let target = query.targets.into_iter().next()?;
        let is_criteria = |(name, value): &(String, String)| !value.is_empty() && !is_of_results(name);
        (pairs.iter().all(is_criteria) && target.expr != Expr::All && query.dropped.is_empty()).then_some(target.expr)
    }
}

/// Whether a parameter shapes the answer and chooses nothing.
#[must_use]
pub fn is_of_results(name: &str) -> bool {
    const OF_RESULTS: [&str; 13] = [
        "_contained",
        "_containedType",
        "_count",
        "_elements",
        "_explain",
        "_format",
        "_include",
        "_pretty",
        "_revinclude",
        "_sort",
        "_summary",
        "_total",
        "_type",
    ];
    let name = name.split(':').next().unwrap_or_default();
    OF_RESULTS.contains(&name)
}

//! All resources of a set, one after the other: for what does not answer in pages.

use super::budget::Budget;
use super::engine::Run;
use super::explain::Trace;
use super::grant::restricted;
use super::inner::unfolded;
use super::query::Target;
use super::results::after;
use crate::error::Result;
use crate::store::{Records, Rid};

/// Calls `found` with the number of each resource of a set that the grant of the snapshot reaches, ascending.
///
/// # Errors
/// When the store fails or the budget is spent, and those of `found`.
pub fn walk(
    records: &Records,
    target: &Target,
    budget: &Budget,
    found: &mut dyn FnMut(Rid) -> Result<()>,
) -> Result<()> {
    let run = Run::new(records.view(), budget, Trace::default());
    let expr = unfolded(run.view, &target.type_name, &restricted(records, target))?;
    let mut stream = run.stream(&target.type_name, &expr)?;
    let mut from = Rid(0);
    while let Some(rid) = stream.next_from(from)? {
        found(rid)?;
        from = after(rid);
    }
    Ok(())
}

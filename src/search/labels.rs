//! Which keys are in use: a skip scan over the distinct keys of a type.

use super::budget::Budget;
use super::engine::{Run, failed};
use super::explain::Trace;
use super::grant::restricted;
use super::query::Target;
use crate::error::Result;
use crate::key::bytes::END;
use crate::key::{Expr, KeyRange};
use crate::store::{Records, Rid};
use std::sync::Arc;

/// The distinct keys of a type that start with `prefix`, each with a resource that has it and that the grant reaches. Costs a
/// seek for each key, however many resources have it.
///
/// # Errors
/// When the store fails or the budget is spent.
pub fn keys_in_use(
    records: &Records,
    type_name: &str,
    prefix: &[u8],
    budget: &Budget,
) -> Result<Vec<(Arc<[u8]>, Rid)>> {
    let run = Run::new(records.view(), budget, Trace::default());
    let visible = restricted(records, &Target { type_name: type_name.into(), expr: Expr::All });
    let mut rest = KeyRange::prefix(prefix);
    let mut found = Vec::new();
    loop {
        budget.step()?;
        let Some(posting) = run.view.scan(type_name, &rest).next() else { return Ok(found) };
        let key = posting.map_err(failed)?.key;
        rest.from = [&key, &[END][..]].concat().into();
        for rid in run.view.rids(type_name, &key, Rid(0)) {
            let rid = rid.map_err(failed)?;
            if visible == Expr::All || run.contains(type_name, rid, &visible)? {
                found.push((key, rid));
                break;
            }
        }
    }
}

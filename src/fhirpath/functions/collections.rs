//! Filtering, parts and combinations of collections: <http://hl7.org/fhirpath/N1/#filtering-and-projection>, `#subsetting`,
//! `#combining`, `#tree-navigation`, `#aggregates`; `sort()` is of later versions.

use super::{Call, Function, function};
use crate::fhirpath::ast::Kind;
use crate::fhirpath::compare;
use crate::fhirpath::error::EvalError;
use crate::fhirpath::eval::{Evaluated, Evaluator, Scope};
use crate::fhirpath::item::{Collection, Item};
use crate::fhirpath::navigate;
use std::cmp::Ordering;

/// The functions of this file.
pub const FUNCTIONS: &[Function] = &[
    function("where", 1, 1, where_),
    function("select", 1, 1, select),
    function("repeat", 1, 1, repeat),
    function("single", 0, 0, single),
    function("first", 0, 0, first),
    function("last", 0, 0, last),
    function("tail", 0, 0, tail),
    function("skip", 1, 1, skip),
    function("take", 1, 1, take),
    function("intersect", 1, 1, intersect),
    function("exclude", 1, 1, exclude),
    function("union", 1, 1, union),
    function("combine", 1, 1, combine),
    function("children", 0, 0, children),
    function("descendants", 0, 0, descendants),
    function("aggregate", 1, 2, aggregate),
    function("sort", 0, 8, sort),
    function("iif", 2, 3, iif),
];

fn where_<'t>(e: &Evaluator<'_, 't>, call: Call<'_, 't>) -> Evaluated<'t> {
    let criterion = call.argument(0)?;
    let mut kept = Vec::new();
    for (index, item) in call.focus.iter().enumerate() {
        if e.truth(criterion, &call.scope_of(item, index))? == Some(true) {
            kept.push(item.clone());
        }
    }
    Ok(kept)
}

fn select<'t>(e: &Evaluator<'_, 't>, call: Call<'_, 't>) -> Evaluated<'t> {
    let projection = call.argument(0)?;
    let mut results = Vec::new();
    for (index, item) in call.focus.iter().enumerate() {
        results.append(&mut e.eval(projection, &call.scope_of(item, index))?);
    }
    e.step(results.len(), call.at)?;
    Ok(results)
}

fn repeat<'t>(e: &Evaluator<'_, 't>, call: Call<'_, 't>) -> Evaluated<'t> {
    let projection = call.argument(0)?;
    let mut results: Collection = Vec::new();
    let mut next = call.focus.clone();
    while !next.is_empty() {
        let mut found = Vec::new();
        for (index, item) in next.iter().enumerate() {
            for result in e.eval(projection, &call.scope_of(item, index))? {
                if !compare::includes(e, &results, &result, call.at)? {
                    results.push(result.clone());
                    found.push(result);
                }
            }
        }
        next = found;
    }
    Ok(results)
}

fn single<'t>(_: &Evaluator<'_, 't>, call: Call<'_, 't>) -> Evaluated<'t> {
    call.single()?;
    Ok(call.focus)
}

fn first<'t>(_: &Evaluator<'_, 't>, mut call: Call<'_, 't>) -> Evaluated<'t> {
    call.focus.truncate(1);
    Ok(call.focus)
}

fn last<'t>(_: &Evaluator<'_, 't>, mut call: Call<'_, 't>) -> Evaluated<'t> {
    Ok(call.focus.pop().into_iter().collect())
}

fn tail<'t>(_: &Evaluator<'_, 't>, call: Call<'_, 't>) -> Evaluated<'t> {
    Ok(call.focus.into_iter().skip(1).collect())
}

/// The argument of `skip` and `take`; negative numbers count as nothing.
fn how_many<'t>(e: &Evaluator<'_, 't>, call: &Call<'_, 't>) -> Result<usize, EvalError> {
    let number = call.integer(e, 0)?.ok_or_else(|| call.error("expected a number"))?;
    Ok(usize::try_from(number).unwrap_or(0))
}

fn skip<'t>(e: &Evaluator<'_, 't>, call: Call<'_, 't>) -> Evaluated<'t> {
    let count = how_many(e, &call)?;
    Ok(call.focus.into_iter().skip(count).collect())
}

fn take<'t>(e: &Evaluator<'_, 't>, mut call: Call<'_, 't>) -> Evaluated<'t> {
    call.focus.truncate(how_many(e, &call)?);
    Ok(call.focus)
}

fn intersect<'t>(e: &Evaluator<'_, 't>, call: Call<'_, 't>) -> Evaluated<'t> {
    let other = call.evaluate(e, 0)?;
    let mut kept = Vec::new();
    for item in compare::distinct(e, call.focus, call.at)? {
        if compare::includes(e, &other, &item, call.at)? {
            kept.push(item);
        }
    }
    Ok(kept)
}

fn exclude<'t>(e: &Evaluator<'_, 't>, call: Call<'_, 't>) -> Evaluated<'t> {
    let other = call.evaluate(e, 0)?;
    let mut kept = Vec::new();
    for item in call.focus {
        if !compare::includes(e, &other, &item, call.at)? {
            kept.push(item);
        }
    }
    Ok(kept)
}

fn union<'t>(e: &Evaluator<'_, 't>, call: Call<'_, 't>) -> Evaluated<'t> {
    let at = call.at;
    compare::distinct(e, combine(e, call)?, at)
}

fn combine<'t>(e: &Evaluator<'_, 't>, mut call: Call<'_, 't>) -> Evaluated<'t> {
    let mut other = call.evaluate(e, 0)?;
    e.step(other.len(), call.at)?;
    call.focus.append(&mut other);
    Ok(call.focus)
}

fn children<'t>(e: &Evaluator<'_, 't>, call: Call<'_, 't>) -> Evaluated<'t> {
    let mut found = Vec::new();
    for item in &call.focus {
        navigate::children(item, &mut found);
    }
    e.step(found.len(), call.at)?;
    Ok(found)
}

/// In the order of the tree, each parent before its children.
fn descendants<'t>(e: &Evaluator<'_, 't>, call: Call<'_, 't>) -> Evaluated<'t> {
    let mut found = Vec::new();
    let mut open = call.focus;
    open.reverse();
    let mut roots = open.len();
    while let Some(item) = open.pop() {
        let before = open.len();
        navigate::children(&item, &mut open);
        if let Some(children) = open.get_mut(before..) {
            children.reverse();
        }
        e.step(1 + open.len() - before, call.at)?;
        if before < roots {
            roots = before;
        } else {
            found.push(item);
        }
    }
    Ok(found)
}

fn aggregate<'t>(e: &Evaluator<'_, 't>, call: Call<'_, 't>) -> Evaluated<'t> {
    let aggregator = call.argument(0)?;
    let mut total = if call.args.len() > 1 { call.evaluate(e, 1)? } else { Vec::new() };
    for (index, item) in call.focus.iter().enumerate() {
        let scope = Scope { total: Some(total), ..call.scope_of(item, index) };
        total = e.eval(aggregator, &scope)?;
        e.step(total.len(), call.at)?;
    }
    Ok(total)
}

/// Sorts by keys, each ascending, or descending with a `-` before it. Items without a key come last, or first, accordingly.
fn sort<'t>(e: &Evaluator<'_, 't>, call: Call<'_, 't>) -> Evaluated<'t> {
    let mut keyed = Vec::with_capacity(call.focus.len());
    for (index, item) in call.focus.iter().enumerate() {
        let scope = call.scope_of(item, index);
        let mut keys = Vec::new();
        if call.args.is_empty() {
            keys.push((navigate::value(item.clone()), false));
        }
        for arg in call.args {
            let (key, descending) = match &arg.kind {
                Kind::Negate(key) => (&**key, true),
                _ => (arg, false),
            };
            keys.push((e.single(key, &scope)?, descending));
        }
        keyed.push((keys, item.clone()));
    }
    // Comparing n log n times costs more than the one step that each item did.
    e.step(keyed.len() * usize::try_from(keyed.len().max(1).ilog2()).unwrap_or(0), call.at)?;
    let mut failed = None;
    keyed.sort_by(|(a, _), (b, _)| {
        by_keys(a, b, call.at).unwrap_or_else(|error| {
            failed = Some(error);
            Ordering::Equal
        })
    });
    failed.map_or_else(|| Ok(keyed.into_iter().map(|(_, item)| item).collect()), Err)
}

type Keys<'t> = Vec<(Option<Item<'t>>, bool)>;

fn by_keys(a: &Keys, b: &Keys, at: usize) -> Result<Ordering, EvalError> {
    for ((a, descending), (b, _)) in a.iter().zip(b) {
        let order = match (a, b) {
            (Some(a), Some(b)) => compare::order(a, b, at)?.unwrap_or(Ordering::Equal),
            (None, None) => Ordering::Equal,
            (None, Some(_)) => Ordering::Greater,
            (Some(_), None) => Ordering::Less,
        };
        if order != Ordering::Equal {
            return Ok(if *descending { order.reverse() } else { order });
        }
    }
    Ok(Ordering::Equal)
}

fn iif<'t>(e: &Evaluator<'_, 't>, call: Call<'_, 't>) -> Evaluated<'t> {
    let this = call.single()?.cloned();
    let scope = Scope { this, ..call.scope.clone() };
    let branch = if e.truth(call.argument(0)?, &scope)? == Some(true) { 1 } else { 2 };
    call.args.get(branch).map_or_else(|| Ok(Vec::new()), |branch| e.eval(branch, &scope))
}

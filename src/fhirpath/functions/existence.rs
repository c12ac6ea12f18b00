//! Existence: <http://hl7.org/fhirpath/N1/#existence>.

use super::{Call, Function, function};
use crate::fhirpath::compare;
use crate::fhirpath::error::EvalError;
use crate::fhirpath::eval::{self, Evaluated, Evaluator};
use crate::fhirpath::item::Item;

/// The functions of this file.
pub const FUNCTIONS: &[Function] = &[
    function("empty", 0, 0, empty),
    function("exists", 0, 1, exists),
    function("all", 1, 1, all),
    function("allTrue", 0, 0, all_true),
    function("anyTrue", 0, 0, any_true),
    function("allFalse", 0, 0, all_false),
    function("anyFalse", 0, 0, any_false),
    function("subsetOf", 1, 1, subset_of),
    function("supersetOf", 1, 1, superset_of),
    function("count", 0, 0, count),
    function("distinct", 0, 0, distinct),
    function("isDistinct", 0, 0, is_distinct),
    function("not", 0, 0, not),
];

fn boolean<'t>(value: bool) -> Evaluated<'t> {
    Ok(vec![Item::Boolean(value)])
}

fn empty<'t>(_: &Evaluator<'_, 't>, call: Call<'_, 't>) -> Evaluated<'t> {
    boolean(call.focus.is_empty())
}

fn exists<'t>(e: &Evaluator<'_, 't>, call: Call<'_, 't>) -> Evaluated<'t> {
    let Some(criterion) = call.args.first() else { return boolean(!call.focus.is_empty()) };
    for (index, item) in call.focus.iter().enumerate() {
        if e.truth(criterion, &call.scope_of(item, index))? == Some(true) {
            return boolean(true);
        }
    }
    boolean(false)
}

fn all<'t>(e: &Evaluator<'_, 't>, call: Call<'_, 't>) -> Evaluated<'t> {
    let criterion = call.argument(0)?;
    for (index, item) in call.focus.iter().enumerate() {
        if e.truth(criterion, &call.scope_of(item, index))? != Some(true) {
            return boolean(false);
        }
    }
    boolean(true)
}

/// Whether any item is the truth value `wanted`.
fn any(call: &Call<'_, '_>, wanted: bool) -> Result<bool, EvalError> {
    let mut found = false;
    for item in &call.focus {
        let value = item.as_bool().ok_or_else(|| call.error("expected truth values"))?;
        found |= value == wanted;
    }
    Ok(found)
}

fn all_true<'t>(_: &Evaluator<'_, 't>, call: Call<'_, 't>) -> Evaluated<'t> {
    boolean(!any(&call, false)?)
}

fn any_true<'t>(_: &Evaluator<'_, 't>, call: Call<'_, 't>) -> Evaluated<'t> {
    boolean(any(&call, true)?)
}

fn all_false<'t>(_: &Evaluator<'_, 't>, call: Call<'_, 't>) -> Evaluated<'t> {
    boolean(!any(&call, true)?)
}

fn any_false<'t>(_: &Evaluator<'_, 't>, call: Call<'_, 't>) -> Evaluated<'t> {
    boolean(any(&call, false)?)
}

fn includes_all(e: &Evaluator, all: &[Item], part: &[Item], at: usize) -> Result<bool, EvalError> {
    for item in part {
        if !compare::includes(e, all, item, at)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn subset_of<'t>(e: &Evaluator<'_, 't>, call: Call<'_, 't>) -> Evaluated<'t> {
    boolean(includes_all(e, &call.evaluate(e, 0)?, &call.focus, call.at)?)
}

fn superset_of<'t>(e: &Evaluator<'_, 't>, call: Call<'_, 't>) -> Evaluated<'t> {
    boolean(includes_all(e, &call.focus, &call.evaluate(e, 0)?, call.at)?)
}

fn count<'t>(_: &Evaluator<'_, 't>, call: Call<'_, 't>) -> Evaluated<'t> {
    let count = i32::try_from(call.focus.len()).map_err(|_| call.error("too many items"))?;
    Ok(vec![Item::Integer(count)])
}

fn distinct<'t>(e: &Evaluator<'_, 't>, call: Call<'_, 't>) -> Evaluated<'t> {
    compare::distinct(e, call.focus, call.at)
}

fn is_distinct<'t>(e: &Evaluator<'_, 't>, call: Call<'_, 't>) -> Evaluated<'t> {
    let count = call.focus.len();
    boolean(compare::distinct(e, call.focus, call.at)?.len() == count)
}

fn not<'t>(_: &Evaluator<'_, 't>, call: Call<'_, 't>) -> Evaluated<'t> {
    let value = eval::truth(&call.focus, call.at)?;
    Ok(value.map(|value| Item::Boolean(!value)).into_iter().collect())
}

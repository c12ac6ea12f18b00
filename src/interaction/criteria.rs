//! The criteria of conditional interactions and references: <https://hl7.org/fhir/R4/http.html#cond-update>.
//!
//! They are searches, evaluated on a snapshot; the ranges that were read guard the commit.

use super::{Context, precondition_failed, reach};
use crate::config::Handling;
use crate::error::{Error, Result};
use crate::search::{self, Query};
use crate::store::{Guard, Records, Version};

/// What criteria found.
#[derive(Debug)]
pub enum Matched {
    /// Nothing.
    None,
    /// One resource.
    One(Version),
    /// More than one.
    Several,
}

/// Evaluates criteria.
///
/// # Errors
/// 400 for criteria that are no search.
pub fn find(
    context: &Context,
    records: &Records,
    type_name: &str,
    criteria: &[(String, String)],
) -> Result<(Matched, Vec<Guard>)> {
    let (mut matches, guards) = find_up_to(context, records, type_name, criteria, 2)?;
    let matched = match (matches.pop(), matches.is_empty()) {
        (None, _) => Matched::None,
        (Some(version), true) => Matched::One(version),
        (Some(_), false) => Matched::Several,
    };
    Ok((matched, guards))
}

/// The first matches of criteria.
///
/// # Errors
/// As [`find`].
pub fn find_up_to(
    context: &Context,
    records: &Records,
    type_name: &str,
    criteria: &[(String, String)],
    most: usize,
) -> Result<(Vec<Version>, Vec<Guard>)> {
    let query = query(context, type_name, criteria)?;
    if query.targets.iter().any(|target| search::is_uncovered(&context.grant, &target.expr)) {
        return Err(reach::insufficient_scope());
    }
    let (rids, guards) = search::find_up_to(records, &query, most, &context.search_budget())?;
    let mut versions = Vec::with_capacity(rids.len());
    for rid in rids {
        versions.extend(records.view().current(rid)?.filter(|version| version.body.is_some()));
    }
    Ok((versions, guards))
}

/// Criteria as a query; what is unknown is refused, whatever the handling: it would match more than is meant.
///
/// # Errors
/// As [`find`].
pub fn query(context: &Context, type_name: &str, criteria: &[(String, String)]) -> Result<Query> {
    let options = context.search_options(Handling::Strict);
    let query = search::parse(&context.conformance.registry(), Some(type_name), criteria, &options)?;
    query.forbid_contained()?;
    Ok(query)
}

/// The pairs of a query string.
#[must_use]
pub fn pairs(query: &str) -> Vec<(String, String)> {
    form_urlencoded::parse(query.as_bytes()).into_owned().collect()
}

/// The criteria in the text of `If-None-Exist`: a query string, with or without `?` or a URL before it.
///
/// # Errors
/// 400 where there are none.
pub fn parse(text: &str) -> Result<Vec<(String, String)>> {
    let query = match text.split_once('?') {
        Some((url, query)) if !url.contains('=') => query,
        _ => text,
    };
    required(&pairs(query))
}

/// The criteria of a conditional URL: all its parameters but those that only shape the answer.
///
/// # Errors
/// 400 where none is left: that would mean every resource of the type.
pub fn required(query: &[(String, String)]) -> Result<Vec<(String, String)>> {
    let shaping = ["_format", "_pretty"];
    let criteria: Vec<_> =
        query.iter().filter(|(name, value)| !shaping.contains(&name.as_str()) && !value.is_empty()).cloned().collect();
    if criteria.is_empty() {
        return Err(Error::invalid("A conditional request needs criteria."));
    }
    Ok(criteria)
}

/// 412: the criteria are not selective enough.
#[must_use]
pub fn several() -> Error {
    let mut error = precondition_failed("The criteria match several resources.");
    if let Some(issue) = error.issues.first_mut() {
        issue.code = "multiple-matches";
    }
    error
}

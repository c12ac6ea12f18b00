//! read: <https://hl7.org/fhir/R4/http.html#read>, conditional read: `#cread`.

use super::{Answer, Context, Request, Status, body_of, gone};
use crate::error::{Error, Result};
use crate::fhir::subset;
use crate::store::Version;

/// The current version of a resource: 404 where there is none, 410 where it is deleted, 304 where a condition says that
/// the client has it already. `_summary` and `_elements` show a part.
///
/// # Errors
/// As said, and 400 for a malformed `_summary`.
pub fn read(context: &Context, request: &Request<'_>, type_name: &str, id: &str) -> Result<Answer> {
    let version = context.open()?.read(type_name, id)?.ok_or_else(Error::not_found)?;
    if version.body.is_none() {
        return Err(gone(version.version));
    }
    if !is_modified(request, &version) {
        return Ok(Answer { version: Some((version.version, version.time)), ..Answer::empty(Status::NotModified) });
    }
    show(request, &version)
}

/// The answer with the part of a version that the request asks for.
pub(super) fn show(request: &Request<'_>, version: &Version) -> Result<Answer> {
    let view = subset::Subset::from_query(&request.query)?;
    let mut answer = Answer::of(version)?;
    if let (Some(view), Some(body)) = (view, answer.body.take()) {
        answer.body = Some(view.apply_to_bytes(&body)?);
    }
    Ok(answer)
}

/// RFC 9110 §13.2.2: `If-Modified-Since` counts only where there is no `If-None-Match`.
fn is_modified(request: &Request<'_>, version: &Version) -> bool {
    let conditions = &request.conditions;
    if let Some(tags) = &conditions.if_none_match {
        return !tags.hold(Some(version.version));
    }
    conditions.if_modified_since.is_none_or(|since| version.time.0.div_euclid(1_000_000) > since)
}

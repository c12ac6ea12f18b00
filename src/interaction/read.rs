//! read: <https://hl7.org/fhir/R4/http.html#read>, conditional read: `#cread`.

use super::{Answer, Context, Request, Status, reach};
use crate::auth::scope::Letters;
use crate::error::Result;
use crate::fhir::subset::Subset;
use crate::store::Version;

/// The current version of a resource: 404 where there is none, 410 where it is deleted, 304 where a condition says that
/// the client has it already. `_summary` and `_elements` show a part.
///
/// # Errors
/// As said, and 400 for a malformed `_summary` or an unknown element.
pub fn read(context: &Context, request: &Request<'_>, type_name: &str, id: &str) -> Result<Answer> {
    let version = reach::live(context, &context.open()?, Letters::READ, type_name, id)?;
    // That it did not change is told, too.
    context.trail.disclose(&version);
    if !request.conditions.want_content(&version) {
        return Ok(Answer { version: Some((version.version, version.time)), ..Answer::empty(Status::NotModified) });
    }
    show(context, request, &version)
}

/// The answer with the part of a version that the request asks for.
pub(super) fn show(context: &Context, request: &Request<'_>, version: &Version) -> Result<Answer> {
    let part = Subset::from_query(&request.query)?;
    let mut answer = Answer::of(context, version)?;
    if let (Some(part), Some(body)) = (part, &answer.body) {
        part.check(&[&version.type_name])?;
        answer.body = Some(part.apply_to_bytes(body)?);
    }
    Ok(answer)
}

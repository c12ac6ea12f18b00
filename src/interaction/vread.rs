//! vread: <https://hl7.org/fhir/R4/http.html#vread>.

use super::{Answer, Context, Request, gone, reach, read};
use crate::auth::scope::Letters;
use crate::error::{Error, Result};

/// One version of a resource: 404 where there is none, 410 where that version is its deletion.
///
/// # Errors
/// As said, and 400 for a malformed `_summary` or an unknown element.
pub fn vread(context: &Context, request: &Request<'_>, type_name: &str, id: &str, version: &str) -> Result<Answer> {
    let number = parse_version(version).ok_or_else(Error::not_found)?;
    let records = context.open()?;
    let found = reach::version(context, &records, Letters::READ, (type_name, id), number)?;
    let found = found.ok_or_else(Error::not_found)?;
    if found.body.is_none() {
        return Err(gone(number));
    }
    read::show(context, request, &found)
}

/// Versions count from 1 and are spelled in one way only.
fn parse_version(text: &str) -> Option<u64> {
    let number: u64 = text.parse().ok()?;
    (number > 0 && number.to_string() == text).then_some(number)
}

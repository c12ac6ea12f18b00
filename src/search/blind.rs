//! What a search asks of a blind index: by which postings its ranges are read, and what can't be asked.

use super::engine::failed;
use super::query::{Sort, refuse};
use crate::error::{Error, Result};
use crate::key::bytes::END;
use crate::key::{Expr, KeyRange};
use crate::store::View;

/// The resources with a key in a range, by the postings that the index of the tenant has for it.
///
/// # Errors
/// 400 where only the texts themselves could tell; when the store fails.
pub fn covered(view: &dyn View, type_name: &str, range: &KeyRange) -> Result<Expr> {
    let blind = view.blind(type_name).map_err(failed)?;
    let Some(cover) = blind.and_then(|blind| blind.cover(type_name, range)) else {
        return Ok(Expr::Keys(range.clone()));
    };
    if range.looks_into_texts() {
        return Err(hidden(&range.from, "can't be searched for a part of its text"));
    }
    Ok(Expr::Covered(range.clone(), cover))
}

/// Refuses an order by what is hidden.
///
/// # Errors
/// 400 with the parameter; when the store fails.
pub fn check_sort(view: &dyn View, type_name: &str, sort: &[Sort]) -> Result<()> {
    let Some(blind) = view.blind(type_name).map_err(failed)? else { return Ok(()) };
    match sort.iter().find(|part| blind.hides(type_name, &part.prefix)) {
        Some(part) => Err(hidden(&part.prefix, "can't be sorted by (`_sort`)")),
        None => Ok(()),
    }
}

/// `key` begins with the code, or names an inner resource and ends in it.
fn hidden(key: &[u8], what: &str) -> Error {
    let mut texts = key.split(|byte| *byte == END);
    let code = if key.starts_with(b"#") { texts.nth(2) } else { texts.next() };
    let code = String::from_utf8_lossy(code.unwrap_or_default());
    refuse(
        "not-supported",
        format!("The search parameter `{code}` is hidden from the index of this server: it {what}."),
    )
}

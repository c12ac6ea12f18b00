//! What an export has come to: <https://hl7.org/fhir/uv/bulkdata/export.html#response---output-manifest>.

use super::Asked;
use super::export::Report;
use super::files::{File, Kind};
use crate::clock::Micros;
use serde_json::{Value, json};

/// The manifest. `folder` is the URL of the job, below which its files are.
#[must_use]
pub fn manifest(asked: &Asked, report: &Report, folder: &str) -> Value {
    let entry = |file: &File| {
        let url = format!("{folder}/{}", file.name);
        json!({ "type": file.type_name, "url": url, "count": file.count })
    };
    let of = |kind| report.files.iter().filter(|file| file.kind == kind).map(entry).collect::<Vec<_>>();
    json!({
        "transactionTime": Micros(asked.moment).to_instant(),
        "request": asked.request,
        "requiresAccessToken": true,
        "output": of(Kind::Output),
        "deleted": of(Kind::Deleted),
        "error": of(Kind::Error),
    })
}

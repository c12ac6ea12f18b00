//! What an import is asked for, how far it is and what it has come to. The work itself is [`crate::operation::import`]'s: it stores
//! resources as interactions do.
//!
//! The forms of the request and of the manifest are those of the draft of Bulk Data Import,
//! <https://github.com/smart-on-fhir/bulk-import/blob/master/import-manifest.md>.

use super::files::File;
use super::source::Seen;
use crate::auth::delegate::Delegation;
use crate::clock::Micros;
use crate::error::{Error, Result};
use crate::jobs::Job;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The kind of work.
pub const KIND: &str = "import";

/// What is asked for: the parameters of the job.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Asked {
    /// The URL of the request.
    pub request: String,
    /// What is to be read, in order.
    pub inputs: Vec<Input>,
    /// What a resource has to be.
    pub validation: Validation,
    /// By what it is found whether a resource is there.
    pub matching: Matching,
    /// What who asked may do; absent where that is everything.
    #[serde(default)]
    pub delegation: Option<Delegation>,
}

/// NDJSON that is to be read.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Input {
    /// The type of all resources in it, where it is named.
    #[serde(default)]
    pub type_name: Option<Box<str>>,
    /// Where it is.
    #[serde(default)]
    pub url: Option<String>,
    /// The file that has it, where it came with the request.
    #[serde(default)]
    pub file: Option<File>,
}

/// What a resource has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Validation {
    /// Of the structure of its type, as for an update.
    Structure,
    /// Of a type, with an id if any.
    None,
}

/// By what it is found whether a resource is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Matching {
    /// By its id: as an update, or as a create where it has none.
    Id,
    /// By its identifiers, where it has any: as a conditional update.
    Identifier,
}

/// Where the next part begins.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Position {
    /// Which input.
    pub input: usize,
    /// What its source said of it when it was read first.
    #[serde(default)]
    pub seen: Option<Seen>,
    /// The file that has it, once it is there.
    #[serde(default)]
    pub file: Option<File>,
    /// Where in the file the next line begins.
    #[serde(default)]
    pub at: u64,
    /// How many lines are done.
    #[serde(default)]
    pub line: u64,
    /// Whether the rest of a line that is too long comes first.
    #[serde(default)]
    pub is_skipping: bool,
    /// The file of errors that is not full yet.
    #[serde(default)]
    pub errors: Option<File>,
}

/// What a job has come to, input by input.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Report {
    /// For each input that was begun.
    pub inputs: Vec<Outcome>,
}

/// What an input has come to.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Outcome {
    /// Resources of which a new version was stored.
    pub stored: u64,
    /// Resources that were there already, just so.
    pub unchanged: u64,
    /// Lines that were refused; one for an input that could not be read.
    pub refused: u64,
    /// The files that say why.
    pub files: Vec<File>,
}

impl Report {
    /// Notes something of the n-th input.
    pub fn note(&mut self, nth: usize, change: impl FnOnce(&mut Outcome)) {
        if self.inputs.len() <= nth {
            self.inputs.resize_with(nth + 1, Outcome::default);
        }
        self.inputs.get_mut(nth).map(change);
    }

    /// All files of errors.
    pub fn files(&self) -> impl Iterator<Item = &File> {
        self.inputs.iter().flat_map(|input| &input.files)
    }
}

/// Reads what the work has written into its job's record: its default where it has written nothing.
///
/// # Errors
/// When it can't be read.
pub fn read<T: DeserializeOwned + Default>(kept: &Value) -> Result<T> {
    if kept.is_null() { Ok(T::default()) } else { serde_json::from_value(kept.clone()).map_err(Error::internal) }
}

/// What a job was asked for.
///
/// # Errors
/// When it can't be read.
pub fn asked(job: &Job) -> Result<Asked> {
    serde_json::from_value(job.parameters.clone()).map_err(Error::internal)
}

/// What a manifest tells of an input, or of a file of errors.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Told<'t> {
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    type_name: Option<&'t str>,
    count: u64,
    /// How many of them were there already.
    #[serde(skip_serializing_if = "Option::is_none")]
    unchanged: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    input_url: Option<&'t str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
}

/// The manifest. `folder` is the URL of the job, below which its files are.
#[must_use]
pub fn manifest(asked: &Asked, job: &Job, report: &Report, folder: &str) -> Value {
    let (mut output, mut error) = (Vec::new(), Vec::new());
    for (input, outcome) in asked.inputs.iter().zip(&report.inputs) {
        let count = outcome.stored + outcome.unchanged;
        output.push(Told {
            type_name: input.type_name.as_deref(),
            count,
            unchanged: Some(outcome.unchanged),
            input_url: input.url.as_deref(),
            url: None,
        });
        let of_errors = |file: &'_ File| Told {
            type_name: Some("OperationOutcome"),
            count: file.count,
            unchanged: None,
            input_url: input.url.as_deref(),
            url: Some(format!("{folder}/{}", file.name)),
        };
        error.extend(outcome.files.iter().map(of_errors));
    }
    json!({
        "transactionTime": Micros(job.created).to_instant(),
        "request": asked.request,
        "requiresAccessToken": true,
        "output": output,
        "error": error,
    })
}

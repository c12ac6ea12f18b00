//! Where resources go, and what comes back.

use super::Failure;
use crate::fhir::outcome::issues;
use crate::fhir::parse::parse;
use crate::fhir::tree::Value;
use std::fmt;

/// Why something was not written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) struct Reason {
    /// The status of the answer, or what went wrong without one.
    pub(in crate::cli) status: String,
    /// What the `OperationOutcome` says.
    pub(in crate::cli) text: String,
    /// Whether the target could not be reached at all.
    pub(in crate::cli) unreachable: bool,
}

/// What became of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Stored {
    /// There is a new version of its resource.
    New,
    /// Its resource was there just so, and the target says so.
    Unchanged,
}

/// For each entry of a Bundle, why it was not written; `None` for one that was.
pub(in crate::cli) type Outcomes = Vec<Option<Reason>>;

/// Takes transaction and batch Bundles, and lines with a resource each, from several threads at once.
pub(in crate::cli) trait Target: Send + Sync {
    /// Sends one Bundle and waits for the Bundle that answers it.
    ///
    /// # Errors
    /// Why the Bundle was refused as a whole: then nothing of it was written.
    fn answer(&self, bundle: &[u8]) -> Result<Vec<u8>, Reason>;

    /// The same, but answers what came of each entry.
    ///
    /// # Errors
    /// As [`Target::answer`].
    fn send(&self, bundle: &[u8]) -> Result<Outcomes, Reason> {
        outcomes(&self.answer(bundle)?)
    }

    /// Stores the resources of lines, each for itself; answers what became of each.
    fn lines(&self, lines: &[&[u8]]) -> Vec<Result<Stored, Reason>>;

    /// Finishes what is open.
    fn close(&self) -> Result<(), Failure>;
}

/// How deep an answer may be nested.
const DEPTH: usize = 64;

impl Reason {
    /// From an answer that is an error.
    pub(in crate::cli) fn of_answer(status: &str, body: &[u8]) -> Self {
        let outcome = parse(body, DEPTH).unwrap_or(Value::Null);
        Self { status: status.to_owned(), text: describe(&outcome), unreachable: false }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.text.is_empty() { f.write_str(&self.status) } else { write!(f, "{}: {}", self.status, self.text) }
    }
}

/// The outcomes in a `transaction-response` or `batch-response`.
fn outcomes(body: &[u8]) -> Result<Outcomes, Reason> {
    let broken = |text: &str| Reason { status: "200".to_owned(), text: text.to_owned(), unreachable: false };
    let answer = parse(body, DEPTH).map_err(|_| broken("the answer is not JSON"))?;
    let entries = answer.get("entry").ok_or_else(|| broken("the answer is no Bundle with entries"))?;
    Ok(entries.items().iter().map(entry_outcome).collect())
}

fn entry_outcome(entry: &Value<'_>) -> Option<Reason> {
    let response = entry.get("response");
    let status = response.and_then(|response| response.get("status")).and_then(Value::as_str).unwrap_or("no status");
    if status.starts_with('2') {
        return None;
    }
    let outcome = response.and_then(|response| response.get("outcome")).or_else(|| entry.get("resource"));
    let text = outcome.map(describe).unwrap_or_default();
    Some(Reason { status: status.to_owned(), text, unreachable: false })
}

/// What an `OperationOutcome` says about errors, in one line.
fn describe(outcome: &Value<'_>) -> String {
    let Some(outcome) = outcome.as_object() else { return String::new() };
    let said = issues(outcome).into_iter().filter(|issue| matches!(issue.severity, "error" | "fatal")).map(|issue| {
        let about = issue.expression.map(|expression| format!(" ({expression})")).unwrap_or_default();
        let text = if issue.diagnostics.is_empty() { issue.code } else { issue.diagnostics };
        format!("{text}{about}")
    });
    said.collect::<Vec<_>>().join("; ")
}

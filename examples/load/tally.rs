//! What was asked, how long it took, and what went wrong.

use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// The measurements of one client, or of all of them together.
#[derive(Debug, Default)]
pub struct Tally {
    operations: BTreeMap<&'static str, Operation>,
}

#[derive(Debug, Default)]
struct Operation {
    micros: Vec<u32>,
    errors: u64,
    first_error: Option<String>,
}

/// The measurements of one operation. Times are in milliseconds.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Row {
    pub operation: String,
    pub count: usize,
    pub rate_per_s: f64,
    pub p50_ms: f64,
    pub p95_ms: f64,
    pub p99_ms: f64,
    pub max_ms: f64,
    pub errors: u64,
    pub first_error: Option<String>,
}

impl Tally {
    /// Counts a success.
    pub fn add(&mut self, operation: &'static str, took: Duration) {
        self.operations.entry(operation).or_default().micros.push(u32::try_from(took.as_micros()).unwrap_or(u32::MAX));
    }

    /// Counts a failure; the first one's reason is kept.
    pub fn fail(&mut self, operation: &'static str, error: String) {
        let operation = self.operations.entry(operation).or_default();
        operation.errors += 1;
        operation.first_error.get_or_insert(error);
    }

    /// Adds another client's measurements.
    pub fn merge(&mut self, other: Self) {
        for (name, theirs) in other.operations {
            let mine = self.operations.entry(name).or_default();
            mine.micros.extend(theirs.micros);
            mine.errors += theirs.errors;
            mine.first_error = mine.first_error.take().or(theirs.first_error);
        }
    }

    /// All failures.
    pub fn errors(&self) -> u64 {
        self.operations.values().map(|operation| operation.errors).sum()
    }

    /// The reason of the first failure.
    pub fn first_error(&self) -> Option<&str> {
        self.operations.values().find_map(|operation| operation.first_error.as_deref())
    }

    /// All successes.
    pub fn count(&self) -> usize {
        self.operations.values().map(|operation| operation.micros.len()).sum()
    }

    /// A row for each operation, and one for all where there are several.
    pub fn rows(mut self, elapsed: Duration) -> Vec<Row> {
        let mut rows: Vec<Row> =
            self.operations.iter_mut().map(|(name, operation)| operation.row(name, elapsed)).collect();
        if rows.len() > 1 {
            let mut all = Operation::default();
            for operation in self.operations.into_values() {
                all.micros.extend(operation.micros);
                all.errors += operation.errors;
            }
            rows.push(all.row("all", elapsed));
        }
        rows
    }
}

impl Operation {
    fn row(&mut self, name: &str, elapsed: Duration) -> Row {
        self.micros.sort_unstable();
        let at = |per_mille: usize| {
            let position = (self.micros.len() * per_mille / 1000).min(self.micros.len().saturating_sub(1));
            self.micros.get(position).map_or(0.0, |micros| f64::from(*micros) / 1000.0)
        };
        Row {
            operation: name.to_owned(),
            count: self.micros.len(),
            rate_per_s: per_second(self.micros.len(), elapsed),
            p50_ms: at(500),
            p95_ms: at(950),
            p99_ms: at(990),
            max_ms: at(1000),
            errors: self.errors,
            first_error: self.first_error.clone(),
        }
    }
}

/// How many a second.
pub fn per_second(count: usize, elapsed: Duration) -> f64 {
    #[allow(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    let count = count as f64;
    count / elapsed.as_secs_f64().max(1e-9)
}

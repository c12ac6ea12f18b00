//! The table of the workload `search`.

use serde::Serialize;

/// One kind of query. Times are in milliseconds.
#[derive(Debug, Clone, Serialize)]
pub struct KindRow {
    pub kind: &'static str,
    /// Different queries.
    pub queries: usize,
    /// Resources in an answer, in the mean.
    pub entries: f64,
    pub count: usize,
    pub rate_per_s: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    /// The server's processor time for one answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub processor_ms: Option<f64>,
    /// How many times slower than the median kind: by processor time, where it is known.
    pub times_median: f64,
    /// The rate by that of 20 reads by key from the store.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub of_limit: Option<f64>,
    /// The processor time of 20 reads by key from the store by that of an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub of_limit_processor: Option<f64>,
    /// Whether the limit of twenty times the median is for this kind, too.
    pub is_excepted: bool,
    /// Queries of which all matches were compared with the samples.
    pub compared: usize,
    pub errors: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_error: Option<String>,
    /// The slowest query, without its values, its time in the mean, and how the server finds the answer.
    pub slowest: String,
    pub slowest_ms: f64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub explained: Vec<String>,
}

impl KindRow {
    /// The time that an answer takes, in milliseconds: the server's processor time where it is known, else the mean time of
    /// a core that answers nothing else.
    pub fn cost_ms(&self) -> f64 {
        self.processor_ms.unwrap_or(1000.0 / self.rate_per_s.max(f64::MIN_POSITIVE))
    }
}

/// Prints them for a person, in Markdown.
pub fn print(rows: &[KindRow]) {
    println!(
        "| kind | queries | entries | per s | p50 ms | p99 ms | processor ms | times the median | of 20 reads: rate | processor | compared | errors |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|");
    let number = |number: Option<f64>| number.map_or_else(String::new, |number| format!("{number:.2}"));
    for row in rows {
        println!(
            "| {} | {} | {:.1} | {:.0} | {:.2} | {:.2} | {} | {:.2}{} | {} | {} | {} | {} |",
            row.kind,
            row.queries,
            row.entries,
            row.rate_per_s,
            row.p50_ms,
            row.p99_ms,
            number(row.processor_ms),
            row.times_median,
            if row.is_excepted { " *" } else { "" },
            number(row.of_limit),
            number(row.of_limit_processor),
            row.compared,
            row.errors
        );
    }
    println!("\n* may be slower than 20 times the median kind");
    for row in rows {
        if let Some(error) = &row.first_error {
            println!("\n{}: the first error: {error}", row.kind);
        }
    }
    println!("\nThe slowest queries:\n");
    for row in rows.iter().filter(|row| !row.explained.is_empty()) {
        println!("- {}, {:.1} ms: {}", row.kind, row.slowest_ms, row.slowest);
        for note in &row.explained {
            println!("  - {note}");
        }
    }
}

//! The tables, and the same as JSON.

use crate::limits::Comparison;
use crate::search::{self, KindRow};
use crate::tally::Row;
use serde::Serialize;

/// All that one run found.
#[derive(Debug, Serialize)]
pub struct Report {
    pub workload: String,
    pub cores: usize,
    pub clients: usize,
    pub elapsed_s: f64,
    /// Resources written by an import, and the rate at which.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources_per_s: Option<f64>,
    /// Resources a second in each tenth of an import.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tenths: Vec<f64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub operations: Vec<Row>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kinds: Vec<KindRow>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ratios: Vec<Comparison>,
}

impl Report {
    /// How many answers were wrong or missing.
    pub fn errors(&self) -> u64 {
        let of_kinds: u64 = self.kinds.iter().map(|row| row.errors).sum();
        of_kinds + self.operations.iter().filter(|row| row.operation != "all").map(|row| row.errors).sum::<u64>()
    }

    /// The tables for a person, in Markdown.
    pub fn print(&self) {
        println!("{}: {} clients, {} cores, {:.1} s\n", self.workload, self.clients, self.cores, self.elapsed_s);
        match (self.resources, self.resources_per_s) {
            (Some(resources), Some(rate)) => println!("{resources} resources, {rate:.0} a second"),
            (Some(resources), None) => println!("{resources} resources\n"),
            _ => {}
        }
        if let (Some(first), Some(last)) = (self.tenths.first(), self.tenths.last()) {
            let tenths: Vec<String> = self.tenths.iter().map(|rate| format!("{rate:.0}")).collect();
            println!("in each tenth: {}; first by last {:.2}\n", tenths.join(" "), first / last);
        }
        if !self.operations.is_empty() {
            println!("| operation | count | per s | p50 ms | p95 ms | p99 ms | max ms | errors |");
            println!("|---|---:|---:|---:|---:|---:|---:|---:|");
        }
        for row in &self.operations {
            println!(
                "| {} | {} | {:.0} | {:.2} | {:.2} | {:.2} | {:.2} | {} |",
                row.operation, row.count, row.rate_per_s, row.p50_ms, row.p95_ms, row.p99_ms, row.max_ms, row.errors
            );
        }
        for row in &self.operations {
            if let Some(error) = &row.first_error {
                println!("\n{}: the first error: {error}", row.operation);
            }
        }
        if !self.kinds.is_empty() {
            search::print(&self.kinds);
            println!();
        }
        if !self.ratios.is_empty() {
            println!("| work | measured | limit beside it | ratio | wanted |");
            println!("|---|---|---|---:|---|");
        }
        for row in &self.ratios {
            println!("| {} | {} | {} | {:.2} | {} |", row.work, row.measured, row.limit, row.ratio, row.wanted);
        }
    }
}

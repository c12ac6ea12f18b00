//! What the metrics count of each request.

use metrics::{Counter, Histogram};
use rustc_hash::FxHashMap;
use std::cell::RefCell;
use std::time::Duration;

/// By interaction and status.
type Series = FxHashMap<(&'static str, u16), (Counter, Histogram)>;

thread_local! {
    /// The series of each interaction and status, looked up in the recorder once: it would copy the labels each time.
    static SERIES: RefCell<Series> = RefCell::default();
}

/// Counts a request and the time it took.
pub fn record(interaction: &'static str, status: u16, took: Duration) {
    SERIES.with_borrow_mut(|series| {
        let (count, seconds) = series.entry((interaction, status)).or_insert_with(|| {
            let status = status.to_string();
            (
                metrics::counter!("pharos_requests_total", "interaction" => interaction, "status" => status),
                metrics::histogram!("pharos_request_seconds", "interaction" => interaction),
            )
        });
        count.increment(1);
        seconds.record(took);
    });
}

//! What the metrics count of each request.

use crate::tenant::{Tenant, TenantId};
use metrics::{Counter, Histogram};
use rustc_hash::FxHashMap;
use std::cell::RefCell;
use std::time::Duration;

/// By tenant, interaction and status. No tenant is one that is not there, or not served.
type Series = FxHashMap<(Option<TenantId>, &'static str, u16), (Counter, Histogram)>;

thread_local! {
    /// The series of each tenant, interaction and status, looked up in the recorder once: it would copy the labels each time. There
    /// are as many tenants as `limits.tenants` allows, and as many names as somebody gave them: none comes from a request.
    static SERIES: RefCell<Series> = RefCell::default();
}

/// Counts a request and the time it took.
pub fn record(tenant: Option<&Tenant>, interaction: &'static str, status: u16, took: Duration) {
    SERIES.with_borrow_mut(|series| {
        let (count, seconds) = series.entry((tenant.map(Tenant::id), interaction, status)).or_insert_with(|| {
            let (status, name) = (status.to_string(), tenant.map_or("", |tenant| tenant.name.as_str()).to_owned());
            (
                metrics::counter!(
                    "pharos_requests_total", "tenant" => name, "interaction" => interaction, "status" => status
                ),
                metrics::histogram!("pharos_request_seconds", "interaction" => interaction),
            )
        });
        count.increment(1);
        seconds.record(took);
    });
}

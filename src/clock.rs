//! Time and ids as arguments, so that tests can state exact bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Microseconds since 1970 in UTC: the precision of `meta.lastUpdated`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Micros(pub i64);

impl Micros {
    /// As a FHIR `instant` in UTC with six decimals: always 27 bytes between the years 0 and 9999.
    #[must_use]
    pub fn to_instant(self) -> String {
        jiff::Timestamp::from_microsecond(self.0)
            .map_or_else(|_| String::from("9999-12-31T23:59:59.999999Z"), |time| format!("{time:.6}"))
    }

    /// As an HTTP date (`Last-Modified`), which has seconds only.
    #[must_use]
    pub fn to_http_date(self) -> String {
        jiff::Timestamp::from_microsecond(self.0)
            .map(|time| time.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string())
            .unwrap_or_default()
    }
}

/// Where the server gets its time and its ids from.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Micros;
    /// A new id: of the form of `id` in FHIR, unique, and impossible to guess.
    fn new_id(&self) -> String;
}

/// The clock of the machine and random UUIDs.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Micros {
        Micros(jiff::Timestamp::now().as_microsecond())
    }

    fn new_id(&self) -> String {
        uuid::Uuid::new_v4().hyphenated().to_string()
    }
}

/// A clock that starts at a given time and moves a millisecond at each look; ids count up.
#[derive(Debug, Default)]
pub struct FixedClock {
    start: i64,
    looks: AtomicU64,
    ids: AtomicU64,
}

impl FixedClock {
    /// A clock that starts at `start`.
    #[must_use]
    pub fn at(start: Micros) -> Arc<Self> {
        Arc::new(Self { start: start.0, ..Self::default() })
    }
}

impl Clock for FixedClock {
    fn now(&self) -> Micros {
        let look = self.looks.fetch_add(1, Ordering::Relaxed);
        Micros(self.start.saturating_add_unsigned(look * 1000))
    }

    fn new_id(&self) -> String {
        format!("id-{}", self.ids.fetch_add(1, Ordering::Relaxed) + 1)
    }
}

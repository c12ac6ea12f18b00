//! How often somebody may do something: the generic cell rate algorithm, one number for each one who asks.
//!
//! Who was quiet may do ten seconds' worth at once; after that the rate counts. Those that are not among the last remembered ones
//! begin anew.

use quick_cache::sync::Cache;
use std::hash::{BuildHasher, Hash, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// So many are remembered at a time.
const REMEMBERED: usize = 10_000;

/// What may be done at once by who was quiet for so long.
const WINDOW: Duration = Duration::from_secs(10);

/// What somebody is known by who is known by nothing but an address: of IPv6 the network of 64 bits, which is what one customer has
/// at least.
#[must_use]
pub fn customer(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        IpAddr::V4(address) => IpAddr::V4(address),
    }
}

/// Rates that are kept by a key, such as a client's id.
pub struct Rates {
    /// When each would be quiet again, in nanoseconds since `started`.
    quiet_at: Cache<u64, Arc<AtomicU64>>,
    hasher: RandomState,
    started: Instant,
    /// The time that one takes up; 0 where all is allowed.
    interval: u64,
    /// How far ahead of now somebody may be.
    ahead: u64,
}

impl Rates {
    /// So many in a second, on average; no limit when 0.
    #[must_use]
    pub fn per_second(most: u32) -> Self {
        Self::new(Duration::from_secs(1).checked_div(most).unwrap_or_default(), WINDOW)
    }

    /// One in each interval, and as many at once as intervals go into the window; no limit when the interval is 0.
    #[must_use]
    pub fn new(interval: Duration, window: Duration) -> Self {
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        Self {
            quiet_at: Cache::new(REMEMBERED),
            hasher: RandomState::new(),
            started: Instant::now(),
            interval: nanos(interval),
            ahead: nanos(window.max(interval)),
        }
    }

    /// Counts one, now.
    ///
    /// # Errors
    /// The seconds to wait, 1 at least, where it is too early: that one is not counted.
    pub fn count(&self, key: impl Hash) -> Result<(), u32> {
        self.count_at(key, self.now())
    }

    /// The same for one who may do so many in a second, whatever the others may.
    ///
    /// # Errors
    /// As [`Self::count`].
    pub fn count_at_most(&self, key: impl Hash, per_second: u32) -> Result<(), u32> {
        let interval = 1_000_000_000_u64.checked_div(per_second.into()).unwrap_or_default();
        self.count_every(interval, key, self.now())
    }

    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn count_at(&self, key: impl Hash, now: u64) -> Result<(), u32> {
        self.count_every(self.interval, key, now)
    }

    fn count_every(&self, interval: u64, key: impl Hash, now: u64) -> Result<(), u32> {
        if interval == 0 {
            return Ok(());
        }
        let ahead = self.ahead.max(interval);
        let key = self.hasher.hash_one(key);
        let cell = self.quiet_at.get(&key).unwrap_or_else(|| {
            let new = Arc::new(AtomicU64::new(0));
            self.quiet_at.insert(key, Arc::clone(&new));
            new
        });
        let counted = cell.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |quiet_at| {
            let next = quiet_at.max(now).saturating_add(interval);
            (next - now <= ahead).then_some(next)
        });
        counted.map(drop).map_err(|quiet_at| {
            let left = quiet_at.saturating_add(interval).saturating_sub(now.saturating_add(ahead));
            u32::try_from(left.div_ceil(1_000_000_000)).unwrap_or(u32::MAX).max(1)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn who_was_quiet_has_ten_seconds_worth_and_then_the_rate() {
        let rates = Rates::per_second(2);
        let at = |key, now| (0..100).take_while(|_| rates.count_at(key, now).is_ok()).count();
        assert_eq!((at("a", 5 * SECOND), at("b", 5 * SECOND)), (20, 20));
        assert_eq!(rates.count_at("a", 5 * SECOND), Err(1));
        assert_eq!((at("a", 8 * SECOND), at("a", 8 * SECOND + SECOND / 2)), (6, 1));
        assert_eq!(at("a", 1_000 * SECOND), 20);
    }

    #[test]
    fn the_wait_is_told_in_whole_seconds() {
        let rates = Rates::new(Duration::from_mins(1), Duration::from_mins(2));
        assert_eq!((rates.count_at(1, SECOND), rates.count_at(1, SECOND)), (Ok(()), Ok(())));
        assert_eq!((rates.count_at(1, SECOND), rates.count_at(1, 31 * SECOND)), (Err(60), Err(30)));
        assert_eq!((rates.count_at(1, 61 * SECOND), rates.count_at(1, 61 * SECOND)), (Ok(()), Err(60)));
    }

    #[test]
    fn without_a_rate_there_is_no_limit_and_with_one_no_more_than_so_many_are_remembered() {
        let none = Rates::per_second(0);
        assert!((0..100_000).all(|_| none.count_at("a", 0).is_ok()));
        let rates = Rates::per_second(1);
        for key in 0..5 * REMEMBERED {
            let _counted = rates.count_at(key, 0);
        }
        assert!(rates.quiet_at.len() <= REMEMBERED);
    }
}

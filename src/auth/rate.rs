//! How often somebody may do something: the generic cell rate algorithm, one number for each one who asks.
//!
//! Who was quiet may do ten seconds' worth at once; after that the rate counts. Those that are not among the last remembered ones
//! begin anew.
//!
//! Where several processes share a store, each tells the others once in a while what was counted by it ([`Rates::taken`]), and adds what
//! the others have counted ([`Rates::add`]). So a rate holds for all of them together, but for what is done between two such times.

use aws_lc_rs::hmac;
use quick_cache::sync::Cache;
use siphasher::sip::SipHasher13;
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

/// Use that is not worth telling: it is told with what comes later.
const LITTLE: Duration = Duration::from_millis(20);

/// Rates that are kept by a key, such as a client's id.
pub struct Rates {
    /// By the hash of the key.
    cells: Cache<u64, Arc<Cell>>,
    naming: Naming,
    limit: u8,
    started: Instant,
    /// The time that one takes up; 0 where all is allowed.
    interval: u64,
    /// How far ahead of now somebody may be.
    ahead: u64,
}

/// What somebody has used up of what may be done, for the other processes on the same store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Used {
    /// Of which limit.
    pub limit: u8,
    /// A keyed hash that stands for who and what.
    pub name: u64,
    /// The time that it took up, in nanoseconds.
    pub nanos: u64,
}

/// What is remembered of one.
#[derive(Default)]
struct Cell {
    /// When it would be quiet again, in nanoseconds since `started`.
    quiet_at: AtomicU64,
    /// The time taken up that was not told to other processes yet.
    untold: AtomicU64,
}

/// A keyed hash: who does not know the key can't find two keys with the same.
#[derive(Clone, Copy)]
struct Naming(u64, u64);

impl BuildHasher for Naming {
    type Hasher = SipHasher13;

    fn build_hasher(&self) -> SipHasher13 {
        SipHasher13::new_with_keys(self.0, self.1)
    }
}

impl Naming {
    fn random() -> Self {
        let random = RandomState::new();
        Self(random.hash_one(0), random.hash_one(1))
    }

    /// The same in all processes that have the secret, another one for each limit.
    fn of(secret: &[u8; 32], limit: u8) -> Self {
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), &[limit]);
        let number =
            |at: usize| tag.as_ref().iter().skip(at).take(8).fold(0, |sum, byte| (sum << 8) | u64::from(*byte));
        Self(number(0), number(8))
    }
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
            cells: Cache::new(REMEMBERED),
            naming: Naming::random(),
            limit: 0,
            started: Instant::now(),
            interval: nanos(interval),
            ahead: nanos(window.max(interval)),
        }
    }

    /// The rates of the limit of this number, which are the same in all processes that have the secret.
    #[must_use]
    pub fn among(self, secret: &[u8; 32], limit: u8) -> Self {
        Self { naming: Naming::of(secret, limit), limit, ..self }
    }

    /// What was counted here since the last time. A few whose use is small come later.
    #[must_use]
    pub fn taken(&self) -> Vec<Used> {
        let is_little = |nanos: &u64| u128::from(*nanos) < LITTLE.as_nanos();
        let worth = self.cells.iter().filter(|(_, cell)| !is_little(&cell.untold.load(Ordering::Relaxed)));
        worth
            .map(|(name, cell)| Used { limit: self.limit, name, nanos: cell.untold.swap(0, Ordering::Relaxed) })
            .collect()
    }

    /// Adds what others have counted, as far as it is of this limit.
    pub fn add(&self, used: &[Used]) {
        let now = self.now();
        for Used { name, nanos, .. } in used.iter().filter(|used| used.limit == self.limit) {
            let cell = self.cell(*name);
            // One process gives away no more than this in the time of one report.
            let nanos = (*nanos).min(self.ahead.saturating_mul(2));
            let add = |quiet_at: u64| Some(quiet_at.max(now).saturating_add(nanos));
            // The closure never refuses.
            let _added = cell.quiet_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
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
        let cell = self.cell(self.naming.hash_one(key));
        let counted = cell.quiet_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |quiet_at| {
            let next = quiet_at.max(now).saturating_add(interval);
            (next - now <= ahead).then_some(next)
        });
        if counted.is_ok() {
            cell.untold.fetch_add(interval, Ordering::Relaxed);
        }
        counted.map(drop).map_err(|quiet_at| {
            let left = quiet_at.saturating_add(interval).saturating_sub(now.saturating_add(ahead));
            u32::try_from(left.div_ceil(1_000_000_000)).unwrap_or(u32::MAX).max(1)
        })
    }

    fn cell(&self, name: u64) -> Arc<Cell> {
        self.cells.get(&name).unwrap_or_else(|| {
            let new = Arc::<Cell>::default();
            self.cells.insert(name, Arc::clone(&new));
            new
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
    fn what_one_process_counts_another_one_adds() {
        let rates = |limit| Rates::per_second(2).among(&[7; 32], limit);
        let (here, there, others) = (rates(0), rates(0), rates(1));
        let at = |rates: &Rates, key| (0..100).take_while(|_| rates.count(key).is_ok()).count();
        assert_eq!((at(&here, "a"), at(&here, "b")), (20, 20));
        let used = here.taken();
        assert_eq!(used.iter().map(|used| used.nanos).collect::<Vec<_>>(), [10 * SECOND; 2]);
        assert_eq!(here.taken(), [], "each is told once");
        (0..2).for_each(|_| there.add(&used));
        others.add(&used);
        assert_eq!((at(&there, "a"), at(&there, "c"), at(&others, "a")), (0, 20, 20));
        assert!(there.count("a").unwrap_err() >= 10, "it pays for both times");
    }

    #[test]
    fn little_use_is_told_when_it_has_become_more() {
        let rates = Rates::per_second(100).among(&[7; 32], 0);
        rates.count("a").unwrap();
        assert_eq!(rates.taken(), []);
        rates.count("a").unwrap();
        assert_eq!(rates.taken().iter().map(|used| used.nanos).collect::<Vec<_>>(), [SECOND / 50]);
    }

    #[test]
    fn without_a_rate_there_is_no_limit_and_with_one_no_more_than_so_many_are_remembered() {
        let none = Rates::per_second(0);
        assert!((0..100_000).all(|_| none.count_at("a", 0).is_ok()));
        let rates = Rates::per_second(1);
        for key in 0..5 * REMEMBERED {
            let _counted = rates.count_at(key, 0);
        }
        assert!(rates.cells.len() <= REMEMBERED);
    }
}

//! How much one search may read, and how long it may take.

use crate::error::{Category, Error, Result};
use std::cell::Cell;
use std::time::{Duration, Instant};

/// The clock is looked at once in so many steps.
const STEPS_PER_LOOK: u64 = 256;

/// What is left to one search. A step is one run of postings (those of one key that stand together), one posting of a range, or
/// one key list read.
#[derive(Debug)]
pub struct Budget {
    steps: u64,
    taken: Cell<u64>,
    until: Instant,
}

impl Budget {
    /// So many steps, in so much time from now on.
    #[must_use]
    pub fn new(steps: u64, time: Duration) -> Self {
        Self { steps, taken: Cell::new(0), until: Instant::now() + time }
    }

    /// How many steps were taken.
    #[must_use]
    pub const fn taken(&self) -> u64 {
        self.taken.get()
    }

    /// Takes a step.
    ///
    /// # Errors
    /// [`Category::Timeout`] when there is none left, or the time is over.
    pub fn step(&self) -> Result<()> {
        let taken = self.taken.get() + 1;
        self.taken.set(taken);
        if taken > self.steps || (taken.is_multiple_of(STEPS_PER_LOOK) && Instant::now() > self.until) {
            let text = "The search takes too long (limits.search_steps, limits.search_timeout_ms). Add criteria that fewer resources meet.";
            return Err(Error::new(Category::Timeout, "too-costly", text));
        }
        Ok(())
    }
}

impl Default for Budget {
    /// Fifty million steps in thirty seconds.
    fn default() -> Self {
        Self::new(50_000_000, Duration::from_secs(30))
    }
}

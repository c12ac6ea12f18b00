//! How much one search may read, how long it may take, and whether anybody still wants it.

use crate::error::{Category, Error, Result};
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// The clock is looked at once in so many steps.
const STEPS_PER_LOOK: u64 = 256;

/// Whether what is done is still wanted. It is shared by who does it and who may give it up.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    is_given_up: Arc<AtomicBool>,
}

impl Wanted {
    /// Nobody waits for it any more.
    pub fn give_up(&self) {
        self.is_given_up.store(true, Ordering::Relaxed);
    }

    /// Whether to go on.
    ///
    /// # Errors
    /// [`Category::Gone`] where it was given up.
    pub fn check(&self) -> Result<()> {
        if self.is_given_up.load(Ordering::Relaxed) {
            return Err(Error::new(Category::Gone, "incomplete", "The request was cancelled."));
        }
        Ok(())
    }
}

/// What is left to one search. A step is one run of postings (those of one key that stand together), one posting of a range, or
/// one key list read.
#[derive(Debug)]
pub struct Budget {
    steps: u64,
    taken: Cell<u64>,
    until: Instant,
    wanted: Wanted,
}

impl Budget {
    /// So many steps, in so much time from now on.
    #[must_use]
    pub fn new(steps: u64, time: Duration) -> Self {
        Self { steps, taken: Cell::new(0), until: Instant::now() + time, wanted: Wanted::default() }
    }

    /// The same, as long as it is wanted.
    #[must_use]
    pub fn wanted(self, wanted: &Wanted) -> Self {
        Self { wanted: wanted.clone(), ..self }
    }

    /// How many steps were taken.
    #[must_use]
    pub const fn taken(&self) -> u64 {
        self.taken.get()
    }

    /// Takes a step.
    ///
    /// # Errors
    /// [`Category::Timeout`] when there is none left, or the time is over; [`Category::Gone`] when it is not wanted any more.
    pub fn step(&self) -> Result<()> {
        let taken = self.taken.get() + 1;
        self.taken.set(taken);
        let looks = taken.is_multiple_of(STEPS_PER_LOOK);
        if looks {
            self.wanted.check()?;
        }
        if taken > self.steps || (looks && Instant::now() > self.until) {
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

//! Whether the database answers. Every process looks four times a second at what others have changed ([`super::epochs`]); how long such a
//! look has gone without an answer is what [`crate::store::Backend::health`] tells, so that asking for it asks the database nothing.

use crate::store::StoreError;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A database that has answered no look for so long does not answer.
const SILENT_AFTER: Duration = Duration::from_secs(3);

/// Since when the database is asked without an answer.
#[derive(Default)]
pub(super) struct Pulse {
    since: Mutex<Option<Instant>>,
}

impl Pulse {
    /// The database is asked. It stays as it was where an earlier look had no answer.
    pub(super) fn asks(&self, now: Instant) {
        self.since.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(now);
    }

    /// It has answered.
    pub(super) fn answers(&self) {
        *self.since.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// What is wrong, if it does not answer.
    pub(super) fn silence(&self, now: Instant) -> Option<StoreError> {
        let since = (*self.since.lock().unwrap_or_else(PoisonError::into_inner))?;
        let silent = now.saturating_duration_since(since);
        let text = || format!("it has not answered for {} s", silent.as_secs());
        (silent > SILENT_AFTER).then(|| StoreError::Unreachable(text()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_counted_from_the_first_look_without_an_answer() {
        let (pulse, start) = (Pulse::default(), Instant::now());
        let after = |ms| start + Duration::from_millis(ms);
        assert!(pulse.silence(after(60_000)).is_none(), "nobody has asked");
        pulse.asks(start);
        assert!(pulse.silence(after(3000)).is_none(), "it has a while");
        pulse.asks(after(2000));
        let said = pulse.silence(after(3001)).unwrap();
        assert_eq!(said.to_string(), "the database does not answer: it has not answered for 3 s");
        pulse.answers();
        assert!(pulse.silence(after(60_000)).is_none());
        pulse.asks(after(60_000));
        assert!(pulse.silence(after(60_500)).is_none(), "an answer makes it begin anew");
    }
}

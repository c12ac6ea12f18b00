//! A service that does not answer is left alone for a while: who waits for its time limit each time, holds up all that comes after.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What fails quicker than this holds up nobody.
const SLOW: Duration = Duration::from_secs(1);
/// The first pause; each is twice as long as the one before, up to the longest.
const FIRST: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_mins(1);

#[derive(Default)]
struct State {
    length: Duration,
    /// When it last failed to answer.
    failed: Option<Instant>,
    until: Option<Instant>,
}

/// Whether a service is asked now.
#[derive(Default)]
pub struct Pause(Mutex<State>);

/// How a service may be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// As often as usual.
    Usual,
    /// Once, to see whether it answers again.
    Once,
    /// Not at all.
    None,
}

impl Pause {
    /// How it may be asked now. After a pause one asks, and the others wait for what comes of it.
    pub fn turn(&self, now: Instant) -> Turn {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match state.until {
            None => Turn::Usual,
            Some(until) if now < until => Turn::None,
            Some(_) => {
                state.until = Some(now + state.length);
                Turn::Once
            }
        }
    }

    /// It has answered, whatever it said.
    pub fn has_answered(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = State::default();
    }

    /// It has not answered to somebody who asked at `began`.
    pub fn has_failed(&self, began: Instant, now: Instant) {
        if now.saturating_duration_since(began) < SLOW {
            return;
        }
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Of many who asked at once, the first counts.
        if state.failed.is_none_or(|failed| began >= failed) {
            state.length = (2 * state.length).clamp(FIRST, LONGEST);
        }
        state.failed = Some(now);
        state.until = Some(now + state.length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_does_not_answer_is_asked_less_and_less() {
        let (pause, start) = (Pause::default(), Instant::now());
        let at = |s: u64| start + Duration::from_secs(s);
        pause.has_failed(start, start + Duration::from_millis(900));
        assert_eq!(pause.turn(at(1)), Turn::Usual, "what fails quickly holds up nobody");
        pause.has_failed(at(0), at(10));
        pause.has_failed(at(1), at(10));
        assert_eq!((pause.turn(at(14)), pause.turn(at(15)), pause.turn(at(15))), (Turn::None, Turn::Once, Turn::None));
        let mut now = 15;
        for pauses in [10, 20, 40, 60, 60] {
            pause.has_failed(at(now), at(now + 3));
            now += 3 + pauses;
            assert_eq!((pause.turn(at(now - 1)), pause.turn(at(now))), (Turn::None, Turn::Once), "{pauses}");
        }
        pause.has_answered();
        assert_eq!(pause.turn(at(now)), Turn::Usual);
        pause.has_failed(at(now), at(now + 3));
        assert_eq!(pause.turn(at(now + 8)), Turn::Once, "it begins anew");
    }
}

//! How long a scrape waits for the first byte of its answer before it is late.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Scrapes that are remembered of each exporter.
const REMEMBERED: usize = 64;
/// With fewer than this it is not known what is usual.
const ENOUGH: usize = 20;
/// What holds until it is.
const AT_FIRST: Duration = Duration::from_secs(2);
/// Nothing is late before this: what varies by less than a round trip through Tor is no sign.
const LEAST: Duration = Duration::from_millis(250);

/// When an exporter's last scrapes had the first byte of their answers.
#[derive(Default)]
pub(super) struct Patience(Mutex<VecDeque<Duration>>);

impl Patience {
    /// Notes when a scrape had it, counted from when the session was there.
    pub(super) fn answered(&self, after: Duration) {
        let mut remembered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if remembered.len() == REMEMBERED {
            remembered.pop_front();
        }
        remembered.push_back(after);
    }

    /// The time by which 95 % of the last scrapes had it; 2 s while they are few, and never below 250 ms.
    pub(super) fn ends(&self) -> Duration {
        let mut sorted: Vec<_> =
            self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect();
        if sorted.len() < ENOUGH {
            return AT_FIRST;
        }
        sorted.sort_unstable();
        sorted[(sorted.len() * 95).div_ceil(100) - 1].max(LEAST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_ends_when_95_of_100_have_their_answer() {
        let patience = Patience::default();
        let ms = Duration::from_millis;
        for _ in 1..ENOUGH {
            patience.answered(ms(900));
            assert_eq!(patience.ends(), AT_FIRST);
        }
        patience.answered(ms(5000));
        assert_eq!(patience.ends(), ms(900), "one of 20 may be slower");
        patience.answered(ms(5000));
        assert_eq!(patience.ends(), ms(5000), "two of 21 may not");
        for _ in 0..REMEMBERED {
            patience.answered(ms(3));
        }
        assert_eq!(patience.ends(), LEAST, "the others are forgotten");
    }
}

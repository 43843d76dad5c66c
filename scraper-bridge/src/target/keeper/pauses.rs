//! How long to wait before a target is dialled again.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use tokio::time::Instant;

/// First pause after a failed dial; each further one may be twice as long.
pub(super) const FIRST: Duration = Duration::from_secs(1);
/// Longest pause for a while: whoever comes back is not to wait much longer for the bridge than it takes
/// to be found.
const LONGEST_EARLY: Duration = Duration::from_secs(10);
/// How long that while is.
const EARLY: Duration = Duration::from_secs(20 * 60);
/// Longest pause ever.
const LONGEST: Duration = Duration::from_secs(60);

/// Pauses between dials of a target that may come back at any moment.
pub(super) struct Pauses {
    since: Instant,
    early: ExponentialBackoff,
    late: ExponentialBackoff,
}

impl Pauses {
    /// For a target that cannot be reached from now on.
    pub(super) fn begin() -> Self {
        Self { since: Instant::now(), early: growing_to(LONGEST_EARLY), late: growing_to(LONGEST) }
    }

    /// The next one.
    pub(super) fn next(&mut self) -> Duration {
        let pauses = if self.since.elapsed() < EARLY { &mut self.early } else { &mut self.late };
        pauses.next().unwrap_or(LONGEST)
    }
}

/// The pause after a refusal that only a person can mend: near the longest one from the start.
pub(super) fn after_refusal() -> Duration {
    let pauses = ExponentialBuilder::new().with_min_delay(LONGEST / 2).with_jitter();
    pauses.build().next().unwrap_or(LONGEST)
}

fn growing_to(longest: Duration) -> ExponentialBackoff {
    ExponentialBuilder::new()
        .with_min_delay(FIRST)
        // Jitter adds up to as much again.
        .with_max_delay(longest / 2)
        .with_jitter()
        .without_max_times()
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn they_grow_to_ten_seconds_then_to_a_minute_and_stay_apart() {
        let mut targets: Vec<_> = (0..20).map(|_| Pauses::begin()).collect();
        let mut round = || targets.iter_mut().map(Pauses::next).collect::<Vec<_>>();
        assert!(round().iter().all(|pause| *pause < 2 * FIRST));
        for _ in 0..12 {
            round();
        }
        let within = |longest: Duration, pauses: &[Duration]| {
            assert!(pauses.iter().all(|pause| (longest / 2..=longest).contains(pause)), "{pauses:?}");
            // Targets that were lost together do not stay in step.
            assert!(pauses.iter().any(|pause| *pause != pauses[0]), "{pauses:?}");
        };
        within(LONGEST_EARLY, &round());
        tokio::time::advance(EARLY).await;
        for _ in 0..12 {
            round();
        }
        within(LONGEST, &round());
        let refused: Vec<_> = (0..20).map(|_| after_refusal()).collect();
        within(LONGEST, &refused);
    }
}

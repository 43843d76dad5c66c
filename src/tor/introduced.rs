//! Whether clients can be introduced to the onion services of this program, by what arti says.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tor_hsservice::status::State;

/// That an onion service has no introduction point that works, though it is launched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unintroduced {
    /// For how long.
    pub time: Duration,
    /// True if it had one since it was launched.
    pub had_one: bool,
}

/// The services that have no introduction point at this moment; clones are the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Introduced(Arc<Mutex<HashMap<String, Since>>>);

#[derive(Clone, Copy, Debug)]
struct Since {
    at: Instant,
    had_one: bool,
}

impl Introduced {
    /// What is to be known of the service of this name, which was just launched.
    pub(super) fn service(&self, name: &str) -> Service {
        Service { all: self.clone(), name: name.to_owned(), had_one: false }
    }

    /// Whoever waits longest for one.
    pub(super) fn longest_without(&self) -> Option<Unintroduced> {
        let now = Instant::now();
        let waiting = self.locked().values().copied().min_by_key(|since| since.at)?;
        Some(Unintroduced { time: now - waiting.at, had_one: waiting.had_one })
    }

    fn locked(&self) -> MutexGuard<'_, HashMap<String, Since>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is known of one service; forgotten when this is dropped.
pub(super) struct Service {
    all: Introduced,
    name: String,
    had_one: bool,
}

impl Service {
    /// Arti says this of it. It is recovering just while no introduction point works.
    pub(super) fn note(&mut self, state: State) {
        match state {
            State::Running | State::DegradedReachable | State::DegradedUnreachable => {
                self.had_one = true;
                self.all.locked().remove(&self.name);
            }
            State::Recovering => {
                let since = Since { at: Instant::now(), had_one: self.had_one };
                self.all.locked().entry(self.name.clone()).or_insert(since);
            }
            _ => {}
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.all.locked().remove(&self.name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_longest_wait_counts_and_none_after_the_end() {
        let all = Introduced::default();
        let (mut first, mut second) = (all.service("first"), all.service("second"));
        first.note(State::Bootstrapping);
        assert_eq!(all.longest_without(), None);
        first.note(State::Recovering);
        second.note(State::Running);
        tokio::time::advance(Duration::from_secs(5)).await;
        second.note(State::Recovering);
        tokio::time::advance(Duration::from_secs(5)).await;
        first.note(State::Recovering);
        let lasts = |seconds, had_one| Some(Unintroduced { time: Duration::from_secs(seconds), had_one });
        assert_eq!(all.longest_without(), lasts(10, false));
        first.note(State::DegradedReachable);
        assert_eq!(all.longest_without(), lasts(5, true));
        drop(second);
        assert_eq!(all.longest_without(), None);
    }
}

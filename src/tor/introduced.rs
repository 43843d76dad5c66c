//! Whether clients can be introduced to the onion services of this program, by what arti says.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tor_hsservice::status::{OnionServiceStatus, Problem, State};

/// That an onion service has no introduction point that works, though it is launched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unintroduced {
    /// For how long.
    pub time: Duration,
    /// True if it had one since it was launched.
    pub had_one: bool,
}

/// The services that are launched at this moment, and which of them have no introduction point; clones are
/// the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Introduced(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    launched: HashSet<String>,
    without: HashMap<String, Since>,
    /// Those that are to have others when they are launched next.
    elsewhere: HashSet<String>,
}

#[derive(Clone, Copy, Debug)]
struct Since {
    at: Instant,
    had_one: bool,
}

impl Introduced {
    /// What is to be known of the service of this name, which was just launched.
    pub(super) fn service(&self, name: &str) -> Service {
        self.locked().launched.insert(name.to_owned());
        Service { all: self.clone(), name: name.to_owned(), had_one: false }
    }

    /// Asks that services have other introduction points when they are launched next: those without one,
    /// or all if each has one or `all` are to.
    pub(super) fn want_others(&self, all: bool) {
        let known = &mut *self.locked();
        if all || known.without.is_empty() {
            known.elsewhere.extend(known.launched.iter().cloned());
        } else {
            known.elsewhere.extend(known.without.keys().cloned());
        }
    }

    /// True if that was asked for the service of this name, which is launched now.
    pub(super) fn takes_others(&self, name: &str) -> bool {
        self.locked().elsewhere.remove(name)
    }

    /// The service of this name was to have others, and was not launched.
    pub(super) fn still_wants_others(&self, name: &str) {
        self.locked().elsewhere.insert(name.to_owned());
    }

    /// Whoever waits longest for one.
    pub(super) fn longest_without(&self) -> Option<Unintroduced> {
        let now = Instant::now();
        let waiting = self.locked().without.values().copied().min_by_key(|since| since.at)?;
        Some(Unintroduced { time: now - waiting.at, had_one: waiting.had_one })
    }

    fn locked(&self) -> MutexGuard<'_, Known> {
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
    /// Arti says this of it.
    pub(super) fn note(&mut self, status: &OnionServiceStatus) {
        if let Some(has_one) = has_one(status.state(), status.current_problem()) {
            self.has(has_one);
        }
    }

    fn has(&mut self, one: bool) {
        let mut all = self.all.locked();
        if one {
            // Before arti had looked it knew of no problem either.
            self.had_one |= all.without.remove(&self.name).is_some();
        } else {
            let since = Since { at: Instant::now(), had_one: self.had_one };
            all.without.entry(self.name.clone()).or_insert(since);
        }
    }
}

/// Whether there is an introduction point that works, as far as it can be told: a descriptor that is still
/// being published hides that arti recovers, and leaves only its problem, of which it names no cause.
fn has_one(state: State, problem: Option<&Problem>) -> Option<bool> {
    match (state, problem) {
        (State::Shutdown, _) => None,
        (State::Recovering, _) => Some(false),
        (State::Running | State::DegradedReachable | State::DegradedUnreachable, _) => Some(true),
        (_, Some(Problem::Ipt(causes))) => causes.is_empty().then_some(false),
        _ => Some(true),
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let mut all = self.all.locked();
        all.without.remove(&self.name);
        all.launched.remove(&self.name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_longest_wait_counts_and_none_after_the_end() {
        let all = Introduced::default();
        let (mut first, mut second) = (all.service("first"), all.service("second"));
        first.has(true);
        assert_eq!(all.longest_without(), None);
        first.has(false);
        second.has(false);
        second.has(true);
        tokio::time::advance(Duration::from_secs(5)).await;
        second.has(false);
        tokio::time::advance(Duration::from_secs(5)).await;
        first.has(false);
        let lasts = |seconds, had_one| Some(Unintroduced { time: Duration::from_secs(seconds), had_one });
        assert_eq!(all.longest_without(), lasts(10, false));
        first.has(true);
        assert_eq!(all.longest_without(), lasts(5, true));
        all.want_others(false);
        assert!(!all.takes_others("first") && all.takes_others("second") && !all.takes_others("second"));
        all.want_others(true);
        assert!(all.takes_others("first") && all.takes_others("second"), "the first may be lost");
        all.still_wants_others("first");
        assert!(all.takes_others("first") && !all.takes_others("first"));
        drop(second);
        all.want_others(false);
        assert!(all.takes_others("first") && !all.takes_others("second"), "all that there are");
        assert_eq!(all.longest_without(), None);
    }

    #[test]
    fn what_arti_says_is_understood() {
        let none = || Problem::Ipt(Vec::new());
        assert_eq!(has_one(State::Shutdown, None), None);
        assert_eq!(has_one(State::Bootstrapping, None), Some(true));
        assert_eq!(has_one(State::Bootstrapping, Some(&none())), Some(false));
        assert_eq!(has_one(State::Recovering, Some(&none())), Some(false));
        assert_eq!(has_one(State::DegradedUnreachable, Some(&Problem::DescriptorUpload(vec![]))), Some(true));
        assert_eq!(has_one(State::Running, None), Some(true));
    }
}

//! What came of many scrapes.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::sample::Samples;
use crate::Failure;

/// What came of it.
pub struct Outcome {
    /// Times of good scrapes, in milliseconds.
    pub times: Samples,
    /// Scrapes that were not good, by what was said.
    pub bad: BTreeMap<String, usize>,
}

impl Outcome {
    /// Nothing yet.
    pub const fn new() -> Self {
        Self { times: Samples::new(), bad: BTreeMap::new() }
    }

    /// What follows is of another circuit.
    pub fn next_group(&mut self) {
        self.times.next_group();
    }

    /// Adds a scrape, and times it; nothing if it failed.
    pub fn time<T>(&mut self, scrape: impl FnOnce() -> Result<T, Failure>) -> Option<T> {
        let started = Instant::now();
        let scraped = scrape();
        let took = started.elapsed();
        match scraped {
            Ok(found) => {
                self.times.time(took);
                Some(found)
            }
            Err(error) => {
                self.add(took, Err(error));
                None
            }
        }
    }

    /// Adds a scrape.
    pub fn add(&mut self, took: Duration, scraped: Result<(), Failure>) {
        match scraped {
            Ok(()) => self.times.time(took),
            Err(error) => *self.bad.entry(error.to_string()).or_default() += 1,
        }
    }

    /// How many of 1 were good.
    pub fn good(&self) -> f64 {
        let good = self.times.len() as f64;
        good / (good + self.bad.values().sum::<usize>() as f64)
    }

    /// What was not good, in a few words.
    pub fn complaints(&self) -> String {
        let said: Vec<_> = self.bad.iter().map(|(what, count)| format!("{count} × {what}")).collect();
        if said.is_empty() { "none".to_owned() } else { said.join("; ") }
    }
}

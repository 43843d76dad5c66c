//! A line for each step that takes time: what it is, how far it is, how long it took.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// A step under way. On a terminal it turns and counts seconds; elsewhere only its end is printed.
pub struct Stage {
    what: String,
    started: Instant,
    bar: ProgressBar,
}

impl Stage {
    /// Begins a step.
    pub fn begin(what: impl Into<String>) -> Self {
        let what = what.into();
        let bar =
            if std::io::stderr().is_terminal() { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
        if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix} {elapsed:>4}  {msg}") {
            bar.set_style(style);
        }
        bar.set_prefix(format!("{what:<44}"));
        bar.enable_steady_tick(Duration::from_millis(120));
        Self { what, started: Instant::now(), bar }
    }

    /// Says how far it is.
    pub fn say(&self, words: impl Into<String>) {
        self.bar.set_message(words.into());
    }

    /// Ends it well; returns how long it took.
    pub fn done(self) -> Duration {
        let took = self.started.elapsed();
        self.bar.finish_and_clear();
        eprintln!("  {:<44} {:>6.1} s", self.what, took.as_secs_f64());
        took
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if !self.bar.is_finished() {
            self.bar.finish_and_clear();
        }
    }
}

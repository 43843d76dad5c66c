//! Everything that must hold before a commit.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use crate::build::{cargo, cargo_command};
use crate::chaos::MustNeverBe;
use crate::stage::Stage;
use crate::{Failure, deny, packages, release};

/// How long each reader of other people's input is fed, in seconds.
const FUZZ_SECONDS: &str = "30";

/// Options of `cargo xtask test`.
#[derive(clap::Args)]
pub struct Test {
    /// Run only the tests whose names contain this
    filter: Option<String>,
}

impl Test {
    /// Checks formatting, lints and dependencies, has everything happen once that can happen to a device,
    /// then runs every test; the last line counts them, after the names of those that were left out.
    pub fn run(self) -> Result<(), Failure> {
        packages::ensure(packages::TESTS)?;
        if self.filter.is_none() {
            let stage = Stage::begin("formatting");
            cargo(&["fmt", "--all", "--check"])?;
            stage.done();
            let stage = Stage::begin("lints");
            cargo(&[
                "clippy",
                "--quiet",
                "--release",
                "--workspace",
                "--all-targets",
                "--",
                "--deny",
                "warnings",
            ])?;
            stage.done();
            deny::check()?;
            release::rehearse()?;
            // A process of its own, because it goes into namespaces.
            let chaos = Command::new(std::env::current_exe()?).args(["chaos", "--quick"]).status()?;
            match chaos.code() {
                Some(0) => {}
                Some(code) if code == i32::from(MustNeverBe::EXIT) => {
                    return Err("something was seen that must never be".into());
                }
                _ => return Err("the faults could not all be gone through; it may be the machine".into()),
            }
        }
        let mut tests = cargo_command(&["test", "--release", "--workspace", "--no-fail-fast"]);
        tests.args(self.filter).env("ONIONSCRAPE_FUZZ_SECONDS", FUZZ_SECONDS);
        let mut running = tests.stdout(Stdio::piped()).spawn()?;
        let mut count = Count::default();
        if let Some(output) = running.stdout.take() {
            for line in BufReader::new(output).lines() {
                let line = line?;
                count.add(&line);
                println!("{line}");
            }
        }
        let status = running.wait()?;
        if !count.left_out.is_empty() {
            println!("\nLEFT OUT, for a reason that is given above:\n  {}", count.left_out.join("\n  "));
        }
        println!("\n{} passed, {} failed, {} skipped", count.passed, count.failed, count.skipped);
        if status.success() { Ok(()) } else { Err("tests failed".into()) }
    }
}

/// What all test binaries together reported.
#[derive(Default)]
struct Count {
    passed: u32,
    failed: u32,
    skipped: u32,
    /// Names of those that were skipped.
    left_out: Vec<String>,
}

impl Count {
    fn add(&mut self, line: &str) {
        let of_one = line.strip_prefix("test ").and_then(|test| test.split_once(" ... "));
        if let Some((name, _)) = of_one.filter(|(_, how)| how.starts_with("ignored")) {
            self.left_out.push(name.trim_end().to_owned());
        }
        let Some(result) = line.strip_prefix("test result: ") else { return };
        let of = |what: &str| -> u32 {
            let part = result.split(['.', ';']).find_map(|part| part.trim().strip_suffix(what));
            part.and_then(|number| number.trim().parse().ok()).unwrap_or(0)
        };
        self.passed += of("passed");
        self.failed += of("failed");
        self.skipped += of("ignored");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_added_up() {
        let mut count = Count::default();
        count.add("test result: ok. 20 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out");
        count.add("test result: FAILED. 2 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out");
        count.add("20 passed");
        assert_eq!((count.passed, count.failed, count.skipped), (22, 3, 1));
    }

    #[test]
    fn what_is_left_out_is_named() {
        let mut count = Count::default();
        count.add("test units::are_sound   ... ignored");
        count.add("test by_hand ... ignored, takes hours");
        count.add("test units::ignored ... ok");
        assert_eq!(count.left_out, ["units::are_sound", "by_hand"]);
    }
}

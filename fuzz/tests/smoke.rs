//! Arbitrary input for every target, for as many seconds as ONIONSCRAPE_FUZZ_SECONDS says.

use std::process::ExitCode;
use std::time::Duration;

use libtest_mimic::{Arguments, Trial};
use onionscrape_fuzz::{TARGETS, plain};

fn main() -> ExitCode {
    let given = std::env::var("ONIONSCRAPE_FUZZ_SECONDS").ok();
    let time = Duration::from_secs(given.and_then(|seconds| seconds.parse().ok()).unwrap_or(2));
    let seed = rand::random();
    eprintln!("seed {seed}");
    let trial = |target: onionscrape_fuzz::Target| {
        Trial::test(format!("fuzz::{}", target.name), move || match plain::run(target, seed, time) {
            Ok(inputs) => {
                println!("{}: {inputs} inputs", target.name);
                Ok(())
            }
            Err(path) => Err(format!("seed {seed}, the input is {}", path.display()).into()),
        })
    };
    libtest_mimic::run(&Arguments::from_args(), TARGETS.into_iter().map(trial).collect()).exit_code()
}

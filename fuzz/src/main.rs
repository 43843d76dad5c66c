//! Fuzzing by hand, on a stable compiler.

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use onionscrape_fuzz::{TARGETS, Target, find, plain};

/// Feeds arbitrary input to everything that reads what somebody else wrote
#[derive(Parser)]
struct Options {
    /// Targets [default: all]
    targets: Vec<String>,
    /// Seconds for each target
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Targets at once
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// The random numbers' beginning, to repeat a run
    #[arg(long)]
    seed: Option<u64>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let chosen: Option<Vec<Target>> = match options.targets.as_slice() {
        [] => Some(TARGETS.to_vec()),
        names => names.iter().map(|name| find(name)).collect(),
    };
    let Some(chosen) = chosen else {
        let known: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
        eprintln!("fuzz: no such target; there are: {}", known.join(", "));
        return ExitCode::from(2);
    };
    let seed = options.seed.unwrap_or_else(rand::random);
    println!("seed {seed}");
    let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let work = || {
        while let Some(target) = chosen.get(next.fetch_add(1, Ordering::Relaxed)) {
            let began = Instant::now();
            match plain::run(*target, seed, Duration::from_secs(options.seconds)) {
                Ok(count) => {
                    let took = began.elapsed().as_secs_f64();
                    println!("{:<16} {count:>9} inputs in {took:>5.1} s", target.name);
                }
                Err(path) => {
                    println!("{:<16} FAILED, the input is {}", target.name, path.display());
                    failed.store(true, Ordering::Relaxed);
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..options.jobs {
            scope.spawn(work);
        }
    });
    if failed.into_inner() { ExitCode::from(1) } else { ExitCode::SUCCESS }
}

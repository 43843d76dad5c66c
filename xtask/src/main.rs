//! The project's own chores: `cargo xtask demo`, `test`, `package`, `bench`, `chaos`, `soak`, `deny`,
//! `release` and `reproducible`.
//!
//! In reading order:
//! - `packages`: what the distribution has to bring;
//! - `stage`: a line for each step, with seconds;
//! - `build`: the programs, and cargo in general;
//! - `document`: pages of the docs that a command makes;
//! - `chain`: exporter, agent and bridge as processes on a private network;
//! - `demo`: the chain with a real Prometheus at its end;
//! - `bench`: the chain beside its rivals, measured;
//! - `chaos`: everything that can happen to the chain, and how soon it is back;
//! - `deny`: what may come into the programs;
//! - `release`: what is given to people, and the proof that anybody can build it;
//! - `package`: Debian packages;
//! - `test`: everything that must hold before a commit.

mod bench;
mod build;
mod chain;
mod chaos;
mod demo;
mod deny;
mod document;
mod package;
mod packages;
mod release;
mod stage;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// What goes wrong in a chore, as one line for a person.
type Failure = Box<dyn std::error::Error + Send + Sync>;

#[derive(Parser)]
#[command(name = "cargo xtask", version)]
struct Command {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Show a real Prometheus scraping a real node_exporter over a private Tor network
    Demo(demo::Demo),
    /// Check formatting and lints, then run every test
    Test(test::Test),
    /// Make Debian packages of both programs
    Package(package::Package),
    /// Measure scrapes beside those of other ways over Tor
    Bench(bench::Bench),
    /// Have everything happen that can happen to a device, and measure how soon it is back
    Chaos(Box<chaos::Chaos>),
    /// Have things happen at random for hours, and see whether the programs hold more and more
    Soak(chaos::soak::Soak),
    /// Look whether something is known against a dependency; without the list of advisories this fails
    Deny,
    /// Build and pack both programs, with a bill of materials and checksums
    Release(release::Release),
    /// Build both programs in two folders and see whether they are the same to the byte
    Reproducible(release::reproducible::Reproducible),
}

fn main() -> ExitCode {
    let ended = match Command::parse().chore {
        Chore::Demo(demo) => demo.run(),
        Chore::Test(test) => test.run(),
        Chore::Package(package) => package.run(),
        Chore::Bench(bench) => bench.run(),
        Chore::Chaos(chaos) => chaos.run(),
        Chore::Soak(soak) => soak.run(),
        Chore::Release(release) => release.run(),
        Chore::Reproducible(reproducible) => reproducible.run(),
        Chore::Deny => deny::check_with_advisories(),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("xtask: {failure}");
            ExitCode::from(if failure.is::<chaos::MustNeverBe>() { chaos::MustNeverBe::EXIT } else { 1 })
        }
    }
}

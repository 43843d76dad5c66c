//! `target-agent`, the program.

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    target_agent::command::Command::parse().run()
}

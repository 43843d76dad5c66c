//! `scraper-bridge`, the program.

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    scraper_bridge::command::Command::parse().run()
}

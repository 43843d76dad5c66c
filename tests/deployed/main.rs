//! What is installed from packages, on machines with a systemd of their own.
//!
//! A machine is a folder: Debian's files in namespaces, with systemd as the first process, at the end of a
//! cable that leads to where the private Tor network's relays are. This needs root; without it the tests are
//! ignored, by name.
//!
//! - `checkout`, `trials`: the repository, and how tests are listed, as in the other binaries;
//! - `place`: where all of it runs, a namespace with the relays' address;
//! - `tree`: Debian's files, made once for each list of packages;
//! - `machine`: a system booted from a tree;
//! - `packages`: the two packages, and tests of them;
//! - `controller`: Debian's ansible, which reaches machines by ssh;
//! - `firewall`: one that lets nothing in but ssh;
//! - `document`: what documents have people type;
//! - `world`: the network, and what else tests share;
//! - the others: tests.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what went wrong by panicking")]

#[expect(dead_code, reason = "these tests run what packages install, not what was built")]
#[path = "../checkout.rs"]
mod checkout;
#[macro_use]
#[path = "../trials.rs"]
mod trials;

mod controller;
mod document;
mod firewall;
mod installed;
mod machine;
mod machines;
mod moved;
mod packages;
mod place;
mod playbook;
mod scraped;
mod tree;
mod units;
mod world;

use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::Arguments;
use world::World;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    // A list is made without anything else.
    let possible = if arguments.list { Ok(()) } else { place::is_possible() };
    if let Err(why) = &possible {
        eprintln!("no machines here, so these tests are ignored: {why}");
    } else if let Some(ended) = (!arguments.list).then(place::go_inside).flatten() {
        return ended;
    }
    let world = Arc::new(World::new());
    let mut trials = trials![
        &world,
        machines::systemd_restricts_what_it_runs,
        packages::have_what_belongs_to_them,
        packages::what_does_not_fit_is_refused,
        packages::from_installation_to_purge,
        packages::without_a_systemd_that_runs,
        installed::without_a_package,
        installed::a_server_as_a_device,
        units::are_sound_and_hardened,
        units::the_agent_can_listen_on_no_port,
        units::a_program_that_hangs_is_started_again,
        moved::a_device_and_a_monitor_by_their_copies,
        moved::keys_of_what_was_there_before,
        playbook::a_fleet_by_one_command,
        scraped::from_one_machine_to_another,
    ];
    if possible.is_err() {
        trials = trials.into_iter().map(|trial| trial.with_ignored_flag(true)).collect();
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    // Dropped here rather than never: the network's folder and processes go with it.
    drop(world);
    conclusion.exit_code()
}

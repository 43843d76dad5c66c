//! Every command that the documents tell a person to type is run by a test, or stands in a list of those that
//! cannot be, with the reason.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use clap::Parser as _;

use crate::checkout::{read, repository};
use crate::world::World;

mod kept;

use kept::Kept::{self, By, Ci, Not};
use kept::{OTHERS, OURS};

pub async fn every_documented_command_is_run_or_says_why_not(_: &World) {
    let mut seen = BTreeSet::new();
    let mut problems = Vec::new();
    for (file, command) in documented() {
        let (shape, words) = ours(&command);
        let (table, what) = match &shape {
            Some(shape) => (OURS, shape.as_str()),
            None => (OTHERS, command.as_str()),
        };
        if let Some(words) = words
            && let Err(error) = parse(&words)
        {
            problems.push(format!("{file}: {command}: {error}"));
        }
        let is = |known: &str| if shape.is_some() { known == what } else { what.starts_with(known) };
        match table.iter().find(|(known, _)| is(known)) {
            Some((known, _)) => drop(seen.insert(*known)),
            None => problems
                .push(format!("{file}: {command}: no test runs it, and no reason is given (as {what})")),
        }
    }
    for (known, kept) in OURS.iter().chain(OTHERS) {
        if !seen.contains(known) {
            problems.push(format!("{known}: no document has it any more"));
        }
        if let Err(why) = holds(known, kept) {
            problems.push(format!("{known}: {why}"));
        }
    }
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

/// Looks whether the test is there, and has the words of the command.
fn holds(command: &str, kept: &Kept) -> Result<(), String> {
    match kept {
        Not(reason) if reason.len() > 10 => Ok(()),
        Not(_) => Err("without a reason".into()),
        Ci => {
            let steps = read(".ci/run");
            if steps.contains(command) { Ok(()) } else { Err("not in .ci/run".into()) }
        }
        By(test) => {
            let (suite, test) = test.split_once('/').unwrap_or(("it", test));
            let (module, name) = test.split_once("::").ok_or("no such test")?;
            let source = read(&format!("tests/{suite}/{module}.rs"));
            if !source.contains(&format!("fn {name}(")) {
                return Err(format!("there is no test {test}"));
            }
            // Helpers that several tests have are elsewhere, and some take the words from the document.
            let document = if module == "migrated" { read("docs/migrate.md") } else { String::new() };
            let source = source + &read("tests/it/paired.rs") + &document;
            let is_ours = OURS.iter().any(|(known, _)| *known == command);
            let mut words = command.split(' ').skip(1).filter(|_| is_ours);
            match words.find(|word| !source.contains(*word)) {
                Some(word) => Err(format!("{test} has no {word}")),
                None => Ok(()),
            }
        }
    }
}

/// Each command with the document that it stands in: lines of a shell's blocks, and what is set like
/// `target-agent run` in the text. Blocks without a language are files, and what was there before.
fn documented() -> Vec<(String, String)> {
    let root = repository("");
    let deploy = fs::read_dir(root.join("deploy")).unwrap().map(|entry| entry.unwrap().path());
    let folders = ["", "docs", "fuzz", "monitoring", "tests/state"].map(|folder| root.join(folder));
    let files = folders.into_iter().chain(deploy).flat_map(|folder| fs::read_dir(folder).unwrap());
    let mut pages: Vec<PathBuf> = files.map(|entry| entry.unwrap().path()).collect();
    // The changelog has what was true once.
    pages.retain(|page| page.extension().is_some_and(|of| of == "md") && !page.ends_with("CHANGELOG.md"));
    pages.sort();
    assert!(pages.len() >= 20, "{pages:?}");
    let mut found = Vec::new();
    for page in pages {
        let name = page.strip_prefix(&root).unwrap().display().to_string();
        let text = fs::read_to_string(&page).unwrap();
        let (mut language, mut command, mut paragraph) = (None, String::new(), String::new());
        for line in text.lines().map(str::trim) {
            match (line.strip_prefix("```"), language) {
                (Some(of), None) => language = Some(of),
                (Some(_), Some(_)) => language = None,
                (None, Some("sh" | "console")) => {
                    command += line;
                    if let Some(begun) = command.strip_suffix('\\') {
                        command = begun.to_owned();
                        continue;
                    }
                    let whole = std::mem::take(&mut command);
                    let words: Vec<_> = whole.split(" #").next().unwrap().split_whitespace().collect();
                    if !words.is_empty() {
                        found.push((name.clone(), words.join(" ")));
                    }
                }
                (None, Some(_)) => {}
                (None, None) => paragraph += &format!("{line} "),
            }
            if line.is_empty() || language.is_some() {
                let spans = mentioned(&std::mem::take(&mut paragraph));
                found.extend(spans.into_iter().map(|span| (name.clone(), span)));
            }
        }
        let last = mentioned(&paragraph);
        found.extend(last.into_iter().map(|span| (name.clone(), span)));
    }
    found
}

/// Commands in a paragraph.
fn mentioned(paragraph: &str) -> Vec<String> {
    let begins = [
        "target-agent ",
        "scraper-bridge ",
        "systemctl ",
        "cargo ",
        "sudo ",
        "ssh -",
        "curl ",
        "promtool ",
        "nix ",
        "nix-",
        "ONIONSCRAPE_NIXPKGS_LIB=",
    ];
    // Names: of a way, and of a program.
    let names = ["ssh -L", "ssh -R", "sudo onionscrape-agent", "sudo onionscrape-bridge"];
    let is_command =
        |span: &&str| begins.iter().any(|begin| span.starts_with(begin)) && !names.contains(span);
    let spans = paragraph.split('`').skip(1).step_by(2);
    spans.filter(is_command).map(str::to_owned).collect()
}

/// A command of one of our programs: what kind it is, and its words.
fn ours(command: &str) -> (Option<String>, Option<Vec<String>>) {
    let mut words: Vec<String> = command.split(' ').map(str::to_owned).collect();
    // As packages have them: as the service's user, and with its configuration.
    if words.len() > 1 && words[0] == "sudo" {
        words.remove(0);
        words[0] = match words[0].as_str() {
            "onionscrape-agent" => "target-agent".to_owned(),
            "onionscrape-bridge" => "scraper-bridge".to_owned(),
            other => other.to_owned(),
        };
    }
    if !["target-agent", "scraper-bridge"].contains(&words[0].as_str()) {
        return (None, None);
    }
    let options = words.iter().skip(2).filter(|word| word.starts_with("--"));
    let kind = words.iter().take(2).chain(options).cloned().collect::<Vec<_>>().join(" ");
    (Some(kind), Some(words))
}

/// Reads a command line as its program does.
fn parse(words: &[String]) -> Result<(), String> {
    let told = |error: clap::Error| error.to_string().lines().next().unwrap_or_default().to_owned();
    // Where the text says no more than which subcommand it is about, what must follow is missing.
    let known = |error: &clap::Error| error.kind() == clap::error::ErrorKind::MissingRequiredArgument;
    match words[0].as_str() {
        "target-agent" => match target_agent::command::Command::try_parse_from(words) {
            Err(error) if !(known(&error) && words.len() == 2) => Err(told(error)),
            _ => Ok(()),
        },
        _ => match scraper_bridge::command::Command::try_parse_from(words) {
            Err(error) if !(known(&error) && words.len() == 2) => Err(told(error)),
            _ => Ok(()),
        },
    }
}

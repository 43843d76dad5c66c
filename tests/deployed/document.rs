//! What documents have people type, typed on a machine.

use crate::machine::Machine;

/// The document's first block of this language after a heading that has the word in it.
pub fn block<'a>(document: &'a str, heading: &str, language: &str, word: &str) -> &'a str {
    let (_, section) = document.split_once(&format!("\n{heading}\n")).unwrap();
    let blocks = section.split("\n```").skip(1).step_by(2);
    let mut blocks = blocks.filter_map(|block| block.strip_prefix(language)?.strip_prefix('\n'));
    blocks.find(|block| block.contains(word)).unwrap_or_else(|| panic!("{heading}: no {word}"))
}

/// The document's first line that begins so; of a list's item, too.
pub fn line<'a>(document: &'a str, begin: &str) -> &'a str {
    let mut lines = document.lines().map(str::trim_start);
    lines.find(|line| line.starts_with(begin)).unwrap_or_else(|| panic!("no {begin}"))
}

/// Has the machine do what a person types at root's home, and returns what it printed; there, root has no need of sudo.
pub fn typed(machine: &Machine, lines: &str) -> String {
    machine.sh(&format!("cd /root; sudo() {{ \"$@\"; }}\n{lines}"))
}

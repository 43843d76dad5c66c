//! Pages of the docs that a command of this program makes, and what they are made with.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tornet::process;

use crate::Failure;
use crate::build::workspace;

/// The heading of what people have to say of a page, which is not true of what another commit comes to.
const REMARKS: &str = "\n## Remarks\n";

/// Where a page of the docs is, by its name.
pub fn published(name: &str) -> PathBuf {
    workspace().join("docs").join(name).with_extension("md")
}

/// By which command, when and on what a page is made. It is asked for before anything is measured: what is built
/// and committed meanwhile is not what the page is of.
pub struct Origin {
    /// The arguments.
    pub command: String,
    /// The day, in UTC.
    pub date: String,
    /// The machine, versions, and the commit.
    pub surroundings: String,
    /// Whether the commit is known and everything is as it has it, except for the docs.
    pub is_clean: bool,
}

impl Origin {
    /// The one of what begins now; `programs` are asked for their versions, by these arguments.
    pub fn now(programs: &[[&str; 2]]) -> Self {
        let arguments: Vec<_> = std::env::args().skip(1).collect();
        let (commit, is_clean) = commit();
        Self {
            command: arguments.join(" "),
            date: now("%Y-%m-%d"),
            surroundings: surroundings(programs, &commit),
            is_clean,
        }
    }

    /// Writes a page that says so. Remarks are kept while it is of one commit on one machine, and made of several runs
    /// maybe; others are printed, since nobody else may have them.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, file: &Path, title: &str, body: &str) -> Result<(), Failure> {
        let before = fs::read_to_string(file).unwrap_or_default();
        let (before, mut remarks) = before.split_at(before.find(REMARKS).unwrap_or(before.len()));
        let is_of_the_same = self.is_clean && before.contains(&self.surroundings);
        if !is_of_the_same && !remarks.is_empty() {
            let file = file.display();
            println!("not kept in {file}, since it is of another commit or machine:\n\n{}\n", remarks.trim());
            remarks = "";
        }
        let text = format!(
            "# {title}\n\nMade by `cargo xtask {}` on {}; do not edit, except for remarks beneath a heading `Remarks` \
             at the end: they are kept while all is of this commit on this machine.\n\n{}\n\n{}\n{remarks}",
            self.command,
            self.date,
            self.surroundings,
            body.trim_end(),
        );
        Ok(fs::write(file, text)?)
    }
}

/// Writes a page whose origin is now, as [`Origin`] does.
///
/// # Errors
/// When it cannot be written.
pub fn write(file: &Path, title: &str, programs: &[[&str; 2]], body: &str) -> Result<(), Failure> {
    Origin::now(programs).write(file, title, body)
}

/// The time in UTC, as date(1) has it in such a format.
pub fn now(format: &str) -> String {
    said("date", &["--utc", &format!("+{format}")])
}

/// The commit, and whether everything is as it has it; pages like these are not what a program is made of.
fn commit() -> (String, bool) {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).current_dir(workspace()).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let changes = git(&["status", "--porcelain", "--untracked-files=no", "--", ".", ":(exclude)docs"]);
    match (git(&["describe", "--always"]), changes) {
        (Some(commit), Some(changes)) if changes.is_empty() => (commit, true),
        (Some(commit), _) => (format!("{commit}-dirty"), false),
        (None, _) => ("an unknown commit".to_owned(), false),
    }
}

/// The machine and what runs on it.
fn surroundings(programs: &[[&str; 2]], commit: &str) -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let memory = memory.lines().find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB"));
    let memory = memory.and_then(|kib| kib.parse::<f64>().ok()).unwrap_or(f64::NAN) / 1024.0 / 1024.0;
    let programs = programs.iter().map(|[program, asked]| version(program, asked));
    let programs: Vec<_> = programs.map(|version| version.trim_end_matches('.').to_owned()).collect();
    format!(
        "{cores} core{} of {}, {memory:.0} GiB, Linux {}; {}; onionscrape {} at {commit}.",
        if cores == 1 { "" } else { "s" },
        model.map_or("an unknown processor", |(_, model)| model.trim()),
        said("uname", &["-r"]),
        programs.join(", "),
        env!("CARGO_PKG_VERSION"),
    )
}

/// The first line that a program prints.
fn said(program: &str, arguments: &[&str]) -> String {
    lines(program, arguments).into_iter().next().unwrap_or_else(|| "unknown".to_owned())
}

/// The line in which a program says its version: some say first who wrote them.
fn version(program: &str, asked: &str) -> String {
    let has_version = |line: &String| line.contains(|character: char| character.is_ascii_digit());
    lines(program, &[asked]).into_iter().find(has_version).unwrap_or_else(|| "unknown".to_owned())
}

/// What a program prints, wherever it prints it, if all is well with it.
fn lines(program: &str, arguments: &[&str]) -> Vec<String> {
    let program = process::find(program).unwrap_or_else(|_| program.into());
    let output = Command::new(program).args(arguments).current_dir(workspace()).output();
    let output = output.ok().filter(|output| output.status.success());
    let text = output.map(|output| [output.stdout, output.stderr].concat()).unwrap_or_default();
    String::from_utf8_lossy(&text).lines().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_on_the_line_that_has_a_number() {
        assert_eq!(version("printf", "program by somebody\\nprogram 1.2\\nof 2026\\n"), "program 1.2");
        assert_eq!(version("printf", "program by somebody\\n"), "unknown");
    }

    #[test]
    fn a_page_says_what_made_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("page.md");
        let programs = [["rustc", "--version"], ["no-such-program", "-V"], ["rustc", "--no-such-option"]];
        write(&file, "Faults", &programs, "none\n\n").expect("written");
        let text = fs::read_to_string(&file).expect("read");
        assert!(text.starts_with("# Faults\n\nMade by `cargo xtask"), "{text}");
        assert!(text.contains("; rustc 1.") && text.contains(", unknown, unknown; onionscrape "), "{text}");
        assert!(text.ends_with(".\n\nnone\n"), "{text}");
    }

    #[test]
    fn remarks_are_kept_while_a_page_is_of_one_commit_on_one_machine() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("page.md");
        let written = |surroundings: &str, is_clean, body| {
            let (command, date) = ("bench".to_owned(), "2026-11-22".to_owned());
            let origin = Origin { command, date, surroundings: surroundings.to_owned(), is_clean };
            origin.write(&file, "Benchmarks", body).expect("written");
            fs::read_to_string(&file).expect("read")
        };
        let remarked = |text: String| fs::write(&file, text + "\n## Remarks\n\nWhy.\n").expect("written");
        remarked(written("1 core at c0ffee.", true, "one part"));
        let text = written("1 core at c0ffee.", true, "two parts\n\n");
        assert!(text.ends_with(".\n\ntwo parts\n\n## Remarks\n\nWhy.\n"), "{text}");
        let text = written("1 core at decaf.", true, "another commit");
        assert!(text.ends_with(".\n\nanother commit\n"), "{text}");
        remarked(text);
        let text = written("1 core at decaf.", false, "who knows what");
        assert!(text.ends_with(".\n\nwho knows what\n"), "{text}");
    }
}

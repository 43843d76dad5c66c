//! The table, for a terminal and for the docs.

use std::path::PathBuf;

use comfy_table::{CellAlignment, Table, presets};

use super::row::Row;
use crate::{Failure, document};

const HEAD: [&str; 16] = [
    "fault",
    "goal",
    "runs",
    "p50",
    "p95",
    "max",
    "lost",
    "standby p95",
    "standby lost",
    "recipe p50",
    "recipe p95",
    "recipe max",
    "recipe lost",
    "agent tells",
    "bridge tells",
    "notes",
];

/// The rows as a table in Markdown.
pub fn table(rows: &[Row]) -> String {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header(HEAD);
    for column in table.column_iter_mut().skip(1).take(HEAD.len() - 2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.add_rows(rows.iter().map(Row::cells));
    table.to_string()
}

/// Writes the result of a full run into the docs; returns where.
///
/// # Errors
/// When it cannot be written.
pub fn write(rows: &[Row], others: &[String], left_out: &[String]) -> Result<PathBuf, Failure> {
    let mut text = table(rows);
    text += "\n\n";
    for line in others {
        text += &format!("- {line}\n");
    }
    for line in left_out {
        text += &format!("- left out: {line}\n");
    }
    write_page("chaos", "Faults, and how soon a device is back", EXPLANATION, &text)
}

/// Writes the result of a soak into the docs; returns where.
///
/// # Errors
/// When it cannot be written.
pub fn write_soak(result: &str) -> Result<PathBuf, Failure> {
    write_page("soak", "Faults for hours, and what the programs hold meanwhile", SOAK, result)
}

/// What faults happen to beside our programs, and how it is asked for its version.
const PROGRAMS: [[&str; 2]; 1] = [["tor", "--version"]];

fn write_page(name: &str, title: &str, explanation: &str, result: &str) -> Result<PathBuf, Failure> {
    let file = document::published(name);
    document::write(&file, title, &PROGRAMS, &format!("{explanation}\n\n{result}"))?;
    Ok(file)
}

/// What a soak is.
const SOAK: &str = "A private Tor network of 3 authorities and 24 relays, one bridge, and 20 devices with an agent each. One \
device is scraped 4 times a second and everything that `cargo xtask chaos` knows happens to it in an order left to chance, except what ends a \
program, whose memory says nothing of the next one's; the others are scraped every 5 s. After each fault it is looked what the programs \
hold: resident memory, open files (sockets, too), threads, tasks of the runtime; of a quarter's looks the median stands here. What is flat is higher \
in the last quarter than in the second by no more than a tenth and 4 MB, 8 files, 2 threads or 20 tasks. In all of it every \
answer was whole, of the right exporter and not older than its request, and both programs had no socket but those they may have.";

/// What the columns mean.
const EXPLANATION: &str = "A private Tor network of 3 authorities and 24 relays, the device and the monitor each in a \
network namespace of its own, on one machine. Each exporter is asked 4 times a second with Prometheus' own timeout of 10 s. Times are \
from the world being fine again (the program started, the link plugged in, the clock right; for what is killed for \
good and for a new address, from the fault itself) to the first good scrape with no bad one after it. `lost` is \
scrapes that were not good, on average of a run. `standby` is a second target for the same device, with \
`standby = true`. `recipe` is C tor and sshd on the device, C tor, socat and autossh \
with `ServerAliveInterval=15` on the monitor, hit by the same fault at the same time; it is not put through what would not be the same for it: \
a relay that is killed is one that our sessions use, and clocks and state directories are the agent's own. With fewer than 20 runs \
the p95 is the maximum. A goal for time is for the p95, one for scrapes for each run. `tells` is for how many seconds \
status or metrics of a program said at worst that all was well while the device was down, and how many after it was \
back until both said so; a program has 25 s for the one and 5 s for the other, and outages of less than 25 s need not be told. In all runs every answer was whole, \
of the right exporter and not older than its request, both programs had no socket but those they may have, the bridge refused no \
host key, and the device's address and host key stayed the same.";

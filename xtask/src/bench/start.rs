//! How soon the programs are of use when they are started with what they knew.

use std::path::Path;
use std::time::{Duration, Instant};

use tornet::process::{Process, Signal};

use super::ground::Ground;
use super::page::{Page, table};
use super::sample::Samples;
use super::sizes::Sizes;
use super::way::{Source, Way};
use super::wire::Connection;
use crate::Failure;
use crate::chain;
use crate::stage::Stage;

/// How long anything here may take.
const LIMIT: Duration = Duration::from_secs(120);
/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(5);

/// Measures on a network with this delay.
///
/// # Errors
/// When a program does not come back.
pub fn measure(ground: &mut Ground, page: &mut Page, sizes: &Sizes, delay: u64) -> Result<(), Failure> {
    let stage = Stage::begin(format!("starts, {delay} ms: {} each", sizes.starts));
    let [mut agents, mut bridges] = [Samples::new(), Samples::new()];
    for round in 0..sizes.starts {
        stage.say(format!("{} of {}", round + 1, sizes.starts));
        let admin = ground.chain.agent_admin;
        let (program, file) = (ground.programs.agent.clone(), ground.chain.agent_file.clone());
        let is_ready = move || -> Result<(), Failure> {
            let mut connection = Connection::tcp(admin)?;
            connection.send("GET /-/ready", "")?;
            connection.read_answer().map(drop)
        };
        agents.time(again(&mut ground.chain.agent, &program, &file, is_ready)?);

        let listen = ground.offered(Way::Ours, Source::Node)?;
        let (program, file) = (ground.programs.bridge.clone(), ground.chain.bridge_file.clone());
        let is_scraped = move || Connection::tcp(listen)?.at_least(Source::Node.least()).scrape().map(drop);
        bridges.time(again(&mut ground.chain.bridge, &program, &file, is_scraped)?);
    }
    stage.done();
    page.section(
        &format!("Starting with warm state, {delay} ms a link"),
        "The program is asked to end (SIGTERM) and started again with its state. The agent counts as reachable when \
         it says so, which it does once it has dialled itself through Tor; of the bridge the first good scrape counts.",
    );
    let mut table = table(&["", "starts", "p50", "max"]);
    for (name, own) in
        [("target-agent: start → reachable", &agents), ("scraper-bridge: start → first scrape", &bridges)]
    {
        let [p50, max] = [50.0, 100.0].map(|p| own.percentile(p));
        table.add_row([name.to_owned(), own.len().to_string(), format!("{p50:.0}"), format!("{max:.0}")]);
        page.at_most(format!("{name}, p50, {delay} ms a link"), 3.0, "s", p50 / 1000.0);
    }
    page.table(&table);
    Ok(())
}

/// Ends a program, starts it again, and waits until it is of use; returns how long that took.
fn again(
    process: &mut Process,
    program: &Path,
    file: &Path,
    is_of_use: impl Fn() -> Result<(), Failure>,
) -> Result<Duration, Failure> {
    process.signal(Signal::Terminate)?;
    let asked = Instant::now();
    while process.is_running() {
        if asked.elapsed() > LIMIT {
            return Err(format!("{} does not end", program.display()).into());
        }
        super::pause(PAUSE)?;
    }
    let log = process.log().to_owned();
    let started = Instant::now();
    *process = chain::start(program, file, &log)?;
    loop {
        match is_of_use() {
            Ok(()) => return Ok(started.elapsed()),
            Err(error) if started.elapsed() > LIMIT => {
                let name = program.display();
                return Err(
                    format!("{name} is of no use after {LIMIT:?}: {error}; {}", process.log_tail()).into()
                );
            }
            Err(_) => super::pause(PAUSE)?,
        }
    }
}

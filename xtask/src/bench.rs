//! Scrapes beside those of other ways over Tor, interleaved in one run on one network.

mod rivals;
mod wire;

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use comfy_table::{CellAlignment, Table, presets};

use crate::build::Programs;
use crate::chain::{self, Chain};
use crate::stage::Stage;
use crate::{Failure, packages};
use rivals::Rivals;
use wire::Connection;

/// Options of `cargo xtask bench`.
#[derive(clap::Args)]
pub struct Bench {
    /// Scrapes of each kind, over all circuits
    #[arg(long, default_value_t = 100)]
    scrapes: usize,
    /// Circuits that they are spread over; a single one may be a lucky or an unlucky one
    #[arg(long, default_value_t = 10)]
    circuits: usize,
    /// Cold starts of each kind
    #[arg(long, default_value_t = 20)]
    colds: usize,
    /// Delay added to every link of the network, one way, in milliseconds
    #[arg(long, default_value_t = 0)]
    delay_ms: u64,
}

/// How the exporter is reached; the order of the tables.
const WAYS: [&str; 3] = [
    "(a) C tor, socat, ssh -L → C tor, sshd",
    "(b) C tor SOCKS → C tor, no SSH",
    "(c) scraper-bridge → target-agent",
];

impl Bench {
    /// Measures and prints tables.
    pub fn run(self) -> Result<(), Failure> {
        packages::ensure(packages::TESTS)?;
        let programs = Programs::build()?;
        let folder = tempfile::Builder::new().prefix("onionscrape-bench-").tempdir()?;
        let stage = Stage::begin("private Tor network: 3 authorities, 6 relays");
        let options =
            tornet::Options { delay: Duration::from_millis(self.delay_ms), ..tornet::Options::default() };
        let network = tornet::Network::start(&options, |step| stage.say(step.to_string()))?;
        stage.done();
        let (exporter, _node_exporter) = chain::node_exporter(folder.path())?;
        let stage = Stage::begin("rivals: C tor, socat, ssh, sshd");
        let rivals = Rivals::start(&network, folder.path(), exporter)?;
        stage.done();
        let chain = Chain::start(&programs, folder.path(), Some(network.fragment()), exporter)?;

        println!("\n{} ms added to each link, one way\n", self.delay_ms);
        let control = folder.path().join("bridge/control.sock");
        self.warm(&rivals, &chain, &control)?;
        self.cold(&rivals, &chain, &control)?;
        for (name, process) in [("target-agent", &chain.agent), ("scraper-bridge", &chain.bridge)] {
            println!("resident memory of {name:<15} {:>6.1} MB", resident(process.pid())?);
        }
        Ok(())
    }

    /// Scrapes while everything is up, on connections that are kept and on new ones.
    fn warm(&self, rivals: &Rivals, chain: &Chain, control: &Path) -> Result<(), Failure> {
        let stage = Stage::begin(format!("{} scrapes of each kind", self.scrapes));
        let mut times = [[const { Vec::new() }; 3], [const { Vec::new() }; 3]];
        let mut bytes = [0; 3];
        for circuit in 0..self.circuits {
            let name = format!("warm{circuit}");
            let forwarding = rivals.forward(&name)?;
            redial(control)?;
            let connect = |way: usize| -> Result<Connection, Failure> {
                match way {
                    0 => tcp(forwarding.local),
                    1 => Ok(Connection::new(rivals.through_socks(&name)?, "exporter")),
                    _ => tcp(chain.listen),
                }
            };
            let mut kept = [connect(0)?, connect(1)?, connect(2)?];
            for connection in &mut kept {
                connection.scrape()?;
            }
            for round in 0..self.scrapes / self.circuits {
                stage.say(format!("circuit {} of {}, scrape {}", circuit + 1, self.circuits, round + 1));
                for way in 0..WAYS.len() {
                    let started = Instant::now();
                    bytes[way] = kept[way].scrape()?;
                    times[0][way].push(started.elapsed());
                    let started = Instant::now();
                    connect(way)?.scrape()?;
                    times[1][way].push(started.elapsed());
                }
            }
        }
        stage.done();
        for (title, times) in ["kept-alive connection", "new connection"].into_iter().zip(&times) {
            let mut table = table(&[title, "p50 ms", "p90 ms", "p99 ms", "bytes", "p50 / (a)", "p50 / (b)"]);
            for (way, name) in WAYS.iter().enumerate() {
                let of = |other: usize| format!("{:.2}", ms(&times[way], 50) / ms(&times[other], 50));
                let [p50, p90, p99] = [50, 90, 99].map(|p| format!("{:.0}", ms(&times[way], p)));
                table.add_row([(*name).to_owned(), p50, p90, p99, bytes[way].to_string(), of(0), of(1)]);
            }
            println!("{table}\n");
        }
        Ok(())
    }

    /// From no session to the first byte of an answer.
    fn cold(&self, rivals: &Rivals, chain: &Chain, control: &Path) -> Result<(), Failure> {
        let stage = Stage::begin(format!("{} cold starts of each kind", self.colds));
        let mut times = [const { Vec::new() }; 3];
        for round in 0..self.colds {
            stage.say(format!("{round} of {}", self.colds));
            let name = format!("cold{round}");
            times[0].push(rivals.cold(&name)?);
            times[1].push(rivals.cold(&name)?);
            redial(control)?;
            let started = Instant::now();
            let mut scrape = tcp(chain.listen)?;
            scrape.request()?;
            scrape.first_byte()?;
            times[2].push(started.elapsed());
        }
        stage.done();
        let names =
            ["(a) ssh, fresh circuit", "(a) ssh, circuit still open", "(c) scraper-bridge, fresh circuit"];
        let mut table = table(&["cold: no session → first byte", "p50 ms", "p90 ms", "p99 ms", "p50 / (a)"]);
        for (name, of) in names.iter().zip(&times) {
            let [p50, p90, p99] = [50, 90, 99].map(|p| format!("{:.0}", ms(of, p)));
            table.add_row([
                (*name).to_owned(),
                p50,
                p90,
                p99,
                format!("{:.2}", ms(of, 50) / ms(&times[0], 50)),
            ]);
        }
        println!("{table}\n");
        Ok(())
    }
}

/// Has the bridge throw its session away; returns when it has.
fn redial(control: &Path) -> Result<(), Failure> {
    let mut bridge = Connection::new(UnixStream::connect(control)?, "bridge");
    bridge.send("POST /t/backpack/redial", "")?;
    bridge.read_answer()?;
    Ok(())
}

fn tcp(address: SocketAddr) -> Result<Connection, Failure> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    Ok(Connection::new(stream, address))
}

fn table(head: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header(head);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// The `p`th percentile in milliseconds, by nearest rank.
fn ms(times: &[Duration], p: usize) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort();
    let rank = (sorted.len() * p).div_ceil(100).max(1);
    sorted.get(rank - 1).map_or(f64::NAN, |time| time.as_secs_f64() * 1000.0)
}

/// Megabytes of memory that a process has resident (proc(5), `VmRSS`).
fn resident(pid: u32) -> Result<f64, Failure> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
    std::io::stdout().flush()?;
    Ok(kib * 1024.0 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_by_nearest_rank() {
        let times: Vec<_> = (1..=100).rev().map(Duration::from_millis).collect();
        assert_eq!([50, 90, 99, 100].map(|p| ms(&times, p)), [50.0, 90.0, 99.0, 100.0]);
        assert_eq!(ms(&times[..1], 50), 100.0);
    }
}

//! A real Prometheus scrapes a real node_exporter over Tor.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tornet::process::{self, Process};

use crate::build::Programs;
use crate::chain::{self, Chain, free_address, get, wait_for};
use crate::stage::Stage;
use crate::{Failure, packages};

/// Good scrapes that Prometheus must have seen.
const GOOD_SCRAPES: u32 = 3;
/// Set by Ctrl-C and SIGTERM.
static STOP: AtomicBool = AtomicBool::new(false);

/// Options of `cargo xtask demo`.
#[derive(clap::Args)]
pub struct Demo {
    /// End after Prometheus has seen 3 good scrapes
    #[arg(long)]
    once: bool,
    /// The Tor network to use
    #[arg(long, value_enum, default_value = "private")]
    network: NetworkKind,
    /// Delay added to every link of the private network, one way, in milliseconds
    #[arg(long, default_value_t = 0)]
    delay_ms: u64,
}

#[derive(Clone, Copy, PartialEq, clap::ValueEnum)]
enum NetworkKind {
    /// A small one on this machine
    Private,
    /// The one everybody uses
    Public,
}

impl Demo {
    /// Runs the demonstration; when it returns, nothing of it is left.
    pub fn run(self) -> Result<(), Failure> {
        let mut signals = Signals::new([SIGINT, SIGTERM])?;
        std::thread::spawn(move || {
            for _ in signals.forever() {
                STOP.store(true, Ordering::Relaxed);
                // Whoever waits for a child sees it end, gives up, and cleans up on the way out.
                process::end_all();
            }
        });
        packages::ensure(packages::DEMO)?;
        let programs = Programs::build()?;
        let folder = tempfile::Builder::new().prefix("onionscrape-demo-").tempdir()?;
        let result = self.show(&programs, folder.path());
        if STOP.load(Ordering::Relaxed) {
            eprintln!("stopped; nothing is left behind");
            return if self.once { Err("stopped before 3 good scrapes".into()) } else { Ok(()) };
        }
        result
    }

    fn show(&self, programs: &Programs, folder: &Path) -> Result<(), Failure> {
        let network = match self.network {
            NetworkKind::Public => None,
            NetworkKind::Private => {
                let stage = Stage::begin("private Tor network: 3 authorities, 6 relays");
                let options = tornet::Options {
                    delay: Duration::from_millis(self.delay_ms),
                    ..tornet::Options::default()
                };
                let network = tornet::Network::start(&options, |step| stage.say(step.to_string()))?;
                stage.done();
                Some(network)
            }
        };
        let fragment = network.as_ref().map(tornet::Network::fragment);
        let (exporter, _node_exporter) = chain::node_exporter(folder)?;
        let chain = Chain::start(programs, folder, fragment, &[("node", exporter)])?;
        let stage = Stage::begin("Prometheus: 3 good scrapes");
        let prometheus = Prometheus::start(folder, chain.listen)?;
        let mut seen = 0;
        wait_for(Duration::from_secs(90), &prometheus.process, || {
            seen = prometheus.number("sum_over_time(up{job=\"backpack\"}[5m])")?.unwrap_or(0.0) as u32;
            stage.say(format!("{seen} of {GOOD_SCRAPES}"));
            Ok(seen >= GOOD_SCRAPES)
        })?;
        stage.done();
        let up = prometheus.number("up{job=\"backpack\"}")?.unwrap_or(0.0);
        let samples = prometheus.number("scrape_samples_scraped{job=\"backpack\"}")?.unwrap_or(0.0);
        if up != 1.0 || samples < 1.0 {
            return Err(format!("Prometheus says up = {up} with {samples} samples").into());
        }
        println!("\nPrometheus scrapes node_exporter through Tor and SSH:\n");
        println!("  onion address    {}", chain.onion);
        println!("  up               {up}   (Prometheus' own answer)");
        println!("  samples          {samples}");
        println!("  good scrapes     {seen}\n\nOne scrape, hop by hop:\n");
        self.probe(programs, &chain)?;
        if self.once {
            return Ok(());
        }
        let page = format!("http://{}/", chain.bridge_admin);
        println!("\nTo look at in a browser, the page first:\n");
        println!("  scraper-bridge   {page}");
        println!("  Prometheus       http://{}/targets", prometheus.address);
        println!("  the exporter     http://{}/metrics", chain.listen);
        println!("  target-agent     http://{}/", chain.agent_admin);
        show_page(&page);
        println!("\nCtrl-C ends it all.");
        while !STOP.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(200));
        }
        Ok(())
    }

    fn probe(&self, programs: &Programs, chain: &Chain) -> Result<(), Failure> {
        let output = Command::new(&programs.bridge)
            .args(["probe", "backpack", "node", "--config.file"])
            .arg(&chain.bridge_file)
            .output()?;
        for line in String::from_utf8_lossy(&output.stderr).lines() {
            println!("  {line}");
        }
        if output.status.success() { Ok(()) } else { Err("scraper-bridge probe failed".into()) }
    }
}

/// Opens a page in the browser of whoever sits here, if somebody does.
fn show_page(url: &str) {
    let is_there = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    if !is_there("DISPLAY") && !is_there("WAYLAND_DISPLAY") {
        return;
    }
    // Without the program there is nothing to do: the address was printed.
    let opened = Command::new("xdg-open")
        .arg(url)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    if let Ok(mut opened) = opened {
        // It ends by itself, or when the browser does.
        std::thread::spawn(move || opened.wait());
    }
}

/// A Prometheus that scrapes one URL.
struct Prometheus {
    address: SocketAddr,
    process: Process,
}

impl Prometheus {
    fn start(folder: &Path, target: SocketAddr) -> Result<Self, Failure> {
        let file = folder.join("prometheus.yml");
        let text = format!(
            "global:\n  scrape_interval: 2s\n  scrape_timeout: 2s\nscrape_configs:\n  - job_name: backpack\n    \
             static_configs:\n      - targets: ['{target}']\n        labels:\n          instance: backpack\n",
        );
        fs::write(&file, text)?;
        let address = free_address()?;
        let mut command = Command::new(process::find("prometheus")?);
        command
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("prometheus").display()))
            .arg(format!("--web.listen-address={address}"))
            .arg("--log.level=warn");
        Ok(Self { address, process: process::spawn(&command, &folder.join("prometheus.log"))? })
    }

    /// The value of an expression with one result.
    fn number(&self, expression: &str) -> Result<Option<f64>, Failure> {
        let url = format!("http://{}/api/v1/query?query={}", self.address, escaped(expression));
        let answer: serde_json::Value = serde_json::from_str(&get(&url)?.1)?;
        Ok(answer["data"]["result"][0]["value"][1].as_str().and_then(|value| value.parse().ok()))
    }
}

/// Percent-encodes what may not stand in a query (RFC 3986, section 3.4).
fn escaped(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'(' | b')' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

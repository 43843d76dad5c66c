//! Starts a private Tor network on loopback and keeps it until it is told to end.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tornet::{ClientOptions, Error, Network, Options, ServiceOptions, process, socks};

/// A private Tor network on loopback, made from Debian's tor.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Start a network and keep it until Ctrl-C or SIGTERM.
    Run {
        /// Directory for everything; it stays afterwards, for its logs. Without it, a temporary one.
        #[arg(long)]
        dir: Option<PathBuf>,
        /// One-way delay of every link, in milliseconds.
        #[arg(long, default_value_t = 0)]
        delay_ms: u64,
        /// Clients with a source address of their own.
        #[arg(long, default_value_t = 0)]
        clients: usize,
        /// Relays besides the authorities.
        #[arg(long, default_value_t = 6)]
        relays: usize,
        /// Directory authorities.
        #[arg(long, default_value_t = 3)]
        authorities: usize,
    },
    /// Start networks one after the other and print how long each takes, until a
    /// C tor client has fetched a byte through a C tor hidden service.
    Time {
        /// How many.
        #[arg(long, default_value_t = 10)]
        starts: usize,
    },
}

fn main() -> ExitCode {
    let action = Arguments::parse().action;
    let (stop, stopped) = mpsc::channel();
    let (over, result) = oneshot::channel();
    // In a thread of its own, so that a signal is heard whatever it does.
    thread::spawn(move || {
        let _ = over.send(match action {
            Action::Run { dir, delay_ms, clients, relays, authorities } => {
                let delay = Duration::from_millis(delay_ms);
                run(&Options { dir, authorities, relays, delay, clients, ..Options::default() }, &stopped)
            }
            Action::Time { starts } => time(starts),
        });
    });
    match until_over_or_signal(result, stop) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tornet: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Waits for the end of the work. A signal ends it: all children die, which makes
/// everything that waits for them fail, and what is temporary is removed.
#[tokio::main(flavor = "current_thread")]
async fn until_over_or_signal(
    mut result: oneshot::Receiver<Result<(), Error>>,
    stop: mpsc::Sender<()>,
) -> Result<(), Error> {
    let cannot = |source| Error::System { action: "listen for signals".to_owned(), source };
    let mut interrupt = signal(SignalKind::interrupt()).map_err(cannot)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(cannot)?;
    let mut hangup = signal(SignalKind::hangup()).map_err(cannot)?;
    tokio::select! {
        result = &mut result => {
            return result.unwrap_or_else(|_| Err(Error::Argument("the work crashed".to_owned())));
        }
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
    process::end_all();
    drop(stop);
    // Its errors are our doing.
    let _ = tokio::time::timeout(Duration::from_secs(10), result).await;
    Ok(())
}

fn run(options: &Options, stopped: &mpsc::Receiver<()>) -> Result<(), Error> {
    let begun = Instant::now();
    let network = Network::start(options, |step| eprintln!("{step}"))?;
    for node in network.nodes() {
        println!("{:8} {:9} {}", node.name, node.role, node.or_port);
    }
    println!("{}", network.fragment().display());
    for number in 1..=options.clients {
        println!("client {number} from {}", network.client_address(number)?);
    }
    println!("ready after {:.1} s", begun.elapsed().as_secs_f64());
    // Never sent: it ends with its sender.
    let _ = stopped.recv();
    Ok(())
}

fn time(starts: usize) -> Result<(), Error> {
    let mut seconds = Vec::new();
    for number in 1..=starts {
        let (ready, there) = time_one()?;
        println!("start {number:2}: {there:5.1} s (network ready after {ready:.1} s)");
        seconds.push(there);
    }
    seconds.sort_by(f64::total_cmp);
    // The lower of the two in the middle would flatter an even number.
    if let (Some(p50), Some(last)) = (seconds.get(seconds.len() / 2), seconds.last()) {
        println!("p50: {p50:.1} s, longest: {last:.1} s");
    }
    Ok(())
}

/// Seconds until the network was ready, and until a byte came through it.
fn time_one() -> Result<(f64, f64), Error> {
    let begun = Instant::now();
    let seconds = || begun.elapsed().as_secs_f64();
    let cannot = |action: &str| {
        let action = action.to_owned();
        move |source| Error::System { action, source }
    };
    let network = Network::start(&Options::default(), |step| eprintln!("{step}"))?;
    let ready = seconds();
    let listener = TcpListener::bind("127.0.0.1:0").map_err(cannot("listen on 127.0.0.1"))?;
    let target = listener.local_addr().map_err(cannot("listen on 127.0.0.1"))?;
    thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let _ = stream.write_all(b"!");
        }
    });
    let (client, service) = thread::scope(|scope| {
        let client = scope.spawn(|| network.c_tor_client(&ClientOptions::default()));
        let ports = vec![(80, target)];
        let service = network.hidden_service(&ServiceOptions { ports, ..ServiceOptions::default() });
        let crashed = |_| Err(Error::Argument("starting the client crashed".to_owned()));
        (client.join().unwrap_or_else(crashed), service)
    });
    let (client, service) = (client?, service?);
    eprintln!("{:6.1} s  client and hidden service up", seconds());
    let mut byte = [0; 1];
    socks::connect(client.socks, service.hostname(), 80, None, Duration::from_secs(60))
        .and_then(|mut stream| stream.read_exact(&mut byte))
        .map_err(cannot("fetch a byte through the hidden service"))?;
    eprintln!("{:6.1} s  a byte fetched", seconds());
    Ok((ready, seconds()))
}

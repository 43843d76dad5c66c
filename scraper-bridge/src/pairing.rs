//! `add` and `remove`: a ticket becomes a target, and a target is forgotten.

mod device;
mod pending;
mod port;
mod target_file;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io::Read as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use clap::Args;
use hyper::{Method, StatusCode};
use onionscrape::address::Name;
use onionscrape::files::{self, FileError, StateDirectory};
use onionscrape::lifecycle::Failure;
use onionscrape::outln;
use onionscrape::pairing::{Inventory, OWN_NAME};
use onionscrape::ticket::Ticket;
use onionscrape::tor::{Bootstrap, Tor};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use crate::bridge::control_socket;
use crate::config::BridgeConfig;
use crate::inventory::kept::Kept;
use crate::page::Surroundings;
use crate::probe::ask;
use crate::succession::Succession;
use device::Device;
use pending::Pending;
use port::{FIRST_PORT, free_port, taken_addresses};
use target_file::{Offer, TargetFile};

/// How long Tor may take to be ready.
const BOOTSTRAP_LIMIT: Duration = Duration::from_secs(300);
/// Longest ticket that is read, in bytes.
const MAX_TICKET: u64 = 4096;

/// What `add` is told.
#[derive(Args)]
pub struct Addition {
    /// The ticket; read from standard input where it is left out or -, so that it need not stand in
    /// the shell's history
    ticket: Option<String>,
    /// What to call the device [default: its own host name]
    #[arg(long)]
    name: Option<Name>,
    #[arg(long, value_name = "ADDRESS", help = format!(
        "Where to offer its first exporter; others follow on the next ports [default: the first free \
         port from {FIRST_PORT} on]"
    ))]
    listen: Option<SocketAddr>,
    /// Give its exporters no ports of their own: paths and the proxy lead to them
    #[arg(long, conflicts_with = "listen")]
    no_listen: bool,
    /// Offer the agent's own metrics, too, as those of an exporter `agent`; the alerts for agents go by them
    #[arg(long)]
    with_agent: bool,
}

/// Nothing of the ticket.
impl fmt::Debug for Addition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Addition")
            .field("name", &self.name)
            .field("listen", &self.listen)
            .field("no_listen", &self.no_listen)
            .field("with_agent", &self.with_agent)
            .finish_non_exhaustive()
    }
}

impl Addition {
    /// Pairs with the device that the ticket is of, and writes a target for it.
    ///
    /// Run again after it broke off, it goes on where it was: what was begun is kept until the
    /// target is written.
    ///
    /// # Errors
    /// One line that says what is wrong with the ticket, or what failed on the way to the device.
    pub async fn run(self, config: BridgeConfig) -> Result<ExitCode, Failure> {
        let _state = StateDirectory::share(&config.state_directory)?;
        let text = self.ticket_text()?;
        let ticket: Ticket = text.parse().map_err(Failure)?;
        if let Some(target) =
            config.targets.iter().find(|target| target.transport.onion() == Some(&ticket.onion))
        {
            return Err(Failure(format!(
                "the device is here already, as {0}; to pair anew, first run: scraper-bridge remove {0}",
                target.name
            )));
        }
        if let Some(name) = self.name.as_ref().filter(|name| is_taken(&config, name)) {
            return Err(in_use(name));
        }
        if let Some(listen) = self.listen {
            if listen.port() == 0 {
                return Err(Failure("--listen: Prometheus must know the port, so it cannot be 0".into()));
            }
            free_port(&taken_addresses(&config), listen, true)?;
        }
        // What is wrong with it is said before the device is spoken to.
        let web = config.web()?;
        let pending = Pending::open(&config.state_directory, &ticket)?;
        if ticket.has_expired(SystemTime::now()) && !pending.was_begun() {
            let since = humantime::format_rfc3339_seconds(ticket.expires);
            pending.discard()?;
            return Err(Failure(format!(
                "the ticket expired at {since}; make a new one on the device: target-agent ticket"
            )));
        }
        let shutdown = CancellationToken::new();
        let _stop = shutdown.clone().drop_guard();
        let tor = Box::pin(ready_tor(&config, shutdown)).await?;
        let inventory = Box::pin(Device { tor: &tor, ticket: &ticket, pending: &pending }.pair()).await?;
        // Another one may have been added in the meantime; only one at a time chooses what is free.
        let _alone = lock(&config.state_directory)?;
        let config = config.source.read()?;
        let target = self.target(&config, ticket, inventory)?;
        target.write(&config.targets_dir, pending)?;
        let taken_up = reload(&config).await;
        let around = Surroundings::new(config.admin.to_string(), &web, config.proxy);
        onionscrape::output::write(target.shown(&around).as_bytes());
        match taken_up {
            Some(Ok(())) => eprintln!("the running bridge has taken it up"),
            Some(Err(why)) => {
                return Err(Failure(format!(
                    "the target is written, but the running bridge does not take it up:\n{why}"
                )));
            }
            None => eprintln!(
                "no bridge is running on {}; start it with scraper-bridge run",
                config.state_directory.display()
            ),
        }
        Ok(ExitCode::SUCCESS)
    }

    fn ticket_text(&self) -> Result<Zeroizing<String>, Failure> {
        match self.ticket.as_deref() {
            Some(ticket) if ticket != "-" => Ok(Zeroizing::new(ticket.to_owned())),
            _ => {
                let mut text = Zeroizing::new(String::new());
                let mut input = std::io::stdin().take(MAX_TICKET);
                input
                    .read_to_string(&mut text)
                    .map_err(|error| Failure(format!("standard input: {error}")))?;
                Ok(text)
            }
        }
    }

    /// The target as it is to be written: a name and ports that nobody has yet.
    fn target(
        &self,
        config: &BridgeConfig,
        ticket: Ticket,
        inventory: Inventory,
    ) -> Result<TargetFile, Failure> {
        let name = match &self.name {
            Some(name) if is_taken(config, name) => return Err(in_use(name)),
            Some(name) => name.clone(),
            None => unused(config, inventory.device.as_ref()).map_err(Failure)?,
        };
        let taken = taken_addresses(config);
        let mut offers = Vec::new();
        let mut next = self.listen.unwrap_or(FIRST_PORT);
        let own = if self.with_agent { Some(OWN_NAME.parse::<Name>().map_err(Failure)?) } else { None };
        // An agent keeps this name for itself; what a device says that does not is no reason for a file with it twice.
        let theirs = inventory.exporters.into_iter().map(|exporter| exporter.name);
        for exporter in theirs.filter(|name| name.as_str() != OWN_NAME).chain(own) {
            // What a person asked for is taken or refused; what nobody asked for is looked for.
            let chosen = offers.is_empty() && self.listen.is_some();
            let listen = if self.no_listen { None } else { Some(free_port(&taken, next, chosen)?) };
            if let Some(listen) = listen {
                next.set_port(listen.port().saturating_add(1));
            }
            offers.push(Offer { exporter, listen });
        }
        Ok(TargetFile { name, onion: ticket.onion, host_key: ticket.host_key, offers })
    }
}

fn in_use(name: &Name) -> Failure {
    Failure(format!("a target named {name} is here already; choose another --name"))
}

/// Forgets a target that `add` wrote: its file, its keys, and in a running bridge its session.
///
/// # Errors
/// When there is no such target, it stands in the main configuration file, or its files cannot be
/// removed.
pub async fn remove(config: BridgeConfig, name: &str) -> Result<ExitCode, Failure> {
    let _state = StateDirectory::share(&config.state_directory)?;
    let _alone = lock(&config.state_directory)?;
    let unknown = || Failure(format!("no target is named {name:?}"));
    let parsed = name.parse().map_err(|_| unknown())?;
    let is_known = config.targets.iter().any(|target| target.name == parsed);
    // Its keys may lie where `add` puts them all the same.
    if is_known && !TargetFile::path(&config.targets_dir, &parsed).exists() {
        let folder = config.targets_dir.display();
        return Err(Failure(format!(
            "{name} is in no file of its own in {folder}; remove it where it stands"
        )));
    }
    if !TargetFile::remove(&config.targets_dir, &parsed)? {
        return Err(unknown());
    }
    files::remove(&Succession::path(&config.state_directory, &parsed))?;
    files::remove(&Kept::path(&config.state_directory, &parsed))?;
    match reload(&config).await {
        Some(Err(why)) => Err(Failure(format!("{name} is removed, but the running bridge keeps it:\n{why}"))),
        _ => {
            outln!("{name} is removed; on the device it can still come in until: target-agent revoke");
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Keeps other commands from adding and removing while it is held.
fn lock(state_directory: &Path) -> Result<std::fs::File, FileError> {
    files::alone(&state_directory.join("targets.lock"))
}

/// Has a running bridge read its configuration again; `None` if there is none.
async fn reload(config: &BridgeConfig) -> Option<Result<(), String>> {
    use http_body_util::BodyExt as _;
    let stream = tokio::net::UnixStream::connect(control_socket(config)).await.ok()?;
    let response = match ask(stream, Method::POST, "/-/reload".into()).await {
        Ok(response) => response,
        Err(Failure(why)) => return Some(Err(why)),
    };
    if response.status() == StatusCode::OK {
        return Some(Ok(()));
    }
    let body = response.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    Some(Err(String::from_utf8_lossy(&body).trim().to_owned()))
}

/// A Tor client that is ready. Beside a running bridge it shares what that knows of the network.
async fn ready_tor(config: &BridgeConfig, shutdown: CancellationToken) -> Result<Tor, Failure> {
    let tor = Tor::start(&config.tor, shutdown).await?;
    let mut bootstrap = tor.bootstrap();
    let waiting = async {
        let mut said = String::new();
        loop {
            let now = bootstrap.borrow_and_update().clone();
            if now == Bootstrap::Done {
                return true;
            }
            if said != now.to_string() {
                said = now.to_string();
                eprintln!("{said}");
            }
            if bootstrap.changed().await.is_err() {
                return false;
            }
        }
    };
    match timeout(BOOTSTRAP_LIMIT, waiting).await {
        Ok(true) => Ok(tor),
        _ => {
            let now = tor.bootstrap().borrow().to_string();
            Err(Failure(format!("Tor is not ready: {now}; nothing was changed, run the same again later")))
        }
    }
}

fn is_taken(config: &BridgeConfig, name: &Name) -> bool {
    config.targets.iter().any(|target| target.name == *name)
        || TargetFile::path(&config.targets_dir, name).exists()
}

/// The device's own name, with a number if a target has it already.
fn unused(config: &BridgeConfig, device: Option<&Name>) -> Result<Name, String> {
    // With a number a name must still be one.
    let base: String = device.map_or("device", Name::as_str).chars().take(50).collect();
    let mut number = 1;
    loop {
        let name: Name = if number == 1 { base.parse()? } else { format!("{base}-{number}").parse()? };
        if !is_taken(config, &name) {
            return Ok(name);
        }
        number += 1;
    }
}

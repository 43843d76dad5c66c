//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use onionscrape::command::{Documents, Options, block_on};
use onionscrape::files::StateDirectory;
use onionscrape::lifecycle::{self, Failure, Hangups};
use onionscrape::logs::{self, Format, Level, LogSettings};
use onionscrape::outln;
use onionscrape::sandbox::{Entered, Sandbox};
use onionscrape::watchdog;

use crate::access::Guests;
use crate::agent::Agent;
use crate::bridges;
use crate::config::{AgentConfig, Origin};
use crate::doctor::Doctor;
use crate::identity::Identity;
use crate::invitation::Invitation;
use crate::overview::Status;
use crate::rotation::command::Rotate;
use crate::{control, identity, transfer};

/// One thread is enough for a device. It is also quicker than several: what Tor's parts hand to each
/// other gathers into one burst, where a second thread would send off the first cell alone.
const THREADS: usize = 1;

/// Publishes this device's Prometheus exporters as an onion service that speaks SSH only
#[derive(Debug, Parser)]
#[command(name = "target-agent", version)]
pub struct Command {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    act: Option<Act>,
}

#[derive(Debug, Subcommand)]
enum Act {
    /// Run the agent (the default)
    Run,
    /// Print the onion address, without a network and whether or not the agent runs
    Hostname {
        /// Print the address and the SSH host key as JSON
        #[arg(long)]
        json: bool,
    },
    /// Print a ticket: one line that pairs this device with a bridge, once
    Ticket(Invitation),
    /// Show how the running agent is; exits with 1 if bridges cannot reach it
    Status(Status),
    /// Look at every hop from here to a bridge's view of this device; says which does not work, and what
    /// to do about it
    Doctor(Doctor),
    /// List who may come in
    Bridges {
        /// Print the list as JSON
        #[arg(long)]
        json: bool,
    },
    /// Take a bridge's way in away; its sessions end within seconds
    Revoke {
        /// The bridge's name, as `bridges` shows it
        name: String,
    },
    /// Take over the onion address of C tor's HiddenServiceDir, or what `export` wrote
    #[command(visible_alias = "restore")]
    Import {
        /// The folder to read
        #[arg(long, value_name = "DIR")]
        from: PathBuf,
    },
    /// Write this device's identity into a new folder, to keep or to move it
    #[command(visible_alias = "backup")]
    Export {
        /// The folder to make
        #[arg(long, value_name = "DIR")]
        to: PathBuf,
    },
    /// Change the host key or the onion address, with an overlap in which bridges learn of it
    Rotate(Rotate),
    /// Check the configuration and report every mistake in it
    Check,
    #[command(flatten)]
    Documents(Documents),
}

impl Command {
    /// Runs the command; mistakes and failures are on standard error when it returns.
    pub fn run(self) -> ExitCode {
        lifecycle::guard_secrets("target-agent");
        lifecycle::exit_code("target-agent", self.try_run())
    }

    fn try_run(self) -> Result<ExitCode, Failure> {
        let options = self.options;
        let origin = Origin {
            file: options.config_file.clone(),
            state_directory: options.state_dir.clone(),
            log_level: options.log_level,
        };
        let read = || -> Result<_, Failure> {
            let config = origin.read()?;
            options.check_state(&config.state_directory)?;
            Ok(config)
        };
        match self.act.unwrap_or(Act::Run) {
            Act::Run => {
                let config = read()?;
                logs::start(options.log(config.log));
                lifecycle::raise_descriptor_limit();
                let sandbox = enter_sandbox(&config)?;
                block_on(THREADS, run(config, sandbox))
            }
            Act::Hostname { json } => hostname(&read()?, json),
            Act::Ticket(invitation) => invitation.run(&read()?),
            Act::Status(status) => block_on(THREADS, status.run(&read()?)),
            Act::Doctor(doctor) => {
                // What goes wrong is told by the doctor itself, who asks a running agent or none.
                logs::start(options.log(LogSettings { level: Level::Error, format: Format::Logfmt }));
                let config = read();
                block_on(THREADS, doctor.run(config, &options.shown_file()))
            }
            Act::Bridges { json } => bridges::list(&read()?, json),
            Act::Revoke { name } => bridges::revoke(&read()?, &name),
            Act::Import { from } => transfer::import(&read()?, &from),
            Act::Export { to } => transfer::export(&read()?, &to),
            Act::Rotate(rotate) => rotate.run(&read()?),
            Act::Check => check(&origin.read()?, &options.shown_file()),
            Act::Documents(documents) => documents.write::<Self>(),
        }
    }
}

fn hostname(config: &AgentConfig, json: bool) -> Result<ExitCode, Failure> {
    let _state = StateDirectory::share(&config.state_directory)?;
    if json {
        outln!("{}", Identity::open_or_make(config)?.json(&config.front));
    } else {
        outln!("{}", identity::onion_address(config)?.unredacted());
    }
    Ok(ExitCode::SUCCESS)
}

fn check(config: &AgentConfig, file: &str) -> Result<ExitCode, Failure> {
    let mut problems = Guests::read(&config.sources, &Guests::default()).problems;
    let mut warnings = config.warnings();
    for (exporter, fault) in config.file_faults() {
        match fault.or_to_come() {
            Ok(warning) => warnings.push(format!("exporter {exporter}: {warning}")),
            Err(fault) => problems.push(format!("exporter {exporter}: {fault}")),
        }
    }
    if !problems.is_empty() {
        return Err(Failure(problems.join("\n")));
    }
    outln!("{file}: OK");
    for warning in warnings {
        outln!("{file}: warning: {warning}");
    }
    Ok(ExitCode::SUCCESS)
}

/// Before there are other threads, which would stay outside.
fn enter_sandbox(config: &AgentConfig) -> Result<Option<Entered>, Failure> {
    if !config.sandbox {
        return Ok(None);
    }
    // A socket is bound to any port for a connection that comes from a certain address.
    let any = config.tor.binds_connections().then_some(SocketAddr::from(([0; 4], 0)));
    let sandbox = Sandbox::around(&config.state_directory, &config.tor)?;
    Ok(Some(sandbox.binding_to(config.admin.into_iter().chain(any)).enter()))
}

async fn run(config: AgentConfig, sandbox: Option<Entered>) -> Result<ExitCode, Failure> {
    let (shutdown, hangups) = (lifecycle::shutdown_on_signals()?, Hangups::listen()?);
    let socket = control::socket(&config.state_directory);
    let agent = Box::pin(Agent::start(config, shutdown.clone())).await;
    let agent = agent.map_err(|failure| Entered::explain(sandbox.as_ref(), failure))?;
    sandbox.iter().for_each(Entered::tell);
    lifecycle::notify_ready();
    watchdog::keep_fed(socket, shutdown);
    let reloader = agent.reloader().clone();
    hangups.each(move || {
        let reloader = reloader.clone();
        async move {
            // It is told of where it happens.
            let _ = reloader.reload().await;
        }
    });
    agent.run().await?;
    Ok(ExitCode::SUCCESS)
}

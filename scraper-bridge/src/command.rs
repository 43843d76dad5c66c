//! The command line.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use onionscrape::command::{Documents, EVERY, Options, block_on};
use onionscrape::files::{StateDirectory, folder_of};
use onionscrape::lifecycle::{self, Failure, Hangups};
use onionscrape::logs::{self, Format, Level, LogSettings};
use onionscrape::outln;
use onionscrape::sandbox::{Entered, Sandbox};
use onionscrape::ssh::KeyFile;
use onionscrape::watchdog;

use crate::bridge::{Bridge, control_socket};
use crate::config::{self, BridgeConfig, Entrance, Listen, Source};
use crate::descriptors;
use crate::doctor::Doctor;
use crate::pairing::{Addition, remove};
use crate::probe::{probe, redial};
use crate::status::Status;
use crate::{reverse, targets};

/// Two threads, so that a busy session does not hold up the others.
const THREADS: usize = 2;

/// Lets Prometheus scrape devices behind Tor onion services as local HTTP endpoints
#[derive(Debug, Parser)]
#[command(name = "scraper-bridge", version)]
pub struct Command {
    #[command(flatten)]
    options: Options,
    /// TLS and users of all ports that Prometheus scrapes, in exporter-toolkit's format
    #[arg(long = "web.config.file", global = true, value_name = "FILE", help_heading = EVERY)]
    web_config_file: Option<PathBuf>,
    /// Let whoever reaches the admin listener have the configuration read again by POST /-/reload
    #[arg(long = "web.enable-lifecycle", global = true)]
    lifecycle: bool,
    #[command(subcommand)]
    act: Option<Act>,
}

#[derive(Debug, Subcommand)]
enum Act {
    /// Run the bridge (the default)
    Run,
    /// Print this bridge's public key, for a device's authorized_keys
    Key,
    /// Print the host key that devices which come by themselves know this bridge by, for known_hosts; with
    /// the address of the bridge's onion service, if it has one
    HostKey {
        /// The name or IP address at which they reach this machine
        host: Option<String>,
    },
    /// Scrape one exporter once and show the time of each hop
    Probe {
        /// The target's name
        target: String,
        /// The exporter's name; may be left out if the target has only one
        exporter: Option<String>,
    },
    /// Show how the targets of a running bridge are; exits with 1 if one is not up
    Status(Status),
    /// Look at every hop to a target, or to all; says which does not work, and what to do about it
    Doctor(Doctor),
    /// Have a running bridge dial a target anew, over fresh circuits
    Redial {
        /// The target's name
        target: String,
    },
    /// Pair with a device, by the ticket that target-agent ticket printed there
    Add(Addition),
    /// Forget a device that was added
    Remove {
        /// The target's name
        target: String,
    },
    /// List the targets that are configured, whether or not a bridge runs
    Targets {
        /// Print the list as JSON
        #[arg(long)]
        json: bool,
    },
    /// Check the configuration and report every mistake in it
    Check,
    #[command(flatten)]
    Documents(Documents),
}

impl Command {
    /// Runs the command; mistakes and failures are on standard error when it returns.
    pub fn run(self) -> ExitCode {
        lifecycle::guard_secrets("scraper-bridge");
        lifecycle::exit_code("scraper-bridge", self.try_run())
    }

    fn try_run(self) -> Result<ExitCode, Failure> {
        let options = self.options;
        let source = Source {
            file: options.config_file.clone(),
            state_directory: options.state_dir.clone(),
            web_config_file: self.web_config_file,
            lifecycle: self.lifecycle,
        };
        let read = || -> Result<_, Failure> {
            let config = source.read()?;
            options.check_state(&config.state_directory)?;
            Ok(config)
        };
        match self.act.unwrap_or(Act::Run) {
            Act::Run => {
                let config = read()?;
                logs::start(options.log(config.log));
                descriptors::reckon_with(&config);
                let sandbox = enter_sandbox(&config)?;
                block_on(THREADS, run(config, sandbox))
            }
            Act::Key => {
                let state = StateDirectory::share(&read()?.state_directory)?;
                let key = KeyFile::open_or_make(&config::default_key_file(state.path()), "scraper-bridge")?;
                outln!("{}", key.public_line());
                Ok(ExitCode::SUCCESS)
            }
            Act::HostKey { host } => {
                let config = read()?;
                let Some(Entrance { listen, onion }) = config.reverse else {
                    return Err(Failure(
                        "no device comes here by itself; write [reverse] with listen, or with onion = true"
                            .into(),
                    ));
                };
                if let (Some(host), None) = (&host, listen) {
                    return Err(Failure(format!(
                        "{host}: devices come to the bridge's onion service only; leave the name out"
                    )));
                }
                let state = StateDirectory::share(&config.state_directory)?;
                let key = reverse::host_key(state.path())?;
                if let Some(listen) = listen {
                    outln!("{}", reverse::known_hosts_line(&key, host.as_deref(), listen));
                }
                if onion {
                    let address = reverse::onion_address(&config.tor)?;
                    outln!("{}", reverse::known_hosts_line_of_onion(&key, &address));
                }
                Ok(ExitCode::SUCCESS)
            }
            Act::Probe { target, exporter } => {
                let config = read()?;
                // What goes wrong is told by the probe itself.
                logs::start(options.log(LogSettings { level: Level::Error, ..config.log }));
                block_on(THREADS, probe(config, &target, exporter.as_deref()))
            }
            Act::Status(status) => block_on(THREADS, status.run(read()?)),
            Act::Doctor(doctor) => {
                // What goes wrong is told by the doctor itself, who asks a running bridge or none.
                logs::start(options.log(LogSettings { level: Level::Error, format: Format::Logfmt }));
                block_on(THREADS, doctor.run(&source))
            }
            Act::Redial { target } => block_on(THREADS, redial(read()?, &target)),
            Act::Add(addition) => {
                let config = read()?;
                logs::start(options.log(LogSettings { level: Level::Error, ..config.log }));
                block_on(THREADS, addition.run(config))
            }
            Act::Remove { target } => block_on(THREADS, remove(read()?, &target)),
            Act::Targets { json } => targets::list(&read()?, json),
            Act::Check => check(&source.read()?, &options.shown_file()),
            Act::Documents(documents) => documents.write::<Self>(),
        }
    }
}

fn check(config: &BridgeConfig, file: &str) -> Result<ExitCode, Failure> {
    let mut warnings = config.warnings();
    if let Err(mistakes) = config.web() {
        warnings.extend(mistakes.or_to_come()?);
    }
    for target in &config.targets {
        if let Err(fault) = target.tls() {
            warnings.push(format!("target {}: {}", target.name, fault.or_to_come()?));
        }
    }
    outln!("{file}: OK, targets: {}", config.targets.len());
    for warning in warnings {
        outln!("{file}: warning: {warning}");
    }
    Ok(ExitCode::SUCCESS)
}

/// Before there are other threads, which would stay outside.
fn enter_sandbox(config: &BridgeConfig) -> Result<Option<Entered>, Failure> {
    if !config.sandbox {
        return Ok(None);
    }
    let mut sandbox = Sandbox::around(&config.state_directory, &config.tor)?;
    if let Some((file, _)) = &config.sd_file {
        sandbox = sandbox.writing_to(folder_of(file));
    }
    let exporters = config.targets.iter().flat_map(|target| &target.exporters);
    let sockets = exporters.filter_map(|exporter| match &exporter.listen {
        Listen::Unix(path) => Some(folder_of(path).to_owned()),
        _ => None,
    });
    // For targets that are yet to come.
    let runtime = std::env::var_os("RUNTIME_DIRECTORY").unwrap_or_default();
    let runtime = std::env::split_paths(&runtime).filter(|folder| !folder.as_os_str().is_empty());
    let folders: BTreeSet<_> = sockets.chain(runtime).collect();
    Ok(Some(folders.iter().fold(sandbox, |sandbox, folder| sandbox.listening_in(folder)).enter()))
}

async fn run(config: BridgeConfig, sandbox: Option<Entered>) -> Result<ExitCode, Failure> {
    let (shutdown, hangups) = (lifecycle::shutdown_on_signals()?, Hangups::listen()?);
    let targets = config.targets.clone();
    let socket = control_socket(&config);
    let bridge = Bridge::start(config, shutdown.clone()).await;
    let bridge = bridge.map_err(|failure| Entered::explain(sandbox.as_ref(), failure))?;
    sandbox.iter().for_each(Entered::tell);
    // Not in the bridge itself: that of a probe has one target of many.
    bridge.fleet().forget_others(&targets).await;
    lifecycle::notify_ready();
    watchdog::keep_fed(socket, shutdown);
    let reloader = bridge.reloader().clone();
    hangups.each(move || {
        let reloader = reloader.clone();
        async move {
            // It is told of where it happens.
            let _ = reloader.reload().await;
        }
    });
    bridge.run().await;
    Ok(ExitCode::SUCCESS)
}

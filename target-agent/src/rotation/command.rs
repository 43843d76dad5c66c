//! `rotate`: begins a rotation, or shows how far those are that were begun.

use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use clap::Args;
use onionscrape::config::Moment;
use onionscrape::files::StateDirectory;
use onionscrape::lifecycle::Failure;
use onionscrape::outln;
use onionscrape::tor::before_release;

use super::{Part, Rotation, next};
use crate::access::Guests;
use crate::config::{AgentConfig, FrontConfig};
use crate::identity::{self, Identity};

/// How long bridges have unless told otherwise, and at most.
const USUAL: Duration = Duration::from_secs(30 * 24 * 3600);
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

/// What `rotate` is told.
#[derive(Debug, Args)]
pub struct Rotate {
    /// What to change; without it, show what is under way and change nothing
    #[arg(value_enum)]
    part: Option<Part>,
    /// How long bridges have to learn of it [default: 30d]; it counts sooner if all have
    #[arg(long, value_name = "TIME", requires = "part", value_parser = humantime::parse_duration)]
    within: Option<Duration>,
    /// Do not wait for bridges; those that have not learnt of the new one must be paired again
    #[arg(long, requires = "part", conflicts_with = "within")]
    now: bool,
}

impl Rotate {
    /// Begins a rotation, or shows what is under way; a running agent goes on with it within a second.
    ///
    /// # Errors
    /// When nothing can be written, it is not this device's to change, or one is under way already.
    pub fn run(self, config: &AgentConfig) -> Result<ExitCode, Failure> {
        let state = StateDirectory::share(&config.state_directory)?;
        let Some(part) = self.part else { return show(config) };
        if let (Part::HostKey, FrontConfig::Forward(_)) = (part, &config.front) {
            return Err(Failure(
                "the device's own sshd shows its host key ([ssh] forward); change it there".into(),
            ));
        }
        let within = self.within.unwrap_or(USUAL);
        if within > LONGEST {
            return Err(Failure("--within: the longest overlap is 366 days".into()));
        }
        // As soon as it is set right the overlap would be over, before any bridge has learnt of what is to come.
        if let Some(fault) = before_release(SystemTime::now()) {
            return Err(Failure(format!("{fault}, and rotate then")));
        }
        let before = Identity::open_or_make(config)?.current(part);
        let label = part.label();
        let alone = identity::alone(state.path())?;
        next::sweep(config, part)?;
        let begun = Rotation::read(state.path(), part)?;
        if begun.is_some() && !self.now {
            return Err(Failure(format!(
                "another {label} is to come already; see: target-agent rotate, or end it with --now"
            )));
        }
        let now = SystemTime::now();
        let until = if self.now { now } else { now + within };
        let rotation = match begun {
            Some(begun) => Rotation { until, ..begun },
            None => Rotation { next: next::make(config, part)?, until, known: Default::default() },
        };
        rotation.write(state.path(), part)?;
        if self.now && StateDirectory::is_free(state.path()) {
            next::promote(config, part)?;
        }
        drop(alone);
        outln!("{}", rotation.next);
        if self.now {
            eprintln!("this {label} takes the place of {before}");
            return Ok(ExitCode::SUCCESS);
        }
        tell(config, part, &rotation, &before);
        Ok(ExitCode::SUCCESS)
    }
}

fn show(config: &AgentConfig) -> Result<ExitCode, Failure> {
    let identity = Identity::open_or_make(config)?;
    identity.check_rotation(config, Part::HostKey)?;
    identity.check_rotation(config, Part::Onion)?;
    let mut none = true;
    for part in Part::ALL {
        if identity.next(part).is_some()
            && let Some(rotation) = Rotation::read(&config.state_directory, part)?
        {
            none = false;
            outln!("{}", rotation.next);
            tell(config, part, &rotation, &identity.current(part));
        }
    }
    if none {
        outln!("nothing is to be changed; begin with: target-agent rotate host-key, or onion");
    }
    Ok(ExitCode::SUCCESS)
}

/// Says what happens when, and who is waited for.
fn tell(config: &AgentConfig, part: Part, rotation: &Rotation, before: &str) {
    let (label, until) = (part.label(), Moment(rotation.until));
    eprintln!(
        "this {label} takes the place of {before} when every bridge has it, and on {until} in any case"
    );
    let guests = Guests::read(&config.sources, &Guests::default());
    if let FrontConfig::Forward(_) = config.front {
        return eprintln!("the device's own sshd answers, so bridges must be told by hand");
    }
    for problem in &guests.problems {
        eprintln!("somebody who cannot be read is waited for until then: {problem}");
    }
    let missing = rotation.waits_for(&guests, SystemTime::now());
    if missing.is_empty() {
        eprintln!("{} have it, and nobody is waited for: it counts within seconds", rotation.known.len());
    } else {
        eprintln!("{} have it; not yet: {}", rotation.known.len(), missing.join(", "));
    }
    if guests.entries.iter().any(|entry| entry.authority.is_some()) {
        eprintln!("whom a certificate authority lets in is not known, so the date counts");
    }
}

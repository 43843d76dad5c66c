//! `rotate`: begins a rotation, and shows how far one is.

use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use clap::Args;
use onionscrape::config::Moment;
use onionscrape::files::StateDirectory;
use onionscrape::lifecycle::Failure;

use super::{Part, Rotation, finish, next_host_key};
use crate::access::Guests;
use crate::config::{AgentConfig, FrontConfig};
use crate::identity::{self, Identity};

/// The longest overlap.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

/// What `rotate` is told.
#[derive(Debug, Args)]
pub struct Rotate {
    /// What to change
    #[arg(value_enum)]
    part: Part,
    /// How long bridges have to learn of it; the new one takes the old one's place sooner if all have
    #[arg(long, default_value = "30d", value_parser = humantime::parse_duration)]
    within: Duration,
    /// Do not wait for bridges; those that have not learnt of the new one must be paired again
    #[arg(long, conflicts_with = "within")]
    now: bool,
}

impl Rotate {
    /// Begins a rotation, or shows how far the one is that was begun; a running agent goes on with
    /// it within a second.
    ///
    /// # Errors
    /// When nothing can be written, or it is not this device's to change.
    pub fn run(self, config: &AgentConfig) -> Result<ExitCode, Failure> {
        let state = StateDirectory::share(&config.state_directory)?;
        if let (Part::HostKey, FrontConfig::Forward(_)) = (self.part, &config.front) {
            return Err(Failure(
                "the device's own sshd shows its host key ([ssh] forward); change it there".into(),
            ));
        }
        if self.within > LONGEST {
            return Err(Failure("--within: the longest overlap is 366 days".into()));
        }
        let before = Identity::open_or_make(config)?;
        let alone = identity::alone(state.path())?;
        let now = SystemTime::now();
        let begun = Rotation::read(state.path(), self.part)?;
        let is_new = begun.is_none();
        let mut rotation =
            begun.unwrap_or_else(|| Rotation { until: now + self.within, known: Default::default() });
        if self.now {
            rotation.until = now;
        }
        if self.part == Part::HostKey {
            // On disk before anything says that there is one.
            next_host_key(state.path())?;
        }
        if is_new || self.now {
            rotation.write(state.path(), self.part)?;
        }
        drop(alone);
        let identity = Identity::open_or_make(config)?;
        let (old, new) = (before.current(self.part), identity.next(self.part));
        println!("{}", new.unwrap_or_else(|| identity.current(self.part)));
        let guests = Guests::read(&config.sources, &Guests::default());
        let is_due = rotation.is_due(&config.front, &guests, now);
        let label = self.part.label();
        if is_due && StateDirectory::is_free(state.path()) {
            let _alone = identity::alone(state.path())?;
            finish(config, self.part)?;
            eprintln!("this {label} has taken the place of {old}");
        } else if is_due {
            eprintln!("this {label} takes the place of {old} within seconds");
        } else {
            eprintln!(
                "this {label} takes the place of {old} when every bridge has learnt of it, and on {} in any case",
                Moment(rotation.until)
            );
            let missing: Vec<_> = rotation.waits_for(&guests, now).collect();
            match config.front {
                FrontConfig::Ssh(_) => {
                    eprintln!("{} have it; not yet: {}", rotation.known.len(), missing.join(", "));
                }
                FrontConfig::Forward(_) => {
                    eprintln!("the device's own sshd answers, so bridges must be told by hand");
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

//! What a target needs that can fail, gathered before anything is changed.

use std::collections::HashSet;
use std::path::Path;

use onionscrape::address::Name;
use onionscrape::files::Stamp;
use onionscrape::http::{Listener, SocketAccess};
use onionscrape::lifecycle::Failure;
use tracing::warn;

use super::reach::Secrets;
use crate::auto_port::PortPlan;
use crate::config::TargetConfig;
use crate::offer::Listening;

/// What is needed to start a target, gathered before anything is changed.
pub struct Prepared {
    pub(super) config: TargetConfig,
    pub(super) secrets: Secrets,
    pub(super) keys: Vec<Stamp>,
    /// Where each exporter is to be offered, and the listener, except where an old target still has the
    /// place, or another program has the port and may.
    pub(super) offers: Vec<(Listening, Option<Listener>)>,
    /// Whether a port may be had later than the target.
    pub(super) ports_may_be_late: bool,
}

/// What listeners are prepared with.
#[derive(Clone, Copy)]
pub struct Room<'a> {
    /// The ports that exporters are given.
    pub ports: &'a PortPlan,
    /// Who may connect to socket files.
    pub sockets: SocketAccess,
    /// Places that targets still have which are about to go.
    pub held: &'a HashSet<Listening>,
    /// Whether a target can do without a port that another program has, until that lets go of it: at a start nobody
    /// is there to be told, and the other targets are not to wait for one.
    pub ports_may_be_late: bool,
}

impl Prepared {
    /// Reads the target's keys and binds its listeners, except where the place is held.
    ///
    /// # Errors
    /// When a key cannot be used or an address is taken that must not be.
    pub async fn new(config: TargetConfig, state_directory: &Path, room: Room<'_>) -> Result<Self, Failure> {
        let files = config.key_files(state_directory);
        let look = || files.iter().map(|path| Stamp::take(path)).collect::<Vec<_>>();
        let mut keys = look();
        let mut secrets = Secrets::read(&config, state_directory)?;
        if keys != look() {
            // The default key was made, or one was replaced while it was read.
            keys = look();
            secrets = Secrets::read(&config, state_directory)?;
        }
        let mut offers = Vec::new();
        for exporter in &config.exporters {
            let planned = Listening::planned(&config.name, exporter, room.ports);
            let planned = planned.map_err(|why| unoffered(&config, &exporter.name, &why))?;
            let listener = match room.held.iter().any(|held| held.excludes(&planned)) {
                true => None,
                false => match bind(&config, &planned, &exporter.name, room.sockets).await {
                    Err(Failure(why)) if room.ports_may_be_late && planned.port().is_some() => {
                        warn!("{why}; until it can be had the exporter is scraped by its path");
                        None
                    }
                    bound => bound?,
                },
            };
            offers.push((planned, listener));
        }
        Ok(Self { config, secrets, keys, offers, ports_may_be_late: room.ports_may_be_late })
    }
}

/// Binds the listener of an exporter at its place, if it is to have one.
///
/// # Errors
/// When the place is taken.
pub(super) async fn bind(
    target: &TargetConfig,
    place: &Listening,
    exporter: &Name,
    sockets: SocketAccess,
) -> Result<Option<Listener>, Failure> {
    place.bind(sockets).await.map_err(|why| unoffered(target, exporter, &why))
}

fn unoffered(target: &TargetConfig, exporter: &Name, why: &str) -> Failure {
    Failure(format!("target {}, exporter {exporter}: {why}", target.name))
}

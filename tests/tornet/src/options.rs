use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use crate::Error;

/// How to start a network.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where everything is kept, made if needed; it stays when the network ends,
    /// for its logs. What another network left in it is replaced. Without it, a
    /// temporary directory that goes with the network.
    pub dir: Option<PathBuf>,
    /// Directory authorities, 3 to 9. Each is a relay, too.
    pub authorities: usize,
    /// Further relays, 5 to 50. Paths go through these: tor ignores what is
    /// measured of authorities, so their bandwidth is 0.
    pub relays: usize,
    /// One-way delay of every link to a relay, at most 10 s. TCP's own handshake
    /// is not delayed, the first bytes after it are.
    pub delay: Duration,
    /// Where all nodes listen: an address of this machine, loopback unless clients elsewhere are to
    /// reach them.
    pub address: Ipv4Addr,
    /// Clients with a source address of their own, 0 to 254.
    pub clients: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            dir: None,
            authorities: 3,
            relays: 6,
            delay: Duration::ZERO,
            address: Ipv4Addr::LOCALHOST,
            clients: 0,
        }
    }
}

impl Options {
    /// An error that names the first value out of bounds.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let bounds = [
            ("authorities", self.authorities, 3..=9),
            ("relays", self.relays, 5..=50),
            ("clients", self.clients, 0..=254),
            (
                "milliseconds of delay",
                usize::try_from(self.delay.as_millis()).unwrap_or(usize::MAX),
                0..=10_000,
            ),
        ];
        match bounds.iter().find(|(_, value, range)| !range.contains(value)) {
            None => Ok(()),
            Some((what, value, range)) => Err(Error::Argument(format!(
                "{value} {what} asked for; {} to {} are possible",
                range.start(),
                range.end()
            ))),
        }
    }
}

/// A stage that a start has reached. Prints as a short line with its seconds.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Progress {
    /// Time since the start began.
    pub elapsed: Duration,
    /// What has been reached.
    pub stage: String,
}

impl std::fmt::Display for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:6.1} s  {}", self.elapsed.as_secs_f64(), self.stage)
    }
}

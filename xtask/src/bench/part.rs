//! What can be measured by itself.

use clap::ValueEnum as _;

/// A part of the whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// Scrapes while everything is up
    Warm,
    /// From no session to the first byte
    Cold,
    /// Small and large bodies
    Bodies,
    /// Round trips of a scrape
    Trips,
    /// Processor time and bytes of a scrape
    Cost,
    /// Memory with one target
    Memory,
    /// From a start to the first scrape
    Start,
    /// The programs' files
    Size,
    /// Without Tor, one scrape after the other
    Plain,
    /// Without Tor, many at once
    Load,
    /// Many targets without Tor
    Fleet,
    /// Many targets with onion services
    Onions,
}

impl Part {
    /// What the command line calls it.
    pub fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// Whether it needs the network and all rivals.
    pub fn needs_tor(self) -> bool {
        !matches!(self, Self::Size | Self::Plain | Self::Load | Self::Fleet)
    }
}

//! What can be measured by itself.

use clap::ValueEnum as _;

/// A part of the whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// The programs' files
    Size,
    /// Without Tor, one scrape after the other
    Plain,
    /// Without Tor, many at once
    Load,
    /// Many targets without Tor
    Fleet,
    /// Processor time and bytes of a scrape
    Cost,
    /// Scrapes while everything is up, and memory after them
    Warm,
    /// From no session to the first byte
    Cold,
    /// Small and large bodies, and memory after them
    Bodies,
    /// Round trips of a scrape
    Trips,
    /// From a start to the first scrape
    Start,
    /// What the programs take while nobody scrapes
    Idle,
    /// Many targets with onion services
    Onions,
}

impl Part {
    /// What the command line calls it.
    pub fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

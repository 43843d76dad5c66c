//! How much of everything is measured.

use std::time::Duration;

/// How much of everything.
pub struct Sizes {
    /// On the network without delay.
    pub undelayed: Scrapes,
    /// On the one with. A time is mostly the delay's there, and hardly another on the next circuit: few of them say
    /// as much as many, and each takes long.
    pub delayed: Scrapes,
    /// Circuits on which round trips are counted.
    pub trip_circuits: usize,
    /// Scrapes of each kind on each of these.
    pub trips: usize,
    /// Scrapes of each way that are as far apart as in life.
    pub apart: usize,
    /// Blocks of scrapes whose cost is taken.
    pub blocks: usize,
    /// Scrapes of a block.
    pub block: usize,
    /// Starts of each program.
    pub starts: usize,
    /// How long nobody scrapes.
    pub idle: Duration,
    /// Scrapes without Tor, one after the other.
    pub plain: usize,
    /// Scrapes under load.
    pub load: usize,
    /// Of these, how many at once.
    pub at_once: usize,
    /// Targets at once without Tor.
    pub targets: usize,
    /// Minutes that these are scraped for.
    pub minutes: f64,
    /// Targets at once with onion services.
    pub onions: usize,
    /// Minutes that these are scraped for.
    pub onion_minutes: f64,
    /// How long each step on the way to the largest fleet is looked at.
    pub growth: Duration,
}

/// How much of what is measured on one network.
pub struct Scrapes {
    /// Circuits that warm scrapes are spread over; a single one may be a lucky or an unlucky one.
    pub circuits: usize,
    /// Scrapes of each kind on each.
    pub scrapes: usize,
    /// Cold starts of each way.
    pub colds: usize,
    /// Circuits that scrapes of one body are spread over, at most.
    pub body_circuits: usize,
    /// Scrapes of 200 B.
    pub tiny: usize,
    /// Scrapes of 1 MB.
    pub large: usize,
    /// Scrapes of 10 MB; with delay each takes half a minute.
    pub huge: usize,
}

impl Sizes {
    /// Of a full run: some two hours, of which the two fleets take 53 minutes.
    pub const FULL: Self = Self {
        undelayed: Scrapes {
            circuits: 10,
            scrapes: 20,
            colds: 10,
            body_circuits: 5,
            tiny: 20,
            large: 10,
            huge: 5,
        },
        delayed: Scrapes { circuits: 5, scrapes: 20, colds: 6, body_circuits: 3, tiny: 6, large: 6, huge: 3 },
        trip_circuits: 3,
        trips: 5,
        apart: 12,
        blocks: 6,
        block: 50,
        starts: 3,
        idle: Duration::from_mins(3),
        plain: 500,
        load: 20_000,
        at_once: 500,
        targets: 1000,
        minutes: 30.0,
        onions: 200,
        onion_minutes: 15.0,
        growth: Duration::from_secs(45),
    };
    /// Of a quick one.
    pub const QUICK: Self = Self {
        undelayed: Scrapes {
            circuits: 2,
            scrapes: 4,
            colds: 2,
            body_circuits: 2,
            tiny: 3,
            large: 2,
            huge: 1,
        },
        delayed: Scrapes { circuits: 2, scrapes: 2, colds: 1, body_circuits: 1, tiny: 3, large: 1, huge: 0 },
        trip_circuits: 1,
        trips: 2,
        apart: 1,
        blocks: 2,
        block: 30,
        starts: 1,
        idle: Duration::from_secs(10),
        plain: 100,
        load: 2000,
        at_once: 500,
        targets: 100,
        minutes: 0.5,
        onions: 5,
        onion_minutes: 0.5,
        growth: Duration::from_secs(15),
    };

    /// Those of the network whose links have this delay.
    pub fn at(&self, delay: u64) -> &Scrapes {
        if delay == 0 { &self.undelayed } else { &self.delayed }
    }
}

//! What is scraped over Tor, and how it is reached.

/// What is scraped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A real node_exporter.
    Node,
    /// A few lines.
    Tiny,
    /// 1 MB.
    Large,
    /// 10 MB.
    Huge,
}

impl Source {
    /// All of them, in the order of ports.
    pub const ALL: [Self; 4] = [Self::Node, Self::Tiny, Self::Large, Self::Huge];

    /// What the agent calls it.
    pub fn name(self) -> &'static str {
        ["node", "tiny", "large", "huge"][self as usize]
    }

    /// What the page calls it.
    pub fn title(self) -> &'static str {
        ["node_exporter", "200 B", "1 MB", "10 MB"][self as usize]
    }

    /// How many bytes its body has at least, as Prometheus gets it.
    pub fn least(self) -> usize {
        // With gzip node_exporter's has some 10 kB, on a machine with few devices, too.
        [4000, 200, 1_000_000, 10_000_000][self as usize]
    }
}

/// How it is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The original recipe.
    Recipe,
    /// Tor and nothing else.
    Socks,
    /// Our programs.
    Ours,
    /// Our bridge, and the recipe's device.
    OurBridge,
}

impl Way {
    /// All of them, in the order of the tables.
    pub const ALL: [Self; 4] = [Self::Recipe, Self::Socks, Self::Ours, Self::OurBridge];

    /// All of them, another one first in every round: who comes after a pause pays for it.
    pub fn turn(round: usize) -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().cycle().skip(round % Self::ALL.len()).take(Self::ALL.len())
    }

    /// Kinds of scrapes that follow each other in a round, in the one order as often as in the other: who comes
    /// second finds what the first one has left. It changes with every round, and once more when all ways have been
    /// first, so that no way has one of the orders when it comes early.
    pub fn kinds<const N: usize>(round: usize) -> [usize; N] {
        let mut kinds = std::array::from_fn(|kind| kind);
        if (round + round / Self::ALL.len()) % 2 == 1 {
            kinds.reverse();
        }
        kinds
    }

    /// What the page calls it.
    pub fn title(self) -> &'static str {
        [
            "(a) C tor, socat, ssh -L → C tor, sshd",
            "(b) C tor SOCKS → C tor, no SSH",
            "(c) scraper-bridge → target-agent",
            "(d) scraper-bridge → C tor, sshd",
        ][self as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_first_as_often_in_every_place_of_every_way() {
        let mut firsts = [[0; 4]; 4];
        for round in 0..8 {
            let [first, _] = Way::kinds(round);
            for (place, way) in Way::turn(round).enumerate() {
                firsts[way as usize][place] += first;
            }
        }
        assert_eq!(firsts, [[1; 4]; 4], "of two rounds each");
    }
}

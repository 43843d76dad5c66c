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

//! How far arti has come with learning the network.

use std::fmt;

use arti_client::status::{BlockageKind, BootstrapStatus};

/// What to do about a state that cannot be written, while nothing comes from relays.
pub(crate) const READ_ONLY: &str = "nothing comes from any Tor relay, and Tor cannot begin anew: nothing can be written to its state; look at the disk";
/// What to do about a network that accepts connections to relays, and through which nothing comes from them.
pub(crate) const FILTERED: &str =
    "the network lets connections through but not Tor; sign in to a captive portal, or configure bridges";

/// Whether Tor can be used, and if not, why.
#[derive(Clone, Debug, PartialEq)]
pub enum Bootstrap {
    /// Under way, as far as arti can tell.
    Going {
        /// 0 to 1.
        ratio: f32,
    },
    /// Stuck until something outside changes.
    Blocked {
        /// 0 to 1.
        ratio: f32,
        /// `offline`, `filtering`, `cant_reach_tor`, `clock_skewed` or `cant_bootstrap`.
        kind: &'static str,
        /// What a person should know, in a few words.
        advice: &'static str,
    },
    /// Tor can be used.
    Done,
}

impl Bootstrap {
    /// Every kind of [`Blocked`](Self::Blocked).
    pub const KINDS: [&'static str; 5] =
        ["offline", "filtering", "cant_reach_tor", "clock_skewed", "cant_bootstrap"];

    /// 0 to 1; 1 once Tor can be used.
    pub fn ratio(&self) -> f32 {
        match self {
            Self::Going { ratio } | Self::Blocked { ratio, .. } => *ratio,
            Self::Done => 1.0,
        }
    }

    /// True once Tor can be used.
    pub fn is_done(&self) -> bool {
        *self == Self::Done
    }

    /// True while it is stuck for this kind of reason.
    pub fn is_blocked_by(&self, kind: &str) -> bool {
        matches!(self, Self::Blocked { kind: now, .. } if *now == kind)
    }

    /// That the clock must be set first.
    pub(super) fn of_clock(status: &BootstrapStatus, advice: &'static str) -> Self {
        Self::Blocked { ratio: status.as_frac(), kind: "clock_skewed", advice }
    }

    pub(super) fn of(status: &BootstrapStatus) -> Self {
        if status.ready_for_traffic() {
            return Self::Done;
        }
        let ratio = status.as_frac();
        let Some(blockage) = status.blocked() else { return Self::Going { ratio } };
        let (kind, advice) = match blockage.kind() {
            BlockageKind::Offline => ("offline", "no network; check the link"),
            BlockageKind::Filtering => ("filtering", FILTERED),
            BlockageKind::ClockSkewed => ("clock_skewed", "the clock is wrong; set it"),
            BlockageKind::CantBootstrap => ("cant_bootstrap", "the Tor directory cannot be fetched"),
            _ => ("cant_reach_tor", "no Tor relay can be reached; check the firewall, or configure bridges"),
        };
        Self::Blocked { ratio, kind, advice }
    }
}

impl fmt::Display for Bootstrap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Going { ratio } => write!(f, "bootstrapping Tor, {:.0} %", ratio * 100.0),
            Self::Blocked { ratio, advice, .. } => {
                write!(f, "bootstrapping Tor, stuck at {:.0} %: {advice}", ratio * 100.0)
            }
            Self::Done => write!(f, "Tor is ready"),
        }
    }
}

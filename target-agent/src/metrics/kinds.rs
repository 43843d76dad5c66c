//! Kinds of what is counted: refusals, and tickets that were shown.

use prometheus_client::encoding::EncodeLabelSet;

/// A kind of SSH request that was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// A shell, a command or a subsystem.
    Session,
    /// An X11 channel.
    X11,
    /// A channel to an address or name that is not listed.
    DirectTcpip,
    /// A channel to something that is listed, but not for this key.
    NotPermitted,
    /// A channel as for a connection to a forwarded port.
    ForwardedTcpip,
    /// A listening port on the device.
    TcpipForward,
    /// A Unix socket, either way.
    Streamlocal,
    /// A request on an open channel.
    ChannelRequest,
    /// A session more than may be open at once.
    SessionsCap,
    /// A channel more than a session may have open at once, or in its life.
    ChannelsCap,
}

impl Denied {
    pub(super) const ALL: [Self; 10] = [
        Self::Session,
        Self::X11,
        Self::DirectTcpip,
        Self::NotPermitted,
        Self::ForwardedTcpip,
        Self::TcpipForward,
        Self::Streamlocal,
        Self::ChannelRequest,
        Self::SessionsCap,
        Self::ChannelsCap,
    ];

    pub(super) fn label(self) -> RequestLabel {
        let request = match self {
            Self::Session => "session",
            Self::X11 => "x11",
            Self::DirectTcpip => "direct_tcpip",
            Self::NotPermitted => "not_permitted",
            Self::ForwardedTcpip => "forwarded_tcpip",
            Self::TcpipForward => "tcpip_forward",
            Self::Streamlocal => "streamlocal",
            Self::ChannelRequest => "channel_request",
            Self::SessionsCap => "sessions_cap",
            Self::ChannelsCap => "channels_cap",
        };
        RequestLabel { request }
    }
}

/// What became of a ticket that somebody showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TicketOutcome {
    /// A bridge was paired by it.
    Taken,
    /// It was used before.
    Used,
    /// Its time was over.
    Expired,
}

impl TicketOutcome {
    pub(super) const ALL: [Self; 3] = [Self::Taken, Self::Used, Self::Expired];

    pub(super) fn label(self) -> OutcomeLabel {
        let outcome = match self {
            Self::Taken => "taken",
            Self::Used => "used_before",
            Self::Expired => "expired",
        };
        OutcomeLabel { outcome }
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(super) struct RequestLabel {
    request: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(super) struct OutcomeLabel {
    outcome: &'static str,
}

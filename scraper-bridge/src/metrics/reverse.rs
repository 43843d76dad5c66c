//! What devices that come by themselves asked for and did not get.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

/// Something that is refused.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub enum ReverseRefusal {
    /// A login with a key that is no target's, or without one.
    Login,
    /// A session more than may be without a login at once.
    SessionsCap,
    /// A port that is no exporter's, or is forwarded already.
    TcpipForward,
    /// A forwarded Unix socket, or a channel to one.
    Streamlocal,
    /// A channel for a shell, a command or a subsystem.
    Session,
    /// A channel for X11.
    X11,
    /// A channel to somewhere from here.
    DirectTcpip,
    /// A channel for a port that the bridge would have forwarded.
    ForwardedTcpip,
    /// A request on a channel.
    ChannelRequest,
}

const ALL: [(ReverseRefusal, &str); 9] = [
    (ReverseRefusal::Login, "login"),
    (ReverseRefusal::SessionsCap, "sessions_cap"),
    (ReverseRefusal::TcpipForward, "tcpip_forward"),
    (ReverseRefusal::Streamlocal, "streamlocal"),
    (ReverseRefusal::Session, "session"),
    (ReverseRefusal::X11, "x11"),
    (ReverseRefusal::DirectTcpip, "direct_tcpip"),
    (ReverseRefusal::ForwardedTcpip, "forwarded_tcpip"),
    (ReverseRefusal::ChannelRequest, "channel_request"),
];

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(super) struct RequestLabel {
    request: &'static str,
}

/// Counts them; every known label value begins at 0.
#[derive(Clone, Debug)]
pub(super) struct Refusals(pub(super) Family<RequestLabel, Counter>);

impl Default for Refusals {
    fn default() -> Self {
        let family = Family::default();
        for (_, request) in ALL {
            drop(family.get_or_create(&RequestLabel { request }));
        }
        Self(family)
    }
}

impl Refusals {
    pub(super) fn count(&self, what: ReverseRefusal) {
        let request = ALL.iter().find(|(known, _)| *known == what).map_or("", |(_, request)| request);
        self.0.get_or_create(&RequestLabel { request }).inc();
    }
}

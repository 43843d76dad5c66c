//! What tells one series of a metric from the others.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct TargetLabel {
    pub target: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct StageLabel {
    pub target: String,
    pub stage: Stage,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct ReasonLabel {
    pub target: String,
    pub reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct CodingLabel {
    pub target: String,
    pub coding: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct HopLabel {
    pub hop: &'static str,
}

/// The step of connecting that failed.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub enum Stage {
    /// Tor was not ready.
    Bootstrap,
    /// The onion service's descriptor.
    Descriptor,
    /// The circuit to the service.
    Rendezvous,
    /// The stream on the circuit.
    Stream,
    /// Looking up a host's name.
    Resolve,
    /// The TCP connection to a host.
    Connect,
    /// The proxy on the way to a host.
    Proxy,
    /// A device that comes by itself has not come.
    Arrival,
    /// SSH's key exchange.
    SshKex,
    /// The host key was not one that the target may show.
    HostKey,
    /// SSH's authentication.
    Auth,
}

impl Stage {
    /// Those that can fail; an arrival is only waited for.
    pub const ALL: [Self; 10] = [
        Self::Bootstrap,
        Self::Descriptor,
        Self::Rendezvous,
        Self::Stream,
        Self::Resolve,
        Self::Connect,
        Self::Proxy,
        Self::SshKex,
        Self::HostKey,
        Self::Auth,
    ];

    /// The stage as a label value.
    pub fn label(self) -> &'static str {
        match self {
            Self::Bootstrap => "bootstrap",
            Self::Descriptor => "descriptor",
            Self::Rendezvous => "rendezvous",
            Self::Stream => "stream",
            Self::Resolve => "resolve",
            Self::Connect => "connect",
            Self::Proxy => "proxy",
            Self::Arrival => "arrival",
            Self::SshKex => "ssh_kex",
            Self::HostKey => "host_key",
            Self::Auth => "auth",
        }
    }
}

impl EncodeLabelValue for Stage {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        EncodeLabelValue::encode(&self.label(), encoder)
    }
}

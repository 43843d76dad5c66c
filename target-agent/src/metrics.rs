//! What the agent counts.

use onionscrape::address::Name;
use onionscrape::compression::Coding;
use onionscrape::metrics::{ConfigReload, HealingSteps, Raised, TorProgress};
use onionscrape::tor::Bootstrap;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::sync::watch;

use crate::status::AgentStatus;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct StateLabel {
    state: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RequestLabel {
    request: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ExporterLabel {
    exporter: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ReasonLabel {
    exporter: String,
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct CodingLabel {
    exporter: String,
    coding: &'static str,
}

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
    const ALL: [Self; 10] = [
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

    fn label(self) -> RequestLabel {
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
    const ALL: [Self; 3] = [Self::Taken, Self::Used, Self::Expired];

    fn label(self) -> OutcomeLabel {
        let outcome = match self {
            Self::Taken => "taken",
            Self::Used => "used_before",
            Self::Expired => "expired",
        };
        OutcomeLabel { outcome }
    }
}

/// All metrics of an agent; clones count together.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    state: Family<StateLabel, Gauge>,
    /// How far Tor has come.
    pub tor: TorProgress,
    /// Clients that asked for a rendezvous.
    pub rend_requests: Counter,
    ssh_sessions: Gauge,
    /// How many there were so far, for who wants to hear of the next.
    logins: watch::Sender<u64>,
    /// The same of those that were lost.
    losses: watch::Sender<u64>,
    ssh_channels: Gauge,
    /// Logins that were refused.
    pub ssh_auth_failures: Counter,
    ssh_denied: Family<RequestLabel, Counter>,
    tickets: Family<OutcomeLabel, Counter>,
    /// Channels that were asked for and are listed.
    pub ssh_channel_opens: Counter,
    /// What was done to get through again.
    pub healing: HealingSteps,
    exporter_requests: Family<ExporterLabel, Counter>,
    exporter_failures: Family<ReasonLabel, Counter>,
    exporter_dropped_samples: Family<ExporterLabel, Counter>,
    exporter_uncompressed: Family<CodingLabel, Counter>,
    exporter_compressed: Family<CodingLabel, Counter>,
    /// Bytes of bodies that are kept to compress later ones against.
    pub dictionary_bytes: Gauge,
    /// What came of reading the configuration.
    pub config: ConfigReload,
}

impl Metrics {
    /// Metrics with every known label value at 0.
    pub fn new() -> Self {
        let metrics = Self::default();
        for denied in Denied::ALL {
            let _ = metrics.ssh_denied.get_or_create(&denied.label());
        }
        for outcome in TicketOutcome::ALL {
            let _ = metrics.tickets.get_or_create(&outcome.label());
        }
        metrics.status(&AgentStatus::Bootstrapping);
        metrics.tor.note(&Bootstrap::Going { ratio: 0.0 });
        metrics
    }

    /// Puts the metrics into a registry.
    pub fn register(&self, to: &mut Registry) {
        let m = self.clone();
        to.register("agent_state", "1 for the state the agent is in", m.state);
        m.tor.register(to);
        to.register("rend_requests", "Clients that asked for a rendezvous", m.rend_requests);
        to.register("ssh_sessions", "SSH sessions that are logged in", m.ssh_sessions);
        to.register("ssh_channels", "SSH channels that are open", m.ssh_channels);
        to.register("ssh_auth_failures", "SSH logins that were refused", m.ssh_auth_failures);
        to.register("ssh_denied", "SSH requests that were refused, by kind", m.ssh_denied);
        to.register("tickets", "Tickets that were shown, by what became of them", m.tickets);
        to.register(
            "ssh_channel_opens",
            "SSH channels to exporters that were asked for",
            m.ssh_channel_opens,
        );
        m.healing.register(to);
        to.register("exporter_requests", "Requests passed to an exporter by its name", m.exporter_requests);
        to.register("exporter_failures", "Failed requests to an exporter, by reason", m.exporter_failures);
        to.register(
            "exporter_dropped_samples",
            "Samples of an exporter that its filter dropped",
            m.exporter_dropped_samples,
        );
        to.register(
            "exporter_uncompressed_bytes",
            "Bytes of bodies that were compressed on their way to a bridge, before that",
            m.exporter_uncompressed,
        );
        to.register(
            "exporter_compressed_bytes",
            "Bytes of bodies that were compressed on their way to a bridge, after that",
            m.exporter_compressed,
        );
        to.register(
            "dictionary_bytes",
            "Bytes that bodies take, packed, which are kept to compress later ones against",
            m.dictionary_bytes,
        );
        m.config.register(to);
    }

    /// Takes everything about an exporter out, which is not there any more.
    pub fn forget_exporter(&self, name: &Name, reasons: &[&'static str]) {
        let exporter = name.to_string();
        for reason in reasons {
            self.exporter_failures.remove(&ReasonLabel { exporter: exporter.clone(), reason });
        }
        for coding in Coding::ALL.map(Coding::name) {
            let label = CodingLabel { exporter: exporter.clone(), coding };
            self.exporter_uncompressed.remove(&label);
            self.exporter_compressed.remove(&label);
        }
        let label = ExporterLabel { exporter };
        self.exporter_requests.remove(&label);
        self.exporter_dropped_samples.remove(&label);
    }

    /// Notes the agent's state.
    pub fn status(&self, status: &AgentStatus) {
        for state in AgentStatus::LABELS {
            self.state.get_or_create(&StateLabel { state }).set((state == status.label()).into());
        }
    }

    /// Counts a refused request.
    pub fn denied(&self, what: Denied) {
        self.ssh_denied.get_or_create(&what.label()).inc();
    }

    /// Counts a ticket that was shown.
    pub fn ticket(&self, outcome: TicketOutcome) {
        self.tickets.get_or_create(&outcome.label()).inc();
    }

    /// Counts a session as open until the guard is dropped.
    pub fn session(&self) -> Raised {
        self.logins.send_modify(|so_far| *so_far += 1);
        Raised::new(&self.ssh_sessions)
    }

    /// Sessions that are logged in at this moment.
    pub fn sessions(&self) -> i64 {
        self.ssh_sessions.get()
    }

    /// How many sessions there were so far, and every one more: who logged in got through from outside.
    pub fn logins(&self) -> watch::Receiver<u64> {
        self.logins.subscribe()
    }

    /// A session broke off without a word.
    pub fn lost_session(&self) {
        self.losses.send_modify(|so_far| *so_far += 1);
    }

    /// How many sessions broke off so far, and every one more.
    pub fn losses(&self) -> watch::Receiver<u64> {
        self.losses.subscribe()
    }

    /// Counts a channel as open until the guard is dropped.
    pub fn channel(&self) -> Raised {
        Raised::new(&self.ssh_channels)
    }

    /// The part that is about one exporter, with every one of `reasons` at 0.
    pub fn exporter(&self, name: &Name, reasons: &[&'static str]) -> ExporterMetrics {
        let exporter = name.to_string();
        let failures = reasons.iter().map(|reason| {
            let label = ReasonLabel { exporter: exporter.clone(), reason };
            (*reason, self.exporter_failures.get_or_create_owned(&label))
        });
        let failures = failures.collect();
        let compression = Coding::ALL.map(|coding| {
            let label = CodingLabel { exporter: exporter.clone(), coding: coding.name() };
            let before = self.exporter_uncompressed.get_or_create_owned(&label);
            (coding, before, self.exporter_compressed.get_or_create_owned(&label))
        });
        let label = ExporterLabel { exporter };
        ExporterMetrics {
            requests: self.exporter_requests.get_or_create_owned(&label),
            dropped_samples: self.exporter_dropped_samples.get_or_create_owned(&label),
            failures,
            compression,
        }
    }
}

/// The metrics of one exporter.
#[derive(Clone, Debug)]
pub struct ExporterMetrics {
    /// Requests passed to it.
    pub requests: Counter,
    /// Samples that its filter dropped.
    pub dropped_samples: Counter,
    /// By reason. They are held, since one that is looked up anew comes back after it was forgotten.
    failures: Vec<(&'static str, Counter)>,
    /// Bytes before and after, by coding.
    compression: [(Coding, Counter, Counter); 2],
}

impl ExporterMetrics {
    /// Counts a failed request, for one of the reasons that there are.
    pub fn failure(&self, reason: &'static str) {
        if let Some((_, counter)) = self.failures.iter().find(|(known, _)| *known == reason) {
            counter.inc();
        }
    }

    /// Counts a body that was made small, by its bytes before and after.
    pub fn compressed(&self, coding: Coding, before: usize, after: usize) {
        if let Some((_, counted_before, counted_after)) =
            self.compression.iter().find(|(of, ..)| *of == coding)
        {
            counted_before.inc_by(before as u64);
            counted_after.inc_by(after as u64);
        }
    }
}

#[cfg(test)]
mod tests {
    use onionscrape::metrics::{classic_text, registry};

    use super::*;

    #[test]
    fn an_exporter_that_is_gone_does_not_come_back_by_failing() {
        let (metrics, name) = (Metrics::new(), "app".parse().expect("name"));
        let text = || classic_text(&registry("0", |own| metrics.register(own)));
        let app = metrics.exporter(&name, &["refused"]);
        app.failure("refused");
        assert!(text().contains("exporter_failures_total{exporter=\"app\",reason=\"refused\"} 1\n"));
        metrics.forget_exporter(&name, &["refused"]);
        app.failure("refused");
        assert!(!text().contains("\"app\""));
    }
}

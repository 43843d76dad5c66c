//! What the agent counts.

mod exporters;
mod kinds;

use onionscrape::address::Name;
use onionscrape::metrics::{ConfigReload, HealingSteps, Raised, TorProgress};
use onionscrape::tor::Bootstrap;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::sync::watch;

use crate::status::AgentStatus;
pub use exporters::ExporterMetrics;
use exporters::Exporters;
pub use kinds::{Denied, TicketOutcome};
use kinds::{OutcomeLabel, RequestLabel};

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct StateLabel {
    state: &'static str,
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
    exporters: Exporters,
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
        m.exporters.register(to);
        to.register(
            "dictionary_bytes",
            "Bytes that bodies take, packed, which are kept to compress later ones against",
            m.dictionary_bytes,
        );
        m.config.register(to);
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
        self.exporters.of(name, reasons)
    }

    /// Takes everything about an exporter out, which is not there any more.
    pub fn forget_exporter(&self, name: &Name, reasons: &[&'static str]) {
        self.exporters.forget(name, reasons);
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

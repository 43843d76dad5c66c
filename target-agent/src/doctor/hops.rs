//! Each hop on the device: publication, the way back in from outside, SSH, who may come in, exporters.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::Request;
use hyper::ext::ReasonPhrase;
use onionscrape::doctor::{Finding, Findings, examine_page};
use onionscrape::http::FAILURE;
use onionscrape::tor::{ClientAuthKey, DialStage, Tor, TorStream};
use tokio::sync::watch;
use tokio::time::Instant;

use super::remedy;
use crate::access::{Guests, Standing};
use crate::config::FrontConfig;
use crate::exporter::Exporter;
use crate::identity::Identity;
use crate::metrics::Metrics;
use crate::outside::{dial, is_ssh};
use crate::ssh::{Shown, shown_host_key};
use crate::status::AgentStatus;

/// A running agent, to be looked at from outside.
pub struct Agent {
    /// What the device is known by.
    pub identity: Arc<Identity>,
    /// The agent's own way to read the descriptor.
    pub own_key: ClientAuthKey,
    /// How the agent believes to be.
    pub status: watch::Receiver<AgentStatus>,
}

impl Agent {
    /// Dials the device as a bridge does, and looks who answers, until a hop does not work. It takes
    /// a minute at most.
    pub(super) async fn look_from_outside(&self, tor: &Tor, front: &FrontConfig, findings: &Findings) {
        let started = Instant::now();
        let stream = match dial(tor, &self.identity.onion, &self.own_key).await {
            Ok(stream) => stream,
            Err(unreachable) => {
                let hop = match unreachable.stage {
                    DialStage::Bootstrap | DialStage::Descriptor => "publication",
                    DialStage::Rendezvous | DialStage::Stream => {
                        findings.tell(Finding::passed("publication", PUBLISHED)).await;
                        "self-dial"
                    }
                };
                let believed = self.status.borrow().to_string();
                let found = format!("{}; the agent believes to be {believed}", unreachable.what);
                let finding = Finding::failed(hop, found, remedy::of_unreachable(unreachable.stage));
                return findings.tell(finding.after(started.elapsed())).await;
            }
        };
        findings.tell(Finding::passed("publication", PUBLISHED)).await;
        let through = Finding::passed("self-dial", "the device is reached through Tor");
        findings.tell(through.after(started.elapsed())).await;
        let started = Instant::now();
        findings.tell(self.of_ssh(stream, front).await.after(started.elapsed())).await;
    }

    async fn of_ssh(&self, mut stream: TorStream, front: &FrontConfig) -> Finding {
        if let FrontConfig::Forward(_) = front {
            return match is_ssh(&mut stream).await {
                true => Finding::passed("ssh", "an SSH server answers, the device's own"),
                false => Finding::failed("ssh", "nobody answers with SSH's greeting", remedy::OF_SSH),
            };
        }
        match shown_host_key(stream).await {
            Some(Shown::Key(shown)) if shown == self.identity.host_key.fingerprint() => {
                Finding::passed("ssh", "answers with this device's host key")
            }
            Some(_) => {
                let found = "somebody answers at this device's address with another host key";
                Finding::failed("ssh", found, remedy::OF_HOST_KEY)
            }
            None => Finding::failed("ssh", "nobody answers with a host key", remedy::OF_SSH),
        }
    }
}

const PUBLISHED: &str = "the descriptor is found";

/// Who may come in.
pub(super) fn of_guests(guests: &Guests, front: &FrontConfig) -> Finding {
    const HOP: &str = "authorised keys";
    if let FrontConfig::Forward(_) = front {
        return Finding::skipped(HOP, "the device's own sshd decides who may log in");
    }
    let is_ticket = |standing: &Standing| matches!(standing, Standing::Invited(_));
    let tickets = guests.files.iter().filter(|file| is_ticket(&file.standing)).count();
    let found = format!("keys: {}, tickets not taken yet: {tickets}", guests.entries.len());
    if !guests.problems.is_empty() {
        let found = format!("{found}\n{}", guests.problems.join("\n"));
        return Finding::failed(HOP, found, "mend the lines that are named; they let nobody in");
    }
    if guests.entries.is_empty() && tickets == 0 {
        return Finding::warning(HOP, "nobody may come in", "pair a bridge: target-agent ticket");
    }
    Finding::passed(HOP, found)
}

/// One exporter, asked as a bridge has it asked. What is counted of that is thrown away.
pub(super) async fn of_exporter(exporter: &Exporter) -> Finding {
    let hop = format!("exporter {}", exporter.config().name);
    let started = Instant::now();
    let exporter = exporter.apart(&Metrics::new());
    let mut request = Request::new(Empty::<Bytes>::new());
    *request.uri_mut() = hyper::Uri::from_static("/metrics");
    let response = exporter.answer(request).await;
    let (head, body) = response.into_parts();
    let finding = if let Some(reason) = head.headers.get(FAILURE) {
        let phrase = head.extensions.get::<ReasonPhrase>().map(ReasonPhrase::as_bytes).unwrap_or_default();
        let remedy = remedy::of_exporter(reason.to_str().unwrap_or_default());
        Finding::failed(&hop, String::from_utf8_lossy(phrase), remedy)
    } else if !head.status.is_success() {
        Finding::failed(&hop, format!("answers {}", head.status), remedy::of_exporter(""))
    } else {
        match examine_page(&hop, body).await {
            Ok(finding) => finding,
            Err(error) => Finding::failed(&hop, format!("breaks off: {error}"), remedy::of_exporter("")),
        }
    };
    finding.after(started.elapsed())
}

#[cfg(test)]
mod tests {
    use onionscrape::doctor::Outcome;

    use super::*;
    use crate::config::{AgentConfig, ExporterConfig};

    #[tokio::test]
    async fn an_exporter_that_is_down_has_its_reason_and_remedy() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("port");
        let address = listener.local_addr().expect("address");
        drop(listener);
        let folder = tempfile::tempdir().expect("folder");
        let file = folder.path().join("agent.toml");
        let text = format!("[[exporter]]\nname = \"app\"\naddress = \"{address}\"\n");
        std::fs::write(&file, text).expect("written");
        let config = AgentConfig::read(Some(&file), Some(folder.path().to_owned())).expect("config");
        let exporter = |config: &ExporterConfig| Exporter::new(config.clone(), &Metrics::new());
        let finding = of_exporter(&exporter(&config.exporters[0])).await;
        assert_eq!((finding.hop.as_str(), finding.outcome), ("exporter app", Outcome::Failed));
        assert_eq!(finding.found, "exporter app refused the connection");
        assert_eq!(finding.remedy.as_deref(), Some(remedy::of_exporter("refused")));
        // The built-in one is there on every device.
        let host = config.exporters.iter().find(|exporter| exporter.name.as_str() == "host").expect("host");
        assert_eq!(of_exporter(&exporter(host)).await.outcome, Outcome::Passed);
    }

    #[test]
    fn nobody_and_mistakes_are_told_of() {
        let ssh = FrontConfig::Ssh(crate::config::SshSettings { login_grace: std::time::Duration::ZERO });
        let mut guests = Guests::default();
        assert_eq!(of_guests(&guests, &ssh).outcome, Outcome::Warning);
        guests.problems.push("authorized_keys: line 3 is no key".into());
        let finding = of_guests(&guests, &ssh);
        assert_eq!(finding.outcome, Outcome::Failed);
        assert!(finding.found.ends_with("\nauthorized_keys: line 3 is no key"), "{}", finding.found);
        let forward = FrontConfig::Forward("127.0.0.1:22".parse().expect("address"));
        assert_eq!(of_guests(&guests, &forward).outcome, Outcome::Skipped);
    }
}

//! What a person can do about whatever keeps a target from being scraped: one answer for each, for
//! `status`, `doctor` and whoever else tells of it.

use crate::config::TargetConfig;
use crate::failure::ScrapeFailure;
use crate::metrics::Stage;
use crate::reverse;
use crate::target::Trouble;

/// What to do when there is no session.
pub fn of_trouble(trouble: &Trouble, config: &TargetConfig) -> String {
    let is_onion = config.transport.onion().is_some();
    let remedy = match trouble.stage {
        Some(Stage::Bootstrap) => "look at this machine's network and clock; Tor must be reachable",
        Some(Stage::Descriptor) if trouble.closed => {
            "the device is there; pair anew with target-agent ticket, or put a key into its authorized_clients"
        }
        Some(Stage::Descriptor) => "switch the device on, and see target-agent status there",
        Some(Stage::Rendezvous | Stage::Stream) => {
            "wait a minute; if it stays so, restart the agent, or look at the device's network"
        }
        Some(Stage::Resolve) => "look at the host in the target's address, and at this machine's DNS",
        Some(Stage::Connect) => "switch the device on; look at its sshd, and at firewalls on the way",
        Some(Stage::Proxy) => {
            "look at the target's proxy, and whether it lets the bridge through to the device"
        }
        Some(Stage::Arrival) => return format!("on the device run: {}", reverse::command_line(config)),
        Some(Stage::SshKex) if !is_onion => "look whether an SSH server answers there, and at its log",
        Some(Stage::HostKey) if !is_onion => {
            "compare the device's /etc/ssh/ssh_host_*_key.pub with what the target says; do not trust it unless you know why it changed"
        }
        Some(Stage::Auth) if !is_onion => {
            "put the key that scraper-bridge key prints into authorized_keys of the target's user"
        }
        Some(Stage::SshKex) => "look at the agent's log; its release may not fit this one",
        Some(Stage::HostKey) => {
            "compare target-agent hostname --json with the target's host_key; do not trust it unless you know why it changed"
        }
        Some(Stage::Auth) => "on the device see target-agent bridges; pair anew with target-agent ticket",
        None => "nothing, it dials anew by itself",
    };
    remedy.to_owned()
}

/// What to do when there is a session, and no metrics come of it.
pub fn of_scrape(failure: &ScrapeFailure) -> &'static str {
    match failure {
        ScrapeFailure::NotConnected(_) | ScrapeFailure::Denied(_) => "see scraper-bridge status",
        ScrapeFailure::Refused => {
            "compare the exporter's name or address with those in the agent's configuration; see target-agent bridges for what this bridge may scrape"
        }
        ScrapeFailure::NotForwarded => "add -R with the exporter's port to the device's ssh",
        ScrapeFailure::Unreachable => "start the exporter on the device, or mend its address",
        ScrapeFailure::Unopened | ScrapeFailure::Timeout(_) => {
            "see target-agent doctor on the device; if the exporter is quick there, give Prometheus a longer scrape_timeout"
        }
        ScrapeFailure::Aborted => "try again; the session broke off in the middle",
        ScrapeFailure::BadResponse(_) => "make sure that the address and path are those of a metrics page",
        ScrapeFailure::Undecodable => {
            "run the same version on the device; or write enabled = false in [compression] of the bridge"
        }
        ScrapeFailure::TooLarge => "raise max_body under [scrape], or drop metrics on the device",
        ScrapeFailure::Tls(_) => {
            "compare the exporter's certificate with ca_file and server_name of the exporter here"
        }
        ScrapeFailure::Exporter { .. } => "see target-agent doctor on the device",
    }
}

//! Everything that reads what somebody else wrote, each as a function of arbitrary bytes that must
//! return: no panic, no hang, whatever the bytes.
//!
//! - [`text`]: files and lines;
//! - [`http`]: requests from whoever reaches a listener, answers from whoever is an exporter;
//! - [`compressed`]: bodies that an agent made small;
//! - [`ssh`]: what a stranger says to an agent;
//! - [`session`]: what somebody says to it after a key exchange;
//! - [`server`]: the agent that both talk to;
//! - [`plain`]: feeding them without a fuzzer's help.

pub mod compressed;
pub mod http;
pub mod plain;
mod server;
pub mod session;
pub mod ssh;
pub mod text;

/// One reader.
#[derive(Clone, Copy)]
pub struct Target {
    /// Its name, and that of its folder in `corpus`.
    pub name: &'static str,
    /// Reads once.
    pub run: fn(&[u8]),
}

/// All of them.
pub const TARGETS: [Target; 18] = [
    Target { name: "agent_config", run: text::agent_config },
    Target { name: "bridge_config", run: text::bridge_config },
    Target { name: "bridge_file", run: text::bridge_file },
    Target { name: "ticket", run: text::ticket },
    Target { name: "authorized_keys", run: text::authorized_keys },
    Target { name: "known_hosts", run: text::known_hosts },
    Target { name: "onion_address", run: text::onion_address },
    Target { name: "client_auth", run: text::client_auth },
    Target { name: "request", run: http::request },
    Target { name: "scrape_timeout", run: http::scrape_timeout },
    Target { name: "accept", run: http::accept },
    Target { name: "inventory", run: http::inventory },
    Target { name: "exporter_answer", run: http::exporter_answer },
    Target { name: "filtered_answer", run: http::filtered_answer },
    Target { name: "compressed_body", run: compressed::body },
    Target { name: "compressed_pair", run: compressed::pair },
    Target { name: "ssh_stranger", run: ssh::stranger },
    Target { name: "ssh_session", run: session::session },
];

/// The target of this name.
pub fn find(name: &str) -> Option<Target> {
    TARGETS.into_iter().find(|target| target.name == name)
}

//! An agent's SSH server without exporters.

use std::time::Duration;

use onionscrape::ssh::KeyFile;
use target_agent::access::{Access, Sources};
use target_agent::admin::Pages;
use target_agent::config::SshSettings;
use target_agent::exporters::Exporters;
use target_agent::metrics::Metrics;
use target_agent::ssh::{Server, Services};
use target_agent::status::AgentStatus;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// A server that lets in who has one of these keys, and the folder of its files.
pub(crate) fn server(authorized_keys: &str) -> (Server, TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("authorized_keys"), authorized_keys).expect("keys that are listed");
    let metrics = Metrics::new();
    let (_, status) = watch::channel(AgentStatus::Bootstrapping);
    let services =
        Services { exporters: Exporters::new(&[], &metrics), pages: Pages::new(&metrics, &[], status) };
    let host_key = KeyFile::open_or_make(&folder.path().join("host"), "").expect("a key");
    let access = Access::new(Sources::in_state(folder.path()));
    let settings = SshSettings { login_grace: Duration::from_secs(60) };
    (Server::new(settings, &host_key, access, services, metrics, CancellationToken::new()), folder)
}

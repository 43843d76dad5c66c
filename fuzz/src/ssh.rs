//! What a stranger says to an agent, before and in the middle of a key exchange.

use std::sync::LazyLock;
use std::time::Duration;

use onionscrape::ssh::KeyFile;
use target_agent::access::{Access, Sources};
use target_agent::admin::Pages;
use target_agent::config::SshSettings;
use target_agent::metrics::Metrics;
use target_agent::ssh::{Server, Services};
use target_agent::status::AgentStatus;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Longer than anything that goes on without the stranger.
const LIMIT: Duration = Duration::from_secs(10);

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().expect("a runtime"));
static SERVER: LazyLock<(Server, tempfile::TempDir)> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a folder");
    let metrics = Metrics::new();
    let (_, status) = watch::channel(AgentStatus::Bootstrapping);
    let services = Services { exporters: Vec::new(), pages: Pages::new(&metrics, &[], status) };
    let host_key = KeyFile::open_or_make(&folder.path().join("host"), "").expect("a key");
    let access = Access::new(Sources::in_state(folder.path()));
    let settings = SshSettings { login_grace: Duration::from_secs(60) };
    (Server::new(settings, &host_key, access, services, metrics, CancellationToken::new()), folder)
});

/// Says the bytes after a greeting and goes; the server must be done with it.
pub fn stranger(data: &[u8]) {
    RUNTIME.block_on(async {
        let (mut near, far) = duplex(1 << 20);
        let served = tokio::spawn(async move { SERVER.0.serve(far).await });
        let _ = near.write_all(b"SSH-2.0-fuzz\r\n").await;
        let _ = near.write_all(data).await;
        let _ = near.shutdown().await;
        let mut said = Vec::new();
        let reading = tokio::time::timeout(LIMIT, near.read_to_end(&mut said)).await;
        assert!(reading.is_ok(), "the server goes on without the stranger");
        drop(near);
        let ended = tokio::time::timeout(LIMIT, served).await.expect("the session ends");
        ended.expect("no panic");
    });
}

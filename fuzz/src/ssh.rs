//! What a stranger says to an agent, before and in the middle of a key exchange.

use std::sync::LazyLock;
use std::time::Duration;

use target_agent::ssh::Server;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
use tokio::runtime::Runtime;

use crate::server::server;

/// Longer than anything that goes on without the stranger.
const LIMIT: Duration = Duration::from_secs(10);

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().expect("a runtime"));
static SERVER: LazyLock<(Server, TempDir)> = LazyLock::new(|| server(""));

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

//! What somebody says to an agent after a key exchange: before a login, or after one.

use std::sync::LazyLock;
use std::time::Duration;

use rawssh::{Key, Peer, Signer as _};
use target_agent::ssh::Server;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

use crate::server::server;

/// Longer than anything that goes on without the client.
const LIMIT: Duration = Duration::from_secs(60);
/// Most messages of one input.
const MAX_MESSAGES: usize = 64;

/// Its clock goes on at once when there is nothing to do: a refused login would cost a second.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    Builder::new_current_thread().enable_all().start_paused(true).build().expect("a runtime")
});
static SERVER: LazyLock<(Server, TempDir)> = LazyLock::new(|| server(&key().line()));

fn key() -> Key {
    Key::of([1; 32])
}

/// The messages of an input: a byte of length before each, or 255 and two bytes.
fn messages(mut data: &[u8]) -> Vec<&[u8]> {
    let mut found = Vec::new();
    while let [short, rest @ ..] = data {
        let (length, rest) = match rest {
            [high, low, rest @ ..] if *short == 255 => (usize::from(u16::from_be_bytes([*high, *low])), rest),
            rest => (usize::from(*short), rest),
        };
        let (message, rest) = rest.split_at(length.min(rest.len()));
        if !message.is_empty() && found.len() < MAX_MESSAGES {
            found.push(message);
        }
        data = rest;
    }
    found
}

/// Says the messages and goes. The first byte decides when: 0 before the service for logins is asked
/// for, 1 before a login, others after it. The server must be done with it, and let in the next one.
pub fn session(data: &[u8]) {
    let (when, data) = data.split_first().unwrap_or((&0, &[]));
    RUNTIME.block_on(async {
        let (near, far) = duplex(1 << 20);
        let served = tokio::spawn(async move { SERVER.0.serve(far).await });
        let mut peer = Peer::client(near);
        let ready = async {
            peer.begin().await?;
            if *when > 0 {
                peer.ask_to_log_in().await?;
            }
            if *when > 1 {
                assert!(peer.try_key("fuzz", &key()).await?, "who is listed is let in");
            }
            std::io::Result::Ok(())
        };
        timeout(LIMIT, ready).await.expect("in time").expect("a session");
        for message in messages(data) {
            // The server may have ended the session.
            if peer.send(message).await.is_err() {
                break;
            }
        }
        // The server reads on for as long as it can answer.
        let _ = peer.stream().shutdown().await;
        let heard = timeout(LIMIT, peer.stream().read_to_end(&mut Vec::new())).await;
        assert!(heard.is_ok(), "the server goes on without the client");
        drop(peer);
        timeout(LIMIT, served).await.expect("the session ends").expect("no panic");
    });
}

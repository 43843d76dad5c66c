//! How our own SSH servers speak: an agent's, and a bridge's for devices that come by themselves.

use std::sync::Arc;
use std::time::Duration;

use russh::server::{Config, Handler, RunningSession};
use russh::{Disconnect, MethodKind, MethodSet, SshId};
use tokio::time::timeout;

use super::{AGENT_HOST_KEYS, KeyFile, MAX_PACKET, WINDOW, algorithms};

/// What peers are greeted with; no version, since strangers can read it.
const GREETING: &str = "SSH-2.0-onionscrape";
/// Refused logins before a session is ended.
const MAX_AUTH_ATTEMPTS: usize = 6;
/// A session without a packet from the peer for so long is over; this also bounds blocked writes.
const INACTIVITY: Duration = Duration::from_secs(120);
/// How long a peer may take to notice that its session is to end.
const GOODBYE: Duration = Duration::from_secs(2);

/// How quiet peers are asked whether they are still there.
#[derive(Clone, Copy, Debug)]
pub struct Keepalive {
    /// After so much silence.
    pub interval: Duration,
    /// So many questions may go without an answer.
    pub unanswered: usize,
}

/// What a server shows and allows: public keys only, and few tries.
pub fn server_config(host_key: &KeyFile, keepalive: Keepalive) -> Arc<Config> {
    Arc::new(Config {
        server_id: SshId::Standard(GREETING.into()),
        methods: MethodSet::from(&[MethodKind::PublicKey][..]),
        // OpenSSH begins with a login that asks which methods there are; that is no guess.
        auth_rejection_time_initial: Some(Duration::ZERO),
        keys: vec![host_key.private().as_ref().clone()],
        window_size: WINDOW,
        maximum_packet_size: MAX_PACKET,
        preferred: algorithms(AGENT_HOST_KEYS),
        max_auth_attempts: MAX_AUTH_ATTEMPTS,
        inactivity_timeout: Some(INACTIVITY),
        keepalive_interval: Some(keepalive.interval),
        keepalive_max: keepalive.unanswered,
        ..Config::default()
    })
}

/// Lets the peer know why its session ends, and gives it 2 s to close.
pub async fn goodbye<H: Handler>(session: RunningSession<H>, why: &str) {
    let handle = session.handle();
    let said = async {
        let _ = handle.disconnect(Disconnect::ByApplication, why.into(), "en".into()).await;
        let _ = session.await;
    };
    let _ = timeout(GOODBYE, said).await;
}

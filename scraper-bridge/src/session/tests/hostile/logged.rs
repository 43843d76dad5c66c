//! What a host says, and the log.

use std::io::{self, Write};

use tracing_subscriber::util::SubscriberInitExt as _;

use super::*;

/// Where log lines are written to.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("lock").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_host_says_is_not_logged() {
    let rig = Rig::new();
    let lines = Lines::default();
    let to = lines.clone();
    let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_ansi(false);
    // What the SSH library logs is gathered as well.
    let gathering = subscriber.with_writer(move || to.clone()).finish().set_default();
    let evil = "evil\x1b]0;owned\x07\x1b[2J\r\nlevel=error forged";
    for said in [
        message::disconnect(evil),
        message::global_request(evil, b""),
        message::open(evil, 1, 1, 1, b""),
        Message::new(message::DEBUG).boolean(true).string(evil).string("").done(),
        message::refuse(0, evil),
    ] {
        let (session, host) = with(&rig, vec![said]).await;
        let _ = timeout(Duration::from_secs(1), session.ended()).await;
        drop(session);
        host.abort();
    }
    for said in [
        message::disconnect(evil),
        Message::new(message::USERAUTH_BANNER).string(evil).string("").done(),
        Message::new(message::EXT_INFO).number(1).string(evil).string(evil).done(),
        Message::new(message::USERAUTH_FAILURE).string(evil).boolean(false).done(),
    ] {
        rig.fails(async move |mut peer: Peer<DuplexStream>| {
            peer.begin().await.expect("keys");
            peer.accept_service().await.expect("asked");
            peer.receive_one_of(&[message::USERAUTH_REQUEST]).await.expect("a login");
            let _ = peer.send(&said).await;
            while peer.receive().await.is_ok() {}
        })
        .await;
    }
    rig.fails(async move |mut peer: Peer<DuplexStream>| {
        peer.offer.kex = evil.into();
        peer.begin().await.is_ok()
    })
    .await;
    drop(gathering);
    let said = String::from_utf8(std::mem::take(&mut lines.0.lock().expect("lock"))).expect("text");
    assert!(said.lines().count() > 50, "nothing was gathered");
    let raw = said.chars().find(|letter| letter.is_control() && *letter != '\n' && *letter != '\t');
    assert_eq!(raw, None, "a control character is in the log");
    for line in said.lines() {
        assert!(!line.starts_with("level=error forged"), "a line is forged");
        let level = line.split_whitespace().nth(1).unwrap_or_default();
        let of_ours = line.contains(" scraper_bridge") || line.contains(" onionscrape");
        let told = matches!(level, "INFO" | "WARN" | "ERROR") && of_ours || level == "ERROR";
        assert!(!(told && line.contains("evil")), "{line}");
    }
}

//! Logins with a security key, whose part software plays.

use rawssh::{Peer, SecurityKey, Signer as _};

use super::*;

impl Rig {
    /// Tries to log in with a key after another was listed; a channel proves a login.
    async fn lets_in(&self, listed: &SecurityKey, key: &SecurityKey) -> bool {
        let next = self.authorized_keys.with_extension("next");
        std::fs::write(&next, format!("{} a security key\n", listed.line())).expect("written");
        std::fs::rename(&next, &self.authorized_keys).expect("renamed");
        let (near, far) = duplex(64 << 10);
        let server = self.server.clone();
        tokio::spawn(async move { server.serve(far).await });
        let mut peer = Peer::client(near);
        peer.begin().await.expect("keys");
        peer.ask_to_log_in().await.expect("given");
        let offered = peer.offer_key("anybody", key).await.expect("an answer");
        assert_eq!(offered, listed.public() == key.public(), "what is listed is asked to sign");
        if !peer.try_key("anybody", key).await.expect("an answer") {
            return false;
        }
        peer.open_to("quick", 80, 1).await.expect("an answer").is_some()
    }
}

#[tokio::test(start_paused = true)]
async fn a_listed_security_key_logs_in_and_gets_a_channel() {
    let rig = Rig::new().await;
    let key = SecurityKey::of([1; 32]);
    assert!(rig.lets_in(&key, &key).await);
    let for_a_host = SecurityKey { application: "ssh:host", signed_application: "ssh:host", ..key.clone() };
    assert!(rig.lets_in(&for_a_host, &for_a_host).await);
    let verified = SecurityKey { flags: 5, counter: u32::MAX, ..key.clone() };
    assert!(rig.lets_in(&key, &verified).await, "whoever touched it was verified, too");
}

#[tokio::test(start_paused = true)]
async fn a_security_key_counts_with_everything_that_was_signed() {
    let rig = Rig::new().await;
    let key = SecurityKey::of([1; 32]);
    let other = SecurityKey::of([2; 32]);
    assert!(!rig.lets_in(&key, &other).await, "a key that is not listed");
    let elsewhere = SecurityKey { signed_application: "https://example.com", ..key.clone() };
    assert!(!rig.lets_in(&key, &elsewhere).await, "a signature for another application");
    let another = SecurityKey { application: "ssh:other", signed_application: "ssh:other", ..key.clone() };
    assert!(!rig.lets_in(&key, &another).await, "a key for another application");
    assert_eq!(rig.metric("onionscrape_ssh_sessions"), "0");

    let (near, far) = duplex(64 << 10);
    let server = rig.server.clone();
    tokio::spawn(async move { server.serve(far).await });
    let mut peer = Peer::client(near);
    peer.begin().await.expect("keys");
    peer.ask_to_log_in().await.expect("given");
    // Each of the last 69 bytes: 64 of the signature, the flags, the counter.
    let right = peer.signed_request("anybody", &key);
    for from_the_end in [1, 5, 6, 69] {
        let mut wrong = right.clone();
        let at = wrong.len() - from_the_end;
        wrong[at] ^= 1;
        peer.send(&wrong).await.expect("sent");
        let answer = peer.receive().await.expect("an answer");
        assert_eq!(answer.first(), Some(&rawssh::message::USERAUTH_FAILURE), "{from_the_end}: {answer:?}");
    }
    peer.send(&right).await.expect("sent");
    let answer = peer.receive().await.expect("an answer");
    assert_eq!(answer, [rawssh::message::USERAUTH_SUCCESS]);
}

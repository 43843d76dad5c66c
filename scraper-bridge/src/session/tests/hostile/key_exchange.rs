//! Up to the end of the key exchange.

use rawssh::Moment;
use tokio::io::AsyncWriteExt as _;

use super::*;

/// A host that knows the pinned key's public half only.
struct Impostor;

impl Signer for Impostor {
    fn algorithm(&self) -> &'static str {
        "ssh-ed25519"
    }

    fn public(&self) -> Vec<u8> {
        pinned().public()
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        Key::of([5; 32]).sign(message)
    }
}

/// A host that shows a key of another kind than was agreed.
struct AnotherKind;

impl Signer for AnotherKind {
    fn algorithm(&self) -> &'static str {
        "ssh-rsa"
    }

    fn public(&self) -> Vec<u8> {
        Message::blob().string("ssh-rsa").large_number(&[3]).large_number(&[0xff; 64]).done()
    }

    fn sign(&self, _: &[u8]) -> Vec<u8> {
        Message::blob().string("ssh-rsa").string([0; 64]).done()
    }
}

#[tokio::test(start_paused = true)]
async fn a_host_that_does_not_come_to_its_version_is_given_up() {
    let rig = Rig::new();
    let started = Instant::now();
    for line in [&b"welcome to a host\r\n"[..], b"x", b"\n", b"\r\n", b"\0", b"SSH-2.0-"] {
        let before = memory();
        let failure = rig.fails(
            async move |mut peer: Peer<DuplexStream>| {
                while peer.stream().write_all(line).await.is_ok() {}
            },
        );
        assert_eq!(failure.await, LoginFailure::KeyExchange, "{line:?}");
        little_is_remembered(before);
    }
    assert!(started.elapsed() < Duration::from_secs(1), "it takes no time to see");
    let failure = rig.fails(async |peer: Peer<DuplexStream>| {
        std::future::pending::<()>().await;
        drop(peer);
    });
    assert_eq!(failure.await, LoginFailure::KeyExchange);
    assert!(started.elapsed() < Duration::from_secs(31), "{:?}", started.elapsed());
    // Nor one that stops in the middle of its key exchange.
    let failure = rig.fails(async |mut peer: Peer<DuplexStream>| {
        peer.exchange_versions().await.expect("versions");
        let offer = peer.offer.message();
        peer.send(&offer).await.expect("heard");
        std::future::pending::<()>().await;
    });
    assert_eq!(failure.await, LoginFailure::KeyExchange);
    rig.still_logs_in().await;
}

#[tokio::test(start_paused = true)]
async fn weak_algorithms_are_not_agreed_on() {
    let rig = Rig::new();
    let started = Instant::now();
    type Change = fn(&mut rawssh::Offer);
    let weak: [(&str, Change); 12] = [
        ("group 1", |offer| offer.kex = "diffie-hellman-group1-sha1".into()),
        ("SHA-1", |offer| offer.kex = "diffie-hellman-group14-sha1".into()),
        ("a group of the host's choice", |offer| offer.kex = "diffie-hellman-group-exchange-sha1".into()),
        ("no key exchange", |offer| offer.kex = "none".into()),
        ("strictness and no more", |offer| offer.kex = "kex-strict-s-v00@openssh.com".into()),
        ("RSA with SHA-1", |offer| offer.host_key = "ssh-rsa".into()),
        ("DSA", |offer| offer.host_key = "ssh-dss".into()),
        ("CBC", |offer| offer.cipher = "aes256-cbc,3des-cbc".into()),
        ("CTR without a MAC", |offer| {
            offer.cipher = "aes256-ctr".into();
            offer.mac = "none".into();
        }),
        ("no cipher", |offer| offer.cipher = "none".into()),
        ("compression", |offer| offer.compression = "zlib,zlib@openssh.com".into()),
        ("a list of 100 KiB", |offer| offer.kex = "x,".repeat(50 << 10)),
    ];
    for (what, change) in weak {
        let failure = rig.fails(async move |mut peer: Peer<DuplexStream>| {
            change(&mut peer.offer);
            assert!(peer.begin().await.is_err(), "{what}");
        });
        assert_eq!(failure.await, LoginFailure::KeyExchange, "{what}");
    }
    assert!(started.elapsed() < Duration::from_secs(1), "each is seen at once");
    rig.still_logs_in().await;
}

#[tokio::test(start_paused = true)]
async fn only_who_has_the_pinned_key_is_the_host() {
    let rig = Rig::new();
    let begins = async |mut peer: Peer<DuplexStream>| peer.begin().await.is_ok();
    let mismatch = LoginFailure::HostKey(HostKeyFault::Mismatch);
    let (login, _) = rig.meets(Key::of([6; 32]), begins).await;
    assert_eq!(login.err(), Some(mismatch), "the key of another target");
    let (login, _) = rig.meets(Impostor, begins).await;
    assert_eq!(login.err(), Some(LoginFailure::KeyExchange), "a signature of another key");
    let (login, _) = rig.meets(AnotherKind, begins).await;
    assert!(login.is_err(), "a key of another kind");
    let (login, _) = rig.meets(rawssh::SecurityKey::of([4; 32]), begins).await;
    assert!(login.is_err(), "a security key");
    rig.still_logs_in().await;
}

/// Where strict key exchange was agreed, nothing can be slipped in: see the agent's tests.
#[tokio::test(start_paused = true)]
async fn nothing_can_be_slipped_into_a_strict_key_exchange() {
    let rig = Rig::new();
    let intruders = [
        message::ignore(0),
        Message::new(message::DEBUG).boolean(true).string("x").string("").done(),
        Message::new(message::UNIMPLEMENTED).number(0).done(),
        Message::new(message::EXT_INFO).number(0).done(),
        vec![message::USERAUTH_SUCCESS],
        message::global_request("x", b""),
        vec![192],
    ];
    for moment in [Moment::BeforeOffer, Moment::BeforeShare, Moment::BeforeNewKeys] {
        for intruder in &intruders {
            let (kind, intruder) = (intruder[0], intruder.clone());
            let failure = rig.fails(async move |mut peer: Peer<DuplexStream>| {
                peer.inserted = Some((moment, intruder));
                peer.begin().await?;
                peer.let_in().await
            });
            assert_eq!(failure.await, LoginFailure::KeyExchange, "{moment:?}: {kind}");
        }
        // Without strictness SSH allows a message to ignore.
        let (login, _host) = rig
            .meets(pinned(), async move |mut peer: Peer<DuplexStream>| {
                peer.offer.kex = "curve25519-sha256".into();
                peer.inserted = Some((moment, message::ignore(0)));
                good_host(peer).await;
            })
            .await;
        assert!(login.is_ok(), "{moment:?}");
    }
}

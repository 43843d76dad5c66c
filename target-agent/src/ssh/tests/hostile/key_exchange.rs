//! Messages where a key exchange has no place for them.

use rawssh::Moment;

use super::*;

const EVERYWHERE: [Moment; 3] = [Moment::BeforeOffer, Moment::BeforeShare, Moment::BeforeNewKeys];

/// A message that is slipped in unnoticed lets somebody on the way cut off another one later, which
/// is how the attack called Terrapin begins. Strict key exchange ends the session instead.
#[tokio::test]
async fn nothing_can_be_slipped_into_a_strict_key_exchange() {
    let rig = Rig::new().await;
    let intruders = [
        message::ignore(0),
        Message::new(message::DEBUG).boolean(true).string("x").string("").done(),
        Message::new(message::UNIMPLEMENTED).number(0).done(),
        Message::new(message::EXT_INFO).number(0).done(),
        message::service_request("ssh-userauth"),
        vec![message::USERAUTH_SUCCESS],
        message::open_to("quick", 80, 1),
        vec![192],
    ];
    for moment in EVERYWHERE {
        for intruder in &intruders {
            let (mut peer, served) = rig.peer();
            peer.inserted = Some((moment, intruder.clone()));
            let begun = match peer.begin().await {
                // The server's NEWKEYS may be on its way before it sees the message.
                Ok(()) => peer.ask_to_log_in().await,
                Err(error) => Err(error),
            };
            assert!(begun.is_err(), "{moment:?}: a message of kind {} passes", intruder[0]);
            drop(peer);
            is_shown_out(served, &format!("{moment:?}: {}", intruder[0])).await;
        }
    }
    assert_eq!(rig.metric("onionscrape_ssh_sessions"), "0");
    rig.still_serves().await;
}

/// Without strict key exchange SSH allows such messages, so the test above tests what it says.
#[tokio::test]
async fn a_key_exchange_that_is_not_strict_lets_a_message_to_ignore_pass() {
    let rig = Rig::new().await;
    for moment in EVERYWHERE {
        let (mut peer, _served) = rig.peer();
        peer.offer.kex = "curve25519-sha256".into();
        peer.inserted = Some((moment, message::ignore(0)));
        peer.log_in(&rig.raw_key()).await.unwrap_or_else(|error| unreachable!("{moment:?}: {error}"));
        scrapes(&mut peer, 1).await;
    }
}

#[tokio::test]
async fn a_storm_of_rekeys_is_weathered() {
    let rig = Rig::new().await;
    let (mut peer, served) = rig.logged_in_peer().await;
    for _ in 0..500 {
        peer.exchange_keys().await.expect("other keys");
    }
    scrapes(&mut peer, 1).await;
    // One in another is none.
    let offer = peer.offer.message();
    peer.send(&offer).await.expect("heard");
    peer.send(&offer).await.expect("heard");
    while peer.receive().await.is_ok() {}
    drop(peer);
    is_shown_out(served, "a key exchange in another").await;
    rig.wait_for("onionscrape_ssh_channels", "0").await;
    rig.still_serves().await;
}

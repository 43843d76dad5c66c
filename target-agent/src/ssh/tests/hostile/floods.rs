//! More of something than anybody needs.

use super::*;

/// Messages that are to be ignored, of 32 KiB each.
fn to_be_ignored() -> [Vec<u8>; 3] {
    let text = vec![b'x'; 32 << 10];
    [
        message::ignore(32 << 10),
        Message::new(message::DEBUG).boolean(true).string(&text).string("").done(),
        Message::new(message::UNIMPLEMENTED).raw(&text).done(),
    ]
}

#[tokio::test]
async fn what_is_to_be_ignored_costs_no_memory() {
    let rig = Rig::new().await;
    let before = memory();
    let (mut peer, _served) = rig.peer();
    peer.begin().await.expect("keys");
    for flood in to_be_ignored() {
        for _ in 0..2048 {
            peer.send(&flood).await.expect("heard");
        }
    }
    peer.ask_to_log_in().await.expect("given");
    assert!(peer.try_key("anybody", &rig.raw_key()).await.expect("an answer"));
    for flood in to_be_ignored() {
        for _ in 0..2048 {
            peer.send(&flood).await.expect("heard");
        }
    }
    scrapes(&mut peer, 1).await;
    let grown = memory().saturating_sub(before);
    assert!(grown < 128 << 20, "{grown} of {} bytes are kept", 384 << 20);
    rig.still_serves().await;
}

/// Whoever asks and does not read the answers is not listened to any more, and in the end shown out.
#[tokio::test(start_paused = true)]
async fn questions_whose_answers_nobody_reads_do_not_pile_up() {
    let rig = Rig::new().await;
    for question in [
        message::global_request("tcpip-forward", &Message::blob().string("").number(0).done()),
        message::global_request("keepalive@openssh.com", b""),
        message::open_to("192.0.2.1", 80, 1),
        message::open("nonsense", 1, 1, 1, b""),
    ] {
        let (mut peer, served) = rig.logged_in_peer().await;
        let mut asked: u32 = 0;
        while peer.send(&question).await.is_ok() {
            asked += 1;
            assert!(asked < 100_000, "all were listened to");
        }
        is_shown_out(served, "one who does not read").await;
    }
    tokio::time::resume();
    rig.still_serves().await;
}

#[tokio::test]
async fn a_session_opens_so_many_channels_and_no_more() {
    let rig = Rig::new().await;
    for client_closes in [true, false] {
        let (mut peer, served) = rig.logged_in_peer().await;
        let before = memory();
        let mut opened = 0;
        while let Ok(theirs) = peer.open_to("agent", 80, opened).await {
            let theirs = theirs.expect("room");
            opened += 1;
            assert!(opened <= 10_000, "there is no end of channels");
            // The end of its requests has the server close the channel.
            peer.send(&message::about(message::CHANNEL_EOF, theirs)).await.expect("heard");
            peer.receive_one_of(&[message::CHANNEL_CLOSE]).await.expect("closed");
            if client_closes {
                peer.send(&message::about(message::CHANNEL_CLOSE, theirs)).await.expect("heard");
            }
        }
        assert_eq!(opened, 4096);
        let grown = memory().saturating_sub(before);
        assert!(grown < 128 << 20, "{grown} bytes are kept");
        drop(peer);
        is_shown_out(served, "one who opens channels without end").await;
    }
    assert_eq!(rig.denied("channels_cap"), "2");
    rig.still_serves().await;
}

//! In a session that is up.

use std::io;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::oneshot;

use super::*;

async fn goes_on(session: &Session, what: &str) {
    let opened = timeout(Duration::from_secs(5), session.channel("node".into(), 80, ())).await;
    assert!(opened.is_ok_and(|opened| opened.is_ok()), "{what}: the session is of no use any more");
}

#[tokio::test(start_paused = true)]
async fn a_host_opens_no_channels() {
    let rig = Rig::new();
    let path = Message::blob().string("/run/x").string("");
    let kinds = [
        ("session", Vec::new()),
        ("direct-tcpip", message::destination("127.0.0.1", 22)),
        ("forwarded-tcpip", message::destination("127.0.0.1", 22)),
        ("x11", Message::blob().string("127.0.0.1").number(6000).done()),
        ("auth-agent@openssh.com", Vec::new()),
        ("forwarded-streamlocal@openssh.com", path.clone().done()),
        ("direct-streamlocal@openssh.com", path.number(0).done()),
        ("nonsense", Vec::new()),
    ];
    let (said, all_said) = oneshot::channel();
    let host = async move |mut peer: Peer<DuplexStream>| {
        peer.begin().await.expect("keys");
        peer.let_in().await.expect("let in");
        let before = memory();
        for number in 0..20_000 {
            let (kind, rest) = &kinds[number % kinds.len()];
            let id = u32::try_from(number).expect("small");
            peer.send(&message::open(kind, id, 1 << 20, 32_768, rest)).await.expect("heard");
            let answer = peer.receive().await.expect("an answer");
            assert_eq!(answer.first(), Some(&message::CHANNEL_OPEN_FAILURE), "{kind}: {answer:?}");
            assert_eq!(answer[1..5], id.to_be_bytes(), "{kind}");
        }
        little_is_remembered(before);
        said.send(()).expect("heard");
        while opens_a_channel(&mut peer).await.is_some() {}
    };
    let (login, host) = rig.meets(pinned(), host).await;
    let session = login.expect("let in");
    all_said.await.expect("each was refused");
    goes_on(&session, "20,000 channels").await;
    drop(session);
    host.await.expect("nothing was kept");
}

#[tokio::test(start_paused = true)]
async fn channels_that_are_not_open_do_not_exist() {
    let rig = Rig::new();
    let mut said = Vec::new();
    for id in [0, 7, u32::MAX] {
        said.extend([
            message::data(id, &[b'x'; 30_000]),
            message::extended_data(id, b"x"),
            message::adjust(id, u32::MAX),
            message::request(id, "exit-status", &[0; 4]),
            message::request(id, "keepalive@openssh.com", b""),
            message::about(message::CHANNEL_EOF, id),
            message::about(message::CHANNEL_CLOSE, id),
            message::about(message::CHANNEL_SUCCESS, id),
            message::about(message::CHANNEL_FAILURE, id),
            message::refuse(id, "no"),
            vec![message::REQUEST_SUCCESS],
            vec![message::REQUEST_FAILURE],
            vec![message::USERAUTH_SUCCESS],
            vec![255],
        ]);
    }
    let (session, _host) = with(&rig, said).await;
    goes_on(&session, "nonsense").await;
    // An answer to a channel that was not asked for ends the session.
    let (session, _host) = with(&rig, vec![message::confirm(7, 1, 1, 1)]).await;
    timeout(Duration::from_secs(1), session.ended()).await.expect("it ends");
    rig.still_logs_in().await;
}

#[tokio::test(start_paused = true)]
async fn a_session_opens_so_many_channels_and_no_more() {
    let rig = Rig::new();
    let (login, _host) = rig.meets(pinned(), good_host).await;
    let session = login.expect("let in");
    let (before, mut opened) = (memory(), 0);
    // The bridge closes each of them first.
    while let Ok((channel, ())) = session.channel("node".into(), 80, ()).await {
        drop(channel);
        opened += 1;
        assert!(opened <= 10_000, "there is no end of channels");
    }
    assert_eq!(opened, 4096);
    timeout(Duration::from_secs(1), session.ended()).await.expect("it ends");
    little_is_remembered(before);
    rig.still_logs_in().await;
}

#[tokio::test(start_paused = true)]
async fn questions_are_answered_and_not_kept() {
    let rig = Rig::new();
    let before = memory();
    let (said, all_said) = oneshot::channel();
    let host = async move |mut peer: Peer<DuplexStream>| {
        peer.begin().await.expect("keys");
        peer.let_in().await.expect("let in");
        for number in 0..50_000 {
            let kind = if number % 2 == 0 { "keepalive@openssh.com" } else { "nonsense@example.com" };
            peer.send(&message::global_request(kind, b"")).await.expect("heard");
            peer.receive_one_of(&[message::REQUEST_SUCCESS, message::REQUEST_FAILURE])
                .await
                .expect("an answer");
        }
        said.send(()).expect("heard");
        while opens_a_channel(&mut peer).await.is_some() {}
    };
    let (login, _host) = rig.meets(pinned(), host).await;
    let session = login.expect("let in");
    all_said.await.expect("each was answered");
    goes_on(&session, "50,000 questions").await;
    little_is_remembered(before);
    // A host that does not read the answers is not listened to for long.
    let (unread, mut asked) = oneshot::channel();
    let host = async move |mut peer: Peer<DuplexStream>| {
        peer.begin().await.expect("keys");
        peer.let_in().await.expect("let in");
        let mut count = 0_u32;
        while peer.send(&message::global_request("nonsense@example.com", b"")).await.is_ok() {
            count += 1;
            assert!(count < 1_000_000, "all were listened to");
        }
        let _ = unread.send(count);
    };
    let (login, host) = rig.meets(pinned(), host).await;
    let session = login.expect("let in");
    timeout(Duration::from_secs(125), session.ended()).await.expect("it ends");
    drop(session);
    host.await.expect("no flood");
    assert!(asked.try_recv().is_ok());
    little_is_remembered(before);
    rig.still_logs_in().await;
}

#[tokio::test(start_paused = true)]
async fn oversized_messages_end_the_session() {
    let rig = Rig::new();
    for said in [
        Message::new(message::CHANNEL_DATA).number(0).number(u32::MAX).done(),
        Message::new(message::GLOBAL_REQUEST).number(u32::MAX).done(),
        Message::new(message::GLOBAL_REQUEST)
            .string("hostkeys-00@openssh.com")
            .boolean(false)
            .number(9)
            .done(),
        Message::new(message::CHANNEL_OPEN).string("session").done(),
        Message::new(message::EXT_INFO).number(u32::MAX).done(),
        message::ignore(300 << 10),
    ] {
        let kind = said[0];
        // EXT_INFO and what is for an open channel are passed over when they come too late or for none.
        let passed_over = matches!(kind, message::EXT_INFO);
        let (session, host) = with(&rig, vec![said]).await;
        if passed_over {
            goes_on(&session, "extensions").await;
        } else {
            timeout(Duration::from_secs(1), session.ended())
                .await
                .unwrap_or_else(|_| unreachable!("{kind}: the session goes on"));
        }
        host.abort();
    }
    let host = async |mut peer: Peer<DuplexStream>| {
        peer.begin().await.expect("keys");
        peer.let_in().await.expect("let in");
        // A packet of 4 GiB.
        let _ = peer.stream().write_all(&[0xff; 4096]).await;
        while peer.receive().await.is_ok() {}
    };
    let (login, _host) = rig.meets(pinned(), host).await;
    timeout(Duration::from_secs(1), login.expect("let in").ended()).await.expect("it ends");
    rig.still_logs_in().await;
}

#[tokio::test(start_paused = true)]
async fn what_goes_past_the_window_is_bounded() {
    let rig = Rig::new();
    let before = memory();
    let host = async |mut peer: Peer<DuplexStream>| {
        peer.begin().await.expect("keys");
        peer.let_in().await.expect("let in");
        let channel = opens_a_channel(&mut peer).await.expect("asked for");
        for _ in 0..8192 {
            peer.send(&message::data(channel, &[b'x'; 32 << 10])).await.expect("heard");
        }
        for _ in 0..100_000 {
            peer.send(&message::data(channel, b"")).await.expect("heard");
        }
        while opens_a_channel(&mut peer).await.is_some() {}
    };
    let (login, _host) = rig.meets(pinned(), host).await;
    let session = login.expect("let in");
    let (mut channel, ()) = session.channel("node".into(), 80, ()).await.expect("opened");
    // Nobody reads until all of it was sent.
    goes_on(&session, "256 MiB past the window").await;
    little_is_remembered(before);
    let mut read = Vec::new();
    let end = timeout(Duration::from_secs(1), channel.read_to_end(&mut read)).await.expect("an end");
    assert_eq!(end.expect_err("a part is not the whole").kind(), io::ErrorKind::ConnectionReset);
    assert!(read.len() <= 8 << 20, "{} bytes", read.len());
    rig.still_logs_in().await;
}

#[tokio::test(start_paused = true)]
async fn channels_of_no_size_hold_up_nobody() {
    let rig = Rig::new();
    for (window, max_packet) in [(0, 32_768), (1 << 20, 0), (0, 0)] {
        let host = async move |mut peer: Peer<DuplexStream>| {
            peer.begin().await.expect("keys");
            peer.let_in().await.expect("let in");
            let theirs = is_asked_for_a_channel(&mut peer).await.expect("asked for");
            peer.send(&message::confirm(theirs, 1, window, max_packet)).await.expect("heard");
            while opens_a_channel(&mut peer).await.is_some() {}
        };
        let (login, _host) = rig.meets(pinned(), host).await;
        let session = login.expect("let in");
        let opened = timeout(Duration::from_secs(5), session.channel("node".into(), 80, ())).await;
        if let Ok(Ok((mut channel, ()))) = opened {
            channel.write_all(&[b'x'; 1000]).await.expect("taken");
            goes_on(&session, "a channel of no size").await;
        } else {
            assert_eq!(max_packet, 0, "a window may be small at first");
            timeout(Duration::from_secs(1), session.ended()).await.expect("it ends");
        }
    }
    rig.still_logs_in().await;
}

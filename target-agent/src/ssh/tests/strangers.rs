//! Who is let in, and what those cost who are not.

use super::*;

#[tokio::test]
async fn only_listed_keys_log_in() {
    let rig = Rig::new().await;
    let mut session = rig.connect().await;
    let stranger = new_key();
    assert!(!try_key(&mut session, &stranger).await, "an unknown key");
    assert!(!session.authenticate_none("root").await.expect("an answer").success(), "no key");
    assert!(!session.authenticate_password("root", "").await.expect("an answer").success(), "a password");
    assert_eq!(rig.metric("onionscrape_ssh_auth_failures_total"), "2");
    assert!(session.channel_open_direct_tcpip("quick", 80, "", 0).now_or_never_opens().await);
    let mut session = rig.connect().await;
    let lines = format!("{}\n", stranger.public_key().to_openssh().expect("line"));
    std::fs::write(&rig.authorized_keys, lines).expect("write");
    assert!(try_key(&mut session, &stranger).await, "a key that was added counts without a restart");
    let mut session = rig.connect().await;
    assert!(!try_key(&mut session, &rig.key).await, "and one that was removed counts no more");
}

#[tokio::test]
async fn guessing_ends_the_session() {
    let rig = Rig::new().await;
    let mut session = rig.connect().await;
    let key = PrivateKeyWithHashAlg::new(new_key(), None);
    for _ in 0..7 {
        assert!(!session.is_closed());
        let answer = session.authenticate_publickey("root", key.clone()).await;
        assert!(answer.is_err() || answer.is_ok_and(|answer| !answer.success()));
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(session.is_closed(), "guessing goes on");
}

#[tokio::test]
async fn a_silent_stranger_is_shown_out() {
    let rig = Rig::with_grace(Duration::from_millis(300)).await;
    let (mut near, far) = duplex(4096);
    let serving = tokio::spawn({
        let server = rig.server.clone();
        async move { server.serve(far).await }
    });
    let mut heard = Vec::new();
    timeout(Duration::from_secs(5), near.read_to_end(&mut heard)).await.expect("shown out").expect("read");
    assert!(heard.starts_with(b"SSH-2.0-onionscrape\r\n"));
    serving.await.expect("no panic");
    // One who exchanges keys and then only waits is shown out as well.
    let session = rig.connect().await;
    let gone = async {
        while !session.is_closed() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(5), gone).await.expect("shown out");
    // And one who talks nonsense does no harm.
    let (mut near, far) = duplex(4096);
    near.write_all(b"GET / HTTP/1.1\r\n\r\n").await.expect("write");
    timeout(Duration::from_secs(5), rig.server.serve(far)).await.expect("ended");
    let rig_still_works = rig.log_in().await;
    drop(rig_still_works);
}

#[tokio::test]
async fn strangers_sessions_and_channels_are_few() {
    let rig = Rig::new().await;
    let session = rig.log_in().await;
    let mut channels = Vec::new();
    for _ in 0..24 {
        channels.push(open(&session, "agent", 80).await.expect("room"));
    }
    let refusal = open(&session, "agent", 80).await.err();
    assert_eq!(refusal, Some(ChannelOpenFailure::ResourceShortage));
    assert_eq!(
        (rig.denied("channels_cap"), rig.metric("onionscrape_ssh_channels")),
        ("1".into(), "24".into())
    );
    drop(channels);
    rig.wait_for("onionscrape_ssh_channels", "0").await;
    open(&session, "agent", 80).await.expect("room again");

    let mut sessions = vec![session];
    while sessions.len() < 8 {
        sessions.push(rig.log_in().await);
    }
    let mut ninth = rig.connect().await;
    let key = PrivateKeyWithHashAlg::new(rig.key.clone(), None);
    let _ = ninth.authenticate_publickey("x", key).await;
    rig.wait_for("onionscrape_ssh_denied_total{request=\"sessions_cap\"}", "1").await;
    assert!(ninth.channel_open_direct_tcpip("agent", 80, "", 0).now_or_never_opens().await);
    drop(sessions);
    rig.wait_for("onionscrape_ssh_sessions", "0").await;
    rig.log_in().await;

    let rig = Rig::new().await;
    let mut strangers = Vec::new();
    for _ in 0..17 {
        let (near, far) = duplex(4096);
        let server = rig.server.clone();
        tokio::spawn(async move { server.serve(far).await });
        strangers.push(near);
    }
    let mut nothing = Vec::new();
    let last = strangers.last_mut().expect("17 strangers");
    timeout(Duration::from_secs(5), last.read_to_end(&mut nothing)).await.expect("closed").expect("read");
    assert!(nothing.is_empty());
    assert_eq!(rig.denied("sessions_cap"), "1");
}

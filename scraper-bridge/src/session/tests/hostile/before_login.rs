//! Between key exchange and being let in.

use super::*;

/// A host that exchanges keys and gives the service for logins.
async fn until_login(peer: &mut Peer<DuplexStream>) {
    peer.begin().await.expect("keys");
    peer.accept_service().await.expect("asked");
}

#[tokio::test(start_paused = true)]
async fn a_login_that_is_not_answered_is_given_up() {
    let rig = Rig::new();
    let started = Instant::now();
    let failure = rig.fails(async |mut peer: Peer<DuplexStream>| {
        peer.begin().await.expect("keys");
        while peer.receive().await.is_ok() {}
    });
    assert_eq!(failure.await, LoginFailure::Authentication, "no service");
    let failure = rig.fails(async |mut peer: Peer<DuplexStream>| {
        until_login(&mut peer).await;
        while peer.receive().await.is_ok() {}
    });
    assert_eq!(failure.await, LoginFailure::Authentication, "no answer");
    assert!(started.elapsed() < Duration::from_secs(41), "{:?}", started.elapsed());
    rig.still_logs_in().await;
}

#[tokio::test(start_paused = true)]
async fn a_session_that_breaks_off_in_a_login_is_no_refusal() {
    let rig = Rig::new();
    for late in [false, true] {
        let failure = rig.fails(async move |mut peer: Peer<DuplexStream>| {
            until_login(&mut peer).await;
            if late {
                peer.receive_one_of(&[message::USERAUTH_REQUEST]).await.expect("a login");
            }
        });
        assert_eq!(failure.await, LoginFailure::Authentication);
    }
    rig.still_logs_in().await;
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_banners_is_not_remembered_and_wins_no_time() {
    let rig = Rig::new();
    let (started, before) = (Instant::now(), memory());
    let failure = rig.fails(async |mut peer: Peer<DuplexStream>| {
        until_login(&mut peer).await;
        let banner = Message::new(message::USERAUTH_BANNER).string(vec![b'#'; 200 << 10]).string("").done();
        for _ in 0..5 << 10 {
            peer.send(&banner).await.expect("heard");
        }
        while peer.receive().await.is_ok() {}
    });
    assert_eq!(failure.await, LoginFailure::Authentication);
    assert!(started.elapsed() < Duration::from_secs(21), "{:?}", started.elapsed());
    little_is_remembered(before);
    rig.still_logs_in().await;
}

#[tokio::test(start_paused = true)]
async fn what_a_host_may_not_say_before_a_login_ends_it() {
    let rig = Rig::new();
    let extensions = Message::new(message::EXT_INFO).number(1).string("x").string(vec![0; 30_000]).done();
    let length_of_4_gib = Message::new(message::USERAUTH_BANNER).number(u32::MAX).done();
    let many_extensions = Message::new(message::EXT_INFO).number(u32::MAX).done();
    for (what, said, times) in [
        ("extensions", extensions, 1000),
        ("more extensions than bytes", many_extensions, 1),
        ("a string of 4 GiB", length_of_4_gib, 1),
        ("a channel", message::open("session", 0, 1, 1, b""), 1),
        ("a request", message::global_request("keepalive@openssh.com", b""), 1),
        ("data", message::data(0, b"x"), 1),
        ("a message that does not exist", vec![255], 1),
    ] {
        for late in [false, true] {
            let (said, before, started) = (said.clone(), memory(), Instant::now());
            let failure = rig.fails(async move |mut peer: Peer<DuplexStream>| {
                peer.begin().await.expect("keys");
                if late {
                    peer.accept_service().await.expect("asked");
                    peer.receive_one_of(&[message::USERAUTH_REQUEST]).await.expect("a login");
                }
                for _ in 0..times {
                    let _ = peer.send(&said).await;
                }
                while peer.receive().await.is_ok() {}
            });
            assert_eq!(failure.await, LoginFailure::Authentication, "{what}");
            assert!(started.elapsed() < Duration::from_secs(1), "{what} is not seen at once");
            little_is_remembered(before);
        }
    }
    rig.still_logs_in().await;
}

#[tokio::test(start_paused = true)]
async fn nobody_is_let_in_before_the_time() {
    let rig = Rig::new();
    let failure = rig.fails(async |mut peer: Peer<DuplexStream>| {
        peer.begin().await.expect("keys");
        peer.send(&[message::USERAUTH_SUCCESS]).await.expect("heard");
        while peer.receive().await.is_ok() {}
    });
    assert_eq!(failure.await, LoginFailure::Authentication);
    rig.still_logs_in().await;
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_one_however_often_it_is_said() {
    let rig = Rig::new();
    // With no method left, it is no more than the end of the session.
    for (methods, failure) in [
        ("publickey", LoginFailure::Denied),
        ("publickey,password", LoginFailure::Denied),
        ("", LoginFailure::Authentication),
    ] {
        let before = memory();
        let ended = rig.fails(async move |mut peer: Peer<DuplexStream>| {
            until_login(&mut peer).await;
            peer.receive_one_of(&[message::USERAUTH_REQUEST]).await.expect("a login");
            let refusal = Message::new(message::USERAUTH_FAILURE).string(methods).boolean(false).done();
            for _ in 0..100_000 {
                if peer.send(&refusal).await.is_err() {
                    break;
                }
            }
        });
        assert_eq!(ended.await, failure, "{methods:?}");
        little_is_remembered(before);
    }
    rig.still_logs_in().await;
}

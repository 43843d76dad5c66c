//! What may be tried between key exchange and a login.

use super::*;

/// Messages that only somebody who is logged in may send.
fn for_guests_only() -> Vec<Vec<u8>> {
    vec![
        message::open_to("quick", 80, 1),
        message::open_to("agent", 80, 2),
        message::open("session", 3, 1 << 20, 32_768, b""),
        message::global_request("tcpip-forward", &Message::blob().string("").number(0).done()),
        message::global_request("keepalive@openssh.com", b""),
        message::data(0, b"GET / HTTP/1.1\r\n\r\n"),
        message::adjust(0, 1),
        message::request(0, "shell", b""),
        message::about(message::CHANNEL_EOF, 0),
        message::about(message::CHANNEL_CLOSE, 0),
        message::confirm(0, 0, 1, 1),
        message::refuse(0, ""),
        // The server's own words, as if it had said them.
        vec![message::USERAUTH_SUCCESS],
        Message::new(message::SERVICE_ACCEPT).string("ssh-connection").done(),
    ]
}

/// Says all of it, then asks for a service as a good client would: nothing was answered before that,
/// nothing is answered late, and nothing was done.
async fn gets_no_answer(rig: &Rig, peer: &mut Peer<DuplexStream>) {
    for forbidden in for_guests_only() {
        peer.send(&forbidden).await.expect("heard");
    }
    peer.send(&message::userauth("x", "ssh-connection", "none", b"")).await.expect("heard");
    let answer = peer.receive().await.expect("the session goes on");
    assert_eq!(answer.first(), Some(&message::USERAUTH_FAILURE), "{answer:?}");
    assert_eq!(rig.metric("onionscrape_ssh_channel_opens_total"), "0");
    assert_eq!(rig.metric("onionscrape_ssh_channels"), "0");
    assert!(peer.try_key("anybody", &rig.raw_key()).await.expect("an answer"), "the key is good");
    assert_eq!(rig.metric("onionscrape_ssh_channel_opens_total"), "0", "a request was kept until now");
    scrapes(peer, 77).await;
}

#[tokio::test]
async fn what_is_for_guests_gets_no_answer_before_a_login() {
    let rig = Rig::new().await;
    let (mut peer, _served) = rig.peer();
    peer.begin().await.expect("keys");
    for forbidden in for_guests_only() {
        peer.send(&forbidden).await.expect("heard");
    }
    // A login before the service that logins are made with was asked for is none either.
    let early = peer.signed_request("anybody", &rig.raw_key());
    peer.send(&early).await.expect("heard");
    peer.send(&message::service_request("ssh-userauth")).await.expect("heard");
    let answer = peer.receive().await.expect("the session goes on");
    assert_eq!(answer.first(), Some(&message::SERVICE_ACCEPT), "{answer:?}");
    gets_no_answer(&rig, &mut peer).await;
    rig.still_serves().await;
}

#[tokio::test]
async fn a_rekey_before_a_login_is_no_login() {
    let rig = Rig::new().await;
    let (mut peer, _served) = rig.peer();
    peer.begin().await.expect("keys");
    peer.exchange_keys().await.expect("other keys");
    for forbidden in for_guests_only() {
        peer.send(&forbidden).await.expect("heard");
    }
    peer.send(&message::service_request("ssh-userauth")).await.expect("heard");
    let answer = peer.receive().await.expect("the session goes on");
    assert_eq!(answer.first(), Some(&message::SERVICE_ACCEPT), "{answer:?}");
    // In the middle of a login, too, and after a key was offered that is good.
    assert!(peer.offer_key("anybody", &rig.raw_key()).await.expect("an answer"));
    peer.exchange_keys().await.expect("other keys");
    gets_no_answer(&rig, &mut peer).await;
    // And one that is begun and not gone on with ends the session at the first message in it.
    let (mut peer, served) = rig.peer();
    peer.begin().await.expect("keys");
    let offer = peer.offer.message();
    peer.send(&offer).await.expect("heard");
    peer.send(&message::open_to("quick", 80, 1)).await.expect("sent");
    assert!(peer.receive_one_of(&[message::CHANNEL_OPEN_CONFIRMATION]).await.is_err());
    drop(peer);
    is_shown_out(served, "a channel in the middle of a key exchange").await;
    rig.still_serves().await;
}

#[tokio::test]
async fn only_the_service_for_logins_is_given() {
    let rig = Rig::new().await;
    let (mut peer, _served) = rig.peer();
    peer.begin().await.expect("keys");
    for service in ["ssh-connection", "", "ssh-userauth\0", "SSH-USERAUTH", "nonsense"] {
        peer.send(&message::service_request(service)).await.expect("heard");
    }
    peer.send(&message::open_to("quick", 80, 1)).await.expect("heard");
    peer.ask_to_log_in().await.expect("the one there is");
    gets_no_answer(&rig, &mut peer).await;
    // A login for another service ends the session.
    let (mut peer, served) = rig.peer();
    peer.begin().await.expect("keys");
    peer.ask_to_log_in().await.expect("given");
    peer.send(&message::userauth("x", "ssh-shell", "none", b"")).await.expect("sent");
    assert!(peer.receive().await.is_err(), "it is answered");
    drop(peer);
    is_shown_out(served, "a login for another service").await;
    rig.still_serves().await;
}

#[tokio::test(start_paused = true)]
async fn another_name_or_key_than_the_one_that_was_offered_is_judged_anew() {
    let rig = Rig::new().await;
    let (good, bad) = (rig.raw_key(), Key::of([9; 32]));
    let (mut peer, _served) = rig.peer();
    peer.begin().await.expect("keys");
    peer.ask_to_log_in().await.expect("given");
    assert!(peer.offer_key("alice", &good).await.expect("an answer"));
    assert!(!peer.try_key("alice", &bad).await.expect("an answer"), "another key");
    assert!(peer.offer_key("alice", &good).await.expect("an answer"));
    assert!(!peer.try_key("bob", &bad).await.expect("an answer"), "another key and name");
    // A signature that was made for somebody else's name.
    assert!(peer.offer_key("alice", &good).await.expect("an answer"));
    let mut replaced = peer.signed_request("alice", &good);
    let name = replaced.windows(5).position(|part| part == b"alice").expect("the name");
    replaced[name..name + 5].copy_from_slice(b"mallo");
    peer.send(&replaced).await.expect("sent");
    let answer = peer.receive().await.expect("an answer");
    assert_eq!(answer.first(), Some(&message::USERAUTH_FAILURE), "{answer:?}");
    assert_eq!(rig.metric("onionscrape_ssh_sessions"), "0");
    // A signature of another session.
    let (mut other, _other_served) = rig.peer();
    other.begin().await.expect("keys");
    other.ask_to_log_in().await.expect("given");
    let theirs = other.signed_request("alice", &good);
    peer.send(&theirs).await.expect("sent");
    let answer = peer.receive().await.expect("an answer");
    assert_eq!(answer.first(), Some(&message::USERAUTH_FAILURE), "{answer:?}");
    assert!(peer.try_key("bob", &good).await.expect("an answer"), "whose key is good is let in");
    tokio::time::resume();
    scrapes(&mut peer, 1).await;
    rig.still_serves().await;
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_logins_are_six() {
    let rig = Rig::new().await;
    let password = Message::blob().boolean(false).string("secret").done();
    let interactive = Message::blob().string("").string("").done();
    for (method, rest) in
        [("none", &b""[..]), ("password", &password), ("keyboard-interactive", &interactive), ("magic", b"")]
    {
        let (mut peer, served) = rig.peer();
        peer.begin().await.expect("keys");
        peer.ask_to_log_in().await.expect("given");
        let mut refused = 0;
        for number in 0..10_000 {
            let tried = message::userauth(&format!("user{}", number % 2), "ssh-connection", method, rest);
            if peer.send(&tried).await.is_err() {
                break;
            }
            match peer.receive().await {
                Ok(answer) if answer.first() == Some(&message::USERAUTH_FAILURE) => refused += 1,
                Ok(answer) => assert_eq!(answer.first(), Some(&message::DISCONNECT), "{method}: {answer:?}"),
                Err(_) => break,
            }
        }
        assert_eq!(refused, 6, "{method}");
        drop(peer);
        is_shown_out(served, method).await;
    }
    let (mut peer, served) = rig.peer();
    peer.begin().await.expect("keys");
    peer.ask_to_log_in().await.expect("given");
    let before: u32 = rig.metric("onionscrape_ssh_auth_failures_total").parse().expect("a number");
    let mut refused = 0;
    while let Ok(false) = peer.try_key("root", &Key::of([3; 32])).await {
        refused += 1;
    }
    assert_eq!(refused, 6);
    assert_eq!(rig.metric("onionscrape_ssh_auth_failures_total"), (before + 6).to_string());
    drop(peer);
    is_shown_out(served, "guessed keys").await;
    tokio::time::resume();
    rig.still_serves().await;
}

#[tokio::test(start_paused = true)]
async fn a_hundred_who_never_log_in_are_sixteen_and_then_none() {
    let rig = Rig::new().await;
    let mut strangers = Vec::new();
    for _ in 0..100 {
        let (mut peer, served) = rig.peer();
        if peer.begin().await.is_ok() {
            strangers.push((peer, served));
        }
    }
    assert_eq!(strangers.len(), 16);
    assert_eq!(rig.denied("sessions_cap"), "84");
    // They say nothing and stay, and are shown out when their time is over.
    tokio::time::sleep(Duration::from_secs(61)).await;
    for (mut peer, served) in strangers {
        is_shown_out(served, "a stranger who stays").await;
        while let Ok(said) = peer.receive().await {
            assert_eq!(
                said.first(),
                Some(&message::GLOBAL_REQUEST),
                "more than whether it is there: {said:?}"
            );
        }
    }
    tokio::time::resume();
    rig.still_serves().await;
}

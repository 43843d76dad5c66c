//! Clients over streams in memory: channels to exporters, and everything else that SSH knows.
//!
//! - `rig`: the server and its clients;
//! - the others: more tests.

mod hostile;
mod reload;
mod rig;
mod rotation;
mod security_key;
mod stock;
mod strangers;
mod trust;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use onionscrape::address::ExporterAddress;
use onionscrape::metrics::{classic_text, registry};
use onionscrape::ssh::{ChannelStream, KeyFile};
use rig::*;
use russh::client::{self, Handle};
use russh::keys::{PrivateKey, PrivateKeyWithHashAlg, PublicKeyOrCertificate};
use russh::{ChannelMsg, ChannelOpenFailure, Error};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::{Server, Services};
use crate::admin::Pages;
use crate::config::{ExporterConfig, SshSettings};
use crate::exporters::Exporters;
use crate::status::AgentStatus;

#[tokio::test]
async fn both_kinds_of_channel_lead_to_the_exporter() {
    let rig = Rig::new().await;
    let session = rig.log_in().await;
    let mut by_address = open(&session, "127.0.0.1", rig.quick.port().into()).await.expect("listed");
    assert_eq!(get(&mut by_address, "/metrics").await.expect("whole").as_bytes(), OK);
    let mut by_name = open(&session, "quick", 80).await.expect("listed");
    let answer = get(&mut by_name, "/metrics").await.expect("whole");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nup 1\n"), "{answer}");
    let mut own = open(&session, "agent", 80).await.expect("own");
    let answer = get(&mut own, "/inventory").await.expect("whole");
    let port = rig.quick.port();
    let first = format!(r#""exporters":[{{"name":"quick","path":"/metrics","port":{port},"labels":{{}}}}"#);
    assert!(answer.contains(&first), "{answer}");
    let mut own = open(&session, "agent", 80).await.expect("own");
    let answer = get(&mut own, "/metrics").await.expect("whole");
    assert!(answer.contains("\nonionscrape_ssh_sessions 1\n"), "{answer}");
    assert!(answer.contains("\nonionscrape_exporter_requests_total{exporter=\"quick\"} 1\n"), "{answer}");
    drop((by_address, by_name, own, session));
    rig.wait_for("onionscrape_ssh_sessions", "0").await;
    rig.wait_for("onionscrape_ssh_channels", "0").await;
}

#[tokio::test]
async fn a_large_answer_arrives_whole_after_the_asker_said_all_it_has_to_say() {
    const SIZE: usize = 5 << 20;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let mut rig = Rig::new().await;
    rig.quick = listener.local_addr().expect("address");
    let config = ExporterConfig::at("large".parse().expect("name"), ExporterAddress::Tcp(rig.quick));
    let (_, status) = watch::channel(AgentStatus::Bootstrapping);
    let pages = Pages::new(&rig.metrics, &[], status);
    let services = Services { exporters: Exporters::new(&[config], &rig.metrics), pages };
    let settings = SshSettings { login_grace: Duration::from_secs(60) };
    let access = rig.access.clone();
    let host_key = KeyFile::open_or_make(&rig.authorized_keys.with_file_name("host"), "").expect("host key");
    rig.server =
        Server::new(settings, &host_key, access, services, rig.metrics.clone(), rig.shutdown.clone());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("accept");
        stream.read_to_end(&mut Vec::new()).await.expect("the asker's end");
        stream.write_all(&vec![b'x'; SIZE]).await.expect("write");
    });
    let session = rig.log_in().await;
    let mut channel = open(&session, "127.0.0.1", rig.quick.port().into()).await.expect("listed");
    channel.write_all(b"all?").await.expect("write");
    channel.shutdown().await.expect("half close");
    let mut body = Vec::new();
    channel.read_to_end(&mut body).await.expect("a clean end");
    assert_eq!(body.len(), SIZE);
}

#[tokio::test]
async fn what_is_not_listed_is_refused() {
    let rig = Rig::new().await;
    let session = rig.log_in().await;
    let port = u32::from(rig.quick.port());
    let mut refused = 0;
    for host in [
        "0.0.0.0",
        "::ffff:127.0.0.1",
        "::1",
        "127.1",
        "127.0.0.2",
        "2130706433",
        "0x7f.1",
        "localhost",
        "LOCALHOST.",
        "",
        "169.254.169.254",
        "quick",
        "[127.0.0.1]",
        "127.0.0.1 ",
    ] {
        let refusal = open(&session, host, port).await.err();
        assert_eq!(refusal, Some(ChannelOpenFailure::AdministrativelyProhibited), "{host:?}");
        refused += 1;
    }
    for (host, port) in [
        ("127.0.0.1", port - 1),
        ("127.0.0.1", 65_536 + port),
        ("127.0.0.1", 0),
        ("quick", 81),
        ("quick", 65_536 + 80),
        ("QUICK", 80),
        ("quick.", 80),
        ("other", 80),
        ("agent", 22),
        ("", 80),
    ] {
        assert!(open(&session, host, port).await.is_err(), "{host}:{port}");
        refused += 1;
    }
    assert_eq!(rig.denied("direct_tcpip"), refused.to_string());
    assert!(open(&session, "quick", 80).await.is_ok(), "the session goes on");
}

#[tokio::test]
async fn every_other_request_is_refused_and_counted() {
    let rig = Rig::new().await;
    let session = rig.log_in().await;
    assert!(session.channel_open_session().await.is_err());
    assert!(session.channel_open_x11("192.0.2.1", 1).await.is_err());
    assert!(session.channel_open_direct_streamlocal("/run/docker.sock").await.is_err());
    assert!(session.tcpip_forward("127.0.0.1", 0).await.is_err());
    assert!(session.streamlocal_forward("/tmp/x").await.is_err());
    let counted = ["session", "x11", "streamlocal", "tcpip_forward"].map(|kind| rig.denied(kind));
    assert_eq!(counted, ["1", "1", "2", "1"]);

    let mut channel = session.channel_open_direct_tcpip("quick", 80, "", 0).await.expect("listed");
    channel.exec(true, "id").await.expect("sent");
    channel.request_shell(true).await.expect("sent");
    channel.request_subsystem(true, "sftp").await.expect("sent");
    channel.set_env(true, "LD_PRELOAD", "x").await.expect("sent");
    channel.request_pty(true, "xterm", 80, 24, 0, 0, &[]).await.expect("sent");
    channel.request_x11(true, false, "x", "y", 0).await.expect("sent");
    channel.agent_forward(true).await.expect("sent");
    for answer in 0..7 {
        let message = timeout(Duration::from_secs(5), channel.wait()).await.expect("an answer");
        assert!(matches!(message, Some(ChannelMsg::Failure)), "{answer}: {message:?}");
    }
    assert_eq!(rig.denied("channel_request"), "7");
}

#[tokio::test]
async fn a_slow_exporter_delays_nobody_else() {
    let rig = Rig::new().await;
    let session = rig.log_in().await;
    let mut slow = open(&session, "slow", 80).await.expect("listed");
    let started = Instant::now();
    let slow = tokio::spawn(async move { get(&mut slow, "/metrics").await });
    let mut quick = open(&session, "quick", 80).await.expect("listed");
    get(&mut quick, "/metrics").await.expect("whole");
    assert!(started.elapsed() < Duration::from_millis(700), "{:?}", started.elapsed());
    let answer = slow.await.expect("no panic").expect("whole");
    assert!(answer.starts_with("HTTP/1.1 504 exporter slow did not answer in time\r\n"), "{answer}");
}

#[tokio::test]
async fn an_exporter_that_dies_is_an_error_and_not_an_end() {
    let rig = Rig::new().await;
    let session = rig.log_in().await;
    let mut dying = open(&session, "dying", 80).await.expect("listed");
    let error = get(&mut dying, "/metrics").await.expect_err("cut short");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    let series = "onionscrape_exporter_failures_total{exporter=\"dying\",reason=\"aborted\"}";
    assert_eq!(rig.metric(series), "1");
}

#[tokio::test]
async fn a_listed_address_that_nobody_serves_is_a_failed_connection() {
    let rig = Rig::new().await;
    let session = rig.log_in().await;
    let refusal = open(&session, "127.0.0.1", rig.closed.port().into()).await.err();
    assert_eq!(refusal, Some(ChannelOpenFailure::ConnectFailed));
}

#[tokio::test]
async fn a_shutdown_ends_every_session() {
    let rig = Rig::new().await;
    let session = rig.log_in().await;
    rig.wait_for("onionscrape_ssh_sessions", "1").await;
    rig.shutdown.cancel();
    rig.wait_for("onionscrape_ssh_sessions", "0").await;
    assert!(session.channel_open_direct_tcpip("quick", 80, "", 0).now_or_never_opens().await);
}

//! Exporters that come, change and go while a session is up.

use super::*;

/// An exporter at this address.
fn config(name: &str, address: SocketAddr) -> ExporterConfig {
    ExporterConfig::at(name.parse().expect("name"), ExporterAddress::Tcp(address))
}

/// Has the agent list these from now on.
fn list(rig: &Rig, exporters: &[ExporterConfig]) {
    rig.exporters.become_these(exporters);
    rig.pages.offer(exporters);
}

/// Asks for metrics on a channel that stays open, and returns the first line of the answer.
async fn ask(channel: &mut ChannelStream) -> String {
    channel.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("written");
    let mut answer = Vec::new();
    while !answer.ends_with(b"\n") || !answer.windows(4).any(|four| four == b"\r\n\r\n") {
        let read = timeout(Duration::from_secs(10), channel.read_buf(&mut answer)).await;
        assert!(read.expect("in time").expect("an answer") > 0, "{answer:?}");
    }
    String::from_utf8_lossy(&answer).lines().next().unwrap_or_default().to_owned()
}

/// Waits until the far end closes the channel or breaks it off, which takes 5 s at most.
async fn ends(mut channel: ChannelStream) {
    let began = Instant::now();
    let _ = timeout(Duration::from_secs(10), channel.read_to_end(&mut Vec::new())).await.expect("it ends");
    assert!(began.elapsed() < Duration::from_secs(5), "after {:?}", began.elapsed());
}

#[tokio::test]
async fn what_comes_is_there_and_what_is_gone_ends_and_the_session_goes_on() {
    let rig = Rig::new().await;
    let session = rig.log_in().await;
    assert!(open(&session, "fresh", 80).await.is_err(), "not listed yet");
    let mut kept = open(&session, "quick", 80).await.expect("listed");
    let mut bytes = open(&session, "127.0.0.1", rig.quick.port().into()).await.expect("listed");
    let slow = open(&session, "slow", 80).await.expect("listed");
    assert_eq!(ask(&mut kept).await, "HTTP/1.1 200 OK");
    bytes.write_all(b"G").await.expect("written");

    list(&rig, &[config("fresh", rig.quick)]);
    assert_eq!(ask(&mut kept).await, "HTTP/1.1 404 exporter quick is not listed any more");
    let mut fresh = open(&session, "fresh", 80).await.expect("listed now");
    assert_eq!(ask(&mut fresh).await, "HTTP/1.1 200 OK");
    assert!(open(&session, "quick", 80).await.is_err() && open(&session, "slow", 80).await.is_err());
    ends(kept).await;
    ends(slow).await;
    // Its address is another exporter's now, and goes on.
    let mut answer = String::new();
    bytes.read_to_string(&mut answer).await.expect("whole");
    assert!(answer.ends_with("up 1\n"), "{answer}");

    // Another address under the same name is asked on the channel that is open.
    list(&rig, &[config("fresh", rig.closed)]);
    assert_eq!(ask(&mut fresh).await, "HTTP/1.1 502 exporter fresh refused the connection");
    assert_eq!(rig.metric("onionscrape_ssh_sessions"), "1", "still the same");
    let text = classic_text(&registry("0", |own| rig.metrics.register(own)));
    assert!(!text.contains("exporter=\"quick\""), "what is gone is not counted any more: {text}");
    assert_eq!(rig.metric("onionscrape_exporter_requests_total{exporter=\"fresh\"}"), "2");
}

#[tokio::test]
async fn a_channel_to_an_address_ends_when_its_exporter_is_gone() {
    let rig = Rig::new().await;
    let session = rig.log_in().await;
    let channel = open(&session, "127.0.0.1", rig.quick.port().into()).await.expect("listed");
    list(&rig, &[]);
    ends(channel).await;
    assert!(open(&session, "127.0.0.1", rig.quick.port().into()).await.is_err());
    let mut own = open(&session, "agent", 80).await.expect("the session is up");
    assert!(get(&mut own, "/inventory").await.expect("whole").contains(r#""exporters":[]"#));
}

#[tokio::test]
async fn a_change_is_another_revision() {
    let rig = Rig::new().await;
    let session = rig.log_in().await;
    let revision = async || {
        let mut own = open(&session, "agent", 80).await.expect("own");
        let answer = get(&mut own, "/inventory").await.expect("whole");
        let line = answer.lines().find(|line| line.starts_with("onionscrape-revision: "));
        line.expect("a revision").to_owned()
    };
    let first = revision().await;
    list(&rig, &[config("fresh", rig.quick)]);
    let second = revision().await;
    assert_ne!(first, second);
    list(&rig, &[config("fresh", rig.quick)]);
    assert_eq!(revision().await, second, "the same again is no change");
}

//! Who may do what, for how long, and what ends it.

use std::path::Path;
use std::time::SystemTime;

use onionscrape::ssh::UserKey;
use onionscrape::tor::ClientAuthKey;
use russh::keys::Certificate;

use super::*;
use crate::access::{BridgeFile, OpenTicket, Standing};

impl Rig {
    /// Writes `authorized_keys` anew.
    fn authorize(&self, text: &str) {
        let next = self.authorized_keys.with_extension("next");
        std::fs::write(&next, text).expect("write");
        std::fs::rename(&next, &self.authorized_keys).expect("rename");
    }

    fn line(&self, options: &str) -> String {
        format!("{options} {}\n", self.key.public_key().to_openssh().expect("line"))
    }
}

/// Waits for a session to end, which it must within 5 s.
async fn ends_soon(session: &Handle<Trusting>) {
    let began = Instant::now();
    while !session.is_closed() {
        assert!(began.elapsed() < Duration::from_secs(5), "the session goes on");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_key_opens_what_its_options_permit() {
    let rig = Rig::new().await;
    rig.authorize(&rig.line(r#"restrict,permitopen="quick:80""#));
    let session = rig.log_in().await;
    let mut quick = open(&session, "quick", 80).await.expect("permitted");
    assert!(get(&mut quick, "/metrics").await.expect("whole").contains("up 1"));
    let port = rig.quick.port().into();
    for (host, port) in [("127.0.0.1", port), ("slow", 80)] {
        let refused = open(&session, host, port).await.err();
        assert_eq!(refused, Some(ChannelOpenFailure::AdministrativelyProhibited), "{host}");
    }
    assert_eq!(rig.denied("not_permitted"), "2");
    // What there is for this key it may know in any case, but not how the agent is.
    let mut own = open(&session, "agent", 80).await.expect("for every key");
    let inventory = get(&mut own, "/inventory").await.expect("whole");
    assert!(inventory.contains("\"quick\"") && !inventory.contains("\"slow\""), "{inventory}");
    let mut own = open(&session, "agent", 80).await.expect("for every key");
    assert!(get(&mut own, "/metrics").await.expect("whole").starts_with("HTTP/1.1 403 "));
    // Checked at every channel, not only at login; and what is open does not go on with what was
    // permitted before.
    rig.authorize(&rig.line(r#"permitopen="slow:80",permitopen="agent:80""#));
    let refused = session.channel_open_direct_tcpip("quick", 80, "x", 1).await;
    assert!(refused.is_err());
    ends_soon(&session).await;
    let session = rig.log_in().await;
    let mut own = open(&session, "agent", 80).await.expect("permitted now");
    let inventory = get(&mut own, "/inventory").await.expect("whole");
    assert!(inventory.contains("\"slow\"") && !inventory.contains("\"quick\""), "{inventory}");
}

#[tokio::test]
async fn a_key_that_is_removed_ends_its_sessions_and_no_others() {
    let rig = Rig::new().await;
    let other = new_key();
    let both = format!("{}{} other\n", rig.line(""), other.public_key().to_openssh().expect("line"));
    rig.authorize(&both);
    let removed = rig.log_in().await;
    let mut channel = open(&removed, "slow", 80).await.expect("listed");
    let mut kept = rig.connect().await;
    assert!(try_key(&mut kept, &other).await);
    rig.authorize(&format!("{} other\n", other.public_key().to_openssh().expect("line")));
    assert!(open(&removed, "quick", 80).await.is_err(), "not even before the session ends");
    ends_soon(&removed).await;
    assert!(get(&mut channel, "/metrics").await.is_err(), "its channels end with it");
    assert!(!kept.is_closed());
    assert!(open(&kept, "quick", 80).await.is_ok());
    let mut again = rig.connect().await;
    assert!(!try_key(&mut again, &rig.key).await);
    drop((again, kept, removed, channel));
    rig.all_ended_well().await;
}

#[tokio::test]
async fn a_key_whose_time_is_over_ends_its_sessions() {
    let rig = Rig::new().await;
    let soon = humantime::format_rfc3339_seconds(SystemTime::now() + Duration::from_secs(2));
    let soon = soon.to_string().replace(['-', ':', 'T'], "");
    rig.authorize(&rig.line(&format!("expiry-time=\"{soon}\"")));
    let session = rig.log_in().await;
    ends_soon(&session).await;
    let mut again = rig.connect().await;
    assert!(!try_key(&mut again, &rig.key).await);
}

#[tokio::test]
async fn a_ticket_opens_the_way_to_enrol_and_nothing_else() {
    let rig = Rig::new().await;
    let (enrolment, own) = (new_key(), new_key());
    let invite = |name: &str, key: &PrivateKey, expires| {
        let ticket = OpenTicket {
            key: UserKey::of(key.public_key()),
            client_auth: ClientAuthKey::generate().public(),
            expires,
        };
        let standing = Standing::Invited(ticket);
        let exporters = Some(vec!["quick".parse().expect("name")]);
        let file = BridgeFile { name: name.parse().expect("name"), exporters, standing };
        file.write(&rig.authorized_keys.with_file_name("bridges")).expect("written");
    };
    invite("home", &enrolment, SystemTime::now() + Duration::from_secs(3600));
    let late = new_key();
    invite("late", &late, SystemTime::now() - Duration::from_secs(1));
    let mut stranger = rig.connect().await;
    assert!(!try_key(&mut stranger, &late).await, "its time is over");
    assert_ne!(rig.metric("onionscrape_tickets_total{outcome=\"expired\"}"), "0");

    let mut session = rig.connect().await;
    assert!(try_key(&mut session, &enrolment).await);
    for (host, port) in [("quick", 80), ("127.0.0.1", rig.quick.port().into()), ("agent", 81)] {
        assert!(open(&session, host, port).await.is_err(), "{host}:{port}");
    }
    for path in ["/metrics", "/inventory", "/enrol"] {
        let mut own = open(&session, "agent", 80).await.expect("the desk");
        let answer = get(&mut own, path).await.expect("whole");
        assert!(answer.starts_with("HTTP/1.1 403 a ticket is good for enrolling"), "{path}: {answer}");
    }
    let post = async |session: &Handle<Trusting>, body: &str| {
        let mut desk = open(session, "agent", 80).await.expect("the desk");
        let head = format!(
            "POST /enrol HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        desk.write_all(format!("{head}{body}").as_bytes()).await.expect("sent");
        let mut answer = String::new();
        desk.read_to_string(&mut answer).await.expect("whole");
        answer
    };
    let body = |key: &PrivateKey| {
        let (key, client) = (UserKey::of(key.public_key()), ClientAuthKey::generate().public());
        format!("{{\"version\":1,\"key\":\"{key}\",\"client_auth\":\"{client}\"}}")
    };
    for (wrong, said) in [
        ("", "not of the expected form"),
        ("{}", "not of the expected form"),
        (&body(&own).replace("version\":1", "version\":2"), "of another version"),
        (&body(&own).replace("x25519", "x448"), "client authorisation key is wrong"),
        (&"x".repeat(300_000), "cut short or too long"),
    ] {
        let answer = post(&session, wrong).await;
        assert!(answer.starts_with("HTTP/1.1 400") && answer.contains(said), "{said}: {answer}");
    }
    // A key that may come in already would have two names.
    let answer = post(&session, &body(&rig.key)).await;
    assert!(answer.starts_with("HTTP/1.1 409"), "{answer}");

    let answer = post(&session, &body(&own)).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("\"quick\"") && !answer.contains("\"slow\""), "{answer}");
    assert!(open(&session, "agent", 80).await.is_err(), "once");
    // A bridge has no more to say then, and goes.
    drop(session);
    // Again with the same ticket: refused, and counted.
    let mut second = rig.connect().await;
    assert!(!try_key(&mut second, &enrolment).await);
    assert_eq!(rig.metric("onionscrape_tickets_total{outcome=\"taken\"}"), "1");
    assert_ne!(rig.metric("onionscrape_tickets_total{outcome=\"used_before\"}"), "0");
    let mut paired = rig.connect().await;
    assert!(try_key(&mut paired, &own).await);
    assert!(open(&paired, "quick", 80).await.is_ok());
    assert!(open(&paired, "slow", 80).await.is_err());
    drop((paired, second, stranger));
    rig.all_ended_well().await;
}

/// Has the stock ssh-keygen sign `key` with `authority`.
fn sign(folder: &Path, authority: &Path, key: &PrivateKey, options: &[&str]) -> Certificate {
    let public = folder.join("signed.pub");
    std::fs::write(&public, key.public_key().to_openssh().expect("line")).expect("write");
    let output = std::process::Command::new("ssh-keygen")
        .args(["-q", "-s", authority.to_str().expect("path"), "-I", "monitor one"])
        .args(options)
        .arg(&public)
        .output()
        .expect("ssh-keygen");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = std::fs::read_to_string(folder.join("signed-cert.pub")).expect("certificate");
    text.parse().expect("certificate")
}

#[tokio::test]
async fn certificates_count_as_openssh_has_them() {
    let rig = Rig::new().await;
    let folder = tempfile::tempdir().expect("folder");
    let authority = folder.path().join("ca");
    let ca = KeyFile::open_or_make(&authority, "ca").expect("ca");
    let other_authority = folder.path().join("other_ca");
    KeyFile::open_or_make(&other_authority, "ca").expect("ca");
    let line = |options: &str| format!("{options} {} the monitors\n", UserKey::of(ca.private().public_key()));
    let key = new_key();
    let certificate = |options: &[&str]| sign(folder.path(), &authority, &key, options);
    let try_it = async |user: &str, certificate: Certificate| {
        let mut session = rig.connect().await;
        let tried = session.authenticate_openssh_cert(user, key.clone(), certificate).await;
        (tried.expect("an answer").success(), session)
    };
    let good = ["-n", "scrape,other", "-V", "-1m:+1h"];

    rig.authorize(&line("cert-authority"));
    let (let_in, session) = try_it("scrape", certificate(&good)).await;
    assert!(let_in);
    assert!(open(&session, "quick", 80).await.is_ok());
    for (user, options, why) in [
        ("somebody", &good[..], "another name"),
        ("scrape", &["-V", "-1m:+1h"], "no name at all"),
        ("scrape", &["-n", "scrape", "-V", "-2h:-1h"], "its time is over"),
        ("scrape", &["-n", "scrape", "-V", "+1h:+2h"], "its time is to come"),
        (
            "scrape",
            &["-n", "scrape", "-O", "source-address=127.0.0.1/32"],
            "an address that cannot be checked",
        ),
        ("scrape", &["-n", "scrape", "-O", "critical:nonsense@example.com=x"], "an option that is not known"),
        ("scrape", &["-n", "scrape", "-O", "clear"], "no forwarding"),
        ("scrape", &["-h", "-n", "scrape"], "a host's"),
    ] {
        assert!(!try_it(user, certificate(options)).await.0, "{why}");
    }
    let forced = certificate(&["-n", "scrape", "-O", "force-command=/bin/true"]);
    assert!(try_it("scrape", forced).await.0, "what is forced is not given in any case");
    let foreign = sign(folder.path(), &other_authority, &key, &good);
    assert!(!try_it("scrape", foreign).await.0, "another authority");
    let mut plain = rig.connect().await;
    assert!(!try_key(&mut plain, ca.private()).await, "an authority does not log in itself");

    // A certificate ends its session when its time is over, without anybody doing anything.
    let (let_in, short) = try_it("scrape", certificate(&["-n", "scrape", "-V", "-1m:+3s"])).await;
    assert!(let_in);
    let until = Instant::now() + Duration::from_secs(10);
    while !short.is_closed() {
        assert!(Instant::now() < until, "the session outlives its certificate");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    // The line decides on names and channels; without it, sessions end.
    rig.authorize(&line(r#"cert-authority,principals="prom",permitopen="slow:80""#));
    assert!(!try_it("scrape", certificate(&good)).await.0);
    let (let_in, by_name) = try_it("anybody", certificate(&["-n", "prom"])).await;
    assert!(let_in);
    assert!(open(&by_name, "slow", 80).await.is_ok() && open(&by_name, "quick", 80).await.is_err());
    ends_soon(&session).await;
    rig.authorize("");
    ends_soon(&by_name).await;
}

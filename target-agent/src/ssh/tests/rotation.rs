//! A host key that is to come: told in sessions, confirmed by bridges, and shown at last.

use onionscrape::pairing::Inventory;
use onionscrape::ssh::HostKeyPin;
use russh::keys::HashAlg;

use super::*;
use crate::identity::Identity;
use crate::onion::ServiceName;

impl Rig {
    /// What the server says to `request` in a session of a bridge that may log in.
    async fn ask(&self, request: &str) -> String {
        let session = self.log_in().await;
        let mut channel = open(&session, "agent", 80).await.expect("open");
        let request = format!("{request}Host: agent\r\nConnection: close\r\n\r\n");
        channel.write_all(request.as_bytes()).await.expect("sent");
        let mut answer = String::new();
        channel.read_to_string(&mut answer).await.expect("answer");
        answer
    }

    /// Lets the rig's key in with these options.
    fn allow(&self, options: &str) {
        let line = self.key.public_key().to_openssh().expect("line");
        std::fs::write(&self.authorized_keys, format!("{options}{line}")).expect("write");
    }

    /// The key that the server shows.
    async fn shown(&self) -> String {
        struct Noting(Arc<Mutex<String>>);
        impl client::Handler for Noting {
            type Error = Error;
            async fn check_server_key(&mut self, shown: &PublicKeyOrCertificate) -> Result<bool, Error> {
                *self.0.lock().expect("lock") = shown.public_key().fingerprint(HashAlg::Sha256).to_string();
                Ok(true)
            }
        }
        let (near, far) = duplex(64 << 10);
        let server = self.server.clone();
        tokio::spawn(async move { server.serve(far).await });
        let seen = Arc::default();
        let noting = Noting(Arc::clone(&seen));
        let _session = client::connect_stream(Arc::default(), near, noting).await.expect("key exchange");
        let seen = seen.lock().expect("lock");
        seen.clone()
    }
}

#[tokio::test]
async fn a_host_key_to_come_is_told_confirmed_and_shown_when_it_counts() {
    let rig = Rig::new().await;
    let folder = tempfile::tempdir().expect("folder");
    let key = |name: &str| KeyFile::open_or_make(&folder.path().join(name), "").expect("key");
    let (old, next) = (key("old"), key("next"));
    let mut identity = Identity {
        service: ServiceName::first(),
        onion: "pg6mmjiyjmcrsslvykfwnntlaru7p5svn6y2ymmju6nubxndf4pscryd.onion".parse().expect("onion"),
        host_key: old.clone(),
        next_onion: None,
        next_host_key: None,
    };
    rig.server.show(&old);
    let pages = &rig.pages;
    pages.announce(&identity);
    let revision = |answer: &str| {
        let line = answer.lines().find(|line| line.starts_with("onionscrape-revision: "));
        line.expect("on every answer").to_owned()
    };
    let confirm = |key: &KeyFile| {
        format!(
            "POST /next-host-key HTTP/1.1\r\nContent-Length: 0\r\nIf-Match: \"{}\"\r\n",
            key.fingerprint()
        )
    };

    let quiet = rig.ask("GET /inventory HTTP/1.1\r\n").await;
    assert!(!quiet.contains("next_host_key"), "{quiet}");
    assert!(rig.ask(&confirm(&next)).await.starts_with("HTTP/1.1 404 "));

    identity.next_host_key = Some(next.clone());
    pages.announce(&identity);
    let told = rig.ask("GET /inventory HTTP/1.1\r\n").await;
    let body = told.split("\r\n\r\n").nth(1).expect("body");
    let inventory: Inventory = serde_json::from_str(body).expect("inventory");
    let key = inventory.next_host_key.expect("told");
    let pin = HostKeyPin::of_next(&key.key, &key.proof, &old.fingerprint());
    assert!(pin.expect("proved").is(next.private().public_key()));
    assert!(told.contains(next.public_line().split(' ').nth(1).expect("key")), "{told}");
    assert_ne!(revision(&told), revision(&quiet));
    let session = rig.log_in().await;
    let mut channel = open(&session, "quick", 80).await.expect("open");
    let scraped = get(&mut channel, "/metrics").await.expect("whole");
    assert_eq!(revision(&scraped), revision(&told), "whoever scrapes hears of it");

    assert!(rig.ask(&confirm(&old)).await.starts_with("HTTP/1.1 412 "));
    assert!(pages.learnt().borrow().is_empty());
    pages.note_learnt("somebody", &old.fingerprint());
    assert!(pages.learnt().borrow().is_empty(), "only what is to come is noted");
    assert!(rig.ask(&confirm(&next)).await.starts_with("HTTP/1.1 200 "));
    let known = pages.learnt().borrow().clone();
    let login = rig.key.public_key().fingerprint(HashAlg::Sha256).to_string();
    assert_eq!(known.into_iter().collect::<Vec<_>>(), [(login, next.fingerprint())]);

    // Whoever may come in is told, whatever else they may do; the agent's metrics are another matter.
    rig.allow("permitopen=\"quick:80\" ");
    assert!(rig.ask("GET /inventory HTTP/1.1\r\n").await.contains("next_host_key"));
    assert!(rig.ask("GET /metrics HTTP/1.1\r\n").await.starts_with("HTTP/1.1 403 "));
    rig.allow("");
    let session = rig.log_in().await;

    assert_eq!(rig.shown().await, old.fingerprint(), "until it counts");
    rig.server.show(&next);
    assert_eq!(rig.shown().await, next.fingerprint());
    let mut channel = open(&session, "quick", 80).await.expect("open");
    let still = get(&mut channel, "/metrics").await.expect("whole");
    assert!(still.contains("up 1"), "sessions that are up go on");
}

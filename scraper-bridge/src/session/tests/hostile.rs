//! Hosts that keep no rule of SSH. Whatever they do, a login ends in time and with the failure that
//! it is, a session that is up goes on or ends, and little is remembered.

mod after_login;
mod before_login;
mod key_exchange;
mod logged;

use rawssh::{Key, Message, Peer, Signer, message};
use tokio::io::{DuplexStream, duplex};
use tokio::task::JoinHandle;

use super::*;

/// The host key that is pinned.
fn pinned() -> Key {
    Key::of([4; 32])
}

impl Rig {
    /// A login at a host that shows `host_key` and then does as it likes; what came of both.
    async fn meets<F, R>(
        &self,
        host_key: impl Signer + 'static,
        host: impl FnOnce(Peer<DuplexStream>) -> F,
    ) -> (Result<Session, LoginFailure>, JoinHandle<R>)
    where
        F: Future<Output = R> + Send + 'static,
        R: Send + 'static,
    {
        let target = self.target(&format!("host_key = {:?}\nkey_file = \"user\"", pinned().line()));
        let key = target.key(&self.path("state")).expect("a key to log in with");
        let (near, far) = duplex(64 << 10);
        let host = tokio::spawn(host(Peer::server(far, host_key)));
        let host_keys = Arc::new(HostKeys::new(&"a".parse().expect("name"), &target, Succession::none()));
        let login = Session::login(near, &host_keys, &target.user, &key).await;
        (login.map(|(session, _)| session), host)
    }

    /// How a login ends at a host that is the right one and does this.
    async fn fails<F, R>(&self, host: impl FnOnce(Peer<DuplexStream>) -> F) -> LoginFailure
    where
        F: Future<Output = R> + Send + 'static,
        R: Send + 'static,
    {
        let (login, host) = self.meets(pinned(), host).await;
        host.abort();
        login.err().expect("nobody is let on")
    }

    /// Proves that the next login at a good host is as good as ever.
    async fn still_logs_in(&self) {
        let (login, _host) = self.meets(pinned(), good_host).await;
        let session = login.expect("let in");
        let opened = timeout(Duration::from_secs(10), session.channel("node".into(), 80, ())).await;
        assert!(opened.expect("in time").is_ok());
    }
}

/// A host that lets everybody in and opens every channel.
async fn good_host(mut peer: Peer<DuplexStream>) {
    peer.begin().await.expect("keys");
    peer.let_in().await.expect("let in");
    while opens_a_channel(&mut peer).await.is_some() {}
}

/// A session at a host that lets the bridge in, says `said`, and is a good one then.
async fn with(rig: &Rig, said: Vec<Vec<u8>>) -> (Session, JoinHandle<()>) {
    let host = async move |mut peer: Peer<DuplexStream>| {
        peer.begin().await.expect("keys");
        peer.let_in().await.expect("let in");
        for message in said {
            if peer.send(&message).await.is_err() {
                return;
            }
        }
        while opens_a_channel(&mut peer).await.is_some() {}
    };
    let (login, host) = rig.meets(pinned(), host).await;
    (login.expect("let in"), host)
}

/// The client's number of the next channel that it asks for.
async fn is_asked_for_a_channel(peer: &mut Peer<DuplexStream>) -> Option<u32> {
    let asked = peer.receive_one_of(&[message::CHANNEL_OPEN]).await.ok()?;
    let mut reader = rawssh::Reader::of(&asked);
    reader.string().ok()?;
    reader.number().ok()
}

/// Opens the next channel that is asked for; the client's number.
async fn opens_a_channel(peer: &mut Peer<DuplexStream>) -> Option<u32> {
    let theirs = is_asked_for_a_channel(peer).await?;
    peer.send(&message::confirm(theirs, 100 + theirs, 2 << 20, 32_768)).await.ok()?;
    Some(theirs)
}

/// Memory of this process, in bytes.
fn memory() -> usize {
    let pages = fs::read_to_string("/proc/self/statm").expect("statm");
    pages.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).expect("pages") * 4096
}

/// What grew since `before` is far less than what a host sent.
fn little_is_remembered(before: usize) {
    let grown = memory().saturating_sub(before);
    assert!(grown < 128 << 20, "{grown} bytes are kept");
}

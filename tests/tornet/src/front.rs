use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};

use crate::access::{Cut, Watch};
use crate::line::{Delay, join};

/// The way from one public port to the tor behind it.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    pub(crate) behind: SocketAddr,
    pub(crate) delay: Delay,
    pub(crate) access: Watch,
}

/// Serves a node's public port until the runtime ends.
pub(crate) async fn serve(listener: std::net::TcpListener, link: Link) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                tokio::spawn(connection(stream, peer.ip(), link.clone()));
            }
            // Out of files, most likely; others will be closed.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// One connection, which is carried, swallowed or reset as the peer's access demands.
async fn connection(mut client: TcpStream, peer: IpAddr, link: Link) {
    let mut server: Option<TcpStream> = None;
    let mut access = link.access.clone();
    loop {
        let cut = access.of(peer);
        match cut {
            None => {
                let carried = tokio::select! {
                    result = forward(&mut client, &mut server, &link) => Some(result),
                    () = access.changed(peer, cut) => None,
                };
                match carried {
                    Some(Ok(())) => return,
                    Some(Err(_)) => break,
                    None => {}
                }
            }
            Some(Cut::Reset) => break,
            Some(Cut::Blackhole) => {
                let Some(server) = &mut server else {
                    // Not begun yet: its bytes wait in the socket.
                    access.changed(peer, cut).await;
                    continue;
                };
                tokio::select! {
                    () = swallow(&mut client) => {}
                    () = swallow(server) => {}
                    () = access.changed(peer, cut) => {}
                }
                break;
            }
        }
    }
    let _ = client.set_zero_linger();
    if let Some(server) = server {
        let _ = server.set_zero_linger();
    }
}

async fn forward(client: &mut TcpStream, server: &mut Option<TcpStream>, link: &Link) -> io::Result<()> {
    let server = match server {
        Some(server) => server,
        None => server.insert(TcpStream::connect(link.behind).await?),
    };
    join(client, server, &link.delay).await
}

/// Reads and forgets, and does not tell the other side of an end.
async fn swallow(stream: &mut TcpStream) {
    let mut buffer = vec![0; 16 * 1024];
    while matches!(stream.read(&mut buffer).await, Ok(1..)) {}
    std::future::pending::<()>().await;
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

    use std::time::Instant;

    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpSocket;
    use tokio::time::timeout;

    use super::*;
    use crate::access::{self, Access};

    const LONG: Duration = Duration::from_secs(20);

    struct Rig {
        front: SocketAddr,
        access: Access,
        backend: TcpListener,
    }

    async fn rig(delay: Duration) -> Rig {
        let backend = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let access = Access::new();
        let link =
            Link { behind: backend.local_addr().unwrap(), delay: Delay::new(delay), access: access.watch() };
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let front = listener.local_addr().unwrap();
        tokio::spawn(serve(listener, link));
        Rig { front, access, backend }
    }

    impl Rig {
        /// A connection of client `number`, seen from both ends.
        async fn connect(&self, number: usize) -> (TcpStream, TcpStream) {
            let client = self.dial(number).await;
            let (server, _) = timeout(LONG, self.backend.accept()).await.unwrap().unwrap();
            (client, server)
        }

        async fn dial(&self, number: usize) -> TcpStream {
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind(SocketAddr::new(access::address(number).unwrap(), 0)).unwrap();
            socket.connect(self.front).await.unwrap()
        }
    }

    async fn passes(from: &mut TcpStream, to: &mut TcpStream) {
        from.write_all(b"ping").await.unwrap();
        let mut got = [0; 4];
        timeout(LONG, to.read_exact(&mut got)).await.unwrap().unwrap();
        assert_eq!(&got, b"ping");
    }

    async fn is_reset(stream: &mut TcpStream) {
        let end = timeout(LONG, stream.read(&mut [0; 1])).await.unwrap();
        assert_eq!(end.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn both_directions_are_delayed() {
        let delay = Duration::from_millis(50);
        let rig = rig(delay).await;
        let (mut client, mut server) = rig.connect(1).await;
        let start = Instant::now();
        passes(&mut client, &mut server).await;
        assert!(start.elapsed() >= delay);
        passes(&mut server, &mut client).await;
        assert!(start.elapsed() >= delay * 2);
    }

    #[tokio::test]
    async fn one_direction_may_end_before_the_other() {
        let rig = rig(Duration::from_millis(5)).await;
        let (mut client, mut server) = rig.connect(1).await;
        client.write_all(b"question").await.unwrap();
        client.shutdown().await.unwrap();
        let mut question = String::new();
        timeout(LONG, server.read_to_string(&mut question)).await.unwrap().unwrap();
        assert_eq!(question, "question");
        server.write_all(b"answer").await.unwrap();
        drop(server);
        let mut answer = String::new();
        timeout(LONG, client.read_to_string(&mut answer)).await.unwrap().unwrap();
        assert_eq!(answer, "answer");
    }

    #[tokio::test]
    async fn a_dead_backend_resets_the_client() {
        let rig = rig(Duration::ZERO).await;
        let (mut client, server) = rig.connect(1).await;
        server.set_zero_linger().unwrap();
        drop(server);
        is_reset(&mut client).await;
    }

    #[tokio::test]
    async fn a_reset_cut_hits_one_client_and_ends() {
        let rig = rig(Duration::ZERO).await;
        let (mut cut, mut cut_server) = rig.connect(1).await;
        let (mut other, mut other_server) = rig.connect(2).await;
        rig.access.cut(access::address(1).unwrap(), Cut::Reset);
        is_reset(&mut cut).await;
        is_reset(&mut cut_server).await;
        is_reset(&mut rig.dial(1).await).await;
        passes(&mut other, &mut other_server).await;
        rig.access.restore(access::address(1).unwrap());
        let (mut again, mut again_server) = rig.connect(1).await;
        passes(&mut again, &mut again_server).await;
    }

    #[tokio::test]
    async fn a_blackhole_is_silent_and_ends_with_a_reset() {
        let rig = rig(Duration::ZERO).await;
        let (mut old, mut old_server) = rig.connect(1).await;
        passes(&mut old, &mut old_server).await;
        rig.access.cut(access::address(1).unwrap(), Cut::Blackhole);
        let mut new = rig.dial(1).await;
        new.write_all(b"late").await.unwrap();
        // More than socket buffers hold: it is swallowed, not queued.
        timeout(LONG, old.write_all(&vec![0; 32 << 20])).await.unwrap().unwrap();
        let silence = Duration::from_millis(100);
        assert!(timeout(silence, old.read(&mut [0; 1])).await.is_err());
        assert!(timeout(silence, new.read(&mut [0; 1])).await.is_err());
        assert!(timeout(silence, rig.backend.accept()).await.is_err());
        rig.access.restore(access::address(1).unwrap());
        is_reset(&mut old).await;
        let (mut new_server, _) = timeout(LONG, rig.backend.accept()).await.unwrap().unwrap();
        let mut late = [0; 4];
        timeout(LONG, new_server.read_exact(&mut late)).await.unwrap().unwrap();
        assert_eq!(&late, b"late");
        passes(&mut new_server, &mut new).await;
    }
}

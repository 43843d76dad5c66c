use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::AbortHandle;

use crate::Error;
use crate::line::{Delay, join};
use crate::network::Fronts;

/// A SOCKS 4 proxy through which a C tor goes out from an address of its own.
///
/// C tor's `OutboundBindAddress` does not count for connections to loopback.
#[derive(Debug)]
pub(crate) struct Gate {
    pub(crate) addr: SocketAddr,
    work: AbortHandle,
}

impl Gate {
    /// Opens a gate whose connections come from `source`.
    pub(crate) fn open(fronts: &Fronts, source: IpAddr) -> Result<Self, Error> {
        let failed = || Error::system("open a proxy on 127.0.0.1");
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed())?;
        let addr = listener.local_addr().map_err(failed())?;
        listener.set_nonblocking(true).map_err(failed())?;
        Ok(Self { addr, work: fronts.spawn(serve(listener, source)) })
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.work.abort();
    }
}

async fn serve(listener: std::net::TcpListener, source: IpAddr) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    loop {
        if let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(connection(stream, source));
        } else {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }
}

async fn connection(mut client: TcpStream, source: IpAddr) -> io::Result<()> {
    let mut request = [0; 8];
    client.read_exact(&mut request).await?;
    // Then comes a user name with a zero byte at its end; tor sends an empty one.
    while client.read_u8().await? != 0 {}
    let [4, 1, port_high, port_low, a, b, c, d] = request else {
        return Err(io::Error::other("not a SOCKS 4 request for a connection"));
    };
    let target = SocketAddrV4::new(Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([port_high, port_low]));
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(source, 0))?;
    let Ok(mut server) = socket.connect(target.into()).await else {
        return client.write_all(&[0, 0x5B, 0, 0, 0, 0, 0, 0]).await;
    };
    client.write_all(&[0, 0x5A, 0, 0, 0, 0, 0, 0]).await?;
    let joined = join(&mut client, &mut server, &Delay::new(std::time::Duration::ZERO)).await;
    if joined.is_err() {
        client.set_zero_linger()?;
        server.set_zero_linger()?;
    }
    Ok(())
}

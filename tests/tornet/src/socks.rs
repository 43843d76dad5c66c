//! Connecting through a SOCKS port.

use std::io::{Error, Read, Result, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Asks the SOCKS 5 proxy at `socks` for a connection to `host`:`port`.
///
/// `patience` bounds each read and write, and stays set on the stream. `user`
/// is for tor's isolation: connections with different ones do not share circuits.
///
/// # Errors
///
/// The system's; `TimedOut` or `WouldBlock` when patience is over; `Other` with the
/// proxy's code when it refuses.
pub fn connect(
    socks: SocketAddr,
    host: &str,
    port: u16,
    user: Option<&str>,
    patience: Duration,
) -> Result<TcpStream> {
    let mut stream = TcpStream::connect_timeout(&socks, patience)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    let method = if user.is_some() { 2 } else { 0 };
    stream.write_all(&[5, 1, method])?;
    expect(&mut stream, [5, method], "the way to log in")?;
    if let Some(user) = user {
        let mut login = vec![1];
        push_text(&mut login, user)?;
        push_text(&mut login, "x")?;
        stream.write_all(&login)?;
        expect(&mut stream, [1, 0], "the user name")?;
    }
    let mut request = vec![5, 1, 0, 3];
    push_text(&mut request, host)?;
    request.extend(port.to_be_bytes());
    stream.write_all(&request)?;
    expect(&mut stream, [5, 0], "the connection")?;
    let mut kind = [0; 2];
    stream.read_exact(&mut kind)?;
    let rest = match kind[1] {
        1 => 4 + 2,
        4 => 16 + 2,
        _ => return Err(Error::other("the SOCKS proxy's answer is of an unknown kind")),
    };
    stream.read_exact(&mut [0; 18][..rest])?;
    Ok(stream)
}

fn push_text(bytes: &mut Vec<u8>, text: &str) -> Result<()> {
    bytes.push(u8::try_from(text.len()).map_err(|_| Error::other("a name is longer than 255 bytes"))?);
    bytes.extend(text.as_bytes());
    Ok(())
}

fn expect(stream: &mut TcpStream, wanted: [u8; 2], what: &str) -> Result<()> {
    let mut got = [0; 2];
    stream.read_exact(&mut got)?;
    if got == wanted {
        return Ok(());
    }
    Err(Error::other(format!("the SOCKS proxy refused {what} (code {})", got[1])))
}

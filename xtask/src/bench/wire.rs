//! Just enough of HTTP/1.1 to measure with, over any byte stream and without a library's delays.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::Failure;

/// How long a scrape may take unless it is said otherwise, in seconds.
const TIMEOUT: u64 = 110;

/// A connection on which one request follows the other.
pub struct Connection {
    stream: BufReader<Box<dyn ReadWrite + Send>>,
    host: String,
    /// How long whoever scrapes says that it waits, in seconds.
    timeout: u64,
    /// What encodings it says that it takes.
    encodings: &'static str,
    /// A shorter body is none.
    least: usize,
}

/// A stream in both directions.
pub trait ReadWrite: Read + Write {}
impl<T: Read + Write> ReadWrite for T {}

impl Connection {
    /// Connects to a server by TCP.
    pub fn tcp(address: SocketAddr) -> Result<Self, Failure> {
        Self::tcp_within(address, TIMEOUT)
    }

    /// The same, for scrapes that take so many seconds at most.
    pub fn tcp_within(address: SocketAddr, timeout: u64) -> Result<Self, Failure> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        // The server gives up first, and says why.
        let patience = Some(Duration::from_secs(timeout + 2));
        stream.set_read_timeout(patience)?;
        stream.set_write_timeout(patience)?;
        Ok(Self { timeout, ..Self::new(stream, address) })
    }

    /// Connects to a bridge by its control socket.
    pub fn unix(socket: &Path) -> Result<Self, Failure> {
        let stream = UnixStream::connect(socket)?;
        let patience = Some(Duration::from_secs(TIMEOUT));
        stream.set_read_timeout(patience)?;
        stream.set_write_timeout(patience)?;
        Ok(Self::new(stream, "bridge"))
    }

    /// Takes over a stream that is open to a server that goes by the name of `host`.
    pub fn new(stream: impl ReadWrite + Send + 'static, host: impl ToString) -> Self {
        Self {
            stream: BufReader::with_capacity(64 << 10, Box::new(stream)),
            host: host.to_string(),
            timeout: TIMEOUT,
            encodings: "gzip",
            least: 1,
        }
    }

    /// From now on a scrape whose body has fewer bytes has failed.
    #[must_use]
    pub fn at_least(self, least: usize) -> Self {
        Self { least, ..self }
    }

    /// From now on nothing is said to take a body as it is (RFC 9110, section 12.5.3). An exporter that does
    /// not compress sends it so nevertheless, and our bridge has it come so.
    #[must_use]
    pub fn without_compression(self) -> Self {
        Self { encodings: "gzip, identity;q=0", ..self }
    }

    /// One scrape on the connection that is kept, or on a new one. It is kept from then on if that went well.
    pub fn scrape_kept(
        kept: &mut Option<Self>,
        connect: impl FnOnce() -> Result<Self, Failure>,
    ) -> Result<(), Failure> {
        let mut connection = kept.take().map_or_else(connect, Ok)?;
        connection.scrape()?;
        *kept = Some(connection);
        Ok(())
    }

    /// One scrape, to its last byte; returns the size of its body.
    pub fn scrape(&mut self) -> Result<usize, Failure> {
        self.request()?;
        self.read_body()
    }

    /// One scrape, to its last byte; returns when its first byte came. That of a bad answer is none.
    pub fn scrape_from_first_byte(&mut self) -> Result<Instant, Failure> {
        self.request()?;
        if self.stream.fill_buf()?.is_empty() {
            return Err("the connection ended without an answer".into());
        }
        let came = Instant::now();
        self.read_body()?;
        Ok(came)
    }

    /// Reads a scrape's answer to its end; returns the size of its body.
    fn read_body(&mut self) -> Result<usize, Failure> {
        let (size, least) = (self.read_answer()?, self.least);
        if size < least {
            return Err(format!("the body has {size} bytes instead of at least {least}").into());
        }
        Ok(size)
    }

    /// Sends the request for a scrape, as Prometheus would.
    fn request(&mut self) -> Result<(), Failure> {
        let fields = format!(
            "Accept: text/plain;version=0.0.4\r\nAccept-Encoding: {}\r\n\
             X-Prometheus-Scrape-Timeout-Seconds: {}\r\n",
            self.encodings, self.timeout
        );
        self.send("GET /metrics", &fields)
    }

    /// Sends a request; `fields` are header fields besides Host, each with its line end.
    pub fn send(&mut self, request: &str, fields: &str) -> Result<(), Failure> {
        let text = format!("{request} HTTP/1.1\r\nHost: {}\r\n{fields}\r\n", self.host);
        let stream = self.stream.get_mut();
        stream.write_all(text.as_bytes())?;
        Ok(stream.flush()?)
    }

    /// Reads an answer to its end; returns the size of its body.
    pub fn read_answer(&mut self) -> Result<usize, Failure> {
        let status = self.line()?;
        if !status.starts_with("HTTP/1.1 2") {
            return Err(format!("the answer is {status}").into());
        }
        let (mut length, mut chunked) = (0, false);
        loop {
            let line = self.line()?.to_ascii_lowercase();
            match line.split_once(": ") {
                None => break,
                Some(("content-length", value)) => length = value.parse()?,
                Some(("transfer-encoding", "chunked")) => chunked = true,
                Some(_) => {}
            }
        }
        if !chunked {
            self.skip(length)?;
            return Ok(length);
        }
        let mut total = 0;
        loop {
            let size = usize::from_str_radix(&self.line()?, 16)?;
            self.skip(size)?;
            self.line()?;
            total += size;
            if size == 0 {
                return Ok(total);
            }
        }
    }

    fn line(&mut self) -> Result<String, Failure> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err("the connection ended in the middle of an answer".into());
        }
        Ok(line.trim_end().to_owned())
    }

    fn skip(&mut self, bytes: usize) -> Result<(), Failure> {
        let skipped = std::io::copy(&mut (&mut self.stream).take(bytes as u64), &mut std::io::sink())?;
        if skipped == bytes as u64 { Ok(()) } else { Err("the body broke off".into()) }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    /// Answers whatever is asked.
    struct Answer(Cursor<Vec<u8>>);

    impl Read for Answer {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            self.0.read(buffer)
        }
    }

    impl Write for Answer {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn answered(status: &str, body: &str) -> Connection {
        let text = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        Connection::new(Answer(Cursor::new(text.into_bytes())), "exporter").at_least(5)
    }

    #[test]
    fn only_a_good_answer_has_a_first_byte() {
        let began = Instant::now();
        let came = answered("200 OK", "up 1\n").scrape_from_first_byte();
        assert!(came.is_ok_and(|came| came >= began));
        let refused = answered("503 onion not found", "onion not found\n").scrape_from_first_byte();
        assert!(refused.is_err_and(|error| error.to_string().contains("503")));
        assert!(answered("200 OK", "up\n").scrape_from_first_byte().is_err());
    }

    #[test]
    fn a_kept_connection_is_held_to_its_least() {
        let mut kept = Some(answered("200 OK", "up\n"));
        assert!(Connection::scrape_kept(&mut kept, || Err("there is one".into())).is_err());
        assert!(kept.is_none(), "what went wrong is not kept");
        let connect = || Ok(answered("200 OK", "up 1\n"));
        assert!(Connection::scrape_kept(&mut kept, connect).is_ok_and(|()| kept.is_some()));
    }
}

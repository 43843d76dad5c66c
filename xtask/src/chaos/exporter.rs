//! An exporter that says when it answered, and can be told to behave badly.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::body::{self, Said};
use super::place::Place;
use crate::Failure;

/// How long a connection may hang, so that none is left behind.
const PATIENCE: Duration = Duration::from_secs(60);
/// Pause between two bytes of one that trickles.
const TRICKLE: Duration = Duration::from_secs(1);

/// What an exporter does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Answers.
    Good,
    /// Takes the request and says nothing.
    Hangs,
    /// Says one byte of its body a second.
    Trickles,
    /// Says half of its body, then its process is gone.
    Dies,
}

/// A running exporter; it serves until this program ends.
pub struct Exporter {
    /// Where it listens, in its own place.
    pub address: SocketAddr,
    manner: Arc<Mutex<Manner>>,
}

impl Exporter {
    /// Starts it where the device is. Times in its answers count from `epoch`.
    ///
    /// # Errors
    /// When it cannot listen.
    pub fn start(target: &str, place: &Place, epoch: Instant) -> Result<Self, Failure> {
        let manner = Arc::new(Mutex::new(Manner::Good));
        let told = Arc::clone(&manner);
        let target: Arc<str> = target.into();
        let address = place.within(move || {
            let listener = TcpListener::bind("127.0.0.1:0")?;
            let address = listener.local_addr()?;
            std::thread::spawn(move || {
                let count = Arc::new(AtomicU64::new(0));
                for stream in listener.incoming().flatten() {
                    let (told, count, target) = (Arc::clone(&told), Arc::clone(&count), Arc::clone(&target));
                    // Who asks has gone; nobody is left to be told.
                    std::thread::spawn(move || serve(stream, &target, epoch, &told, &count).is_err());
                }
            });
            Ok(address)
        })?;
        Ok(Self { address, manner })
    }

    /// Changes its manner, for requests from now on.
    pub fn behave(&self, manner: Manner) {
        *self.manner.lock().unwrap_or_else(PoisonError::into_inner) = manner;
    }
}

fn serve(
    stream: TcpStream,
    target: &str,
    epoch: Instant,
    manner: &Mutex<Manner>,
    count: &AtomicU64,
) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    // The connection is kept, as Go's exporters keep theirs.
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut writer = stream;
    loop {
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            if line == "\r\n" {
                break;
            }
        }
        let said = Said { number: count.fetch_add(1, Ordering::Relaxed) + 1, at: epoch.elapsed() };
        let body = body::write(target, &said);
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let manner = *manner.lock().unwrap_or_else(PoisonError::into_inner);
        match manner {
            Manner::Good => writer.write_all((head + &body).as_bytes())?,
            Manner::Hangs => {
                writer.set_read_timeout(Some(PATIENCE))?;
                reader.read_line(&mut String::new())?;
                return Ok(());
            }
            Manner::Trickles => {
                writer.write_all(head.as_bytes())?;
                let ends = Instant::now() + PATIENCE;
                for byte in body.as_bytes() {
                    if Instant::now() > ends {
                        return Ok(());
                    }
                    writer.write_all(std::slice::from_ref(byte))?;
                    std::thread::sleep(TRICKLE);
                }
            }
            Manner::Dies => {
                let half = &body[..body.len() / 2];
                return writer.write_all((head + half).as_bytes());
            }
        }
    }
}
